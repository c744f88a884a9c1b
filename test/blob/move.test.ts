/** A connection goes on after its move, with everything that was on its way. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BUILDS } from "../support/core.ts";
import { Pair, pattern } from "../tcp/pair.ts";
import { compile, freeze, infuse, moveB, setMapping } from "./mover.ts";

const move = suite("move");

/** What the application reads in one go. */
const READ_BYTES = 7_000;

for (const build of BUILDS) {
  for (const family of [4, 6] as const) {
    move(
      `gives the same blob again when an infused connection is compiled (${build} v${family})`,
      () => {
        const pair = new Pair({ build, family });
        const { b } = pair.open();
        pair.b.write(b, pattern(300_000), pair.now);
        pair.a.write(1, new Uint8Array(0), pair.now);
        pair.run(3_000);
        freeze(pair.b.core, b);
        setMapping(pair.b.core, 1, pattern(77));
        const nowUs = pair.now + pair.b.startUs;
        const blob = compile(pair.b.core, b, nowUs);
        assert.equal(compile(pair.b.core, b, nowUs), blob, "compiling changes nothing");
        const other = new Pair({ build, family, b: { startUs: nowUs - 1000 } });
        const handle = infuse(other.b.core, blob, nowUs);
        assert.ok(handle > 0, `infuse returned ${handle}`);
        assert.equal(other.b.core.read(other.b.core.f.applicationPtr!(), 77), pattern(77));
        freeze(other.b.core, handle);
        assert.equal(compile(other.b.core, handle, nowUs), blob);
      },
    );
  }

  move(`carries unread, unacknowledged, unsent and out-of-order bytes (${build})`, () => {
    const up = pattern(60_000, 5);
    const down = pattern(400_000, 9);
    const pair = new Pair({ build, wire: { delayUs: 10_000 } });
    const { a, b } = pair.open();
    // The second segment of the client is lost: what follows waits out of order.
    let lost = 0;
    pair.wire.pass = (packet, from) => {
      if (from !== "a" || packet.payload.length === 0) return true;
      lost++;
      return lost !== 2;
    };
    const sent = pair.a.write(a, up, pair.now);
    let written = pair.b.write(b, down, pair.now);
    pair.run(15_000);
    pair.wire.pass = () => true;
    assert.ok(pair.b.info(b, "OOO_COUNT") > 0, "something waits out of order");
    assert.ok(pair.b.info(b, "UNREAD_BYTES") > 0, "something is unread");
    const una = pair.b.info(b, "SND_UNA");
    assert.ok(pair.b.info(b, "SND_NXT") !== una, "something is unacknowledged");
    assert.ok(pair.b.info(b, "SND_END") !== pair.b.info(b, "SND_NXT"), "something is unsent");
    const edge = pair.b.info(b, "RCV_NXT") + pair.b.info(b, "RCV_WND");
    const ranges = pair.b.info(b, "OOO_COUNT");

    const { handle } = moveB(pair, b, { startUs: 5_000_000 });
    assert.is(pair.b.info(handle, "SND_UNA"), una);
    assert.is(pair.b.info(handle, "OOO_COUNT"), ranges, "out-of-order bytes moved too");
    assert.is(pair.b.info(handle, "RCV_NXT") + pair.b.info(handle, "RCV_WND"), edge);
    assert.ok(pair.b.handles("READABLE").length > 0, "the application hears of unread bytes");
    const parts = { up: [] as Uint8Array[], down: [] as Uint8Array[] };
    const length = (list: Uint8Array[]) => list.reduce((sum, part) => sum + part.length, 0);
    let offset = sent;
    pair.onStep = () => {
      written += pair.b.write(handle, down.subarray(written), pair.now);
      offset += pair.a.write(a, up.subarray(offset), pair.now);
      parts.up.push(pair.b.read(handle, pair.now));
      parts.down.push(pair.a.read(a, pair.now));
    };
    pair.onStep();
    pair.runUntil(() => length(parts.up) === up.length && length(parts.down) === down.length, 60);
    assert.equal(Uint8Array.from(Buffer.concat(parts.up)), up);
    assert.equal(Uint8Array.from(Buffer.concat(parts.down)), down);
    assert.is(pair.b.info(handle, "GENERATION"), 1);
  });

  move(`never lets TSval or the window's edge step back (${build})`, () => {
    const pair = new Pair({ build });
    const { a, b } = pair.open();
    let handle = b;
    let tsVal = 0;
    let edge = 0;
    let isFirst = true;
    pair.wire.pass = (packet, from) => {
      if (from !== "b") return true;
      const option = packet.options.find(({ kind }) => kind === 8);
      const view = option && new DataView(option.bytes.buffer, option.bytes.byteOffset);
      const value = view?.getUint32(0) ?? 0;
      if (!isFirst) assert.ok(((value - tsVal) | 0) >= 0, `TSval ${tsVal} then ${value}`);
      tsVal = value;
      const right = packet.ack + (packet.window << pair.b.info(handle, "RCV_WND_SHIFT"));
      if (!isFirst) assert.ok(((right - edge) | 0) >= 0, `edge ${edge} then ${right}`);
      edge = right;
      isFirst = false;
      return true;
    };
    for (let generation = 1; generation < 6; generation++) {
      pair.a.write(a, pattern(5_000), pair.now);
      pair.b.write(handle, pattern(5_000), pair.now);
      pair.run(20_000 * generation);
      // Each time to a core whose clock is far behind.
      handle = moveB(pair, handle, { startUs: 1_000 * generation }, generation).handle;
    }
    pair.run(100_000);
    assert.is(pair.a.state(a), "ESTABLISHED");
    assert.is(pair.a.info(a, "UNREAD_BYTES"), 25_000);
  });

  move(`closes in every order around a move (${build})`, () => {
    for (const order of ["client first", "server first", "both"]) {
      for (const moment of [0, 500, 1_500, 2_500, 60_000]) {
        const pair = new Pair({ build });
        const { a, b } = pair.open();
        pair.a.write(a, pattern(1000), pair.now);
        pair.b.write(b, pattern(2000), pair.now);
        if (order !== "server first") pair.a.shutdown(a, pair.now);
        if (order !== "client first") pair.b.shutdown(b, pair.now);
        pair.run(moment);
        const canMove = !["TIME_WAIT", "CLOSED"].includes(pair.b.state(b));
        const handle = canMove ? moveB(pair, b).handle : b;
        pair.run(3_000_000);
        assert.equal(pair.b.read(handle, pair.now), pattern(1000), `${order} at ${moment}`);
        assert.equal(pair.a.read(a, pair.now), pattern(2000), `${order} at ${moment}`);
        if (order === "client first") pair.b.shutdown(handle, pair.now);
        if (order === "server first") pair.a.shutdown(a, pair.now);
        pair.runUntil(
          () => pair.a.handles("CLOSED").length > 0 && pair.b.handles("CLOSED").length > 0,
          100,
        );
        const code = (end: "a" | "b") =>
          pair[end].events.find(({ type }) => type === "CLOSED")?.code;
        assert.equal([code("a"), code("b")], [0, 0], `${order} at ${moment}`);
      }
    }
  });

  move(`sends no packet above the link of the node it came to (${build})`, () => {
    const jumbo = { mtu: 9000, slotBytes: 9216 };
    const pair = new Pair({ build, a: jumbo, b: jumbo });
    const { a, b } = pair.open();
    const down = pattern(200_000, 9);
    const lengths = { before: 0, after: 0 };
    let when: keyof typeof lengths = "before";
    pair.wire.pass = (packet, from) => {
      if (from === "b") lengths[when] = Math.max(lengths[when], packet.totalLen);
      return true;
    };
    let written = pair.b.write(b, down, pair.now);
    pair.run(1_500);
    when = "after";
    const { handle } = moveB(pair, b, { mtu: 1500 });
    const parts: Uint8Array[] = [];
    const length = () => parts.reduce((sum, part) => sum + part.length, 0);
    pair.onStep = () => {
      written += pair.b.write(handle, down.subarray(written), pair.now);
      parts.push(pair.a.read(a, pair.now));
    };
    pair.onStep();
    pair.runUntil(() => length() === down.length, 60);
    assert.equal(Uint8Array.from(Buffer.concat(parts)), down);
    assert.equal(lengths, { before: 9000, after: 1500 });
  });

  move(`delivers the same bytes over any wire, moved at any moments (${build})`, () => {
    const script = fc.record({
      up: fc.integer({ min: 0, max: 60_000 }),
      down: fc.integer({ min: 1, max: 200_000 }),
      loss: fc.constantFrom(0, 0.02, 0.1),
      jitterUs: fc.constantFrom(0, 3_000),
      seed: fc.integer({ min: 1, max: 1_000_000 }),
      moments: fc.array(fc.integer({ min: 1, max: 120 }), { maxLength: 5 }),
    });
    fc.assert(
      fc.property(script, ({ up, down, loss, jitterUs, seed, moments }) => {
        const pair = new Pair({ build, wire: { loss, jitterUs, seed } });
        const { a, b } = pair.open();
        const data = { up: pattern(up, 3), down: pattern(down, 8) };
        const got = { up: new Uint8Array(up), down: new Uint8Array(down) };
        const done = { up: 0, down: 0, written: 0, offered: 0 };
        let handle = b;
        let steps = 0;
        const due = new Set(moments.reduce<number[]>((at, n) => [...at, (at.at(-1) ?? 0) + n], []));
        pair.onStep = () => {
          if (due.has(steps++)) {
            handle = moveB(pair, handle, { startUs: steps * 1_000_003 }, due.size).handle;
          }
          done.written += pair.b.write(handle, data.down.subarray(done.written), pair.now);
          done.offered += pair.a.write(a, data.up.subarray(done.offered), pair.now);
          const fromA = pair.b.read(handle, pair.now, READ_BYTES);
          // A slow reader comes back by itself: the wire may have nothing more to say.
          if (fromA.length === READ_BYTES) pair.alarm = pair.now + 1_000;
          got.up.set(fromA, done.up);
          done.up += fromA.length;
          const fromB = pair.a.read(a, pair.now);
          got.down.set(fromB, done.down);
          done.down += fromB.length;
        };
        pair.onStep();
        pair.runUntil(() => done.up === up && done.down === down, 600);
        assert.equal(got.up, data.up);
        assert.equal(got.down, data.down);
      }),
      { numRuns: build === "release" ? 60 : 15 },
    );
  });
}

move.run();
