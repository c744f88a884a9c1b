/**
 * TIME-WAIT: a compact record of a closed connection, in a bounded pool of its own. All wait equally long, so
 * the order of entry is the order of expiry: a list, not a wheel. When the pool is full the oldest is
 * recycled and counted. Knows records; must not know blocks. RFC 9293 3.6.1, 3.10.7.4; RFC 6191; RFC 1337.
 *
 * Records are found by hash buckets. Every SYN looks here, and a record is rarely in the cache, so the link to one
 * says enough to leave it alone: bits 0 to 21 its index, bit 22 whether a link follows in it, 23 to 31 those bits of
 * its hash.
 *
 *   0 tuple 40 bytes
 *  40 sndNxt  44 rcvNxt  48 tsRecent  52 tsOffset  56 tsLastSent  60 flags
 *  64 ownerPeer  68 ownerFlow  72 hashNext  76 next  80 prev  84 window u16  86 answered u16
 *  88 expireUs u64   96 tsRecentUs u64  104 handle u32  108 state u32
 */
import { Counter, count } from "../counters";
import { Tuple, reserve } from "../layout";
import { hashTuple } from "../flow/hash";
import { zeroWords } from "../wire/bytes";
import { tupleEqual } from "../wire/tcp";

@unmanaged
export class TimeWait {
  family: u32;
  remotePort: u16;
  localPort: u16;
  remote0: u64;
  remote1: u64;
  local0: u64;
  local1: u64;
  sndNxt: u32;
  rcvNxt: u32;
  tsRecent: u32;
  tsOffset: u32;
  tsLastSent: u32;
  /** Flag bits of the block: TIMESTAMPS matters. */
  flags: u32;
  ownerPeer: u32;
  ownerFlow: u32;
  /** Link to the next record of the bucket, 0: none. */
  hashNext: u32;
  next: u32;
  prev: u32;
  /** Window field of its ACKs. */
  window: u16;
  /** 1 + the second in which a strange ACK was last answered (15 bits of it), 0: none was. */
  answered: u16;
  expireUs: u64;
  tsRecentUs: u64;
  /** Handle that the connection had. */
  handle: u32;
  /** 0: free, 1: waiting, 2: its RELEASED event waits to be polled. */
  state: u32;
}
export const TIME_WAIT_SIZE: u32 = 112;
if (offsetof<TimeWait>() != TIME_WAIT_SIZE) ERROR("TimeWait layout changed");
if (offsetof<TimeWait>("sndNxt") != sizeof<u64>() * 5) ERROR("TimeWait begins with a Tuple");
if (offsetof<Tuple>() != 40) ERROR("TimeWait begins with a Tuple");

/** Linux's TCP_TIMEWAIT_LEN: half of the 2 MSL of RFC 9293, as clients have met it for decades. */
export const TIME_WAIT_US: u64 = 60_000_000;
const WAITING: u32 = 1;
const RELEASED: u32 = 2;
/** Four buckets a record: few have two. */
const BUCKETS_SHIFT: u32 = 2;
const INDEX_MASK: u32 = 0x003fffff;
const MORE: u32 = 0x00400000;
const TAG_MASK: u32 = 0xff800000;
const HASH_NEXT_OFF: usize = offsetof<TimeWait>("hashNext");
/** Ended records beyond the limit that may wait for pollEvent. */
const DONE_MAX: u32 = 4096;

let basePtr: usize = 0;
let limit: u32 = 0;
let fresh: u32 = 1;
let freeHead: u32 = 0;
let bucketsPtr: usize = 0;
let bucketMask: u32 = 0;
/** Waiting records, oldest first. */
let waitHead: u32 = 0;
let waitTail: u32 = 0;
/** Records whose RELEASED event was not polled yet. */
let doneHead: u32 = 0;
let doneTail: u32 = 0;
let waiting: u32 = 0;

/** Between layoutBegin and layoutEnd. */
export function timeWaitReserve(records: u32): void {
  assert(records + DONE_MAX < INDEX_MASK);
  basePtr = reserve((<usize>records + DONE_MAX + 1) * TIME_WAIT_SIZE);
  let buckets: u32 = 64;
  while (buckets < records << BUCKETS_SHIFT) buckets <<= 1;
  bucketsPtr = reserve((<usize>buckets) << 2);
  bucketMask = buckets - 1;
  limit = records;
  fresh = 1;
  freeHead = 0;
  waitHead = 0;
  waitTail = 0;
  doneHead = 0;
  doneTail = 0;
  waiting = 0;
}

export function timeWaitCount(): u32 {
  return waiting;
}

export function timeWaitAt(index: u32): TimeWait {
  return changetype<TimeWait>(basePtr + <usize>index * TIME_WAIT_SIZE);
}

