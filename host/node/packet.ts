/**
 * What a role has to know of a packet that it sends inside a message. Knows IP and TCP headers that the
 * core has checked; must not be used on anything else.
 */
import type { PacketBatch } from "../core/batch.ts";
import type { Tuple } from "../core/tuple.ts";
import { IP_PROTOCOL_TCP, checksumOf, cutSegments, get16, put16, tcpOffset } from "./segments.ts";

const NEEDS_CSUM = 1;
const TCP_FLAGS_OFF = 13;
const TCP_HEADER_LEN = 20;
const IP4_HEADER_LEN = 20;
const IP6_HEADER_LEN = 40;
const SYN = 2;
const ACK = 16;

/**
 * Copies of what a packet of the batch would look like on a wire: a checksum that was left to a device is
 * finished, a super-packet is cut into its segments. Empty for offload fields that do not fit the packet.
 */
export function wirePackets(batch: PacketBatch, index: number): Uint8Array[] {
  if (batch.gsoType(index) !== 0) {
    const ptr = batch.ptr(index);
    const whole = batch.memory.subarray(ptr, ptr + batch.len(index));
    return cutSegments(whole, batch.gsoSize(index));
  }
  const packet = wirePacket(batch, index);
  return packet ? [packet] : [];
}

function wirePacket(batch: PacketBatch, index: number): Uint8Array | undefined {
  const ptr = batch.ptr(index);
  const bytes = batch.memory.slice(ptr, ptr + batch.len(index));
  if ((batch.flags(index) & NEEDS_CSUM) === 0) return bytes;
  const start = batch.csumStart(index);
  const at = start + batch.csumOffset(index);
  if (at + 2 > bytes.length) return undefined;
  put16(bytes, at, checksumOf(bytes, start, bytes.length, 0));
  return bytes;
}

/** Whether the headers of a packet that came in a message are there at all; what they say is the core's to check. */
export function hasTcpHeader(bytes: Uint8Array): boolean {
  const version = (bytes[0] ?? 0) >> 4;
  const length = version === 4 ? IP4_HEADER_LEN : version === 6 ? IP6_HEADER_LEN : Infinity;
  return bytes.length >= length && bytes.length >= tcpOffset(bytes) + TCP_HEADER_LEN;
}

/** A first SYN: it begins a connection, and is the only packet that TIME-WAIT gives back with a hint. */
export function isSyn(bytes: Uint8Array): boolean {
  const flags = bytes[tcpOffset(bytes) + TCP_FLAGS_OFF] ?? 0;
  return (flags & (SYN | ACK)) === SYN;
}

/** The connection of a packet that a client sent, seen from the service. */
export function clientTuple(bytes: Uint8Array): Tuple {
  const isV4 = (bytes[0] ?? 0) >> 4 === 4;
  const [at, size] = isV4 ? [12, 4] : [8, 16];
  const tcp = tcpOffset(bytes);
  return {
    family: isV4 ? 4 : 6,
    remote: bytes.slice(at, at + size),
    remotePort: get16(bytes, tcp),
    local: bytes.slice(at + size, at + 2 * size),
    localPort: get16(bytes, tcp + 2),
  };
}
const ICMP_HEADER_LEN = 8;

/**
 * The connection that an ICMP error quotes, seen from the service, which sent the quoted packet. Undefined
 * when extension headers stand before TCP in it.
 */
export function quotedTuple(bytes: Uint8Array): Tuple | undefined {
  const isV4 = (bytes[0] ?? 0) >> 4 === 4;
  const outer = isV4 ? ((bytes[0] ?? 0) & 15) * 4 : 40;
  const quoted = bytes.subarray(outer + ICMP_HEADER_LEN);
  const headerLen = isV4 ? ((quoted[0] ?? 0) & 15) * 4 : 40;
  if (quoted[isV4 ? 9 : 6] !== IP_PROTOCOL_TCP || quoted.length < headerLen + 4) return undefined;
  const [at, size] = isV4 ? [12, 4] : [8, 16];
  const port = (off: number): number =>
    ((quoted[headerLen + off] ?? 0) << 8) | (quoted[headerLen + off + 1] ?? 0);
  return {
    family: isV4 ? 4 : 6,
    local: quoted.slice(at, at + size),
    localPort: port(0),
    remote: quoted.slice(at + size, at + 2 * size),
    remotePort: port(2),
  };
}
