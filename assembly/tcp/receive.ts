/**
 * What the text and the FIN of an acceptable segment do to the receiving side: store, reassemble, decide
 * when to acknowledge. Knows the receive variables; must not know states beyond "data may come".
 * RFC 9293 3.10.7.4 "seventh, process the segment text" and "eighth, check the FIN bit"; RFC 1122 4.2.3.2
 * and 5681 4.2 (delayed ACK) with Linux's quick-ACK at the start; RFC 2883 (D-SACK).
 */
import { Counter, count, countMany } from "../counters";
import { EventType, State } from "../report";
import { TcpFlag } from "../wire/tcp";
import { seqGe, seqGt, seqLe, seqLt, seqMax, seqMin } from "../wire/seq";
import { queueTrim, queueWrite } from "./buffer";
import { ecnTextArrives } from "./ecn";
import { eventAdd, outAdd } from "./list";
import {
  rangeAdd,
  rangeCovering,
  rangeOverlapping,
  rangePrune,
  rangeReach,
  rangeReclaim,
} from "./reassembly";
import { segment } from "./segment";
import { roundMeasure } from "./round";
import { shareMost, shareTight } from "./share";
import { nodeAt } from "./node";
import { Flag, Tcb, Timer } from "./tcb";
import { timerClear, timerSet, timerGet } from "./timer";

/** Delayed ACK: Linux's minimum, far below the half second of MUST-40. */
const ACK_DELAY_US: u64 = 40_000;
/** ACKs sent at once when a connection starts or resumes. */
export const QUICK_ACKS: u32 = 16;

/** Duplicate ACKs sent for one batch at most: three start a recovery, each more lets a segment out. */
const DUP_ACKS_MAX: u32 = 16;

/** An ACK must leave with the next poll. */
export function ackNow(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  tcb.flags |= Flag.ACK_NOW;
  outAdd(ptr);
}

/** An ACK may wait for data to ride on. */
export function ackLater(ptr: usize, now: u64): void {
  if (timerGet(ptr, Timer.ACK) == 0) timerSet(ptr, Timer.ACK, now + ACK_DELAY_US);
}

/** Any segment that leaves with an ACK field settles what was owed. */
export function ackSent(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.quickAcks != 0 && tcb.unackedBytes != 0) tcb.quickAcks = <u8>(<u32>tcb.quickAcks - 1);
  tcb.unackedBytes = 0;
  tcb.lastAckSent = tcb.rcvNxt;
  tcb.flags &= ~(<u32>(Flag.ACK_NOW | Flag.DSACK_DUE));
  timerClear(ptr, Timer.ACK);
}

/**
 * Takes the payload and the FIN bit of the segment at hand, which overlaps the window.
 * @returns true when the peer's FIN was reached by it
 */
export function textArrives(ptr: usize, now: u64): bool {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  const fin = (seg.flags & TcpFlag.FIN) != 0;
  if (seg.dataLen == 0 && !fin) return false;
  if ((tcb.flags & Flag.ECN) != 0 && seg.dataLen != 0) ecnTextArrives(ptr);
  let start = seg.seq;
  let end = seg.seq + seg.dataLen;
  let dataPtr = seg.dataPtr;
  if (fin && seqLe(end, tcb.rcvAdv)) finSeen(tcb, end);
  if (seqLt(tcb.rcvAdv, end)) end = tcb.rcvAdv;
  if ((tcb.flags & Flag.FIN_SEEN) != 0 && seqLt(tcb.finSeq, end)) end = tcb.finSeq;
  if (seqLt(start, tcb.rcvNxt)) {
    duplicate(ptr, start, seqLt(end, tcb.rcvNxt) ? end : tcb.rcvNxt);
    dataPtr += tcb.rcvNxt - start;
    start = tcb.rcvNxt;
  }
  // Our own FIN may carry the ACK of the peer's, where data was exchanged: it follows soon, or 40 ms are over (Linux).
  const answers = seg.dataLen != 0 || tcb.rcvDataUs != 0;
  const closing = fin && answers && seqLe(start, tcb.rcvNxt) && tcb.state == State.ESTABLISHED;
  if (closing) tcb.pingpong = 1;
  if (seqLt(start, end)) {
    if (start == tcb.rcvNxt) inOrder(ptr, dataPtr, end - start, now);
    else outOfOrder(ptr, start, dataPtr, end - start);
  } else if (seg.dataLen != 0 || (fin && (tcb.flags & Flag.FIN_RECEIVED) != 0)) {
    ackNow(ptr); // nothing new in it: the peer has missed our ACK, or the window is full
  } else if (fin && tcb.finSeq != tcb.rcvNxt) {
    ackNow(ptr);
  }
  if (!finReached(ptr)) return false;
  if (closing) ackLater(ptr, now);
  else ackNow(ptr);
  return true;
}

/** Remembers where the stream ends; what came first stands, be it another FIN or bytes that lie beyond this one. */
function finSeen(tcb: Tcb, finSeq: u32): void {
  if ((tcb.flags & Flag.FIN_SEEN) != 0) return;
  if (seqLt(finSeq, tcb.rcvNxt)) return;
  if (tcb.oooTail != 0 && seqLt(finSeq, nodeAt(tcb.oooTail).end)) return;
  tcb.finSeq = finSeq;
  tcb.flags |= Flag.FIN_SEEN;
}

/** RCV.NXT steps over the FIN once everything before it is there. */
function finReached(ptr: usize): bool {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & (Flag.FIN_SEEN | Flag.FIN_RECEIVED)) != Flag.FIN_SEEN) return false;
  if (tcb.rcvNxt != tcb.finSeq) return false;
  tcb.rcvNxt += 1;
  if (seqLt(tcb.rcvAdv, tcb.rcvNxt)) tcb.rcvAdv = tcb.rcvNxt;
  tcb.flags |= Flag.FIN_RECEIVED;
  return true;
}

