/**
 * What arrived beyond RCV.NXT: disjoint ranges in order of sequence number, and in order of their last
 * change, because SACK reports the most recent first. The bytes themselves lie in the receive queue already.
 * Knows ranges; must not know segments. RFC 2018 section 4, RFC 2883.
 */
import { Counter, countMany } from "../counters";
import { seqGe, seqGt, seqLe, seqLt } from "../wire/seq";
import { queueTrim } from "./buffer";
import { chunksFree } from "./chunk";
import { Node, nodeAt, nodeGive, nodeTake, nodesFree, nodesLimit } from "./node";
import { Flag, Tcb, tcbAt, tcbPeak } from "./tcb";

/** Ranges of one connection: a peer that sends every second byte gets no further. */
export const RANGES_MAX: u32 = 256;
/** Blocks that one search for something to give up looks at. */
const RECLAIM_STEPS: u32 = 64;
/** A quarter of the nodes is kept for what is sent. */
const KEPT_SHIFT: u32 = 2;

/** Ranges of all connections. */
let ranges: u32 = 0;
/** Block at which the last search for something to give up ended. */
let hand: u32 = 0;

export function rangeReset(): void {
  ranges = 0;
  hand = 0;
}

/** True when [start, end) may be stored: a node is there for it, or it joins a range. */
export function rangeRoom(ptr: usize): bool {
  return changetype<Tcb>(ptr).oooCount < RANGES_MAX;
}

/**
 * Adds [start, end), beyond RCV.NXT, and joins what it touches.
 * @returns false when no node was left: the bytes count as never received
 */
export function rangeAdd(ptr: usize, start: u32, end: u32): bool {
  const tcb = changetype<Tcb>(ptr);
  // The last range before or touching `start`, searched from the end: most data comes there.
  let before = tcb.oooTail;
  while (before != 0 && seqGt(nodeAt(before).start, start)) before = nodeAt(before).prev;
  let index: u32 = 0;
  if (before != 0 && seqGe(nodeAt(before).end, start)) {
    index = before;
    const node = nodeAt(index);
    if (seqLe(end, node.end)) {
      promote(tcb, index);
      return true;
    }
    node.end = end;
  } else {
    if (RANGES_MAX <= tcb.oooCount || nodesFree() <= nodesLimit() >> KEPT_SHIFT) return false;
    index = nodeTake(start, end);
    if (index == 0) return false;
    insertAfter(tcb, index, before);
    recentPush(tcb, index);
  }
  swallow(tcb, index);
  promote(tcb, index);
  return true;
}

/**
 * RCV.NXT has reached `next`: drops what lies before it.
 * @returns the new RCV.NXT, further on when a range continues there
 */
export function rangeReach(ptr: usize, next: u32): u32 {
  const tcb = changetype<Tcb>(ptr);
  let reached = next;
  while (tcb.oooHead != 0) {
    const index = tcb.oooHead;
    const node = nodeAt(index);
    if (seqLt(reached, node.start)) break;
    if (seqLt(reached, node.end)) reached = node.end;
    rangeRemove(tcb, index);
  }
  return reached;
}

/** True when every byte of [start, end) lies in one range; the range then is the answer's node. */
export function rangeCovering(ptr: usize, start: u32, end: u32): u32 {
  const tcb = changetype<Tcb>(ptr);
  for (let index = tcb.oooHead; index != 0; index = nodeAt(index).next) {
    const node = nodeAt(index);
    if (seqLe(node.start, start) && seqLe(end, node.end)) return index;
    if (seqGt(node.start, start)) return 0;
  }
  return 0;
}

/** The first range that has a byte of [start, end), 0: none. */
export function rangeOverlapping(ptr: usize, start: u32, end: u32): u32 {
  const tcb = changetype<Tcb>(ptr);
  for (let index = tcb.oooHead; index != 0; index = nodeAt(index).next) {
    const node = nodeAt(index);
    if (seqGe(node.start, end)) return 0;
    if (seqLt(start, node.end)) return index;
  }
  return 0;
}

/**
 * Gives up everything out of order: the peer must send it again, which RFC 2018 section 8 allows.
 * @returns whether a chunk came free
 */
