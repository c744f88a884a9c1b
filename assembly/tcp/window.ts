/**
 * The receive window: how far the peer may send. Knows buffer space and what was promised; must not know
 * segments. RFC 9293 3.8.6.2.2 (SWS avoidance, SHLD-14: never shrink), RFC 7323 2 (scaling), receive
 * autotuning as Linux does it (twice what the application read in a round trip).
 *
 * Under pressure no promise is taken back: the right edge stands still while data arrives, so the window
 * shrinks by what came, down to what the connection's share of the pool holds (share.ts).
 */
import { seqGt } from "../wire/seq";
import { CHUNK_MASK, CHUNK_SHIFT } from "./chunk";
import { configRcvBufMax } from "./config";
import { roundUs } from "./round";
import { shareMost, shareTight } from "./share";
import { Flag, Tcb } from "./tcb";

/** Window of a new connection, at most; it grows from here. */
export const RCV_BUF_INITIAL: u32 = 65536;

/** Smallest shift with which `bytes` can be announced (RFC 7323 2.3: at most 14). */
export function windowShiftFor(bytes: u32): u32 {
  let shift: u32 = 0;
  while (shift < 14 && (<u32>0xffff) << shift < bytes) shift++;
  return shift;
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
  if (tcb.rcvBuf <= unread) return tcb.rcvAdv;
  const edge = tcb.rcvNxt + min<u32>(tcb.rcvBuf - unread, roomOf(tcb));
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
  const field = windowField(edge - tcb.rcvNxt, shift);
  const advertised = tcb.rcvNxt + (field << shift);
  if (seqGt(advertised, tcb.rcvAdv)) tcb.rcvAdv = advertised;
  return field;
}

/** So many bytes as a window field: rounded up, so that no edge moves left by a fraction of the scale. */
export function windowField(bytes: u32, shift: u32): u32 {
  return min<u32>((bytes + ((1 << shift) - 1)) >> shift, 0xffff);
}

/** The first window of a connection that has no block yet. */
export function windowInitial(): u32 {
  const most = min<u32>(RCV_BUF_INITIAL, configRcvBufMax());
  return min<u32>(min<u32>(most, shareMost(0) << CHUNK_SHIFT), 0xffff);
}

/** Too little memory for one more segment, though the application has read enough: to be looked at again. */
export function windowStarved(ptr: usize): bool {
  const tcb = changetype<Tcb>(ptr);
  const least = min<u32>(<u32>tcb.rcvMss, tcb.rcvBuf);
  if (least <= tcb.rcvAdv - tcb.rcvNxt || (tcb.flags & Flag.FIN_SEEN) != 0) return false;
  return unreadBytes(ptr) + least <= tcb.rcvBuf && roomOf(tcb) < least;
}

/** Bytes after RCV.NXT that the pool has room for: what the queue may still take, and the chunk begun. */
function roomOf(tcb: Tcb): u32 {
  const held = tcb.rcvQueueChunks;
  const begun = (<u32>tcb.rcvQueueShift - tcb.rcvNxt) & CHUNK_MASK;
  return ((shareMost(held) - held) << CHUNK_SHIFT) + (held == 0 ? 0 : begun);
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
  if (tcb.rcvSpaceUs != 0 && <u32>now - tcb.rcvSpaceUs < roundUs(tcb)) return;
  const read = tcb.rcvRead - tcb.rcvSpaceSeq;
  if (tcb.rcvSpaceUs != 0 && tcb.rcvSpace < read && !shareTight()) {
    const wanted = <u64>read * 2 + 16 * <u64>tcb.rcvMss;
    if (<u64>tcb.rcvBuf < wanted) tcb.rcvBuf = <u32>min<u64>(wanted, <u64>tcb.rcvBufMax);
    tcb.rcvSpace = read;
  }
  tcb.rcvSpaceSeq = tcb.rcvRead;
  tcb.rcvSpaceUs = max<u32>(<u32>now, 1);
}
