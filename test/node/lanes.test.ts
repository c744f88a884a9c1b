/** Lines before each target: the limit, the order, and that nobody is forgotten or let in twice. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Lanes, type InLane } from "../../host/node/lanes.ts";

const lanes = suite("lanes");

interface Item<Name> extends InLane<Item<Name>> {
  readonly name: Name;
}

/** A lane by names. */
class Line<Name extends string | number> {
  readonly #lanes: Lanes<Item<Name>>;
  readonly #items = new Map<Name, Item<Name>>();

  constructor(max: number) {
    this.#lanes = new Lanes(max);
  }

  enter(name: Name, target: string): boolean {
    const item: Item<Name> = { name, ticket: undefined };
    this.#items.set(name, item);
    return this.#lanes.enter(item, target);
  }

  leave(name: Name): Name | undefined {
    const item = this.#items.get(name);
    return item && this.#lanes.leave(item)?.name;
  }
}

lanes("lets so many in, the others in the order of arrival", () => {
  const line = new Line<string>(2);
  assert.equal(
    ["a", "b", "c", "d"].map((item) => line.enter(item, "T")),
    [true, true, false, false],
  );
  assert.ok(line.enter("e", "another target"), "one target's line is not another's");
  assert.is(line.leave("b"), "c");
  assert.is(line.leave("a"), "d");
  assert.is(line.leave("c"), undefined);
  assert.ok(line.enter("f", "T"));
});

lanes("who leaves the line makes no room, who leaves twice neither", () => {
  const line = new Line<string>(1);
  assert.equal(
    ["a", "b", "c"].map((item) => line.enter(item, "T")),
    [true, false, false],
  );
  assert.is(line.leave("b"), undefined);
  assert.is(line.leave("b"), undefined);
  assert.is(line.leave("a"), "c");
  assert.is(line.leave("a"), undefined);
});

lanes("forgets targets that nobody goes to, and keeps those that somebody does", () => {
  const line = new Line<string>(1);
  assert.ok(line.enter("stays", "T"));
  for (let target = 0; target < 1000; target += 1) {
    assert.ok(line.enter("passes", `T${target}`));
    assert.not.ok(line.enter("waits", `T${target}`));
    assert.is(line.leave("passes"), "waits");
    assert.is(line.leave("waits"), undefined);
  }
  assert.not.ok(line.enter("late", "T"), "its lane is still full");
  assert.is(line.leave("stays"), "late");
});

lanes("whatever comes and goes, a lane is full or nobody waits", () => {
  const steps = fc.array(fc.tuple(fc.nat(9), fc.constantFrom("S", "T")), { maxLength: 60 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), steps, (max, events) => {
      const line = new Line<number>(max);
      const inside = new Map<number, string>();
      const waiting: [number, string][] = [];
      for (const [item, target] of events) {
        const at = waiting.findIndex(([each]) => each === item);
        if (inside.has(item) || at >= 0) {
          const lane = inside.get(item);
          const next = line.leave(item);
          const first = waiting.findIndex(([, each]) => each === lane);
          assert.is(next, waiting[first]?.[0]);
          if (at >= 0) waiting.splice(at, 1);
          else if (first >= 0) inside.set(...(waiting.splice(first, 1)[0] as [number, string]));
          inside.delete(item);
        } else if (line.enter(item, target)) inside.set(item, target);
        else waiting.push([item, target]);
        for (const lane of ["S", "T"]) {
          const count = [...inside.values()].filter((each) => each === lane).length;
          assert.ok(count <= max);
          assert.ok(count === max || waiting.every(([, each]) => each !== lane));
        }
      }
    }),
  );
});

lanes.run();
