/**
 * Baton, HAProxy, nginx and no balancer at all, side by side on the lab, in one run and in turns:
 * docs/performance.md says what is measured. Exit status 77 where no lab can be had; a goal that is missed is
 * printed, not an error.
 */
import { cpus, release } from "node:os";
import { parseArgs } from "node:util";
import { BatonError } from "../../host/errors.ts";
import { LabUnavailable } from "../../host/lab/lab.ts";
import { findProgram } from "../../host/linux/programs.ts";
import { Bench, WRK_LOADS, type Load, type Sample } from "./measure.ts";
import { LINKS, PacketLab, type LinkName, type PacketSample } from "./packets.ts";
import { Systems, SYSTEM_NAMES, type Skip, type System } from "./systems.ts";
import {
  goalsOf,
  idleRow,
  latencyRow,
  loadRow,
  noteOf,
  packetsRow,
  printGoals,
  printRows,
  type Row,
} from "./table.ts";

const LOADS: readonly Load[] = ["connect", "keepalive", "64k", "1m", "1g", "upload"];
const WORKLOADS = [...LOADS, "idle", "latency", "packets"] as const;

const HELP = `bench:lab [options]
  --only LIST     of ${WORKLOADS.join(", ")} (default: all)
  --systems LIST  of ${SYSTEM_NAMES.join(", ")} (default: all)
  --rounds N      all systems in turn, so often (default 3)
  --seconds N     of each load in each round (default 2)
  --idle N        idle connections (default 5000)
  --visits N      for the latency of each system (default 2000)
  --quick         one round of one second, fewer visits and idle connections: to see that it works
  --json
`;

const { values } = parseArgs({
  options: {
    only: { type: "string", default: WORKLOADS.join() },
    systems: { type: "string", default: SYSTEM_NAMES.join() },
    rounds: { type: "string" },
    seconds: { type: "string" },
    idle: { type: "string" },
    visits: { type: "string" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
const settings = {
  only: chosen(values.only, WORKLOADS),
  systems: chosen(values.systems, SYSTEM_NAMES),
  rounds: Number(values.rounds ?? (values.quick ? 1 : 3)),
  seconds: Number(values.seconds ?? (values.quick ? 1 : 2)),
  idle: Number(values.idle ?? (values.quick ? 500 : 5000)),
  visits: Number(values.visits ?? (values.quick ? 200 : 2000)),
};
const rows: Row[] = [];
const skipped: Skip[] = [];

if (values.help) process.stdout.write(HELP);
else await main();

async function main(): Promise<void> {
  try {
    if (settings.only.some((workload) => workload !== "packets")) await measureSystems();
    if (settings.only.includes("packets")) await measurePackets();
  } catch (error) {
    if (!(error instanceof LabUnavailable)) throw error;
    process.stderr.write(`bench:lab: ${error.message}\n`);
    process.exitCode = 77;
    return;
  }
  const machine = { cpu: cpus()[0]?.model ?? "", cores: cpus().length, kernel: release() };
  const took = { seconds: Math.round(performance.now() / 1000) };
  const about = { ...machine, node: process.version, ...took, settings };
  const goals = goalsOf(rows).map((goal) => {
    return goal.isMet ? goal : { ...goal, note: noteOf(goal.name) };
  });
  if (values.json) {
    process.stdout.write(JSON.stringify({ about, skipped, rows, goals }, null, 2) + "\n");
    return;
  }
  for (const { name, reason } of skipped) process.stdout.write(`SKIP ${name}: ${reason}\n`);
  printRows(rows);
  printGoals(goals);
  process.stdout.write(`\n${JSON.stringify(about)}\n`);
}

async function measureSystems(): Promise<void> {
  const systems = await Systems.open(settings.systems);
  skipped.push(...systems.skipped);
  const bench = new Bench(systems);
  try {
    for (const load of LOADS) await measureLoad(bench, load);
    await measureRest(bench);
  } finally {
    bench.close();
    complain(await systems.close());
  }
}

async function measureLoad(bench: Bench, load: Load): Promise<void> {
  if (!settings.only.includes(load)) return;
  if (load in WRK_LOADS && findProgram("wrk") === undefined) {
    skipped.push({ name: load, reason: "wrk is not installed" });
    return;
  }
  const { systems } = bench.systems;
  const samples = new Map<System, Sample[]>(systems.map((system) => [system, []]));
  for (const system of systems) await bench.warm(system, load);
  for (let round = 0; round < settings.rounds; round += 1) {
    for (const [system, all] of samples) all.push(await bench.load(system, load, settings.seconds));
  }
  for (const all of samples.values()) rows.push(loadRow(load, all));
}

async function measureRest(bench: Bench): Promise<void> {
  const { systems } = bench.systems;
  if (settings.only.includes("idle")) {
    for (const system of systems.filter(({ balancer }) => balancer !== undefined)) {
      rows.push(idleRow(await bench.idle(system, settings.idle)));
    }
  }
  if (settings.only.includes("latency")) {
    const { us } = await bench.visits(systems, settings.visits);
    rows.push(...systems.map(({ name }, index) => latencyRow(name, us[index] ?? [])));
  }
}

/** Both links take turns, each in a lab of its own. */
async function measurePackets(): Promise<void> {
  const labs: PacketLab[] = [];
  try {
    for (const link of Object.keys(LINKS) as LinkName[]) {
      try {
        labs.push(await PacketLab.open(link));
      } catch (error) {
        if (link === "tun" || !(error instanceof BatonError)) throw error;
        skipped.push({ name: `packets by ${link}`, reason: error.message });
      }
    }
    const samples = new Map<PacketLab, PacketSample[]>(labs.map((lab) => [lab, []]));
    for (const lab of labs) await lab.measure(1); // until V8 has compiled the way
    for (let round = 0; round < settings.rounds; round += 1) {
      for (const [lab, all] of samples) all.push(await lab.measure(settings.seconds));
    }
    for (const [{ link }, all] of samples) rows.push(packetsRow(link, all));
  } finally {
    for (const lab of labs) complain(await lab.close());
  }
}

function complain(ends: readonly string[]): void {
  for (const end of ends) process.stderr.write(`did not end in order: ${end}\n`);
}

function chosen<Name extends string>(list: string, of: readonly Name[]): Name[] {
  const names = list.split(",");
  const wrong = names.find((name) => !(of as readonly string[]).includes(name));
  if (wrong === undefined) return names as Name[];
  process.stderr.write(`bench:lab: expected some of ${of.join(", ")}, got ${wrong}\n`);
  process.exit(2);
}
