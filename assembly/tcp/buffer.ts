/**
 * Byte queues of a connection. A byte lives at its own sequence number, so random access costs O(1), a
 * wrapping sequence number wraps the queue with it, and what arrives out of order is stored in place.
 * Knows positions and chunks; must not know which bytes are valid (rcvNxt, the nodes of out-of-order data
 * and sndEnd say that), nor windows.
 *
 * A Queue is 48 bytes inside the block (tcb.ts sndQueue*, rcvQueue*):
 *
 *    0 head    u32   first place that is kept
 *    4 tail    u32   after the last place that has a chunk, or equal to head: nothing is held
 *    8 depth   u16   0: the entries name 8 data chunks (32 KiB); 1: 8 index chunks of 1,024 (32 MiB)
 *   10 shift   u16   position - place
 *   12 chunks  u32   chunks held, index chunks included
 *   16 entries u32 x 8
 *
 * Place p lies in chunk slot (p / 4096) mod 8 at depth 0, mod 8192 at depth 1. An entry of 0 is a gap. A place
 * is a position (sequence number) less `shift`, chosen anew whenever the queue is empty, so that the first
 * byte lies at the start of a chunk and what fits a chunk takes only one.
 */
import { zeroWords } from "../wire/bytes";
import { seqLt, seqLe } from "../wire/seq";
import { CHUNK_MASK, CHUNK_SHIFT, CHUNK_SIZE, chunkAt, chunkGive, chunkTake } from "./chunk";
import { shareJoin, shareLeave } from "./share";

@unmanaged
export class Queue {
  head: u32;
  tail: u32;
  depth: u16;
  shift: u16;
  chunks: u32;
  entries0: u64;
  entries1: u64;
  entries2: u64;
  entries3: u64;
}
export const QUEUE_SIZE: u32 = 48;
if (offsetof<Queue>() != QUEUE_SIZE) ERROR("Queue layout changed");

const ENTRIES: u32 = 8;
const INDEX_SHIFT: u32 = CHUNK_SHIFT - 2;
const INDEX_MASK: u32 = (1 << INDEX_SHIFT) - 1;
/** Most bytes between head and tail (28 MiB): both ends never meet in one index chunk. */
export const QUEUE_BYTES_MAX: u32 = (ENTRIES - 1) << (INDEX_SHIFT + CHUNK_SHIFT);
const SHALLOW_MAX: u32 = ENTRIES << CHUNK_SHIFT;

/** An empty queue whose first byte will have position `head`. Holds nothing before and after. */
export function queueInit(queuePtr: usize, head: u32): void {
  zeroWords(queuePtr, QUEUE_SIZE);
  begin(changetype<Queue>(queuePtr), head);
}

/** Address of the byte at `position`, 0 when its chunk is absent. Valid up to the end of the chunk. */
export function queueAt(queuePtr: usize, position: u32): usize {
  return placeAt(queuePtr, position - <u32>changetype<Queue>(queuePtr).shift);
}

/** Bytes from `position` to the end of its chunk, at most `len`: what queueAt's address is good for. */
export function queueContiguous(queuePtr: usize, position: u32, len: u32): u32 {
  const place = position - <u32>changetype<Queue>(queuePtr).shift;
  return min(len, CHUNK_SIZE - (place & CHUNK_MASK));
}

/** Like queueContiguous, but on into the chunks behind for as long as each lies right after the one before. */
export function queueTogether(queuePtr: usize, position: u32, len: u32): u32 {
  let done = queueContiguous(queuePtr, position, len);
  const from = queueAt(queuePtr, position);
  while (done < len && queueAt(queuePtr, position + done) == from + done) {
    done += queueContiguous(queuePtr, position + done, len - done);
  }
  return done;
}

/**
 * Like queueAt, but takes the chunk when it is absent.
 * @param most chunks that the queue may hold (share.ts)
 * @returns 0 when it holds those, the pool is empty or `position` is too far from the head
 */
