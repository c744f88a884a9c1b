/**
 * How a daemon logs, waits for its end, and leaves. Knows the wish to stop as an AbortSignal, SIGHUP, and the
 * two outputs.
 */
import type { Log } from "../node/environment.ts";
import { formatCounters, type CounterGroups } from "../observe/counters.ts";
import { jsonLine } from "../observe/json.ts";
import { createLog } from "../observe/log.ts";
import type { RunningNode } from "./parts.ts";

/** Logs go to stderr, reports to stdout. */
export function daemonLog(json: boolean): Log {
  return createLog({
    json,
    level: "info",
    wallMs: () => Date.now(),
    write: (line) => process.stderr.write(line),
  });
}

/** A node, or several that are one to their user. */
export type StoppableNode = Pick<RunningNode, "counters" | "failed" | "reloadKeys" | "close">;

/**
 * Runs until `stop` is aborted, reading its keys again at each SIGHUP, then closes the node and prints its
 * counters. Rejects when the node breaks; it is closed then too. `leave` undoes what the role did and gives
 * its counters.
 */
export async function untilStopped(
  node: StoppableNode,
  stop: AbortSignal,
  json: boolean,
  leave: () => CounterGroups | Promise<CounterGroups>,
): Promise<void> {
  const reload = (): void => node.reloadKeys();
  process.on("SIGHUP", reload);
  try {
    await Promise.race([aborted(stop), node.failed]);
  } finally {
    process.off("SIGHUP", reload);
    const counters = { ...(await leave()), ...node.counters() };
    node.close();
    if (json) process.stdout.write(jsonLine({ event: "counters", ...counters }));
    else process.stderr.write(formatCounters(counters));
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) =>
    signal.addEventListener("abort", () => resolve(), { once: true }),
  );
}
