/**
 * Bad paths, as flags of the demo give them, on the simulated network: what a middlebox does in a lab. Knows
 * places and faults; must not know nodes. In a lab a path lies between a node and the router, so what
 * travels between two places meets both paths.
 */
import { BatonError } from "../errors.ts";
import type { ImpairedPath } from "../lab/command.ts";
import { NO_FAULTS, type Faults, type Network } from "../sim/network.ts";

const US_PER_MS = 1000;

/** @param placesOf each node's places: where its packets and its datagrams go */
export function impair(
  network: Network,
  placesOf: ReadonlyMap<string, readonly string[]>,
  paths: readonly ImpairedPath[],
): void {
  for (const { path } of paths) {
    if (placesOf.has(path)) continue;
    const names = [...placesOf.keys()].join(", ");
    const got = `expected one of ${names}, got "${path}"`;
    throw new BatonError("ERR_BATON_CONFIG", `--on: ${got}`);
  }
  const faultsOf = (node: string): Faults[] =>
    paths.filter(({ path }) => path === node).map(faults);
  for (const [from, sources] of placesOf) {
    for (const [to, targets] of placesOf) {
      const both = [...faultsOf(from), ...faultsOf(to)];
      if (from === to || both.length === 0) continue;
      const all = both.reduce(combine, NO_FAULTS);
      for (const source of sources) {
        for (const target of targets) network.setFaults(source, target, all);
      }
    }
  }
}

function faults(path: ImpairedPath): Faults {
  const { lossPercent = 0, duplicatePercent = 0, reorderPercent = 0, corruptPercent = 0 } = path;
  const { delayMs = 0, jitterMs = 0 } = path;
  return {
    // The simulator's jitter only adds: it begins where the lab's, to both sides, may begin.
    delayUs: Math.max(0, delayMs - jitterMs) * US_PER_MS,
    jitterUs: (delayMs + jitterMs - Math.max(0, delayMs - jitterMs)) * US_PER_MS,
    lossPercent,
    duplicatePercent,
    reorderPercent,
    reorderUs: NO_FAULTS.reorderUs,
    corruptPercent,
  };
}

/** One path after the other. */
function combine(one: Faults, other: Faults): Faults {
  const either = (pick: (faults: Faults) => number): number =>
    100 * (1 - (1 - pick(one) / 100) * (1 - pick(other) / 100));
  return {
    delayUs: one.delayUs + other.delayUs,
    jitterUs: one.jitterUs + other.jitterUs,
    lossPercent: either(({ lossPercent }) => lossPercent),
    duplicatePercent: either(({ duplicatePercent }) => duplicatePercent),
    reorderPercent: either(({ reorderPercent }) => reorderPercent),
    reorderUs: NO_FAULTS.reorderUs,
    corruptPercent: either(({ corruptPercent }) => corruptPercent),
  };
}
