/**
 * Packets that wait: early ones (their connection has not arrived yet) and those of frozen flows. Knows
 * copies of packets in queues, one queue for each flow, within one budget of bytes; must not know records
 * or what becomes of a packet.
 *
 * Bytes lie in chained blocks of 512 bytes, so a small packet costs little and one of 64 KiB fits.
 *
 *   block   0 next block u32   4 next packet u32 (first block)   8 data of a later block
 *           8 .. 40 header of the packet (first block)          40 data of the first block
 */
import { Descriptor, reserve } from "../layout";

const BLOCK_SHIFT: u32 = 9;
const BLOCK_SIZE: u32 = 1 << BLOCK_SHIFT;
const FIRST_OFF: u32 = 40;
const LATER_OFF: u32 = 8;

/** Header of a held packet, at 8 of its first block: the descriptor's fields that a replay needs. */
@unmanaged
class Held {
  len: u32;
  flags: u16;
  csumStart: u16;
  csumOffset: u16;
  gsoType: u16;
  gsoSize: u16;
  headerLen: u16;
  link: u16;
  pad: u16;
  pad2: u32;
  timeUs: f64;
}
if (offsetof<Held>() != FIRST_OFF - 8) ERROR("Held layout changed");

/**
 *    0 peer u32   4 flow u32   8 head u32   12 tail u32   16 count u32   20 bytes u32 (of blocks)
 *   24 older u32  28 newer u32: neighbours in a list of queues, 0 none   32 record u32   36 list u32
 *   40 sinceUs f64
 */
@unmanaged
export class HoldQueue {
  peer: u32;
  flow: u32;
  head: u32;
  tail: u32;
  count: u32;
  bytes: u32;
  older: u32;
  newer: u32;
  /** RecordState to report with packets that are given back. */
  record: u32;
  /** HoldList that the queue stands in. */
  list: u32;
  /** When its first packet came. */
  sinceUs: f64;
}
const QUEUE_SIZE: u32 = 48;
if (offsetof<HoldQueue>() != QUEUE_SIZE) ERROR("HoldQueue layout changed");

/** Lists of queues, each in the order of entry. */
export enum HoldList {
  NONE = 0,
  /** Early queues, the oldest first: T_EARLY is the same for all, so the first expires first. */
  EARLY = 1,
  /** Queues whose packets pollHandback gives out. */
  BACK = 2,
}

/** Oldest and newest queue of each list. */
const LISTS: usize = memory.data(24, 4);

let blocksPtr: usize = 0;
let blocksMax: u32 = 0;
let blocksFresh: u32 = 1;
let blocksFree: u32 = 0;
let blocksUsed: u32 = 0;
let queuesPtr: usize = 0;
let queuesOpen: u32 = 0;
let queuesMax: u32 = 0;
let queuesFresh: u32 = 1;
let queuesFree: u32 = 0;

/** Between layoutBegin and layoutEnd. */
export function holdReserve(bytesMax: u32, queues: u32): void {
  blocksMax = bytesMax >> BLOCK_SHIFT;
  blocksPtr = reserve((<usize>(blocksMax + 1)) << BLOCK_SHIFT);
  queuesMax = queues;
  queuesPtr = reserve(<usize>((queues + 1) * QUEUE_SIZE));
}

export function holdQueuePtr(queue: u32): usize {
  return queuesPtr + <usize>(queue * QUEUE_SIZE);
}

/** Bytes of blocks in use. */
export function holdBytes(): u32 {
  return blocksUsed << BLOCK_SHIFT;
}

/** Queues that are open. */
export function holdQueues(): u32 {
  return queuesOpen;
}

/** Opens an empty queue for a flow; 0 when none is free. */
export function holdOpen(peer: u32, flow: u32, nowUs: f64): u32 {
  let index = queuesFree;
  if (index != 0) queuesFree = changetype<HoldQueue>(holdQueuePtr(index)).newer;
  else if (queuesFresh <= queuesMax) {
    index = queuesFresh;
    queuesFresh += 1;
  } else return 0;
  queuesOpen += 1;
  const ptr = holdQueuePtr(index);
  memory.fill(ptr, 0, QUEUE_SIZE);
  const queue = changetype<HoldQueue>(ptr);
  queue.peer = peer;
  queue.flow = flow;
  queue.sinceUs = nowUs;
  return index;
}

/** Frees a queue and the packets that are left in it; returns how many those were. */
export function holdClose(index: u32): u32 {
  const queue = changetype<HoldQueue>(holdQueuePtr(index));
  const left = queue.count;
  while (queue.count > 0) dropHead(index);
  holdUnlist(index);
  queue.newer = queuesFree;
  queuesFree = index;
  queuesOpen -= 1;
  return left;
}

/**
 * Copies a packet to the end of a queue. False, and nothing changed, when the budget is used up, or this
 * flow alone would take more than a quarter of it.
 */
