/**
 * Goodput of a single connection on the lab: Baton's stack against the kernel's, over the same routes, in
 * one run, interleaved; docs/performance.md says what is measured. Exit status 77 where no lab can be had.
 */
import { cpus, release } from "node:os";
import { setTimeout as wait } from "node:timers/promises";
import { parseArgs } from "node:util";
import { LabUnavailable, type LabNode } from "../../host/lab/lab.ts";
import type { Middlebox } from "../../host/lab/middlebox.ts";
import { printTable, summarise, type Summary } from "./summary.ts";
import { NODES, Rig, type Measured, type Stack } from "./rig.ts";
import type { Direction } from "./talk.ts";

const HELP = `goodput [options]
  --only LIST      of clean, cubic, loss, fair (default: all)
  --stacks LIST    of core, library, upstream (default: all; core alone but for clean)
  --directions LIST  of down, up (default: both)
  --rounds N       of the clean path (default 5)      --millis N  of each (default 750)
  --batches N      of three seeds each with loss, of pairs that share a link (default 2)
  --loss PERCENT   (default 1)      --delay MS  each way (default 20)
  --seconds N      of each lossy run (default 12)
  --rate MBIT      of each shared link (default 100)
  --pairs N        of flows that share a link, at once, on links of their own (default 2, at most 8)
  --rival core     beside the kernel's flow; kernel: another of its own (default: one after the other)
  --json
`;

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "clean,cubic,loss,fair" },
    stacks: { type: "string", default: Object.keys(NODES).join() },
    directions: { type: "string", default: "down,up" },
    rounds: { type: "string", default: "5" },
    millis: { type: "string", default: "750" },
    batches: { type: "string", default: "2" },
    loss: { type: "string", default: "1" },
    delay: { type: "string", default: "20" },
    seconds: { type: "string", default: "12" },
    rate: { type: "string", default: "100" },
    pairs: { type: "string", default: "2" },
    rival: { type: "string", default: "core,kernel" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
const SEEDS = 3;
const PAIR: readonly Stack[] = ["kernel", "core"];
const DIRECTIONS = values.directions.split(",") as Direction[];
const CLEAN_WARM_MS = 250;
const LOSS_WARM_MS = 2_000;
const FAIR_WARM_MS = 5_000;
const FAIR_LATER_MS = 1_000;
const FAIR_DELAY_MS = 5;
const FAIR_RUN_MS = 30_000;
const FAIR_PAIRS_MAX = 8;
const FAIR_SAMPLE_MS = 1_000;
/** So much of the link's rate waits in front of it at most. */
const QUEUE_SECONDS = 0.05;
/** Less than two packets of MTU 1,500: tbf cuts super-packets then, as a device would. No router's queue holds any. */
const TBF_BURST = "2kb";

if (values.help) process.stdout.write(HELP);
else await main();

async function main(): Promise<void> {
  const only = values.only.split(",");
  let rig: Rig;
  try {
    const forLoss = only.includes("loss") ? SEEDS * PAIR.length : 0;
    const forPairs = only.includes("fair") ? Math.min(Number(values.pairs), FAIR_PAIRS_MAX) : 0;
    rig = await Rig.open(Math.max(forLoss, forPairs));
  } catch (error) {
    if (!(error instanceof LabUnavailable)) throw error;
    process.stderr.write(`goodput: ${error.message}\n`);
    process.exitCode = 77;
    return;
  }
  const summaries: Summary[] = [];
  try {
    const stacks = ["kernel", ...values.stacks.split(",")] as Stack[];
    if (only.includes("clean")) summaries.push(...summarise("clean", await clean(rig, stacks)));
    if (only.includes("cubic")) summaries.push(...summarise("cubic", await clean(rig, PAIR, true)));
    if (only.includes("loss")) summaries.push(...summarise("loss", await lossy(rig)));
    if (only.includes("fair")) {
      const rivals = values.rival.split(",");
      if (rivals.includes("core")) summaries.push(...summarise("fair", await fair(rig, "core")));
      if (rivals.includes("kernel"))
        summaries.push(...summarise("even", await fair(rig, "kernel")));
    }
  } finally {
    await rig.close();
  }
  const machine = { cpu: cpus()[0]?.model ?? "", cores: cpus().length, kernel: release() };
  const about = { ...machine, node: process.version, settings: { ...values } };
  if (values.json) process.stdout.write(JSON.stringify({ about, summaries }, null, 2) + "\n");
  else printTable(about, summaries);
}

/** Nothing but the machine in the way; the kernel's ends use what this machine prefers, or CUBIC. */
async function clean(rig: Rig, stacks: readonly Stack[], cubic = false): Promise<Measured[]> {
  const all: Measured[] = [];
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const direction of DIRECTIONS) {
      for (const stack of stacks) {
        const times = { warmMs: CLEAN_WARM_MS, runMs: Number(values.millis) };
        all.push(await rig.flow("client", { stack, direction, cubic, ...times }));
      }
    }
  }
  return all;
}

