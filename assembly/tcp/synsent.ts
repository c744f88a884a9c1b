/**
 * SYN-SENT: the answer to our own SYN. Knows the handshake of an active open; must not know data.
 * RFC 9293 3.10.7.3, figure 8 (simultaneous open).
 */
import { Counter, count } from "../counters";
import { Err } from "../errors";
import { Verdict } from "../layout";
import { seqGt, seqLe } from "../wire/seq";
import { TcpFlag } from "../wire/tcp";
import { connectionEnd, connectionHalfOpen, connectionSynReceived } from "./connection";
import { ecnAnswered } from "./ecn";
import { handshakeDone } from "./handshake";
import { outAdd } from "./list";
import { synOptionsTake } from "./listen";
import { ackNow } from "./receive";
import { refuse } from "./refuse";
import { segment } from "./segment";
import { Flag, Tcb, Timer } from "./tcb";
import { timerClear } from "./timer";

/** @returns CONSUMED, DROPPED, or -1 when the connection is established and the segment goes on */
export function synSentArrives(ptr: usize, now: u64): i32 {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  const hasAck = (seg.flags & TcpFlag.ACK) != 0;
  // First, check the ACK bit.
  if (hasAck && (seqLe(seg.ack, tcb.iss) || seqGt(seg.ack, tcb.sndNxt))) {
    count(Counter.TCP_BAD_ACK);
    if ((seg.flags & TcpFlag.RST) == 0) refuse(now);
    return Verdict.DROPPED;
  }
  // Second, the RST bit: believed only with an acceptable ACK (RFC 5961 3.2 does not loosen this).
  if ((seg.flags & TcpFlag.RST) != 0) {
    if (hasAck) connectionEnd(ptr, Err.REFUSED, true);
    return Verdict.CONSUMED;
  }
  // Fourth, the SYN bit.
  if ((seg.flags & TcpFlag.SYN) == 0) return Verdict.DROPPED;
  connectionSynReceived(ptr, seg.seq);
  synOptionsTake(ptr, now);
  ecnAnswered(ptr);
  if (!hasAck) {
    connectionHalfOpen(ptr);
    timerClear(ptr, Timer.RTO);
    tcb.flags |= Flag.SYN_DUE;
    outAdd(ptr);
    return Verdict.CONSUMED;
  }
  tcb.sndUna = seg.ack;
  tcb.sndWl2 = seg.ack;
  timerClear(ptr, Timer.RTO);
  handshakeDone(ptr, now);
  ackNow(ptr);
  // The rest of a SYN-ACK, data or FIN, is processed like that of any segment, its SYN gone.
  seg.seq += 1;
  seg.flags &= ~(<u32>TcpFlag.SYN);
  return seg.dataLen != 0 || (seg.flags & TcpFlag.FIN) != 0 ? -1 : <i32>Verdict.CONSUMED;
}
