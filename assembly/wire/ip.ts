/**
 * IPv4 and IPv6 headers: checked once by `ipCheck`, read by accessors that do not check, written by
 * `ipWrite`. RFC 791, 8200 (extension headers), 6946 (atomic fragments), 7126 (source routes are refused),
 * 5095 (routing header type 0), 6864 (identification of unfragmentable datagrams).
 *
 *    IPv4                                             IPv6
 *    0 version, IHL  1 DSCP, ECN  2 total length      0 version, traffic class, flow label
 *    4 identification  6 flags, fragment offset       4 payload length  6 next header  7 hop limit
 *    8 TTL  9 protocol  10 header checksum            8 source (16)  24 destination (16)
 *   12 source  16 destination  20 options             40 extension headers
 */
import { Err } from "../errors";
import { Tuple } from "../layout";
import { EXTENSION_HEADERS_MAX } from "../limits";
import { loadBe16, loadBe32, storeBe16, storeBe32, swap32 } from "./bytes";
import { checksumOf, sum64, sumBytes, sumFold } from "./checksum";

export const IP4_HEADER_LEN: u32 = 20;
export const IP6_HEADER_LEN: u32 = 40;

/** Numbers of the IANA protocol registry that we meet. */
export enum Protocol {
  ICMP = 1,
  TCP = 6,
  UDP = 17,
  ICMP6 = 58,
}

/** IPv6 extension headers that are walked. */
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const DESTINATION_OPTIONS: u32 = 60;

const FRAGMENT_MASK_V4: u32 = 0x3fff; // MF and the offset; DF and the reserved bit do not matter
const FRAGMENT_MASK_V6: u32 = 0xfff9; // the offset and M
const OPTION_END: u32 = 0;
const OPTION_NOP: u32 = 1;
const OPTION_LSRR: u32 = 131;
const OPTION_SSRR: u32 = 137;

/**
 * Checks an IP packet so that the accessors below may read it without checking.
 * @param ptr first byte of the IP header
 * @param len bytes that may be read from ptr; more than the packet's own length is link padding
 * @returns header bytes (options or extension headers included) in bits 0 to 15 and the transport
 *   protocol in bits 16 to 23, or Err.TRUNCATED, MALFORMED, FRAGMENT, CHECKSUM. After success
 *   header bytes <= ipTotalLen(ptr) <= len. Any write to the header invalidates the check.
 */
export function ipCheck(ptr: usize, len: u32): i32 {
  if (len < IP4_HEADER_LEN) return Err.TRUNCATED;
  const version = ipVersion(ptr);
  if (version == 4) return checkV4(ptr, len);
  if (version == 6) return checkV6(ptr, len);
  return Err.MALFORMED;
}

/** Bytes before the transport header, from a result of ipCheck. */
export function ipCheckedHeaderLen(checked: i32): u32 {
  return (<u32>checked) & 0xffff;
}

/** Transport protocol, from a result of ipCheck. */
export function ipCheckedProtocol(checked: i32): u32 {
  return (<u32>checked) >> 16;
}

function checkV4(ptr: usize, len: u32): i32 {
  const headerLen = ipHeaderLenV4(ptr);
  if (headerLen < IP4_HEADER_LEN) return Err.MALFORMED;
  const total = loadBe16(ptr + 2);
  if (total > len || headerLen > total) return Err.TRUNCATED;
  if ((loadBe16(ptr + 6) & FRAGMENT_MASK_V4) != 0) return Err.FRAGMENT;
  if (headerLen == IP4_HEADER_LEN) {
    if (sumFold(sumPlain(ptr)) != 0xffff) return Err.CHECKSUM;
  } else {
    if (sumFold(sumBytes(ptr, headerLen, 0)) != 0xffff) return Err.CHECKSUM;
    if (hasSourceRoute(ptr + IP4_HEADER_LEN, ptr + headerLen)) return Err.MALFORMED;
  }
  return <i32>(headerLen | ((<u32>load<u8>(ptr, 9)) << 16));
}

/** Sum of an IPv4 header without options. */
function sumPlain(ptr: usize): u64 {
  return sum64(load<u64>(ptr)) + sum64(load<u64>(ptr, 8)) + <u64>load<u32>(ptr, 16);
}

