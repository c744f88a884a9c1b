import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { type TestCore, onBothBuilds, u32 } from "../support/core.ts";

const table = suite("flow/table");
const ENTRY_SIZE = 16;

/** A table whose key is the first 8 bytes, two words, hashed by hashPair; the value is one word. */
function open(core: TestCore, limit: number, capacity: number): number {
  const ptr = core.scratch(65536);
  core.write(
    ptr + 64,
    Uint8Array.from({ length: 16 }, (_, i) => i + 1),
  );
  core.f.hashInit!(ptr + 64);
  core.f.layoutBegin!();
  core.f.layoutReserve!(ptr + 65536); // beyond the scratch page
  core.f.tableReserve!(ptr, ENTRY_SIZE, limit, capacity);
  assert.is(core.f.layoutEnd!(), 0);
  return ptr;
}

function find(core: TestCore, ptr: number, key: number): number {
  let entry = u32(core.f.tableHome!(ptr, core.f.hashPair!(key, 1)));
  for (let probes = 0; core.view.getBigUint64(entry, true) !== 0n; probes++) {
    if (probes > core.f.tableCapacity!(ptr)) throw new Error("no empty slot is left");
    if (core.view.getUint32(entry, true) === key) return entry;
    entry = u32(core.f.tableNext!(ptr, entry));
  }
  return 0;
}

function insert(core: TestCore, ptr: number, key: number, value: number): void {
  const entry = u32(core.f.tableClaim!(ptr, core.f.hashPair!(key, 1)));
  core.view.setUint32(entry, key, true);
  core.view.setUint32(entry + 4, 1, true);
  core.view.setUint32(entry + 8, value, true);
}

onBothBuilds(table, (test) => {
  test("behaves as a Map under random insertions and removals, full and wrapping", (core) => {
    const operation = fc.record({
      remove: fc.boolean(),
      key: fc.integer({ min: 1, max: 40 }),
      value: fc.nat(),
    });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 6 }),
        fc.array(operation, { maxLength: 120 }),
        (limit, spare, operations) => {
          const ptr = open(core, limit, limit + spare);
          const model = new Map<number, number>();
          for (const { remove, key, value } of operations) {
            const entry = find(core, ptr, key);
            assert.is(entry !== 0, model.has(key));
            if (remove && entry !== 0) {
              core.f.tableRemoveByPair!(ptr, entry);
              model.delete(key);
            } else if (entry === 0 && !core.f.tableFull!(ptr)) {
              insert(core, ptr, key, value);
              model.set(key, value);
            }
            assert.is(core.f.tableCount!(ptr), model.size);
            for (const [k, v] of model) {
              assert.is(core.view.getUint32(find(core, ptr, k) + 8, true), v, `key ${k}`);
            }
          }
          assert.is(Boolean(core.f.tableFull!(ptr)), model.size === limit);
          let walked = 0;
          for (let slot = 0; slot < core.f.tableCapacity!(ptr); slot++) {
            if (core.view.getBigUint64(u32(core.f.tableAt!(ptr, slot)), true) !== 0n) walked += 1;
          }
          assert.is(walked, model.size);
        },
      ),
      { numRuns: 150 },
    );
  });

  test("refuses to grow beyond its limit by an assertion, not by an endless probe", (core) => {
    const ptr = open(core, 2, 3);
    insert(core, ptr, 1, 1);
    insert(core, ptr, 2, 2);
    assert.is(core.f.tableFull!(ptr), 1);
    assert.throws(() => core.f.tableClaim!(ptr, 0));
  });
});

const expiry = suite("flow/expiry");

onBothBuilds(expiry, (test) => {
  test("returns keys in the order of entry, refuses when full, wraps", (core) => {
    const ptr = core.scratch(65536);
    core.f.layoutBegin!();
    core.f.layoutReserve!(ptr + 65536);
    core.f.expiryReserve!(ptr, 5);
    assert.is(core.f.layoutEnd!(), 0);
    const model: [bigint, number][] = [];
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 60 }), (pushes) => {
        for (const push of pushes) {
          const key = BigInt(1 + Math.floor(model.length * 7 + 1));
          if (push) {
            const taken = core.f64.expiryPush!(ptr, key, model.length);
            assert.is(Number(taken), model.length < 5 ? 1 : 0);
            if (model.length < 5) model.push([key, model.length]);
          } else {
            const [wanted] = model.shift() ?? [0n];
            assert.is(core.f64.expiryPop!(ptr), wanted);
          }
          assert.is(core.f.expiryOldestUs!(ptr), model[0]?.[1] ?? Infinity);
        }
      }),
    );
  });
});

table.run();
expiry.run();
