/**
 * `baton lab up`, `exec` and `down`, for the command line to call: a lab that a background process
 * holds. Knows the state file and the holder; must not know flags.
 */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { BatonError } from "../errors.ts";
import { joinLab, LabUnavailable } from "./lab.ts";
import type { LaunchOptions } from "./launch.ts";
import type { MiddleboxOptions } from "./middlebox.ts";
import { isHolding, readState, statePath } from "./state.ts";
import type { PlanOptions } from "./topology.ts";

const HOLDER = fileURLToPath(new URL("./holder.js", import.meta.url));
const DOWN_LIMIT_MS = 5_000;
const POLL_MS = 20;

/** Takes a text with its newlines. */
export type Print = (text: string) => void;

/** The node whose path to the router is made bad; "client" or any other. */
export interface ImpairedPath extends MiddleboxOptions {
  readonly path: string;
}

export interface LabUpOptions extends PlanOptions, LaunchOptions {
  /** Several labs at a time have several names; default "default". */
  readonly name?: string;
  readonly impair?: readonly ImpairedPath[];
}

export interface LabExecOptions {
  readonly name?: string;
  readonly node: string;
  readonly command: string;
  readonly args: readonly string[];
}

/** What the holder says once: it holds, or why it does not. */
export type HolderReply =
  { holding: true } | { error: { code: string; message: string; isUnavailable: boolean } };

/** Returns when the lab stands and this process may end. */
export async function labUp(options: LabUpOptions, print: Print): Promise<void> {
  if (readState(options.name) !== undefined) {
    const got = `the one of ${statePath(options.name)}; baton lab down ends it`;
    throw new BatonError("ERR_BATON_LAB", `lab: expected none to be up, got ${got}`);
  }
  const child = spawn(process.execPath, [HOLDER, JSON.stringify(options)], {
    stdio: ["ignore", "pipe", "ignore"],
    detached: true,
  });
  const reply = await new Promise<HolderReply>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (status) => {
      reject(new BatonError("ERR_BATON_LAB", `lab: its holder ended with ${status}`));
    });
    createInterface({ input: child.stdout }).once("line", (line) => {
      resolve(JSON.parse(line) as HolderReply);
    });
  });
  child.stdout.destroy();
  child.unref();
  if ("error" in reply) {
    const { code, message, isUnavailable } = reply.error;
    if (isUnavailable) throw new LabUnavailable(message.replace(/^lab: /, ""));
    throw new BatonError(code, message);
  }
  const state = readState(options.name);
  if (state === undefined) throw new BatonError("ERR_BATON_LAB", "lab: it ended at once");
  print(describe(joinLab(state.address).plan.nodes));
}

/** Runs a command in a node with this terminal; resolves to its exit status. */
export async function labExec(options: LabExecOptions): Promise<number> {
  const state = readState(options.name);
  if (state === undefined) throw new BatonError("ERR_BATON_LAB", "lab: expected one, got none");
  const node = joinLab(state.address).node(options.node);
  // Ctrl-C is for the command; this process lives on to tell its status.
  const ignore = (): void => undefined;
  process.on("SIGINT", ignore).on("SIGQUIT", ignore);
  const child = node.exec(options.command, options.args, { stdio: "inherit", interactive: true });
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  process.on("SIGTERM", forward).on("SIGHUP", forward);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (status, signal) => {
        resolve(status ?? 128 + (signal === null ? 0 : constants.signals[signal]));
      });
    });
  } finally {
    process.off("SIGINT", ignore).off("SIGQUIT", ignore).off("SIGTERM", forward);
    process.off("SIGHUP", forward);
  }
}

/** True when there was a lab; it is gone when this returns. */
export async function labDown(options: { readonly name?: string } = {}): Promise<boolean> {
  const state = readState(options.name);
  if (state === undefined) return false;
  const killAt = Date.now() + DOWN_LIMIT_MS;
  process.kill(state.holder, "SIGTERM");
  while (isHolding(state)) {
    if (Date.now() > killAt) process.kill(state.holder, "SIGKILL");
    await wait(POLL_MS);
  }
  readState(options.name); // Removes the file of a holder that had to be killed.
  return true;
}

function describe(nodes: readonly { name: string; address4: string; address6: string }[]): string {
  const width = Math.max(...nodes.map(({ name }) => name.length));
  const rows = nodes.map(
    ({ name, address4, address6 }) =>
      `  ${name.padEnd(width)}  ${address4.padEnd(10)}  ${address6}`,
  );
  const more = ["baton lab exec NODE -- COMMAND runs a command there, baton lab down ends the lab"];
  return [...rows, ...more].join("\n") + "\n";
}
