/**
 * SEGMENT ARRIVES: RFC 9293 3.10.7.4, the parent that holds all the branching; each step is a leaf in a file
 * beside this one. Read RFC 9293 3.10.7 first, then RFC 5961 (blind attacks) and RFC 7323 5 (PAWS).
 */
import { Counter, count } from "../counters";
import { Err } from "../errors";
import { Verdict } from "../layout";
import { EventType, State } from "../report";
import { OptionBit } from "../wire/options";
import { seqGt, seqLe, seqLt } from "../wire/seq";
import { TcpFlag } from "../wire/tcp";
import { ackArrives, finAcked } from "./ack";
import { connectionDetach, connectionEnd } from "./connection";
import { demuxFind } from "./demux";
import { ecnSynAgain } from "./ecn";
import { handshakeDone } from "./handshake";
import { eventAdd, outAdd } from "./list";
import { listenArrives } from "./listen";
import { ackNow, outsideWindow, textArrives } from "./receive";
import { refuseAlways } from "./refuse";
import { TUPLE, segment, segmentLen, segmentWindow } from "./segment";
import { synSentArrives } from "./synsent";
import { Flag, Tcb, Timer } from "./tcb";
import { timerClear, timerSet } from "./timer";
import { timeWaitAt, timeWaitFind, timeWaitOpen } from "./timewait";
import { timeWaitAck, timeWaitArrives } from "./linger";
import { urgentArrives } from "./urgent";
import { windowField } from "./window";

/** PAWS gives up after 24 days without a newer timestamp (RFC 7323 5.5). */
const PAWS_IDLE_US: u64 = 24 * 86_400_000_000;
/**
 * Challenge ACKs of one connection are this far apart (RFC 5961 7; Linux tcp_invalid_ratelimit). There is no limit for
 * all connections together: a stranger could count what it leaves over, and so find out about others' connections.
 */
const CHALLENGE_US: u32 = 500_000;
const KEEPALIVE_NONE: u64 = 0;
/** How long FIN-WAIT-2 lasts when the application has let go (Linux tcp_fin_timeout). */
export const FIN_WAIT_2_US: u64 = 60_000_000;

/** The segment at hand goes to its connection, to TIME-WAIT or to a listener. Returns a Verdict. */
export function segmentArrives(descPtr: usize, now: u64): i32 {
  const ptr = demuxFind(TUPLE);
  if (ptr != 0) return connectionArrives(ptr, now);
  const record = timeWaitFind(TUPLE);
  if (record != 0) return timeWaitArrives(descPtr, record, now);
  const verdict = listenArrives(now);
  if (0 <= verdict) return verdict;
  return connectionArrives(demuxFind(TUPLE), now);
}

function connectionArrives(ptr: usize, now: u64): i32 {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.FROZEN) != 0) {
    count(Counter.TCP_FROZEN_DROPPED);
    return Verdict.DROPPED;
  }
  count(Counter.TCP_SEGMENTS_IN);
  tcb.segmentsReceived += 1;
  if (tcb.state == State.SYN_SENT) {
    const verdict = synSentArrives(ptr, now);
    if (0 <= verdict) return verdict;
  }
  return synchronisedArrives(ptr, now);
}

/** The eight steps. */
function synchronisedArrives(ptr: usize, now: u64): i32 {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  if (tcb.state == State.SYN_RECEIVED && synAgain(ptr)) return Verdict.CONSUMED;
  // First, check the sequence number; before it, RFC 7323 5.3 R1 (PAWS).
  if (!pawsAccepts(ptr, now)) return Verdict.CONSUMED;
  if (!sequenceAccepts(ptr)) {
    if ((seg.flags & TcpFlag.RST) == 0) unacceptable(ptr, now);
    return Verdict.CONSUMED;
  }
  timestampTake(ptr, now);
  // Second, check the RST bit (RFC 5961 3.2).
  if ((seg.flags & TcpFlag.RST) != 0) {
    if (seg.seq == tcb.rcvNxt) resetArrives(ptr);
    else challenge(ptr, now);
    return Verdict.CONSUMED;
  }
  // Third, security: not implemented by anyone. Fourth, check the SYN bit (RFC 5961 4.2).
  if ((seg.flags & TcpFlag.SYN) != 0) {
    challenge(ptr, now);
    return Verdict.CONSUMED;
  }
  // Fifth, check the ACK field.
  if ((seg.flags & TcpFlag.ACK) == 0) return Verdict.DROPPED;
  if (!ackAccepts(ptr, now)) {
    // Nobody's here: another stack may have answered the same SYN. Else RST, by whoever decides about such.
    return tcb.state == State.SYN_RECEIVED ? Verdict.UNMAPPED : Verdict.CONSUMED;
  }
  heard(ptr, now);
  if (tcb.state == State.SYN_RECEIVED) synReceivedDone(ptr, now);
  ackArrives(ptr, now);
  if (finAcked(ptr) && !ownFinAcked(ptr, now)) return Verdict.CONSUMED;
  // Sixth, check the URG bit.
  if ((seg.flags & TcpFlag.URG) != 0 && mayReceive(tcb)) urgentArrives(ptr);
  // Seventh, process the segment text; eighth, check the FIN bit.
  if (!mayReceive(tcb)) {
    if (segmentLen() != 0) ackNow(ptr);
    return Verdict.CONSUMED;
  }
  if (seg.dataLen != 0 && (tcb.flags & Flag.LET_GO) != 0 && dataIsNew(tcb)) {
    // Nobody is left to read it: the peer must know (RFC 9293 3.10.4, SHLD-3), by a number that it expects.
    refuseAlways();
    connectionEnd(ptr, Err.ABORTED, true);
    return Verdict.CONSUMED;
  }
  if (textArrives(ptr, now)) peerFinReached(ptr, now);
  return Verdict.CONSUMED;
}

