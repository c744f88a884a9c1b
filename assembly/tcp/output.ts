/**
 * What a connection sends when it is its turn: SYN, retransmissions, new data, FIN, probes, ACK, RST. Knows
 * what is due and how much is allowed; must not know what arrived. RFC 9293 3.7.4 (Nagle), 3.8.6 (windows),
 * RFC 6675 NextSeg order, RFC 7323 (timestamps on every segment once negotiated).
 */
import { Counter, count, countMany } from "../counters";
import { Descriptor, GsoType } from "../layout";
import { State } from "../report";
import { ipHeaderLenOf, ipWrite } from "../wire/ip";
import { OptionBit, optionsWrite, optionsWriteSyn } from "../wire/options";
import { seqLe, seqLt, seqMax } from "../wire/seq";
import { TCP_HEADER_LEN, TcpFlag, tcpOptions, tcpWrite } from "../wire/tcp";
import { queueRead } from "./buffer";
import { congestionIdle } from "./congestion";
import { tupleOf } from "./demux";
import { Ecn, ecnFlags, ecnSynFlags } from "./ecn";
import { Phase, episodeResent } from "./episode";
import { flightPipe, flightResent, flightSent, flightSplit } from "./flight";
import { outAdd, outFirst, outRemove } from "./list";
import { Mark, nodeAt } from "./node";
import { rangeBlocks } from "./reassembly";
import { ackSent } from "./receive";
import { recoveryLimited, recoveryProbe } from "./recovery";
import { rtoBackedOff } from "./rtt";
import { Flag, Tcb, Timer } from "./tcb";
import { memoryAwait, timerGet, timerSet } from "./timer";
import {
  replyFlush,
  transmitBytesMax,
  transmitNext,
  transmitSegments,
  transmitTake,
} from "./transmit";
import { urgentMark } from "./urgent";
import { windowAdvertise, windowStarved } from "./window";

/** Data that leaves so soon after data came answers it: the next ACK may wait for an answer too (Linux). */
const ANSWER_US: u32 = 40_000;
/** Packets that one connection may send before the next one has its turn. */
const TURN_PACKETS: u32 = 16;
const TUPLE: usize = memory.data(40, 8);
const BLOCKS: usize = memory.data(32, 8);

/** Fills the batch: replies first, then connections in turn. */
export function outputPoll(now: u64): void {
  replyFlush();
  while (transmitNext() != 0) {
    const ptr = outFirst();
    if (ptr == 0) return;
    outRemove(ptr);
    if (outputTurn(ptr, now)) outAdd(ptr);
  }
}

/** TSval of this moment. */
export function timestampNow(ptr: usize, now: u64): u32 {
  return <u32>(now / 1000) + changetype<Tcb>(ptr).tsOffset;
}

/** Everything the connection may send, up to its turn's end. True when more is waiting. */
function outputTurn(ptr: usize, now: u64): bool {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.FROZEN) != 0) return false;
  if ((tcb.flags & Flag.SYN_DUE) != 0) return !synSend(ptr, now);
  if (tcb.state == State.CLOSED || tcb.state == State.TIME_WAIT || tcb.state == State.SYN_SENT) {
    return false;
  }
  if (<u32>tcb.state >= <u32>State.ESTABLISHED) {
    for (let packet: u32 = 0; packet < TURN_PACKETS; packet++) {
      if (transmitNext() == 0) return true;
      if (!resendNext(ptr, now) && !sendNext(ptr, now)) break;
      if (packet + 1 == TURN_PACKETS) return true;
    }
    if ((tcb.flags & Flag.PROBE_DUE) != 0 && !probeSend(ptr, now)) return true;
  }
  if ((tcb.flags & Flag.ACK_NOW) == 0) return false;
  if (!segmentSend(ptr, tcb.sndNxt, 0, TcpFlag.ACK, now)) return true;
  // One batch may have brought many segments beyond a hole; a peer without SACK counts our answers.
  for (; tcb.dupAcksDue > 1; tcb.dupAcksDue = <u16>(<u32>tcb.dupAcksDue - 1)) {
    if (!segmentSend(ptr, tcb.sndNxt, 0, TcpFlag.ACK, now)) break;
  }
  tcb.dupAcksDue = 0;
  return false;
}

