/**
 * The room encap/ knows tunnel addresses, peers, service addresses, the mapping table, flow records and
 * early packets: where each packet goes. It must not know what TCP does with one.
 *
 * This file: this node's tunnel addresses and its peers', by index and by address. A packet to a tunnel
 * address is believed only if its source is a peer's (DESIGN section 4).
 */
import { Err } from "../errors";
import { PEERS_MAX } from "../limits";
import { reserve } from "../layout";
import { sum64 } from "../wire/checksum";
import { hashAddress } from "../flow/hash";
import {
  TABLE_SIZE,
  tableClaim,
  tableHome,
  tableNext,
  tableRemove,
  tableReserve,
} from "../flow/table";

/**
 * Address words as they stand in memory; flags tell which families are set.
 *
 *    0 address4  u32     4 has4, 5 has6  u8
 *    8 sum4      u64   checksum words of own and peer's address, what encapsulation adds
 *   16 address6  2 u64
 *   32 sum6      u64
 */
@unmanaged
export class Peer {
  address4: u32;
  has4: u8;
  has6: u8;
  pad: u16;
  sum4: u64;
  address60: u64;
  address61: u64;
  sum6: u64;
}
export const PEER_SIZE: u32 = 40;
if (offsetof<Peer>() != PEER_SIZE) ERROR("Peer layout changed");

/** By address:  0 peer u32 (never 0)   4 family u32   8 address 16 bytes, IPv4 in the first four */
const ENTRY_SIZE: u32 = 24;
const TABLE: usize = memory.data(32, 8);
if (TABLE_SIZE != 32) ERROR("Table layout changed");

let peersPtr: usize = 0;
let own4: u32 = 0;
let own60: u64 = 0;
let own61: u64 = 0;
/** Entry of the last hit: most nodes hear from few peers. Its key is compared again, so it may be stale. */
let lastEntry: usize = 0;

/** Between layoutBegin and layoutEnd. */
export function peersReserve(): void {
  peersPtr = reserve(<usize>(PEERS_MAX * PEER_SIZE));
  tableReserve(TABLE, ENTRY_SIZE, 2 * PEERS_MAX, 4 * PEERS_MAX);
  lastEntry = tableHome(TABLE, 0);
}

/** A record of `peer` < PEERS_MAX; which families are set stands in it. */
export function peerPtr(peer: u32): usize {
  return peersPtr + <usize>(peer * PEER_SIZE);
}

/** True when `address` (its bytes as one word) is this node's IPv4 tunnel address. */
export function isOwn4(address: u32): bool {
  return address == own4 && address != 0;
}

export function isOwn6(address0: u64, address1: u64): bool {
  return address1 == own61 && address0 == own60 && (address0 | address1) != 0;
}

/** Sets this node's tunnel address of a family; addressPtr has 4 or 16 bytes; all zero removes it. */
export function tunnelSet(family: u32, addressPtr: usize): i32 {
  if (family == 4) own4 = load<u32>(addressPtr);
  else {
    own60 = load<u64>(addressPtr);
    own61 = load<u64>(addressPtr, 8);
  }
  for (let peer: u32 = 1; peer < PEERS_MAX; peer++) refreshSums(peer);
  return Err.OK;
}

/** Sets a peer's tunnel address. Err.EXISTS when another peer has it, ARGUMENT when it is zero. */
export function peerSet(peer: u32, family: u32, addressPtr: usize): i32 {
  const word0 = family == 4 ? <u64>load<u32>(addressPtr) : load<u64>(addressPtr);
  const word1 = family == 4 ? 0 : load<u64>(addressPtr, 8);
  if ((word0 | word1) == 0) return Err.ARGUMENT;
  const holder = peerFind(family, word0, word1);
  if (holder == peer) return Err.OK;
  if (holder != 0) return Err.EXISTS;
  forget(peer, family);
  const ptr = peerPtr(peer);
  const record = changetype<Peer>(ptr);
  if (family == 4) {
    record.address4 = <u32>word0;
    record.has4 = 1;
  } else {
    record.address60 = word0;
    record.address61 = word1;
    record.has6 = 1;
  }
  const entry = tableClaim(TABLE, hashAddress(word0, word1, family));
  store<u32>(entry, peer);
  store<u32>(entry, family, 4);
  store<u64>(entry, word0, 8);
  store<u64>(entry, word1, 16);
  refreshSums(peer);
  return Err.OK;
}

/** Removes a peer's addresses; its records and mappings stay, their packets are dropped and counted. */
export function peerClear(peer: u32): i32 {
  const record = changetype<Peer>(peerPtr(peer));
  if (record.has4 == 0 && record.has6 == 0) return Err.NOT_FOUND;
  forget(peer, 4);
  forget(peer, 6);
  return Err.OK;
}

/** What peerFind gave last, if it has this address; else 0: most packets are from one peer. */
export function peerLast(family: u32, word0: u64, word1: u64): u32 {
  const entry = lastEntry;
  return matches(entry, family, word0, word1) ? load<u32>(entry) : 0;
}

/** The peer that has this tunnel address, 0 for nobody. IPv4: word1 is 0. */
export function peerFind(family: u32, word0: u64, word1: u64): u32 {
  let entry = lastEntry;
  if (matches(entry, family, word0, word1)) return load<u32>(entry);
  entry = tableHome(TABLE, hashAddress(word0, word1, family));
  while (load<u64>(entry) != 0) {
    if (matches(entry, family, word0, word1)) {
      lastEntry = entry;
      return load<u32>(entry);
    }
    entry = tableNext(TABLE, entry);
  }
  return 0;
}

function matches(entry: usize, family: u32, word0: u64, word1: u64): bool {
  return (
    load<u64>(entry, 8) == word0 && load<u64>(entry, 16) == word1 && load<u32>(entry, 4) == family
  );
}

function forget(peer: u32, family: u32): void {
  const record = changetype<Peer>(peerPtr(peer));
  if ((family == 4 ? record.has4 : record.has6) == 0) return;
  const word0 = family == 4 ? <u64>record.address4 : record.address60;
  const word1 = family == 4 ? 0 : record.address61;
  let entry = tableHome(TABLE, hashAddress(word0, word1, family));
  while (!matches(entry, family, word0, word1)) entry = tableNext(TABLE, entry);
  tableRemove(TABLE, entry, hashOfEntry);
  if (family == 4) record.has4 = 0;
  else record.has6 = 0;
}

function hashOfEntry(entry: usize): u32 {
  return hashAddress(load<u64>(entry, 8), load<u64>(entry, 16), load<u32>(entry, 4));
}

function refreshSums(peer: u32): void {
  const record = changetype<Peer>(peerPtr(peer));
  record.sum4 = <u64>own4 + <u64>record.address4;
  record.sum6 = sum64(own60) + sum64(own61) + sum64(record.address60) + sum64(record.address61);
}

/** Copies this node's tunnel address of a family to a packet's source field. */
export function ownAddress4(): u32 {
  return own4;
}

export function ownAddress60(): u64 {
  return own60;
}

export function ownAddress61(): u64 {
  return own61;
}
