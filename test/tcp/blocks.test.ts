/** SACK blocks, sent and received: which, in which order, and which are believed. RFC 2018, RFC 2883, RFC 6675. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BUILDS } from "../support/core.ts";
import { type TcpPacket, option } from "../support/packet.ts";
import { pattern } from "./pair.ts";
import { Peer, sizes } from "./peer.ts";
import { stamps } from "./stamps.ts";

const blocks = suite("blocks");
const MSS = 1000;

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;
  const opened = (...options: Uint8Array[]): Peer => {
    const peer = new Peer(build);
    peer.open(Buffer.concat([option.mss(MSS), ...options]));
    return peer;
  };
  const PERMITTED = option.sackPermitted();
  /** SACK blocks of a segment, from the peer's next byte. */
  const told = (peer: Peer, packet: TcpPacket | undefined): [number, number][] => {
    const found = packet!.options.find(({ kind }) => kind === 5);
    if (found === undefined) return [];
    const view = new DataView(found.bytes.buffer, found.bytes.byteOffset, found.bytes.length);
    return Array.from({ length: found.bytes.length / 8 }, (_, index) => [
      view.getUint32(8 * index) - peer.seq,
      view.getUint32(8 * index + 4) - peer.seq,
    ]);
  };
  /** Sends bytes [from, to) of what is to come; returns the blocks of the answer. */
  const piece = (peer: Peer, from: number, to: number) =>
    told(peer, peer.send({ seq: peer.seq + from, payload: pattern(to - from, from) }).at(-1));

  blocks(
    title("reports the block of the last segment first, then the others, most recent first"),
    () => {
      const peer = opened(PERMITTED);
      assert.equal(piece(peer, 100, 200), [[100, 200]]);
      assert.equal(piece(peer, 300, 400), [
        [300, 400],
        [100, 200],
      ]);
      assert.equal(piece(peer, 500, 600), [
        [500, 600],
        [300, 400],
        [100, 200],
      ]);
      assert.equal(piece(peer, 400, 450), [
        [300, 450],
        [500, 600],
        [100, 200],
      ]);
      // The hole at the front is filled: what is left is still told of.
      const [answer] = peer.send({ payload: pattern(100) });
      assert.is(answer!.ack, peer.seq + 200);
      assert.equal(told(peer, answer), [
        [300, 450],
        [500, 600],
      ]);
    },
  );

  blocks(title("tells of as many blocks as fit: four, or three beside timestamps"), () => {
    for (const stamped of [false, true]) {
      const peer = opened(PERMITTED, ...(stamped ? [option.timestamps(1, 0)] : []));
      if (stamped) stamps(peer);
      let last: [number, number][] = [];
      for (let at = 1; at <= 6; at++) last = piece(peer, 200 * at, 200 * at + 100);
      const recent = [6, 5, 4, 3].map((at) => [200 * at, 200 * at + 100]);
      assert.equal(last, recent.slice(0, stamped ? 3 : 4));
    }
  });

  blocks(title("reports what came twice first and once, then the block that it lies in"), () => {
    const peer = opened(PERMITTED);
    piece(peer, 300, 500);
    piece(peer, 700, 800);
    assert.equal(piece(peer, 300, 400), [
      [300, 400],
      [300, 500],
      [700, 800],
    ]);
    // Said once: the next answer is as any other.
    assert.equal(piece(peer, 900, 950), [
      [900, 950],
      [300, 500],
      [700, 800],
    ]);
    // Below what is acknowledged.
    peer.send({ payload: pattern(100) });
    const [old] = peer.send({ payload: pattern(100) });
    assert.is(old!.ack, peer.seq + 100);
    assert.equal(told(peer, old)[0], [0, 100]);
    // Only a part of the segment is old.
    const [part] = peer.send({ seq: peer.seq + 50, payload: pattern(100, 50) });
    assert.is(part!.ack, peer.seq + 150);
    assert.equal(told(peer, part)[0], [50, 100]);
  });

  blocks(title("reports in one block what came twice in several segments of a batch"), () => {
    const peer = opened(PERMITTED);
    peer.send({ payload: pattern(300) });
    const answers = peer.send(
      { payload: pattern(100) },
      { seq: peer.seq + 100, payload: pattern(100, 100) },
      { seq: peer.seq + 200, payload: pattern(100, 200) },
    );
    assert.is(answers.length, 1);
    assert.equal(told(peer, answers[0]), [[0, 300]]);
  });

  blocks(title("carries blocks on data too, which then has room for less"), () => {
    const peer = opened(PERMITTED);
    piece(peer, 100, 200);
    const [data] = peer.write(pattern(3 * MSS));
    assert.equal(told(peer, data), [[100, 200]]);
    assert.equal(sizes([data!]), [MSS - 12]);
  });

  blocks(title("neither sends nor takes a block unless both permitted it"), () => {
    const peer = opened();
    assert.equal(piece(peer, 100, 200), []);
    peer.write(pattern(5 * MSS));
    const una = peer.ack;
    const out = peer.send({ options: option.sack([una + MSS, una + 5 * MSS]) });
    assert.is(peer.info("FLIGHT_BYTES"), 5 * MSS);
    assert.not.ok(out.some(({ seq }) => seq === una));
  });

  blocks(title("believes no block that is empty, old or beyond what was sent"), () => {
    const peer = opened(PERMITTED);
    peer.write(pattern(5 * MSS));
    const una = peer.ack;
    peer.ack += MSS;
    peer.send({});
    const flight = 4 * MSS;
    const lies: [number, number][] = [
      [3 * MSS, 2 * MSS],
      [2 * MSS, 2 * MSS],
      [0, 3 * MSS],
      [4 * MSS, 5 * MSS + 1],
      [6 * MSS, 7 * MSS],
      [2 ** 31, 2 ** 31 + MSS],
    ];
    for (const [left, right] of lies) {
      const block = option.sack([(una + left) >>> 0, (una + right) >>> 0]);
      peer.send({ options: block });
      assert.is(peer.info("FLIGHT_BYTES"), flight, `${left} to ${right}`);
    }
    peer.send({ options: option.sack([una + 2 * MSS, una + 3 * MSS]) });
    assert.is(peer.info("FLIGHT_BYTES"), flight - MSS);
  });

  blocks(title("counts as in the pipe what was sent and neither SACKed nor deemed lost"), () => {
    const peer = opened(PERMITTED);
    peer.write(pattern(10 * MSS));
    const una = peer.ack;
    assert.is(peer.info("FLIGHT_BYTES"), 10 * MSS);
    peer.run(10_000);
    const again = peer.send({ options: option.sack([una + MSS, una + 6 * MSS]) });
    // Five SACKed; the first lost and sent again, which counts again.
    assert.is(again[0]!.seq, una);
    assert.is(peer.info("FLIGHT_BYTES"), 5 * MSS);
    peer.ack = una + 6 * MSS;
    peer.send({});
    assert.is(peer.info("FLIGHT_BYTES"), 4 * MSS);
  });
}

blocks.run();
