/**
 * Medians, ratios to the kernel's stack, goals: what is printed of the measurements. Knows numbers only.
 */
import type { Cpu, Measured, Stack } from "./rig.ts";
import type { Direction } from "./talk.ts";

export type Section = "clean" | "cubic" | "loss" | "fair";

export interface Summary {
  readonly section: Section;
  readonly direction: Direction;
  readonly stack: Stack;
  readonly runs: number;
  /** Median, least and most, in 10^6 bytes a second. */
  readonly mbPerSecond: number;
  readonly least: number;
  readonly most: number;
  /** To the kernel's stack in the same run; of the link's rate in "fair". */
  readonly ratio: number;
  /** Undefined: none is set for this stack. */
  readonly goal: number | undefined;
  /** In "fair": its share of what passed, second by second. */
  readonly shares: readonly number[];
  /** CPU seconds for 10^9 bytes, of each process. */
  readonly cpuPerGb: Cpu;
  /** Segments that the client sent again, for each 10^6 bytes. */
  readonly retransmitted: number;
}

const GOALS: Readonly<Record<Section, number>> = { clean: 0.5, cubic: 0.5, loss: 0.8, fair: 0.3 };

export function summarise(section: Section, all: readonly Measured[]): Summary[] {
  return [...new Set(all.map(({ direction }) => direction))].flatMap((direction) => {
    const some = all.filter((each) => each.direction === direction);
    const stacks = new Set(some.map(({ stack }) => stack));
    return [...stacks].map((stack) => summary(section, direction, stack, some));
  });
}

function summary(
  section: Section,
  direction: Direction,
  stack: Stack,
  all: readonly Measured[],
): Summary {
  const own = all.filter((each) => each.stack === stack);
  const rates = own.map(rate).sort((a, b) => a - b);
  const kernel = median(all.filter((each) => each.stack === "kernel").map(rate));
  const bytes = sum(own.map((each) => each.bytes));
  const shares = section === "fair" ? sharesOf(stack, all) : [];
  const roles = Object.keys(own[0]?.cpu ?? {});
  const perGb = (seconds: readonly number[]): number => (sum(seconds) / bytes) * 1e9;
  const cpu = roles.map((role) => [role, perGb(own.map((each) => each.cpu[role] ?? 0))]);
  return {
    section,
    direction,
    stack,
    runs: own.length,
    mbPerSecond: median(rates),
    least: rates[0] ?? NaN,
    most: rates.at(-1) ?? NaN,
    ratio: section === "fair" ? sum(shares) / shares.length : median(rates) / kernel,
    goal: stack === "core" || section === "fair" ? GOALS[section] : undefined,
    shares,
    cpuPerGb: { client: perGb(own.map((each) => each.cpuSeconds)), ...Object.fromEntries(cpu) },
    retransmitted: (sum(own.map((each) => each.retransmitted)) / bytes) * 1e6,
  };
}

/** What a flow had of all that passed, interval by interval. */
function sharesOf(stack: Stack, all: readonly Measured[]): number[] {
  const own = all.find((each) => each.stack === stack)?.samples ?? [];
  // They do not begin in the same instant: the last interval may be one flow's alone.
  return own
    .slice(0, -1)
    .map((bytes, at) => bytes / sum(all.map(({ samples }) => samples[at] ?? 0)));
}

function rate({ bytes, seconds }: Measured): number {
  return bytes / seconds / 1e6;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

export function printTable(about: object, summaries: readonly Summary[]): void {
  const lines = [JSON.stringify(about)];
  lines.push("path   way   stack        MB/s    least     most   ratio   goal  CPU-s/GB");
  for (const each of summaries) {
    const { section, direction, stack, ratio, goal, shares } = each;
    const numbers = [each.mbPerSecond, each.least, each.most].map((value) =>
      value.toFixed(value < 10 ? 3 : 0).padStart(8),
    );
    const cpu = Object.entries(each.cpuPerGb).map(([role, value]) => `${role} ${value.toFixed(2)}`);
    const worst = shares.length > 0 ? `  worst second ${Math.min(...shares).toFixed(2)}` : "";
    const verdict =
      goal === undefined ? "     -" : `${ratio >= goal ? "  " : " !"}${goal.toFixed(2)}`;
    lines.push(
      `${section.padEnd(6)} ${direction.padEnd(5)} ${stack.padEnd(9)}${numbers.join(" ")}` +
        `  ${ratio.toFixed(2).padStart(5)} ${verdict}  ${cpu.join(", ")}${worst}`,
    );
  }
  process.stdout.write(lines.join("\n") + "\n");
}
