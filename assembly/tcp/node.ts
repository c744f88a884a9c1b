/**
 * Nodes: one for each range of sequence numbers that somebody must remember, either sent and not yet
 * acknowledged (flight.ts) or received out of order (reassembly.ts). Knows the shape and the pool; must not
 * know what the marks mean. An idle connection holds none.
 *
 *    0 next    u32  the range that follows by sequence number, 0: none; in the pool: next free node
 *    4 prev    u32
 *    8 newer   u32  second list: by time of transmission, or deemed lost; more recent first out of order
 *   12 older   u32
 *   16 start   u32  first sequence number
 *   20 end     u32  one beyond the last
 *   24 xmitUs  u32  low 32 bits of the time of the last transmission
 *   28 marks   u32  Mark bits
 */
import { reserve } from "../layout";
import { zeroWords } from "../wire/bytes";

@unmanaged
export class Node {
  next: u32;
  prev: u32;
  newer: u32;
  older: u32;
  start: u32;
  end: u32;
  xmitUs: u32;
  marks: u32;
}
export const NODE_SIZE: u32 = 32;
if (offsetof<Node>() != NODE_SIZE) ERROR("Node layout changed");

export enum Mark {
  NONE = 0,
  /** The peer holds it (RFC 2018). It may still renege. */
  SACKED = 1,
  /** Deemed lost and not sent again since. */
  LOST = 2,
  /** Sent again, and that copy is outstanding. */
  RETRANS = 4,
  /** Was ever sent again: no round-trip sample (Karn). */
  EVER = 8,
  /** More than once. */
  OFTEN = 16,
}

let basePtr: usize = 0;
let limit: u32 = 0;
let fresh: u32 = 1;
let freeHead: u32 = 0;
let used: u32 = 0;
let steps: u32 = 0;

/** Reserves `count` nodes: between layoutBegin and layoutEnd. */
export function nodeReserve(count: u32): void {
  basePtr = reserve((<usize>count + 1) * NODE_SIZE);
  limit = count;
  fresh = 1;
  freeHead = 0;
  used = 0;
}

/** Nodes looked at since the last call: counted in test builds only, where assembly/testing.ts says so. */
export function nodeSteps(): u32 {
  const count = steps;
  steps = 0;
  return count;
}

export function nodeAt(index: u32): Node {
  if (isDefined(COUNT_NODE_STEPS)) steps++;
  return changetype<Node>(basePtr + <usize>index * NODE_SIZE);
}

/** A zeroed node covering [start, end); 0 when the pool is empty. */
export function nodeTake(start: u32, end: u32): u32 {
  let index = freeHead;
  if (index != 0) freeHead = nodeAt(index).next;
  else if (fresh <= limit) index = fresh++;
  else return 0;
  const node = nodeAt(index);
  zeroWords(changetype<usize>(node), NODE_SIZE);
  node.start = start;
  node.end = end;
  used++;
  return index;
}

export function nodeGive(index: u32): void {
  const node = nodeAt(index);
  node.next = freeHead;
  freeHead = index;
  used--;
}

export function nodesUsed(): u32 {
  return used;
}

export function nodesFree(): u32 {
  return limit - used;
}

export function nodesLimit(): u32 {
  return limit;
}
