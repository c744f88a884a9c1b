/**
 * What a migration asks of the stack: a connection stops, runs on, or vanishes; and what an infused block needs
 * before it may run. Knows blocks; must not know blobs. DESIGN invariant I1: a frozen connection emits
 * nothing and runs no timer, but keeps everything.
 */
import { Err } from "../errors";
import { State } from "../report";
import { seqLt } from "../wire/seq";
import { rearm } from "./ack";
import { connectionDetach, connectionFree, connectionMss } from "./connection";
import { flightClear, flightSent } from "./flight";
import { outAdd, outRemove } from "./list";
import { ackNow } from "./receive";
import { recoveryProbe } from "./recovery";
import { Flag, Tcb, Timer } from "./tcb";
import { timerClear, timerGet, timerSet, timersRearm } from "./timer";
import { wheelDisarm } from "./wheel";

/** Stops all output and timers. Synchronised states only: TIME-WAIT and handshakes do not move. */
export function migrateFreeze(ptr: usize): i32 {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.FROZEN) != 0) return Err.FROZEN;
  if (<u32>tcb.state < <u32>State.ESTABLISHED || (tcb.flags & Flag.DETACHED) != 0)
    return Err.TCP_STATE;
  wheelDisarm(ptr);
  outRemove(ptr);
  tcb.flags |= Flag.FROZEN;
  return Err.OK;
}

/** Runs on: timers count from now, and whatever is due may leave. */
export function migrateThaw(ptr: usize, now: u64): i32 {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.FROZEN) == 0) return Err.TCP_STATE;
  tcb.flags &= ~(<u32>Flag.FROZEN);
  if (tcb.sndUna != tcb.sndNxt) rearm(ptr, now);
  if (timerGet(ptr, Timer.RACK) != 0) {
    timerClear(ptr, Timer.RACK);
    recoveryProbe(ptr, now);
  }
  if (timerGet(ptr, Timer.PERSIST) != 0) timerSet(ptr, Timer.PERSIST, now + <u64>tcb.rtoUs);
  if (timerGet(ptr, Timer.KEEPALIVE) != 0) timerSet(ptr, Timer.KEEPALIVE, now + tcb.keepIdleUs);
  timersRearm(ptr);
  outAdd(ptr);
  return Err.OK;
}

/** Frees the connection without a word to anybody: the other copy lives, or the verdict was ABORTED. */
export function migrateDiscard(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  tcb.flags |= Flag.LET_GO;
  tcb.events = 0;
  connectionDetach(ptr);
  connectionFree(ptr);
}

/**
 * Last step of an infusion: the block's variables, options and queues are installed, it is in the tables, and
 * its flight is empty. Everything outstanding counts as sent now; the peer hears an ACK, so that it learns
 * where we are. RACK, TLP and recovery start afresh.
 * @returns false when no node was left
 */
export function migrateActivate(ptr: usize, now: u64): bool {
  const tcb = changetype<Tcb>(ptr);
  flightClear(ptr);
  connectionMss(ptr);
  if (seqLt(tcb.sndUna, tcb.sndNxt) && !flightSent(ptr, tcb.sndUna, tcb.sndNxt, now)) return false;
  tcb.phase = 0;
  tcb.recoverSeq = tcb.sndUna - 1;
  tcb.rackRttUs = 0;
  tcb.rackDsackSeq = tcb.sndUna;
  tcb.rackReoMult = max<u8>(tcb.rackReoMult, 1);
  tcb.rttSeq = tcb.sndNxt;
  tcb.rttMinSinceUs = <u32>now;
  tcb.hystartEndSeq = tcb.sndNxt;
  tcb.hystartLastRttUs = u32.MAX_VALUE;
  tcb.hystartRttUs = u32.MAX_VALUE;
  tcb.cubicEpochUs = 0;
  tcb.cubicPrior = tcb.cubicWMax;
  tcb.cubicLastUs = now;
  tcb.flightMaxSeq = tcb.sndNxt;
  tcb.rcvLastUs = now;
  tcb.sndLastUs = now;
  tcb.rcvSpaceSeq = tcb.rcvRead;
  tcb.rcvSpaceUs = 0;
  tcb.flags |= Flag.REPORTED;
  if (tcb.sndUna != tcb.sndNxt) rearm(ptr, now);
  if (tcb.keepIdleUs != 0) timerSet(ptr, Timer.KEEPALIVE, now + tcb.keepIdleUs);
  ackNow(ptr);
  outAdd(ptr);
  return true;
}