export function holdPush(index: u32, descriptorPtr: usize): bool {
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const queue = changetype<HoldQueue>(holdQueuePtr(index));
  const blocks = blocksFor(descriptor.len);
  if (blocksUsed + blocks > blocksMax) return false;
  if ((queue.bytes >> BLOCK_SHIFT) + blocks > blocksMax >> 2) return false;
  const first = takeBlock();
  copyIn(first, <usize>descriptor.ptr, descriptor.len);
  const held = changetype<Held>(blockPtr(first) + 8);
  held.len = descriptor.len;
  held.flags = descriptor.flags;
  held.csumStart = descriptor.csumStart;
  held.csumOffset = descriptor.csumOffset;
  held.gsoType = descriptor.gsoType;
  held.gsoSize = descriptor.gsoSize;
  held.headerLen = descriptor.headerLen;
  held.link = descriptor.link;
  held.timeUs = descriptor.timeUs;
  if (queue.count == 0) queue.head = first;
  else store<u32>(blockPtr(queue.tail), first, 4);
  queue.tail = first;
  queue.count += 1;
  queue.bytes += blocks << BLOCK_SHIFT;
  return true;
}

/** Moves the first packet of a queue to the slot of a descriptor, fields included; false when empty. */
export function holdPop(index: u32, descriptorPtr: usize): bool {
  const queue = changetype<HoldQueue>(holdQueuePtr(index));
  if (queue.count == 0) return false;
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const held = changetype<Held>(blockPtr(queue.head) + 8);
  descriptor.len = held.len;
  descriptor.flags = held.flags;
  descriptor.csumStart = held.csumStart;
  descriptor.csumOffset = held.csumOffset;
  descriptor.gsoType = held.gsoType;
  descriptor.gsoSize = held.gsoSize;
  descriptor.headerLen = held.headerLen;
  descriptor.link = held.link;
  descriptor.timeUs = held.timeUs;
  descriptor.peer = queue.peer;
  descriptor.flow = queue.flow;
  copyOut(queue.head, <usize>descriptor.ptr, held.len);
  dropHead(index);
  return true;
}

/** Appends a queue to a list, taking it out of the one it is in. */
export function holdEnlist(index: u32, list: u32): void {
  holdUnlist(index);
  const ends = LISTS + ((<usize>list) << 3);
  const queue = changetype<HoldQueue>(holdQueuePtr(index));
  const newest = load<u32>(ends, 4);
  queue.list = list;
  queue.older = newest;
  queue.newer = 0;
  if (newest != 0) changetype<HoldQueue>(holdQueuePtr(newest)).newer = index;
  else store<u32>(ends, index);
  store<u32>(ends, index, 4);
}

export function holdUnlist(index: u32): void {
  const queue = changetype<HoldQueue>(holdQueuePtr(index));
  if (queue.list == HoldList.NONE) return;
  const ends = LISTS + ((<usize>queue.list) << 3);
  if (queue.older != 0) changetype<HoldQueue>(holdQueuePtr(queue.older)).newer = queue.newer;
  else store<u32>(ends, queue.newer);
  if (queue.newer != 0) changetype<HoldQueue>(holdQueuePtr(queue.newer)).older = queue.older;
  else store<u32>(ends, queue.older, 4);
  queue.list = HoldList.NONE;
  queue.older = 0;
  queue.newer = 0;
}

/** First queue of a list, 0 when it is empty. */
export function holdOldest(list: u32): u32 {
  return load<u32>(LISTS + ((<usize>list) << 3));
}

function blocksFor(len: u32): u32 {
  const first = BLOCK_SIZE - FIRST_OFF;
  if (len <= first) return 1;
  const later = BLOCK_SIZE - LATER_OFF;
  return 1 + (len - first + later - 1) / later;
}

function blockPtr(block: u32): usize {
  return blocksPtr + ((<usize>block) << BLOCK_SHIFT);
}

function takeBlock(): u32 {
  let block = blocksFree;
  if (block != 0) blocksFree = load<u32>(blockPtr(block));
  else {
    assert(blocksFresh <= blocksMax);
    block = blocksFresh;
    blocksFresh += 1;
  }
  blocksUsed += 1;
  store<u64>(blockPtr(block), 0);
  return block;
}

function copyIn(first: u32, from: usize, len: u32): void {
  let block = first;
  let offset = FIRST_OFF;
  let at = from;
  let left = len;
  while (true) {
    const part = min<u32>(left, BLOCK_SIZE - offset);
    memory.copy(blockPtr(block) + offset, at, part);
    at += part;
    left -= part;
    if (left == 0) return;
    const next = takeBlock();
    store<u32>(blockPtr(block), next);
    block = next;
    offset = LATER_OFF;
  }
}

function copyOut(first: u32, to: usize, len: u32): void {
  let block = first;
  let offset = FIRST_OFF;
  let at = to;
  let left = len;
  while (left > 0) {
    const part = min<u32>(left, BLOCK_SIZE - offset);
    memory.copy(at, blockPtr(block) + offset, part);
    at += part;
    left -= part;
    block = load<u32>(blockPtr(block));
    offset = LATER_OFF;
  }
}

function dropHead(index: u32): void {
  const queue = changetype<HoldQueue>(holdQueuePtr(index));
  const first = queue.head;
  queue.head = load<u32>(blockPtr(first), 4);
  queue.count -= 1;
  let block = first;
  while (block != 0) {
    const next = load<u32>(blockPtr(block));
    store<u32>(blockPtr(block), blocksFree);
    blocksFree = block;
    blocksUsed -= 1;
    queue.bytes -= BLOCK_SIZE;
    block = next;
  }
}
