/** `baton sim`: seeds through the simulator. Parses and dispatches; must not know what a run does. */
import { Option, type Command } from "commander";
import { within } from "../config/schema.ts";
import { parseCount } from "../config/values.ts";
import { BatonError } from "../errors.ts";
import type { SimOptions } from "../daemon/sim.ts";
import type { Given } from "../sim/scenario.ts";

const SEED_MAX = 2 ** 32 - 1;
const CLIENTS_MAX = 250;
const BACKENDS_MAX = 16;
const CLASSIFIERS_MAX = 3;
const FORWARDERS_MAX = 3;
const BODY_MAX = 100_000_000;
const CONNECTIONS_MAX = 60;
const PPM_MAX = 10_000;
const JOBS_MAX = 64;

interface Flags {
  readonly seed?: string;
  readonly seeds?: string;
  readonly json?: boolean;
  readonly stop?: boolean;
  readonly shrink?: boolean;
  readonly trace?: string;
  readonly state?: string;
  readonly jobs?: string;
  readonly workerOf?: string;
  readonly clients?: string;
  readonly onlyClients?: string;
  readonly forwarders?: string;
  readonly backends?: string;
  readonly classifiers?: string;
  readonly faults?: string;
  readonly faultKinds?: string;
  readonly troubles?: string;
  readonly body?: string;
  readonly connections?: string;
  readonly clockPpm?: string;
  readonly moves?: string;
  readonly manners?: string;
  readonly waits?: string;
  readonly ownStack?: string;
  readonly byRequest?: boolean;
  readonly eachLink?: boolean;
  readonly plain?: boolean;
}

export function addSim(program: Command): void {
  program
    .command("sim")
    .summary("run a whole cluster in one process, on a simulated network")
    .description("checks the invariants over seeded faults; a seed replays exactly")
    .option("--seed <N>", "the first seed (default: 1)")
    .option("--seeds <COUNT>", "how many seeds (default: 1)")
    .option("--json", "one JSON line for each seed")
    .option("--stop", "stop at the first seed that fails")
    .option("--shrink", "make a failing run smaller, and say how to run it again")
    .option("--trace <FILE>", "write every packet to a pcapng file (Wireshark, tcpdump)")
    .option("--state <FILE>", "remember what came of each seed, and go on where it was")
    .option("--jobs <COUNT>", "share the seeds among this many processes (default: 1)")
    .addOption(new Option("--worker-of <PID>").hideHelp())
    .option(
      "--clients <COUNT>",
      "this many clients; like all below, drawn from the seed by default",
    )
    .option("--only-clients <INDEXES>", "these of the drawn clients, separated by commas")
    .option("--forwarders <COUNT>", "this many forwarders, which share the clients")
    .option("--backends <COUNT>", "this many backends")
    .option("--classifiers <COUNT>", "this many classifiers on nodes of their own")
    .option("--faults <PERCENT>", "the highest percentage of each fault of a path; 0: none")
    .option("--each-link", "each link has faults of its own in each direction")
    .option("--no-each-link", "links into one node are alike, and those into all clients")
    .option("--fault-kinds <KINDS>", "loss, duplicate, reorder, corrupt, delay, mtu: only these")
    .option("--troubles <KINDS>", "what happens to nodes, separated by commas; none: nothing")
    .option("--body <BYTES>", "the largest body of a request or an answer")
    .option("--connections <COUNT>", "connections of each client, at most")
    .option("--clock-ppm <PPM>", "how far from real time a node's clock may run, in millionths")
    .option("--moves <PERCENT>", "after how many arrivals a connection moves to another backend")
    .option("--manners <PERCENT>", "how many answers overlap, dawdle or break off")
    .option("--waits <PERCENT>", "how many answers are long in coming")
    .option("--own-stack <PERCENT>", "how many clients run the product's own stack")
    .option(
      "--by-request",
      "each request is routed by itself: connections go to a classifier first",
    )
    .option("--no-by-request", "a connection is routed once")
    .option("--plain", "clients that do nothing unusual")
    .action(async (flags: Flags) => {
      const { simulateWith } = await import("../daemon/simjobs.ts");
      const jobs = count(flags.jobs, "--jobs", 1, JOBS_MAX) ?? 1;
      const isGood = await simulateWith(jobs, await options(flags, jobs));
      process.exitCode = isGood ? 0 : 1;
    });
}

async function options(flags: Flags, jobs: number): Promise<SimOptions> {
  const { trace, state } = flags;
  if (trace !== undefined && (state !== undefined || jobs > 1)) {
    const text = "--trace: expected neither --state nor --jobs beside it, got one";
    throw new BatonError("ERR_BATON_CONFIG", text);
  }
  return {
    first: count(flags.seed, "--seed", 0, SEED_MAX) ?? 1,
    count: count(flags.seeds, "--seeds", 1, SEED_MAX) ?? 1,
    given: await given(flags),
    json: flags.json === true,
    isStopping: flags.stop === true,
    isShrinking: flags.shrink === true,
    trace,
    state,
    workerOf: count(flags.workerOf, "--worker-of", 1, SEED_MAX),
  };
}

async function given(flags: Flags): Promise<Given> {
  const { FAULT_KINDS, TROUBLE_KINDS } = await import("../sim/scenario.ts");
  const clients = indexes(flags.onlyClients) ?? count(flags.clients, "--clients", 1, CLIENTS_MAX);
  const values: { [Key in keyof Given]: Given[Key] | undefined } = {
    clients,
    classifiers: count(flags.classifiers, "--classifiers", 0, CLASSIFIERS_MAX),
    forwarders: count(flags.forwarders, "--forwarders", 1, FORWARDERS_MAX),
    backends: count(flags.backends, "--backends", 1, BACKENDS_MAX),
    faultPercentMax: count(flags.faults, "--faults", 0, 100),
    isEachLink: flags.eachLink,
    faultKinds: words(flags.faultKinds, "--fault-kinds", FAULT_KINDS),
    troubles: words(flags.troubles, "--troubles", TROUBLE_KINDS),
    bodyMax: count(flags.body, "--body", 1, BODY_MAX),
    connectionsMax: count(flags.connections, "--connections", 1, CONNECTIONS_MAX),
    clockPpmMax: count(flags.clockPpm, "--clock-ppm", 0, PPM_MAX),
    movePercent: count(flags.moves, "--moves", 0, 100),
    stackPercent: count(flags.ownStack, "--own-stack", 0, 100),
    mannerPercent: count(flags.manners, "--manners", 0, 100),
    waitPercent: count(flags.waits, "--waits", 0, 100),
    isByRequest: flags.byRequest,
    isPlain: flags.plain === true ? true : undefined,
  };
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function count(
  text: string | undefined,
  flag: string,
  min: number,
  max: number,
): number | undefined {
  return text === undefined ? undefined : within(flag, () => parseCount(text, min, max));
}

function indexes(text: string | undefined): number[] | undefined {
  return text?.split(",").map((part) => {
    return within("--only-clients", () => parseCount(part, 0, CLIENTS_MAX - 1));
  });
}

/** "none" alone is an empty list. */
function words<T extends string>(
  text: string | undefined,
  flag: string,
  known: readonly T[],
): readonly T[] | undefined {
  if (text === undefined || text === "none") return text === undefined ? undefined : [];
  return text.split(",").map((word) => {
    const found = known.find((name) => name === word);
    if (found !== undefined) return found;
    const expected = `expected one of ${known.join(", ")}, got "${word}"`;
    throw new BatonError("ERR_BATON_CONFIG", `${flag}: ${expected}`);
  });
}
