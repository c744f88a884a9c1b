/**
 * Urgent data, both ways: only positions are kept, the bytes stay in the stream (RFC 6093 advises it). Knows RCV.UP
 * and SND.UP; must not know what an application does about them. RFC 9293 3.8.5, MUST-30 to 33 and 62.
 */
import { Err } from "../errors";
import { EventType } from "../report";
import { seqGt, seqLe, seqLt } from "../wire/seq";
import { tcpSetUrgent } from "../wire/tcp";
import { eventAdd, outAdd } from "./list";
import { segment } from "./segment";
import { Flag, Tcb } from "./tcb";

/** SEG.UP of the segment at hand, which has URG; it counts while the peer may still send (3.10.7.4). */
export function urgentArrives(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  const up = segment().seq + segment().up;
  if (seqLe(up, tcb.rcvRead)) return;
  if ((tcb.flags & Flag.URGENT_IN) != 0 && !seqGt(up, tcb.rcvUp)) return;
  tcb.rcvUp = up;
  tcb.flags |= Flag.URGENT_IN;
  if ((tcb.flags & Flag.LET_GO) == 0) eventAdd(ptr, 1 << EventType.URGENT);
}

/** Unread bytes up to the end of the urgent data, received or not. */
export function urgentBytes(tcb: Tcb): u32 {
  const urgent = (tcb.flags & Flag.URGENT_IN) != 0 && seqLt(tcb.rcvRead, tcb.rcvUp);
  return urgent ? tcb.rcvUp - tcb.rcvRead : 0;
}

/** The application has read on: beyond RCV.UP nothing is urgent any more. */
export function urgentConsumed(tcb: Tcb): void {
  if (seqLe(tcb.rcvUp, tcb.rcvRead)) tcb.flags &= ~(<u32>Flag.URGENT_IN);
}

/** Everything committed so far is urgent. Err.TCP_STATE when nothing is outstanding to be so. */
export function urgentSend(ptr: usize): i32 {
  const tcb = changetype<Tcb>(ptr);
  const closed = (tcb.flags & Flag.DETACHED) != 0;
  if (closed || seqLe(tcb.sndEnd, tcb.sndUna) || tcb.sndEnd == tcb.iss + 1) return Err.TCP_STATE;
  tcb.sndUp = tcb.sndEnd;
  tcb.flags |= Flag.URGENT_OUT;
  outAdd(ptr);
  return Err.OK;
}

/** The peer has acknowledged up to SND.UNA. */
export function urgentAcked(tcb: Tcb): void {
  if (seqLe(tcb.sndUp, tcb.sndUna)) tcb.flags &= ~(<u32>Flag.URGENT_OUT);
}

/** Marks a segment about to be sent: the pointer names the byte after the urgent ones (MUST-62). */
export function urgentMark(tcb: Tcb, tcpPtr: usize, segSeq: u32): void {
  if ((tcb.flags & Flag.URGENT_OUT) == 0 || !seqLt(segSeq, tcb.sndUp)) return;
  tcpSetUrgent(tcpPtr, min<u32>(tcb.sndUp - segSeq, 0xffff));
}
