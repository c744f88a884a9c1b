/**
 * The mapping table of a forwarder: connection -> (action, peer, flow), with what a reset needs to know of
 * the client's last segment (PROTOCOL.md R20). One table for each family, entries of 32 and 48 bytes at
 * loads of 2/3 and 3/5, so a mapping costs 48 and 80 bytes with the empty slots counted.
 *
 *   IPv4 entry, half a cache line              IPv6 entry
 *    0 remote address u32                       0 remotePort u16   2 service + 1 u16   4 zero u32
 *    4 remotePort u16   6 service + 1 u16       8 remote address 16 bytes
 *    8 value                                   24 value
 *
 * The service's index stands for local address and port. It is never 0 in an entry, so the first 8 bytes
 * of one are never zero.
 */
import { Err } from "../errors";
import { MAP_INFO, MapAction, MapInfo, TUPLE, Tuple } from "../layout";
import { Counter, count } from "../counters";
import { hash6, hashPair } from "../flow/hash";
import {
  tableAt,
  tableCapacity,
  tableClaim,
  tableCount,
  tableFull,
  tableHome,
  tableNext,
  tableRemove,
  tableReserve,
  tableSpan,
} from "../flow/table";
import { loadBe32, storeBe32 } from "../wire/bytes";
import { NO_SERVICE, Service, serviceFind, servicePtr } from "./services";

/**
 *    0 flow  u32
 *    4 owner u16   peer in bits 0 to 12, timestamps in bit 13, MapAction in bits 14 and 15
 *    6 seen  u16   seconds of the clock, modulo 65,536 (18 hours)
 *    8 segSeq   12 segAck   16 tsVal   20 tsEcr   u32, in the segment's own byte order: many are noted, few read
 */
@unmanaged
export class MapValue {
  flow: u32;
  owner: u16;
  seen: u16;
  numbers: u64;
  timestamps: u64;
}
const VALUE_SIZE: u32 = 24;
if (offsetof<MapValue>() != VALUE_SIZE) ERROR("MapValue layout changed");
const NUMBERS_OFF: usize = offsetof<MapValue>("numbers");
const TIMESTAMPS_OFF: usize = offsetof<MapValue>("timestamps");

const KEY4_SIZE: u32 = 8;
const KEY6_SIZE: u32 = 24;
export const ENTRY4_SIZE: u32 = KEY4_SIZE + VALUE_SIZE;
export const ENTRY6_SIZE: u32 = KEY6_SIZE + VALUE_SIZE;

const PEER_MASK: u32 = 0x1fff;
const TIMESTAMPS_BIT: u32 = 0x2000;
const ACTION_SHIFT: u32 = 14;

/** Empty slots of a small table, so that a search always ends. */
const SLACK_MIN: u32 = 8;

export const TABLE4: usize = memory.data(32, 8);
export const TABLE6: usize = memory.data(32, 8);

/** Between layoutBegin and layoutEnd. */
export function mappingReserve(max4: u32, max6: u32): void {
  // Whole lines, so that both slots of one may always be read.
  const slots4 = (max4 + max<u32>(max4 >> 1, SLACK_MIN) + 1) & ~1;
  tableReserve(TABLE4, ENTRY4_SIZE, max4, slots4);
  tableReserve(TABLE6, ENTRY6_SIZE, max6, max6 + max<u32>((max6 << 1) / 3, SLACK_MIN));
}

/** Where to look for an IPv4 connection; `remote` is the address's bytes as one word. */
export function mappingHome4(remote: u32, remotePort: u32, service: u32): usize {
  return tableHome(TABLE4, hashPair(remote, portsKey(remotePort, service)));
}

export function mappingHome6(remote0: u64, remote1: u64, remotePort: u32, service: u32): usize {
  return tableHome(TABLE6, hash6(remote0, remote1, 0, 0, portsKey(remotePort, service)));
}

/** Value of the connection's entry, searched from its home slot on; 0 when there is none. */
export function mappingFind4(home: usize, remote: u32, remotePort: u32, service: u32): usize {
  const key = key4(remote, remotePort, service);
  let entry = home;
  for (let found = load<u64>(entry); found != 0; found = load<u64>(entry)) {
    if (found == key) return entry + KEY4_SIZE;
    entry = tableNext(TABLE4, entry);
  }
  return 0;
}

