/**
 * ICMP errors: checked and taken apart into one static scratch structure. RFC 792, 1191 (next-hop MTU),
 * 4443 (ICMPv6), 5927 (the quoted sequence number must be checked by whoever acts on it).
 *
 *    0 type  1 code  2 checksum
 *    4 unused; IPv4 type 3 code 4: next-hop MTU in the low half; IPv6 type 2: MTU
 *    8 the packet that caused the error, cut off
 */
import { Err } from "../errors";
import { loadBe16, loadBe32 } from "./bytes";
import { sumBytes, sumFold, transportChecksumOk } from "./checksum";
import { Protocol, ipCheckQuoted, ipCheckedHeaderLen, ipCheckedProtocol, ipVersion } from "./ip";

/** What an error says, the same for both families. */
export enum IcmpKind {
  /** Not delivered: `code` is that of the family. */
  UNREACHABLE = 1,
  /** Fragmentation needed, packet too big: `mtu` is valid (0: a router older than RFC 1191). */
  TOO_BIG = 2,
  TIME_EXCEEDED = 3,
  PARAMETER_PROBLEM = 4,
}

const ICMP_HEADER_LEN: u32 = 8;
/** Bytes of a quoted TCP header that are always there (RFC 792): ports and sequence number. */
const QUOTED_TCP_LEN: u32 = 8;

/**
 * What the last icmpCheck found. The quoted addresses and ports are those of the packet as its sender
 * emitted it.
 *
 *    0 kind        IcmpKind
 *    4 code        of the family's own registry
 *    8 mtu         with TOO_BIG
 *   12 quotedPtr   first byte of the quoted IP header
 *   16 tcpPtr      first byte of the quoted TCP header: 8 bytes are there, no more
 */
@unmanaged
export class IcmpError {
  kind: u32;
  code: u32;
  mtu: u32;
  quotedPtr: u32;
  tcpPtr: u32;
}
export const ICMP_ERROR_SIZE: u32 = 20;
if (offsetof<IcmpError>() != ICMP_ERROR_SIZE) ERROR("IcmpError layout changed");

/** The scratch structure; overwritten by every icmpCheck. */
export const ICMP_ERROR: usize = memory.data(20, 4);

/**
 * Takes an ICMP error about a TCP segment apart into ICMP_ERROR.
 * @param ipPtr   a packet that ipCheck accepted, protocol ICMP over IPv4 or ICMP6 over IPv6
 * @param ptr     first byte of the ICMP header
 * @param len     bytes of the ICMP message
 * @returns Err.OK; PROTOCOL when it is no error or quotes no TCP; TRUNCATED, MALFORMED, CHECKSUM
 */
export function icmpCheck(ipPtr: usize, ptr: usize, len: u32): i32 {
  if (len < ICMP_HEADER_LEN) return Err.TRUNCATED;
  const error = changetype<IcmpError>(ICMP_ERROR);
  const type = <u32>load<u8>(ptr);
  error.code = <u32>load<u8>(ptr, 1);
  error.mtu = 0;
  if (ipVersion(ipPtr) == 4) {
    if (sumFold(sumBytes(ptr, len, 0)) != 0xffff) return Err.CHECKSUM;
    error.kind = kindV4(type, error.code);
    if (error.kind == IcmpKind.TOO_BIG) error.mtu = loadBe16(ptr + 6);
  } else {
    if (!transportChecksumOk(ipPtr, ptr, len, Protocol.ICMP6)) return Err.CHECKSUM;
    error.kind = kindV6(type);
    if (error.kind == IcmpKind.TOO_BIG) error.mtu = loadBe32(ptr + 4);
  }
  if (error.kind == 0) return Err.PROTOCOL;
  const quoted = ptr + ICMP_HEADER_LEN;
  const quotedLen = len - ICMP_HEADER_LEN;
  const checked = ipCheckQuoted(quoted, quotedLen);
  if (checked < 0) return checked;
  if (ipVersion(quoted) != ipVersion(ipPtr)) return Err.MALFORMED;
  if (ipCheckedProtocol(checked) != Protocol.TCP) return Err.PROTOCOL;
  const headerLen = ipCheckedHeaderLen(checked);
  if (headerLen + QUOTED_TCP_LEN > quotedLen) return Err.TRUNCATED;
  error.quotedPtr = <u32>quoted;
  error.tcpPtr = <u32>quoted + headerLen;
  return Err.OK;
}

/** 0 for everything that is no error, or one that must be ignored (source quench, RFC 6633, MUST-55). */
function kindV4(type: u32, code: u32): u32 {
  if (type == 3) return code == 4 ? IcmpKind.TOO_BIG : IcmpKind.UNREACHABLE;
  if (type == 11) return IcmpKind.TIME_EXCEEDED;
  if (type == 12) return IcmpKind.PARAMETER_PROBLEM;
  return 0;
}

function kindV6(type: u32): u32 {
  return type >= 1 && type <= 4 ? type : 0;
}
