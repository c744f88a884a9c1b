/**
 * The calls of RFC 9293 3.9.1 as the application makes them, on handles: open, send, receive, close, abort,
 * status, and the events that answer them. Knows blocks and buffers; must not know packets.
 */
import { Counter, count } from "../counters";
import { Err } from "../errors";
import { Tuple } from "../layout";
import { Event, EventType, Option, State } from "../report";
import {
  QUEUE_BYTES_MAX,
  queueAt,
  queueClear,
  queueContiguous,
  queueDiscard,
  queueMake,
  queueTogether,
} from "./buffer";
import { BUFFER_MAX, configLinkMtu, configRcvBufMax } from "./config";
import {
  connectionAbort,
  connectionEnd,
  connectionFreeIfDone,
  connectionHasUnread,
  connectionMss,
  connectionOpen,
  connectionShutdown,
} from "./connection";
import { demuxFind, tupleOf } from "./demux";
import { FIN_WAIT_2_US } from "./arrive";
import { eventFirst, eventRemove, outAdd } from "./list";
import { announcedMss, listening, offsetNotBelow, reincarnationIss } from "./listen";
import { ackNow } from "./receive";
import { hashTuple } from "../flow/hash";
import { isnOf, timestampOffsetOf } from "./secret";
import { shareExhausted, shareMost } from "./share";
import { Flag, Tcb, Timer, tcbByHandle } from "./tcb";
import { memoryAwait, timerClear, timerSet } from "./timer";
import {
  timeWaitAt,
  timeWaitDone,
  timeWaitFind,
  timeWaitForget,
  timeWaitReported,
} from "./timewait";
import { urgentConsumed, urgentSend } from "./urgent";
import { unreadBytes, windowConsumed, windowShiftFor, windowWorthTelling } from "./window";

const EPHEMERAL_FIRST: u32 = 32768;
const EPHEMERAL_COUNT: u32 = 28232;
const BUFFER_MIN: u32 = 4096;
if (QUEUE_BYTES_MAX < BUFFER_MAX) ERROR("BUFFER_MAX");
let ephemeralNext: u32 = 0;

/**
 * Active OPEN with the tuple at tuplePtr; localPort 0 takes an ephemeral one and writes it back.
 * @returns a handle, or Err.ARGUMENT, EXISTS, FULL
 */
export function socketConnect(tuplePtr: usize, now: u64): i32 {
  const tuple = changetype<Tuple>(tuplePtr);
  if (!connectable(tuplePtr)) return Err.ARGUMENT;
  if (tuple.localPort == 0) {
    if (!takeEphemeral(tuplePtr)) return Err.FULL;
  } else if (demuxFind(tuplePtr) != 0) {
    return Err.EXISTS;
  }
  let iss = isnOf(tuplePtr, now);
  let offset = timestampOffsetOf(tuplePtr);
  const record = timeWaitFind(tuplePtr);
  if (record != 0) {
    // RFC 6191, seen from the side that opens: numbers go on above the old ones.
    const old = timeWaitAt(record);
    if ((old.flags & Flag.TIMESTAMPS) == 0) return Err.EXISTS;
    iss = reincarnationIss(tuplePtr, old.sndNxt, now);
    offset = offsetNotBelow(offset, old.tsLastSent + 1, now);
    timeWaitForget(record);
  }
  const ptr: usize = shareExhausted() ? 0 : connectionOpen(tuplePtr, iss, State.SYN_SENT);
  if (ptr == 0) return Err.FULL;
  const tcb = changetype<Tcb>(ptr);
  tcb.tsOffset = offset;
  tcb.advMss = <u16>announcedMss(0xffffffff, <u32>tcb.family);
  tcb.rcvWndShift = <u8>windowShiftFor(configRcvBufMax());
  tcb.flags |= Flag.TIMESTAMPS | Flag.SACK | Flag.WINDOW_SCALE | Flag.SYN_DUE | Flag.REPORTED;
  tcb.sndMss = <u16>(configLinkMtu() - 100);
  outAdd(ptr);
  return <i32>tcb.handle;
}

