/** Scenarios: drawn from a seed, given piece by piece, made smaller, and said again as flags. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { drawScenario, scenarioFlags, type Scenario } from "../../host/sim/scenario.ts";
import { CLASSIFIER_TROUBLES, CUTS, LATE, STALLS, TROUBLES } from "../../host/sim/trouble.ts";
import { failureOf, shrink } from "../../host/sim/shrink.ts";

const scenarios = suite("scenarios");

scenarios("draw the rest alike, whatever is given", () => {
  for (let seed = 1; seed < 50; seed++) {
    const drawn = drawScenario(seed);
    const given = drawScenario(seed, { backends: 1, faultPercentMax: 0, clients: [0] });
    assert.equal(given, { ...drawn, backends: 1, faultPercentMax: 0, clients: [0] });
  }
});

scenarios("say by which flags they are run again", () => {
  const scenario = drawScenario(7, { clients: 3, backends: 2, troubles: ["none", "pause"] });
  assert.match(
    scenarioFlags(scenario),
    /^--seed 7 --forwarders \d --backends 2 --classifiers \d --clients 3 .*--troubles none,pause /,
  );
  const some = drawScenario(7, { clients: [2, 5], troubles: [], faultKinds: ["loss"] });
  assert.match(scenarioFlags(some), /--only-clients 2,5 .*--fault-kinds loss .*--troubles none /);
});

scenarios("leave nothing out that a node or a client may do", () => {
  const drawn = Array.from({ length: 1000 }, (_, seed) => drawScenario(seed));
  const kinds = new Set(drawn.flatMap(({ troubles }) => troubles));
  for (const kind of [...TROUBLES, ...CUTS, ...CLASSIFIER_TROUBLES, ...STALLS, ...LATE])
    assert.ok(kinds.has(kind), kind);
  assert.equal(new Set(drawn.map(({ forwarders }) => forwarders)), new Set([1, 2, 3]));
  assert.equal(new Set(drawn.map(({ classifiers }) => classifiers)), new Set([0, 1, 2, 3]));
  for (const key of ["mannerPercent", "waitPercent", "stackPercent", "movePercent"] as const) {
    const values = drawn.map((scenario) => scenario[key]);
    assert.ok(values.includes(0) && Math.max(...values) > 50, key);
  }
  const byRequest = drawn.filter(({ isByRequest }) => isByRequest).length;
  assert.ok(byRequest > 200 && byRequest < 300, `${byRequest} of 1000 seeds`);
  const eachLink = drawn.filter(({ isEachLink }) => isEachLink).length;
  assert.ok(eachLink > 750 && eachLink < 850, `${eachLink} of 1000 seeds`);
});

const fail = (what: string) => ({ problems: [`1.000 ms: ${what}`] });

scenarios("are made smaller as long as the same thing fails", () => {
  const scenario = drawScenario(3, { clients: 20, troubles: ["crash", "pause", "drain"] });
  let runs = 0;
  const again = ({ clients, troubles, faultKinds }: Scenario) => {
    runs++;
    const isBroken = clients.includes(7) && clients.includes(12) && troubles.includes("pause");
    if (!isBroken) return { problems: [] };
    return fail(faultKinds.includes("loss") ? "I1: b1#1 to 10.1.0.8: two owners" : "I2: other");
  };
  const small = shrink(scenario, again(scenario), again);
  assert.equal(small.clients, [7, 12]);
  assert.equal(small.troubles, ["none", "pause", "none"]);
  assert.equal(small.faultKinds, ["loss"], "without loss it fails in another way");
  assert.is(small.backends, 1);
  assert.ok(small.isPlain);
  assert.ok(runs <= 201, `${runs} runs`);
});

scenarios("fail alike when only times, names and numbers differ", () => {
  const one = fail(
    "I3: forwarder lb#1 to 10.1.0.4 22371: R seq 1 ack 0 len 0: RST without a cause",
  );
  const two = fail("I3: forwarder lb#2 to fd01::9 5: RA seq 7 ack 9 len 0: RST without a cause");
  assert.is(failureOf(one), failureOf(two));
  assert.is(
    failureOf(fail("I2: x: window edge steps back by 7")),
    "I2: window edge steps back by N",
  );
  assert.is.not(failureOf(one), failureOf(fail("I1: x: RST without a cause")));
  assert.is(failureOf({ problems: [] }), undefined);
});

scenarios.run();
