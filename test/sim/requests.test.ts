/** Whole simulated clusters whose connections go back to a classifier before each request. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createNodeCipher } from "../../host/link/cipher.ts";
import { run, type RunResult } from "../../host/sim/run.ts";
import { drawScenario, scenarioFlags, type Given } from "../../host/sim/scenario.ts";

const requests = suite("simulated requests");

const wasm = readFileSync(new URL("../../core.wasm", import.meta.url));
const SEEDS = 3;

function simulate(seed: number, given: Given): RunResult {
  const scenario = drawScenario(seed, { isByRequest: true, bodyMax: 5000, clients: 6, ...given });
  const log = { write: () => undefined };
  const result = run({ wasm, cipher: createNodeCipher(), log, scenario });
  const again = `baton sim ${scenarioFlags(scenario)}\n${result.events.join("\n")}`;
  assert.equal(result.problems, [], again);
  return result;
}

for (const classifiers of [0, 1, 2]) {
  const where = classifiers === 0 ? "the forwarder" : `${classifiers} classifiers apart`;

  requests(`nothing is lost where nothing goes wrong: by ${where}`, () => {
    let moves = 0;
    for (let seed = 500; seed < 500 + SEEDS; seed++) {
      moves += simulate(seed, { classifiers, faultPercentMax: 0, troubles: [] }).moves;
    }
    assert.ok(moves > 5 * SEEDS, `${moves} moves`);
  });

  requests(`every invariant holds with faults, troubles and other moves: by ${where}`, () => {
    for (let seed = 600; seed < 600 + SEEDS; seed++) {
      simulate(seed, { classifiers, movePercent: 20 });
    }
  });
}

requests.run();
