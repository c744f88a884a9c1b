/** The C programs that bench:core compares with: they build, run, and do the work that they are measured by. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compare, CoreHandler } from "../../bench/core/encap.ts";
import { HandlerInC, lwip } from "../../bench/core/peer.ts";

const peer = suite("peers in C");

/** A text says what is missing; anything else that goes wrong is one too, and fails here. */
function orSkip<T extends object>(result: T | string): T | undefined {
  if (typeof result !== "string") return result;
  assert.ok(["no gcc here", "no liblwip-dev here"].includes(result), result);
  process.stdout.write(`SKIP peers in C: ${result}\n`);
  return undefined;
}

const FEW = { flows: 1000, family: 4, decapsulate: false, huge: false } as const;

peer(
  "core and C forward the same packets to the same bytes, in batches and one by one",
  async () => {
    const c = orSkip(HandlerInC.open(FEW));
    if (!c) return;
    const results = await compare([new CoreHandler(FEW), c], 1);
    await c.close();
    assert.is(results.length, 2);
    for (const { batched, singly } of results) assert.ok(batched > 0 && singly > 0);
  },
);

peer("a peer that made other packets of them is found out", async () => {
  const core = new CoreHandler(FEW);
  const wrong = {
    round: (seed: number, singly: boolean) => {
      const { ns, digest } = core.round(seed, singly);
      return { ns, digest: digest ^ 1 };
    },
  };
  try {
    await compare([core, wrong], 1);
  } catch (error) {
    assert.match(String(error), /differ about the packets/);
    return;
  }
  assert.unreachable("nobody noticed");
});

peer("lwIP carries connections and bulk data to their end", () => {
  const result = orSkip(lwip({ connections: 300, atOnce: 64, kept: 100, bytes: 1 << 20 }, 1));
  if (!result) return;
  assert.equal(Object.keys(result).sort(), ["gbit", "kept", "oneByOne", "perSecond"]);
  for (const value of Object.values(result)) assert.ok(value > 0 && Number.isFinite(value));
});

peer.run();
