/**
 * Makes a failing run smaller while it fails in the same way: fewer clients, no fault kind, trouble or node that is
 * not needed, shorter bodies. Knows scenarios and that a run has problems; must not know how it is run.
 */
import type { RunResult } from "./run.ts";
import { scenarioFlags, type Scenario } from "./scenario.ts";

/** Runs that one search may cost. */
const TRIES_MAX = 200;

/** Two failures are the same when the same invariant is broken by the same kind of thing. */
export function failureOf(result: Pick<RunResult, "problems">): string | undefined {
  // "16122.952 ms: I3: forwarder lb#1 to 10.1.0.4 22371: R seq 1 ack 0 len 0: RST without a cause"
  const [, invariant = "", ...rest] = (result.problems[0] ?? "").split(": ");
  const what = (rest.at(-1) ?? "").replace(/[0-9a-f:.]*\d[0-9a-f:.]*/g, "N");
  return result.problems.length === 0 ? undefined : `${invariant}: ${what}`;
}

export function shrink(
  scenario: Scenario,
  result: Pick<RunResult, "problems">,
  again: (scenario: Scenario) => Pick<RunResult, "problems">,
): Scenario {
  const wanted = failureOf(result);
  const tried = new Set<string>();
  let best = scenario;
  for (let isSmaller = true; isSmaller;) {
    isSmaller = false;
    for (const candidate of candidates(best)) {
      const name = scenarioFlags(candidate);
      if (tried.has(name)) continue;
      if (tried.size >= TRIES_MAX) return best;
      tried.add(name);
      if (failureOf(again(candidate)) !== wanted) continue;
      best = candidate;
      isSmaller = true;
      break;
    }
  }
  return best;
}

/** Scenarios that are a little smaller, the greatest steps first. */
function* candidates(scenario: Scenario): Generator<Scenario> {
  const { clients, troubles, faultKinds, backends, bodyMax, connectionsMax } = scenario;
  for (let size = clients.length >> 1; size >= 1; size >>= 1) {
    for (let at = 0; at < clients.length; at += size) {
      const left = clients.filter((_, index) => index < at || index >= at + size);
      if (left.length > 0) yield { ...scenario, clients: left };
    }
  }
  for (const [index, kind] of troubles.entries()) {
    if (kind === "none") continue;
    yield { ...scenario, troubles: troubles.map((other, at) => (at === index ? "none" : other)) };
  }
  if (scenario.faultPercentMax > 0) yield { ...scenario, faultPercentMax: 0 };
  for (const kind of faultKinds) {
    yield { ...scenario, faultKinds: faultKinds.filter((other) => other !== kind) };
  }
  if (scenario.clockPpmMax > 0) yield { ...scenario, clockPpmMax: 0 };
  if (scenario.movePercent > 0) yield { ...scenario, movePercent: 0 };
  if (scenario.mannerPercent > 0) yield { ...scenario, mannerPercent: 0 };
  if (scenario.waitPercent > 0) yield { ...scenario, waitPercent: 0 };
  if (scenario.stackPercent > 0) yield { ...scenario, stackPercent: 0 };
  if (scenario.isEachLink) yield { ...scenario, isEachLink: false };
  if (scenario.isByRequest) yield { ...scenario, isByRequest: false };
  if (!scenario.isPlain) yield { ...scenario, isPlain: true };
  if (connectionsMax > 1) yield { ...scenario, connectionsMax: connectionsMax - 1 };
  if (bodyMax > 1) yield { ...scenario, bodyMax: bodyMax >> 2 || 1 };
  if (scenario.forwarders > 1) yield { ...scenario, forwarders: scenario.forwarders - 1 };
  if (backends > 1) yield { ...scenario, backends: backends - 1 };
}