/** Index of the waiting record of a 4-tuple, or 0. */
export function timeWaitFind(tuplePtr: usize): u32 {
  const hash = hashTuple(tuplePtr);
  let link = load<u32>(bucketOf(hash));
  // One branch that goes the same way for nearly all: nothing is here, or something else alone.
  while (((link ^ hash) & TAG_MASK) == 0 || (link & MORE) != 0) {
    const index = link & INDEX_MASK;
    if (index == 0) return 0;
    const record = timeWaitAt(index);
    if (tupleEqual(changetype<usize>(record), tuplePtr)) return index;
    link = record.hashNext;
  }
  return 0;
}

/** A record for a 4-tuple that has none, already waiting; the caller fills in the variables. */
export function timeWaitOpen(tuplePtr: usize, now: u64): u32 {
  if (limit <= waiting) {
    count(Counter.TCP_TIME_WAIT_RECYCLED);
    timeWaitEnd(waitHead);
  }
  const index = take();
  const record = timeWaitAt(index);
  zeroWords(changetype<usize>(record), TIME_WAIT_SIZE);
  memory.copy(changetype<usize>(record), tuplePtr, offsetof<Tuple>());
  const hash = hashTuple(tuplePtr);
  const bucket = bucketOf(hash);
  const next = load<u32>(bucket);
  record.hashNext = next;
  store<u32>(bucket, index | (hash & TAG_MASK) | (next != 0 ? MORE : 0));
  waitAppend(index, now);
  waiting++;
  return index;
}

/** The peer's FIN came again: the time starts anew (RFC 9293 3.10.7.4, eighth step). */
export function timeWaitRestart(index: u32, now: u64): void {
  const record = timeWaitAt(index);
  if (record.state != WAITING) return;
  waitUnlink(record);
  waitAppend(index, now);
}

/** Ends the wait: the 4-tuple is free and RELEASED is due. */
export function timeWaitEnd(index: u32): void {
  const record = timeWaitAt(index);
  assert(record.state == WAITING);
  waitUnlink(record);
  bucketRemove(index);
  waiting--;
  record.state = RELEASED;
  record.next = 0;
  if (doneTail != 0) timeWaitAt(doneTail).next = index;
  else doneHead = index;
  doneTail = index;
}

/** Ends the wait silently: nobody is to hear of it. */
export function timeWaitForget(index: u32): void {
  const record = timeWaitAt(index);
  assert(record.state == WAITING);
  waitUnlink(record);
  bucketRemove(index);
  waiting--;
  give(index);
}

/** Ends every wait that is over. */
export function timeWaitExpire(now: u64): void {
  while (waitHead != 0 && timeWaitAt(waitHead).expireUs <= now) timeWaitEnd(waitHead);
}

/** When the next wait is over; u64.MAX_VALUE: none. */
export function timeWaitNextUs(): u64 {
  return waitHead == 0 ? u64.MAX_VALUE : timeWaitAt(waitHead).expireUs;
}

/** The record whose RELEASED event is next, 0: none. timeWaitReport takes it away. */
export function timeWaitDone(): u32 {
  return doneHead;
}

export function timeWaitReported(): void {
  const index = doneHead;
  doneHead = timeWaitAt(index).next;
  if (doneHead == 0) doneTail = 0;
  give(index);
}

function take(): u32 {
  if (freeHead == 0 && fresh <= limit + DONE_MAX) return fresh++;
  if (freeHead == 0) {
    // The host does not poll events: the oldest news is lost, so that the new one has a place.
    count(Counter.TCP_RELEASED_LOST);
    timeWaitReported();
  }
  const index = freeHead;
  freeHead = timeWaitAt(index).next;
  return index;
}

function give(index: u32): void {
  const record = timeWaitAt(index);
  record.state = 0;
  record.next = freeHead;
  freeHead = index;
}

function waitAppend(index: u32, now: u64): void {
  const record = timeWaitAt(index);
  record.state = WAITING;
  record.expireUs = now + TIME_WAIT_US;
  record.next = 0;
  record.prev = waitTail;
  if (waitTail != 0) timeWaitAt(waitTail).next = index;
  else waitHead = index;
  waitTail = index;
}

function waitUnlink(record: TimeWait): void {
  if (record.prev != 0) timeWaitAt(record.prev).next = record.next;
  else waitHead = record.next;
  if (record.next != 0) timeWaitAt(record.next).prev = record.prev;
  else waitTail = record.prev;
}

function bucketRemove(index: u32): void {
  const record = timeWaitAt(index);
  /** Where the link is that names the record which `place` is in; 0: `place` is the bucket. */
  let before: usize = 0;
  let place = bucketOf(hashTuple(changetype<usize>(record)));
  for (let link = load<u32>(place); link != 0; link = load<u32>(place)) {
    if ((link & INDEX_MASK) == index) {
      const next = record.hashNext;
      store<u32>(place, next);
      if (before != 0 && next == 0) store<u32>(before, load<u32>(before) & ~MORE);
      return;
    }
    before = place;
    place = changetype<usize>(timeWaitAt(link & INDEX_MASK)) + HASH_NEXT_OFF;
  }
  assert(false); // was never inserted
}

/** Where the first link for a hash is. */
function bucketOf(hash: u32): usize {
  return bucketsPtr + ((<usize>(hash & bucketMask)) << 2);
}
