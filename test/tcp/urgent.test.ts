/** Urgent data: announced, counted, marked, and otherwise part of the stream. RFC 9293 3.8.5. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BUILDS } from "../support/core.ts";
import { ACK, FIN, URG, option } from "../support/packet.ts";
import { pattern } from "./pair.ts";
import { Peer, sizes } from "./peer.ts";

const urgent = suite("urgent");

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;
  const opened = (options = {}): Peer => {
    const peer = new Peer(build, options);
    peer.open();
    return peer;
  };
  const announced = (peer: Peer) => peer.events.filter((type) => type === "URGENT").length;

  urgent(
    title("tells the application of urgent data before it is there, and how much is left"),
    () => {
      const peer = opened();
      peer.send({ flags: ACK | URG, urgent: 300 });
      assert.is(announced(peer), 1);
      assert.is(peer.info("URGENT_BYTES"), 300);
      assert.is(peer.info("RCV_UP"), peer.seq + 300);
      peer.send({ flags: ACK | URG, urgent: 300, payload: pattern(100) });
      peer.seq += 100;
      assert.is(announced(peer), 1, "the same pointer is no news");
      assert.equal(
        peer.end.read(peer.handle, peer.now),
        pattern(100),
        "the bytes stay in the stream",
      );
      assert.is(peer.info("URGENT_BYTES"), 200);
      peer.send({ payload: pattern(250, 100) });
      assert.equal(peer.end.read(peer.handle, peer.now), pattern(250, 100));
      assert.is(peer.info("URGENT_BYTES"), 0);
    },
  );

  urgent(title("takes a sequence of urgent data of any length, pointer by pointer"), () => {
    const peer = opened();
    const total = 300_000;
    let events = 0;
    for (let at = 0; at < total; at += 1000) {
      const pointer = Math.min(total - at, 0xffff);
      peer.send({ flags: ACK | URG, urgent: pointer, payload: pattern(1000, at) });
      peer.seq += 1000;
      assert.is(peer.info("RCV_UP"), peer.seq - 1000 + pointer);
      assert.equal(peer.end.read(peer.handle, peer.now), pattern(1000, at));
      events = announced(peer);
    }
    assert.ok(events > 200, "each advance of the pointer is announced");
    assert.is(peer.info("URGENT_BYTES"), 0);
  });

  urgent(title("processes the urgent pointer while its window is zero"), () => {
    const peer = opened({ rcvBufferMax: 8192 });
    peer.send({ payload: pattern(8192) });
    peer.seq += 8192;
    const [answer] = peer.send({ flags: ACK | URG, urgent: 10, payload: pattern(10) });
    assert.is(answer?.window, 0);
    assert.is(peer.info("RCV_WND"), 0);
    assert.is(announced(peer), 1);
    assert.is(peer.info("RCV_UP"), peer.seq + 10);
    assert.is(peer.info("UNREAD_BYTES"), 8192, "the text itself had no room");
  });

  urgent(title("ignores an old pointer, and any after the peer's FIN"), () => {
    const peer = opened();
    peer.send({ payload: pattern(100) });
    peer.seq += 100;
    peer.end.read(peer.handle, peer.now);
    peer.send({ flags: ACK | URG, urgent: 0, payload: pattern(1) });
    assert.is(announced(peer), 0);
    peer.seq += 1;
    peer.send({ flags: ACK | FIN });
    peer.seq += 1;
    peer.send({ flags: ACK | URG, urgent: 5 });
    assert.is(announced(peer), 0);
    assert.is(peer.state(), "CLOSE_WAIT");
  });

  urgent(
    title("marks what the application calls urgent: the pointer names the byte after it"),
    () => {
      const peer = opened({ segmenting: 1 });
      assert.is(
        peer.end.option(peer.handle, "URGENT", 1),
        peer.end.core.constant("Err.TCP_STATE"),
        "nothing was written",
      );
      peer.end.write(peer.handle, pattern(4000), peer.now);
      assert.is(peer.end.option(peer.handle, "URGENT", 1), 0);
      peer.end.write(peer.handle, pattern(500, 4000), peer.now);
      const out = peer.poll();
      assert.equal(
        sizes(out),
        [1460, 1460, 1460, 120],
        "no super-segment: its pointer would be wrong",
      );
      const end = (peer.ack + 4000) >>> 0;
      for (const packet of out) {
        const before = ((end - packet.seq) | 0) > 0;
        assert.is(packet.flags & URG, before ? URG : 0);
        if (before) assert.is((packet.seq + packet.urgent) >>> 0, end);
      }
      peer.ack += 4500;
      peer.send({});
      const [plain] = peer.write(pattern(10));
      assert.is(plain!.flags & URG, 0);
    },
  );

  urgent(title("announces urgent data while the peer's window is zero"), () => {
    const peer = opened();
    peer.window = 0;
    peer.send({});
    assert.equal(sizes(peer.write(pattern(100))), []);
    peer.end.option(peer.handle, "URGENT", 1);
    const probe = peer.run(3_000_000)[0]!;
    assert.is(probe.flags & URG, URG);
    assert.is((probe.seq + probe.urgent) >>> 0, (peer.ack + 100) >>> 0);
  });

  urgent(title("keeps the urgent pointer across options and the wrap of sequence numbers"), () => {
    const peer = new Peer(build, { iss: 2 ** 32 - 50 });
    peer.open(Buffer.concat([option.mss(1460), option.timestamps(5, 0)]));
    peer.options = () => option.timestamps(6, 0);
    peer.send({ flags: ACK | URG, urgent: 200, payload: pattern(100) });
    assert.is(peer.info("URGENT_BYTES"), 200);
    assert.is(announced(peer), 1);
  });
}

urgent.run();