function mayReceive(tcb: Tcb): bool {
  const state = <u32>tcb.state;
  return state == State.ESTABLISHED || state == State.FIN_WAIT_1 || state == State.FIN_WAIT_2;
}

function dataIsNew(tcb: Tcb): bool {
  return seqLt(tcb.rcvNxt, segment().seq + segment().dataLen);
}

/**
 * SYN-RECEIVED: the peer repeats its SYN (ours was lost), or answers ours in a simultaneous open.
 * @returns true when the segment is dealt with
 */
function synAgain(ptr: usize): bool {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  if ((seg.flags & (TcpFlag.SYN | TcpFlag.RST)) != TcpFlag.SYN || seg.seq != tcb.irs) return false;
  if ((tcb.flags & Flag.ECN) != 0) ecnSynAgain(ptr);
  if ((seg.flags & TcpFlag.ACK) != 0) {
    seg.seq += 1; // a duplicate SYN is trimmed from the segment, its ACK counts
    seg.flags &= ~(<u32>TcpFlag.SYN);
    return false;
  }
  tcb.flags |= Flag.SYN_DUE;
  outAdd(ptr);
  return true;
}

/** RFC 7323 5.3 R1: a timestamp older than TS.Recent is from an earlier turn of the sequence space. */
function pawsAccepts(ptr: usize, now: u64): bool {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  if ((tcb.flags & Flag.TIMESTAMPS) == 0 || (seg.present & OptionBit.TIMESTAMPS) == 0) return true;
  if (!seqLt(seg.tsVal, tcb.tsRecent) || (seg.flags & TcpFlag.RST) != 0) return true;
  if (tcb.tsRecentUs + PAWS_IDLE_US < now) return true;
  count(Counter.TCP_PAWS);
  unacceptable(ptr, now);
  return false;
}

/**
 * RFC 9293 3.4 table 6, read as Linux does: some part of the segment lies between RCV.NXT and the right
 * edge, edges included. At a zero window ACK, RST and URG still count that way (MUST-66).
 */
function sequenceAccepts(ptr: usize): bool {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  return seqLe(tcb.rcvNxt, seg.seq + segmentLen()) && seqLe(seg.seq, tcb.rcvAdv);
}

/**
 * Answers an unacceptable segment with an ACK; one without data, or a SYN, now and then only: two ends that each
 * find the other's ACK unacceptable would answer each other for ever. A keep-alive is such a segment.
 */
function unacceptable(ptr: usize, now: u64): void {
  const seg = segment();
  if ((seg.flags & TcpFlag.SYN) != 0) {
    challenge(ptr, now);
    return;
  }
  if (seg.dataLen == 0 && (seg.flags & TcpFlag.FIN) == 0 && !mayAnswer(ptr, now)) return;
  outsideWindow(ptr);
  ackNow(ptr);
}

/** RFC 7323 4.3: TS.Recent from the segment that covers the last ACK sent. */
function timestampTake(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  if ((tcb.flags & Flag.TIMESTAMPS) == 0 || (seg.present & OptionBit.TIMESTAMPS) == 0) return;
  if ((seg.flags & TcpFlag.RST) != 0) return;
  const aged = tcb.tsRecentUs + PAWS_IDLE_US < now;
  if (seqLe(seg.seq, tcb.lastAckSent) && (aged || !seqLt(seg.tsVal, tcb.tsRecent))) {
    tcb.tsRecent = seg.tsVal;
    tcb.tsRecentUs = now;
  }
}

/**
 * A RST that is believed. SYN-RECEIVED from LISTEN goes back there without a word (MUST-11). In CLOSING and LAST-ACK
 * nobody is told of it (RFC 9293 3.10.7.4): the peer's socket was gone before the ACK of our FIN could be. But bytes
 * that were never acknowledged may be lost, and who wrote them must know.
 */
