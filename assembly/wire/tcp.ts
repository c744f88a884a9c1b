/**
 * TCP headers: checked once by `tcpCheck`, read by accessors that do not check, written by `tcpWrite`.
 * RFC 9293 3.1; RFC 3168 (ECE, CWR).
 *
 *    0 source port  2 destination port
 *    4 sequence number
 *    8 acknowledgment number
 *   12 data offset (4 bits), reserved (4), flags (8)  14 window
 *   16 checksum  18 urgent pointer
 *   20 options
 */
import { Err } from "../errors";
import { Tuple } from "../layout";
import { loadBe16, loadBe32, storeBe16, storeBe32 } from "./bytes";
import { checksumOf, pseudoSum, sumBytes, sumFold } from "./checksum";
import { Protocol, ipSourcePtr, ipDestinationPtr, ipVersion } from "./ip";

export const TCP_HEADER_LEN: u32 = 20;
/** Offset of the checksum: virtio_net_hdr.csum_offset of a TCP packet. */
export const TCP_CHECKSUM_OFF: u32 = 16;

export enum TcpFlag {
  FIN = 1,
  SYN = 2,
  RST = 4,
  PSH = 8,
  ACK = 16,
  URG = 32,
  ECE = 64,
  CWR = 128,
}

/**
 * Checks that a TCP header lies within its segment.
 * @param ptr first byte of the TCP header
 * @param len bytes of the segment, header and payload
 * @returns header length 20 to 60, or Err.TRUNCATED, Err.MALFORMED. The checksum is not looked at.
 *   Afterwards the accessors may read; a write to the data offset invalidates the check.
 */
export function tcpCheck(ptr: usize, len: u32): i32 {
  if (len < TCP_HEADER_LEN) return Err.TRUNCATED;
  const headerLen = tcpHeaderLen(ptr);
  if (headerLen < TCP_HEADER_LEN) return Err.MALFORMED;
  if (headerLen > len) return Err.TRUNCATED;
  return <i32>headerLen;
}

export function tcpSourcePort(ptr: usize): u32 {
  return loadBe16(ptr);
}

export function tcpDestinationPort(ptr: usize): u32 {
  return loadBe16(ptr + 2);
}

/** Source port in the high half, destination port in the low half: also the flow identifier. */
export function tcpPorts(ptr: usize): u32 {
  return loadBe32(ptr);
}

/** SEG.SEQ */
export function tcpSeq(ptr: usize): u32 {
  return loadBe32(ptr + 4);
}

/** SEG.ACK; meaningless without the ACK flag. */
export function tcpAck(ptr: usize): u32 {
  return loadBe32(ptr + 8);
}

/** SEG.SEQ and SEG.ACK as they stand in memory: bytes, to be kept as they are. */
export function tcpNumbers(ptr: usize): u64 {
  return load<u64>(ptr, 4);
}

/** TcpFlag bits. */
export function tcpFlags(ptr: usize): u32 {
  return <u32>load<u8>(ptr, 13);
}

export function tcpHeaderLen(ptr: usize): u32 {
  return ((<u32>load<u8>(ptr, 12)) >> 4) << 2;
}

/** The window field as it stands, not scaled. */
export function tcpWindow(ptr: usize): u32 {
  return loadBe16(ptr + 14);
}

/** Urgent pointer: an offset from SEG.SEQ; meaningless without the URG flag. */
export function tcpUrgent(ptr: usize): u32 {
  return loadBe16(ptr + 18);
}

/** SEG.LEN in sequence space: payload bytes, and one each for SYN and FIN. */
export function tcpSegLen(flags: u32, payloadLen: u32): u32 {
  return payloadLen + ((flags >> 1) & 1) + (flags & 1);
}

/** True when the checksum of a checked TCP segment is right (MUST-3). */
export function tcpChecksumOk(ipPtr: usize, tcpPtr: usize, tcpLen: u32): bool {
  return sumFold(sumBytes(tcpPtr, tcpLen, pseudoSum(ipPtr, Protocol.TCP, tcpLen))) == 0xffff;
}

/**
 * Fills a Tuple from a checked inbound packet: remote := source, local := destination.
 */
export function tupleRead(ipPtr: usize, tcpPtr: usize, tuplePtr: usize): void {
  tupleFill(ipSourcePtr(ipPtr), ipDestinationPtr(ipPtr), ipVersion(ipPtr), tuplePtr);
  const tuple = changetype<Tuple>(tuplePtr);
  tuple.remotePort = <u16>tcpSourcePort(tcpPtr);
  tuple.localPort = <u16>tcpDestinationPort(tcpPtr);
}

/**
 * Fills a Tuple from a packet that left the service, as ICMP errors quote it: local := source.
 */
