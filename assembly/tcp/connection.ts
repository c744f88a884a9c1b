/**
 * How a connection begins and ends: the block's fields at open, what follows from negotiated options, and the
 * ways out. Knows the life cycle; must not know segments. RFC 9293 3.7.1 (MSS), 3.10, RFC 6691, 7323.
 */
import { Counter, count } from "../counters";
import { Err } from "../errors";
import { EventType, SoftError, State } from "../report";
import { ipHeaderLenOf } from "../wire/ip";
import { OptionBit, optionsWrite } from "../wire/options";
import { TcpFlag, TCP_HEADER_LEN } from "../wire/tcp";
import { queueClear, queueInit } from "./buffer";
import { congestionInit } from "./congestion";
import { demuxInsert, demuxRemove, tupleInto, tupleOf } from "./demux";
import { flightClear } from "./flight";
import { eventAdd, eventRemove, outAdd, outRemove } from "./list";
import { rangeClear } from "./reassembly";
import { QUICK_ACKS } from "./receive";
import { RTO_US_INITIAL } from "./rtt";
import { Flag, Tcb, tcbClose, tcbOpen } from "./tcb";
import { timersClear } from "./timer";
import { replySegment } from "./transmit";
import { RCV_BUF_INITIAL, unreadBytes } from "./window";
import { configLinkMtu, configRcvBufMax, configSndBufMax } from "./config";

/** First send buffer; it follows the congestion window. */
const SND_BUF_INITIAL: u32 = 65536;
export const MSS_MIN: u32 = 64;
const MSS_DEFAULT_V4: u32 = 536;
const MSS_DEFAULT_V6: u32 = 1220;
const TTL_DEFAULT: u32 = 64;
const TUPLE: usize = memory.data(40, 8);
const OPTION_BYTES: usize = memory.data(12, 4);

/** SYN-RECEIVED blocks that came from LISTEN: what the half-open limit bounds. */
let halfOpen: u32 = 0;

export function connectionReset(): void {
  halfOpen = 0;
}

export function halfOpenCount(): u32 {
  return halfOpen;
}

/**
 * A block for a 4-tuple that is not present, in the tables, with every variable at its start.
 * @returns 0 when all blocks are in use
 */
export function connectionOpen(tuplePtr: usize, iss: u32, state: u32): usize {
  const ptr = tcbOpen();
  if (ptr == 0) return 0;
  const tcb = changetype<Tcb>(ptr);
  tupleInto(ptr, tuplePtr);
  demuxInsert(ptr);
  tcb.state = <u8>state;
  tcb.ttl = <u8>TTL_DEFAULT;
  tcb.service = 0xffffffff;
  tcb.iss = iss;
  tcb.sndUna = iss;
  tcb.sndNxt = iss + 1;
  tcb.sndEnd = iss + 1;
  tcb.sndUp = iss;
  tcb.sndSmall = iss;
  tcb.pmtu = <u16>configLinkMtu();
  tcb.peerMss = <u16>(tcb.family == 4 ? MSS_DEFAULT_V4 : MSS_DEFAULT_V6);
  tcb.rcvMss = <u16>MSS_DEFAULT_V4;
  tcb.sndBufMax = configSndBufMax();
  tcb.rcvBufMax = configRcvBufMax();
  tcb.sndBuf = min<u32>(SND_BUF_INITIAL, tcb.sndBufMax);
  tcb.rcvBuf = min<u32>(RCV_BUF_INITIAL, tcb.rcvBufMax);
  tcb.rtoUs = RTO_US_INITIAL;
  tcb.quickAcks = <u8>QUICK_ACKS;
  tcb.rackReoMult = 1;
  tcb.recoverSeq = iss;
  tcb.keepIntervalUs = 75_000_000;
  tcb.keepProbesMax = 9;
  queueInit(ptr + offsetof<Tcb>("sndQueueHead"), iss + 1);
  if (state == State.SYN_RECEIVED) halfOpen++;
  return ptr;
}

/** The peer's SYN is known: RCV variables start. */
export function connectionSynReceived(ptr: usize, irs: u32): void {
  const tcb = changetype<Tcb>(ptr);
  const promised = tcb.rcvAdv - tcb.rcvNxt; // by our SYN, where that came first
  tcb.irs = irs;
  tcb.rcvNxt = irs + 1;
  tcb.rcvAdv = irs + 1 + promised;
  tcb.rcvRead = irs + 1;
  tcb.rcvUp = irs;
  tcb.rcvSpaceSeq = irs + 1;
  tcb.lastAckSent = irs + 1;
  tcb.rackDsackSeq = tcb.sndUna;
  queueInit(ptr + offsetof<Tcb>("rcvQueueHead"), irs + 1);
}

/** sndMss from the peer's MSS, the path MTU and the options on every segment (RFC 6691, MUST-16). */
export function connectionMss(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  const byPath = <u32>tcb.pmtu - ipHeaderLenOf(<u32>tcb.family) - TCP_HEADER_LEN;
  const options: u32 = (tcb.flags & Flag.TIMESTAMPS) != 0 ? 12 : 0;
  const mss = min<u32>(<u32>tcb.peerMss, byPath);
  tcb.sndMss = <u16>max<u32>(mss - min<u32>(options, mss), MSS_MIN);
}

