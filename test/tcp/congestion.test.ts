/** How fast: slow start, NewReno, CUBIC, HyStart++, idle time, limited transmit, undo. RFC 5681, 9438, 9406, 3042. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counter } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { option } from "../support/packet.ts";
import { pattern } from "./pair.ts";
import { Peer, sizes } from "./peer.ts";

const congestion = suite("congestion");
const MSS = 1460;
const SECOND = 1_000_000;
const DATA = pattern(8 << 20);
const SYN = [option.mss(MSS), option.windowScale(10)];

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;
  const opened = (...more: Uint8Array[]): Peer => {
    const peer = new Peer(build, { bufferBytes: 32 << 20 });
    peer.open(Buffer.concat([...SYN, ...more]));
    return peer;
  };
  /** Writes what fits, lets a round trip pass, acknowledges segment by segment. */
  const round = (peer: Peer, rttUs: number): void => {
    peer.end.write(peer.handle, DATA, peer.now);
    peer.poll();
    const end = peer.info("SND_NXT");
    peer.run(rttUs);
    while (((end - peer.ack) | 0) > 0) {
      peer.ack = (peer.ack + Math.min(MSS, (end - peer.ack) >>> 0)) >>> 0;
      peer.send({});
    }
  };
  /** One segment is lost; the recovery ends. */
  const loseOne = (peer: Peer): void => {
    peer.end.write(peer.handle, DATA, peer.now);
    peer.poll();
    for (let count = 0; count < 3; count++) peer.send({});
    const end = peer.info("SND_NXT");
    peer.ack = end;
    peer.send({});
  };
  const segments = (peer: Peer) => peer.info("CWND") / MSS;

  congestion(title("starts with ten segments and grows by what is acknowledged"), () => {
    const peer = opened();
    assert.is(sizes(peer.write(pattern(60_000))).length, 10);
    for (let acked = 1; acked <= 10; acked++) {
      peer.ack += MSS;
      peer.send({});
      assert.is(peer.info("CWND"), (10 + acked) * MSS);
    }
  });

  congestion(title("grows NewReno by one segment a round trip, and halves it on loss"), () => {
    const peer = opened();
    assert.is(peer.end.option(peer.handle, "CONGESTION", 1), 0);
    for (let count = 0; count < 3; count++) round(peer, SECOND / 10);
    const before = peer.info("CWND");
    loseOne(peer);
    assert.is(peer.info("SSTHRESH"), Math.floor(before / 2));
    assert.is(peer.info("CWND"), peer.info("SSTHRESH"));
    for (let count = 0; count < 10; count++) {
      const was = segments(peer);
      round(peer, SECOND / 10);
      assert.ok(segments(peer) - was <= 1, `by ${segments(peer) - was}`);
    }
    // A round trip carries whole segments only, a little less than cwnd: one of ten may not suffice.
    const grown = segments(peer) - peer.info("SSTHRESH") / MSS;
    assert.ok(grown >= 8 && grown <= 10, `by ${grown} in ten round trips`);
  });

  congestion(title("falls to one segment by a timeout and starts slowly up to ssthresh"), () => {
    const peer = opened();
    for (let count = 0; count < 3; count++) round(peer, SECOND / 10);
    const before = peer.info("CWND");
    peer.end.write(peer.handle, DATA, peer.now);
    peer.poll();
    const lost = peer.ack;
    const again = peer.run(SECOND).filter(({ seq }) => seq === lost >>> 0);
    assert.ok(again.length >= 1, "the first one again");
    assert.ok(peer.info("TIMEOUTS") >= 1);
    assert.ok(peer.info("CWND") <= 2 * MSS, `${segments(peer)} segments`);
    assert.is(peer.info("SSTHRESH"), Math.floor(before * 0.7));
  });

  congestion(
    title("follows the cubic curve: flat before the old maximum, back at it after K"),
    () => {
      const peer = opened();
      for (let count = 0; segments(peer) < 200; count++) {
        assert.ok(count < 20);
        round(peer, SECOND / 5);
      }
      const maximum = segments(peer);
      loseOne(peer);
      assert.ok(Math.abs(segments(peer) - 0.7 * maximum) < 1, "beta is 0.7");
      const k = Math.cbrt((0.3 * maximum) / 0.4);
      const began = peer.now;
      for (let count = 0; (peer.now - began) / SECOND < 2 * k; count++) {
        round(peer, SECOND / 5);
        // The window at the end of a round trip is what the curve said for it.
        const t = (peer.now - began) / SECOND;
        const cubic = (at: number) => maximum + 0.4 * (at - k) ** 3;
        const low = Math.min(cubic(t - 0.3), cubic(t)) * 0.95;
        const high = cubic(t + 0.3) * 1.05;
        if (count > 3) {
          assert.ok(segments(peer) >= low && segments(peer) <= high, `${t} s: ${segments(peer)}`);
        }
      }
      assert.ok(segments(peer) > maximum * 1.2, "and beyond it");
    },
  );

  congestion(title("leaves slow start when round trips grow, without any loss"), () => {
    const steady = opened();
    const rising = opened();
    for (let count = 0; count < 9; count++) {
      round(steady, SECOND / 20);
      round(rising, SECOND / 20 + count * 10_000);
    }
    assert.is(steady.info("SSTHRESH"), 0xffffffff);
    assert.ok(rising.info("SSTHRESH") < 0xffffffff, "conservative slow start ended");
    assert.ok(rising.info("CWND") < steady.info("CWND") / 2);
  });

  congestion(title("falls back to the initial window after idle time"), () => {
    const peer = opened();
    for (let count = 0; count < 4; count++) round(peer, SECOND / 10);
    peer.run(SECOND); // whatever was still to be sent leaves
    while (peer.info("SND_UNA") !== peer.info("SND_END")) {
      peer.ack = peer.info("SND_NXT");
      peer.send({});
    }
    assert.ok(segments(peer) > 50);
    peer.run(60 * SECOND);
    assert.is(sizes(peer.write(DATA.subarray(0, 60_000))).length, 10);
  });

  congestion(
    title("lets a new segment out for each of two duplicate ACKs of a peer without SACK"),
    () => {
      const peer = opened();
      assert.is(sizes(peer.write(DATA.subarray(0, 40_000))).length, 10);
      const first = peer.ack;
      for (const nth of [1, 2]) {
        const out = peer.send({});
        assert.equal(sizes(out), [MSS], `duplicate ${nth}`);
        assert.is(out[0]!.seq, (first + (9 + nth) * MSS) >>> 0);
        assert.is(segments(peer), 10);
      }
      const [again] = peer.send({});
      assert.is(again?.seq, first >>> 0, "the third one says that it is lost");
    },
  );

  congestion(title("undoes a timeout when D-SACK says that nothing had been lost"), () => {
    const peer = opened(option.sackPermitted());
    round(peer, 1000);
    const cwnd = peer.info("CWND");
    while (peer.info("SND_UNA") !== peer.info("SND_END")) {
      peer.ack = peer.info("SND_NXT");
      peer.send({});
    }
    const first = peer.ack;
    assert.equal(sizes(peer.write(pattern(2 * MSS))), [MSS, MSS]);
    while (peer.info("TIMEOUTS") === 0) peer.run(10_000);
    const resent = peer.sent.filter(({ packet }) => packet.seq === first && packet.payload.length);
    assert.ok(resent.length >= 2);
    assert.ok(peer.info("SSTHRESH") < 0xffffffff);
    // Late ACK of the originals, then a duplicate report for each copy.
    peer.ack += 2 * MSS;
    peer.send({});
    for (let left = peer.info("BYTES_RETRANSMITTED"); left > 0; left -= MSS) {
      const at = left % (2 * MSS) === 0 ? first + MSS : first;
      peer.send({ options: option.sack([at, at + MSS]) });
    }
    assert.is(counter(peer.end.core, "TCP_UNDONE"), 1);
    assert.is(peer.info("SSTHRESH"), 0xffffffff);
    assert.ok(peer.info("CWND") >= Math.min(cwnd, 10 * MSS));
  });
}

congestion.run();