/** Span of received bytes from `offset` beyond the first unread one, in one piece. */
export function socketReadable(ptr: usize, offset: u32, spanPtr: usize): i32 {
  const tcb = changetype<Tcb>(ptr);
  const unread = unreadBytes(ptr);
  if (unread < offset) return Err.ARGUMENT;
  const position = tcb.rcvRead + offset;
  const queuePtr = ptr + offsetof<Tcb>("rcvQueueHead");
  const len = queueTogether(queuePtr, position, unread - offset);
  const at: usize = len == 0 ? 0 : queueAt(queuePtr, position);
  assert(len == 0 || at != 0);
  store<u32>(spanPtr, <u32>at);
  store<u32>(spanPtr, len, 4);
  return <i32>len;
}

/** Removes bytes from the front; tells the peer when the window opened enough. */
export function socketConsume(ptr: usize, amount: u32, now: u64): i32 {
  const tcb = changetype<Tcb>(ptr);
  if (unreadBytes(ptr) < amount) return Err.ARGUMENT;
  tcb.rcvRead += amount;
  // The last chunk goes too once nothing in it is of use: an idle connection holds none.
  const empty = unreadBytes(ptr) == 0 && tcb.oooHead == 0;
  if (empty) queueClear(ptr + offsetof<Tcb>("rcvQueueHead"), tcb.rcvRead);
  else queueDiscard(ptr + offsetof<Tcb>("rcvQueueHead"), tcb.rcvRead);
  if ((tcb.flags & Flag.URGENT_IN) != 0) urgentConsumed(tcb);
  if ((tcb.flags & (Flag.DETACHED | Flag.FIN_RECEIVED)) != 0) return Err.OK;
  windowConsumed(ptr, now);
  if (windowWorthTelling(ptr)) ackNow(ptr);
  return Err.OK;
}

/** Span of free send buffer, in one piece; 0: full, and WRITABLE will follow. */
export function socketReserve(ptr: usize, spanPtr: usize, now: u64): i32 {
  const tcb = changetype<Tcb>(ptr);
  if (!mayWrite(tcb)) return Err.TCP_STATE;
  const used = tcb.sndEnd - (tcb.sndUna == tcb.iss ? tcb.iss + 1 : tcb.sndUna);
  const space = used < tcb.sndBuf ? tcb.sndBuf - used : 0;
  const queuePtr = ptr + offsetof<Tcb>("sndQueueHead");
  const len = queueContiguous(queuePtr, tcb.sndEnd, space);
  const most = shareMost(tcb.sndQueueChunks);
  const at: usize = len == 0 ? 0 : queueMake(queuePtr, tcb.sndEnd, most);
  store<u32>(spanPtr, <u32>at);
  store<u32>(spanPtr, at == 0 ? 0 : len, 4);
  if (at != 0) {
    tcb.flags |= Flag.RESERVED;
    return <i32>len;
  }
  tcb.flags |= Flag.WRITE_BLOCKED;
  // No ACK will make room for a queue that is empty: memory must come from elsewhere.
  if (used == 0) memoryAwait(ptr, now);
  return 0;
}

/** Makes bytes that were written into the last reserved span part of the stream. */
export function socketCommit(ptr: usize, amount: u32): i32 {
  const tcb = changetype<Tcb>(ptr);
  if (!mayWrite(tcb)) return Err.TCP_STATE;
  if (amount == 0) return Err.OK;
  const queuePtr = ptr + offsetof<Tcb>("sndQueueHead");
  const used = tcb.sndEnd - (tcb.sndUna == tcb.iss ? tcb.iss + 1 : tcb.sndUna);
  const reserved =
    queueAt(queuePtr, tcb.sndEnd) != 0 && amount == queueContiguous(queuePtr, tcb.sndEnd, amount);
  if (!reserved || tcb.sndBuf < used + amount) return Err.ARGUMENT;
  tcb.sndEnd += amount;
  tcb.flags &= ~(<u32>Flag.RESERVED);
  outAdd(ptr);
  return Err.OK;
}

