/** The command line as a process, for tests: what it printed and how it ended. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export const MAIN = fileURLToPath(new URL("../../host/cli/main.js", import.meta.url));
const END_MS_MAX = 120_000;

export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Command {
  readonly child: ChildProcess;
  /** Everything it has printed so far. */
  readonly output: { stdout: string; stderr: string };
  readonly ended: Promise<Ended>;
}

/** Starts `baton ARGS`; with `before`, under that command line. */
export function startBaton(args: readonly string[], before: readonly string[] = []): Command {
  const [program = "", ...rest] = [...before, process.execPath, MAIN, ...args];
  const child = spawn(program, rest, { stdio: ["ignore", "pipe", "pipe"] });
  const output = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk: Buffer) => (output.stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output.stderr += chunk.toString()));
  const timer = setTimeout(() => child.kill("SIGKILL"), END_MS_MAX);
  const ended = once(child, "close").then(([status]) => {
    clearTimeout(timer);
    return { status: status as number | null, ...output };
  });
  return { child, output, ended };
}

export function baton(...args: string[]): Promise<Ended> {
  return startBaton(args).ended;
}
