/**
 * What happens when a deadline passes. Knows the timers' meanings; must not know packets. RFC 6298 5,
 * RFC 9293 3.8.3 (R1, R2), 3.8.4 (keep-alive), 3.8.6.1 (zero window); Linux's numbers of retries.
 */
import { Counter, count } from "../counters";
import { Err } from "../errors";
import { EventType, SoftError, State } from "../report";
import { connectionEnd, connectionTimedOut, connectionTrouble } from "./connection";
import { eventAdd, outAdd } from "./list";
import { pathSuspect } from "./pathmtu";
import { ackNow } from "./receive";
import { recoveryTimeout, recoveryTimer } from "./recovery";
import { RTO_US_MAX, rtoBackedOff } from "./rtt";
import { seqLt } from "../wire/seq";
import { Flag, TIMER_COUNT, Tcb, Timer, tcbByHandle } from "./tcb";
import { shareMost } from "./share";
import { memoryAwait, timerClear, timerGet, timerSet, timersRearm } from "./timer";
import { timeWaitExpire, timeWaitNextUs } from "./timewait";
import { wheelNextUs, wheelPop } from "./wheel";
import { windowStarved, windowWorthTelling } from "./window";

/** Linux: tcp_retries2, tcp_syn_retries, tcp_synack_retries, retries of a connection nobody holds. */
const RETRIES_DATA: u32 = 15;
/** R1 (RFC 9293 SHLD-9, 10; Linux tcp_retries1): the application hears of it. */
const RETRIES_R1: u32 = 3;
const RETRIES_SYN: u32 = 6;
const RETRIES_SYN_ACK: u32 = 5;
const RETRIES_ORPHAN: u32 = 8;

/** Runs everything that is due. */
export function expireRun(now: u64): void {
  timeWaitExpire(now);
  for (let ptr = wheelPop(now); ptr != 0; ptr = wheelPop(now)) expireOne(ptr, now);
}

/** When the next deadline may be due; u64.MAX_VALUE: never. */
export function expireNextUs(): u64 {
  return min<u64>(wheelNextUs(), timeWaitNextUs());
}

function expireOne(ptr: usize, now: u64): void {
  const handle = changetype<Tcb>(ptr).handle;
  for (let timer: u32 = 0; timer < TIMER_COUNT; timer++) {
    const when = timerGet(ptr, timer);
    if (when == 0 || now < when) continue;
    timerClear(ptr, timer);
    fire(ptr, timer, now);
    // It may have ended the connection, and the block may even be free.
    if (tcbByHandle(handle) != ptr) return;
    if ((changetype<Tcb>(ptr).flags & Flag.DETACHED) != 0) return;
  }
  timersRearm(ptr);
}

function fire(ptr: usize, timer: u32, now: u64): void {
  switch (timer) {
    case Timer.RTO:
      retransmissionTimeout(ptr, now);
      return;
    case Timer.RACK:
      recoveryTimer(ptr, now);
      return;
    case Timer.PERSIST:
      persistTimeout(ptr, now);
      return;
    case Timer.ACK:
      // The peer pauses between segments: it waits for this ACK (Linux leaves ping-pong mode).
      changetype<Tcb>(ptr).pingpong = 0;
      ackNow(ptr);
      return;
    case Timer.KEEPALIVE:
      keepAliveTimeout(ptr, now);
      return;
    case Timer.LINGER:
      connectionEnd(ptr, Err.OK, true);
      return;
    case Timer.PACE:
      outAdd(ptr);
      return;
    case Timer.MEMORY:
      memoryAgain(ptr, now);
      return;
  }
}

/** There may be memory now for who found none: the writer tries again, the peer hears of a window. */
function memoryAgain(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const held = tcb.sndQueueChunks;
  const blocked = (tcb.flags & (Flag.WRITE_BLOCKED | Flag.LET_GO)) == Flag.WRITE_BLOCKED;
  if (blocked && held < shareMost(held)) {
    tcb.flags &= ~(<u32>Flag.WRITE_BLOCKED);
    eventAdd(ptr, 1 << EventType.WRITABLE);
  } else if (blocked) memoryAwait(ptr, now);
  if (windowStarved(ptr)) memoryAwait(ptr, now);
  else if (windowWorthTelling(ptr)) ackNow(ptr);
}