/** A source route would take an encapsulated packet elsewhere: RFC 7126 4.3 and 4.4 advise dropping. */
function hasSourceRoute(from: usize, end: usize): bool {
  let ptr = from;
  while (ptr < end) {
    const kind = <u32>load<u8>(ptr);
    if (kind == OPTION_END) return false;
    if (kind == OPTION_NOP) {
      ptr += 1;
      continue;
    }
    if (kind == OPTION_LSRR || kind == OPTION_SSRR) return true;
    if (ptr + 1 >= end) return false;
    const optionLen = <usize>load<u8>(ptr, 1);
    if (optionLen < 2) return false; // unknown and illegal: ignored, as MUST-50 has it
    ptr += optionLen;
  }
  return false;
}

function checkV6(ptr: usize, len: u32): i32 {
  if (len < IP6_HEADER_LEN) return Err.TRUNCATED;
  const total = IP6_HEADER_LEN + loadBe16(ptr + 4);
  if (total > len) return Err.TRUNCATED;
  return walkExtensions(ptr, total);
}

/** Walks to the transport header. Packed result as ipCheck; a header that is cut off is TRUNCATED. */
function walkExtensions(ptr: usize, total: u32): i32 {
  let next = <u32>load<u8>(ptr, 6);
  let headerLen = IP6_HEADER_LEN;
  for (let count: u32 = 0; count < EXTENSION_HEADERS_MAX; count++) {
    const isFragment = next == FRAGMENT;
    const isRouting = next == ROUTING;
    if (next == HOP_BY_HOP) {
      if (count != 0) return Err.MALFORMED; // RFC 8200 4.1: immediately after the IPv6 header only
    } else if (!isFragment && !isRouting && next != DESTINATION_OPTIONS) {
      return <i32>(headerLen | (next << 16));
    }
    if (headerLen + 8 > total) return Err.TRUNCATED;
    const header = ptr + headerLen;
    if (isFragment && (loadBe16(header + 2) & FRAGMENT_MASK_V6) != 0) return Err.FRAGMENT;
    if (isRouting && load<u8>(header, 3) != 0) return Err.MALFORMED; // segments left: not for us
    const extensionLen: u32 = isFragment ? 8 : (<u32>load<u8>(header, 1) + 1) << 3;
    if (headerLen + extensionLen > total) return Err.TRUNCATED;
    next = <u32>load<u8>(header);
    headerLen += extensionLen;
  }
  return Err.MALFORMED;
}

/**
 * Checks the IP header quoted by an ICMP error: like ipCheck, but the packet may be cut off, its checksum
 * may be stale, and its total length is not compared with len.
 * @returns packed as ipCheck; the header itself is whole and lies within len.
 */
export function ipCheckQuoted(ptr: usize, len: u32): i32 {
  if (len < IP4_HEADER_LEN) return Err.TRUNCATED;
  const version = ipVersion(ptr);
  if (version == 6) return len < IP6_HEADER_LEN ? Err.TRUNCATED : walkExtensions(ptr, len);
  if (version != 4) return Err.MALFORMED;
  const headerLen = ipHeaderLenV4(ptr);
  if (headerLen < IP4_HEADER_LEN) return Err.MALFORMED;
  if (headerLen > len) return Err.TRUNCATED;
  if ((loadBe16(ptr + 6) & 0x1fff) != 0) return Err.FRAGMENT; // no TCP header in later fragments
  return <i32>(headerLen | ((<u32>load<u8>(ptr, 9)) << 16));
}

/** 4 or 6 in a checked packet; whatever stands there otherwise. */
export function ipVersion(ptr: usize): u32 {
  return (<u32>load<u8>(ptr)) >> 4;
}

/** Bytes of the whole packet, from its own length field. */
export function ipTotalLen(ptr: usize): u32 {
  return ipVersion(ptr) == 4 ? loadBe16(ptr + 2) : IP6_HEADER_LEN + loadBe16(ptr + 4);
}

/** TTL or hop limit. */
export function ipTtl(ptr: usize): u32 {
  return <u32>(ipVersion(ptr) == 4 ? load<u8>(ptr, 8) : load<u8>(ptr, 7));
}

