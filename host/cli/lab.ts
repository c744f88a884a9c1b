/** `baton lab up`, `exec`, `down`, `demo`. Parses and dispatches; must not know how a lab is made. */
import type { Command } from "commander";
import { within } from "../config/schema.ts";
import { expected, parseCount, parseDuration } from "../config/values.ts";
import type { ImpairedPath, LabUpOptions } from "../lab/command.ts";
import { stopSignal } from "./process.ts";

const DELAY_MS_MAX = 60_000;
const SEED_MAX = 2 ** 30;
const SIZE_MAX = 2 ** 32;

/** Of the commands that start a lab; commander's names. */
interface PathFlags {
  readonly on?: readonly string[];
  readonly loss?: number;
  readonly delay?: number;
  readonly jitter?: number;
  readonly reorder?: number;
  readonly duplicate?: number;
  readonly corrupt?: number;
  readonly seed?: number;
  readonly userNamespace?: boolean;
}

interface UpFlags extends PathFlags {
  readonly name?: string;
  readonly backends?: number;
  readonly mtu?: number;
}

interface DemoFlags extends PathFlags {
  readonly json?: boolean;
  readonly keep?: boolean;
  readonly size?: number;
}

export function addLab(program: Command): void {
  const lab = program.command("lab").summary("a network of namespaces on this machine");
  lab.description("a client, a router, a forwarder and backends, each a network namespace");
  addUp(lab.command("up").summary("start a lab in the background"));
  addExec(lab.command("exec").summary("run a command in a node of it"));
  addDown(lab.command("down").summary("end it and everything in it"));
  addDemo(lab.command("demo").summary("hand over real connections and show each"));
}

function addUp(command: Command): void {
  command
    .description("starts a lab that lasts until baton lab down")
    .option("--name <NAME>", "of the lab; several at a time have several names")
    .option("--backends <NUMBER>", "b1, b2, ... (default: 2)", count("--backends", 0, 100))
    .option("--mtu <BYTES>", "of every link (default: 1500)", count("--mtu", 1280, 65_535));
  addPathFlags(command).action(async (flags: UpFlags) => {
    const { labUp } = await import("../lab/command.ts");
    const { name, backends, mtu, userNamespace } = flags;
    const options = { ...defined({ name, backends, mtu, userNamespace }), impair: paths(flags) };
    await labUp(options as LabUpOptions, print);
  });
}

function addExec(command: Command): void {
  command
    .description("runs a command in a node of the lab, with its exit status")
    .argument("<NODE>", "client, router, forwarder, b1, ...")
    .argument("<COMMAND...>", "put -- in front of it")
    .option("--name <NAME>", "of the lab")
    .action(async (node: string, words: string[], flags: { readonly name?: string }) => {
      const { labExec } = await import("../lab/command.ts");
      const [program = "", ...args] = words;
      process.exitCode = await labExec({ ...flags, node, command: program, args });
    });
}

function addDown(command: Command): void {
  command
    .description("ends the lab and every process in it")
    .option("--name <NAME>", "of the lab")
    .action(async (flags: { readonly name?: string }) => {
      const { labDown } = await import("../lab/command.ts");
      print((await labDown(flags)) ? "the lab is down\n" : "there was no lab\n");
    });
}

function addDemo(command: Command): void {
  command
    .description("starts Baton in a lab of its own, sends real requests through it, and ends")
    .option("--json", "print one JSON object")
    .option("--keep", "leave the lab up until a signal, and print what to try")
    .option(
      "--size <BYTES>",
      "of the download and the upload (default: 100M)",
      count("--size", 1, SIZE_MAX),
    );
  addPathFlags(command).action(async (flags: DemoFlags) => {
    const { labDemo } = await import("../lab/demo.ts");
    const { json, keep, size, userNamespace } = flags;
    const common = { ...defined({ json, keep, bytes: size }), impair: paths(flags) };
    const options = { ...common, stop: stopSignal() };
    const simulate = async (reason: string): Promise<number> => {
      const { rehearse } = await import("../rehearsal/demo.ts");
      return rehearse(reason, options, print, (line) => process.stderr.write(line));
    };
    const all = { ...options, ...defined({ userNamespace }), simulate };
    process.exitCode = await labDemo(all, print);
  });
}

function addPathFlags(command: Command): Command {
  return command
    .option("--on <NODE>", "make its path to the router bad (repeatable; default: client)", append)
    .option("--loss <PERCENT>", "of packets, in each direction, as 2%", percent("--loss"))
    .option("--delay <TIME>", "in each direction, as 20ms", duration("--delay"))
    .option("--jitter <TIME>", "the delay varies by so much to both sides", duration("--jitter"))
    .option(
      "--reorder <PERCENT>",
      "of packets let up to three others go first",
      percent("--reorder"),
    )
    .option("--duplicate <PERCENT>", "of packets come twice", percent("--duplicate"))
    .option("--corrupt <PERCENT>", "of packets have one bit flipped", percent("--corrupt"))
    .option("--seed <NUMBER>", "of these choices (default: 1)", count("--seed", 0, SEED_MAX))
    .option("--user-namespace", "use one even as root");
}

/** Nothing is bad unless something is said to be. */
function paths(flags: PathFlags): ImpairedPath[] {
  const impairment = defined({
    lossPercent: flags.loss,
    delayMs: flags.delay,
    jitterMs: flags.jitter,
    reorderPercent: flags.reorder,
    duplicatePercent: flags.duplicate,
    corruptPercent: flags.corrupt,
  });
  if (Object.keys(impairment).length === 0) return [];
  const seed = defined({ seed: flags.seed });
  return (flags.on ?? ["client"]).map((path) => ({ path, ...impairment, ...seed }));
}

type Parse = (text: string) => number;

function percent(flag: string): Parse {
  return (text) =>
    within(flag, () => {
      const value = /^\d{1,3}(\.\d+)?%?$/.test(text) ? Number.parseFloat(text) : NaN;
      if (value <= 100) return value;
      throw expected("a percentage from 0 to 100, as 2%", text);
    });
}

function duration(flag: string): Parse {
  return (text) => within(flag, () => parseDuration(text, 0, DELAY_MS_MAX));
}

function count(flag: string, min: number, max: number): Parse {
  return (text) => within(flag, () => parseCount(text, min, max));
}

function append(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Without the fields that are not set. */
function defined<T extends object>(fields: T): Defined<T> {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Defined<T>;
}

function print(text: string): void {
  process.stdout.write(text);
}
