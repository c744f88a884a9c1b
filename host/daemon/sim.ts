/**
 * `baton sim` with the real core and cipher: runs seeds and says what came of them. Knows files and the
 * standard output; what a run does and what must hold is host/sim's.
 */
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { createCipher } from "../link/cipher.ts";
import { jsonLine } from "../observe/json.ts";
import { run, type RunResult } from "../sim/run.ts";
import { drawScenario, scenarioFlags, type Given, type Scenario } from "../sim/scenario.ts";
import { shrink } from "../sim/shrink.ts";
import { codeDigest } from "./simcode.ts";
import { SimState, type SeedResult, type StateKey } from "./simstate.ts";
import { SimTrace } from "./simtrace.ts";
import { CORE_WASM } from "./wasm.ts";

export interface SimOptions {
  readonly first: number;
  readonly count: number;
  readonly given: Given;
  /** One JSON line for each seed. */
  readonly json: boolean;
  /** No seed after the first that fails. */
  readonly isStopping: boolean;
  /** A failing run is made smaller. */
  readonly isShrinking: boolean;
  /** Every packet of the runs goes there, as pcapng. */
  readonly trace: string | undefined;
  /** What is known about seeds is kept there, and no seed is run again. */
  readonly state: string | undefined;
  /** The process that this one works for: it says nothing at the end, and ends when that one does. */
  readonly workerOf: number | undefined;
}

interface Sum {
  seeds: number;
  failed: number;
  packets: number;
  cpuMs: number;
}

/** True: every seed kept every invariant. */
export function simulate(options: SimOptions): boolean {
  return options.state === undefined
    ? simulateOnce(options)
    : simulateOn(options, new SimState(options.state, stateKey(options.given)));
}

/** What results are of: the code that takes part in a run, and what is not drawn from the seed. */
export function stateKey(given: Given): StateKey {
  const extensions = /\.[jt]s$/.exec(import.meta.url)?.[0] ?? ".js";
  const parts = ["sim/run", "sim/scenario", "link/cipher"];
  const entries = parts.map((part) => new URL(`../${part}${extensions}`, import.meta.url));
  const sorted = Object.entries(given).sort(([one], [two]) => (one < two ? -1 : 1));
  return { code: codeDigest(entries, [CORE_WASM]), given: JSON.stringify(sorted) };
}

/** Seeds one after the other; nothing is remembered. */
function simulateOnce(options: SimOptions): boolean {
  const { first, count } = options;
  const began = performance.now();
  const file = options.trace === undefined ? undefined : openSync(options.trace, "w", 0o644);
  const trace = file === undefined ? undefined : new SimTrace((bytes) => writeSync(file, bytes));
  const runner = new Runner(options, trace);
  const sum: Sum = { seeds: 0, failed: 0, packets: 0, cpuMs: 0 };
  for (let seed = first; seed < first + count; seed++) {
    const result = runner.run(seed);
    add(sum, result);
    if (options.isStopping && result.problems.length > 0) break;
  }
  trace?.flush();
  if (file !== undefined) closeSync(file);
  if (!options.json) tellSum(sum, performance.now() - began);
  return sum.failed === 0;
}

/** Seeds that nobody has run yet, together with whoever works on the same file. */
function simulateOn(options: SimOptions, state: SimState): boolean {
  const { first, count, workerOf, isStopping } = options;
  const runner = new Runner(options);
  const isAlone = (): boolean => workerOf !== undefined && process.ppid !== workerOf;
  for (let seeds = state.claim(first, count); seeds.length > 0; seeds = state.claim(first, count)) {
    for (const seed of seeds) {
      if (isAlone()) return false;
      state.add(runner.run(seed));
    }
    state.refresh();
    if (isStopping && resultsIn(state, options).some(isFailure)) break;
  }
  state.refresh();
  if (workerOf === undefined && !options.json) tellState(options, state);
  state.close();
  return !resultsIn(state, options).some(isFailure);
}