/** DSCP and ECN as one byte: IPv4 type of service, IPv6 traffic class. */
export function ipTrafficClass(ptr: usize): u32 {
  return ipVersion(ptr) == 4 ? <u32>load<u8>(ptr, 1) : (loadBe16(ptr) >> 4) & 0xff;
}

/** Address of the source address: 4 or 16 bytes in network order. */
export function ipSourcePtr(ptr: usize): usize {
  return ptr + (ipVersion(ptr) == 4 ? 12 : 8);
}

/** Address of the destination address. */
export function ipDestinationPtr(ptr: usize): usize {
  return ptr + (ipVersion(ptr) == 4 ? 16 : 24);
}

/** Bytes of the fixed IP header of a family (4 or 6). */
export function ipHeaderLenOf(family: u32): u32 {
  return family == 4 ? IP4_HEADER_LEN : IP6_HEADER_LEN;
}

function ipHeaderLenV4(ptr: usize): u32 {
  return ((<u32>load<u8>(ptr)) & 15) << 2;
}

/**
 * Writes the header of a packet from tuple.local to tuple.remote: no options, don't-fragment set,
 * IPv4 header checksum included, protocol TCP.
 * @param transportLen bytes after the IP header
 * @param trafficClass DSCP << 2 | ECN
 * @param identification IPv4 identification (16 bits) or IPv6 flow label (20 bits)
 * @returns bytes written: 20 or 40
 */
export function ipWrite(
  ptr: usize,
  tuplePtr: usize,
  transportLen: u32,
  ttl: u32,
  trafficClass: u32,
  identification: u32,
): u32 {
  const tuple = changetype<Tuple>(tuplePtr);
  if (tuple.family == 4) {
    // Summed before it is stored: reading wide words back that were written in pieces waits for the writes.
    const first = swap32(0x45000000 | (trafficClass << 16) | (IP4_HEADER_LEN + transportLen));
    const second = swap32(((identification & 0xffff) << 16) | 0x4000);
    const third = swap32((ttl << 24) | ((<u32>Protocol.TCP) << 16));
    const local = <u32>tuple.local0;
    const remote = <u32>tuple.remote0;
    const sum = <u64>first + <u64>second + <u64>third + <u64>local + <u64>remote;
    store<u64>(ptr, (<u64>first) | ((<u64>second) << 32));
    store<u64>(ptr, (<u64>(third | (checksumOf(sum) << 16))) | ((<u64>local) << 32), 8);
    store<u32>(ptr, remote, 16);
    return IP4_HEADER_LEN;
  }
  storeBe32(ptr, 0x60000000 | (trafficClass << 20) | (identification & 0xfffff));
  storeBe32(ptr + 4, (transportLen << 16) | ((<u32>Protocol.TCP) << 8) | ttl);
  store<u64>(ptr, tuple.local0, 8);
  store<u64>(ptr, tuple.local1, 16);
  store<u64>(ptr, tuple.remote0, 24);
  store<u64>(ptr, tuple.remote1, 32);
  return IP6_HEADER_LEN;
}

/** Remakes the IPv4 header checksum of a header whose other fields are final. */
export function ipChecksumWrite(ptr: usize): void {
  store<u16>(ptr, 0, 10);
  const headerLen = ipHeaderLenV4(ptr);
  const sum = headerLen == IP4_HEADER_LEN ? sumPlain(ptr) : sumBytes(ptr, headerLen, 0);
  store<u16>(ptr, ~sumFold(sum), 10);
}

/** Changes the length of a packet that ipWrite made, and its IPv4 checksum with it. */
export function ipSetTransportLen(ptr: usize, transportLen: u32): void {
  if (ipVersion(ptr) == 6) {
    storeBe16(ptr + 4, transportLen);
    return;
  }
  storeBe16(ptr + 2, ipHeaderLenV4(ptr) + transportLen);
  ipChecksumWrite(ptr);
}

/** IPv6 flow label of a packet; 0 for IPv4. */
export function ipFlowLabel(ptr: usize): u32 {
  return ipVersion(ptr) == 4 ? 0 : loadBe32(ptr) & 0xfffff;
}
