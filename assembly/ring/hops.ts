/**
 * Which MAC address a destination has: a list of prefixes, the first that fits decides, and a cache of answers
 * before it. Knows addresses as bytes; must not know where the list came from, nor frames.
 */
import { Err } from "../errors";
import { reserve } from "../layout";
import { HOPS_MAX } from "../limits";

/**
 * One prefix. Addresses as they lie in a packet.
 *
 *    0 address0  u64   masked; IPv4 in the low four bytes
 *    8 address1  u64
 *   16 mask0     u64
 *   24 mask1     u64
 *   32 family    u32   4 or 6
 *   36 resolved  u32   1: the MAC address is known
 *   40 used      u32   1: a packet asked for it since hopUsed
 *   44 macLow    u32   bytes 0 to 3 of the MAC address
 *   48 macHigh   u32   bytes 4 and 5
 *   52 reserved  u32
 */
@unmanaged
export class Hop {
  address0: u64;
  address1: u64;
  mask0: u64;
  mask1: u64;
  family: u32;
  resolved: u32;
  used: u32;
  macLow: u32;
  macHigh: u32;
  reserved: u32;
}
const HOP_SIZE: usize = 56;
if (offsetof<Hop>() != HOP_SIZE) ERROR("Hop layout changed");

/** An answer: which entry of the list an address got, as long as `version` is that of the list. */
@unmanaged
class Answer {
  address0: u64;
  address1: u64;
  hop: u32;
  version: u32;
}
const ANSWER_SIZE: usize = 24;
if (offsetof<Answer>() != ANSWER_SIZE) ERROR("Answer layout changed");
const ANSWERS: usize = 256;
const ANSWER_SHIFT: u64 = 56;

let hops: usize = 0;
let answers: usize = 0;
let hopCount: u32 = 0;
/** Even for the list's own life, plus 1 for IPv6: an answer of the other family is none. 0: no answer. */
let version: u32 = 2;

/** Between layoutBegin and layoutEnd. */
export function hopsReserve(): void {
  hops = reserve(HOP_SIZE * <usize>HOPS_MAX);
  answers = reserve(ANSWER_SIZE * ANSWERS);
}

/** Empties the list: no destination has a next hop. */
export function hopsClear(): void {
  hopCount = 0;
  version += 2;
  if (version >= 0xfffffff0) {
    version = 2;
    if (answers != 0) memory.fill(answers, 0, ANSWER_SIZE * ANSWERS);
  }
}

/**
 * Appends a prefix.
 * @param addressPtr  4 or 16 bytes
 * @param macPtr      6 bytes, or 0: not resolved
 * @returns its index, or Err.FULL
 */
export function hopsAdd(family: u32, addressPtr: usize, length: u32, macPtr: usize): i32 {
  if (hopCount >= HOPS_MAX) return Err.FULL;
  const hop = changetype<Hop>(hops + <usize>hopCount * HOP_SIZE);
  const isV4 = family == 4;
  hop.mask0 = maskOf(min<u32>(length, 64));
  hop.mask1 = isV4 || length <= 64 ? 0 : maskOf(length - 64);
  hop.address0 = (isV4 ? <u64>load<u32>(addressPtr) : load<u64>(addressPtr)) & hop.mask0;
  hop.address1 = isV4 ? 0 : load<u64>(addressPtr, 8) & hop.mask1;
  hop.family = family;
  hop.resolved = macPtr != 0 ? 1 : 0;
  hop.used = 0;
  hop.macLow = macPtr != 0 ? load<u32>(macPtr) : 0;
  hop.macHigh = macPtr != 0 ? <u32>load<u16>(macPtr, 4) : 0;
  hop.reserved = 0;
  hopCount += 1;
  return <i32>(hopCount - 1);
}

/** Whether packets asked for entry `index` since the last such question. */
export function hopsUsed(index: u32): bool {
  if (index >= hopCount) return false;
  const hop = changetype<Hop>(hops + <usize>index * HOP_SIZE);
  const used = hop.used != 0;
  hop.used = 0;
  return used;
}

/** The entry for the destination of the packet at `ptr`, at least 40 bytes readable; 0: none, or not resolved. */
export function hopFind(ptr: usize): usize {
  const isV4 = load<u8>(ptr) >> 4 == 4;
  const address0 = isV4 ? <u64>load<u32>(ptr, 16) : load<u64>(ptr, 24);
  const address1: u64 = isV4 ? 0 : load<u64>(ptr, 32);
  const now = version + (isV4 ? 0 : 1);
  const mixed = (address0 ^ (address1 * 0x9e3779b97f4a7c15)) * 0xff51afd7ed558ccd;
  const answer = changetype<Answer>(answers + <usize>(mixed >> ANSWER_SHIFT) * ANSWER_SIZE);
  if (answer.version != now || answer.address0 != address0 || answer.address1 != address1) {
    answer.version = now;
    answer.address0 = address0;
    answer.address1 = address1;
    answer.hop = <u32>search(isV4 ? 4 : 6, address0, address1);
  }
  if (answer.hop == 0) return 0;
  const hop = changetype<Hop>(<usize>answer.hop);
  hop.used = 1;
  return hop.resolved != 0 ? <usize>answer.hop : 0;
}

function search(family: u32, address0: u64, address1: u64): usize {
  for (let index: u32 = 0; index < hopCount; index++) {
    const ptr = hops + <usize>index * HOP_SIZE;
    const hop = changetype<Hop>(ptr);
    if (
      hop.family == family &&
      (address0 & hop.mask0) == hop.address0 &&
      (address1 & hop.mask1) == hop.address1
    ) {
      return ptr;
    }
  }
  return 0;
}

/** The first `length` bits of eight bytes, 0 to 64, as they are loaded: bit 0 is the highest of the first byte. */
function maskOf(length: u32): u64 {
  if (length == 0) return 0;
  const unused = <u64>(64 - length);
  return bswap<u64>(u64.MAX_VALUE << unused);
}