class Runner {
  readonly #options: SimOptions;
  readonly #trace: SimTrace | undefined;
  readonly #common = {
    wasm: readFileSync(CORE_WASM),
    cipher: createCipher(),
    log: { write: () => undefined },
  };

  constructor(options: SimOptions, trace?: SimTrace) {
    this.#options = options;
    this.#trace = trace;
  }

  /** Runs one seed, and says at once when it fails. */
  run(seed: number): SeedResult {
    const { given, json, isShrinking } = this.#options;
    const began = cpuMs();
    const scenario = drawScenario(seed, given);
    const trace = this.#trace && { trace: this.#trace.watch };
    const result = run({ ...this.#common, scenario, ...trace });
    const flags = scenarioFlags(scenario);
    if (json) process.stdout.write(jsonLine({ seed, ...result, scenario: flags }));
    const { packets, problems } = result;
    const again = isShrinking && problems.length > 0 ? this.#smallest(scenario, result) : flags;
    if (!json && problems.length > 0) tell(result, again);
    return { seed, packets, cpuMs: Math.round(cpuMs() - began), problems, again };
  }

  #smallest(scenario: Scenario, result: RunResult): string {
    const again = (tried: Scenario): RunResult => run({ ...this.#common, scenario: tried });
    return scenarioFlags(shrink(scenario, result, again));
  }
}

function isFailure({ problems }: SeedResult): boolean {
  return problems.length > 0;
}

/** In the order of their seeds. */
function resultsIn(state: SimState, { first, count }: SimOptions): SeedResult[] {
  return [...state.results.values()]
    .filter(({ seed }) => seed >= first && seed < first + count)
    .sort((one, two) => one.seed - two.seed);
}

function add(sum: Sum, result: SeedResult): void {
  sum.seeds++;
  if (isFailure(result)) sum.failed++;
  sum.packets += result.packets;
  sum.cpuMs += result.cpuMs;
}

function tell(result: RunResult, again: string): void {
  const { seed } = result.scenario;
  process.stdout.write(`seed ${seed} failed; again with: baton sim ${again}\n`);
  for (const event of result.events) process.stdout.write(`    ${event}\n`);
  for (const problem of result.problems) process.stdout.write(`  ${problem}\n`);
}

function tellSum({ seeds, failed, packets, cpuMs }: Sum, wallMs: number): void {
  process.stdout.write(
    `${seeds} seeds, ${failed} failed, ${packets} packets, ${aMinute(packets, wallMs)} packets ` +
      `a minute (${aMinute(packets, cpuMs)} a minute of processor time)\n`,
  );
}

/** What all runs on this file have come to: on this code, for these seeds and options. */
export function tellState(options: SimOptions, state: SimState): void {
  const sum: Sum = { seeds: 0, failed: 0, packets: 0, cpuMs: 0 };
  const results = resultsIn(state, options);
  for (const result of results) add(sum, result);
  for (const { seed, again, problems } of results.filter(isFailure)) {
    process.stdout.write(`seed ${seed} failed: ${problems[0] ?? ""}\n`);
    process.stdout.write(`    again with: baton sim ${again}\n`);
  }
  const { packets, cpuMs } = sum;
  process.stdout.write(
    `${sum.seeds} of ${options.count} seeds, ${sum.failed} failed, ${packets} packets, ` +
      `${aMinute(packets, cpuMs)} packets a minute of processor time, ` +
      `code ${stateKey(options.given).code}\n`,
  );
  if (state.unread > 0) {
    process.stdout.write(`${state.unread} lines of the state file are none of a run: skipped\n`);
  }
  const { seeds, failed } = state.others;
  if (seeds === 0) return;
  process.stdout.write(`the same code under other options: ${seeds} seeds, ${failed} failed\n`);
}

function aMinute(packets: number, ms: number): number {
  return Math.round((packets * 60_000) / Math.max(ms, 1));
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
