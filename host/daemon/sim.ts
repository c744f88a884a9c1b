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
}

/** True: every seed kept every invariant. */
export function simulate(options: SimOptions): boolean {
  const { first, count, given, json } = options;
  const log = { write: () => undefined };
  const common = { wasm: readFileSync(CORE_WASM), cipher: createCipher(), log };
  const file = options.trace === undefined ? undefined : openSync(options.trace, "w", 0o644);
  const trace = file === undefined ? undefined : new SimTrace((bytes) => writeSync(file, bytes));
  const began = { wallMs: performance.now(), cpuUs: cpuUs() };
  let [seeds, packets, failed] = [0, 0, 0];
  for (let seed = first; seed < first + count; seed++) {
    const scenario = drawScenario(seed, given);
    const result = run({ ...common, scenario, ...(trace && { trace: trace.watch }) });
    seeds++;
    packets += result.packets;
    if (json)
      process.stdout.write(jsonLine({ seed, ...result, scenario: scenarioFlags(scenario) }));
    if (result.problems.length === 0) continue;
    failed++;
    const smaller = options.isShrinking ? smallest(scenario, result, common) : scenario;
    if (!json) tell(result, smaller);
    if (options.isStopping) break;
  }
  trace?.flush();
  if (file !== undefined) closeSync(file);
  if (!json) summary(seeds, failed, packets, began);
  return failed === 0;
}

function smallest(
  scenario: Scenario,
  result: RunResult,
  common: Omit<Parameters<typeof run>[0], "scenario">,
): Scenario {
  return shrink(scenario, result, (tried) => run({ ...common, scenario: tried }));
}

function tell(result: RunResult, scenario: Scenario): void {
  const { seed } = scenario;
  process.stdout.write(`seed ${seed} failed; again with: baton sim ${scenarioFlags(scenario)}\n`);
  for (const event of result.events) process.stdout.write(`    ${event}\n`);
  for (const problem of result.problems) process.stdout.write(`  ${problem}\n`);
}

function summary(
  seeds: number,
  failed: number,
  packets: number,
  began: { wallMs: number; cpuUs: number },
): void {
  const perMinute = (minutes: number): number => Math.round(packets / Math.max(minutes, 1e-6));
  const wall = perMinute((performance.now() - began.wallMs) / 60_000);
  const cpu = perMinute((cpuUs() - began.cpuUs) / 60_000_000);
  process.stdout.write(
    `${seeds} seeds, ${failed} failed, ${packets} packets, ${wall} packets a minute ` +
      `(${cpu} a minute of processor time)\n`,
  );
}

function cpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}
