/** The table of TIME-WAIT records against a Map: whatever is added and removed, each is found and nothing else. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { initCore } from "../support/batch.ts";
import { onBothBuilds } from "../support/core.ts";

const table = suite("TIME-WAIT table");
const RECORDS = 3000;
const STEPS = 30_000;
/** More than there are records, so that some are met again, and few enough for chains of three and more. */
const TUPLES = 4000;
const TUPLE_SIZE = 40;

onBothBuilds(table, (test) => {
  test("holds what was added and not removed, in any order", (core) => {
    const seed = Math.trunc(Math.random() * 2 ** 31);
    const hashSecret = Uint8Array.from({ length: 16 }, (_, i) => (seed >>> ((i % 4) * 8)) & 0xff);
    assert.is(initCore(core, { timeWaitMax: RECORDS, hashSecret, slotBytes: 2048 }), 0);
    const { f } = core;
    const base = core.scratch(TUPLES * TUPLE_SIZE);
    for (let at = 0; at < TUPLES; at++) {
      const ptr = base + at * TUPLE_SIZE;
      core.view.setUint32(ptr, 4, true);
      core.view.setUint16(ptr + 4, 1024 + at, true);
      core.view.setUint16(ptr + 6, 80, true);
      core.view.setUint32(ptr + 8, 0x0100007f + (at & 7), true);
    }
    const known = new Map<number, number>();
    let state = seed;
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let step = 0; step < STEPS; step++) {
      const at = random(TUPLES);
      const tuple = base + at * TUPLE_SIZE;
      const index = known.get(at) ?? 0;
      assert.is(f.timeWaitFind!(tuple), index, `seed ${seed}, step ${step}`);
      if (index !== 0 && random(2) === 0) {
        f.timeWaitForget!(index);
        known.delete(at);
      } else if (index !== 0) {
        f.timeWaitEnd!(index);
        known.delete(at);
        assert.is(f.timeWaitDone!(), index);
        f.timeWaitReported!();
      } else if (known.size < RECORDS) {
        const opened = core.f64.timeWaitOpen!(tuple, BigInt(step)) as unknown as number;
        assert.not(known.has(at));
        known.set(at, opened);
      }
      assert.is(f.timeWaitCount!(), known.size);
    }
    assert.ok(known.size > RECORDS / 4, `seed ${seed}: ${known.size} at the end`);
    for (let at = 0; at < TUPLES; at++) {
      assert.is(f.timeWaitFind!(base + at * TUPLE_SIZE), known.get(at) ?? 0, `seed ${seed}`);
    }
  });
});

table.run();
