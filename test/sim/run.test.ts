import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createNodeCipher } from "../../host/link/cipher.ts";
import type { Log } from "../../host/node/environment.ts";
import { run, type RunOptions, type RunResult } from "../../host/sim/run.ts";

const simulation = suite("simulation");

const wasm = readFileSync(new URL("../../core.wasm", import.meta.url));
const log: Log = { write: () => undefined };

function simulate(options: Partial<RunOptions> & { seed: number }): RunResult {
  const result = run({ wasm, cipher: createNodeCipher(), log, ...options });
  assert.equal(result.problems, [], `seed ${options.seed}`);
  return result;
}

simulation("hands one connection over on a perfect network", () => {
  const result = simulate({ seed: 1, clients: 1, faultPercentMax: 0, bodyMax: 5000 });
  assert.is(result.handoffs, 1);
});

simulation("gives the same packets at the same times for the same seed", () => {
  const first = simulate({ seed: 7, clients: 3 });
  assert.is(simulate({ seed: 7, clients: 3 }).digest, first.digest);
});

const SEEDS = Number(process.env["BATON_SEEDS"] ?? 30);

simulation(`keeps every invariant for ${SEEDS} seeds of faults`, () => {
  for (let seed = 100; seed < 100 + SEEDS; seed++) simulate({ seed });
});

simulation.run();
