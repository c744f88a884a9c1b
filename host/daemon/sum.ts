/** One answer, or one table of counters, of those of several workers. Must not know how they come together. */
import type { ControlAnswer, ControlProgress } from "../control/protocol.ts";
import type { CounterGroups } from "../observe/counters.ts";

/**
 * Every forwarder hears the same totals from a backend, each at its own moment: the largest of a number is told, and
 * what is left by whom most are left. Undefined until all have answered; an error of one is the answer.
 */
export function combineAnswers(
  answers: readonly (ControlAnswer | undefined)[],
): ControlAnswer | undefined {
  const error = answers.find((answer) => answer?.event === "error");
  if (error) return error;
  const all = answers.filter((answer): answer is ControlProgress => answer?.event === "progress");
  const [first] = all;
  if (!first || all.length < answers.length) return undefined;
  const most = (field: "open" | "moving" | "moved" | "lost"): number =>
    Math.max(...all.map((answer) => answer[field]));
  const fullest = all.reduce((one, other) => (other.open > one.open ? other : one));
  const { draining } = first;
  return {
    event: "progress",
    backend: first.backend,
    alive: all.every(({ alive }) => alive),
    // One that has not heard the order yet must not end the command.
    confirmed: all.every((answer) => answer.confirmed && answer.draining === draining),
    draining,
    open: most("open"),
    moving: most("moving"),
    moved: most("moved"),
    lost: most("lost"),
    remaining: fullest.remaining,
  };
}

/** Counters by group and name, added up. */
export function addCounters(all: Iterable<CounterGroups>): CounterGroups {
  const sums: Record<string, Record<string, number>> = {};
  for (const groups of all) {
    for (const [group, counters] of Object.entries(groups)) {
      const sum = (sums[group] ??= {});
      for (const [name, value] of Object.entries(counters)) {
        sum[name] = (sum[name] ?? 0) + Number(value);
      }
    }
  }
  return sums;
}
