/** What a seed decides about paths and clients. Knows the ranges; must not know what happens with them. */
import { NO_FAULTS, type Faults, type Network } from "./network.ts";
import { udpPlace } from "./node.ts";
import type { SeededRandom } from "./random.ts";
import { ANSWER_MIN } from "./talk.ts";
import type { Manner, Plan } from "./workload.ts";

export type FaultKind = "loss" | "duplicate" | "reorder" | "corrupt" | "delay" | "mtu";

export interface FaultRange {
  readonly faultPercentMax: number;
  readonly isEachLink: boolean;
  readonly faultKinds: readonly FaultKind[];
}

/** Faults of every path between nodes, and of those to and from clients. */
export function drawPaths(
  root: SeededRandom,
  network: Network,
  range: FaultRange,
  { forwarders, backends }: Record<"forwarders" | "backends", readonly string[]>,
): void {
  network.setFaults("*", "*", drawFaults(root.child("*"), range));
  if (range.faultPercentMax === 0) return;
  if (range.isEachLink) {
    const links = root.child("each link");
    network.drawn = (from, to) => drawFaults(links.child(`${from}>${to}`), range);
    return;
  }
  // One hop of a packet's way only: two flipped bits can cancel in TCP's checksum, which is end to end.
  const isFirstHop = root.child("corrupted hop").chance(50);
  for (const name of [...forwarders, ...backends]) {
    const drawn = drawFaults(root.child(name), range);
    const isClean = forwarders.includes(name) !== isFirstHop;
    network.setFaults("*", name, isClean ? { ...drawn, corruptPercent: 0 } : drawn);
    network.setFaults("*", udpPlace(name), drawFaults(root.child(udpPlace(name)), range));
  }
}

/** The link of one client takes shorter packets than the others. */
export function narrow(
  random: SeededRandom,
  network: Network,
  range: FaultRange,
  place: string,
  mtu: number,
): void {
  if (range.isEachLink) network.setMtu(place, mtu);
  else network.setFaults("*", place, { ...drawFaults(random, range), mtu });
}

/** A kind that is left out is drawn all the same: the others stay what they were. */
export function drawFaults(random: SeededRandom, range: FaultRange): Faults {
  const { faultPercentMax: percentMax, faultKinds: kinds } = range;
  const percent = (kind: FaultKind): number => {
    const drawn = random.fraction() * percentMax;
    return kinds.includes(kind) ? drawn : 0;
  };
  const delayUs = random.pick([50, 200, 1000, 10_000]);
  const jitterUs = random.pick([0, 0, 100, 2000]);
  const isDelayed = percentMax > 0 && kinds.includes("delay");
  return {
    delayUs: isDelayed ? delayUs : NO_FAULTS.delayUs,
    jitterUs: isDelayed ? jitterUs : 0,
    lossPercent: percent("loss"),
    duplicatePercent: percent("duplicate"),
    reorderPercent: percent("reorder"),
    reorderUs: random.pick([100, 1000, 5000]),
    corruptPercent: percent("corrupt") / 3,
  };
}

export interface PlanRange {
  readonly backends: readonly string[];
  readonly bodyMax: number;
  /** Plain: one request after the other, ended in order. */
  readonly isPlain: boolean;
  /** How many percent of all exchanges the server does not simply answer. */
  readonly mannerPercent: number;
  /** How many percent of all answers are long in coming. */
  readonly waitPercent: number;
}

/** `number` is unique among the connections of a run: it names their bytes. */
export function drawPlan(random: SeededRandom, number: number, range: PlanRange): Plan {
  const { backends, bodyMax, isPlain, mannerPercent, waitPercent } = range;
  const exchanges = Array.from({ length: 1 + random.below(3) }, (_, turn) => ({
    stream: number * 8 + turn,
    up: random.below(bodyMax),
    down: ANSWER_MIN + random.below(bodyMax),
    manner:
      drawManner(random.child("manner").child(turn), mannerPercent) +
      (random.child("wait").child(turn).chance(waitPercent) ? "w" : ""),
  }));
  const plan: Plan = {
    host: `${random.pick(backends)}.example`,
    exchanges,
    closer: random.pick(["client", "server"] as const),
    isPipelined: false,
    splitBytes: 0,
    thinkUs: 0,
    pausePercent: 0,
    pauseUs: 0,
    end: { how: "none", afterUs: 0 },
  };
  if (isPlain) return plan;
  const how = random.pick(["none", "none", "none", "none", "abort", "vanish"] as const);
  return {
    ...plan,
    closer: random.pick(["client", "server", "server", "half"] as const),
    isPipelined: random.chance(25),
    splitBytes: random.pick([0, 0, 0, 1, 7, 40]),
    thinkUs: random.pick([0, 1000, 200_000, 20_000_000]),
    pausePercent: random.pick([0, 0, 0, 5, 50]),
    pauseUs: random.pick([1000, 300_000, 10_000_000]),
    end: { how, afterUs: random.below(random.pick([1000, 30_000, 1_000_000])) },
  };
}

function drawManner(random: SeededRandom, percent: number): Manner {
  return random.chance(percent) ? random.pick(["d", "d", "s", "ds", "a", "da"]) : "";
}
