/**
 * LISTEN: a SYN becomes a block in SYN-RECEIVED, or a cookie when too many are half open. Knows services and
 * handshakes; must not know data. RFC 9293 3.10.7.2, RFC 4987 3.6 (SYN cookies), RFC 7323 2, RFC 6528.
 */
import { Counter, count } from "../counters";
import { Verdict } from "../layout";
import { State } from "../report";
import { ipHeaderLenOf } from "../wire/ip";
import { OPTIONS, OptionBit, Options, WINDOW_SHIFT_MAX, optionsWriteSyn } from "../wire/options";
import { seqLt } from "../wire/seq";
import { TCP_HEADER_LEN, TcpFlag } from "../wire/tcp";
import { configHalfOpenMax, configLinkMtu, configRcvBufMax } from "./config";
import {
  MSS_MIN,
  connectionEstablished,
  connectionMss,
  connectionOpen,
  connectionSynReceived,
  halfOpenCount,
} from "./connection";
import { ecnOffered } from "./ecn";
import { outAdd } from "./list";
import { cookieHash, cookiePeriod, isnOf, timestampOffsetOf } from "./secret";
import { TUPLE, segment } from "./segment";
import { NO_LISTENER, listenerAt, listenerFind } from "./service";
import { shareExhausted } from "./share";
import { Flag, Tcb } from "./tcb";
import { Tuple } from "../layout";
import { replySegment } from "./transmit";
import { RCV_BUF_INITIAL, windowInitial, windowShiftFor } from "./window";

/** ISS of a reincarnation lies this far beyond the old SND.NXT (Linux: 65535 + 2). */
const REINCARNATION_GAP: u32 = 65537;

/** MSS values a cookie can name: 3 bits. Sorted. */
const COOKIE_MSS: usize = memory.data<u16>([536, 1000, 1220, 1380, 1400, 1440, 1460, 8900]);
const COOKIE_MSS_COUNT: u32 = 8;
/** Low bits of a cookie's TSval: ECN, window shift (15: none), SACK-permitted. */
const COOKIE_TS_BITS: u32 = 6;
const COOKIE_TS_MASK: u32 = (1 << COOKIE_TS_BITS) - 1;
const COOKIE_NO_SCALE: u32 = 15;
const COOKIE_ECN: u32 = 32;
const OPTION_BYTES: usize = memory.data(40, 4);

/** True when a listener accepts at the tuple's local end. */
export function listening(tuplePtr: usize): bool {
  return listenerFind(tuplePtr) != NO_LISTENER;
}

/**
 * A segment for no connection.
 * @returns CONSUMED, DROPPED, or UNMAPPED when this stack knows nothing of it
 */
export function listenArrives(now: u64): i32 {
  const seg = segment();
  const service = listenerFind(TUPLE);
  if (service == NO_LISTENER) return Verdict.UNMAPPED;
  if ((seg.flags & TcpFlag.RST) != 0) return Verdict.UNMAPPED;
  if ((seg.flags & TcpFlag.ACK) != 0) {
    return (seg.flags & TcpFlag.SYN) == 0 ? cookieArrives(now) : Verdict.UNMAPPED;
  }
  if ((seg.flags & TcpFlag.SYN) == 0) {
    count(Counter.TCP_MALFORMED);
    return Verdict.DROPPED;
  }
  if ((seg.flags & TcpFlag.FIN) != 0 || !synSane()) {
    count(Counter.TCP_SYN_DROPPED);
    return Verdict.DROPPED;
  }
  if (shareExhausted()) {
    count(Counter.TCP_SYN_DROPPED); // memory is for those who are connected; the client tries again
    return Verdict.DROPPED;
  }
  if (configHalfOpenMax() <= halfOpenCount()) {
    cookieSend(service, now);
    return Verdict.CONSUMED;
  }
  const iss = seg.hinted != 0 ? reincarnationIss(TUPLE, seg.hintSndNxt, now) : isnOf(TUPLE, now);
  let offset = timestampOffsetOf(TUPLE);
  if (seg.hinted != 0) offset = offsetNotBelow(offset, seg.hintTsval, now);
  return synAccept(iss, offset, now);
}

/**
 * Accepts the SYN at hand into a new block.
 * @param tsOffset offset of the TSval clock
 */
