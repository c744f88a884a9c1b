/**
 * The receive window: how far the peer may send. Knows buffer space and what was promised; must not know
 * segments. RFC 9293 3.8.6.2.2 (SWS avoidance, SHLD-14: never shrink), RFC 7323 2 (scaling), receive
 * autotuning as Linux does it (twice what the application read in a round trip).
 */
import { seqGt } from "../wire/seq";
import { chunksFree, chunksLimit } from "./chunk";
import { Flag, Tcb } from "./tcb";

/** Window of a new connection, at most; it grows from here. */
export const RCV_BUF_INITIAL: u32 = 65536;
/** Chunks out of which this share must be free, or no window grows. */
const PRESSURE_SHIFT: u32 = 3;

/** Smallest shift with which `bytes` can be announced (RFC 7323 2.3: at most 14). */
export function windowShiftFor(bytes: u32): u32 {
  let shift: u32 = 0;
  while (shift < 14 && (<u32>0xffff) << shift < bytes) shift++;
  return shift;
}

/** True when the pool is nearly empty: promises already made are kept, no new ones are given. */
export function windowPressure(): bool {
  return chunksFree() < chunksLimit() >> PRESSURE_SHIFT;
}

/** Received bytes that the application has not consumed. */
export function unreadBytes(ptr: usize): u32 {
  const tcb = changetype<Tcb>(ptr);
  const fin: u32 = (tcb.flags & Flag.FIN_RECEIVED) != 0 ? 1 : 0;
  return tcb.rcvNxt - fin - tcb.rcvRead;
}

/** Right edge that could be advertised now. Never left of what was advertised. */
export function windowEdge(ptr: usize): u32 {
  const tcb = changetype<Tcb>(ptr);
  const unread = unreadBytes(ptr);
  if (windowPressure() || tcb.rcvBuf <= unread) return tcb.rcvAdv;
  const free = tcb.rcvBuf - unread;
  const edge = tcb.rcvNxt + free;
  if (!seqGt(edge, tcb.rcvAdv)) return tcb.rcvAdv;
  // SWS avoidance: in steps of a full segment or half the buffer (MUST-39).
  const step = min<u32>(<u32>tcb.rcvMss == 0 ? 536 : <u32>tcb.rcvMss, tcb.rcvBuf >> 1);
  return edge - tcb.rcvAdv < step ? tcb.rcvAdv : edge;
}

/**
 * The window field of a segment about to be sent; RCV.ADV moves with it.
 * @param syn the window of a SYN is never scaled (RFC 7323 2.2)
 */
export function windowAdvertise(ptr: usize, syn: bool): u32 {
  const tcb = changetype<Tcb>(ptr);
  const shift: u32 = syn ? 0 : <u32>tcb.rcvWndShift;
  const edge = windowEdge(ptr);
  // Rounded up, so that the edge never moves left by a fraction of the scale.
  const field = min<u32>((edge - tcb.rcvNxt + ((1 << shift) - 1)) >> shift, 0xffff);
  const advertised = tcb.rcvNxt + (field << shift);
  if (seqGt(advertised, tcb.rcvAdv)) tcb.rcvAdv = advertised;
  return field;
}

/** After the application consumed bytes: whether the peer should be told at once (Linux __tcp_cleanup_rbuf). */
export function windowWorthTelling(ptr: usize): bool {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.FIN_SEEN) != 0) return false;
  const told = tcb.rcvAdv - tcb.rcvNxt;
  const could = windowEdge(ptr) - tcb.rcvNxt;
  return told != could && told <= could >> 1;
}

/** Dynamic right-sizing: once a round trip the buffer becomes twice what was read in it. */
export function windowConsumed(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const round = max<u64>(<u64>tcb.srttUs, 1000);
  if (tcb.rcvSpaceUs != 0 && now < tcb.rcvSpaceUs + round) return;
  const read = tcb.rcvRead - tcb.rcvSpaceSeq;
  if (tcb.rcvSpaceUs != 0 && tcb.rcvSpace < read && !windowPressure()) {
    const wanted = <u64>read * 2 + 16 * <u64>tcb.rcvMss;
    if (<u64>tcb.rcvBuf < wanted) tcb.rcvBuf = <u32>min<u64>(wanted, <u64>tcb.rcvBufMax);
    tcb.rcvSpace = read;
  }
  tcb.rcvSpaceSeq = tcb.rcvRead;
  tcb.rcvSpaceUs = now;
}