export function tupleReadOutbound(ipPtr: usize, tcpPtr: usize, tuplePtr: usize): void {
  tupleFill(ipDestinationPtr(ipPtr), ipSourcePtr(ipPtr), ipVersion(ipPtr), tuplePtr);
  const tuple = changetype<Tuple>(tuplePtr);
  tuple.remotePort = <u16>tcpDestinationPort(tcpPtr);
  tuple.localPort = <u16>tcpSourcePort(tcpPtr);
}

function tupleFill(remotePtr: usize, localPtr: usize, family: u32, tuplePtr: usize): void {
  const tuple = changetype<Tuple>(tuplePtr);
  tuple.family = family;
  if (family == 4) {
    tuple.remote0 = <u64>load<u32>(remotePtr);
    tuple.remote1 = 0;
    tuple.local0 = <u64>load<u32>(localPtr);
    tuple.local1 = 0;
    return;
  }
  tuple.remote0 = load<u64>(remotePtr);
  tuple.remote1 = load<u64>(remotePtr, 8);
  tuple.local0 = load<u64>(localPtr);
  tuple.local1 = load<u64>(localPtr, 8);
}

export function tupleEqual(aPtr: usize, bPtr: usize): bool {
  const a = changetype<Tuple>(aPtr);
  const b = changetype<Tuple>(bPtr);
  return (
    a.remote0 == b.remote0 &&
    a.local0 == b.local0 &&
    load<u64>(aPtr) == load<u64>(bPtr) && // family and both ports
    a.remote1 == b.remote1 &&
    a.local1 == b.local1
  );
}

/**
 * Writes the fixed header of a segment from tuple.local to tuple.remote; checksum and urgent pointer are 0. Options
 * go to ptr + 20 (options.ts), before or after. Then: write the payload; call `tcpChecksumWrite` or
 * `tcpChecksumWritePartial`.
 * @param control TcpFlag bits, and tcpOptions(...) where there are any
 * @param window  the field as it goes on the wire, already scaled, at most 0xffff
 */
export function tcpWrite(
  ptr: usize,
  tuplePtr: usize,
  segSeq: u32,
  segAck: u32,
  control: u32,
  window: u32,
): void {
  const tuple = changetype<Tuple>(tuplePtr);
  storeBe32(ptr, ((<u32>tuple.localPort) << 16) | (<u32>tuple.remotePort));
  storeBe32(ptr + 4, segSeq);
  storeBe32(ptr + 8, segAck);
  storeBe32(ptr + 12, (0x50000000 + (control << 16)) | window);
  store<u32>(ptr, 0, 16);
}

/** What `control` of tcpWrite says of options: optionsLen is a multiple of 4, at most 40. */
export function tcpOptions(optionsLen: u32): u32 {
  return optionsLen << 10;
}

/** Sets the urgent pointer and the URG flag; before the checksum is written. */
export function tcpSetUrgent(ptr: usize, urgent: u32): void {
  storeBe16(ptr + 18, urgent);
  store<u8>(ptr, tcpFlags(ptr) | TcpFlag.URG, 13);
}

/**
 * Writes the full checksum of a finished segment; the IP header must be final. The header is read in the words that
 * tcpWrite and the options were written in: wider ones would wait for the writes.
 */
export function tcpChecksumWrite(ipPtr: usize, tcpPtr: usize, tcpLen: u32): void {
  const headerLen = tcpHeaderLen(tcpPtr);
  let sum = pseudoSum(ipPtr, Protocol.TCP, tcpLen);
  sum += <u64>load<u32>(tcpPtr) + <u64>load<u32>(tcpPtr, 4);
  sum += <u64>load<u32>(tcpPtr, 8) + <u64>load<u32>(tcpPtr, 12) + <u64>load<u16>(tcpPtr, 18);
  const payloadPtr = tcpPtr + <usize>headerLen;
  for (let at = tcpPtr + TCP_HEADER_LEN; at < payloadPtr; at += 4) sum += <u64>load<u32>(at);
  if (headerLen < tcpLen) sum = sumBytes(payloadPtr, tcpLen - headerLen, sum);
  store<u16>(tcpPtr, checksumOf(sum), 16);
}

/**
 * Writes the partial checksum that goes with PacketFlag.NEEDS_CSUM: the pseudo-header sum, not
 * complemented. The kernel or the device adds the rest for every segment it cuts.
 */
export function tcpChecksumWritePartial(ipPtr: usize, tcpPtr: usize, tcpLen: u32): void {
  store<u16>(tcpPtr, sumFold(pseudoSum(ipPtr, Protocol.TCP, tcpLen)), 16);
}