/** Loss and delay both ways. Each seed is one pattern of loss, which both stacks meet, at the same time. */
async function lossy(rig: Rig): Promise<Measured[]> {
  const all: Measured[] = [];
  for (const direction of DIRECTIONS) {
    for (let batch = 0; batch < Number(values.batches); batch += 1) {
      const runs = Array.from({ length: SEEDS }, (_, index) => batch * SEEDS + index + 1);
      const pairs = runs.flatMap((seed) => PAIR.map((stack) => ({ seed, stack })));
      const measured = pairs.map(({ seed, stack }, index) =>
        lossyFlow(rig, `k${index + 1}`, seed, stack, direction),
      );
      all.push(...(await Promise.all(measured)));
    }
  }
  return all;
}

async function lossyFlow(
  rig: Rig,
  client: string,
  seed: number,
  stack: Stack,
  direction: Direction,
): Promise<Measured> {
  const path = { lossPercent: Number(values.loss), delayMs: Number(values.delay), seed };
  const box: Middlebox = await rig.lab.middlebox(client, path);
  try {
    const runMs = Number(values.seconds) * 1000;
    return await rig.flow(client, { stack, direction, cubic: true, warmMs: LOSS_WARM_MS, runMs });
  } finally {
    await box.close();
  }
}

/**
 * A flow of the kernel's and a rival at once over one shaped link towards the client, or from it; several such
 * pairs at a time, each with a client and a link of its own. What two flows of the kernel's own make of such
 * a link says how much of a difference is CUBIC's.
 */
async function fair(rig: Rig, rival: Stack): Promise<Measured[]> {
  const all: Measured[] = [];
  const count = Math.min(Number(values.pairs), FAIR_PAIRS_MAX);
  for (const direction of DIRECTIONS) {
    for (let batch = 0; batch < Number(values.batches); batch += 1) {
      const rounds = Array.from({ length: count }, (_, index) =>
        fairPair(rig, rival, direction, `k${index + 1}`, batch * count + index),
      );
      all.push(...(await Promise.all(rounds)).flat());
    }
  }
  return all;
}

async function fairPair(
  rig: Rig,
  rival: Stack,
  direction: Direction,
  client: string,
  round: number,
): Promise<Measured[]> {
  const { lab } = rig;
  const box = await lab.middlebox(client, { delayMs: FAIR_DELAY_MS });
  // Not at a sender's own device: there the kernel holds its flows back, by segments, before any is lost.
  const device = `mb${direction}${lab.node(client).address.index}`;
  const limit = Math.round((Number(values.rate) * 1e6 * QUEUE_SECONDS) / 8);
  const shape = ["tbf", "rate", `${values.rate}mbit`, "burst", TBF_BURST, "limit", `${limit}`];
  await tc(lab.nodes.router, ["qdisc", "add", "dev", device, "root", ...shape]);
  const flow = (stack: Stack, warmMs: number): Promise<Measured> => {
    const times = { warmMs, runMs: FAIR_RUN_MS, sampleMs: FAIR_SAMPLE_MS };
    return rig.flow(client, { stack, direction, cubic: true, ...times });
  };
  // CUBIC takes long to give up what it has: each stack is the one that comes later in every second round.
  const isFirst = rival === "kernel" || round % 2 === 0;
  const [one, two] = isFirst ? (["kernel", rival] as const) : ([rival, "kernel"] as const);
  const earlier = flow(one, FAIR_WARM_MS + FAIR_LATER_MS);
  await wait(FAIR_LATER_MS);
  const flows = await Promise.all([earlier, flow(two, FAIR_WARM_MS)]);
  await box.close();
  const [first, second] = flows.map((each) => ({ ...each, round })) as [Measured, Measured];
  return [first, rival === "kernel" ? { ...second, stack: "rival" } : second];
}

async function tc(node: LabNode, words: readonly string[]): Promise<void> {
  const { status, stderr } = await node.run("tc", words);
  if (status !== 0) throw new Error(`tc: ${stderr.trim()}`);
}