/** The same without a branch to guess wrong for the two slots of the home line, where four of five entries are. */
export function mappingFindNear4(home: usize, remote: u32, remotePort: u32, service: u32): usize {
  const key = key4(remote, remotePort, service);
  const second = home + <usize>ENTRY4_SIZE;
  const entry = select<usize>(second, home, load<u64>(second) == key);
  if (load<u64>(entry) == key) return entry + KEY4_SIZE;
  return mappingFind4(home, remote, remotePort, service);
}

export function mappingFind6(
  home: usize,
  remote0: u64,
  remote1: u64,
  remotePort: u32,
  service: u32,
): usize {
  const key = <u64>portsKey(remotePort, service);
  let entry = home;
  for (let found = load<u64>(entry); found != 0; found = load<u64>(entry)) {
    if (found == key && load<u64>(entry, 8) == remote0 && load<u64>(entry, 16) == remote1) {
      return entry + KEY6_SIZE;
    }
    entry = tableNext(TABLE6, entry);
  }
  return 0;
}

/** MapAction of a value. */
export function valueAction(value: usize): u32 {
  return (<u32>changetype<MapValue>(value).owner) >> ACTION_SHIFT;
}

export function valuePeer(value: usize): u32 {
  return (<u32>changetype<MapValue>(value).owner) & PEER_MASK;
}

/** Notes that a segment came; `seconds` is the clock's. */
export function valueSeen(value: usize, seconds: u32): void {
  changetype<MapValue>(value).seen = <u16>seconds;
}

/**
 * Notes the numbers of the client's last segment, as tcpNumbers gives them. Of one with ACK only: one without
 * is a SYN, begins another connection, and says nothing about the one that this entry is of.
 */
export function valueNote(value: usize, numbers: u64): void {
  changetype<MapValue>(value).numbers = numbers;
}

/** Notes the timestamps of the same segment, as they stand in it. */
export function valueNoteTimestamps(value: usize, timestamps: u64): void {
  const entry = changetype<MapValue>(value);
  const owner = <u32>entry.owner;
  if ((owner & TIMESTAMPS_BIT) == 0) entry.owner = <u16>(owner | TIMESTAMPS_BIT);
  entry.timestamps = timestamps;
}

function key4(remote: u32, remotePort: u32, service: u32): u64 {
  return (<u64>remote) | ((<u64>portsKey(remotePort, service)) << 32);
}

function portsKey(remotePort: u32, service: u32): u32 {
  return remotePort | ((service + 1) << 16);
}

/** Value of the connection at TUPLE, 0 when there is none. */
export function mappingFindTuple(): usize {
  return mappingFindTuplePtr(TUPLE);
}

/** Value of the connection of a Tuple, 0 when there is none. */
export function mappingFindTuplePtr(tuplePtr: usize): usize {
  const tuple = changetype<Tuple>(tuplePtr);
  const service = serviceOf(tuplePtr);
  if (service == NO_SERVICE) return 0;
  const port = <u32>tuple.remotePort;
  if (tuple.family == 4) {
    const remote = <u32>tuple.remote0;
    return mappingFind4(mappingHome4(remote, port, service), remote, port, service);
  }
  const home = mappingHome6(tuple.remote0, tuple.remote1, port, service);
  return mappingFind6(home, tuple.remote0, tuple.remote1, port, service);
}

function serviceOf(tuplePtr: usize): u32 {
  const tuple = changetype<Tuple>(tuplePtr);
  const isV4 = tuple.family == 4;
  const word0 = isV4 ? <u64>(<u32>tuple.local0) : tuple.local0;
  return serviceFind(tuple.family, word0, isV4 ? 0 : tuple.local1, <u32>tuple.localPort);
}

/**
 * Makes or changes the mapping of the connection at TUPLE; what is known of the client's last segment
 * stays. Err.NOT_FOUND when the tuple's local address is no service's, Err.FULL.
 */
