/** Both registries beside a Map: the same answers and the same order, whatever comes and goes, also amid a walk. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Numbered } from "../../host/transport/numbered.ts";
import { Registry } from "../../host/transport/registry.ts";

const registry = suite("registry");

const CHURN = 1_000_000;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

function heapBytes(): number {
  collect();
  return process.memoryUsage().heapUsed;
}

const MAX = 12;

/** Both kinds, under keys that both can have. */
const KINDS = [
  ["a registry", <V>() => new Registry<number, V>()],
  ["a registry of numbers", <V>() => new Numbered<V>()],
] as const;
/** Few enough to meet again; as identifiers of flows, handles and messages are: alike in their low bits, or in all but those. */
const KEYS = [
  ...[0, 1, 2, 3, 4, 32, 64, 65_536, 2 ** 31 - 1, 2 ** 31, 2 ** 31 + 1, 2 ** 32 - 1],
  ...[2 ** 32, 2 ** 32 + 1, 2 ** 33, 2 ** 47, 2 ** 48 - 1],
];

for (const [kind, make] of KINDS) {
  registry(`${kind} answers as a Map does, and in its order`, () => {
    const key = fc.oneof(fc.constantFrom(...KEYS), fc.nat(MAX), fc.nat(2 ** 31 - 1));
    const step = fc.tuple(fc.constantFrom("set", "set", "delete", "clear"), key, fc.nat(99));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const map = new Map<number, number>();
        const tried = make<number>();
        for (const [what, key, value] of steps) {
          if (what === "set") {
            map.set(key, value);
            tried.set(key, value);
          } else if (what === "delete") {
            const known = [...map.keys()][value] ?? key;
            assert.is(tried.delete(known), map.delete(known));
          } else if (value < 5) {
            map.clear();
            tried.clear();
          }
          assert.is(tried.size, map.size);
          for (const each of [key, ...KEYS]) {
            assert.is(tried.get(each), map.get(each));
            assert.is(tried.has(each), map.has(each));
          }
          assert.equal([...tried.keys()], [...map.keys()]);
          assert.equal([...tried.values()], [...map.values()]);
          assert.is(tried.firstKey(), [...map.keys()][0]);
        }
      }),
    );
  });

  registry(`${kind} lets entries come and go amid a walk`, () => {
    const tried = make<string>();
    for (const [key, value] of ["A", "B", "C", "D"].entries()) tried.set(key, value);
    const seen: string[] = [];
    for (const value of tried.values()) {
      seen.push(value);
      if (value === "A") {
        tried.delete(0);
        tried.delete(2);
        tried.set(4, "E"); // in a place that another one has left
      }
    }
    assert.equal(seen, ["A", "B", "D", "E"]);
    assert.equal([...tried.keys()], [1, 3, 4]);
  });

  registry(`${kind} walks on where all before was deleted, and past its own growth`, () => {
    const tried = make<number>();
    const map = new Map<number, number>();
    for (const each of [tried, map]) {
      for (let key = 0; key < 10; key += 1) each.set(key, key);
    }
    const walk = (each: Map<number, number> | ReturnType<typeof make<number>>): number[] => {
      const seen: number[] = [];
      for (const key of each.keys()) {
        seen.push(key);
        if (key === 5) for (let gone = 0; gone <= 6; gone += 1) each.delete(gone);
        if (key === 8) for (let come = 100; come < 200; come += 1) each.set(come, come);
      }
      return seen;
    };
    assert.equal(walk(tried), walk(map));
  });

  registry(`${kind} takes a place again that another one has left`, () => {
    const tried = make<object>();
    const before = heapBytes();
    for (let key = 0; key < CHURN; key += 1) {
      tried.set(key, {});
      if (key >= 3) assert.ok(tried.delete(key - 3));
    }
    assert.is(tried.size, 3);
    assert.equal([...tried.keys()], [CHURN - 3, CHURN - 2, CHURN - 1]);
    const grown = heapBytes() - before;
    assert.ok(
      grown < 4 * CHURN,
      `${grown} bytes: a place for each, 8 bytes long, would be ${8 * CHURN}`,
    );
  });

  registry(`${kind} keeps an undefined value apart from none`, () => {
    const tried = make<string | undefined>();
    tried.set(7, undefined);
    assert.ok(tried.has(7));
    assert.ok(tried.delete(7));
    assert.not.ok(tried.delete(7));
  });

  registry(`${kind} holds nothing that was deleted`, async () => {
    const tried = make<object>();
    const gone = ((): WeakRef<object> => {
      const value = { some: "value" };
      tried.set(7, value);
      tried.delete(7);
      return new WeakRef(value);
    })();
    await new Promise((resolve) => setImmediate(resolve)); // A WeakRef holds its target for the turn it was made in.
    collect();
    assert.is(gone.deref(), undefined);
    assert.is(tried.size, 0);
  });
}

registry.run();
