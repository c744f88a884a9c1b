/** Whole simulated clusters of which one part fails, or behaves in a way of its own: each kind by itself. */
import { suite } from "uvu";
import { CLASSIFIER_TROUBLES, LATE, TROUBLES } from "../../host/sim/trouble.ts";
import { BODY, SEEDS, clientsOf, simulate } from "./simulate.ts";

const simulation = suite("simulated troubles");

for (const kind of [...TROUBLES, ...LATE]) {
  simulation(`loses no connection without a cause: ${kind}`, () => {
    for (let seed = 400; seed < 400 + SEEDS / 6; seed++) {
      const alone = { troubles: [kind], faultPercentMax: 0 };
      simulate({ seed, clients: clientsOf(seed), ...BODY, ...alone });
    }
  });
}

for (const kind of CLASSIFIER_TROUBLES) {
  simulation(`loses no connection without a cause: ${kind}`, () => {
    for (let seed = 400; seed < 400 + SEEDS / 10; seed++) {
      const alone = { troubles: [kind, kind], faultPercentMax: 0 };
      simulate({ seed, clients: clientsOf(seed), ...BODY, ...alone, classifiers: 1 + (seed % 3) });
    }
  });
}

for (const classifiers of [1, 2, 3]) {
  simulation(`keeps every invariant with ${classifiers} classifiers on nodes of their own`, () => {
    for (let seed = 500; seed < 500 + SEEDS / 8; seed++) {
      simulate({ seed: seed + 10 * classifiers, ...BODY, classifiers });
    }
  });
}

simulation("loses no connection of one forwarder's clients by another one's crash", () => {
  const troubles = ["forwarder-crash", "forwarder-pause"] as const;
  for (let seed = 560; seed < 560 + SEEDS / 8; seed++) {
    const alone = { troubles, faultPercentMax: 0, forwarders: 3 };
    simulate({ seed, clients: clientsOf(seed), ...BODY, ...alone });
  }
});

simulation("loses no connection of clients that run the product's own stack", () => {
  for (let seed = 600; seed < 600 + SEEDS / 8; seed++) {
    simulate({ seed, clients: clientsOf(seed), ...BODY, stackPercent: 100 });
  }
});

simulation("keeps servers that overlap, dawdle or break off within the invariants", () => {
  for (let seed = 620; seed < 620 + SEEDS / 8; seed++) {
    simulate({ seed, clients: clientsOf(seed), bodyMax: 50_000, mannerPercent: 60 });
  }
});

simulation(
  "gets over packets that are lost for seconds, to a backend or to and from a client",
  () => {
    const troubles = ["tunnel-cut", "client-cut", "client-cut"] as const;
    for (let seed = 640; seed < 640 + SEEDS / 8; seed++) {
      simulate({ seed, clients: clientsOf(seed), ...BODY, troubles, faultPercentMax: 0 });
    }
  },
);

simulation.run();
