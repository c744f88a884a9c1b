import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { Balancer } from "../../host/routing/policy.ts";
import type { Policy } from "../../host/routing/policy.ts";
import type { RouteContext } from "../../host/routing/route.ts";

const policy = suite("policy");

const NAMES = ["b1", "b2", "b3", "b4", "b5"];

function balancer(kind: Policy, backends: readonly string[] = NAMES): Balancer {
  return new Balancer({ backends, policy: kind });
}

function context(change: Partial<RouteContext> = {}): RouteContext {
  return {
    clientAddress: "192.0.2.1",
    usable: () => true,
    mayReturn: () => false,
    load: () => 0,
    ...change,
  };
}

policy("round-robin takes turns and offers every other backend after the first", () => {
  const turns = balancer("round-robin", ["b1", "b2", "b3"]);
  assert.equal(turns.candidates(context()), ["b1", "b2", "b3"]);
  assert.equal(turns.candidates(context()), ["b2", "b3", "b1"]);
  assert.equal(turns.candidates(context()), ["b3", "b1", "b2"]);
  assert.equal(turns.candidates(context()), ["b1", "b2", "b3"]);
});

policy("round-robin spreads evenly over the usable ones", () => {
  const turns = balancer("round-robin");
  const counts = new Map<string, number>();
  for (let count = 0; count < 300; count++) {
    const [first = ""] = turns.candidates(
      context({ usable: (name) => name !== "b2" && name !== "b3" }),
    );
    counts.set(first, (counts.get(first) ?? 0) + 1);
  }
  assert.equal(
    [...counts],
    [
      ["b1", 100],
      ["b4", 100],
      ["b5", 100],
    ],
  );
});

policy("least-connections takes the least loaded, and turns among equals", () => {
  const load = new Map([
    ["b1", 2],
    ["b2", 1],
    ["b3", 1],
    ["b4", 3],
    ["b5", 1],
  ]);
  const least = balancer("least-connections");
  const firsts = Array.from({ length: 5 }, () => {
    const order = least.candidates(context({ load: (name) => load.get(name) ?? 0 }));
    assert.equal(order.slice(3), ["b1", "b4"]);
    return order[0];
  });
  assert.equal(new Set(firsts), new Set(["b2", "b3", "b5"]));
});

policy("hash gives a client the same order each time, whatever the order of the pool", () => {
  fc.assert(
    fc.property(fc.ipV4(), fc.shuffledSubarray(NAMES, { minLength: 5 }), (address, shuffled) => {
      const client = context({ clientAddress: address });
      const expected = balancer("hash").candidates(client);
      assert.equal(balancer("hash", shuffled).candidates(client), expected);
    }),
  );
});

policy("hash moves only the clients of a backend that is lost", () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), fc.constantFrom(...NAMES), (address, lost) => {
      const all = balancer("hash").candidates(context({ clientAddress: address }));
      const usable = (name: string): boolean => name !== lost;
      const rest = balancer("hash").candidates(context({ clientAddress: address, usable }));
      assert.equal(rest, all.filter(usable));
    }),
  );
});

policy("hash spreads neighbouring addresses evenly", () => {
  const counts = new Map<string, number>(NAMES.map((name) => [name, 0]));
  const clients = 65_536;
  for (let index = 0; index < clients; index++) {
    const clientAddress = `10.0.${index >> 8}.${index & 255}`;
    const [first = ""] = balancer("hash").candidates(context({ clientAddress }));
    counts.set(first, (counts.get(first) ?? 0) + 1);
  }
  // Five standard deviations of a fair choice are 4 % of the mean.
  for (const count of counts.values()) {
    const share = count / (clients / NAMES.length);
    assert.ok(share > 0.96 && share < 1.04, `share ${share.toFixed(3)}`);
  }
});

policy("offers nothing when nothing is usable", () => {
  for (const kind of ["round-robin", "least-connections", "hash"] as const) {
    assert.equal(balancer(kind).candidates(context({ usable: () => false })), []);
  }
});

policy.run();