function inOrder(ptr: usize, dataPtr: usize, len: u32, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const queuePtr = ptr + offsetof<Tcb>("rcvQueueHead");
  let stored = queueWrite(queuePtr, tcb.rcvNxt, dataPtr, len, shareMost(tcb.rcvQueueChunks));
  // What is next in order is worth more than what lies beyond a hole, here or in another connection.
  if (stored < len && ((tcb.oooHead != 0 && rangePrune(ptr)) || rangeReclaim())) {
    const most = shareMost(tcb.rcvQueueChunks);
    stored += queueWrite(queuePtr, tcb.rcvNxt + stored, dataPtr + stored, len - stored, most);
  }
  if (stored < len) {
    countMany(Counter.TCP_POOL_DROPPED, len - stored);
    ackNow(ptr);
  }
  if (stored == 0) return;
  const filled = tcb.oooHead != 0;
  const before = tcb.rcvNxt;
  if (filled) again(ptr, before, before + stored);
  tcb.rcvNxt = filled ? rangeReach(ptr, before + stored) : before + stored;
  const taken = tcb.rcvNxt - before;
  tcb.bytesReceived += taken;
  countMany(Counter.TCP_BYTES_IN, taken);
  tcb.unackedBytes += stored;
  tcb.rcvDataUs = max<u32>(<u32>now, 1);
  roundMeasure(ptr, now);
  eventAdd(ptr, 1 << EventType.READABLE);
  policy(ptr, stored, filled, now);
}

/** When to acknowledge in-order data: RFC 1122 4.2.3.2, RFC 5681 4.2 (at once when a hole is filled). */
function policy(ptr: usize, len: u32, filled: bool, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  const piece = min<u32>(seg.pieceLen, 0xffff);
  if (<u32>tcb.rcvMss < piece) tcb.rcvMss = <u16>piece;
  else if (piece < <u32>tcb.rcvMss && piece >= 536 && seg.pieceLen < len) tcb.rcvMss = <u16>piece;
  const quick = tcb.quickAcks != 0 && tcb.pingpong == 0;
  if (filled || quick || <u32>tcb.rcvMss < tcb.unackedBytes) ackNow(ptr);
  else ackLater(ptr, now);
}

function outOfOrder(ptr: usize, start: u32, dataPtr: usize, len: u32): void {
  const tcb = changetype<Tcb>(ptr);
  ackNow(ptr); // RFC 5681 4.2: at once, so that the peer learns of the hole
  tcb.quickAcks = <u8>QUICK_ACKS;
  if ((tcb.flags & Flag.SACK) == 0 && <u32>tcb.dupAcksDue < DUP_ACKS_MAX) {
    tcb.dupAcksDue = <u16>(<u32>tcb.dupAcksDue + 1);
  }
  again(ptr, start, start + len);
  if (rangeCovering(ptr, start, start + len) != 0) {
    rangeAdd(ptr, start, start + len);
    return;
  }
  const queuePtr = ptr + offsetof<Tcb>("rcvQueueHead");
  // Nobody is owed room for what lies beyond a hole.
  const most = shareTight() ? tcb.rcvQueueChunks : shareMost(tcb.rcvQueueChunks);
  const stored = queueWrite(queuePtr, start, dataPtr, len, most);
  if (stored != 0 && rangeAdd(ptr, start, start + stored)) {
    if (stored < len) countMany(Counter.TCP_POOL_DROPPED, len - stored);
    return;
  }
  countMany(Counter.TCP_POOL_DROPPED, len);
  // Chunks that were taken for bytes beyond every range hold nothing now.
  const last = tcb.oooTail != 0 ? nodeAt(tcb.oooTail).end : tcb.rcvNxt;
  queueTrim(queuePtr, last);
}

/** Notes the part of [start, end) that is there already, out of order: the first, where there are several. */
function again(ptr: usize, start: u32, end: u32): void {
  const index = rangeOverlapping(ptr, start, end);
  if (index == 0) return;
  const node = nodeAt(index);
  duplicate(ptr, seqMax(start, node.start), seqMin(end, node.end));
}

/** Notes a range that had arrived before, to be reported by D-SACK. */
function duplicate(ptr: usize, start: u32, end: u32): void {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.SACK) != 0 && seqLt(start, end)) {
    // One ACK may have to tell of several: what touches goes into one block (as Linux), else the last counts.
    const due = (tcb.flags & Flag.DSACK_DUE) != 0;
    const touches = due && seqLe(start, tcb.dsackEnd) && seqLe(tcb.dsackStart, end);
    tcb.dsackStart = touches ? seqMin(start, tcb.dsackStart) : start;
    tcb.dsackEnd = touches ? seqMax(end, tcb.dsackEnd) : end;
    tcb.flags |= Flag.DSACK_DUE;
  }
  ackNow(ptr);
}

/** A segment that ends before RCV.NXT, or begins beyond the window: the peer is told where we are. */
export function outsideWindow(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  count(Counter.TCP_OUT_OF_WINDOW);
  const end = seg.seq + seg.dataLen;
  if (seg.dataLen != 0 && seqLe(end, tcb.rcvNxt) && seqGe(seg.seq, tcb.irs)) {
    duplicate(ptr, seg.seq, end);
    return;
  }
  if (seqGt(end, tcb.rcvAdv) || seg.dataLen == 0) ackNow(ptr);
}