export function synAccept(iss: u32, tsOffset: u32, now: u64): i32 {
  const ptr = connectionOpen(TUPLE, iss, State.SYN_RECEIVED);
  if (ptr == 0) {
    count(Counter.TCP_SYN_DROPPED);
    return Verdict.DROPPED;
  }
  const tcb = changetype<Tcb>(ptr);
  tcb.flags |= Flag.PASSIVE | Flag.SYN_DUE;
  tcb.tsOffset = tsOffset;
  tcb.service = listenerFind(TUPLE);
  tcb.advMss = <u16>announcedMss(tcb.service, <u32>tcb.family);
  tcb.rcvWndShift = <u8>windowShiftFor(configRcvBufMax());
  if (ecnAgreed(tcb.service)) tcb.flags |= Flag.ECN;
  connectionSynReceived(ptr, segment().seq);
  synOptionsTake(ptr, now);
  outAdd(ptr);
  return Verdict.CONSUMED;
}

/** The SYN at hand asks for ECN and its listener agrees. */
function ecnAgreed(service: u32): bool {
  return service != NO_LISTENER && listenerAt(service).ecn != 0 && ecnOffered();
}

/** ISS above everything the old incarnation sent. */
export function reincarnationIss(tuplePtr: usize, oldSndNxt: u32, now: u64): u32 {
  const iss = isnOf(tuplePtr, now);
  const least = oldSndNxt + REINCARNATION_GAP;
  return seqLt(iss, least) ? least : iss;
}

/** A TSval offset with which the next TSval is not below one that was sent. */
export function offsetNotBelow(offset: u32, oldTsval: u32, now: u64): u32 {
  const ticks = <u32>(now / 1000);
  return oldTsval != 0 && seqLt(ticks + offset, oldTsval) ? oldTsval - ticks : offset;
}

/** MSS to announce: what the service allows and the link takes (RFC 6691: fixed headers only). */
export function announcedMss(service: u32, family: u32): u32 {
  const byLink = configLinkMtu() - ipHeaderLenOf(family) - TCP_HEADER_LEN;
  const wanted = service == NO_LISTENER ? 0 : listenerAt(service).mss;
  return wanted == 0 ? byLink : min<u32>(wanted, byLink);
}

/** Takes the options and the window of the peer's SYN; what it did not offer is off. */
export function synOptionsTake(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  const options = changetype<Options>(OPTIONS);
  const present = seg.present;
  // An MSS of 0 says nothing (as Linux).
  if ((present & OptionBit.MSS) != 0 && options.mss != 0) {
    tcb.peerMss = <u16>max<u32>(options.mss, MSS_MIN);
  }
  if ((present & OptionBit.TIMESTAMPS) != 0) {
    tcb.flags |= Flag.TIMESTAMPS;
    tcb.tsRecent = seg.tsVal;
    tcb.tsRecentUs = now;
  } else tcb.flags &= ~(<u32>Flag.TIMESTAMPS);
  if ((present & OptionBit.SACK_PERMITTED) != 0) tcb.flags |= Flag.SACK;
  else tcb.flags &= ~(<u32>Flag.SACK);
  if ((present & OptionBit.WINDOW_SCALE) != 0) {
    tcb.flags |= Flag.WINDOW_SCALE;
    tcb.sndWndShift = <u8>min<u32>(options.windowShift, WINDOW_SHIFT_MAX);
  } else {
    tcb.flags &= ~(<u32>Flag.WINDOW_SCALE);
    tcb.sndWndShift = 0;
    tcb.rcvWndShift = 0;
  }
  tcb.sndWnd = seg.wnd;
  tcb.sndWndMax = seg.wnd;
  tcb.sndWl1 = seg.seq;
  tcb.sndWl2 = tcb.iss;
  connectionMss(ptr);
}

/** RFC 9293 MUST-57, 63, and a SYN that says it is from ourselves. */
function synSane(): bool {
  const tuple = changetype<Tuple>(TUPLE);
  if (tuple.remotePort == 0) return false;
  if (tuple.remote0 == tuple.local0 && tuple.remote1 == tuple.local1) {
    if (tuple.remotePort == tuple.localPort) return false;
  }
  if (tuple.family == 4) {
    const first = <u32>(tuple.remote0 & 0xff);
    return first != 0 && first < 224; // "this network", multicast, reserved, broadcast
  }
  if (tuple.remote0 == 0 && tuple.remote1 == 0) return false;
  return (tuple.remote0 & 0xff) != 0xff;
}

