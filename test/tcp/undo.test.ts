/** Retransmissions that nobody needed, and what becomes of the reduction they caused. RFC 3522, 4015, 2883, 3708. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counter } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { option } from "../support/packet.ts";
import { pattern } from "./pair.ts";
import { Peer, sizes } from "./peer.ts";

const undo = suite("undo");
const MSS = 1000;
const SYN_OPTIONS = [option.mss(MSS), option.sackPermitted()];
const INFINITE = 0xffffffff;

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;

  /** Ten segments of 1,000 bytes in flight, a round trip of 50 ms known, cwnd not idle. */
  const inFlight = (stamped: boolean): Peer => {
    const peer = new Peer(build);
    const options = stamped ? [...SYN_OPTIONS, option.timestamps(1, 0)] : SYN_OPTIONS;
    peer.open(Buffer.concat(options));
    const mss = stamped ? MSS - 12 : MSS;
    for (let round = 0; round < 2; round++) {
      if (round === 1) assert.equal(sizes(peer.write(pattern(10 * mss))), Array(10).fill(mss));
      else assert.equal(sizes(peer.write(pattern(mss))), [mss]);
      peer.run(50_000);
      if (round === 0) {
        peer.ack += mss;
        if (stamped) peer.options = () => option.timestamps(2, echo(peer));
        peer.send({});
      }
    }
    return peer;
  };
  /** TSval of the core's last segment. */
  const echo = (peer: Peer): number => {
    const stamp = peer.sent.at(-1)!.packet.options.find(({ kind }) => kind === 8)!.bytes;
    return new DataView(stamp.buffer, stamp.byteOffset).getUint32(0);
  };
  const sack = (...edges: number[]) => {
    const bytes = new Uint8Array(4 + 4 * edges.length);
    bytes.set([1, 1, 5, 2 + 4 * edges.length]);
    const view = new DataView(bytes.buffer);
    edges.forEach((edge, index) => view.setUint32(4 + 4 * index, edge));
    return bytes;
  };

  undo(title("takes a fast recovery back once every retransmission is reported by D-SACK"), () => {
    const peer = inFlight(false);
    const una = peer.ack;
    const before = peer.info("CWND");
    // The last seven arrive first; the first three seem lost, and are sent again.
    const again = peer.send({ options: sack(una + 3 * MSS, una + 10 * MSS) });
    assert.equal(sizes(again), [MSS, MSS, MSS]);
    assert.is(counter(peer.end.core, "TCP_RECOVERIES"), 1);
    assert.ok(peer.info("SSTHRESH") < before);
    // They were late only: everything is there, then the copies arrive too.
    peer.ack += 10 * MSS;
    peer.send({});
    assert.is(counter(peer.end.core, "TCP_UNDONE"), 0, "that could be thanks to the copies");
    for (let copy = 0; copy < 3; copy++) {
      assert.is(counter(peer.end.core, "TCP_UNDONE"), 0);
      peer.send({ options: sack(una + copy * MSS, una + (copy + 1) * MSS) });
    }
    assert.is(counter(peer.end.core, "TCP_UNDONE"), 1);
    assert.ok(peer.info("CWND") >= before, `${peer.info("CWND")} of ${before}`);
    assert.is(peer.info("SSTHRESH"), INFINITE);
  });

  undo(title("leaves a recovery as it is when one retransmission was needed"), () => {
    const peer = inFlight(false);
    const una = peer.ack;
    peer.send({ options: sack(una + 3 * MSS, una + 10 * MSS) });
    const ssthresh = peer.info("SSTHRESH");
    peer.ack += 10 * MSS;
    peer.send({});
    for (let copy = 0; copy < 2; copy++) {
      peer.send({ options: sack(una + copy * MSS, una + (copy + 1) * MSS) });
    }
    peer.run(1_000_000);
    assert.is(counter(peer.end.core, "TCP_UNDONE"), 0);
    assert.is(peer.info("SSTHRESH"), ssthresh);
  });

  undo(title("takes no duplicate of the network's making for one of its own"), () => {
    const peer = inFlight(false);
    const una = peer.ack;
    peer.window = 3 * MSS; // nothing new may leave
    // A D-SACK of data from before the episode, and one before anything was sent again.
    peer.send({ options: sack(una - MSS, una, una + 3 * MSS, una + 10 * MSS) });
    peer.send({ options: sack(una - MSS, una, una + 3 * MSS, una + 10 * MSS) });
    peer.send({ options: sack(una - MSS, una, una + 3 * MSS, una + 10 * MSS) });
    assert.is(counter(peer.end.core, "TCP_RECOVERIES"), 1);
    assert.is(counter(peer.end.core, "TCP_UNDONE"), 0);
    assert.ok(peer.info("SSTHRESH") < INFINITE);
  });

  undo(title("takes a fast recovery back by the timestamp of the first ACK"), () => {
    const peer = inFlight(true);
    const mss = MSS - 12;
    const una = peer.ack;
    const before = peer.info("CWND");
    const original = echo(peer);
    peer.options = () => option.timestamps(3, original);
    const blocks = sack(una + 3 * mss, una + 10 * mss);
    const again = peer.send({ options: Buffer.concat([option.timestamps(3, original), blocks]) });
    assert.equal(sizes(again), [mss, mss, mss]);
    peer.ack += 10 * mss;
    peer.send({}); // echoes what was sent first
    assert.is(counter(peer.end.core, "TCP_UNDONE"), 1);
    assert.ok(peer.info("CWND") >= before);
    assert.is(peer.info("SSTHRESH"), INFINITE);
  });

  undo(title("keeps the reduction when the ACK echoes the retransmission"), () => {
    const peer = inFlight(true);
    const mss = MSS - 12;
    const una = peer.ack;
    const blocks = sack(una + 3 * mss, una + 10 * mss);
    peer.send({ options: Buffer.concat([option.timestamps(3, echo(peer)), blocks]) });
    const ssthresh = peer.info("SSTHRESH");
    const late = echo(peer);
    peer.run(50_000);
    peer.options = () => option.timestamps(4, late);
    peer.ack += 10 * mss;
    peer.send({});
    assert.is(counter(peer.end.core, "TCP_UNDONE"), 0);
    assert.is(peer.info("SSTHRESH"), ssthresh);
  });

  undo(title("takes a timeout back by D-SACK where there are no timestamps"), () => {
    const peer = inFlight(false);
    const una = peer.ack;
    const before = peer.info("CWND");
    while (peer.info("TIMEOUTS") === 0) peer.run(10_000);
    const again = peer.sent.slice(-3).filter(({ packet }) => packet.payload.length > 0);
    assert.ok(again.length > 0);
    assert.ok(peer.info("CWND") < before);
    // The ACK of the originals comes at last; then the copies, a probe's and the timeout's, are reported.
    peer.ack += 10 * MSS;
    peer.send({});
    const resent = peer.info("BYTES_RETRANSMITTED");
    for (let copies = 0; copies < resent; copies += MSS) {
      assert.is(counter(peer.end.core, "TCP_UNDONE"), 0);
      peer.send({ options: sack(una, una + MSS) });
      if (counter(peer.end.core, "TCP_UNDONE") === 1) break;
    }
    assert.is(counter(peer.end.core, "TCP_UNDONE"), 1);
    assert.ok(peer.info("CWND") >= before);
    assert.is(peer.info("SSTHRESH"), INFINITE);
  });

  undo(title("marks nothing lost any more when a timeout is taken back"), () => {
    const peer = inFlight(true);
    const mss = MSS - 12;
    const original = echo(peer);
    while (peer.info("TIMEOUTS") === 0) peer.run(10_000);
    const resent = peer.info("BYTES_RETRANSMITTED");
    peer.options = () => option.timestamps(5, original);
    peer.ack += mss;
    const next = peer.send({}); // the first original only
    assert.is(counter(peer.end.core, "TCP_UNDONE"), 1);
    assert.is(peer.info("BYTES_RETRANSMITTED"), resent, "the other nine are on their way");
    assert.equal(sizes(next), []);
    assert.is(peer.info("FLIGHT_BYTES"), 9 * mss);
  });
}

undo.run();
