/** Waiting for things that a test is sure will happen, without sleeping for a guessed time. */
import { setImmediate as turn } from "node:timers/promises";

/** Only ends what hangs, also on a machine that is slow and shared. */
const LIMIT_MS = 60_000;

/** Lets the loop turn until `condition` holds; fails, naming `what`, when it never does. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = Date.now() + LIMIT_MS;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited ${LIMIT_MS} ms in vain until ${what}`);
    await turn();
  }
}

/** Lets the loop turn `count` times: long enough for an in-memory pair to settle. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) await turn();
}

/** Keeps the loop alive as a node's link would: sockets and their timers do not. Call the result. */
export function holdLoop(): () => void {
  const timer = setInterval(() => undefined, 60_000);
  return () => clearInterval(timer);
}
