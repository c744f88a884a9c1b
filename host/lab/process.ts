/**
 * Processes inside the lab, started from outside through nsenter. Knows processes and namespaces; must
 * not know what runs.
 *
 * nsenter forks to enter the PID namespace and does not pass signals on, so `kill` of the ChildProcess
 * is aimed at the process inside; its exit status and signal come back as nsenter's own.
 */
import { spawn, type ChildProcess, type SpawnOptions } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";

const STOP_LIMIT_MS = 100;

/** Where to enter. */
export interface Door {
  /** Of the supervisor. */
  readonly pid: number;
  readonly userNamespace: boolean;
  /** The supervisor's descriptor of the node's network namespace. */
  readonly fd: number;
  /** PATH to find programs by. */
  readonly path: string;
}

export interface ExecOptions extends Pick<SpawnOptions, "stdio" | "env" | "cwd" | "detached"> {
  /** The terminal's Ctrl-C goes to the process inside, not to nsenter. Default false. */
  readonly interactive?: boolean;
}

/** A process in a node's namespaces; dies with the lab whatever happens to this process. */
export function enter(
  door: Door,
  command: string,
  args: readonly string[],
  options: ExecOptions = {},
): ChildProcess {
  const { interactive = false, cwd = process.cwd(), ...rest } = options;
  const user = door.userNamespace ? ["--user", "--preserve-credentials"] : [];
  const target = [...user, "--target", String(door.pid), "--pid", "--mount"];
  const net = `--net=/proc/${door.pid}/fd/${door.fd}`;
  // Entering a mount namespace loses the working directory; nsenter's option for that is recent.
  const inside = ["sh", "-c", 'cd "$0" && exec "$@"', String(cwd), command, ...args];
  const plain = ["nsenter", ...target, net, "--", ...inside];
  const [program = "", ...words] = interactive
    ? ["sh", "-c", 'trap "" INT QUIT; exec "$@"', "sh", ...undoTrap(plain, inside.length)]
    : plain;
  const env = { ...(options.env ?? process.env), PATH: door.path };
  const child = spawn(program, words, { stdio: ["ignore", "pipe", "pipe"], ...rest, env });
  const killOuter = child.kill.bind(child);
  child.kill = (signal = "SIGTERM") => killInside(child, signal, killOuter);
  return child;
}

/** nsenter ignores the terminal's signals; the process inside gets their default back. */
function undoTrap(words: readonly string[], insideLen: number): string[] {
  const at = words.length - insideLen;
  return [...words.slice(0, at), "env", "--default-signal=INT,QUIT", ...words.slice(at)];
}

function killInside(
  child: ChildProcess,
  signal: NodeJS.Signals | number,
  killOuter: (signal?: NodeJS.Signals | number) => boolean,
): boolean {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return false;
  // Stopped, nsenter cannot fork between the look and the kill. Stopping is not instant.
  killOuter("SIGSTOP");
  const deadline = performance.now() + STOP_LIMIT_MS;
  while (!/[TtZX]/.test(statOf(child.pid)[0] ?? "X") && performance.now() < deadline);
  const inside = childOf(child.pid);
  const isSent = inside === undefined ? killOuter(signal) : kill(inside, signal);
  killOuter("SIGCONT");
  return isSent;
}

function kill(pid: number, signal: NodeJS.Signals | number): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false; // ESRCH: it has just ended.
  }
}

/** The first child of a process, undefined when it has none. */
export function childOf(pid: number): number | undefined {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1");
    return children === "" ? undefined : Number.parseInt(children, 10);
  } catch {
    return readdirSync("/proc")
      .map(Number)
      .find((candidate) => parentOf(candidate) === pid);
  }
}

function parentOf(pid: number): number | undefined {
  return Number.isInteger(pid) ? Number(statOf(pid)[1]) : undefined;
}

/** State, parent and what follows in proc_pid_stat(5); empty when there is no such process. */
function statOf(pid: number): string[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch {
    return [];
  }
}
