/**
 * Ethernet frames around packets: what a device delivers and what it takes. Knows Ethernet's header, and of IP and
 * TCP what an unfinished checksum takes; must not know rings, tables or connections. IEEE 802.3, RFC 894, RFC 2464.
 *
 *    0 destination  6 bytes
 *    6 source       6 bytes
 *   12 EtherType    u16, network byte order
 *   14 the packet
 */
import { Descriptor, PacketFlag } from "../layout";
import { Protocol, ipCheck, ipCheckedHeaderLen, ipCheckedProtocol, ipTotalLen } from "../wire/ip";
import { pseudoSum, sumBytes, sumFold } from "../wire/checksum";
import { TCP_CHECKSUM_OFF } from "../wire/tcp";
import { Hop } from "./hops";

export const ETHER_LEN: u32 = 14;
/** EtherTypes as a little-endian load sees them. */
const IPV4: u32 = 0x0008;
const IPV6: u32 = 0xdd86;
/** The shortest of each that has a whole IP header. */
const IPV4_LEN_MIN: u32 = 20;
const IPV6_LEN_MIN: u32 = 40;
const TCP_LEN_MIN: u32 = 20;

let ownLow: u32 = 0;
let ownHigh: u32 = 0;

/** The device's own address: 6 bytes. */
export function frameOwn(macPtr: usize): void {
  ownLow = load<u32>(macPtr);
  ownHigh = <u32>load<u16>(macPtr, 4);
}

/** Whether `len` bytes at `ptr` are a frame with an IP packet. */
export function frameAccept(ptr: usize, len: u32): bool {
  if (len < ETHER_LEN + IPV4_LEN_MIN) return false;
  const kind = <u32>load<u16>(ptr, 12);
  return kind == IPV4 || (kind == IPV6 && len >= ETHER_LEN + IPV6_LEN_MIN);
}

/** Writes the header of a frame to `hop`, whose packet begins ETHER_LEN bytes behind `ptr`. */
export function frameHeader(ptr: usize, hopPtr: usize): void {
  const hop = changetype<Hop>(hopPtr);
  store<u32>(ptr, hop.macLow);
  store<u16>(ptr, hop.macHigh, 4);
  store<u32>(ptr, ownLow, 6);
  store<u16>(ptr, ownHigh, 10);
  store<u16>(ptr, hop.family == 4 ? IPV4 : IPV6, 12);
}

/**
 * Marks a packet whose TCP checksum its sender left to a device: the field is the sum of the pseudo header.
 * A finished checksum that happens to have this value has it again after finishing.
 * @returns whether it is one
 */
export function framePartial(descriptorPtr: usize): bool {
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const ptr = <usize>descriptor.ptr;
  const checked = ipCheck(ptr, descriptor.len);
  if (checked < 0 || ipCheckedProtocol(checked) != Protocol.TCP) return false;
  const headerLen = ipCheckedHeaderLen(checked);
  const tcpLen = ipTotalLen(ptr) - headerLen;
  if (tcpLen < TCP_LEN_MIN) return false;
  const field = <u32>load<u16>(ptr + headerLen, TCP_CHECKSUM_OFF);
  if (field != sumFold(pseudoSum(ptr, Protocol.TCP, tcpLen))) return false;
  descriptor.flags = <u16>PacketFlag.NEEDS_CSUM;
  descriptor.csumStart = <u16>headerLen;
  descriptor.csumOffset = <u16>TCP_CHECKSUM_OFF;
  return true;
}

/** Finishes a partial checksum (NEEDS_CSUM) in place. False: its fields do not fit the packet. */
export function frameFinish(descriptorPtr: usize): bool {
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const start = <u32>descriptor.csumStart;
  const field = start + <u32>descriptor.csumOffset;
  if (field + 2 > descriptor.len) return false;
  const ptr = <usize>descriptor.ptr;
  store<u16>(ptr + field, ~sumFold(sumBytes(ptr + start, descriptor.len - start, 0)));
  descriptor.flags = 0;
  return true;
}