/** SYN or SYN-ACK. False when the batch is full. */
function synSend(ptr: usize, now: u64): bool {
  const tcb = changetype<Tcb>(ptr);
  if (transmitNext() == 0) return false;
  const flags = tcb.state == State.SYN_SENT ? TcpFlag.SYN : TcpFlag.SYN | TcpFlag.ACK;
  if (!segmentSend(ptr, tcb.iss, 0, flags | ecnSynFlags(tcb), now)) return false;
  tcb.flags &= ~(<u32>Flag.SYN_DUE);
  tcb.sndLastUs = now;
  if (timerGet(ptr, Timer.RTO) == 0) {
    timerSet(ptr, Timer.RTO, now + rtoBackedOff(ptr, <u32>tcb.rtoCount));
  }
  return true;
}

/** Sends what is deemed lost, or the loss probe. False when there is nothing or it may not be sent. */
function resendNext(ptr: usize, now: u64): bool {
  const tcb = changetype<Tcb>(ptr);
  let index = tcb.flightLost;
  if (index == 0) {
    return (tcb.flags & Flag.TLP_DUE) != 0 && tailProbe(ptr, now);
  }
  const force = (tcb.flags & Flag.FORCE_ONE) != 0;
  const pipe = flightPipe(ptr);
  const mss = pieceMss(ptr);
  const room = force ? mss : tcb.cwnd <= pipe ? 0 : tcb.cwnd - pipe;
  if (room == 0) return false;
  const node = nodeAt(index);
  const wanted = node.end - node.start;
  let allowed = min<u32>(wanted, wanted <= min<u32>(room, mss) ? wanted : sizeAllowed(ptr, room));
  // A receiver that took its window back (MUST-34): only the first segment may leave, as a probe.
  const windowLeft = <i32>(tcb.sndUna + tcb.sndWnd - node.start);
  if (windowLeft <= 0) {
    if (node.start != tcb.sndUna) return false;
    allowed = min<u32>(allowed, mss);
  } else {
    allowed = min<u32>(allowed, <u32>windowLeft);
  }
  if (allowed == 0) return false;
  if (allowed < wanted && flightSplit(ptr, index, node.start + allowed) == 0) return false;
  return resend(ptr, index, now);
}

/** Sends a node of the flight again. */
function resend(ptr: usize, index: u32, now: u64): bool {
  const tcb = changetype<Tcb>(ptr);
  const node = nodeAt(index);
  const end = node.end;
  const fin = (tcb.flags & Flag.FIN_SENT) != 0 && end == tcb.sndEnd + 1;
  const len = end - node.start - (fin ? 1 : 0);
  const flags =
    TcpFlag.ACK | (fin ? TcpFlag.FIN : 0) | (end == tcb.sndNxt && len != 0 ? TcpFlag.PSH : 0);
  if (!segmentSend(ptr, node.start, len, flags, now)) return false;
  flightResent(ptr, index, now);
  tcb.flags &= ~(<u32>Flag.FORCE_ONE);
  tcb.bytesRetransmitted += len;
  countMany(Counter.TCP_RETRANSMITTED_BYTES, len);
  if (tcb.troubleUs == 0) tcb.troubleUs = now;
  episodeResent(ptr, end - node.start, timestampNow(ptr, now));
  afterSending(ptr, now);
  return true;
}

