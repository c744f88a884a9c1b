/** Windows and acknowledgements: what is sent when, what is answered when. RFC 9293 3.7.4, 3.8.6; RFC 5681 4.2. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counter } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { PSH, RST, SYN, option } from "../support/packet.ts";
import { pattern } from "./pair.ts";
import { Peer, sizes } from "./peer.ts";

const windows = suite("windows");
const SECOND = 1_000_000;

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;
  const opened = (options = {}, syn?: Uint8Array): Peer => {
    const peer = new Peer(build, options);
    peer.open(syn);
    return peer;
  };
  /** Beyond the first segments, which are all acknowledged at once. */
  const settled = (): Peer => {
    const peer = opened();
    for (let count = 0; count < 40; count++) {
      peer.send({ payload: pattern(1460) });
      peer.seq += 1460;
      peer.run(SECOND / 10);
      peer.end.read(peer.handle, peer.now);
      peer.poll();
    }
    return peer;
  };

  windows(title("acknowledges one segment within 40 ms, and every second full one at once"), () => {
    const peer = settled();
    assert.equal(peer.send({ payload: pattern(1460) }), []);
    peer.seq += 1460;
    assert.equal(peer.run(39_000), []);
    const [late] = peer.run(2_000);
    assert.is(late?.ack, peer.seq >>> 0);
    assert.equal(peer.send({ payload: pattern(1460) }), []);
    peer.seq += 1460;
    const [second] = peer.send({ payload: pattern(1460) });
    peer.seq += 1460;
    assert.is(second?.ack, peer.seq >>> 0);
  });

  windows(title("processes every segment of a batch before it sends one acknowledgement"), () => {
    const peer = opened();
    const batch = Array.from({ length: 20 }, (_, index) => ({
      seq: peer.seq + index * 1000,
      payload: pattern(1000, index * 1000),
    }));
    const answers = peer.send(...batch);
    assert.is(answers.length, 1);
    assert.is(answers[0]!.ack, peer.seq + 20_000);
  });

  windows(title("keeps what comes out of order, says so at once, and needs only the hole"), () => {
    const peer = opened({}, Buffer.concat([option.mss(1460), option.sackPermitted()]));
    const [first] = peer.send({ seq: peer.seq + 1000, payload: pattern(1000, 1000) });
    assert.is(first!.ack, peer.seq);
    const { bytes } = first!.options[0]!;
    const block = new DataView(bytes.buffer, bytes.byteOffset);
    assert.equal([block.getUint32(0), block.getUint32(4)], [peer.seq + 1000, peer.seq + 2000]);
    const [filled] = peer.send({ payload: pattern(1000) });
    assert.is(filled!.ack, peer.seq + 2000);
    assert.equal(peer.end.read(peer.handle, peer.now), pattern(2000));
  });

  windows(title("opens its window by full segments or half the buffer, never by less"), () => {
    const peer = opened({ rcvBufferMax: 8192 });
    peer.send({ payload: pattern(8192) });
    peer.seq += 8192;
    let edge = peer.sent.at(-1)!.packet.ack + peer.sent.at(-1)!.packet.window;
    for (let read = 0; read < 8192; read += 64) {
      assert.is(peer.end.read(peer.handle, peer.now, 64).length, 64);
      for (const { ack, window } of peer.poll()) {
        assert.ok(ack + window - edge >= 1460, `by ${ack + window - edge}`);
        edge = ack + window;
      }
    }
    assert.ok(edge - peer.seq >= 4096, "it did open");
  });

  windows(title("announces at first no more than its buffer holds, in a SYN cookie too"), () => {
    for (const halfOpenMax of [32, 0]) {
      const peer = new Peer(build, { rcvBufferMax: 3000, halfOpenMax });
      const [synAck] = peer.send({ flags: SYN, ack: 0 });
      assert.is(synAck!.window, 3000, `${halfOpenMax} half open`);
    }
  });

  windows(
    title("sends no small piece into a small window until the override time, then does"),
    () => {
      const peer = opened();
      peer.window = 20_000;
      peer.send({});
      peer.window = 200;
      peer.send({});
      assert.equal(sizes(peer.write(pattern(5000))), [], "200 is far below half of 20,000");
      assert.equal(sizes(peer.run(150_000)), []);
      assert.equal(sizes(peer.run(3 * SECOND)).slice(0, 1), [200]);
    },
  );

  windows(title("fills a window whose largest size was small"), () => {
    const peer = new Peer(build);
    peer.window = 300;
    peer.open();
    assert.equal(sizes(peer.write(pattern(5000))), [300]);
  });

  windows(title("survives a window that shrinks: nothing new, old data again, no end"), () => {
    const peer = opened();
    peer.window = 14_600;
    peer.send({});
    assert.equal(sizes(peer.write(pattern(20_000))), Array<number>(10).fill(1460));
    peer.ack += 1460;
    peer.window = 2000;
    assert.equal(sizes(peer.send({})), [], "usable window is negative");
    const end = peer.info("SND_NXT");
    for (let at = 0; at < 60; at++) {
      for (const { seq, payload } of peer.run(10 * SECOND)) {
        assert.ok(((seq + payload.length - end) | 0) <= 0, "no new data");
        assert.ok(((seq + payload.length - peer.ack) | 0) <= 2000, "nothing beyond the window");
      }
      peer.send({});
      if (at % 10 === 9) peer.ack += 1460;
    }
    assert.is(peer.state(), "ESTABLISHED");
    peer.window = 65535;
    peer.ack = end;
    assert.ok(sizes(peer.send({})).length > 0, "and goes on when it opens");
  });

  windows(
    title("probes a zero window after an RTO, then backed off, as long as it is answered"),
    () => {
      const peer = opened();
      peer.window = 0;
      peer.send({});
      assert.equal(sizes(peer.write(pattern(100))), []);
      const rto = peer.info("RTO_US");
      const began = peer.now;
      const gaps: number[] = [];
      let last = began;
      while (peer.now - began < 3 * 3600 * SECOND) {
        if (peer.run(SECOND / 2).length === 0) continue;
        const { at } = peer.sent.at(-1)!;
        gaps.push(at - last);
        last = at;
        peer.send({});
      }
      assert.ok(Math.abs(gaps[0]! - rto) < 1000, `${gaps[0]} after an RTO of ${rto}`);
      for (let index = 1; index < gaps.length; index++) {
        const wanted = Math.min(gaps[index - 1]! * 2, 120 * SECOND);
        assert.ok(Math.abs(gaps[index]! - wanted) <= 200_000, `gap ${index}: ${gaps[index]}`);
      }
      assert.is(peer.state(), "ESTABLISHED");
      peer.window = 1000;
      assert.equal(sizes(peer.send({})), [100]);
    },
  );

  windows(title("pushes the last segment of what was written, and keeps nothing back"), () => {
    const peer = opened();
    const out = peer.write(pattern(4000));
    assert.equal(sizes(out), [1460, 1460, 1080]);
    assert.equal(
      out.map(({ flags }) => flags & PSH),
      [0, 0, PSH],
    );
    peer.end.write(peer.handle, pattern(10), peer.now);
    peer.end.write(peer.handle, pattern(20, 10), peer.now);
    assert.equal(sizes(peer.poll()), [], "Nagle: a small one is out");
    peer.ack += 4000;
    const [packet] = peer.send({});
    assert.is(packet!.payload.length, 30, "small writes leave together");
    assert.is(packet!.flags & PSH, PSH);
  });

  windows(title("keeps its promises when the pool runs dry, and gives no new ones"), () => {
    const peer = opened({ bufferBytes: 64 * 4096, rcvBufferMax: 16 << 20 });
    let edge = 0;
    for (let count = 0; count < 400; count++) {
      for (const { ack, window } of peer.send({ payload: pattern(1460) })) {
        assert.ok(ack + window >= edge, "the right edge never moves left");
        edge = ack + window;
        peer.seq = ack;
      }
    }
    assert.is(peer.info("RCV_WND"), 0);
    assert.is(counter(peer.end.core, "TCP_POOL_DROPPED"), 0, "what was promised had a place");
    const unread = peer.info("UNREAD_BYTES");
    assert.is(peer.end.read(peer.handle, peer.now).length, unread);
    assert.ok(peer.poll().at(-1)!.window > 0, "and opens again");
  });

  windows(title("takes a RST and an ACK while its own window is zero"), () => {
    const peer = opened({ rcvBufferMax: 8192 });
    peer.send({ payload: pattern(8192) });
    peer.seq += 8192;
    assert.is(peer.info("RCV_WND"), 0);
    peer.write(pattern(100));
    peer.ack += 100;
    peer.send({});
    assert.is(peer.info("SND_UNA"), peer.ack >>> 0);
    peer.send({ flags: RST });
    assert.ok(peer.events.includes("CLOSED"));
  });

  windows(title("refuses an ACK older than the largest window and one of data never sent"), () => {
    for (const offset of [1, -70_000]) {
      const peer = opened();
      peer.send({ ack: peer.ack + offset, payload: pattern(10) });
      assert.is(peer.info("UNREAD_BYTES"), 0);
      assert.is(counter(peer.end.core, "TCP_BAD_ACK"), 1);
      assert.is(peer.state(), "ESTABLISHED");
      peer.send({ payload: pattern(10) });
      assert.is(peer.info("UNREAD_BYTES"), 10);
    }
  });
}

windows.run();
