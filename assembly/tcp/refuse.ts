/**
 * Answers to segments that belong to no connection: RST, as RFC 9293 3.10.7.1 says, from the address that was
 * asked, or the client ignores it. Knows the segment at hand; must not know connections.
 */
import { Counter, count } from "../counters";
import { TcpFlag } from "../wire/tcp";
import { TUPLE, segment, segmentLen } from "./segment";
import { replySegment } from "./transmit";

/** Answers the segment at hand with a RST; a RST is never answered. */
export function refuse(): void {
  const seg = segment();
  if ((seg.flags & TcpFlag.RST) != 0) return;
  count(Counter.TCP_REFUSED);
  if ((seg.flags & TcpFlag.ACK) != 0) {
    replySegment(TUPLE, seg.ack, 0, TcpFlag.RST, 0, 0, 0);
  } else {
    replySegment(TUPLE, 0, seg.seq + segmentLen(), TcpFlag.RST | TcpFlag.ACK, 0, 0, 0);
  }
}
