/** Round trips, timeouts and timestamps: which samples count, which do not. RFC 6298, RFC 7323. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counter } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { FIN, RST, SYN, option } from "../support/packet.ts";
import { pattern } from "./pair.ts";
import { Peer, sizes } from "./peer.ts";
import { isStamped, lastValue, stampOf, stamps } from "./stamps.ts";

const roundtrip = suite("roundtrip");
const MSS = 1000;
const MS = 1000;

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;
  /** Open, with a handshake that took `rttUs`. */
  const opened = (rttUs: number, ...options: Uint8Array[]): Peer => {
    const peer = new Peer(build);
    const stamped = options.some(([, , kind]) => kind === 8);
    const syn = Buffer.concat([option.mss(stamped ? MSS + 12 : MSS), ...options]);
    const [synAck] = peer.send({ flags: SYN, ack: 0, options: syn });
    peer.run(rttUs);
    peer.seq += 1;
    peer.ack = synAck!.seq + 1;
    if (stamped) stamps(peer);
    peer.send({});
    peer.handle = peer.end.handles("ACCEPTED").at(-1)!;
    return peer;
  };
  const SACK = option.sackPermitted();
  const STAMPS = option.timestamps(999, 0);

  roundtrip(title("computes SRTT, RTTVAR and RTO of the first sample as RFC 6298 says"), () => {
    const peer = opened(300 * MS);
    assert.is(peer.info("SRTT_US"), 300 * MS);
    assert.is(peer.info("RTTVAR_US"), 150 * MS);
    assert.is(peer.info("RTO_US"), 900 * MS);
    const near = opened(1 * MS);
    assert.is(near.info("RTO_US"), 201 * MS, "200 ms at least for the variance");
  });

  roundtrip(
    title("has the wait for a delayed ACK in its round trip, not in the smallest one"),
    () => {
      const peer = opened(50 * MS);
      peer.end.option(peer.handle, "NODELAY", 1);
      peer.write(pattern(10));
      peer.run(30 * MS);
      peer.write(pattern(10));
      peer.run(20 * MS);
      peer.ack += 20;
      peer.send({});
      assert.is(peer.info("SRTT_US"), 50 * MS, "from the first of the two");
      assert.is(peer.info("RTT_MIN_US"), 20 * MS, "from the last");
    },
  );

  roundtrip(title("does not take its own timeouts for a round trip when an ACK was lost"), () => {
    const peer = opened(50 * MS, SACK, STAMPS);
    const srtt = peer.info("SRTT_US");
    const [first] = peer.write(pattern(MSS));
    const echo = stampOf(first!).value;
    while (peer.info("TIMEOUTS") < 4) peer.run(10 * MS);
    assert.ok(peer.info("RTO_US") < 400 * MS);
    // The peer had it at once; its ACKs were lost, but for that of the last copy.
    const duplicate = option.sack([peer.ack, peer.ack + MSS]);
    peer.ack += MSS;
    peer.send({ options: Buffer.concat([option.timestamps(1100, echo), duplicate]) });
    assert.is(peer.info("SND_UNA"), peer.info("SND_NXT"));
    assert.is(peer.info("SRTT_US"), srtt);
    // What is sent now gives a sample, and the timeout is short again.
    peer.write(pattern(MSS));
    peer.run(50 * MS);
    peer.ack += MSS;
    peer.send({});
    assert.ok(peer.info("RTO_US") < 400 * MS, `${peer.info("RTO_US")}`);
  });

  roundtrip(title("measures the one copy that D-SACK says arrived after the first"), () => {
    const peer = opened(50 * MS, SACK);
    peer.write(pattern(MSS));
    while (peer.info("BYTES_RETRANSMITTED") === 0) peer.run(MS);
    const again = peer.sent.at(-1)!;
    assert.is(again.packet.seq, peer.ack);
    peer.run(60 * MS);
    const duplicate = option.sack([peer.ack, peer.ack + MSS]);
    peer.ack += MSS;
    const srtt = peer.info("SRTT_US");
    peer.send({ options: duplicate });
    const sample = peer.now - again.at;
    assert.is(peer.info("SRTT_US"), srtt - (srtt >> 3) + (sample >> 3));
  });

  roundtrip(title("keeps a timeout backed off until a round trip is measured again"), () => {
    const peer = opened(50 * MS);
    peer.write(pattern(MSS));
    while (peer.info("TIMEOUTS") < 3) peer.run(10 * MS);
    peer.ack += MSS;
    peer.send({});
    assert.ok(peer.info("RTO_US") > 1500 * MS, "of which copy, nobody knows (Karn)");
    peer.write(pattern(MSS));
    peer.run(50 * MS);
    peer.ack += MSS;
    peer.send({});
    assert.ok(peer.info("RTO_US") < 400 * MS);
  });

  roundtrip(
    title("counts the timeout from the last ACK of new data, and not while nothing is out"),
    () => {
      const peer = opened(50 * MS);
      peer.write(pattern(2 * MSS));
      const rto = peer.info("RTO_US");
      peer.run(rto - 10 * MS);
      peer.ack += MSS;
      peer.send({});
      peer.run(rto - 50 * MS);
      assert.is(peer.info("TIMEOUTS"), 0);
      peer.ack += MSS;
      peer.send({});
      assert.equal(peer.run(60_000 * MS), []);
      assert.is(peer.info("TIMEOUTS"), 0);
    },
  );

  roundtrip(title("puts timestamps on every segment once they are agreed, on a RST too"), () => {
    const peer = opened(1 * MS, SACK, STAMPS);
    peer.write(pattern(3 * MSS));
    peer.run(3000 * MS);
    peer.send({ payload: pattern(10) });
    peer.seq += 10;
    peer.send({ seq: peer.seq - 100, payload: pattern(10) });
    peer.end.option(peer.handle, "KEEPALIVE_US", 1000 * MS);
    peer.ack = peer.info("SND_NXT");
    peer.send({});
    peer.run(2000 * MS);
    peer.end.abort(peer.handle, peer.now);
    peer.poll();
    const last = peer.sent.at(-1)!.packet;
    assert.ok((last.flags & RST) !== 0);
    assert.ok(peer.sent.every(({ packet }) => isStamped(packet)));
    assert.is(stampOf(peer.sent[0]!.packet).echo, 999);
  });

  roundtrip(title("echoes nothing in its own SYN, and agrees to no timestamps later"), () => {
    const dialling = new Peer(build);
    assert.is(stampOf(dialling.dialled()).echo, 0);
    const peer = opened(1 * MS);
    peer.options = () => option.timestamps(5, 5);
    peer.send({ payload: pattern(10) });
    peer.seq += 10;
    peer.options = () => option.timestamps(1, 1); // older: of no meaning without an agreement
    const [ack] = peer.send({ payload: pattern(10) });
    assert.is(peer.info("UNREAD_BYTES"), 20);
    assert.not.ok(isStamped(ack!));
  });

  roundtrip(title("takes a segment without timestamps though they were agreed"), () => {
    const peer = opened(1 * MS, STAMPS);
    peer.send({ payload: pattern(10), options: new Uint8Array(0) });
    assert.is(peer.info("UNREAD_BYTES"), 10);
  });

  roundtrip(
    title("echoes the first of the segments that an ACK answers, and the one that fills a hole"),
    () => {
      const peer = opened(1 * MS, SACK, STAMPS);
      const at = (value: number) => option.timestamps(value, lastValue(peer));
      const { seq } = peer;
      const two = peer.send(
        { payload: pattern(100), options: at(2000) },
        { seq: seq + 100, payload: pattern(100), options: at(2001) },
      );
      assert.equal(
        two.map((packet) => stampOf(packet).echo),
        [2000],
      );
      const beyond = peer.send({ seq: seq + 300, payload: pattern(100), options: at(2002) });
      assert.is(stampOf(beyond[0]!).echo, 2000, "what lies beyond a hole is not echoed");
      const filled = peer.send({ seq: seq + 200, payload: pattern(100), options: at(2003) });
      assert.is(filled[0]!.ack, seq + 400);
      assert.is(stampOf(filled[0]!).echo, 2003);
    },
  );

  roundtrip(
    title("judges timestamps before numbers, and at both edges of the window (PAWS)"),
    () => {
      const peer = opened(1 * MS, STAMPS);
      const recent = () => peer.info("TS_RECENT");
      const at = (value: number) => option.timestamps(value, lastValue(peer));
      peer.send({ payload: pattern(100), options: at(5000) });
      peer.seq += 100;
      assert.is(recent(), 5000);
      // In order, but from an earlier turn: no byte of it is taken, and the peer hears where we are.
      const [old] = peer.send({ payload: pattern(50), options: at(4999) });
      assert.is(old!.ack, peer.seq);
      assert.is(peer.info("UNREAD_BYTES"), 100);
      assert.is(counter(peer.end.core, "TCP_PAWS"), 1);
      // Left of the window, at its right edge, beyond it: newer, but not to be echoed.
      peer.send({ seq: peer.seq - 1, options: at(6000) });
      peer.send({ seq: peer.seq - 100, payload: pattern(99), options: at(6001) });
      const edge = peer.seq + peer.info("RCV_WND");
      peer.send({ seq: edge, options: at(6002) });
      peer.send({ seq: edge + 1, payload: pattern(1), options: at(6003) });
      assert.is(recent(), 5000);
      // Equal is not old.
      peer.send({ payload: pattern(10), options: at(5000) });
      peer.seq += 10;
      assert.is(peer.info("UNREAD_BYTES"), 110);
      // A RST is judged by its number alone.
      peer.send({ flags: RST, options: at(1) });
      assert.is(peer.state(), "CLOSED");
    },
  );

  roundtrip(
    title("lets TS.Recent grow old: after 24 days of silence any timestamp is good"),
    () => {
      const peer = opened(1 * MS, STAMPS);
      const at = (value: number) => option.timestamps(value, lastValue(peer));
      peer.send({ payload: pattern(10), options: at(0x70000000) });
      peer.seq += 10;
      const day = 86_400_000 * MS;
      peer.run(23 * day);
      peer.send({ payload: pattern(10), options: at(0x6fffffff) });
      assert.is(peer.info("UNREAD_BYTES"), 10);
      peer.run(2 * day);
      peer.send({ payload: pattern(10), options: at(0x6fffffff) });
      assert.is(peer.info("UNREAD_BYTES"), 20);
      assert.is(peer.info("TS_RECENT"), 0x6fffffff);
    },
  );

  roundtrip(title("ends by the user's time limit itself, not by the timeout after it"), () => {
    for (const limit of [3_000, 30_000, 100_000]) {
      const peer = opened(1 * MS);
      peer.end.option(peer.handle, "USER_TIMEOUT_US", limit * MS);
      peer.write(pattern(MSS));
      while (sizes(peer.run(MS)).length === 0);
      const began = peer.now;
      peer.run(2 * limit * MS);
      const end = peer.end.events.find(({ type }) => type === "CLOSED");
      assert.is(end?.code, peer.end.core.constant("Err.TIMEOUT"));
      const reset = peer.sent.at(-1)!;
      assert.ok((reset.packet.flags & (RST | FIN)) === RST);
      const late = reset.at - began - limit * MS;
      assert.ok(Math.abs(late) < 5 * MS, `${limit} ms: ${late} us late`);
    }
  });
}

roundtrip.run();
