/**
 * The pool of fixed-size chunks that every byte queue of this core shares. Knows which chunks are free;
 * must not know what they hold. A chunk is named by an index from 1 on; 0 is none. The lowest free chunk is
 * always the next one: a busy core works in few, warm pages, fresh ones are touched last, and what one queue
 * takes in a row lies in one piece wherever that was free (queueTogether).
 *
 * Free chunks below `fresh` are bits of words of 64; a bit of the next level stands for a word that is not 0:
 *
 *   level 2   one word for 262,144 chunks
 *   level 1   one word for 4,096 chunks, a bit of level 2
 *   level 0   one word for 64 chunks, a bit of level 1
 */
import { reserve } from "../layout";

/** Bytes of a chunk, as a power of two. */
export const CHUNK_SHIFT: u32 = 12;
export const CHUNK_SIZE: u32 = 1 << CHUNK_SHIFT;
export const CHUNK_MASK: u32 = CHUNK_SIZE - 1;

let basePtr: usize = 0;
let level0: usize = 0;
let level1: usize = 0;
let level2: usize = 0;
/** At most five: linear memory ends at 4 GiB. */
let level2Words: u32 = 0;
let limit: u32 = 0;
let fresh: u32 = 1;
let used: u32 = 0;

/** Reserves `count` chunks: between layoutBegin and layoutEnd, which makes the words zero. */
export function chunkReserve(count: u32): void {
  basePtr = reserve((<usize>count + 1) << CHUNK_SHIFT);
  const words0 = (count >>> 6) + 1;
  const words1 = (words0 >>> 6) + 1;
  level2Words = (words1 >>> 6) + 1;
  level0 = reserve((<usize>words0) << 3);
  level1 = reserve((<usize>words1) << 3);
  level2 = reserve((<usize>level2Words) << 3);
  limit = count;
  fresh = 1;
  used = 0;
}

export function chunkAt(index: u32): usize {
  return basePtr + ((<usize>index) << CHUNK_SHIFT);
}

/** Takes a chunk with undefined contents; 0 when none is left. */
export function chunkTake(): u32 {
  let index = takeLowest();
  if (index == 0) {
    if (limit < fresh) return 0;
    index = fresh++;
  }
  used++;
  return index;
}

export function chunkGive(index: u32): void {
  assert(index != 0 && index < fresh);
  const word = index >>> 6;
  const at0 = wordPtr(level0, word);
  const bits = load<u64>(at0);
  const bit = (<u64>1) << ((<u64>index) & 63);
  assert((bits & bit) == 0);
  store<u64>(at0, bits | bit);
  if (bits == 0) {
    const at1 = wordPtr(level1, word >>> 6);
    const words = load<u64>(at1);
    store<u64>(at1, words | ((<u64>1) << ((<u64>word) & 63)));
    if (words == 0) {
      const middle = word >>> 6;
      const at2 = wordPtr(level2, middle >>> 6);
      store<u64>(at2, load<u64>(at2) | ((<u64>1) << ((<u64>middle) & 63)));
    }
  }
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

/** The lowest chunk that was given back; 0 when there is none. */
function takeLowest(): u32 {
  for (let top: u32 = 0; top < level2Words; top++) {
    const at2 = wordPtr(level2, top);
    const bits2 = load<u64>(at2);
    if (bits2 == 0) continue;
    const middle = (top << 6) | (<u32>ctz<u64>(bits2));
    const at1 = wordPtr(level1, middle);
    const bits1 = load<u64>(at1);
    const word = (middle << 6) | (<u32>ctz<u64>(bits1));
    const at0 = wordPtr(level0, word);
    const bits0 = load<u64>(at0);
    store<u64>(at0, bits0 & (bits0 - 1));
    if ((bits0 & (bits0 - 1)) == 0) {
      store<u64>(at1, bits1 & (bits1 - 1));
      if ((bits1 & (bits1 - 1)) == 0) store<u64>(at2, bits2 & (bits2 - 1));
    }
    return (word << 6) | (<u32>ctz<u64>(bits0));
  }
  return 0;
}

function wordPtr(level: usize, word: u32): usize {
  return level + ((<usize>word) << 3);
}
