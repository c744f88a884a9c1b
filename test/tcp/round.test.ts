/** The round trip as a receiver sees it: it must know one to grow its buffer, though it never sends. RFC 7323 4. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BUILDS } from "../support/core.ts";
import { SYN, option } from "../support/packet.ts";
import { pattern } from "./pair.ts";
import { Peer } from "./peer.ts";
import { stamps } from "./stamps.ts";

const round = suite("round");
const MS = 1000;

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;

  /**
   * A client with a window full for each round trip sends to a core that only reads. Returns the windows at the end:
   * what the core promises, in bytes, after so many round trips.
   */
  const upload = (peer: Peer, rttUs: number, rounds: number): number => {
    const mss = 1000;
    for (let count = 0; count < rounds; count++) {
      const segments = Math.floor(peer.info("RCV_WND") / mss);
      const batch = Array.from({ length: segments }, (_, index) => ({
        seq: (peer.seq + index * mss) >>> 0,
        payload: pattern(mss),
      }));
      for (let at = 0; at < batch.length; at += 32) peer.send(...batch.slice(at, at + 32));
      peer.seq = (peer.seq + segments * mss) >>> 0;
      peer.end.read(peer.handle, peer.now);
      peer.poll();
      peer.run(rttUs);
      peer.ack = peer.info("SND_NXT");
    }
    return peer.info("RCV_WND");
  };
  const opened = (stamped: boolean, handshakeUs: number): Peer => {
    const peer = new Peer(build, { bufferBytes: 16 << 20, rcvBufferMax: 320 << 10 });
    const stamp = stamped ? [option.timestamps(1, 0)] : [];
    const options = Buffer.concat([option.mss(1012), option.windowScale(7), ...stamp]);
    const [synAck] = peer.send({ flags: SYN, ack: 0, options });
    peer.run(handshakeUs);
    peer.seq += 1;
    peer.ack = synAck!.seq + 1;
    if (stamped) stamps(peer);
    peer.send({});
    peer.handle = peer.end.handles("ACCEPTED").at(-1)!;
    return peer;
  };

  for (const stamped of [true, false]) {
    const by = stamped ? "with timestamps" : "without timestamps";
    round(
      title(`grows the buffer of an upload whose round trip is longer than the handshake's, ${by}`),
      () => {
        const peer = opened(stamped, 1 * MS);
        assert.is(peer.info("SRTT_US"), 1 * MS);
        assert.ok(peer.info("RCV_WND") <= 65_536);
        // 100 ms from now on: a millisecond's worth of what is read would say that 64 KiB are plenty.
        assert.ok(upload(peer, 100 * MS, 8) > 256 << 10, `${peer.info("RCV_WND")} bytes`);
      },
    );
  }

  round(title("keeps what it measures out of its own timeouts"), () => {
    const peer = opened(true, 1 * MS);
    const rto = peer.info("RTO_US");
    upload(peer, 100 * MS, 4);
    assert.is(peer.info("SRTT_US"), 1 * MS);
    assert.is(peer.info("RTO_US"), rto);
  });

  round(title("does not take a pause of the client for a long round trip"), () => {
    const peer = opened(true, 10 * MS);
    for (let count = 0; count < 8; count++) {
      peer.run(10_000 * MS);
      peer.send({ payload: pattern(1000) });
      peer.seq += 1000;
      peer.end.read(peer.handle, peer.now);
      peer.poll();
    }
    // Then it sends in earnest, and the window opens within some real round trips.
    assert.ok(upload(peer, 10 * MS, 30) > 256 << 10, `${peer.info("RCV_WND")} bytes`);
  });
}

round.run();