function resetArrives(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  const state = <u32>tcb.state;
  const closing = state == State.CLOSING || state == State.LAST_ACK;
  if (closing && tcb.sndUna == tcb.sndEnd) connectionEnd(ptr, Err.OK, true);
  else connectionEnd(ptr, state == State.SYN_RECEIVED ? Err.REFUSED : Err.RESET, true);
}

/** Whether this connection's last answer to a stray segment is long enough ago; notes that it answers now. */
function mayAnswer(ptr: usize, now: u64): bool {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.challengeUs != 0 && <u32>now - tcb.challengeUs < CHALLENGE_US) {
    count(Counter.TCP_CHALLENGES_WITHHELD);
    return false;
  }
  tcb.challengeUs = max<u32>(<u32>now, 1);
  return true;
}

/** RFC 5961: an ACK that a genuine peer answers with an exact RST. Limited for each connection. */
function challenge(ptr: usize, now: u64): void {
  if (!mayAnswer(ptr, now)) return;
  count(Counter.TCP_CHALLENGES);
  ackNow(ptr);
}

/** Acceptable: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT (RFC 5961 5.2). */
function ackAccepts(ptr: usize, now: u64): bool {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  if (tcb.state == State.SYN_RECEIVED) {
    if (seqLt(tcb.sndUna, seg.ack) && seqLe(seg.ack, tcb.sndNxt)) return true;
    count(Counter.TCP_BAD_ACK);
    return false;
  }
  if (seqGt(seg.ack, tcb.sndNxt)) {
    count(Counter.TCP_BAD_ACK);
    if (seg.dataLen != 0) ackNow(ptr);
    else challenge(ptr, now);
    return false;
  }
  if (seqLt(seg.ack, tcb.sndUna - tcb.sndWndMax)) {
    count(Counter.TCP_BAD_ACK);
    challenge(ptr, now);
    return false;
  }
  return true;
}

/** The peer is alive. */
function heard(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.pingpong != 0 && now - tcb.rcvLastUs > 1_000_000) tcb.pingpong = 0;
  tcb.rcvLastUs = now;
  tcb.keepProbes = 0;
  if (tcb.keepIdleUs != KEEPALIVE_NONE) timerSet(ptr, Timer.KEEPALIVE, now + tcb.keepIdleUs);
}

function synReceivedDone(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  tcb.sndUna = tcb.iss + 1;
  tcb.sndWnd = segmentWindow(<u32>tcb.sndWndShift);
  tcb.sndWndMax = tcb.sndWnd;
  tcb.sndWl1 = segment().seq;
  tcb.sndWl2 = segment().ack;
  tcb.flags &= ~(<u32>Flag.SYN_DUE);
  timerClear(ptr, Timer.RTO);
  handshakeDone(ptr, now);
  outAdd(ptr);
}

/** Our FIN is acknowledged. False when the connection is over. */
function ownFinAcked(ptr: usize, now: u64): bool {
  const tcb = changetype<Tcb>(ptr);
  switch (<u32>tcb.state) {
    case State.FIN_WAIT_1:
      tcb.state = <u8>State.FIN_WAIT_2;
      if ((tcb.flags & Flag.LET_GO) != 0) timerSet(ptr, Timer.LINGER, now + FIN_WAIT_2_US);
      return true;
    case State.CLOSING:
      enterTimeWait(ptr, now);
      return false;
    case State.LAST_ACK:
      connectionEnd(ptr, Err.OK, true);
      return false;
  }
  return true;
}

/** The peer's FIN was reached in order. */
function peerFinReached(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.LET_GO) == 0) eventAdd(ptr, 1 << EventType.ENDED);
  switch (<u32>tcb.state) {
    case State.ESTABLISHED:
      tcb.state = <u8>State.CLOSE_WAIT;
      return;
    case State.FIN_WAIT_1:
      tcb.state = <u8>State.CLOSING;
      return;
    case State.FIN_WAIT_2:
      enterTimeWait(ptr, now);
      return;
  }
}

/** The block gives way to a compact record, which sends the last ACK. */
function enterTimeWait(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const owed = (tcb.flags & Flag.ACK_NOW) != 0;
  connectionDetach(ptr);
  const index = timeWaitOpen(TUPLE, now);
  const record = timeWaitAt(index);
  record.sndNxt = tcb.sndNxt;
  record.rcvNxt = tcb.rcvNxt;
  record.tsRecent = tcb.tsRecent;
  record.tsRecentUs = tcb.tsRecentUs;
  record.tsOffset = tcb.tsOffset;
  record.tsLastSent = tcb.tsLastSent;
  record.flags = tcb.flags & Flag.TIMESTAMPS;
  record.ownerPeer = tcb.ownerPeer;
  record.ownerFlow = tcb.ownerFlow;
  record.handle = tcb.handle;
  record.window = <u16>windowField(tcb.rcvAdv - tcb.rcvNxt, <u32>tcb.rcvWndShift);
  if (owed) timeWaitAck(index, now);
  connectionEnd(ptr, Err.OK, false);
}