/** Answers without keeping anything: everything needed later is in the SYN-ACK. */
function cookieSend(service: u32, now: u64): void {
  const seg = segment();
  const options = changetype<Options>(OPTIONS);
  const tuple = changetype<Tuple>(TUPLE);
  const offered = (seg.present & OptionBit.MSS) != 0 ? options.mss : 536;
  let mssIndex: u32 = 0;
  // Down from the largest: nearly everybody offers 1,460, which is the last but one.
  for (let index = COOKIE_MSS_COUNT - 1; index > 0 && mssIndex == 0; index--) {
    if (<u32>load<u16>(COOKIE_MSS + ((<usize>index) << 1)) <= offered) mssIndex = index;
  }
  const period = cookiePeriod(now);
  const cookie =
    ((period & 31) << 27) | (mssIndex << 24) | cookieHash(TUPLE, seg.seq, period, mssIndex);
  let present: u32 = OptionBit.MSS;
  let tsVal: u32 = 0;
  let shift: u32 = 0;
  let flags: u32 = TcpFlag.SYN | TcpFlag.ACK;
  if ((seg.present & OptionBit.TIMESTAMPS) != 0) {
    const scaled = (seg.present & OptionBit.WINDOW_SCALE) != 0;
    const sack: u32 = (seg.present & OptionBit.SACK_PERMITTED) != 0 ? 1 : 0;
    const ecn: u32 = ecnAgreed(service) ? COOKIE_ECN : 0;
    const code = ecn | ((scaled ? options.windowShift : COOKIE_NO_SCALE) << 1) | sack;
    const clock = <u32>(now / 1000) + timestampOffsetOf(TUPLE);
    // Below the clock, so that a TSval of the accepted connection never steps back.
    tsVal = (((clock >> COOKIE_TS_BITS) - 1) << COOKIE_TS_BITS) | code;
    if (ecn != 0) flags |= TcpFlag.ECE;
    present |= OptionBit.TIMESTAMPS;
    if (sack != 0) present |= OptionBit.SACK_PERMITTED;
    if (scaled) {
      present |= OptionBit.WINDOW_SCALE;
      shift = windowShiftFor(configRcvBufMax());
    }
  }
  const mss = announcedMss(service, tuple.family);
  const len = optionsWriteSyn(OPTION_BYTES, present, mss, shift, tsVal, seg.tsVal);
  replySegment(TUPLE, cookie, seg.seq + 1, flags, windowInitial(), OPTION_BYTES, len);
  count(Counter.TCP_COOKIES_SENT);
}

/** An ACK for no connection: perhaps the answer to a cookie. */
function cookieArrives(now: u64): i32 {
  const seg = segment();
  const cookie = seg.ack - 1;
  const irs = seg.seq - 1;
  const age = (cookiePeriod(now) - (cookie >> 27)) & 31;
  if (age > 1) return Verdict.UNMAPPED;
  const mssIndex = (cookie >> 24) & 7;
  const hash = cookieHash(TUPLE, irs, cookiePeriod(now) - age, mssIndex);
  if (hash != (cookie & 0xffffff)) return Verdict.UNMAPPED;
  const ptr: usize = shareExhausted() ? 0 : connectionOpen(TUPLE, cookie, State.SYN_RECEIVED);
  if (ptr == 0) {
    count(Counter.TCP_COOKIES_REFUSED);
    return Verdict.DROPPED;
  }
  const tcb = changetype<Tcb>(ptr);
  tcb.flags |= Flag.PASSIVE;
  tcb.tsOffset = timestampOffsetOf(TUPLE);
  tcb.service = listenerFind(TUPLE);
  tcb.advMss = <u16>announcedMss(tcb.service, <u32>tcb.family);
  tcb.peerMss = load<u16>(COOKIE_MSS + ((<usize>mssIndex) << 1));
  connectionSynReceived(ptr, irs);
  tcb.rcvAdv = tcb.rcvNxt + min<u32>(RCV_BUF_INITIAL, 0xffff);
  if ((seg.present & OptionBit.TIMESTAMPS) != 0) {
    const code = seg.tsEcr & COOKIE_TS_MASK;
    tcb.flags |= Flag.TIMESTAMPS;
    tcb.tsRecent = seg.tsVal;
    tcb.tsRecentUs = now;
    if ((code & 1) != 0) tcb.flags |= Flag.SACK;
    if ((code & COOKIE_ECN) != 0) tcb.flags |= Flag.ECN;
    const shift = (code >> 1) & 15;
    if (shift != COOKIE_NO_SCALE) {
      tcb.flags |= Flag.WINDOW_SCALE;
      tcb.sndWndShift = <u8>shift;
      tcb.rcvWndShift = <u8>windowShiftFor(configRcvBufMax());
    }
  }
  tcb.sndUna = cookie + 1;
  tcb.sndWnd = seg.wnd << tcb.sndWndShift;
  tcb.sndWndMax = tcb.sndWnd;
  tcb.sndWl1 = seg.seq;
  tcb.sndWl2 = seg.ack;
  connectionMss(ptr);
  connectionEstablished(ptr, now);
  count(Counter.TCP_COOKIES_ACCEPTED);
  return -1; // the parent goes on with the segment: it may carry data
}
