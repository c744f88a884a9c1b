/**
 * Episodes of congestion: how one begins, how much leaves meanwhile, how it ends or is undone. Knows cwnd's past;
 * must not know how a loss is noticed (recovery.ts). RFC 9937 (PRR), 3522 and 4015 (Eifel), 2883 (D-SACK).
 */
import { Counter, count } from "../counters";
import { seqGe, seqGt, seqLe, seqLt } from "../wire/seq";
import { connectionMss } from "./connection";
import { congestionReduce } from "./congestion";
import { deliveryBytes } from "./delivery";
import { flightPipe, flightUnlose } from "./flight";
import { segment, segmentHasTimestamps } from "./segment";
import { Flag, Tcb } from "./tcb";

export enum Phase {
  OPEN = 0,
  RECOVERY = 1,
  LOSS = 2,
  /** cwnd shrinks because of a mark; nothing is known to be lost. */
  CWR = 3,
}

/** Nothing is known to be lost. */
export function episodeQuiet(tcb: Tcb): bool {
  return tcb.phase == Phase.OPEN || tcb.phase == Phase.CWR;
}

/** `bytes` were sent again, with this TSval: what an undo needs to know. */
export function episodeResent(ptr: usize, bytes: u32, tsVal: u32): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.phase != Phase.OPEN) tcb.prrOut += bytes;
  tcb.undoBytes += bytes;
  if (tcb.undoTsval == 0) tcb.undoTsval = tsVal == 0 ? 1 : tsVal;
}

/** A D-SACK says that [left, right) had arrived before. Once all that was sent again did, none of it was needed. */
export function episodeDuplicate(ptr: usize, left: u32, right: u32): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.undoCwnd == 0 || tcb.undoBytes == 0) return; // the network's own duplicates say nothing
  if (seqLe(right, tcb.undoSeq)) return; // of an earlier episode
  const bytes = right - left;
  tcb.undoBytes = bytes < tcb.undoBytes ? tcb.undoBytes - bytes : 0;
  if (tcb.undoBytes == 0) undo(ptr);
}

/** Loss in OPEN or CWR: fast recovery begins. A window that a mark has reduced stays so (RFC 3168 6.1.2). */
export function episodeEnter(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.phase == Phase.OPEN) {
    episodeRemember(ptr);
    begin(ptr);
  }
  tcb.phase = <u8>Phase.RECOVERY;
  count(Counter.TCP_RECOVERIES);
}

/** The peer echoes a mark in OPEN: as if a segment was lost, but there is nothing to send again, and no way back. */
export function episodeMarked(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  tcb.undoCwnd = 0;
  begin(ptr);
  tcb.phase = <u8>Phase.CWR;
  count(Counter.TCP_ECN_REDUCED);
}

function begin(ptr: usize): void {
  window(ptr, deliveryBytes());
  congestionReduce(ptr);
}

/** A connection that was moved within an episode: what is outstanding asks for no other reduction, cwnd shrinks on. */
export function episodeResume(ptr: usize): void {
  window(ptr, 0);
  changetype<Tcb>(ptr).phase = <u8>Phase.CWR;
}

/** What is outstanding now is one window; `delivered` of it has just arrived. */
function window(ptr: usize, delivered: u32): void {
  const tcb = changetype<Tcb>(ptr);
  tcb.prrFlight = max<u32>(tcb.sndNxt - tcb.sndUna - tcb.sackedBytes + delivered, 1);
  tcb.prrDelivered = 0;
  tcb.prrOut = 0;
  tcb.recoverSeq = tcb.sndNxt;
  tcb.flags &= ~(<u32>(Flag.TLP_OUT | Flag.TLP_DUE));
}

/** What an undo would restore. */
export function episodeRemember(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  tcb.undoSeq = tcb.sndUna;
  tcb.undoCwnd = tcb.cwnd;
  tcb.undoSsthresh = tcb.ssthresh;
  tcb.undoBytes = tcb.retransBytes; // a loss probe that is out may be reported as a duplicate as well
  tcb.undoTsval = 0;
  tcb.undoPmtu = 0;
}