export function queueMake(queuePtr: usize, position: u32, most: u32): usize {
  const queue = changetype<Queue>(queuePtr);
  const place = position - <u32>queue.shift;
  const distance = place - queue.head;
  if (QUEUE_BYTES_MAX <= distance) return 0;
  const beyond = queue.depth == 0 && SHALLOW_MAX <= distance + (queue.head & CHUNK_MASK);
  const present: usize = beyond ? 0 : placeAt(queuePtr, place);
  if (present != 0) return present;
  if (most <= queue.chunks) return 0;
  if (beyond && !deepen(queuePtr)) return 0;
  const entry = entryMake(queuePtr, place);
  if (entry == 0) return 0;
  const chunk = chunkTake();
  if (chunk == 0) return 0;
  store<u32>(entry, chunk);
  grow(queue, 1);
  const end = (place & ~CHUNK_MASK) + CHUNK_SIZE;
  if (queue.tail == queue.head || seqLt(queue.tail, end)) queue.tail = end;
  return chunkAt(chunk) + (place & CHUNK_MASK);
}

/**
 * Copies `len` bytes to `position`, taking chunks as needed.
 * @param most chunks that the queue may hold (share.ts)
 * @returns bytes copied: fewer than `len` when it holds those or the pool ran out
 */
export function queueWrite(
  queuePtr: usize,
  position: u32,
  sourcePtr: usize,
  len: u32,
  most: u32,
): u32 {
  let done: u32 = 0;
  while (done < len) {
    const ptr = queueMake(queuePtr, position + done, most);
    if (ptr == 0) break;
    const part = queueContiguous(queuePtr, position + done, len - done);
    memory.copy(ptr, sourcePtr + done, part);
    done += part;
  }
  return done;
}

/**
 * Copies `len` bytes from `position` to `targetPtr`. All of them must have been written.
 * @returns bytes copied: fewer than `len` where a chunk is absent
 */
export function queueRead(queuePtr: usize, position: u32, targetPtr: usize, len: u32): u32 {
  let done: u32 = 0;
  while (done < len) {
    const ptr = queueAt(queuePtr, position + done);
    if (ptr == 0) break;
    const part = queueContiguous(queuePtr, position + done, len - done);
    memory.copy(targetPtr + done, ptr, part);
    done += part;
  }
  return done;
}

/** Moves the head forward to position `head` and gives back every chunk that lies wholly before it. */
export function queueDiscard(queuePtr: usize, head: u32): void {
  const queue = changetype<Queue>(queuePtr);
  const place = head - <u32>queue.shift;
  if (queue.tail == queue.head || seqLe(queue.tail, place)) {
    queueClear(queuePtr, head);
    return;
  }
  const from = queue.head;
  queue.head = place;
  if (queue.depth == 1) {
    discardDeep(queuePtr, from, place);
    return;
  }
  giveBetween(queuePtr, from, place);
}

/** Gives every chunk back and starts anew at position `head`: for a queue that holds no valid byte. */
export function queueClear(queuePtr: usize, head: u32): void {
  const queue = changetype<Queue>(queuePtr);
  if (queue.tail != queue.head) {
    if (queue.depth == 0) {
      giveBetween(queuePtr, queue.head, queue.tail);
    } else {
      discardDeep(queuePtr, queue.head, queue.tail);
      for (let index: u32 = 0; index < ENTRIES; index++) {
        giveEntry(queuePtr, queuePtr + offsetof<Queue>("entries0") + ((<usize>index) << 2));
      }
    }
  }
  assert(queue.chunks == 0);
  begin(queue, head);
}

/** Gives back chunks that hold nothing but positions at and after `position`. */
export function queueTrim(queuePtr: usize, position: u32): void {
  const queue = changetype<Queue>(queuePtr);
  if (queue.tail == queue.head) return;
  const place = position - <u32>queue.shift;
  let end = (place + CHUNK_MASK) & ~CHUNK_MASK;
  if (seqLe(end, queue.head)) {
    queueClear(queuePtr, queue.head + <u32>queue.shift);
    return;
  }
  if (seqLe(queue.tail, end)) return;
  const tail = queue.tail;
  queue.tail = end;
  for (; end != tail; end += CHUNK_SIZE) giveEntry(queuePtr, entryPtr(queuePtr, end));
}

/** The queue is empty: its next first byte lies at the start of a chunk. */
function begin(queue: Queue, head: u32): void {
  const shift = head & CHUNK_MASK;
  queue.depth = 0;
  queue.shift = <u16>shift;
  queue.head = head - shift;
  queue.tail = head - shift;
}

function placeAt(queuePtr: usize, place: u32): usize {
  const entry = entryPtr(queuePtr, place);
  if (entry == 0) return 0;
  const chunk = load<u32>(entry);
  return chunk == 0 ? 0 : chunkAt(chunk) + (place & CHUNK_MASK);
}

