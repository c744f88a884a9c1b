/**
 * Medians, ratios to the kernel's stack, goals: what is printed of the measurements. Knows numbers only.
 */
import type { Cpu, Measured } from "./rig.ts";
import type { Direction } from "./talk.ts";

export type Section = "clean" | "cubic" | "loss" | "fair" | "even";
/** Where flows share a link. */
const SHARED: ReadonlySet<Section> = new Set(["fair", "even"]);

type Stack = Measured["stack"];

export interface Summary {
  readonly section: Section;
  readonly direction: Direction;
  readonly stack: Stack;
  readonly runs: number;
  /** Median, least and most, in 10^6 bytes a second. */
  readonly mbPerSecond: number;
  readonly least: number;
  readonly most: number;
  /** To the kernel's stack in the same run; where flows share a link, the median of their rounds' shares. */
  readonly ratio: number;
  /** Undefined: none is set for this stack. */
  readonly goal: number | undefined;
  /** Where flows share a link: its share of what passed, round by round, second by second. */
  readonly shares: readonly (readonly number[])[];
  /** CPU seconds for 10^9 bytes, of each process. */
  readonly cpuPerGb: Cpu;
  /** Segments that the client sent again, for each 10^6 bytes. */
  readonly retransmitted: number;
}

const GOALS = { clean: 0.5, cubic: 0.5, loss: 0.8, fair: 0.3, even: 0.3 } as const;

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
  const isShared = SHARED.has(section);
  const shares = isShared ? sharesOf(own, all) : [];
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
    ratio: isShared ? median(shares.map(mean)) : median(rates) / kernel,
    goal: stack === "core" || section === "fair" ? GOALS[section] : undefined,
    shares,
    cpuPerGb: { client: perGb(own.map((each) => each.cpuSeconds)), ...Object.fromEntries(cpu) },
    retransmitted: (sum(own.map((each) => each.retransmitted)) / bytes) * 1e6,
  };
}

/** What each of a stack's flows had of all that passed the same link, interval by interval. */
function sharesOf(own: readonly Measured[], all: readonly Measured[]): number[][] {
  return own.map(({ round, samples }) => {
    const beside = all.filter((each) => each.round === round);
    // They do not begin in the same instant: the last interval may be one flow's alone.
    return samples
      .slice(0, -1)
      .map((bytes, at) => bytes / sum(beside.map((each) => each.samples[at] ?? 0)));
  });
}

/** How many intervals on end were below a share, at most. */
function longestBelow(goal: number, shares: readonly number[]): number {
  let longest = 0;
  let now = 0;
  for (const share of shares) {
    now = share < goal ? now + 1 : 0;
    longest = Math.max(longest, now);
  }
  return longest;
}

function mean(values: readonly number[]): number {
  return sum(values) / values.length;
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

function describeShares(section: Section, rounds: readonly (readonly number[])[]): string {
  const each = rounds.map((shares) => mean(shares).toFixed(2)).join(" ");
  const below = Math.max(...rounds.map((shares) => longestBelow(GOALS[section], shares)));
  const worst = Math.min(...rounds.flat()).toFixed(2);
  return `rounds ${each}; worst second ${worst}; below ${GOALS[section]} for ${below} s at most`;
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
    const worst = shares.length > 0 ? `  ${describeShares(section, shares)}` : "";
    const verdict =
      goal === undefined ? "     -" : `${ratio >= goal ? "  " : " !"}${goal.toFixed(2)}`;
    lines.push(
      `${section.padEnd(6)} ${direction.padEnd(5)} ${stack.padEnd(9)}${numbers.join(" ")}` +
        `  ${ratio.toFixed(2).padStart(5)} ${verdict}  ${cpu.join(", ")}${worst}`,
    );
  }
  process.stdout.write(lines.join("\n") + "\n");
}
