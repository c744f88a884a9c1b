/** A registry beside a Map: the same answers and the same order, whatever comes and goes, also amid a walk. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
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

registry("answers as a Map does, and in its order", () => {
  const step = fc.tuple(fc.constantFrom("set", "delete", "clear"), fc.nat(MAX), fc.nat(99));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const map = new Map<number, number>();
      const tried = new Registry<number, number>();
      for (const [what, key, value] of steps) {
        if (what === "set") {
          map.set(key, value);
          tried.set(key, value);
        } else if (what === "delete") assert.is(tried.delete(key), map.delete(key));
        else if (value < 5) {
          map.clear();
          tried.clear();
        }
        assert.is(tried.size, map.size);
        for (let each = 0; each <= MAX; each += 1) {
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

registry("lets entries come and go amid a walk", () => {
  const tried = new Registry<string, string>();
  for (const key of ["a", "b", "c", "d"]) tried.set(key, key.toUpperCase());
  const seen: string[] = [];
  for (const value of tried.values()) {
    seen.push(value);
    if (value === "A") {
      tried.delete("a");
      tried.delete("c");
      tried.set("e", "E"); // in a place that another one has left
    }
  }
  assert.equal(seen, ["A", "B", "D", "E"]);
  assert.equal([...tried.keys()], ["b", "d", "e"]);
});

registry("keeps an undefined value apart from none", () => {
  const tried = new Registry<string, string | undefined>();
  tried.set("a", undefined);
  assert.ok(tried.has("a"));
  assert.ok(tried.delete("a"));
  assert.not.ok(tried.delete("a"));
});

registry("takes a place again that another one has left", () => {
  const tried = new Registry<number, object>();
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

registry("holds nothing that was deleted", async () => {
  const tried = new Registry<string, object>();
  const gone = ((): WeakRef<object> => {
    const value = { some: "value" };
    tried.set("a", value);
    tried.delete("a");
    return new WeakRef(value);
  })();
  await new Promise((resolve) => setImmediate(resolve)); // A WeakRef holds its target for the turn it was made in.
  collect();
  assert.is(gone.deref(), undefined);
  assert.is(tried.size, 0);
});

registry.run();
