/**
 * Service addresses (address and port that clients connect to), by index and by address. A removed service
 * takes no new connection, but its packets are still looked up: existing connections stay. Its index is
 * given to another address only after its last mapping is gone and no fresh index is left.
 */
import { Err } from "../errors";
import { SERVICES_MAX } from "../limits";
import { reserve } from "../layout";
import { hashAddress } from "../flow/hash";
import {
  TABLE_SIZE,
  tableClaim,
  tableHome,
  tableNext,
  tableRemove,
  tableReserve,
} from "../flow/table";

export enum ServiceFlag {
  /** The own stack accepts connections here. */
  LISTEN = 1,
  /** It agrees to ECN with clients that ask for it (RFC 3168). */
  ECN = 2,
}

export enum ServiceState {
  FREE = 0,
  OPEN = 1,
  REMOVED = 2,
}

/**
 *    0 family u32   4 port u32 (host byte order)   8 address 2 u64, IPv4 in the first four bytes
 *   24 flags u32   28 mss u32   32 mappings u32   36 state u32
 */
@unmanaged
export class Service {
  family: u32;
  port: u32;
  address0: u64;
  address1: u64;
  flags: u32;
  mss: u32;
  /** Entries of the mapping table that name this service in their key. */
  mappings: u32;
  state: u32;
}
export const SERVICE_SIZE: u32 = 40;
if (offsetof<Service>() != SERVICE_SIZE) ERROR("Service layout changed");

/** By address:  0 service + 1 u32   4 family << 16 | port u32   8 address 16 bytes */
const ENTRY_SIZE: u32 = 24;
const TABLE: usize = memory.data(32, 8);
if (TABLE_SIZE != 32) ERROR("Table layout changed");

/** What serviceFind returns for an address that is no service's. */
export const NO_SERVICE: u32 = 0xffffffff;

let servicesPtr: usize = 0;
let lastEntry: usize = 0;

/** Between layoutBegin and layoutEnd. */
export function servicesReserve(): void {
  servicesPtr = reserve(<usize>(SERVICES_MAX * SERVICE_SIZE));
  tableReserve(TABLE, ENTRY_SIZE, SERVICES_MAX, 2 * SERVICES_MAX);
  lastEntry = tableHome(TABLE, 0);
}

/** Service `service` < SERVICES_MAX. */
export function servicePtr(service: u32): usize {
  return servicesPtr + <usize>(service * SERVICE_SIZE);
}

/**
 * Adds a service, or opens a removed one again under its old index.
 * @param addressPtr 4 or 16 bytes
 * @returns its index, Err.EXISTS while it is open, Err.FULL
 */
export function serviceAdd(family: u32, addressPtr: usize, port: u32, mss: u32, flags: u32): i32 {
  const word0 = family == 4 ? <u64>load<u32>(addressPtr) : load<u64>(addressPtr);
  const word1 = family == 4 ? 0 : load<u64>(addressPtr, 8);
  if ((word0 | word1) == 0) return Err.ARGUMENT;
  let index = serviceFind(family, word0, word1, port);
  if (index != NO_SERVICE) {
    if (changetype<Service>(servicePtr(index)).state == ServiceState.OPEN) return Err.EXISTS;
  } else {
    index = takeIndex();
    if (index == NO_SERVICE) return Err.FULL;
    const entry = tableClaim(TABLE, hashAddress(word0, word1, keyOf(family, port)));
    store<u32>(entry, index + 1);
    store<u32>(entry, keyOf(family, port), 4);
    store<u64>(entry, word0, 8);
    store<u64>(entry, word1, 16);
  }
  const service = changetype<Service>(servicePtr(index));
  service.family = family;
  service.port = port;
  service.address0 = word0;
  service.address1 = word1;
  service.flags = flags;
  service.mss = mss;
  service.state = ServiceState.OPEN;
  return <i32>index;
}

/** Err.NOT_FOUND when it takes no new connection. */
export function serviceMss(index: u32, mss: u32): i32 {
  const service = changetype<Service>(servicePtr(index));
  if (service.state != ServiceState.OPEN) return Err.NOT_FOUND;
  service.mss = mss;
  return Err.OK;
}

/** Takes no new connection from now on; Err.NOT_FOUND. */
export function serviceRemove(index: u32): i32 {
  const service = changetype<Service>(servicePtr(index));
  if (service.state != ServiceState.OPEN) return Err.NOT_FOUND;
  service.state = ServiceState.REMOVED;
  service.flags = 0;
  return Err.OK;
}

/** What serviceFind gave last, if it has this address; else NO_SERVICE: most packets are for one service. */
export function serviceLast(family: u32, word0: u64, word1: u64, port: u32): u32 {
  const entry = lastEntry;
  return matches(entry, keyOf(family, port), word0, word1) ? load<u32>(entry) - 1 : NO_SERVICE;
}

/** Index of the service with this address, removed ones included; NO_SERVICE. IPv4: word1 is 0. */
export function serviceFind(family: u32, word0: u64, word1: u64, port: u32): u32 {
  const key = keyOf(family, port);
  let entry = lastEntry;
  if (matches(entry, key, word0, word1)) return load<u32>(entry) - 1;
  entry = tableHome(TABLE, hashAddress(word0, word1, key));
  while (load<u64>(entry) != 0) {
    if (matches(entry, key, word0, word1)) {
      lastEntry = entry;
      return load<u32>(entry) - 1;
    }
    entry = tableNext(TABLE, entry);
  }
  return NO_SERVICE;
}

function keyOf(family: u32, port: u32): u32 {
  return (family << 16) | port;
}

function matches(entry: usize, key: u32, word0: u64, word1: u64): bool {
  return (
    load<u64>(entry, 8) == word0 && load<u32>(entry, 4) == key && load<u64>(entry, 16) == word1
  );
}

/** A fresh index, or that of a removed service without mappings. */
function takeIndex(): u32 {
  for (let index: u32 = 0; index < SERVICES_MAX; index++) {
    if (changetype<Service>(servicePtr(index)).state == ServiceState.FREE) return index;
  }
  for (let index: u32 = 0; index < SERVICES_MAX; index++) {
    const service = changetype<Service>(servicePtr(index));
    if (service.state != ServiceState.REMOVED || service.mappings != 0) continue;
    const key = keyOf(service.family, service.port);
    let entry = tableHome(TABLE, hashAddress(service.address0, service.address1, key));
    while (!matches(entry, key, service.address0, service.address1)) {
      entry = tableNext(TABLE, entry);
    }
    tableRemove(TABLE, entry, hashOfEntry);
    return index;
  }
  return NO_SERVICE;
}

function hashOfEntry(entry: usize): u32 {
  return hashAddress(load<u64>(entry, 8), load<u64>(entry, 16), load<u32>(entry, 4));
}
