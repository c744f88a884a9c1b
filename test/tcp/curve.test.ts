/** Shapes of growth: CUBIC's regions, its clock, restarts, HyStart++. RFC 9438, 9406, 5681 4.1, 6928. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BUILDS } from "../support/core.ts";
import { option } from "../support/packet.ts";
import { pattern } from "./pair.ts";
import { Peer } from "./peer.ts";

const curve = suite("curve");
const MS = 1000;
const SECOND = 1_000_000;
const DATA = pattern(4 << 20);
const INFINITE = 0xffffffff;

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;
  const opened = (mss: number, mtu = 1500): Peer => {
    const peer = new Peer(build, { bufferBytes: 32 << 20, mtu, slotBytes: Math.max(2048, mtu) });
    peer.open(Buffer.concat([option.mss(mss), option.windowScale(10)]));
    return peer;
  };
  /**
   * Writes more than a window, lets a round trip pass, acknowledges segment by segment. With a time to wait: a window,
   * and everything is acknowledged before it.
   */
  const round = (peer: Peer, mss: number, rttUs: number, waitUs = 0): void => {
    const windows = waitUs === 0 ? 2 : 1;
    peer.end.write(peer.handle, DATA.subarray(0, windows * peer.info("CWND")), peer.now);
    peer.poll();
    const end = peer.info("SND_NXT");
    peer.run(rttUs);
    while (((end - peer.ack) | 0) > 0) {
      peer.ack = (peer.ack + Math.min(mss, (end - peer.ack) >>> 0)) >>> 0;
      peer.send({});
    }
    if (waitUs !== 0) {
      settle(peer);
      peer.run(waitUs);
    }
  };
  /** Everything that was written is acknowledged. */
  const settle = (peer: Peer): void => {
    while (peer.info("SND_UNA") !== peer.info("SND_END")) {
      peer.poll();
      peer.ack = peer.info("SND_NXT");
      peer.send({});
    }
  };
  const grow = (peer: Peer, mss: number, segments: number, rttUs: number): void => {
    for (let count = 0; peer.info("CWND") < segments * mss; count++) {
      assert.ok(count < 40);
      round(peer, mss, rttUs);
    }
  };
  /** One segment is lost, and repaired. Returns the window that it was lost in. */
  const loseOne = (peer: Peer): number => {
    settle(peer);
    peer.write(pattern(100)); // so that something lies between this loss and the last
    settle(peer);
    peer.end.write(peer.handle, DATA.subarray(0, peer.info("CWND")), peer.now);
    peer.poll();
    const cwnd = peer.info("CWND");
    for (let count = 0; count < 3; count++) peer.send({});
    assert.is(peer.info("PHASE"), 1);
    settle(peer);
    assert.is(peer.info("PHASE"), 0);
    assert.is(peer.info("SSTHRESH"), Math.floor(cwnd * 0.7));
    return cwnd;
  };

  curve(
    title("keeps up with Reno on short paths, however little one ACK adds to a large window"),
    () => {
      const mss = 100;
      const peer = opened(mss);
      grow(peer, mss, 150, 10 * MS);
      loseOne(peer);
      const before = peer.info("CWND") / mss;
      const rounds = 40;
      for (let count = 0; count < rounds; count++) round(peer, mss, 10 * MS);
      const grown = peer.info("CWND") / mss - before;
      // alpha is 0.53; a round trip here carries whole segments, a little less than the window.
      assert.ok(grown > 0.45 * rounds && grown < 0.65 * rounds, `${grown} segments in ${rounds}`);
    },
  );

  curve(title("grows as fast as Reno once it is where it was before the loss"), () => {
    const mss = 100;
    const peer = opened(mss);
    grow(peer, mss, 30, 10 * MS);
    const before = loseOne(peer);
    for (let count = 0; peer.info("CWND") < before; count++) {
      assert.ok(count < 100);
      round(peer, mss, 10 * MS);
    }
    const from = peer.info("CWND") / mss;
    for (let count = 0; count < 20; count++) round(peer, mss, 10 * MS);
    const grown = peer.info("CWND") / mss - from;
    assert.ok(grown > 16 && grown < 24, `${grown} segments in 20 round trips`);
  });

  curve(title("remembers less of a maximum that it did not reach again (fast convergence)"), () => {
    const mss = 1000;
    const peer = opened(mss);
    grow(peer, mss, 100, 100 * MS);
    loseOne(peer);
    const second = loseOne(peer);
    const third = peer.info("CWND");
    // Flat around 0.85 of where the second loss was: K for that height, not for the first maximum.
    const plateau = 0.85 * second;
    const k = Math.cbrt((plateau - third) / mss / 0.4);
    const began = peer.now;
    while (peer.now - began < (k + 0.3) * SECOND) round(peer, mss, 100 * MS);
    const at = peer.info("CWND");
    assert.ok(Math.abs(at - plateau) < 0.08 * plateau, `${at} of ${plateau}`);
  });

  curve(title("goes on flat after a timeout, from where slow start ends"), () => {
    const mss = 1000;
    const peer = opened(mss);
    grow(peer, mss, 150, 100 * MS);
    const maximum = peer.info("CWND");
    peer.end.write(peer.handle, DATA.subarray(0, maximum), peer.now);
    peer.poll();
    while (peer.info("TIMEOUTS") === 0) peer.run(10 * MS);
    const ssthresh = peer.info("SSTHRESH");
    assert.is(ssthresh, Math.floor(maximum * 0.7));
    settle(peer);
    for (let count = 0; peer.info("CWND") < ssthresh; count++) {
      assert.ok(count < 20);
      round(peer, mss, 100 * MS);
    }
    const began = peer.now;
    while (peer.now - began < 2 * SECOND) round(peer, mss, 100 * MS);
    const grown = (peer.info("CWND") - ssthresh) / mss;
    // 0.4 * 2^3 = 3.2, and Reno's 20 round trips at most; back to the maximum it would be 33 in a second.
    assert.ok(grown < 26, `${grown} segments in two seconds`);
    assert.ok(grown > 5, `${grown} segments in two seconds`);
  });

  curve(title("leaves out of the curve the time in which nothing was to be sent"), () => {
    const mss = 1000;
    const after = (waitUs: number): number => {
      const peer = opened(mss);
      grow(peer, mss, 100, 50 * MS);
      loseOne(peer);
      for (let count = 0; count < 30; count++) round(peer, mss, 50 * MS, waitUs);
      return peer.info("CWND") / mss;
    };
    const busy = after(1);
    const idle = after(150 * MS);
    assert.ok(Math.abs(busy - idle) < 0.05 * busy, `${busy} and ${idle} segments`);
  });

  curve(title("does not grow while the application is what limits it"), () => {
    const mss = 1000;
    const peer = opened(mss);
    grow(peer, mss, 40, 50 * MS);
    settle(peer);
    const before = peer.info("CWND");
    for (let count = 0; count < 20; count++) {
      peer.write(pattern(3 * mss));
      peer.run(50 * MS);
      settle(peer);
    }
    assert.is(peer.info("CWND"), before);
  });

  curve(
    title("restarts after idle time with the window that it began with, large segments too"),
    () => {
      const mss = 8960;
      const peer = opened(mss, 9000);
      assert.is(peer.info("CWND"), 2 * mss, "RFC 6928: 14,600 bytes, two segments at least");
      grow(peer, mss, 20, 50 * MS);
      settle(peer);
      peer.run(60 * SECOND);
      peer.end.write(peer.handle, DATA, peer.now);
      peer.poll();
      assert.is(peer.info("CWND"), 2 * mss);
    },
  );

  curve(title("watches round trips in the first slow start only (HyStart++)"), () => {
    const mss = 1000;
    const peer = opened(mss);
    grow(peer, mss, 100, 20 * MS);
    assert.is(peer.info("SSTHRESH"), INFINITE);
    peer.end.write(peer.handle, DATA.subarray(0, peer.info("CWND")), peer.now);
    peer.poll();
    while (peer.info("TIMEOUTS") === 0) peer.run(10 * MS);
    const ssthresh = peer.info("SSTHRESH");
    settle(peer);
    for (let count = 0; peer.info("CWND") < ssthresh; count++) {
      assert.ok(count < 20);
      round(peer, mss, (20 + 15 * count) * MS);
      assert.is(peer.info("SSTHRESH"), ssthresh);
    }
  });

  curve(title("goes back to slow start when round trips shrink again (HyStart++)"), () => {
    const mss = 1000;
    const peer = opened(mss);
    for (let count = 0; count < 4; count++) round(peer, mss, 50 * MS);
    round(peer, mss, 70 * MS); // a rise: conservative from here
    round(peer, mss, 70 * MS);
    const cautious = peer.info("CWND");
    round(peer, mss, 70 * MS);
    const slow = peer.info("CWND") / cautious;
    assert.ok(slow < 1.4, `grew by ${slow}`);
    round(peer, mss, 50 * MS);
    const before = peer.info("CWND");
    round(peer, mss, 50 * MS);
    assert.ok(peer.info("CWND") > 1.8 * before, `${before} to ${peer.info("CWND")}`);
    assert.is(peer.info("SSTHRESH"), INFINITE);
  });
}

curve.run();
