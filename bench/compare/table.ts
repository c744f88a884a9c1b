/**
 * Medians, goals, and how they are printed. Knows numbers and names; must not know how they came about.
 */
import type { IdleSample, Load, Sample } from "./measure.ts";
import type { LinkName, PacketSample } from "./packets.ts";
import type { SystemName } from "./systems.ts";

export interface Row {
  readonly workload: Load | "idle" | "latency" | "packets";
  /** A link in the rows of `packets`. */
  readonly system: SystemName | LinkName;
  /** By name, the unit in it; null: there is none. */
  readonly figures: Readonly<Record<string, number | null>>;
}

export interface Goal {
  readonly name: string;
  readonly value: number;
  readonly least?: number;
  readonly most?: number;
  readonly isMet: boolean;
}

const GIB = 2 ** 30;
const MIB = 2 ** 20;

export function loadRow(load: Load, samples: readonly Sample[]): Row {
  const system = (samples[0] as Sample).system.name;
  const figure = (of: (sample: Sample) => number): number | null => known(median(samples.map(of)));
  const isBulk = load !== "connect" && load !== "keepalive";
  const work = isBulk
    ? {
        "GB/s": figure(({ bytes, seconds }) => bytes / seconds / 1e9),
        "CPU-s/GiB": figure(({ cpuSeconds, bytes }) => cpuSeconds / (bytes / GIB)),
        "machine-s/GiB": figure((sample) => sample.machineSeconds / (sample.bytes / GIB)),
      }
    : {
        "requests/s": figure(({ requests, seconds }) => requests / seconds),
        "CPU us": figure(({ cpuSeconds, requests }) => (cpuSeconds / requests) * 1e6),
        "machine us": figure((sample) => (sample.machineSeconds / sample.requests) * 1e6),
      };
  const memory = { MiB: figure(({ memoryBytes }) => memoryBytes / MIB) };
  const failed = samples.reduce((sum, sample) => sum + sample.failed, 0);
  return { workload: load, system, figures: { ...work, ...memory, failed } };
}

export function idleRow(sample: IdleSample): Row {
  const { afterBytes, beforeBytes, connections, cpuPerSecond } = sample;
  return {
    workload: "idle",
    system: sample.system.name,
    figures: {
      connections,
      MiB: afterBytes / MIB,
      "more MiB": (afterBytes - beforeBytes) / MIB,
      "CPU ms/s": cpuPerSecond * 1000,
    },
  };
}

export function latencyRow(system: SystemName, us: readonly number[]): Row {
  const sorted = [...us].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? NaN;
  return {
    workload: "latency",
    system,
    figures: { visits: us.length, "p50 us": at(0.5), "p99 us": at(0.99) },
  };
}

export function packetsRow(link: LinkName, samples: readonly PacketSample[]): Row {
  const figure = (of: (sample: PacketSample) => number): number => median(samples.map(of));
  return {
    workload: "packets",
    system: link,
    figures: {
      "offered/s": figure(({ sent, seconds }) => sent / seconds),
      "forwarded/s": figure(({ forwarded, seconds }) => forwarded / seconds),
      "lost %": figure(({ sent, forwarded }) => (1 - forwarded / sent) * 100),
      "CPU us": figure(({ forwarded, cpuSeconds }) => (cpuSeconds / forwarded) * 1e6),
      "packets/CPU-s": figure(({ forwarded, cpuSeconds }) => forwarded / cpuSeconds),
      "sender us": figure(({ sent, senderSeconds }) => (senderSeconds / sent) * 1e6),
    },
  };
}