/** CWR lasts until something beyond is acknowledged, for only then the peer may have heard of it (as Linux). */
export function episodeOver(tcb: Tcb): bool {
  if (tcb.phase == Phase.CWR) return seqGt(tcb.sndUna, tcb.recoverSeq);
  return seqGe(tcb.sndUna, tcb.recoverSeq);
}

/** The peer has everything that was outstanding when the episode began. */
export function episodeLeave(tcb: Tcb): void {
  if (tcb.phase != Phase.LOSS) {
    tcb.cwnd = max<u32>(tcb.ssthresh, <u32>tcb.sndMss);
  }
  patienceAges(tcb);
  tcb.phase = <u8>Phase.OPEN;
  tcb.dupAcks = 0;
  tcb.cwndAcked = 0;
}

/** A recovery ends: the wider window for reordering persists so many of them (RFC 8985 6.2 step 4). */
function patienceAges(tcb: Tcb): void {
  if (tcb.phase == Phase.CWR || tcb.rackReoPersist == 0) return;
  tcb.rackReoPersist = <u8>(<u32>tcb.rackReoPersist - 1);
  if (tcb.rackReoPersist == 0) tcb.rackReoMult = 1;
}

/** RFC 9937: as many bytes out as are delivered, scaled so that the window ends at ssthresh. */
export function episodePace(ptr: usize, safe: bool): void {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.SACK) == 0 && tcb.phase == Phase.RECOVERY) return; // recovery.ts steers
  const delivered = deliveryBytes();
  if (delivered == 0) return; // nothing left the network: a D-SACK alone would shut the window (as Linux)
  const pipe = flightPipe(ptr);
  const mss = <u32>tcb.sndMss;
  tcb.prrDelivered += delivered;
  let send: i64 = 0;
  if (tcb.ssthresh < pipe) {
    const share =
      (<u64>tcb.prrDelivered * <u64>tcb.ssthresh + <u64>tcb.prrFlight - 1) / <u64>tcb.prrFlight;
    send = <i64>share - <i64>tcb.prrOut;
  } else {
    let limit = max<i64>(<i64>tcb.prrDelivered - <i64>tcb.prrOut, <i64>delivered);
    if (safe) limit += <i64>mss;
    send = min<i64>(<i64>(tcb.ssthresh - pipe), limit);
  }
  if (tcb.prrOut == 0) send = max<i64>(send, <i64>mss); // the fast retransmit itself
  tcb.cwnd = pipe + <u32>max<i64>(send, 0);
}

/** Eifel detection: the ACK echoes a segment older than the first retransmission of the episode. */
export function episodeUndoByTimestamp(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.phase == Phase.OPEN || tcb.undoCwnd == 0 || tcb.undoTsval == 0) return;
  if ((tcb.flags & Flag.TIMESTAMPS) == 0 || !segmentHasTimestamps()) return;
  const tsEcr = segment().tsEcr;
  if (tsEcr != 0 && seqLt(tsEcr, tcb.undoTsval)) undo(ptr);
}

function undo(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  tcb.cwnd = max<u32>(tcb.cwnd, tcb.undoCwnd);
  tcb.ssthresh = max<u32>(tcb.ssthresh, tcb.undoSsthresh);
  if (tcb.cubicWMax < tcb.undoCwnd) tcb.cubicWMax = tcb.undoCwnd;
  tcb.undoCwnd = 0;
  tcb.undoTsval = 0;
  tcb.rtoCount = 0;
  if (tcb.undoPmtu != 0) {
    tcb.pmtu = tcb.undoPmtu;
    connectionMss(ptr);
    tcb.undoPmtu = 0;
  }
  flightUnlose(ptr);
  patienceAges(tcb);
  tcb.flags &= ~(<u32>Flag.ECN_CWR); // nothing to tell of any more
  tcb.phase = <u8>Phase.OPEN;
  tcb.dupAcks = 0;
  count(Counter.TCP_UNDONE);
}
