/**
 * The encapsulation mapping table: (peer, flow) -> connection, with the flow's state (PROTOCOL.md section
 * 4). One cache line for each record, with a copy of the 4-tuple, so that de-encapsulation touches nothing
 * else. Ended records are forgotten after T_RECORD in the order in which they ended. Knows records; must
 * not know what a change of state does to packets.
 *
 *    0 flow u32   4 peer u16   6 state u8   7 family u8 (0: the tuple is not known)
 *    8 tuple: see Tuple, from its port fields on in another order
 *    8 remote 16 bytes   24 local 16 bytes   40 remotePort u16   42 localPort u16
 *   44 handle u32   48 queue u32 (hold.ts; 0 none)   52 flags u32   56 endedUs f64
 */
import { RecordState, TUPLE, Tuple, reserve } from "../layout";
import { Counter, count } from "../counters";
import { EXPIRE_STEPS_MAX, RECORD_US } from "../limits";
import { hashPair } from "../flow/hash";
import { expiryOldestUs, expiryPop, expiryPush, expiryReserve } from "../flow/expiry";
import {
  tableAt,
  tableCapacity,
  tableClaim,
  tableFull,
  tableHome,
  tableNext,
  tableRemove,
  tableReserve,
  tableSpan,
} from "../flow/table";

@unmanaged
export class Record {
  flow: u32;
  peer: u16;
  state: u8;
  family: u8;
  remote0: u64;
  remote1: u64;
  local0: u64;
  local1: u64;
  remotePort: u16;
  localPort: u16;
  handle: u32;
  /** Queue of packets that wait for this flow. */
  queue: u32;
  /** Bits of RecordFlag. */
  flags: u32;
  /** When it became MOVED, CLOSED or POISONED. */
  endedUs: f64;
}
export const RECORD_SIZE: u32 = 64;
if (offsetof<Record>() != RECORD_SIZE) ERROR("Record layout changed");

export enum RecordFlag {
  /** FROZEN, and the forwarder has acknowledged MOVE: segments go back to it. */
  PASS = 1,
}

const KEY_MASK: u64 = 0x0000ffffffffffff;
const TABLE: usize = memory.data(32, 8);
const ENDED: usize = memory.data(16, 8);

let recordsMax: u32 = 0;
/** Records that are not NONE. */
let recordsHeld: u32 = 0;
/** Stamp of the latest end. */
let lastEndUs: f64 = 0;

/**
 * Between layoutBegin and layoutEnd.
 * @param max   records of flows that are or were here
 * @param early further entries of state NONE, for flows whose packets came first
 */
export function recordsReserve(max: u32, early: u32): void {
  recordsMax = max;
  recordsHeld = 0;
  const limit = max + early;
  tableReserve(TABLE, RECORD_SIZE, limit, limit + (limit >> 1) + 8);
  expiryReserve(ENDED, max);
}

export function recordHome(peer: u32, flow: u32): usize {
  return tableHome(TABLE, hashPair(flow, peer));
}

/** The record searched from its home slot on, 0 when there is none. Valid until a record is removed. */
export function recordFind(home: usize, peer: u32, flow: u32): usize {
  const key = keyOf(peer, flow);
  let entry = home;
  for (let found = load<u64>(entry); found != 0; found = load<u64>(entry)) {
    if ((found & KEY_MASK) == key) return entry;
    entry = tableNext(TABLE, entry);
  }
  return 0;
}

/** The same without a branch to guess wrong for the first two slots, where four of five records are. */
export function recordFindNear(home: usize, peer: u32, flow: u32): usize {
  const key = keyOf(peer, flow);
  const second = tableNext(TABLE, home);
  const entry = select<usize>(second, home, (load<u64>(second) & KEY_MASK) == key);
  if ((load<u64>(entry) & KEY_MASK) == key) return entry;
  return recordFind(home, peer, flow);
}

/** A new record of state NONE; 0 when the table is full. The flow must not be present. */
export function recordInsert(peer: u32, flow: u32): usize {
  if (tableFull(TABLE)) return 0;
  const entry = tableClaim(TABLE, hashPair(flow, peer));
  store<u64>(entry, keyOf(peer, flow));
  return entry;
}

export function recordRemove(entry: usize): void {
  if (changetype<Record>(entry).state != RecordState.NONE) recordsHeld -= 1;
  tableRemove(TABLE, entry, hashOfEntry);
}

/** True when one more record may leave the state NONE. */
export function recordRoom(): bool {
  return recordsHeld < recordsMax;
}

export function recordStateOf(entry: usize): u32 {
  return <u32>changetype<Record>(entry).state;
}

/** True for MOVED, CLOSED and POISONED. */
export function isEnded(state: u32): bool {
  return state >= <u32>RecordState.MOVED;
}

/**
 * Sets the state field and keeps the books: the count of records, and the time of the end (an ended record
 * that changes to another ended state keeps its time). The caller checked recordRoom and the transition.
 */