/** RFC 8985 7.3: new data if there is some and the window takes it, else the last segment again. */
function tailProbe(ptr: usize, now: u64): bool {
  const tcb = changetype<Tcb>(ptr);
  tcb.flags &= ~(<u32>Flag.TLP_DUE);
  const tail = tcb.flightTail;
  if (tail == 0) return false;
  count(Counter.TCP_TAIL_PROBES);
  const mss = pieceMss(ptr);
  const fresh = min<u32>(tcb.sndEnd - seqMax2(tcb.sndNxt, tcb.sndEnd), mss);
  const window = tcb.sndUna + tcb.sndWnd - tcb.sndNxt;
  if (fresh != 0 && <i32>(window - fresh) >= 0) {
    tcb.tlpIsRetrans = 0;
    if (!sendNew(ptr, fresh, now)) return false;
  } else {
    const node = nodeAt(tail);
    let index = tail;
    // The last segment as it was sent, or SACK would tell of pieces of two.
    const len = node.end - node.start;
    if (mss < len) {
      const rest = len % mss;
      index = flightSplit(ptr, tail, node.end - (rest == 0 ? mss : rest));
      if (index == 0) return false;
    }
    tcb.tlpIsRetrans = 1;
    if (!resend(ptr, index, now)) return false;
    const resent = nodeAt(index);
    resent.marks |= Mark.EVER;
  }
  tcb.tlpEndSeq = tcb.sndNxt;
  tcb.flags |= Flag.TLP_OUT;
  timerSet(ptr, Timer.RTO, now + rtoBackedOff(ptr, <u32>tcb.rtoCount));
  return true;
}

/** `position`, but not beyond `end`: the FIN lies one further. */
function seqMax2(position: u32, end: u32): u32 {
  return seqLt(end, position) ? end : position;
}

/** Sends new data or the FIN if every rule allows it. False when there is nothing or something forbids. */
function sendNext(ptr: usize, now: u64): bool {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.FIN_SENT) != 0) return false;
  const queued = tcb.sndEnd - tcb.sndNxt;
  const finDue = (tcb.flags & Flag.FIN_QUEUED) != 0;
  if (queued == 0) return finDue && sendNew(ptr, 0, now);
  const flight = tcb.sndNxt - tcb.sndUna;
  if (flight == 0 && tcb.sndLastUs != 0) congestionIdle(ptr, now);
  const windowLeft = flight < tcb.sndWnd ? tcb.sndWnd - flight : 0;
  const pipe = flightPipe(ptr);
  const limit = tcb.cwnd + recoveryLimited(ptr);
  const room = pipe < limit ? limit - pipe : 0;
  const mss = pieceMss(ptr);
  let len = min<u32>(min<u32>(queued, windowLeft), sizeAllowed(ptr, room));
  if (len < queued && len < mss) {
    // SWS avoidance (MUST-38): a small piece leaves only if the window was never larger than twice that.
    const windowIsSmall = len == windowLeft && tcb.sndWndMax >> 1 <= len && len != 0;
    const forced = (tcb.flags & Flag.FORCE_ONE) != 0;
    if (!windowIsSmall && !forced) {
      if (flight == 0 && room != 0) persistArm(ptr, now);
      return false;
    }
  }
  if (len == 0) return false;
  tcb.flags &= ~(<u32>Flag.FORCE_ONE);
  if (mss < len && len < queued) len -= len % mss;
  if (len == queued && len < mss && !finDue && nagleHolds(tcb)) return false;
  return sendNew(ptr, len, now);
}

/** RFC 9293 3.7.4 in Minshall's variant, as Linux: one small segment may be outstanding. */
function nagleHolds(tcb: Tcb): bool {
  if ((tcb.flags & Flag.NODELAY) != 0) return false;
  return seqLt(tcb.sndUna, tcb.sndSmall) && seqLe(tcb.sndSmall, tcb.sndNxt);
}

/** Payload of the next packet at most, within `room` of cwnd: whole segments where the link cuts them. */
function sizeAllowed(ptr: usize, room: u32): u32 {
  const tcb = changetype<Tcb>(ptr);
  const mss = pieceMss(ptr);
  if (room < mss) return room == 0 ? 0 : tcb.cwnd < mss ? room : 0;
  // The urgent pointer of a super-segment would be wrong in all pieces but the first (as Linux).
  if (!transmitSegments() || (tcb.flags & Flag.URGENT_OUT) != 0) return mss;
  const headers = ipHeaderLenOf(<u32>tcb.family) + TCP_HEADER_LEN + 40;
  const most = min<u32>(room, transmitBytesMax() - headers);
  return max<u32>(most - (most % mss), mss);
}

/** SACK blocks that the next segment will carry. */
function sackBlocks(tcb: Tcb): u32 {
  if ((tcb.flags & Flag.SACK) == 0) return 0;
  const due: u32 = (tcb.flags & Flag.DSACK_DUE) != 0 ? 1 : 0;
  return min<u32>(tcb.oooCount + due, (tcb.flags & Flag.TIMESTAMPS) != 0 ? 3 : 4);
}

