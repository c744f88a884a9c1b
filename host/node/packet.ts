/**
 * What a role has to know of a packet that it sends inside a message. Knows IP and TCP headers that the
 * core has checked; must not be used on anything else.
 */
import type { PacketBatch } from "../core/batch.ts";
import type { Tuple } from "../core/tuple.ts";

const NEEDS_CSUM = 1;
const TCP_FLAGS_OFF = 13;
const SYN = 2;
const ACK = 16;

/**
 * A copy of a packet of the batch as it would look on a wire: a checksum that was left to a device is
 * finished. Undefined for a super-packet, which is no packet on any wire: TCP sends its parts again.
 */
export function wirePacket(batch: PacketBatch, index: number): Uint8Array | undefined {
  if (batch.gsoType(index) !== 0) return undefined;
  const ptr = batch.ptr(index);
  const bytes = batch.memory.slice(ptr, ptr + batch.len(index));
  if ((batch.flags(index) & NEEDS_CSUM) === 0) return bytes;
  const start = batch.csumStart(index);
  const at = start + batch.csumOffset(index);
  if (at + 2 > bytes.length) return undefined;
  let sum = 0;
  for (let offset = start; offset < bytes.length; offset += 2) {
    sum += ((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  const checksum = ~sum & 0xffff;
  bytes[at] = checksum >> 8;
  bytes[at + 1] = checksum & 0xff;
  return bytes;
}

/** A first SYN: the only packet that TIME-WAIT gives back with a hint. */
export function isSyn(bytes: Uint8Array): boolean {
  const isV4 = (bytes[0] ?? 0) >> 4 === 4;
  const headerLen = isV4 ? ((bytes[0] ?? 0) & 15) * 4 : 40;
  const flags = bytes[headerLen + TCP_FLAGS_OFF] ?? 0;
  return (flags & (SYN | ACK)) === SYN;
}

const IP_PROTOCOL_TCP = 6;
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
