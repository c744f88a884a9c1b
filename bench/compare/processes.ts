/**
 * What processes take: processor time and memory of a program with all its threads and children, and of the
 * whole machine. Knows /proc (proc(5)); must not know what runs.
 *
 * The time of a process holds what the kernel does in its name: also the delivery of a packet that it sends,
 * as far as the receiver's queue, which on the lab's virtual links happens within the sending call. What it
 * receives was delivered at the sender's cost. So both kinds of balancers pay for what they send, once for
 * each packet. What the kernel defers to its own threads is nobody's: the machine's time has it.
 */
import { readFileSync, readdirSync } from "node:fs";

const TICKS_PER_SECOND = 100;

/** Seconds of a program: user and system, to the nanosecond. */
export function cpuSecondsOf(root: number): number {
  const nanoseconds = family(root).flatMap((pid) =>
    entries(`/proc/${pid}/task`).map((task) => {
      const text = textOf(`/proc/${pid}/task/${task}/schedstat`);
      return text === "" ? 0 : Number.parseInt(text, 10);
    }),
  );
  return nanoseconds.reduce((sum, each) => sum + each, 0) / 1e9;
}

/** Resident bytes of a program; a page that several processes share counts once. */
export function memoryOf(root: number): number {
  const sizes = family(root).map((pid) => {
    const line = /^Pss:\s+(\d+) kB$/m.exec(textOf(`/proc/${pid}/smaps_rollup`));
    return Number(line?.[1] ?? 0) * 1024;
  });
  return sizes.reduce((sum, each) => sum + each, 0);
}

/** Seconds that all processors were busy, whoever caused it; in steps of 10 ms. */
export function machineSeconds(): number {
  const [, user, nice, system, , , irq, softirq] = textOf("/proc/stat").split(/\s+/).map(Number);
  return (
    ((user ?? 0) + (nice ?? 0) + (system ?? 0) + (irq ?? 0) + (softirq ?? 0)) / TICKS_PER_SECOND
  );
}

/** Seconds of the kernel's own threads for packets: work that was begun in some process's name and put off. */
export function deferredSeconds(): number {
  const threads = entries("/proc").filter(
    (pid) => /^\d+$/.test(pid) && textOf(`/proc/${pid}/comm`).startsWith("ksoftirqd/"),
  );
  return threads.reduce((sum, pid) => sum + cpuSecondsOf(Number(pid)), 0);
}

/** A process and what it started. */
function family(root: number): number[] {
  const children = entries(`/proc/${root}/task`).flatMap((task) =>
    textOf(`/proc/${root}/task/${task}/children`).trim().split(" ").filter(Boolean).map(Number),
  );
  return [root, ...children.flatMap(family)];
}

/** Threads and processes come and go between two looks: what is gone has no text. */
function textOf(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

function entries(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
