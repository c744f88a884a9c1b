/**
 * What one simulated run consists of: drawn from its seed, or given. What is given changes nothing of what else
 * is drawn, so that a failing run can be made smaller piece by piece. Knows ranges and flags; must not know nodes.
 */
import type { FaultKind } from "./draw.ts";
import { SeededRandom } from "./random.ts";
import { CLASSIFIER_TROUBLES, CUTS, LATE, STALLS, TROUBLES, type TroubleKind } from "./trouble.ts";

export interface Scenario {
  readonly seed: number;
  /** They share the clients among them, each with tables of its own. */
  readonly forwarders: number;
  readonly backends: number;
  /** Classifiers on nodes of their own; 0: the forwarder classifies. */
  readonly classifiers: number;
  /** Which of the drawn clients take part, by their index. */
  readonly clients: readonly number[];
  /** Highest percentage of each fault of a path; 0: a perfect network. */
  readonly faultPercentMax: number;
  /** Each link has rates of its own in each direction; else those into one node are alike, and into all clients. */
  readonly isEachLink: boolean;
  /** Kinds of faults that there are at all. */
  readonly faultKinds: readonly FaultKind[];
  /** Largest body of a request or an answer. */
  readonly bodyMax: number;
  /** Connections of each client, one after the other on the same ports. */
  readonly connectionsMax: number;
  /** Clients that do nothing unusual. */
  readonly isPlain: boolean;
  /** What happens to nodes; "none" holds the place of one that is left out. */
  readonly troubles: readonly (TroubleKind | "none")[];
  /** How much faster or slower than real time the clock of a node may run, in millionths. */
  readonly clockPpmMax: number;
  /** After how many percent of its arrivals a connection is moved on to another backend. */
  readonly movePercent: number;
  /** In how many percent of all exchanges a server talks while it reads, reads slowly or aborts. */
  readonly mannerPercent: number;
  /** In how many percent of all exchanges a server lets its client wait for the answer. */
  readonly waitPercent: number;
  /** How many percent of all clients run the product's own stack. */
  readonly stackPercent: number;
  /** Each request is routed by itself: the connection goes to a classifier before it. */
  readonly isByRequest: boolean;
}

/** A count of clients stands for the first so many. */
export type Given = Partial<Omit<Scenario, "seed" | "clients">> & {
  readonly clients?: number | readonly number[];
};

export const FAULT_KINDS: readonly FaultKind[] = [
  "loss",
  "duplicate",
  "reorder",
  "corrupt",
  "delay",
  "mtu",
];

/** Words for troubles: "none" holds a place. */
export const TROUBLE_KINDS: readonly (TroubleKind | "none")[] = [
  ...TROUBLES,
  ...CUTS,
  ...CLASSIFIER_TROUBLES,
  ...STALLS,
  ...LATE,
  "none",
];
/** Those that a seed's other troubles sometimes make way for. */
const RARE_TROUBLES = [...CUTS, ...CLASSIFIER_TROUBLES, ...STALLS];
const RARE_PERCENT = 30;
/** Some runs have bad links everywhere at once, which few would have that draw each. */
const EACH_LINK_PERCENT = 80;
/** How many slow blobs come just when T_EARLY ends, which few would do by chance. */
const LATE_PERCENT = 50;

/** Streams of a seed, so that what one part draws changes no other. */
export const STREAM = {
  scenario: 1,
  cluster: 2,
  network: 3,
  faults: 4,
  troubles: 5,
  clients: 6,
  moves: 7,
  servers: 8,
  stack: 9,
};

export function drawScenario(seed: number, given: Given = {}): Scenario {
  const random = new SeededRandom(seed).child(STREAM.scenario);
  const few = 1 + random.below(20);
  const many = 20 + random.below(181);
  const count = random.chance(4) ? many : few;
  const share = (name: string, shares: readonly number[]): number =>
    random.child(name).pick(shares);
  const drawn = {
    forwarders: share("forwarders", [1, 1, 1, 2, 3]),
    backends: random.pick([2, 2, 3, 4, 6]),
    classifiers: share("classifiers", [0, 0, 0, 1, 2, 3]),
    faultPercentMax: random.pick([0, 1, 3, 10]),
    isEachLink: random.child("each link").chance(EACH_LINK_PERCENT),
    faultKinds: FAULT_KINDS,
    // Much of everything at once takes long and shows nothing new.
    bodyMax: count > 20 ? random.pick([100, 5000]) : random.pick([100, 5000, 300_000]),
    connectionsMax: 4,
    isPlain: false,
    troubles: Array.from({ length: random.below(4) }, () => random.pick(TROUBLES)).map(
      (kind, index) =>
        drawRare(random.child("rare").child(index)) ??
        drawLate(random.child("late").child(index), kind),
    ),
    clockPpmMax: random.pick([0, 100, 500]),
    movePercent: random.pick([0, 0, 20, 80]),
    mannerPercent: share("manners", [0, 0, 10, 60]),
    waitPercent: share("waits", [0, 0, 10, 60]),
    stackPercent: share("own stack", [0, 0, 30, 100]),
    isByRequest: random.child("by request").chance(25),
  };
  const { clients = count, ...rest } = given;
  const chosen =
    typeof clients === "number" ? Array.from({ length: clients }, (_, i) => i) : clients;
  return { seed, ...drawn, ...rest, clients: chosen };
}

function drawRare(random: SeededRandom): TroubleKind | undefined {
  return random.chance(RARE_PERCENT) ? random.pick(RARE_TROUBLES) : undefined;
}

/** The flags of `baton sim` that make this very run. */
export function scenarioFlags(scenario: Scenario): string {
  const { seed, clients, troubles, faultKinds } = scenario;
  const list = (values: readonly (string | number)[]): string => values.join(",") || "none";
  const isFirst = clients.every((client, index) => client === index);
  const parts = [
    `--seed ${seed}`,
    `--forwarders ${scenario.forwarders}`,
    `--backends ${scenario.backends}`,
    `--classifiers ${scenario.classifiers}`,
    isFirst ? `--clients ${clients.length}` : `--only-clients ${list(clients)}`,
    `--faults ${scenario.faultPercentMax}`,
    scenario.isEachLink ? "--each-link" : "--no-each-link",
    ...(faultKinds.length < FAULT_KINDS.length ? [`--fault-kinds ${list(faultKinds)}`] : []),
    `--body ${scenario.bodyMax}`,
    `--connections ${scenario.connectionsMax}`,
    `--troubles ${list(troubles)}`,
    `--clock-ppm ${scenario.clockPpmMax}`,
    `--moves ${scenario.movePercent}`,
    `--manners ${scenario.mannerPercent}`,
    `--waits ${scenario.waitPercent}`,
    `--own-stack ${scenario.stackPercent}`,
    scenario.isByRequest ? "--by-request" : "--no-by-request",
    ...(scenario.isPlain ? ["--plain"] : []),
  ];
  return parts.join(" ");
}

function drawLate(random: SeededRandom, kind: TroubleKind): TroubleKind {
  return kind === "slow-blob" && random.chance(LATE_PERCENT) ? random.pick(LATE) : kind;
}