export function recordMark(entry: usize, state: u32, nowUs: f64): void {
  const record = changetype<Record>(entry);
  const before = <u32>record.state;
  if (before == RecordState.NONE && state != RecordState.NONE) recordsHeld += 1;
  record.state = <u8>state;
  record.flags = 0;
  if (isEnded(state) && !isEnded(before)) {
    // No two ends have the same stamp, so that one of a removed record is never taken for a later one.
    lastEndUs = nowUs > lastEndUs ? nowUs : lastEndUs + 1;
    record.endedUs = lastEndUs;
    const key = load<u64>(entry) & KEY_MASK;
    while (!expiryPush(ENDED, key, lastEndUs)) evictOldest(); // which may move this entry
  }
}

/** The ring is as long as the table, so it is full only of keys that were removed and ended again. */
function evictOldest(): void {
  const stampUs = expiryOldestUs(ENDED);
  const entry = entryOfKey(expiryPop(ENDED));
  if (entry == 0 || changetype<Record>(entry).endedUs != stampUs) return;
  if (!isEnded(recordStateOf(entry))) return;
  count(Counter.RECORDS_EVICTED);
  recordRemove(entry);
}

/** Forgets records that ended T_RECORD ago, a bounded number at a time. */
export function recordsExpire(nowUs: f64): void {
  for (let step: u32 = 0; step < EXPIRE_STEPS_MAX; step++) {
    const stampUs = expiryOldestUs(ENDED);
    if (stampUs + RECORD_US > nowUs) return;
    const entry = entryOfKey(expiryPop(ENDED));
    if (entry == 0 || !isEnded(recordStateOf(entry))) continue;
    if (changetype<Record>(entry).endedUs != stampUs) continue; // removed, and ended again later
    count(Counter.RECORDS_EXPIRED);
    recordRemove(entry);
  }
}

/** When recordsExpire has work, Infinity when it has none. */
export function recordsNextUs(): f64 {
  return expiryOldestUs(ENDED) + RECORD_US;
}

/** Where the table lies, to SPAN. */
export function recordsSpan(): void {
  tableSpan(TABLE);
}

/** Records that are not NONE. */
export function recordsCount(): u32 {
  return recordsHeld;
}

/** Copies the 4-tuple into a record. */
export function recordTupleSet(entry: usize, tuplePtr: usize): void {
  const record = changetype<Record>(entry);
  const tuple = changetype<Tuple>(tuplePtr);
  record.family = <u8>tuple.family;
  record.remote0 = tuple.remote0;
  record.remote1 = tuple.remote1;
  record.local0 = tuple.local0;
  record.local1 = tuple.local1;
  record.remotePort = tuple.remotePort;
  record.localPort = tuple.localPort;
}

/** Copies the 4-tuple of a record out; false when it is not known. */
export function recordTupleGet(entry: usize, tuplePtr: usize): bool {
  const record = changetype<Record>(entry);
  const tuple = changetype<Tuple>(tuplePtr);
  if (record.family == 0) return false;
  tuple.family = <u32>record.family;
  tuple.remote0 = record.remote0;
  tuple.remote1 = record.remote1;
  tuple.local0 = record.local0;
  tuple.local1 = record.local1;
  tuple.remotePort = record.remotePort;
  tuple.localPort = record.localPort;
  return true;
}

/**
 * Walks the table from slot `cursor` on, `steps` slots at most, to the next record that is not NONE: peer and
 * flow go to spanPtr, the tuple to TUPLE. Peer 0: none was found.
 * @returns the next cursor, 0 at the end
 */
export function recordScan(cursor: u32, steps: u32, spanPtr: usize): u32 {
  store<u32>(spanPtr, 0);
  const capacity = tableCapacity(TABLE);
  let slot = cursor;
  for (let step: u32 = 0; step < steps && slot < capacity; step++) {
    const entry = tableAt(TABLE, slot);
    slot += 1;
    if (load<u64>(entry) == 0 || recordStateOf(entry) == RecordState.NONE) continue;
    const record = changetype<Record>(entry);
    store<u32>(spanPtr, <u32>record.peer);
    store<u32>(spanPtr, record.flow, 4);
    if (!recordTupleGet(entry, TUPLE)) changetype<Tuple>(TUPLE).family = 0;
    break;
  }
  return slot < capacity ? slot : 0;
}

function keyOf(peer: u32, flow: u32): u64 {
  return (<u64>flow) | ((<u64>peer) << 32);
}

function entryOfKey(key: u64): usize {
  const flow = <u32>key;
  const peer = <u32>(key >> 32);
  return recordFind(recordHome(peer, flow), peer, flow);
}

function hashOfEntry(entry: usize): u32 {
  return hashPair(load<u32>(entry), <u32>load<u16>(entry, 4));
}