/** The handshake is done. */
export function connectionEstablished(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.state == State.SYN_RECEIVED) halfOpen--;
  tcb.state = <u8>State.ESTABLISHED;
  tcb.openedUs = now;
  tcb.rcvLastUs = now;
  tcb.rtoCount = 0;
  tcb.troubleUs = 0;
  congestionInit(ptr);
  const passive = (tcb.flags & Flag.PASSIVE) != 0;
  tcb.flags |= Flag.REPORTED;
  count(passive ? Counter.TCP_ACCEPTED : Counter.TCP_CONNECTED);
  eventAdd(ptr, 1 << (passive ? EventType.ACCEPTED : EventType.CONNECTED));
}

/** SYN-SENT becomes SYN-RECEIVED (simultaneous open), or a block is infused in that state. */
export function connectionHalfOpen(ptr: usize): void {
  changetype<Tcb>(ptr).state = <u8>State.SYN_RECEIVED;
  halfOpen++;
}

/**
 * TCP is done with the connection: nothing will be sent or received any more. Unread bytes stay until the
 * application has let go.
 * @param err Err.OK after an orderly close, else why it ended
 */
export function connectionEnd(ptr: usize, err: i32, released: bool): void {
  const tcb = changetype<Tcb>(ptr);
  connectionDetach(ptr);
  tcb.state = <u8>(released ? State.CLOSED : State.TIME_WAIT);
  if (tcb.error == 0) tcb.error = err;
  if (err == Err.OK) count(Counter.TCP_CLOSED);
  else if (err == Err.TIMEOUT || err == Err.UNREACHABLE) count(Counter.TCP_TIMED_OUT);
  else count(Counter.TCP_RESET);
  if ((tcb.flags & Flag.REPORTED) != 0) {
    let bits: u32 = 0;
    if ((tcb.flags & Flag.LET_GO) == 0) bits |= 1 << EventType.CLOSED;
    if (released) bits |= 1 << EventType.RELEASED;
    tcb.events &= (1 << EventType.URGENT) - 1; // nothing may follow RELEASED
    if (bits != 0) eventAdd(ptr, bits);
  }
  connectionFreeIfDone(ptr);
}

/** A soft error: the application may want to know, the connection goes on (RFC 9293 MUST-47). */
export function connectionTrouble(ptr: usize, softError: u32): void {
  const tcb = changetype<Tcb>(ptr);
  tcb.softError = softError;
  count(Counter.TCP_TROUBLES);
  if ((tcb.flags & (Flag.REPORTED | Flag.LET_GO)) != Flag.REPORTED) return;
  eventAdd(ptr, 1 << EventType.TROUBLE);
}

/** Patience is over. A router that said why speaks for the network, and its word is the cause, as in Linux. */
export function connectionTimedOut(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const told = tcb.softError >> 8 == <u32>SoftError.UNREACHABLE;
  const err = told ? Err.UNREACHABLE : Err.TIMEOUT;
  const handshake = tcb.state == State.SYN_SENT || tcb.state == State.SYN_RECEIVED;
  if (handshake) connectionEnd(ptr, err, true);
  else connectionAbort(ptr, err, now);
}

/** Leaves the tables, timers and lists, and gives send memory back. */
export function connectionDetach(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.DETACHED) != 0) return;
  if (tcb.state == State.SYN_RECEIVED) halfOpen--;
  demuxRemove(ptr);
  timersClear(ptr);
  outRemove(ptr);
  flightClear(ptr);
  rangeClear(ptr);
  queueClear(ptr + offsetof<Tcb>("sndQueueHead"), tcb.sndUna);
  tcb.flags = (tcb.flags | Flag.DETACHED) & ~(<u32>(Flag.ACK_NOW | Flag.FROZEN));
}

/** Frees a block that neither TCP nor the application nor the event queue needs any more. */
export function connectionFreeIfDone(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.DETACHED) == 0 || tcb.events != 0) return;
  if ((tcb.flags & (Flag.REPORTED | Flag.LET_GO)) == Flag.REPORTED) return;
  connectionFree(ptr);
}

/** Frees a detached block whatever waits for it. */
export function connectionFree(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  assert((tcb.flags & Flag.DETACHED) != 0);
  eventRemove(ptr);
  queueClear(ptr + offsetof<Tcb>("rcvQueueHead"), tcb.rcvRead);
  tcbClose(ptr);
}

/** Ends the connection with a RST to the peer (RFC 9293 3.10.5). */
export function connectionAbort(ptr: usize, err: i32, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  tupleOf(ptr, TUPLE);
  const synchronised = tcb.state != State.SYN_SENT;
  if (synchronised && (tcb.flags & Flag.FROZEN) == 0) resetSend(tcb, now);
  connectionEnd(ptr, err, true);
}

/** RFC 7323 3.2: the timestamps that were agreed stand on a RST too. */
function resetSend(tcb: Tcb, now: u64): void {
  let len: u32 = 0;
  if ((tcb.flags & Flag.TIMESTAMPS) != 0) {
    const tsVal = <u32>(now / 1000) + tcb.tsOffset;
    len = optionsWrite(OPTION_BYTES, OptionBit.TIMESTAMPS, tsVal, tcb.tsRecent, 0, 0);
  }
  const flags = TcpFlag.RST | TcpFlag.ACK;
  replySegment(TUPLE, tcb.sndNxt, tcb.rcvNxt, flags, 0, OPTION_BYTES, len);
}

/** Whether the application left bytes unread: closing then means RST (RFC 9293 SHLD-3). */
export function connectionHasUnread(ptr: usize): bool {
  return unreadBytes(ptr) != 0;
}

/** Our FIN after everything that was written. */
export function connectionShutdown(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.FIN_QUEUED) != 0) return;
  tcb.flags |= Flag.FIN_QUEUED;
  outAdd(ptr);
}