function entryPtr(queuePtr: usize, place: u32): usize {
  const slot = place >>> CHUNK_SHIFT;
  if (changetype<Queue>(queuePtr).depth == 0) {
    return queuePtr + (((<usize>slot) & (ENTRIES - 1)) << 2) + offsetof<Queue>("entries0");
  }
  const indexChunk = load<u32>(indexEntryPtr(queuePtr, slot));
  return indexChunk == 0 ? 0 : chunkAt(indexChunk) + (((<usize>slot) & INDEX_MASK) << 2);
}

function indexEntryPtr(queuePtr: usize, slot: u32): usize {
  const index = (slot >>> INDEX_SHIFT) & (ENTRIES - 1);
  return queuePtr + ((<usize>index) << 2) + offsetof<Queue>("entries0");
}

/** Like entryPtr, but takes the index chunk when it is absent; 0 when the pool is empty. */
function entryMake(queuePtr: usize, place: u32): usize {
  const present = entryPtr(queuePtr, place);
  if (present != 0) return present;
  const indexChunk = chunkTake();
  if (indexChunk == 0) return 0;
  memory.fill(chunkAt(indexChunk), 0, CHUNK_SIZE);
  store<u32>(indexEntryPtr(queuePtr, place >>> CHUNK_SHIFT), indexChunk);
  grow(changetype<Queue>(queuePtr), 1);
  return entryPtr(queuePtr, place);
}

function giveEntry(queuePtr: usize, entry: usize): void {
  if (entry == 0) return;
  const chunk = load<u32>(entry);
  if (chunk == 0) return;
  store<u32>(entry, 0);
  chunkGive(chunk);
  const queue = changetype<Queue>(queuePtr);
  queue.chunks -= 1;
  if (queue.chunks == 0) shareLeave();
}

/** The queue holds `by` chunks more. */
function grow(queue: Queue, by: u32): void {
  if (queue.chunks == 0) shareJoin();
  queue.chunks += by;
}

/** Moves the chunk names of a shallow queue into index chunks. False when the pool is empty. */
function deepen(queuePtr: usize): bool {
  const queue = changetype<Queue>(queuePtr);
  const first = (queue.head & ~CHUNK_MASK) >>> CHUNK_SHIFT;
  const last = first + ENTRIES - 1;
  const low = chunkTake();
  if (low == 0) return false;
  // Eight neighbouring slots lie in two index chunks at most.
  const split = first >>> INDEX_SHIFT != last >>> INDEX_SHIFT;
  const high = split ? chunkTake() : 0;
  if (split && high == 0) {
    chunkGive(low);
    return false;
  }
  memory.fill(chunkAt(low), 0, CHUNK_SIZE);
  if (split) memory.fill(chunkAt(high), 0, CHUNK_SIZE);
  for (let slot = first; slot != first + ENTRIES; slot++) {
    const from = queuePtr + (((<usize>slot) & (ENTRIES - 1)) << 2) + offsetof<Queue>("entries0");
    const inLow = slot >>> INDEX_SHIFT == first >>> INDEX_SHIFT;
    const to = chunkAt(inLow ? low : high) + (((<usize>slot) & INDEX_MASK) << 2);
    store<u32>(to, load<u32>(from));
    store<u32>(from, 0);
  }
  queue.depth = 1;
  grow(queue, split ? 2 : 1);
  store<u32>(indexEntryPtr(queuePtr, first), low);
  if (split) store<u32>(indexEntryPtr(queuePtr, last), high);
  return true;
}

/** Gives back data chunks of [from, to) and index chunks that lie wholly before `to`. */
function discardDeep(queuePtr: usize, from: u32, to: u32): void {
  giveBetween(queuePtr, from, to);
  const end = to & ~CHUNK_MASK;
  for (let at = from & ~CHUNK_MASK; at != end; at += CHUNK_SIZE) {
    const slot = at >>> CHUNK_SHIFT;
    if ((slot & INDEX_MASK) == INDEX_MASK) giveEntry(queuePtr, indexEntryPtr(queuePtr, slot));
  }
}

/** Gives back the data chunks of [from, to). */
function giveBetween(queuePtr: usize, from: u32, to: u32): void {
  const end = to & ~CHUNK_MASK;
  for (let at = from & ~CHUNK_MASK; at != end; at += CHUNK_SIZE) {
    giveEntry(queuePtr, entryPtr(queuePtr, at));
  }
}