function retransmissionTimeout(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const handshake = tcb.state == State.SYN_SENT || tcb.state == State.SYN_RECEIVED;
  if (!handshake && tcb.flightHead == 0) return;
  if (tcb.troubleUs == 0) tcb.troubleUs = now;
  if (isHopeless(tcb, now)) {
    connectionTimedOut(ptr, now);
    return;
  }
  tcb.rtoCount = <u8>(<u32>tcb.rtoCount + 1);
  tcb.timeouts += 1;
  count(Counter.TCP_TIMEOUTS);
  if (tcb.rtoCount == RETRIES_R1) {
    connectionTrouble(ptr, tcb.softError != 0 ? tcb.softError : SoftError.RETRIES << 8);
  }
  if (!handshake && RETRIES_R1 <= <u32>tcb.rtoCount) pathSuspect(ptr);
  if (handshake) tcb.flags |= Flag.SYN_DUE;
  else recoveryTimeout(ptr, now);
  timerSet(ptr, Timer.RTO, inPatience(tcb, now + rtoBackedOff(ptr, <u32>tcb.rtoCount), now));
  outAdd(ptr);
}

/** The deadline, or the end of the user's time limit where that comes first (as Linux). */
function inPatience(tcb: Tcb, when: u64, now: u64): u64 {
  const end = tcb.troubleUs + tcb.userTimeoutUs;
  return tcb.userTimeoutUs != 0 && now < end ? min<u64>(when, end) : when;
}

/** R2: by the user's time limit where there is one, else by the number of retries. */
function isHopeless(tcb: Tcb, now: u64): bool {
  const tries = <u32>tcb.rtoCount;
  const overdue = tcb.userTimeoutUs != 0 && tcb.userTimeoutUs <= now - tcb.troubleUs;
  if (tcb.state == State.SYN_SENT) return overdue || RETRIES_SYN <= tries;
  if (tcb.state == State.SYN_RECEIVED) return RETRIES_SYN_ACK <= tries;
  // A window that is shut, by a peer that still answers, may stay so for ever (MUST-37).
  if (tcb.sndWnd == 0 && now - tcb.rcvLastUs < <u64>RTO_US_MAX) return false;
  if (tcb.userTimeoutUs != 0) return overdue;
  return ((tcb.flags & Flag.LET_GO) != 0 ? RETRIES_ORPHAN : RETRIES_DATA) <= tries;
}

function persistTimeout(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.sndUna != tcb.sndNxt || tcb.sndEnd == tcb.sndNxt) return;
  if (tcb.troubleUs == 0) tcb.troubleUs = now;
  const silent = now - tcb.rcvLastUs;
  const limit = (tcb.flags & Flag.LET_GO) != 0 ? RETRIES_ORPHAN : RETRIES_DATA;
  const unanswered = rtoBackedOff(ptr, <u32>tcb.persistCount) < silent;
  const overdue = tcb.userTimeoutUs != 0 && tcb.userTimeoutUs <= now - tcb.troubleUs;
  if (unanswered && (overdue || limit <= <u32>tcb.persistCount)) {
    connectionTimedOut(ptr, now);
    return;
  }
  if (<u32>tcb.persistCount < 255) tcb.persistCount = <u8>(<u32>tcb.persistCount + 1);
  // A window too small for a full segment takes a piece; a shut one is asked.
  tcb.flags |= tcb.sndWnd != 0 ? Flag.FORCE_ONE : Flag.PROBE_DUE;
  timerSet(
    ptr,
    Timer.PERSIST,
    inPatience(tcb, now + rtoBackedOff(ptr, <u32>tcb.persistCount), now),
  );
  outAdd(ptr);
}

/** RFC 9293 3.8.4: only when nothing is outstanding and nothing came for the idle time. */
function keepAliveTimeout(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.keepIdleUs == 0 || <u32>tcb.state < <u32>State.ESTABLISHED) return;
  const idle = now - tcb.rcvLastUs;
  // SND.NXT is beyond what was written when our FIN has left.
  if (tcb.sndUna != tcb.sndNxt || seqLt(tcb.sndNxt, tcb.sndEnd)) {
    timerSet(ptr, Timer.KEEPALIVE, now + tcb.keepIdleUs); // retransmission finds out by itself
    return;
  }
  if (idle < tcb.keepIdleUs) {
    timerSet(ptr, Timer.KEEPALIVE, tcb.rcvLastUs + tcb.keepIdleUs);
    return;
  }
  const patience = tcb.keepIdleUs + tcb.userTimeoutUs;
  const hopeless =
    tcb.userTimeoutUs != 0
      ? patience <= idle && tcb.keepProbes != 0
      : tcb.keepProbesMax <= tcb.keepProbes;
  if (hopeless) {
    connectionTimedOut(ptr, now);
    return;
  }
  tcb.keepProbes = <u8>(<u32>tcb.keepProbes + 1);
  tcb.flags |= Flag.PROBE_DUE;
  timerSet(ptr, Timer.KEEPALIVE, now + tcb.keepIntervalUs);
  outAdd(ptr);
}
