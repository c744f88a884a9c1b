/** Counters of any room as a table or as JSON. Knows names and numbers; must not know what they count. */
import { jsonLine } from "./json.ts";
import { showCount, table } from "./text.ts";

export type Counters = Readonly<Record<string, number | bigint>>;

/** By room: { core: {...}, link: {...} }. */
export type CounterGroups = Readonly<Record<string, Counters>>;

/** A table of all counters that are not zero (of every one with `zeros`), in the order given. */
export function formatCounters(groups: CounterGroups, zeros = false): string {
  const rows = Object.entries(groups).flatMap(([group, counters]) =>
    Object.entries(counters)
      .filter(([, value]) => zeros || BigInt(value) !== 0n)
      .map(([name, value]) => [group, name, showCount(value)]),
  );
  if (rows.length === 0) return "every counter is zero\n";
  return table(["room", "counter", "value"], rows, ["value"]);
}

/** One JSON object with every counter, zeros too. */
export function countersJson(groups: CounterGroups): string {
  return jsonLine({ event: "counters", ...groups });
}

/** What was counted between two looks; a counter that is new counts from zero. */
export function countersSince(before: CounterGroups, now: CounterGroups): CounterGroups {
  const entries = Object.entries(now).map(([group, counters]) => {
    const old = before[group] ?? {};
    const changed = Object.entries(counters).map(([name, value]) => {
      return [name, difference(value, old[name] ?? 0)] as const;
    });
    return [group, Object.fromEntries(changed)] as const;
  });
  return Object.fromEntries(entries);
}

function difference(now: number | bigint, before: number | bigint): number | bigint {
  if (typeof now === "number" && typeof before === "number") return now - before;
  return BigInt(now) - BigInt(before);
}
