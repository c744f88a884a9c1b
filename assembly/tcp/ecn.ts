/**
 * Explicit congestion notification: what two SYNs agree on, what a mark asks of the receiver, what an echo asks of the
 * sender. Knows ECE, CWR and two bits of the IP header; must not know how cwnd shrinks (episode.ts). RFC 3168 6.1,
 * with Linux's choices.
 *
 *   Flag.ECN       both SYNs agreed
 *   Flag.ECN_ECHO  a mark arrived: ECE on every segment until the peer says CWR
 *   Flag.ECN_CWR   cwnd was reduced: CWR on the next new data
 */
import { Counter, count } from "../counters";
import { State } from "../report";
import { TcpFlag } from "../wire/tcp";
import { ackNow } from "./receive";
import { segment } from "./segment";
import { Flag, Tcb } from "./tcb";

/** Codepoints of the IP header (RFC 3168 section 5). */
export enum Ecn {
  NOT_ECT = 0,
  ECT1 = 1,
  ECT0 = 2,
  CE = 3,
}

/**
 * The SYN at hand asks for it: ECE and CWR, in a packet that is not ECN-capable itself (6.1.1, MUST NOT; a network
 * that sets such bits cannot be trusted with marks).
 */
export function ecnOffered(): bool {
  const seg = segment();
  const setup: u32 = TcpFlag.ECE | TcpFlag.CWR;
  return (seg.flags & setup) == setup && seg.ecn == <u32>Ecn.NOT_ECT;
}

/** SYN-SENT: the answer agrees by ECE alone, a crossing SYN by both (6.1.1). Neither bit means anything after that. */
export function ecnAnswered(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  const setup: u32 = TcpFlag.ECE | TcpFlag.CWR;
  const agreed: u32 = (seg.flags & TcpFlag.ACK) != 0 ? TcpFlag.ECE : setup;
  if ((seg.flags & setup) != agreed) tcb.flags &= ~(<u32>Flag.ECN);
  seg.flags &= ~setup;
}

/** SYN-RECEIVED: a SYN came again. One that does not ask any more gave up on ECN, and so do we (6.1.1). */
export function ecnSynAgain(ptr: usize): void {
  const seg = segment();
  const isSyn = (seg.flags & TcpFlag.ACK) == 0;
  if (isSyn && !ecnOffered()) changetype<Tcb>(ptr).flags &= ~(<u32>Flag.ECN);
  seg.flags &= ~(<u32>(TcpFlag.ECE | TcpFlag.CWR));
}

/** Bits of a SYN or SYN-ACK about to be sent. After a lost one a SYN goes without: it may be why (6.1.1.1). */
export function ecnSynFlags(tcb: Tcb): u32 {
  if ((tcb.flags & Flag.ECN) == 0) return 0;
  if (tcb.state != State.SYN_SENT) return TcpFlag.ECE;
  if (tcb.rtoCount == 0) return TcpFlag.ECE | TcpFlag.CWR;
  tcb.flags &= ~(<u32>Flag.ECN);
  return 0;
}

/** Data arrived on a connection with ECN: CWR ends the echo, a mark begins it anew (6.1.3). */
export function ecnTextArrives(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  if ((seg.flags & TcpFlag.CWR) != 0) {
    tcb.flags &= ~(<u32>Flag.ECN_ECHO);
    ackNow(ptr); // the peer's window may be down to one segment
  }
  if (seg.ecn != <u32>Ecn.CE) return;
  count(Counter.TCP_ECN_MARKED);
  if ((tcb.flags & Flag.ECN_ECHO) != 0) return;
  tcb.flags |= Flag.ECN_ECHO;
  ackNow(ptr);
}

/** The ACK at hand echoes a mark. */
export function ecnEchoed(tcb: Tcb): bool {
  return (tcb.flags & Flag.ECN) != 0 && (segment().flags & TcpFlag.ECE) != 0;
}

/**
 * An echo may ask for another reduction. As long as we owe CWR, or nothing beyond the window of the last reduction is
 * acknowledged, the peer cannot have heard of that one (6.1.2: once a window).
 */
export function ecnNews(tcb: Tcb): bool {
  return (tcb.flags & Flag.ECN_CWR) == 0 && tcb.sndUna != tcb.recoverSeq;
}

/** Bits of a segment about to be sent. `fresh`: new data, the only kind that is marked as capable (6.1.4, 6.1.5). */
export function ecnFlags(tcb: Tcb, fresh: bool): u32 {
  let flags: u32 = (tcb.flags & Flag.ECN_ECHO) != 0 ? TcpFlag.ECE : 0;
  if (fresh && (tcb.flags & Flag.ECN_CWR) != 0) {
    tcb.flags &= ~(<u32>Flag.ECN_CWR);
    flags |= TcpFlag.CWR;
  }
  return flags;
}