export function mapSet(action: u32, peer: u32, flow: u32, nowUs: f64): i32 {
  let value = mappingFindTuple();
  if (value == 0) {
    const service = serviceOf(TUPLE);
    if (service == NO_SERVICE) return Err.NOT_FOUND;
    value = claim(service);
    if (value == 0) {
      count(Counter.MAPPINGS_FULL);
      return Err.FULL;
    }
    changetype<MapValue>(value).seen = <u16>(<u32>(<u64>(nowUs / 1_000_000)));
  }
  const entry = changetype<MapValue>(value);
  entry.flow = flow;
  const timestamps = (<u32>entry.owner) & TIMESTAMPS_BIT;
  entry.owner = <u16>(peer | timestamps | (action << ACTION_SHIFT));
  return Err.OK;
}

function claim(service: u32): usize {
  const tuple = changetype<Tuple>(TUPLE);
  const port = <u32>tuple.remotePort;
  const isV4 = tuple.family == 4;
  if (tableFull(isV4 ? TABLE4 : TABLE6)) return 0;
  const holder = changetype<Service>(servicePtr(service));
  holder.mappings += 1;
  if (isV4) {
    const remote = <u32>tuple.remote0;
    const entry = tableClaim(TABLE4, hashPair(remote, portsKey(port, service)));
    store<u64>(entry, key4(remote, port, service));
    return entry + KEY4_SIZE;
  }
  const hash = hash6(tuple.remote0, tuple.remote1, 0, 0, portsKey(port, service));
  const entry = tableClaim(TABLE6, hash);
  store<u64>(entry, <u64>portsKey(port, service));
  store<u64>(entry, tuple.remote0, 8);
  store<u64>(entry, tuple.remote1, 16);
  return entry + KEY6_SIZE;
}

/** Removes the mapping of the connection at TUPLE. */
export function mapDelete(): i32 {
  const value = mappingFindTuple();
  if (value == 0) return Err.NOT_FOUND;
  const holder = changetype<Service>(servicePtr(serviceOf(TUPLE)));
  holder.mappings -= 1;
  if (changetype<Tuple>(TUPLE).family == 4) tableRemove(TABLE4, value - KEY4_SIZE, hashOfEntry4);
  else tableRemove(TABLE6, value - KEY6_SIZE, hashOfEntry6);
  return Err.OK;
}

function hashOfEntry4(entry: usize): u32 {
  return hashPair(load<u32>(entry), load<u32>(entry, 4));
}

function hashOfEntry6(entry: usize): u32 {
  return hash6(load<u64>(entry, 8), load<u64>(entry, 16), 0, 0, load<u32>(entry));
}

/** Fills MAP_INFO for the connection at TUPLE; `nowUs` resolves the second it was last seen in. */
export function mapGet(nowUs: f64): i32 {
  const value = mappingFindTuple();
  if (value == 0) return Err.NOT_FOUND;
  fillInfo(value, nowUs);
  return Err.OK;
}

function fillInfo(value: usize, nowUs: f64): void {
  const entry = changetype<MapValue>(value);
  const info = changetype<MapInfo>(MAP_INFO);
  const seconds = <u32>(<u64>(nowUs / 1_000_000));
  const age = (seconds - <u32>entry.seen) & 0xffff;
  info.action = valueAction(value);
  info.peer = valuePeer(value);
  info.flow = entry.flow;
  info.timestamps = ((<u32>entry.owner) & TIMESTAMPS_BIT) != 0 ? 1 : 0;
  info.segSeq = loadBe32(value + NUMBERS_OFF);
  info.segAck = loadBe32(value + NUMBERS_OFF + 4);
  info.tsVal = loadBe32(value + TIMESTAMPS_OFF);
  info.tsEcr = loadBe32(value + TIMESTAMPS_OFF + 4);
  info.seenUs = <f64>(seconds - age) * 1_000_000;
}

/**
 * Copies segAck, segSeq, timestamps, tsVal and tsEcr of MAP_INFO into the entry of the connection at
 * TUPLE: for a forwarder that knows them from a message and has seen no packet itself.
 */