/** Payload of a full segment now: SACK blocks take their room from it, as in Linux. */
function pieceMss(ptr: usize): u32 {
  const tcb = changetype<Tcb>(ptr);
  const blocks = sackBlocks(tcb);
  return blocks == 0 ? <u32>tcb.sndMss : <u32>tcb.sndMss - 4 - (blocks << 3);
}

/** Sends `len` bytes of new data, and the FIN if it follows them. False when the batch is full. */
function sendNew(ptr: usize, len: u32, now: u64): bool {
  const tcb = changetype<Tcb>(ptr);
  const start = tcb.sndNxt;
  const last = start + len == tcb.sndEnd;
  const fin = last && (tcb.flags & Flag.FIN_QUEUED) != 0;
  const end = start + len + (fin ? 1 : 0);
  // MUST-61: PSH on the last segment of what the application wrote.
  const flags = TcpFlag.ACK | (fin ? TcpFlag.FIN : 0) | (last && len != 0 ? TcpFlag.PSH : 0);
  if (transmitNext() == 0) return false;
  if (!flightSent(ptr, start, end, now)) {
    timerSet(ptr, Timer.PACE, now + 10_000); // no node: others will give some back
    return false;
  }
  segmentSend(ptr, start, len, flags, now);
  tcb.sndNxt = end;
  if (fin) {
    tcb.flags |= Flag.FIN_SENT;
    if (tcb.state == State.ESTABLISHED) tcb.state = <u8>State.FIN_WAIT_1;
    else if (tcb.state == State.CLOSE_WAIT) tcb.state = <u8>State.LAST_ACK;
  }
  if (len < pieceMss(ptr)) tcb.sndSmall = end;
  tcb.bytesSent += len;
  countMany(Counter.TCP_BYTES_OUT, len);
  const pipe = flightPipe(ptr);
  if (tcb.flightMax < pipe) {
    tcb.flightMax = pipe;
    tcb.flightMaxSeq = end;
  }
  if (tcb.phase != Phase.OPEN) tcb.prrOut += end - start;
  if (tcb.rcvDataUs != 0 && <u32>now - tcb.rcvDataUs < ANSWER_US) tcb.pingpong = 1;
  tcb.sndLastUs = now;
  afterSending(ptr, now);
  return true;
}

function afterSending(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (timerGet(ptr, Timer.RTO) == 0) {
    timerSet(ptr, Timer.RTO, now + rtoBackedOff(ptr, <u32>tcb.rtoCount));
  }
  if ((tcb.flags & Flag.TLP_OUT) == 0) recoveryProbe(ptr, now);
}

/** Nothing is in flight and the window takes nothing: probe it, backing off (MUST-35, 36). */
function persistArm(ptr: usize, now: u64): void {
  if (timerGet(ptr, Timer.PERSIST) != 0) return;
  const tcb = changetype<Tcb>(ptr);
  timerSet(ptr, Timer.PERSIST, now + rtoBackedOff(ptr, <u32>tcb.persistCount));
}

/**
 * A zero-window or keep-alive probe: an old sequence number that must be answered with an ACK. As Linux
 * does, it carries no data, so a receiver that opens its window has lost nothing.
 */
function probeSend(ptr: usize, now: u64): bool {
  const tcb = changetype<Tcb>(ptr);
  if (!segmentSend(ptr, tcb.sndUna - 1, 0, TcpFlag.ACK, now)) return false;
  tcb.flags &= ~(<u32>Flag.PROBE_DUE);
  return true;
}

/**
 * Builds one segment in the next slot and hands it over: headers, options, payload, checksum.
 * @returns false when the batch is full; nothing has changed then
 */
