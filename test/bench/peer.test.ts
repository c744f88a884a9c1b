/** The C programs that bench:core compares with: they build, run, and do the work that they are measured by. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { forwardInC, lwip } from "../../bench/core/peer.ts";

const peer = suite("peers in C");

/** A text says what is missing; anything else that goes wrong is one too, and fails here. */
function orSkip<T extends object>(result: T | string): T | undefined {
  if (typeof result !== "string") return result;
  assert.ok(["no gcc here", "no liblwip-dev here"].includes(result), result);
  process.stdout.write(`SKIP peers in C: ${result}\n`);
  return undefined;
}

peer("the forwarder's path forwards every packet of known flows, and says how long it took", () => {
  const options = { flows: 1000, family: 4, decapsulate: false, huge: false } as const;
  const result = orSkip(forwardInC(options, 1));
  if (!result) return;
  assert.equal(Object.keys(result).sort(), ["batched", "singly"]);
  assert.ok(result.batched > 0 && result.singly > 0);
});

peer("lwIP carries connections and bulk data to their end", () => {
  const result = orSkip(lwip({ connections: 300, atOnce: 64, kept: 100, bytes: 1 << 20 }, 1));
  if (!result) return;
  assert.equal(Object.keys(result).sort(), ["gbit", "kept", "oneByOne", "perSecond"]);
  for (const value of Object.values(result)) assert.ok(value > 0 && Number.isFinite(value));
});

peer.run();
