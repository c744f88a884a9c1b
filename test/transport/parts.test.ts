import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { getU48, getU64, putU48, putU64 } from "../../host/transport/bytes.ts";
import { Completed } from "../../host/transport/completed.ts";
import { checkFrames, chunkCount, chunkLength, MALFORMED } from "../../host/transport/frame.ts";
import { CHUNK_BYTES, MESSAGE_SPAN, REPLAY_WINDOW } from "../../host/transport/limits.ts";
import { Queue } from "../../host/transport/message.ts";
import { ReplayWindow } from "../../host/transport/replay.ts";

const parts = suite("transport parts");

parts("the replay window takes each counter once and forgets none within its length", () => {
  const step = fc.oneof(
    fc.integer({ min: -40, max: 40 }),
    fc.integer({ min: -REPLAY_WINDOW - 40, max: 200 }),
    fc.integer({ min: 0, max: 3 * REPLAY_WINDOW }),
  );
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 40 }),
      fc.array(step, { maxLength: 300 }),
      (start, steps) => {
        const window = new ReplayWindow();
        const seen = new Set<number>();
        let top = -1;
        let at = start;
        for (const by of steps) {
          const counter = Math.max(0, at + by);
          const isOld = top >= 0 && counter <= top - REPLAY_WINDOW;
          assert.is(window.isFresh(counter), !isOld && !seen.has(counter), `counter ${counter}`);
          if (isOld || seen.has(counter)) continue;
          window.accept(counter);
          seen.add(counter);
          top = Math.max(top, counter);
          at = counter;
        }
        assert.is(window.highest, top);
      },
    ),
    { numRuns: 300 },
  );
});

parts("finished messages are remembered exactly, above and below the watermark", () => {
  const action = fc.oneof(
    fc.record({ add: fc.integer({ min: 0, max: MESSAGE_SPAN - 1 }) }),
    fc.record({
      raise: fc.oneof(
        fc.integer({ min: 0, max: 50 }),
        fc.integer({ min: 0, max: 2 * MESSAGE_SPAN }),
      ),
    }),
  );
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const completed = new Completed();
      const done = new Set<number>();
      const known = new Set<number>();
      for (const one of actions) {
        if ("add" in one) {
          const id = completed.low + one.add;
          completed.add(id);
          done.add(id);
        } else {
          completed.raise(completed.low + one.raise);
          known
            .add(completed.low - 1)
            .add(completed.low)
            .add(completed.low + 1);
        }
        for (const id of [...done, ...known]) {
          if (id < 0) continue;
          assert.is(completed.has(id), id < completed.low || done.has(id), `message ${id}`);
        }
        assert.not(completed.raise(completed.low - 1));
      }
      assert.not(completed.covers(completed.low + MESSAGE_SPAN));
      assert.not(completed.has(completed.low + MESSAGE_SPAN));
    }),
    { numRuns: 100 },
  );
});

parts("chunks cover a message exactly", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 20 * CHUNK_BYTES }), (total) => {
      const count = chunkCount(total);
      let sum = 0;
      for (let index = 0; index < count; index += 1) {
        const length = chunkLength(total, index);
        assert.ok(length > 0 || total === 0);
        assert.ok(index === count - 1 || length === CHUNK_BYTES);
        sum += length;
      }
      assert.is(sum, total);
    }),
  );
});

parts("any bytes are either whole frames or malformed, and reading stays within them", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.integer({ min: 0, max: 7 }),
      (bytes, type) => {
        if (bytes.length > 0) bytes[0] = type;
        const exact = checkFrames(bytes, bytes.length, 1_000_000);
        const longer = new Uint8Array(1_400).fill(255);
        longer.set(bytes);
        assert.is(
          checkFrames(longer, bytes.length, 1_000_000),
          exact,
          "what lies behind is not looked at",
        );
      },
    ),
    { numRuns: 3_000 },
  );
});

parts("frames that no sender writes are malformed", () => {
  const check = (hex: string) => {
    const bytes = new Uint8Array(Buffer.from(hex, "hex"));
    return checkFrames(bytes, bytes.length, 1_000_000);
  };
  assert.is(check(""), 0);
  assert.is(check("01000000000001"), 0, "LOW");
  assert.is(check("0100000000"), MALFORMED, "cut");
  assert.is(check("00"), MALFORMED, "no such frame");
  assert.is(check("0300000000000121" + "00".repeat(33)), MALFORMED, "a bitmap too long");
  assert.is(check("05000000000001" + "00000001" + "0000" + "61"), 1, "CHUNK");
  assert.is(
    check("05000000000001" + "00000001" + "0001" + "61"),
    MALFORMED,
    "a chunk beyond the end",
  );
  assert.is(check("05000000000001" + "ffffffff" + "0000" + "61"), MALFORMED, "longer than allowed");
  assert.is(check("060000000000000001" + "61"), MALFORMED, "no parts");
  assert.is(check("0600000000" + "11" + "0001" + "61"), MALFORMED, "part 1 of 1");
  assert.is(check("0600000000" + "02" + "0001" + "61"), MALFORMED, "a first part that is not full");
  assert.is(check("0600000000" + "12" + "0001" + "61"), 0, "a last part");
});

parts("integers keep their value", () => {
  const bytes = new Uint8Array(16);
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      putU64(bytes, 3, value);
      assert.is(getU64(bytes, 3), value);
      putU48(bytes, 5, value % 2 ** 48);
      assert.is(getU48(bytes, 5), value % 2 ** 48);
    }),
  );
  assert.is(getU64(new Uint8Array(8).fill(255), 0), Infinity);
  assert.is(getU64(Uint8Array.of(0, 0x20, 0, 0, 0, 0, 0, 0), 0), Infinity);
});

parts("a queue keeps its order through any number of turns", () => {
  const queue = new Queue<number>();
  let pushed = 0;
  let shifted = 0;
  for (let round = 0; round < 200; round += 1) {
    for (let i = 0; i < 50; i += 1) queue.push(pushed++);
    for (let i = 0; i < (round < 100 ? 20 : 80) && queue.length > 0; i += 1) {
      assert.is(queue.peek(), shifted);
      assert.is(queue.shift(), shifted++);
    }
    assert.is(queue.length, pushed - shifted);
  }
  while (queue.length > 0) assert.is(queue.shift(), shifted++);
  assert.is(shifted, pushed);
  assert.is(queue.shift(), undefined);
});

parts.run();
