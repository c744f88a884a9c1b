/**
 * Network namespaces of the calling thread: make, enter, leave, and reap what a PID 1 inherits.
 * Knows unshare(2), setns(2), waitpid(2); must not know what the namespaces are for.
 *
 * A child is forked by the thread that runs the loop, so a process spawned while that thread is in
 * a namespace starts in it: no nsenter is needed on this side. namespaces(7), setns(2).
 */
import { closeSync, openSync } from "node:fs";
import { libc } from "./libc.ts";

const CLONE_NEWNET = 0x4000_0000;
const WNOHANG = 1;
const OWN = "/proc/thread-self/ns/net";

/** A descriptor of a new, empty network namespace. The calling thread stays where it is. */
export function createNetworkNamespace(): number {
  const home = openSync(OWN, "r");
  try {
    libc().unshare(CLONE_NEWNET);
    return openSync(OWN, "r");
  } finally {
    goHome(home);
  }
}

/** Runs `action`, which must not await, in the namespace that `fd` names. */
export function inNetworkNamespace<T>(fd: number, action: () => T): T {
  const home = openSync(OWN, "r");
  try {
    libc().setns(fd, CLONE_NEWNET);
    return action();
  } finally {
    goHome(home);
  }
}

/** Collects the exit status of a child that nobody else waits for; true when it was one. */
export function reap(pid: number): boolean {
  return libc().waitpid(pid, WNOHANG) === pid;
}

/** A thread that cannot go home would do everything else in the wrong place. */
function goHome(home: number): void {
  try {
    libc().setns(home, CLONE_NEWNET);
  } catch (error) {
    process.stderr.write(`baton: cannot return to the own network namespace: ${String(error)}\n`);
    process.exit(1);
  }
  closeSync(home);
}