/** FIN after what was written. */
export function socketShutdown(ptr: usize): i32 {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & (Flag.DETACHED | Flag.FIN_QUEUED)) != 0) return Err.TCP_STATE;
  if (tcb.state == State.SYN_SENT) {
    connectionEnd(ptr, Err.ABORTED, true);
    return Err.OK;
  }
  connectionShutdown(ptr);
  return Err.OK;
}

/** RST, and the application's view is gone too: no event follows but RELEASED. */
export function socketAbort(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  tcb.flags |= Flag.LET_GO;
  tcb.events &= 1 << EventType.RELEASED;
  if ((tcb.flags & Flag.DETACHED) == 0) connectionAbort(ptr, Err.ABORTED, now);
  else connectionFreeIfDone(ptr);
}

/** The application lets go. Unread bytes mean RST (RFC 9293 SHLD-3), else the FIN follows what was written. */
export function socketRelease(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  tcb.flags |= Flag.LET_GO;
  tcb.events &= 1 << EventType.RELEASED;
  if ((tcb.flags & Flag.DETACHED) != 0) {
    connectionFreeIfDone(ptr);
    return;
  }
  if (connectionHasUnread(ptr) || tcb.state == State.SYN_SENT) {
    connectionAbort(ptr, Err.ABORTED, now);
    return;
  }
  connectionShutdown(ptr);
  if (tcb.state == State.FIN_WAIT_2) timerSet(ptr, Timer.LINGER, now + FIN_WAIT_2_US);
}

/** One setting (enum Option). Times are microseconds, sizes bytes. */
export function socketOption(ptr: usize, option: u32, value: f64, now: u64): i32 {
  if (!(value >= 0.0 && value <= 9007199254740991.0)) return Err.ARGUMENT;
  const tcb = changetype<Tcb>(ptr);
  const small = <u32>min<f64>(value, 4294967295.0);
  switch (option) {
    case Option.NODELAY:
      if (small == 0) tcb.flags &= ~(<u32>Flag.NODELAY);
      else tcb.flags |= Flag.NODELAY;
      outAdd(ptr);
      return Err.OK;
    case Option.KEEPALIVE_US:
      tcb.keepIdleUs = <u64>value;
      tcb.keepProbes = 0;
      if (tcb.keepIdleUs == 0) timerClear(ptr, Timer.KEEPALIVE);
      else timerSet(ptr, Timer.KEEPALIVE, now + tcb.keepIdleUs);
      return Err.OK;
    case Option.KEEPALIVE_INTERVAL_US:
      if (value < 1000.0) return Err.ARGUMENT;
      tcb.keepIntervalUs = <u64>value;
      return Err.OK;
    case Option.KEEPALIVE_PROBES:
      if (small == 0 || small > 255) return Err.ARGUMENT;
      tcb.keepProbesMax = <u8>small;
      return Err.OK;
    case Option.USER_TIMEOUT_US:
      tcb.userTimeoutUs = <u64>value;
      return Err.OK;
    case Option.RCV_BUFFER_MAX:
      if (small < BUFFER_MIN) return Err.ARGUMENT;
      tcb.rcvBufMax = min<u32>(small, BUFFER_MAX);
      tcb.rcvBuf = min<u32>(tcb.rcvBuf, tcb.rcvBufMax);
      return Err.OK;
    case Option.SND_BUFFER_MAX:
      if (small < BUFFER_MIN) return Err.ARGUMENT;
      tcb.sndBufMax = min<u32>(small, BUFFER_MAX);
      tcb.sndBuf = min<u32>(tcb.sndBuf, tcb.sndBufMax);
      return Err.OK;
    case Option.TTL:
      if (small == 0 || small > 255) return Err.ARGUMENT;
      tcb.ttl = <u8>small;
      return Err.OK;
    case Option.DSCP:
      if (small > 63) return Err.ARGUMENT;
      tcb.dscp = <u8>small;
      return Err.OK;
    case Option.CONGESTION:
      if (small > 1) return Err.ARGUMENT;
      tcb.congestion = <u8>small;
      tcb.cwndAcked = 0;
      tcb.cubicEpochUs = 0;
      return Err.OK;
    case Option.URGENT:
      return urgentSend(ptr);
    case Option.ECN:
      if (tcb.state != State.SYN_SENT || tcb.segmentsSent != 0) return Err.TCP_STATE;
      if (small == 0) tcb.flags &= ~(<u32>Flag.ECN);
      else tcb.flags |= Flag.ECN;
      return Err.OK;
  }
  return Err.ARGUMENT;
}