export function segmentSend(ptr: usize, segSeq: u32, len: u32, flags: u32, now: u64): bool {
  const descPtr = transmitNext();
  if (descPtr == 0) return false;
  const tcb = changetype<Tcb>(ptr);
  const family = <u32>tcb.family;
  const ipPtr = <usize>changetype<Descriptor>(descPtr).ptr;
  const tcpPtr = ipPtr + ipHeaderLenOf(family);
  tupleOf(ptr, TUPLE);
  const mss = pieceMss(ptr);
  const syn = (flags & TcpFlag.SYN) != 0;
  const acks = (flags & TcpFlag.ACK) != 0;
  const window = windowAdvertise(ptr, syn);
  if (windowStarved(ptr)) memoryAwait(ptr, now);
  const ecn = (tcb.flags & Flag.ECN) != 0 && !syn;
  const fresh = ecn && len != 0 && segSeq == tcb.sndNxt;
  const bits = ecn ? flags | ecnFlags(tcb, fresh) : flags;
  const optionsLen = syn ? synOptions(ptr, tcpPtr, now) : dataOptions(ptr, tcpPtr, now);
  const control = bits | tcpOptions(optionsLen);
  tcpWrite(tcpPtr, TUPLE, segSeq, acks ? tcb.rcvNxt : 0, control, window);
  if (!syn) urgentMark(tcb, tcpPtr, segSeq);
  const headerLen = TCP_HEADER_LEN + optionsLen;
  if (len != 0) {
    const copied = queueRead(ptr + offsetof<Tcb>("sndQueueHead"), segSeq, tcpPtr + headerLen, len);
    assert(copied == len);
  }
  const tcpLen = headerLen + len;
  const trafficClass = ((<u32>tcb.dscp) << 2) | (fresh ? <u32>Ecn.ECT0 : 0);
  ipWrite(ipPtr, TUPLE, tcpLen, <u32>tcb.ttl, trafficClass, identification(tcb));
  transmitTake(family, tcpLen, headerLen, mss < len ? mss : 0, tcb.handle);
  if ((bits & TcpFlag.CWR) != 0 && !syn) cwrOnce(descPtr);
  tcb.segmentsSent += 1;
  if (acks) ackSent(ptr);
  return true;
}

/** Whoever cuts a super-segment must say CWR with its first piece only. */
function cwrOnce(descPtr: usize): void {
  const desc = changetype<Descriptor>(descPtr);
  if (desc.gsoType != <u16>GsoType.NONE) desc.gsoType = <u16>((<u32>desc.gsoType) | GsoType.ECN);
}

/** IPv4 identification, or IPv6 flow label: constant for a connection (RFC 6437). */
function identification(tcb: Tcb): u32 {
  return tcb.family == 4 ? tcb.segmentsSent & 0xffff : (tcb.iss ^ tcb.irs) & 0xfffff;
}

function synOptions(ptr: usize, tcpPtr: usize, now: u64): u32 {
  const tcb = changetype<Tcb>(ptr);
  let present: u32 = OptionBit.MSS;
  if ((tcb.flags & Flag.TIMESTAMPS) != 0) present |= OptionBit.TIMESTAMPS;
  if ((tcb.flags & Flag.SACK) != 0) present |= OptionBit.SACK_PERMITTED;
  if ((tcb.flags & Flag.WINDOW_SCALE) != 0) present |= OptionBit.WINDOW_SCALE;
  const tsVal = timestampNow(ptr, now);
  tcb.tsLastSent = tsVal;
  return optionsWriteSyn(
    tcpPtr + TCP_HEADER_LEN,
    present,
    <u32>tcb.advMss,
    <u32>tcb.rcvWndShift,
    tsVal,
    tcb.tsRecent,
  );
}

function dataOptions(ptr: usize, tcpPtr: usize, now: u64): u32 {
  const tcb = changetype<Tcb>(ptr);
  const stamped = (tcb.flags & Flag.TIMESTAMPS) != 0;
  const blocks = sackBlocks(tcb) != 0 ? rangeBlocks(ptr, BLOCKS, sackBlocks(tcb)) : 0;
  if (!stamped) return optionsWrite(tcpPtr + TCP_HEADER_LEN, 0, 0, 0, BLOCKS, blocks);
  const tsVal = timestampNow(ptr, now);
  tcb.tsLastSent = tsVal;
  return optionsWrite(
    tcpPtr + TCP_HEADER_LEN,
    OptionBit.TIMESTAMPS,
    tsVal,
    tcb.tsRecent,
    BLOCKS,
    blocks,
  );
}
