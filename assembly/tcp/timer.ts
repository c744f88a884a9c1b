/**
 * Deadlines of one connection: a small table in the block, the earliest of which the wheel watches. Knows
 * when; must not know what a timer does.
 */
import { zeroWords } from "../wire/bytes";
import { Flag, TIMER_COUNT, Tcb, Timer } from "./tcb";
import { wheelArm, wheelDisarm } from "./wheel";

/** How soon a connection looks again for memory that there was none of. */
const MEMORY_US: u64 = 50_000;

/** Sets a deadline, replacing an earlier setting of the same timer; a frozen connection only notes it. */
export function timerSet(ptr: usize, timer: u32, whenUs: u64): void {
  const flags = changetype<Tcb>(ptr).flags;
  // Its block may be freed at any moment, and the wheel must not hold one that is.
  if ((flags & Flag.DETACHED) != 0) return;
  store<u64>(ptr + ((<usize>timer) << 3), whenUs, offsetof<Tcb>("timer0"));
  if ((flags & Flag.FROZEN) == 0) wheelArm(ptr, whenUs);
}

export function timerClear(ptr: usize, timer: u32): void {
  store<u64>(ptr + ((<usize>timer) << 3), 0, offsetof<Tcb>("timer0"));
}

/** Lets the connection look again for memory, soon. */
export function memoryAwait(ptr: usize, now: u64): void {
  if (timerGet(ptr, Timer.MEMORY) == 0) timerSet(ptr, Timer.MEMORY, now + MEMORY_US);
}

/** Deadline of one timer, 0: not set. */
export function timerGet(ptr: usize, timer: u32): u64 {
  return load<u64>(ptr + ((<usize>timer) << 3), offsetof<Tcb>("timer0"));
}

export function timersClear(ptr: usize): void {
  zeroWords(ptr + offsetof<Tcb>("timer0"), TIMER_COUNT << 3);
  wheelDisarm(ptr);
}

/** Arms the wheel for the earliest deadline of the table, after it has let go of the block. */
export function timersRearm(ptr: usize): void {
  let earliest = u64.MAX_VALUE;
  for (let timer: u32 = 0; timer < TIMER_COUNT; timer++) {
    const when = timerGet(ptr, timer);
    if (when != 0 && when < earliest) earliest = when;
  }
  if (earliest != u64.MAX_VALUE) wheelArm(ptr, earliest);
}
