/**
 * The check of what nearly every packet is, by whole words: TCP behind an IPv4 header without options or an
 * IPv6 header without extension headers, no fragment. Whatever is accepted here, `ipCheck` and `tcpCheck` accept;
 * what is refused may still be good: ask them. RFC 791, 8200, 9293 3.1.
 */
import { swap16 } from "./bytes";
import { sum64, sumFold } from "./checksum";
import { IP4_HEADER_LEN, IP6_HEADER_LEN } from "./ip";
import { TCP_HEADER_LEN, tcpHeaderLen } from "./tcp";

/** Bytes 0 to 7 as one little-endian word: version and header length; MF and the fragment offset. */
const PLAIN4_MASK: u64 = 0xff3f0000000000ff;
const PLAIN4: u64 = 0x45;
/** Version; next header. */
const PLAIN6_MASK: u64 = 0x00ff0000000000f0;
const PLAIN6: u64 = 0x0006000000000060;
/** Byte 9 in bytes 8 to 15: the protocol. */
const PROTOCOL_MASK: u64 = 0xff00;
const PROTOCOL_TCP: u64 = 0x0600;

/**
 * @param ptr first byte of the IP header; the largest header may be read, whatever len says
 * @param len bytes of the packet, link padding included
 * @returns bytes of the IPv4 packet, or 0: not plain. Its TCP header follows after 20 bytes.
 */
export function plainCheck4(ptr: usize, len: u32): u32 {
  const first = load<u64>(ptr);
  if ((first & PLAIN4_MASK) != PLAIN4) return 0;
  const second = load<u64>(ptr, 8);
  if ((second & PROTOCOL_MASK) != PROTOCOL_TCP) return 0;
  const sum = sum64(first) + sum64(second) + <u64>load<u32>(ptr, 16);
  if (sumFold(sum) != 0xffff) return 0;
  return fitting(swap16(<u32>(first >> 16)), len, IP4_HEADER_LEN, ptr + <usize>IP4_HEADER_LEN);
}

/** The same for IPv6: its TCP header follows after 40 bytes. */
export function plainCheck6(ptr: usize, len: u32): u32 {
  const first = load<u64>(ptr);
  if ((first & PLAIN6_MASK) != PLAIN6) return 0;
  const total = IP6_HEADER_LEN + swap16(<u32>(first >> 32));
  return fitting(total, len, IP6_HEADER_LEN, ptr + <usize>IP6_HEADER_LEN);
}

/** The packet's length if it lies within `len` and its TCP header, options and all, within the packet; else 0. */
function fitting(total: u32, len: u32, headerLen: u32, tcp: usize): u32 {
  const tcpLen = tcpHeaderLen(tcp);
  return total <= len && tcpLen >= TCP_HEADER_LEN && headerLen + tcpLen <= total ? total : 0;
}
