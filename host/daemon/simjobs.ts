/**
 * One long simulation on several processor cores: worker processes that share a state file. Knows processes; must
 * not know what they do with a seed.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { simulate, stateKey, tellState, type SimOptions } from "./sim.ts";
import { SimState } from "./simstate.ts";

/** Other workers have the other cores: helpers that collect garbage beside one only take time from them. */
const ENGINE = ["--single-threaded-gc"];

/** True: every seed kept every invariant. */
export async function simulateWith(jobs: number, options: SimOptions): Promise<boolean> {
  if (jobs === 1) return simulate(options);
  const home = options.state === undefined ? mkdtempSync(join(tmpdir(), "baton-sim-")) : undefined;
  const path = options.state ?? join(home ?? "", "state");
  try {
    const work = Array.from({ length: jobs }, () => worker(path));
    const statuses = await Promise.all(work);
    const state = new SimState(path, stateKey(options.given));
    if (!options.json) tellState(options, state);
    const [first, end] = [options.first, options.first + options.count];
    const results = [...state.results.values()].filter(({ seed }) => seed >= first && seed < end);
    state.close();
    return (
      statuses.every((status) => status === 0) && results.every((r) => r.problems.length === 0)
    );
  } finally {
    if (home !== undefined) rmSync(home, { recursive: true, force: true });
  }
}

/** The same command once more, as one of several. Its exit status; null when a signal ended it. */
function worker(path: string): Promise<number | null> {
  const [, main = "", ...args] = process.argv;
  const flags = ["--jobs", "1", "--state", path, "--worker-of", String(process.pid)];
  const child = spawn(process.execPath, [...ENGINE, ...process.execArgv, main, ...args, ...flags], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", resolve);
  });
}
