/** Runs one seed under the real core and cipher, and objects when an invariant was broken: by the flags that show it. */
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { createNodeCipher } from "../../host/link/cipher.ts";
import { run, type RunResult } from "../../host/sim/run.ts";
import { drawScenario, scenarioFlags, type Given } from "../../host/sim/scenario.ts";

const wasm = readFileSync(new URL("../../core.wasm", import.meta.url));
const log = { write: () => undefined };

/** Seeds of each kind of run. */
export const SEEDS = Number(process.env["BATON_SEEDS"] ?? 40);
export const BODY = { bodyMax: 5000 };

/** No more at once than a seed has most of the time: much of everything takes long and shows nothing new. */
export const clientsOf = (seed: number): number => 1 + (seed % 12);

export function simulate({ seed, ...given }: Given & { readonly seed: number }): RunResult {
  const scenario = drawScenario(seed, given);
  const result = run({ wasm, cipher: createNodeCipher(), log, scenario });
  const again = `baton sim ${scenarioFlags(scenario)}\n${result.events.join("\n")}`;
  assert.equal(result.problems, [], again);
  return result;
}
