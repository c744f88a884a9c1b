import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createNodeCipher } from "../../host/link/cipher.ts";
import type { Log } from "../../host/node/environment.ts";
import { run, type RunResult } from "../../host/sim/run.ts";
import { drawScenario, scenarioFlags, type Given } from "../../host/sim/scenario.ts";
import { TROUBLES } from "../../host/sim/trouble.ts";

const simulation = suite("simulation");

const wasm = readFileSync(new URL("../../core.wasm", import.meta.url));
const log: Log = { write: () => undefined };

function simulate({ seed, ...given }: Given & { readonly seed: number }): RunResult {
  const scenario = drawScenario(seed, given);
  const result = run({ wasm, cipher: createNodeCipher(), log, scenario });
  const again = `baton sim ${scenarioFlags(scenario)}\n${result.events.join("\n")}`;
  assert.equal(result.problems, [], again);
  return result;
}

simulation("hands one connection over on a perfect network", () => {
  const quiet = { isPlain: true, connectionsMax: 1, troubles: [], faultPercentMax: 0 };
  const result = simulate({ seed: 1, clients: 1, bodyMax: 5000, ...quiet });
  assert.is(result.handoffs, 1);
});

simulation("gives the same packets at the same times for the same seed", () => {
  const options = { seed: 7, clients: 3, bodyMax: 5000, troubles: ["crash", "pause"] } as const;
  const first = simulate(options);
  assert.is(simulate(options).digest, first.digest);
  assert.not(simulate({ ...options, seed: 8 }).digest === first.digest);
});

const SEEDS = Number(process.env["BATON_SEEDS"] ?? 15);

simulation(`keeps every invariant for ${SEEDS} seeds of faults`, () => {
  for (let seed = 100; seed < 100 + SEEDS; seed++) {
    simulate({ seed, isPlain: true, connectionsMax: 1, troubles: [] });
  }
});

simulation(`keeps them for ${SEEDS} seeds of unusual clients that reuse their ports`, () => {
  for (let seed = 200; seed < 200 + SEEDS; seed++)
    simulate({ seed, bodyMax: 20_000, troubles: [] });
});

for (const kind of TROUBLES) {
  simulation(`loses no connection without a cause: ${kind}`, () => {
    for (let seed = 300; seed < 300 + SEEDS / 5; seed++) {
      simulate({ seed, bodyMax: 20_000, troubles: [kind], faultPercentMax: 0 });
    }
  });
}

simulation(`keeps every invariant for ${SEEDS} seeds of everything at once`, () => {
  for (let seed = 400; seed < 400 + SEEDS; seed++) simulate({ seed, bodyMax: 20_000 });
});

for (const classifiers of [1, 2, 3]) {
  simulation(`keeps every invariant with ${classifiers} classifiers on nodes of their own`, () => {
    for (let seed = 500; seed < 500 + SEEDS / 5; seed++) {
      simulate({ seed: seed + 10 * classifiers, bodyMax: 20_000, classifiers });
    }
  });
}

// Failures that were found, each by its seed.

simulation(
  "answers a late segment of a port's last connection after all classifiers did not",
  () => {
    simulate({ seed: 201, clients: 8, bodyMax: 20_000, troubles: [], classifiers: 1 });
  },
);

simulation("reports to a new forwarder while connections are in TIME-WAIT", () => {
  simulate({ seed: 103, isPlain: true, troubles: ["forwarder-crash"], faultPercentMax: 0 });
});

simulation("says nothing for a node that was declared dead while it stood still (R14)", () => {
  simulate({ seed: 206, troubles: ["long-pause"], faultPercentMax: 0 });
});

simulation("resets a client by its own numbers, not by those of a SYN on the same ports", () => {
  simulate({ seed: 1048 });
});

simulation(
  "measures no round trip by data that waited behind a retransmission (RFC 6298 3)",
  () => {
    simulate({ seed: 1025 });
  },
);

simulation.run();
