/**
 * ICMP errors about our own connections, and their absence. Knows MTUs and sequence numbers; must not know
 * routers. RFC 1191 and 8201 (path MTU), RFC 4821 (where no error comes), RFC 5927 (an error is believed only
 * when it quotes what is outstanding), RFC 9293 MUST-54 to 56 (soft errors never abort).
 */
import { Counter, count } from "../counters";
import { ipHeaderLenOf } from "../wire/ip";
import { TCP_HEADER_LEN, tcpSeq } from "../wire/tcp";
import { Err } from "../errors";
import { State } from "../report";
import { ICMP_ERROR, IcmpError, IcmpKind } from "../wire/icmp";
import { seqIn } from "../wire/seq";
import { connectionEnd, connectionMss, connectionTrouble } from "./connection";
import { demuxFind } from "./demux";
import { flightLose } from "./flight";
import { outAdd } from "./list";
import { nodeAt } from "./node";
import { Phase } from "./episode";
import { Flag, Tcb } from "./tcb";

/** Smallest MTU believed: RFC 791's 68 would allow an attack (Linux: 552), IPv6's own minimum is 1280. */
const MTU_MIN_V4: u32 = 552;
const MTU_MIN_V6: u32 = 1280;
/** Segments to fall back to when larger ones vanish without a word (Linux tcp_base_mss): RFC 4821 7.2. */
const BASE_MSS: u32 = 1024;
/** RFC 1191 section 7.1: what to assume when a router does not say. */
const MTU_UNKNOWN: u32 = 576;

/**
 * The error in ICMP_ERROR concerns a segment that this node may have sent.
 * @param tuplePtr the quoted packet's addresses, from our point of view
 * @returns true when it is about a connection of this stack, believed or not
 */
export function icmpArrives(tuplePtr: usize): bool {
  const error = changetype<IcmpError>(ICMP_ERROR);
  const ptr = demuxFind(tuplePtr);
  if (ptr == 0) return false;
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.FROZEN) != 0) {
    // Its state is in a blob already; what is sent where it goes earns the same error again.
    count(Counter.TCP_FROZEN_DROPPED);
    return true;
  }
  const quoted = tcpSeq(<usize>error.tcpPtr);
  if (!seqIn(quoted, tcb.sndUna, tcb.sndNxt - tcb.sndUna)) {
    count(Counter.TCP_ICMP_REFUSED);
    return true;
  }
  count(Counter.TCP_ICMP_TAKEN);
  if (error.kind == IcmpKind.TOO_BIG) shrink(ptr, error.mtu);
  else unreachable(ptr, error);
  return true;
}

/**
 * An error other than "too big" is soft: it is reported and the connection goes on (MUST-56, SHLD-25), because a
 * synchronised one outlives any route (RFC 5927 4.1). Only before that does a hard one end it (SHLD-26).
 */
function unreachable(ptr: usize, error: IcmpError): void {
  const tcb = changetype<Tcb>(ptr);
  if (
    tcb.state == State.SYN_SENT &&
    error.kind == IcmpKind.UNREACHABLE &&
    isHard(tcb, error.code)
  ) {
    connectionEnd(ptr, Err.REFUSED, true);
    return;
  }
  connectionTrouble(ptr, (error.kind << 8) | error.code);
}

/** Nobody speaks TCP there, or nobody listens: protocol and port (ICMP), prohibited and port (ICMPv6). */
function isHard(tcb: Tcb, code: u32): bool {
  return tcb.family == 4 ? code == 2 || code == 3 : code == 1 || code == 4;
}

function shrink(ptr: usize, announced: u32): void {
  const tcb = changetype<Tcb>(ptr);
  // No IPv6 link takes less, and who says so is not believed (RFC 8201 4).
  if (tcb.family == 6 && announced < MTU_MIN_V6) return;
  const mtu = max<u32>(announced == 0 ? MTU_UNKNOWN : announced, MTU_MIN_V4);
  if (<u32>tcb.pmtu <= mtu) return;
  tcb.pmtu = <u16>mtu;
  connectionMss(ptr);
  if (loseLarger(ptr)) resume(ptr);
}

/**
 * So many timeouts in a row that a router may be dropping what is too large in silence, its ICMP errors
 * filtered: RFC 4821 7.7 (full-stop timeout). From now on segments are smaller; the base first, then the
 * smallest. Undone with the timeout when that was spurious (episode.ts).
 */
export function pathSuspect(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  const head = nodeAt(tcb.flightHead);
  const headers = ipHeaderLenOf(<u32>tcb.family) + TCP_HEADER_LEN;
  const least = tcb.family == 4 ? MTU_MIN_V4 : MTU_MIN_V6;
  const base = max<u32>(BASE_MSS + headers, least);
  const mtu = base < <u32>tcb.pmtu ? base : least;
  // What was lost must have been larger than what is to replace it, or size is not what is the matter.
  const wasSent = min<u32>(head.end - head.start, <u32>tcb.sndMss) + headers;
  if (<u32>tcb.pmtu <= mtu || wasSent <= mtu) return;
  if (tcb.undoPmtu == 0) tcb.undoPmtu = tcb.pmtu;
  tcb.pmtu = <u16>mtu;
  connectionMss(ptr);
  count(Counter.TCP_BLACK_HOLES);
}

/** Deems every segment lost that is larger than one may be now. True when there was one. */
function loseLarger(ptr: usize): bool {
  const tcb = changetype<Tcb>(ptr);
  const lostBefore = tcb.lostBytes;
  for (let index = tcb.flightHead; index != 0; index = nodeAt(index).next) {
    const node = nodeAt(index);
    if (<u32>tcb.sndMss < node.end - node.start) flightLose(ptr, index);
  }
  return tcb.lostBytes != lostBefore;
}

/** Sends it again in smaller pieces. No congestion is to blame, so cwnd stays (Linux tcp_simple_retransmit). */
function resume(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.phase == Phase.OPEN) {
    tcb.phase = <u8>Phase.LOSS;
    tcb.recoverSeq = tcb.sndNxt;
    tcb.undoCwnd = 0;
  }
  tcb.flags |= Flag.FORCE_ONE;
  outAdd(ptr);
}
