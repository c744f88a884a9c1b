/**
 * The pool of fixed-size chunks that every byte queue of this core shares. Knows which chunks are free;
 * must not know what they hold. A chunk is named by an index from 1 on; 0 is none. Chunks come back in
 * last-in first-out order, so that a busy core works in few, warm pages, and fresh ones are touched last.
 */
import { reserve } from "../layout";

/** Bytes of a chunk, as a power of two. */
export const CHUNK_SHIFT: u32 = 12;
export const CHUNK_SIZE: u32 = 1 << CHUNK_SHIFT;
export const CHUNK_MASK: u32 = CHUNK_SIZE - 1;

let basePtr: usize = 0;
let limit: u32 = 0;
let fresh: u32 = 1;
let freeHead: u32 = 0;
let used: u32 = 0;

/** Reserves `count` chunks: between layoutBegin and layoutEnd. */
export function chunkReserve(count: u32): void {
  basePtr = reserve((<usize>count + 1) << CHUNK_SHIFT);
  limit = count;
  fresh = 1;
  freeHead = 0;
  used = 0;
}

export function chunkAt(index: u32): usize {
  return basePtr + ((<usize>index) << CHUNK_SHIFT);
}

/** Takes a chunk with undefined contents; 0 when none is left. */
export function chunkTake(): u32 {
  let index = freeHead;
  if (index != 0) freeHead = load<u32>(chunkAt(index));
  else if (fresh <= limit) index = fresh++;
  else return 0;
  used++;
  return index;
}

export function chunkGive(index: u32): void {
  assert(index != 0 && index < fresh);
  store<u32>(chunkAt(index), freeHead);
  freeHead = index;
  used--;
}

export function chunksUsed(): u32 {
  return used;
}

export function chunksLimit(): u32 {
  return limit;
}

/** Chunks that can still be taken. */
export function chunksFree(): u32 {
  return limit - used;
}