/** Those of the goals for which this run has figures. */
export function goalsOf(rows: readonly Row[]): Goal[] {
  const figure = (workload: Row["workload"], system: Row["system"], name: string): number =>
    rows.find((row) => row.workload === workload && row.system === system)?.figures[name] ?? NaN;
  const ratio = (workload: Row["workload"], system: SystemName, name: string): number =>
    figure(workload, system, name) / figure(workload, "haproxy", name);
  const goals: Omit<Goal, "isMet">[] = [];
  for (const system of ["baton-upstream", "baton-library"] as const) {
    const plain = system === "baton-library" ? "direct-node" : "direct";
    const added = figure("latency", system, "p50 us") - figure("latency", plain, "p50 us");
    goals.push(
      {
        name: `1g: forwarder's CPU-s/GiB over HAProxy's (${system})`,
        value: ratio("1g", system, "CPU-s/GiB"),
        most: 1 / 15,
      },
      {
        name: `connect: forwarder's CPU us over HAProxy's (${system})`,
        value: ratio("connect", system, "CPU us"),
        most: 1,
      },
      {
        name: `connect: CPU us of the forwarder (${system})`,
        value: figure("connect", system, "CPU us"),
        most: 40,
      },
      { name: `1m: GB/s over HAProxy's (${system})`, value: ratio("1m", system, "GB/s"), least: 2 },
      {
        name: `latency: us that a handoff adds to ${plain}, p50 (${system})`,
        value: added,
        most: 400,
      },
    );
  }
  goals.push(
    {
      name: "packets: by tun, for each second of processor time",
      value: figure("packets", "tun", "packets/CPU-s"),
      least: 180_000,
    },
    {
      name: "packets: CPU us by xdp over those by tun",
      value: figure("packets", "xdp", "CPU us") / figure("packets", "tun", "CPU us"),
      most: 1 / 1.8,
    },
  );
  return goals
    .filter(({ value }) => !Number.isNaN(value))
    .map((goal) => {
      const { value, least = -Infinity, most = Infinity } = goal;
      return { ...goal, isMet: value >= least && value <= most };
    });
}

/** What stands in the way of a goal, by how its name begins; docs/performance.md has what was tried. */
const NOTES: readonly (readonly [string, string])[] = [
  ["1g", "nothing is known that stands in the way: compare with a quieter machine"],
  ["connect", "a third is system calls, each hands its packet on; then a handoff's seven messages"],
  [
    "1m",
    "the machine's processors are shared by all nodes: a relay at the backend copies what passes",
  ],
  ["latency", "a handoff wakes forwarder, backend and server one after the other"],
  [
    "packets",
    "nearly all is the kernel's: a read and a write, or a buffer and a copy, for each packet",
  ],
];

/** For a goal that was missed. */
export function noteOf(name: string): string {
  const found = NOTES.find(([start]) => name.startsWith(`${start}:`));
  if (found === undefined) throw new Error(`no note for the goal ${name}`);
  return found[1];
}

export function printRows(rows: readonly Row[]): void {
  let last = "";
  for (const { workload, system, figures } of rows) {
    const names = Object.keys(figures);
    const head = `${workload.padEnd(10)}${"".padEnd(15)}${names.map((name) => name.padStart(14)).join("")}`;
    if (workload !== last) process.stdout.write(`\n${head}\n`);
    last = workload;
    const cells = Object.values(figures).map((value) => shown(value).padStart(14));
    process.stdout.write(`${"".padEnd(10)}${system.padEnd(15)}${cells.join("")}\n`);
  }
}

export function printGoals(goals: readonly Goal[]): void {
  process.stdout.write("\n");
  for (const { name, value, least, most, isMet } of goals) {
    const wanted = least === undefined ? `<= ${shown(most ?? NaN)}` : `>= ${shown(least)}`;
    const verdict = isMet ? "met" : "MISSED";
    process.stdout.write(
      `${verdict.padEnd(8)}${shown(value).padStart(9)} ${wanted.padStart(10)}  ${name}\n`,
    );
    if (!isMet) process.stdout.write(`${"".padEnd(8)}! ${noteOf(name)}\n`);
  }
}

function shown(value: number | null): string {
  if (value === null) return "-";
  if (value === 0 || Math.abs(value) >= 100) return String(Math.round(value));
  return value.toFixed(Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 4);
}

function known(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}
