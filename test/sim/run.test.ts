/** Whole simulated clusters, of everything at once or of one kind of client. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BODY, SEEDS, clientsOf, simulate } from "./simulate.ts";

const simulation = suite("simulation");

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

simulation(`keeps every invariant for ${SEEDS} seeds of faults`, () => {
  for (let seed = 100; seed < 100 + SEEDS; seed++) {
    const quiet = { isPlain: true, connectionsMax: 1, troubles: [], movePercent: 0 };
    simulate({ seed, clients: clientsOf(seed), ...BODY, ...quiet });
  }
});

simulation(`keeps them for ${SEEDS} seeds of unusual clients that reuse their ports`, () => {
  for (let seed = 200; seed < 200 + SEEDS; seed++) {
    simulate({ seed, clients: clientsOf(seed), ...BODY, troubles: [], movePercent: 0 });
  }
});

simulation(`loses no connection that moves from backend to backend, for ${SEEDS / 2} seeds`, () => {
  let moves = 0;
  for (let seed = 300; seed < 300 + SEEDS / 2; seed++) {
    const quiet = { faultPercentMax: 0, troubles: [], movePercent: 80 };
    moves += simulate({ seed, clients: clientsOf(seed), ...BODY, ...quiet }).moves;
  }
  assert.ok(moves > 2 * SEEDS, `${moves} moves`);
});

simulation(`keeps every invariant for ${SEEDS} seeds of everything at once`, () => {
  for (let seed = 500; seed < 500 + SEEDS; seed++) {
    simulate({ seed, clients: clientsOf(seed), ...BODY });
  }
});

simulation(
  `keeps them with several forwarders, each with its own clients, for ${SEEDS / 4}`,
  () => {
    for (let seed = 700; seed < 700 + SEEDS / 4; seed++) {
      simulate({ seed, clients: clientsOf(seed), ...BODY, forwarders: 2 + (seed % 2) });
    }
  },
);

simulation.run();