export function rangePrune(ptr: usize): bool {
  const tcb = changetype<Tcb>(ptr);
  const before = chunksFree();
  let bytes: u64 = 0;
  while (tcb.oooHead != 0) {
    const node = nodeAt(tcb.oooHead);
    bytes += node.end - node.start;
    rangeRemove(tcb, tcb.oooHead);
  }
  if (bytes == 0) return false;
  countMany(Counter.TCP_PRUNED, bytes);
  if ((tcb.flags & Flag.FIN_RECEIVED) == 0) tcb.flags &= ~(<u32>Flag.FIN_SEEN);
  queueTrim(ptr + offsetof<Tcb>("rcvQueueHead"), tcb.rcvNxt);
  return before < chunksFree();
}

/**
 * The pool is empty: takes what some connection holds out of order. Looks at RECLAIM_STEPS blocks at most,
 * from where the last search ended, so that all take turns; nothing at all while nobody holds any.
 * @returns whether a chunk came free
 */
export function rangeReclaim(): bool {
  if (ranges == 0 || chunksFree() != 0) return false;
  for (let step: u32 = 0; step < RECLAIM_STEPS; step++) {
    hand = hand < tcbPeak() ? hand + 1 : 1;
    const ptr = tcbAt(hand);
    const tcb = changetype<Tcb>(ptr);
    // A frozen connection's state is in a blob already.
    if (tcb.handle == 0 || tcb.oooHead == 0 || (tcb.flags & Flag.FROZEN) != 0) continue;
    if (rangePrune(ptr)) return true;
  }
  return false;
}

/** Gives every node back without accounting. */
export function rangeClear(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  while (tcb.oooHead != 0) rangeRemove(tcb, tcb.oooHead);
}

/**
 * Writes the SACK blocks to report as pairs {left u32, right u32}: a pending D-SACK, the range it lies in,
 * then the others, most recent first.
 * @returns how many, at most `most`
 */
export function rangeBlocks(ptr: usize, blocksPtr: usize, most: u32): u32 {
  const tcb = changetype<Tcb>(ptr);
  let at = blocksPtr;
  let blocks: u32 = 0;
  if ((tcb.flags & Flag.DSACK_DUE) != 0 && blocks < most) {
    store<u32>(at, tcb.dsackStart);
    store<u32>(at, tcb.dsackEnd, 4);
    at += 8;
    blocks++;
  }
  for (let index = tcb.oooRecent; index != 0 && blocks < most; index = nodeAt(index).older) {
    const node = nodeAt(index);
    store<u32>(at, node.start);
    store<u32>(at, node.end, 4);
    at += 8;
    blocks++;
  }
  return blocks;
}

/** Joins the ranges behind `index` that it reaches now. */
function swallow(tcb: Tcb, index: u32): void {
  const node = nodeAt(index);
  while (node.next != 0) {
    const next = nodeAt(node.next);
    if (seqLt(node.end, next.start)) return;
    if (seqLt(node.end, next.end)) node.end = next.end;
    rangeRemove(tcb, node.next);
  }
}

function insertAfter(tcb: Tcb, index: u32, before: u32): void {
  const node = nodeAt(index);
  node.prev = before;
  node.next = before != 0 ? nodeAt(before).next : tcb.oooHead;
  if (node.next != 0) nodeAt(node.next).prev = index;
  else tcb.oooTail = index;
  if (before != 0) nodeAt(before).next = index;
  else tcb.oooHead = index;
  tcb.oooCount += 1;
  ranges++;
}

function rangeRemove(tcb: Tcb, index: u32): void {
  const node = nodeAt(index);
  if (node.prev != 0) nodeAt(node.prev).next = node.next;
  else tcb.oooHead = node.next;
  if (node.next != 0) nodeAt(node.next).prev = node.prev;
  else tcb.oooTail = node.prev;
  recentUnlink(tcb, node);
  tcb.oooCount -= 1;
  ranges--;
  nodeGive(index);
}

/** Makes the range the most recent one. */
function promote(tcb: Tcb, index: u32): void {
  if (tcb.oooRecent == index) return;
  recentUnlink(tcb, nodeAt(index));
  recentPush(tcb, index);
}

function recentPush(tcb: Tcb, index: u32): void {
  const node = nodeAt(index);
  node.newer = 0;
  node.older = tcb.oooRecent;
  if (tcb.oooRecent != 0) nodeAt(tcb.oooRecent).newer = index;
  tcb.oooRecent = index;
}

function recentUnlink(tcb: Tcb, node: Node): void {
  if (node.newer != 0) nodeAt(node.newer).older = node.older;
  else tcb.oooRecent = node.older;
  if (node.older != 0) nodeAt(node.older).newer = node.newer;
}
