/**
 * Starts the supervisor in new user (when needed), PID, mount and network namespaces and talks to it.
 * Knows unshare and the JSON lines; must not know what the nodes are for.
 *
 *   caller -> unshare --pid --fork --kill-child ... -> supervisor (PID 1)
 *
 * The caller's death closes the supervisor's standard input, unshare's death kills the supervisor
 * (--kill-child), the supervisor's death ends its PID namespace: nothing outlives any of them.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { BatonError } from "../errors.ts";
import { findProgram, programPath } from "../linux/programs.ts";
import { childOf } from "./process.ts";
import type { Ready, Reply, Request } from "./supervisor.ts";
import type { Plan } from "./topology.ts";

const SUPERVISOR = fileURLToPath(new URL("./supervisor.js", import.meta.url));
const CLOSE_LIMIT_MS = 2000;
const STDERR_MAX = 4096;

/** Thrown when this system cannot have a lab; the message is one clear line. Exit status 77. */
export class LabUnavailable extends BatonError {
  constructor(reason: string) {
    super("ERR_BATON_KERNEL", `lab: ${reason}`);
  }
}

export interface LaunchOptions {
  /** Own user namespace even for root; without root there is always one. Default false. */
  readonly userNamespace?: boolean;
  /** The program unshare, by name or path. */
  readonly unshare?: string;
}

export interface Supervisor extends Ready {
  /** Of the supervisor, as this process sees it. */
  readonly pid: number;
  readonly userNamespace: boolean;
  request(request: Omit<Request, "id">): Promise<string[]>;
  /** Settles when the supervisor has ended; the text says why, empty when `close` was called. */
  readonly ended: Promise<string>;
  close(): Promise<void>;
}

/** Root tries without a user namespace first: a container's root often lacks the capability. */
export async function launch(plan: Plan, options: LaunchOptions): Promise<Supervisor> {
  if (process.platform !== "linux") {
    throw new LabUnavailable(`expected Linux, got ${process.platform}`);
  }
  const unshare = options.unshare ?? "unshare";
  for (const tool of [unshare, "nsenter", "ip"]) {
    if (findProgram(tool) === undefined)
      throw new LabUnavailable(`expected the program ${tool}, got none in PATH`);
  }
  const isRoot = process.getuid?.() === 0;
  if (!isRoot || options.userNamespace === true) return start(plan, unshare, true);
  try {
    return await start(plan, unshare, false);
  } catch (error) {
    if (!(error instanceof LabUnavailable)) throw error;
    return start(plan, unshare, true).catch(() => Promise.reject(error));
  }
}

function start(plan: Plan, unshare: string, userNamespace: boolean): Promise<Supervisor> {
  const flags = ["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net"];
  if (userNamespace) flags.unshift("--user", "--map-root-user");
  const child = spawn(unshare, [...flags, process.execPath, SUPERVISOR], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, PATH: programPath() },
    detached: true, // Ctrl-C is for the caller, which then closes the lab in order.
  });
  return new Promise((resolve, reject) => {
    let stderr = "";
    child.stderr.on(
      "data",
      (chunk: Buffer) => (stderr = (stderr + chunk.toString()).slice(-STDERR_MAX)),
    );
    child.stdin.on("error", () => undefined); // EPIPE: "exit" tells.
    const replies = new Replies();
    let isClosing = false;
    const ended = new Promise<string>((settle) => {
      child.once("error", (error) => settle(error.message));
      child.once("close", (status, signal) => {
        const why = stderr.trim().replaceAll("\n", "; ") || `ended with ${signal ?? status}`;
        settle(isClosing ? "" : why);
      });
    });
    void ended.then((why) => {
      replies.fail(why);
      reject(new LabUnavailable(why));
    });
    createInterface({ input: child.stdout }).on("line", (line) => {
      const reply = JSON.parse(line) as Reply;
      if ("fatal" in reply) {
        reject(new BatonError("ERR_BATON_LAB", `lab: ${reply.fatal}`));
      } else if ("ready" in reply) {
        const pid = childOf(child.pid ?? 0);
        if (pid === undefined)
          return reject(new LabUnavailable("the supervisor is not to be seen"));
        const close = (): Promise<void> => {
          isClosing = true;
          return closeSupervisor(child, ended);
        };
        const request = replies.ask((text) => child.stdin.write(text));
        resolve({ ...reply.ready, pid, userNamespace, request, ended, close });
      } else {
        replies.take(reply);
      }
    });
    child.stdin.write(JSON.stringify(plan) + "\n");
  });
}

async function closeSupervisor(child: ChildProcess, ended: Promise<string>): Promise<void> {
  child.stdin?.end();
  const timer = setTimeout(() => child.kill("SIGKILL"), CLOSE_LIMIT_MS);
  await ended;
  clearTimeout(timer);
}

/** Matches replies with requests. */
class Replies {
  #waiting = new Map<number, { resolve(value: string[]): void; reject(error: Error): void }>();
  #nextId = 1;
  #ended = "";

  ask(write: (text: string) => void): Supervisor["request"] {
    return (request) =>
      new Promise((resolve, reject) => {
        if (this.#ended) return reject(new BatonError("ERR_BATON_LAB", `lab: ${this.#ended}`));
        const id = this.#nextId++;
        this.#waiting.set(id, { resolve, reject });
        write(JSON.stringify({ id, ...request }) + "\n");
      });
  }

  take(reply: { id: number; refused: string[] } | { id: number; error: string }): void {
    const waiting = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if ("refused" in reply) waiting?.resolve(reply.refused);
    else waiting?.reject(new BatonError("ERR_BATON_LAB", `lab: ${reply.error}`));
  }

  fail(why: string): void {
    this.#ended = why || "closed";
    const error = new BatonError("ERR_BATON_LAB", `lab: ${this.#ended}`);
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}