export function mapNote(): i32 {
  const value = mappingFindTuple();
  if (value == 0) return Err.NOT_FOUND;
  const info = changetype<MapInfo>(MAP_INFO);
  const entry = changetype<MapValue>(value);
  storeBe32(value + NUMBERS_OFF, info.segSeq);
  storeBe32(value + NUMBERS_OFF + 4, info.segAck);
  storeBe32(value + TIMESTAMPS_OFF, info.tsVal);
  storeBe32(value + TIMESTAMPS_OFF + 4, info.tsEcr);
  const owner = (<u32>entry.owner) & ~TIMESTAMPS_BIT;
  entry.owner = <u16>(owner | (info.timestamps != 0 ? TIMESTAMPS_BIT : 0));
  return Err.OK;
}

/**
 * Walks all mappings in bounded steps: looks at up to `steps` slots from `cursor` (0 to begin) on and stops
 * at the first entry, which it writes to TUPLE and MAP_INFO. MAP_INFO's action is NONE when it found none.
 * @returns the cursor to continue with, 0 at the end. Entries that a deletion moves meanwhile may be seen
 *   twice or missed once; a later walk sees them.
 */
export function mapScan(cursor: u32, steps: u32, nowUs: f64): u32 {
  changetype<MapInfo>(MAP_INFO).action = MapAction.NONE;
  const capacity4 = tableCapacity(TABLE4);
  const end = capacity4 + tableCapacity(TABLE6);
  let slot = cursor;
  for (let step: u32 = 0; step < steps && slot < end; step++) {
    const isV4 = slot < capacity4;
    const entry = isV4 ? tableAt(TABLE4, slot) : tableAt(TABLE6, slot - capacity4);
    slot += 1;
    if (load<u64>(entry) == 0) continue;
    fillTuple(entry, isV4);
    fillInfo(entry + <usize>(isV4 ? KEY4_SIZE : KEY6_SIZE), nowUs);
    break;
  }
  return slot < end ? slot : 0;
}

/**
 * Turns every mapping to `peer` into a tombstone that keeps its peer and flow; returns how many. One pass
 * over the whole table, which takes milliseconds: from here on no packet reaches that peer.
 */
export function mapBury(peer: u32): u32 {
  return buryIn(TABLE4, KEY4_SIZE, peer) + buryIn(TABLE6, KEY6_SIZE, peer);
}

function buryIn(table: usize, keySize: u32, peer: u32): u32 {
  const capacity = tableCapacity(table);
  let buried: u32 = 0;
  for (let slot: u32 = 0; slot < capacity; slot++) {
    const entry = tableAt(table, slot);
    if (load<u64>(entry) == 0) continue;
    const value = entry + <usize>keySize;
    if (valuePeer(value) != peer || valueAction(value) == MapAction.TOMB) continue;
    const owner = (<u32>changetype<MapValue>(value).owner) & (PEER_MASK | TIMESTAMPS_BIT);
    changetype<MapValue>(value).owner = <u16>(owner | (MapAction.TOMB << ACTION_SHIFT));
    buried += 1;
  }
  return buried;
}

function fillTuple(entry: usize, isV4: bool): void {
  const tuple = changetype<Tuple>(TUPLE);
  const ports = isV4 ? load<u32>(entry, 4) : load<u32>(entry);
  const service = changetype<Service>(servicePtr((ports >> 16) - 1));
  tuple.family = isV4 ? 4 : 6;
  tuple.remotePort = <u16>ports;
  tuple.localPort = <u16>service.port;
  tuple.remote0 = isV4 ? <u64>load<u32>(entry) : load<u64>(entry, 8);
  tuple.remote1 = isV4 ? 0 : load<u64>(entry, 16);
  tuple.local0 = service.address0;
  tuple.local1 = service.address1;
}

/** Where the table of a family lies, to SPAN. */
export function mappingSpan(family: u32): void {
  tableSpan(family == 4 ? TABLE4 : TABLE6);
}

/** Entries of the table of a family. */
export function mappingCount(family: u32): u32 {
  return tableCount(family == 4 ? TABLE4 : TABLE6);
}
