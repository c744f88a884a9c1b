/**
 * ICMP errors about our own connections. Knows MTUs and sequence numbers; must not know routers. RFC 1191 and
 * 8201 (path MTU), RFC 5927 (an error is believed only when it quotes what is outstanding), RFC 9293
 * MUST-54 to 56 (soft errors never abort).
 */
import { Counter, count } from "../counters";
import { ICMP_ERROR, IcmpError, IcmpKind } from "../wire/icmp";
import { tcpSeq } from "../wire/tcp";
import { seqIn } from "../wire/seq";
import { connectionMss } from "./connection";
import { demuxFind } from "./demux";
import { flightLose } from "./flight";
import { outAdd } from "./list";
import { nodeAt } from "./node";
import { Flag, Tcb } from "./tcb";

/** Smallest MTU believed: RFC 791's 68 would allow an attack (Linux: 552), IPv6's own minimum is 1280. */
const MTU_MIN_V4: u32 = 552;
const MTU_MIN_V6: u32 = 1280;
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
  const quoted = tcpSeq(<usize>error.tcpPtr);
  if (!seqIn(quoted, tcb.sndUna, tcb.sndNxt - tcb.sndUna)) {
    count(Counter.TCP_ICMP_REFUSED);
    return true;
  }
  count(Counter.TCP_ICMP_TAKEN);
  if (error.kind == IcmpKind.TOO_BIG) shrink(ptr, error.mtu);
  return true;
}

function shrink(ptr: usize, announced: u32): void {
  const tcb = changetype<Tcb>(ptr);
  const least = tcb.family == 4 ? MTU_MIN_V4 : MTU_MIN_V6;
  const mtu = max<u32>(announced == 0 ? MTU_UNKNOWN : announced, least);
  if (<u32>tcb.pmtu <= mtu) return;
  tcb.pmtu = <u16>mtu;
  connectionMss(ptr);
  // What was too large is lost for sure; it leaves again in smaller pieces, without blaming congestion.
  if ((tcb.flags & Flag.FROZEN) != 0 || tcb.flightHead == 0) return;
  const head = nodeAt(tcb.flightHead);
  if (<u32>tcb.sndMss < head.end - head.start) {
    flightLose(ptr, tcb.flightHead);
    tcb.flags |= Flag.FORCE_ONE;
    outAdd(ptr);
  }
}
