/**
 * Network namespaces of the calling thread: make, enter, leave, and reap what a PID 1 inherits.
 * Knows unshare(2), setns(2), waitpid(2); must not know what the namespaces are for.
 *
 * A child is forked by the thread that runs the loop, so a process spawned while that thread is in
 * a namespace starts in it: no nsenter is needed on this side. namespaces(7), setns(2).
 */
import { closeSync, openSync } from "node:fs";
import koffi from "koffi";
import { BatonError } from "../errors.ts";

const CLONE_NEWNET = 0x4000_0000;
const WNOHANG = 1;
const OWN = "/proc/thread-self/ns/net";

const libc = koffi.load(null);
const unshare = libc.func("int unshare(int flags)") as (flags: number) => number;
const setns = libc.func("int setns(int fd, int type)") as (fd: number, type: number) => number;
const waitpid = libc.func("int waitpid(int pid, void *status, int options)") as (
  pid: number,
  status: null,
  options: number,
) => number;

/** A descriptor of a new, empty network namespace. The calling thread stays where it is. */
export function createNetworkNamespace(): number {
  const home = openSync(OWN, "r");
  try {
    if (unshare(CLONE_NEWNET) !== 0) throw failed("unshare(CLONE_NEWNET)");
    return openSync(OWN, "r");
  } finally {
    const left = setns(home, CLONE_NEWNET);
    closeSync(home);
    if (left !== 0) fatal("setns");
  }
}

/** Runs `action`, which must not await, in the namespace that `fd` names. */
export function inNetworkNamespace<T>(fd: number, action: () => T): T {
  const home = openSync(OWN, "r");
  try {
    if (setns(fd, CLONE_NEWNET) !== 0) throw failed("setns(network namespace)");
    return action();
  } finally {
    const left = setns(home, CLONE_NEWNET);
    closeSync(home);
    if (left !== 0) fatal("setns");
  }
}

/** Collects the exit status of a child that nobody else waits for; true when it was one. */
export function reap(pid: number): boolean {
  return waitpid(pid, null, WNOHANG) === pid;
}

function failed(what: string): BatonError {
  return new BatonError(
    "ERR_BATON_SYSCALL",
    `${what}: expected success, got errno ${koffi.errno()}`,
  );
}

/** A thread that cannot go home would do everything else in the wrong place. */
function fatal(what: string): never {
  process.stderr.write(`baton: ${what}: cannot return to the own network namespace\n`);
  process.exit(1);
}
