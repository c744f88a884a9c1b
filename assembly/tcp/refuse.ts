/**
 * Answers to segments that belong to no connection: RST, as RFC 9293 3.10.7.1 says, from the address that was
 * asked, or the client ignores it. So many in a second and no more: a flood of spoofed segments must not make this
 * node flood the spoofed. Knows the segment at hand; must not know connections.
 */
import { Counter, count } from "../counters";
import { TcpFlag } from "../wire/tcp";
import { TUPLE, segment, segmentLen } from "./segment";
import { replySegment } from "./transmit";

/** RSTs in a second for segments of which nobody knows anything: ten times what RFC 5961 7 allows challenge ACKs. */
const REFUSALS_MAX: u32 = 10_000;

let refusalSecond: u64 = 0;
let refusals: u32 = 0;

export function refuseReset(): void {
  refusalSecond = 0;
  refusals = 0;
}

/** Answers the segment at hand with a RST; a RST is never answered. */
export function refuse(now: u64): void {
  if ((segment().flags & TcpFlag.RST) != 0) return;
  const second = now / 1_000_000;
  if (second != refusalSecond) {
    refusalSecond = second;
    refusals = 0;
  }
  if (REFUSALS_MAX <= refusals) {
    count(Counter.TCP_REFUSALS_WITHHELD);
    return;
  }
  refusals++;
  refuseAlways();
}

/** The same without the limit, for a connection that is known to have been ours: a node died with it. */
export function refuseAlways(): void {
  const seg = segment();
  if ((seg.flags & TcpFlag.RST) != 0) return;
  count(Counter.TCP_REFUSED);
  if ((seg.flags & TcpFlag.ACK) != 0) {
    replySegment(TUPLE, seg.ack, 0, TcpFlag.RST, 0, 0, 0);
  } else {
    replySegment(TUPLE, 0, seg.seq + segmentLen(), TcpFlag.RST | TcpFlag.ACK, 0, 0, 0);
  }
}
