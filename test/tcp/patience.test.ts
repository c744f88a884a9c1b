/** How long things may take: R1 and R2, keep-alive, TIME-WAIT, FIN-WAIT-2, the time limits of an application. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counter } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { ACK, FIN, RST, SYN, option } from "../support/packet.ts";
import { pattern } from "./pair.ts";
import { Peer, sizes } from "./peer.ts";

const patience = suite("patience");
const SECOND = 1_000_000;
const HOUR = 3600 * SECOND;

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;
  const opened = (syn?: Uint8Array, options = {}): Peer => {
    const peer = new Peer(build, options);
    peer.open(syn);
    return peer;
  };
  const closedWith = (peer: Peer): number | undefined =>
    peer.end.events.find(({ type }) => type === "CLOSED")?.code;

  patience(title("tells the application at R1, three retransmissions, and closes at R2"), () => {
    const peer = opened();
    peer.write(pattern(100));
    let resent = 0;
    while (!peer.events.includes("TROUBLE")) {
      resent += sizes(peer.run(SECOND / 10)).length;
      assert.ok(resent < 10, "R1 comes");
    }
    assert.is(resent, 3);
    const retries = peer.end.core.constant("SoftError.RETRIES") << 8;
    assert.is(peer.end.events.at(-1)?.code, retries);
    assert.is(closedWith(peer), undefined);
    const began = peer.now;
    while (closedWith(peer) === undefined) peer.run(SECOND);
    assert.is(closedWith(peer), peer.end.core.constant("Err.TIMEOUT"));
    assert.ok(peer.now - began > 100 * SECOND, "R2 lies beyond 100 s");
    assert.is(peer.events.filter((type) => type === "TROUBLE").length, 1);
  });

  patience(title("repeats a SYN six times with doubled waits, then gives up after 127 s"), () => {
    const peer = new Peer(build, { listen: false });
    peer.dialled();
    peer.run(200 * SECOND);
    const at = peer.sent.filter(({ packet }) => packet.flags === SYN).map((entry) => entry.at);
    assert.equal(
      at,
      [0, 1, 3, 7, 15, 31, 63].map((seconds) => seconds * SECOND),
    );
    assert.is(closedWith(peer), peer.end.core.constant("Err.TIMEOUT"));
    assert.ok(peer.events.includes("TROUBLE"), "R1 is for SYNs too");
  });

  patience(title("repeats a SYN-ACK five times, then forgets the attempt in silence"), () => {
    const peer = new Peer(build);
    peer.send({ flags: SYN, ack: 0 });
    peer.run(100 * SECOND);
    assert.is(peer.sent.filter(({ packet }) => packet.flags === (SYN | ACK)).length, 6);
    assert.is(peer.end.core.f.tcbCount!(), 0);
    assert.equal(peer.events, []);
  });

  patience(title("takes no round-trip sample from what was sent twice (Karn)"), () => {
    const peer = opened();
    peer.run(3 * SECOND);
    peer.write(pattern(100));
    const before = peer.info("SRTT_US");
    peer.run(5 * SECOND);
    peer.ack += 100;
    peer.send({});
    assert.ok(peer.info("BYTES_RETRANSMITTED") > 0);
    assert.is(peer.info("SRTT_US"), before);
    peer.write(pattern(100));
    peer.run(SECOND / 100);
    peer.ack += 100;
    peer.send({});
    assert.is.not(peer.info("SRTT_US"), before, "what was sent once counts");
  });

  patience(title("sends no keep-alive unless asked, and lives for ever in silence"), () => {
    const peer = opened();
    assert.equal(peer.run(1000 * HOUR), []);
    assert.is(peer.state(), "ESTABLISHED");
  });

  patience(title("probes after the idle time that the application chose, without data"), () => {
    for (const idle of [2 * HOUR, 600 * SECOND]) {
      const peer = opened();
      assert.is(peer.end.option(peer.handle, "KEEPALIVE_US", idle), 0);
      assert.equal(peer.run(idle - SECOND), []);
      peer.send({ payload: pattern(1) });
      peer.seq += 1;
      peer.run(SECOND);
      assert.equal(peer.run(idle - 2 * SECOND), [], "anything received starts the time anew");
      const probes = peer.run(2 * SECOND);
      assert.is(probes.length, 1);
      assert.is(probes[0]!.payload.length, 0);
      assert.is(probes[0]!.seq, (peer.info("SND_NXT") - 1) >>> 0);
    }
  });

  patience(title("probes nobody while data is outstanding"), () => {
    const peer = opened();
    peer.end.option(peer.handle, "KEEPALIVE_US", 10 * SECOND);
    peer.end.option(peer.handle, "KEEPALIVE_INTERVAL_US", SECOND);
    peer.write(pattern(100));
    const probes = peer.run(60 * SECOND).filter(({ payload }) => payload.length === 0);
    assert.equal(probes, []);
  });

  patience(title("survives lost keep-alive probes, all but the last"), () => {
    const peer = opened();
    peer.end.option(peer.handle, "KEEPALIVE_US", 10 * SECOND);
    peer.end.option(peer.handle, "KEEPALIVE_INTERVAL_US", SECOND);
    peer.end.option(peer.handle, "KEEPALIVE_PROBES", 4);
    for (let round = 0; round < 3; round++) {
      assert.is(peer.run(13 * SECOND + SECOND / 2).length, 4);
      peer.send({});
      assert.is(peer.state(), "ESTABLISHED");
    }
    peer.run(20 * SECOND);
    assert.is(closedWith(peer), peer.end.core.constant("Err.TIMEOUT"));
  });

  patience(title("finds out in FIN-WAIT-2 that its peer is gone"), () => {
    const peer = opened();
    peer.end.option(peer.handle, "KEEPALIVE_US", 10 * SECOND);
    peer.end.option(peer.handle, "KEEPALIVE_INTERVAL_US", SECOND);
    peer.end.option(peer.handle, "KEEPALIVE_PROBES", 2);
    peer.end.shutdown(peer.handle, peer.now);
    peer.poll();
    peer.ack += 1;
    peer.send({});
    assert.is(peer.state(), "FIN_WAIT_2");
    const sent = peer.run(11 * SECOND + SECOND / 2);
    const before = (peer.info("SND_NXT") - 1) >>> 0;
    assert.equal(
      sent.map(({ seq }) => seq),
      [before, before],
      "one before what the peer expects: it must answer",
    );
    peer.run(SECOND);
    assert.is(closedWith(peer), peer.end.core.constant("Err.TIMEOUT"));
  });

  patience(title("ends a FIN-WAIT-2 that nobody holds after a minute; keeps a held one"), () => {
    for (const held of [false, true]) {
      const peer = opened();
      if (held) peer.end.shutdown(peer.handle, peer.now);
      else peer.end.release(peer.handle);
      const [fin] = peer.poll();
      assert.is(fin!.flags & FIN, FIN);
      peer.ack += 1;
      peer.send({});
      assert.is(peer.state(), "FIN_WAIT_2");
      peer.run(59 * SECOND);
      assert.is(peer.state(), "FIN_WAIT_2");
      peer.run(HOUR);
      assert.is(peer.end.core.f.tcbCount!(), held ? 1 : 0);
      if (held) assert.is(peer.state(), "FIN_WAIT_2");
    }
  });

  patience(title("resets a released connection to which data still comes"), () => {
    const peer = opened();
    peer.end.release(peer.handle);
    peer.poll();
    const answers = peer.send({ payload: pattern(10) });
    assert.is(answers.at(-1)!.flags & RST, RST);
    peer.end.pollEvents();
    assert.is(peer.end.core.f.tcbCount!(), 0);
  });

  patience(title("tells an orderly end from a reset by the code of CLOSED"), () => {
    const orderly = opened();
    orderly.send({ flags: ACK | FIN });
    orderly.seq += 1;
    orderly.end.shutdown(orderly.handle, orderly.now);
    orderly.poll();
    orderly.ack += 1;
    orderly.send({});
    assert.is(closedWith(orderly), 0);
    const reset = opened();
    reset.send({ flags: RST });
    assert.is(closedWith(reset), reset.end.core.constant("Err.RESET"));
  });

  patience(
    title("takes a RST after both FINs for an orderly end, unless bytes are outstanding"),
    () => {
      /** `first`: who closes; `unsent`: bytes of ours that the peer has not acknowledged. */
      const ended = (first: "we" | "peer", unsent: number): Peer => {
        const peer = opened();
        if (first === "peer") peer.send({ flags: ACK | FIN });
        if (unsent > 0) peer.write(pattern(unsent));
        peer.end.shutdown(peer.handle, peer.now);
        peer.poll();
        if (first === "we") peer.send({ flags: ACK | FIN });
        peer.seq += 1;
        assert.is(peer.state(), first === "we" ? "CLOSING" : "LAST_ACK");
        return peer;
      };
      for (const first of ["we", "peer"] as const) {
        for (const unsent of [0, 100]) {
          const peer = ended(first, unsent);
          const reset = peer.end.core.constant("Err.RESET");
          peer.send({ flags: RST });
          assert.is(closedWith(peer), unsent === 0 ? 0 : reset, `${first} first, ${unsent} bytes`);
          const counted = counter(peer.end.core, unsent === 0 ? "TCP_CLOSED" : "TCP_RESET");
          assert.is(counted, 1);
          const released = ended(first, unsent);
          released.end.release(released.handle);
          released.send({ flags: RST });
          released.end.pollEvents();
          const { code } = released.end.events.find(({ type }) => type === "RELEASED")!;
          assert.is(
            code,
            unsent === 0 ? 0 : reset,
            `${first} first, ${unsent} bytes, nobody holds it`,
          );
        }
      }
    },
  );

  patience(title("says with RELEASED how a connection ended that nobody held any more"), () => {
    const releasedWith = (peer: Peer): number | undefined =>
      peer.end.events.find(({ type }) => type === "RELEASED")?.code;
    const err = (peer: Peer, name: string) => peer.end.core.constant(`Err.${name}`);
    const letGo = (): Peer => {
      const peer = opened();
      peer.write(pattern(100));
      peer.end.release(peer.handle);
      peer.poll();
      assert.equal(peer.end.handles("RELEASED"), []);
      return peer;
    };
    const reset = letGo();
    reset.send({ flags: RST });
    assert.is(releasedWith(reset), err(reset, "RESET"));

    const silent = letGo();
    silent.run(400 * SECOND);
    assert.is(releasedWith(silent), err(silent, "TIMEOUT"));

    const aborted = opened();
    aborted.end.abort(aborted.handle, aborted.now);
    aborted.end.pollEvents();
    assert.is(releasedWith(aborted), err(aborted, "ABORTED"));

    const unread = opened();
    unread.send({ payload: pattern(10) });
    unread.end.release(unread.handle);
    unread.end.pollEvents();
    assert.is(releasedWith(unread), err(unread, "ABORTED"), "unread bytes mean RST");

    const waited = letGo();
    waited.ack = (waited.ack + 101) >>> 0;
    waited.send({ flags: ACK | FIN });
    assert.is(releasedWith(waited), undefined);
    waited.run(61 * SECOND);
    assert.is(releasedWith(waited), 0, "TIME-WAIT is an orderly end");
    const closed = opened();
    closed.send({ flags: ACK | FIN });
    closed.seq += 1;
    closed.end.release(closed.handle);
    closed.poll();
    closed.ack += 1;
    closed.send({});
    assert.is(releasedWith(closed), 0);
  });

  patience(
    title("blames the router that said so when it gives up, unless data got through since"),
    () => {
      const unreachable = (peer: Peer) => peer.icmp([3, 1], peer.quote(peer.ack));
      const err = (peer: Peer, name: string) => peer.end.core.constant(`Err.${name}`);
      const blamed = opened();
      blamed.write(pattern(100));
      unreachable(blamed);
      blamed.run(2000 * SECOND);
      assert.is(closedWith(blamed), err(blamed, "UNREACHABLE"));
      assert.is(counter(blamed.end.core, "TCP_TIMED_OUT"), 1);
      assert.ok(counter(blamed.end.core, "TCP_TROUBLES") >= 2, "the error, and R1");

      const recovered = opened();
      recovered.write(pattern(100));
      unreachable(recovered);
      recovered.ack += 100;
      recovered.send({});
      assert.is(recovered.info("SOFT_ERROR"), 0);
      recovered.write(pattern(100));
      recovered.run(2000 * SECOND);
      assert.is(closedWith(recovered), err(recovered, "TIMEOUT"));

      const dialling = new Peer(build, { listen: false });
      dialling.dialled();
      dialling.ack -= 1;
      unreachable(dialling);
      dialling.run(200 * SECOND);
      assert.is(closedWith(dialling), err(dialling, "UNREACHABLE"));
    },
  );

  patience(title("recycles the oldest TIME-WAIT when their pool is full, and says so"), () => {
    const peer = new Peer(build, { timeWaitMax: 2 });
    for (let port = 1; port <= 3; port++) {
      const at = { sourcePort: port };
      const [synAck] = peer.send({ ...at, flags: SYN, ack: 0, seq: 1000 });
      const ack = synAck!.seq + 1;
      peer.send({ ...at, seq: 1001, ack });
      peer.end.shutdown(peer.end.handles("ACCEPTED").at(-1)!, peer.now);
      peer.poll();
      peer.send({ ...at, flags: ACK | FIN, seq: 1001, ack: ack + 1 });
      peer.run(SECOND);
    }
    assert.is(counter(peer.end.core, "TCP_TIME_WAIT_RECYCLED"), 1);
    assert.equal(peer.end.handles("RELEASED"), [peer.end.handles("ACCEPTED")[0]]);
    peer.run(57 * SECOND);
    assert.is(peer.end.handles("RELEASED").length, 1);
    peer.run(3 * SECOND);
    assert.is(peer.end.handles("RELEASED").length, 3);
  });

  patience(title("ignores a RST in TIME-WAIT, and restarts the minute by a FIN"), () => {
    const peer = opened(Buffer.concat([option.mss(1460), option.timestamps(9, 0)]));
    peer.options = () => option.timestamps(9, 0);
    peer.end.shutdown(peer.handle, peer.now);
    peer.poll();
    peer.ack += 1;
    peer.send({ flags: ACK | FIN });
    assert.is(peer.state(), "TIME_WAIT");
    peer.send({ flags: RST, seq: peer.seq + 1 });
    peer.run(50 * SECOND);
    assert.is(peer.send({ flags: ACK | FIN })[0]?.flags, ACK);
    peer.run(59 * SECOND);
    assert.equal(peer.end.handles("RELEASED"), []);
    peer.run(2 * SECOND);
    assert.is(peer.end.handles("RELEASED").length, 1);
  });
}

patience.run();
