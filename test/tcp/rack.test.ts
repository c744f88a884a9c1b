/** What RACK and the loss probe decide, and when: a peer with SACK, a clock that a test turns. RFC 8985, 6675. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counter } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { ACK, SYN, type TcpPacket, option } from "../support/packet.ts";
import { pattern } from "./pair.ts";
import { Peer, sizes } from "./peer.ts";

const rack = suite("rack");
const MSS = 1000;
const MS = 1000;
const RTT = 50 * MS;
const INFINITE = 0xffffffff;

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;
  /** Open, a round trip of 50 ms known. */
  const opened = (): Peer => {
    const peer = new Peer(build);
    const options = Buffer.concat([option.mss(MSS), option.sackPermitted()]);
    const [synAck] = peer.send({ flags: SYN, ack: 0, options });
    peer.run(RTT);
    peer.seq += 1;
    peer.ack = synAck!.seq + 1;
    peer.send({});
    peer.handle = peer.end.handles("ACCEPTED").at(-1)!;
    peer.end.option(peer.handle, "NODELAY", 1);
    exchange(peer);
    return peer;
  };
  /** A segment goes and is acknowledged after a round trip. */
  const exchange = (peer: Peer): void => {
    peer.write(pattern(MSS));
    peer.run(RTT);
    peer.ack += MSS;
    peer.send({});
  };
  /** Acknowledges `count` segments, and reports segments [from, to) of those that were out. */
  const answer = (peer: Peer, count: number, ...blocks: [number, number][]): TcpPacket[] => {
    const una = peer.ack;
    peer.ack += count * MSS;
    const edges = blocks.map(([from, to]) => [una + from * MSS, una + to * MSS] as const);
    return peer.send(edges.length === 0 ? {} : { options: option.sack(...edges) });
  };
  /** Segments out of order are no loss any more. */
  const reordered = (peer: Peer): void => {
    peer.write(pattern(3 * MSS));
    peer.run(RTT);
    answer(peer, 0, [1, 2]);
    answer(peer, 2);
    answer(peer, 1);
    assert.is(peer.info("BYTES_RETRANSMITTED"), 0);
  };
  const starts = (packets: TcpPacket[], una: number) =>
    packets.filter(({ payload }) => payload.length > 0).map(({ seq }) => (seq - una) / MSS);

  rack(
    title("deems lost what left before something that was delivered, after a quarter round trip"),
    () => {
      const peer = opened();
      const una = peer.ack;
      peer.write(pattern(4 * MSS));
      peer.run(RTT);
      assert.equal(answer(peer, 0, [1, 2]), []);
      assert.equal(peer.run(RTT / 4 - MS), [], "it may have been overtaken");
      assert.equal(starts(peer.run(2 * MS), una), [0]);
      assert.is(counter(peer.end.core, "TCP_RECOVERIES"), 1);
      assert.is(peer.info("TIMEOUTS"), 0);
    },
  );

  rack(
    title(
      "waits for nothing once three segments have overtaken, unless order is known to be loose",
    ),
    () => {
      const strict = opened();
      let una = strict.ack;
      strict.write(pattern(5 * MSS));
      strict.run(RTT);
      answer(strict, 0, [1, 3]);
      assert.equal(starts(answer(strict, 0, [1, 4]), una), [0]);
      const loose = opened();
      reordered(loose);
      una = loose.ack;
      loose.write(pattern(5 * MSS));
      loose.run(RTT);
      answer(loose, 0, [1, 3]);
      assert.equal(answer(loose, 0, [1, 4]), []);
      assert.equal(starts(loose.run(RTT / 4 + MS), una), [0]);
    },
  );

  rack(
    title("widens its patience by a D-SACK, once a round trip, and narrows it after 16 recoveries"),
    () => {
      const peer = opened();
      reordered(peer);
      /** A recovery; how long the first of two segments was waited for. `late`: both copies arrived after all. */
      const patience = (late: boolean): number => {
        const una = peer.ack;
        const was = peer.info("BYTES_RETRANSMITTED");
        assert.equal(sizes(peer.write(pattern(2 * MSS))), [MSS, MSS]);
        peer.run(RTT);
        answer(peer, 0, [1, 2]);
        const began = peer.now;
        while (peer.info("BYTES_RETRANSMITTED") === was) peer.run(MS / 2);
        const waited = peer.now - began;
        peer.run(RTT);
        peer.ack = una + 2 * MSS;
        const duplicate = [option.sack([una, una + MSS]), option.sack([una, una + MSS])];
        for (const options of late ? duplicate : [new Uint8Array(0)]) peer.send({ options });
        assert.is(peer.info("PHASE"), 0);
        return waited;
      };
      const near = (us: number, quarters: number) =>
        assert.ok(Math.abs(us - (quarters * RTT) / 4) <= MS, `${us} us, ${quarters} quarters`);
      near(patience(true), 1);
      for (let count = 0; count < 15; count++) near(patience(false), 2);
      near(patience(false), 2);
      near(patience(false), 1);
    },
  );

  rack(title("knows nothing of old transmissions after an hour of silence"), () => {
    const peer = opened();
    peer.run(40 * 60_000 * MS);
    peer.write(pattern(4 * MSS));
    peer.run(RTT + 10 * MS);
    answer(peer, 1);
    assert.equal(peer.run(RTT), [], "nothing was overtaken, nothing is lost");
    assert.is(peer.info("BYTES_RETRANSMITTED"), 0);
    answer(peer, 3);
  });

  rack(
    title("watches over the last segment of a recovery too, when nothing is SACKed any more"),
    () => {
      const peer = opened();
      reordered(peer);
      const una = peer.ack;
      peer.write(pattern(9 * MSS));
      peer.run(RTT);
      answer(peer, 0, [3, 9]);
      peer.run(10 * MS);
      assert.equal(starts(peer.write(pattern(MSS)), una), [9]);
      const again = peer.run(5 * MS);
      assert.equal(starts(again, una), [0, 1, 2]);
      const timeouts = peer.info("TIMEOUTS");
      // Its copies arrive, the tenth segment does not: it left just before them.
      peer.run(RTT - 2 * MS);
      assert.equal(answer(peer, 9), []);
      assert.equal(starts(peer.run(RTT / 4), una), [9]);
      assert.is(peer.info("TIMEOUTS"), timeouts);
    },
  );

  rack(title("sends again at a timeout what is old, and leaves to RACK what has just left"), () => {
    const peer = opened();
    const una = peer.ack;
    peer.write(pattern(2 * MSS));
    while (peer.info("TIMEOUTS") === 0) {
      peer.run(MS);
      // Late data, five milliseconds before the timeout at the earliest.
      if (peer.info("SND_NXT") === una + 2 * MSS && peer.info("BYTES_RETRANSMITTED") === MSS) {
        const due = peer.end.core.f.nextTimeoutUs!() - peer.clock;
        if (due < 5 * MS) assert.equal(sizes(peer.write(pattern(MSS))), [MSS]);
      }
    }
    assert.is(peer.info("SND_NXT"), una + 3 * MSS);
    peer.run(RTT);
    peer.ack = una + 3 * MSS;
    peer.send({});
    const copies = (at: number) =>
      peer.sent.filter(({ packet }) => packet.seq === una + at * MSS && packet.payload.length > 0);
    assert.is(copies(0).length, 2);
    assert.is(copies(2).length, 1, "it was on its way");
  });

  rack(
    title("reduces again for a timeout of another segment in the same loss, not for the same one"),
    () => {
      const peer = opened();
      peer.write(pattern(10 * MSS));
      const before = peer.info("CWND");
      while (peer.info("TIMEOUTS") === 0) peer.run(MS);
      const first = peer.info("SSTHRESH");
      assert.is(first, Math.floor(before * 0.7));
      while (peer.info("TIMEOUTS") === 1) peer.run(MS);
      assert.is(peer.info("SSTHRESH"), first, "the same segment again");
      peer.run(RTT);
      answer(peer, 1);
      assert.is(peer.info("PHASE"), 2);
      while (peer.info("TIMEOUTS") === 2) peer.run(MS);
      assert.is(peer.info("SSTHRESH"), 2 * MSS, "a segment that no timeout had sent again");
    },
  );

  rack(title("turns to all of it when the peer takes back what it had SACKed"), () => {
    const peer = opened();
    const una = peer.ack;
    peer.write(pattern(4 * MSS));
    peer.run(RTT);
    answer(peer, 0, [1, 4]);
    peer.run(RTT);
    // The hole is filled, but nothing of what lay beyond it is there any more.
    const [, ...more] = answer(peer, 1);
    assert.equal(more, []);
    while (peer.info("TIMEOUTS") === 0) peer.run(MS);
    assert.ok(peer.now < peer.sent.at(-1)!.at + 200 * MS, "soon");
    peer.run(RTT);
    answer(peer, 1);
    peer.run(1);
    const again = peer.sent.map(({ packet }) => (packet.seq - una) / MSS).filter((at) => at >= 1);
    assert.ok(new Set(again).size >= 3, "each of them again");
  });

  rack(title("probes after two round trips, later when one segment may wait for its ACK"), () => {
    const two = opened();
    two.write(pattern(2 * MSS));
    assert.equal(two.run(2 * RTT - 1), []);
    assert.is(two.run(MS).length, 1);
    assert.is(counter(two.end.core, "TCP_TAIL_PROBES"), 1);
    const one = opened();
    one.write(pattern(MSS));
    assert.equal(
      one.run(240 * MS),
      [],
      "200 ms for a delayed ACK, or the timeout if that is sooner",
    );
    assert.is(one.run(20 * MS).length, 1);
  });

  rack(title("probes by new data where there is some, else by the last segment"), () => {
    const fresh = opened();
    const una = fresh.ack;
    fresh.end.write(fresh.handle, pattern(20 * MSS), fresh.now);
    const out = sizes(fresh.poll()).length;
    assert.equal(starts(fresh.run(2 * RTT + MS), una), [out]);
    assert.is(fresh.info("BYTES_RETRANSMITTED"), 0);
    const last = opened();
    const from = last.ack;
    last.write(pattern(3 * MSS));
    assert.equal(starts(last.run(2 * RTT + MS), from), [2]);
    assert.equal(last.run(2 * RTT), [], "one probe only");
  });

  /** A tail whose probe was sent; returns the number that it ended at. */
  const probed = (): { peer: Peer; end: number } => {
    const peer = opened();
    peer.write(pattern(2 * MSS));
    peer.run(2 * RTT + MS);
    assert.is(counter(peer.end.core, "TCP_TAIL_PROBES"), 1);
    peer.run(10 * MS);
    return { peer, end: peer.ack + 2 * MSS };
  };

  rack(title("blames nothing when both copies of the probe arrived"), () => {
    const { peer, end } = probed();
    const cwnd = peer.info("CWND");
    peer.ack = end;
    peer.send({});
    peer.send({ options: option.sack([end - MSS, end]) });
    peer.write(pattern(MSS));
    peer.run(RTT);
    answer(peer, 1);
    assert.is(peer.info("SSTHRESH"), INFINITE);
    assert.ok(peer.info("CWND") >= cwnd);
  });

  rack(
    title("takes a plain duplicate ACK for the second copy's, and another block for nothing"),
    () => {
      const { peer, end } = probed();
      peer.ack = end;
      peer.send({});
      peer.send({});
      peer.write(pattern(MSS));
      peer.run(RTT);
      answer(peer, 1);
      assert.is(peer.info("SSTHRESH"), INFINITE);
      const other = probed();
      other.peer.ack = other.end;
      other.peer.send({ options: option.sack([other.end - 2 * MSS, other.end - MSS]) });
      other.peer.write(pattern(MSS));
      other.peer.run(RTT);
      answer(other.peer, 1);
      assert.ok(other.peer.info("SSTHRESH") < INFINITE, "that was not the probe");
    },
  );

  rack(title("answers a loss that the probe repaired as any other"), () => {
    const { peer, end } = probed();
    const cwnd = peer.info("CWND");
    peer.ack = end;
    peer.send({});
    peer.write(pattern(MSS));
    peer.run(RTT);
    answer(peer, 1);
    assert.is(peer.info("SSTHRESH"), Math.floor(cwnd * 0.7));
    assert.is(peer.info("CWND"), peer.info("SSTHRESH"));
    assert.is(peer.info("TIMEOUTS"), 0);
  });

  rack(title("probes nothing for a peer without SACK"), () => {
    const peer = new Peer(build);
    peer.open(option.mss(MSS));
    peer.write(pattern(2 * MSS));
    while (peer.info("TIMEOUTS") === 0) peer.run(MS);
    assert.is(counter(peer.end.core, "TCP_TAIL_PROBES"), 0);
    assert.ok(peer.sent.every(({ packet }) => (packet.flags & ACK) !== 0));
  });
}

rack.run();