/** Writes one event. False when there is none. */
export function socketPollEvent(eventPtr: usize): bool {
  const ptr = eventFirst();
  if (ptr == 0) return pollReleased(eventPtr);
  const tcb = changetype<Tcb>(ptr);
  const type = ctz<u32>(tcb.events);
  const event = changetype<Event>(eventPtr);
  event.type = type;
  event.handle = tcb.handle;
  event.code = codeOf(tcb, type);
  event.ownerPeer = tcb.ownerPeer;
  event.ownerFlow = tcb.ownerFlow;
  event.sndNxt = tcb.sndNxt;
  event.tsVal = (tcb.flags & Flag.TIMESTAMPS) != 0 ? tcb.tsLastSent : 0;
  event.service = tcb.service;
  tupleOf(ptr, eventPtr + offsetof<Event>("family"));
  tcb.events &= ~((<u32>1) << type);
  if (tcb.events == 0) {
    eventRemove(ptr);
    connectionFreeIfDone(ptr);
  }
  return true;
}

/** CLOSED and RELEASED say how it ended, TROUBLE what is the matter. */
function codeOf(tcb: Tcb, type: u32): i32 {
  if (type == EventType.CLOSED || type == EventType.RELEASED) return tcb.error;
  return type == EventType.TROUBLE ? <i32>tcb.softError : 0;
}

function pollReleased(eventPtr: usize): bool {
  const index = timeWaitDone();
  if (index == 0) return false;
  const record = timeWaitAt(index);
  const event = changetype<Event>(eventPtr);
  event.type = EventType.RELEASED;
  event.handle = record.handle;
  event.code = 0;
  event.ownerPeer = record.ownerPeer;
  event.ownerFlow = record.ownerFlow;
  event.sndNxt = record.sndNxt;
  event.tsVal = (record.flags & Flag.TIMESTAMPS) != 0 ? record.tsLastSent : 0;
  event.service = 0;
  memory.copy(eventPtr + offsetof<Event>("family"), changetype<usize>(record), 40);
  timeWaitReported();
  return true;
}

function mayWrite(tcb: Tcb): bool {
  if ((tcb.flags & (Flag.DETACHED | Flag.FIN_QUEUED | Flag.LET_GO)) != 0) return false;
  const state = <u32>tcb.state;
  return state <= <u32>State.ESTABLISHED || state == State.CLOSE_WAIT;
}

/** MUST-46: no connection to nowhere, broadcast or multicast; the local address must be given. */
function connectable(tuplePtr: usize): bool {
  const tuple = changetype<Tuple>(tuplePtr);
  if (tuple.remotePort == 0) return false;
  if (tuple.family == 4) {
    const first = <u32>(tuple.remote0 & 0xff);
    return first != 0 && first < 224 && tuple.local0 != 0;
  }
  if (tuple.family != 6) return false;
  if ((tuple.remote0 | tuple.remote1) == 0 || (tuple.local0 | tuple.local1) == 0) return false;
  return (tuple.remote0 & 0xff) != 0xff;
}

/** RFC 6056 3.3.3: ports from a keyed offset and a counter; writes the port into the tuple. */
function takeEphemeral(tuplePtr: usize): bool {
  const tuple = changetype<Tuple>(tuplePtr);
  tuple.localPort = 0;
  const offset = hashTuple(tuplePtr);
  for (let attempt: u32 = 0; attempt < EPHEMERAL_COUNT; attempt++) {
    const step = offset + ephemeralNext++;
    tuple.localPort = <u16>(EPHEMERAL_FIRST + (step % EPHEMERAL_COUNT));
    if (demuxFind(tuplePtr) == 0 && timeWaitFind(tuplePtr) == 0 && !listening(tuplePtr))
      return true;
  }
  tuple.localPort = 0;
  count(Counter.TCP_SYN_DROPPED);
  return false;
}
