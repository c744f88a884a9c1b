/**
 * Virtual time beside the event loop: a turn of the loop is at most so much of it, so that Node's streams,
 * parsers and TLS get their turns while packets travel. Knows the scheduler; must not know what for.
 */
import { setImmediate as loopTurn } from "node:timers/promises";
import type { Scheduler } from "../sim/scheduler.ts";

/** About a round trip of the simulated network: no application waits for its turn for longer. */
const TURN_US = 200;
/** Bounds a turn in which nothing but packets of one moment are there. */
const STEPS_MAX = 4096;

/**
 * Lets time pass until `work` settles; what that gives, or why it failed.
 * @param check after every turn; throws to break off
 */
export async function passTime<T>(
  scheduler: Scheduler,
  work: Promise<T>,
  check: () => void,
): Promise<T> {
  let isPending = true;
  const settled = work.finally(() => (isPending = false));
  settled.catch(() => undefined); // It is awaited below, unless `check` throws first.
  let untilUs = scheduler.nowUs();
  while (isPending) {
    untilUs += TURN_US;
    let steps = 0;
    while (steps < STEPS_MAX && scheduler.step(untilUs)) steps += 1;
    if (steps === STEPS_MAX) untilUs = scheduler.nowUs();
    check();
    await loopTurn();
  }
  return settled;
}
