/**
 * A super-packet of segmentation offload, cut into the packets that a device would have made of it. Knows IP
 * and TCP headers that the core has checked; must not know whose packet it is.
 */

export const IP_PROTOCOL_TCP = 6;
const IP4_ID_OFF = 4;
const IP4_CHECKSUM_OFF = 10;
const TCP_SEQ_OFF = 4;
const TCP_OFFSET_OFF = 12;
const TCP_FLAGS_OFF = 13;
const TCP_CHECKSUM_OFF = 16;
const TCP_HEADER_LEN = 20;
/** Flags that only the last segment keeps, and the one that only the first does (RFC 3168 6.1.2). */
const FIN_PSH = 9;
const CWR = 128;
const FRAGMENT_HEADER = 44;
/** As many as the core walks. */
const EXTENSIONS_MAX = 8;

/** Where the TCP header begins: behind IPv6 extension headers too. */
export function tcpOffset(bytes: Uint8Array): number {
  if ((bytes[0] ?? 0) >> 4 === 4) return ((bytes[0] ?? 0) & 15) * 4;
  let next = bytes[6] ?? IP_PROTOCOL_TCP;
  let at = 40;
  for (let count = 0; next !== IP_PROTOCOL_TCP && count < EXTENSIONS_MAX; count++) {
    const length = next === FRAGMENT_HEADER ? 8 : ((bytes[at + 1] ?? 0) + 1) * 8;
    next = bytes[at] ?? IP_PROTOCOL_TCP;
    at += length;
  }
  return at;
}

/** One packet for each `size` bytes of payload; empty when the headers do not fit. */
export function cutSegments(whole: Uint8Array, size: number): Uint8Array[] {
  const tcp = tcpOffset(whole);
  const head = tcp + ((whole[tcp + TCP_OFFSET_OFF] ?? 0) >> 4) * 4;
  if (size <= 0 || head < tcp + TCP_HEADER_LEN || whole.length < head) return [];
  const packets: Uint8Array[] = [];
  for (let at = head; at < whole.length || packets.length === 0; at += size) {
    const end = Math.min(at + size, whole.length);
    const packet = new Uint8Array(head + end - at);
    packet.set(whole.subarray(0, head));
    packet.set(whole.subarray(at, end), head);
    finish(packet, tcp, packets.length, at - head, end === whole.length);
    packets.push(packet);
  }
  return packets;
}

/** Fields that differ between the segments, and both checksums. */
function finish(
  packet: Uint8Array,
  tcp: number,
  number: number,
  offset: number,
  isLast: boolean,
): void {
  const isV4 = (packet[0] ?? 0) >> 4 === 4;
  if (isV4) {
    put16(packet, 2, packet.length);
    put16(packet, IP4_ID_OFF, get16(packet, IP4_ID_OFF) + number);
    put16(packet, IP4_CHECKSUM_OFF, 0);
    put16(packet, IP4_CHECKSUM_OFF, checksumOf(packet, 0, tcp, 0));
  } else put16(packet, 4, packet.length - 40);
  const view = new DataView(packet.buffer);
  view.setUint32(tcp + TCP_SEQ_OFF, view.getUint32(tcp + TCP_SEQ_OFF) + offset);
  let flags = packet[tcp + TCP_FLAGS_OFF] ?? 0;
  if (!isLast) flags &= ~FIN_PSH;
  if (number > 0) flags &= ~CWR;
  packet[tcp + TCP_FLAGS_OFF] = flags;
  put16(packet, tcp + TCP_CHECKSUM_OFF, 0);
  const length = packet.length - tcp;
  const addresses = isV4 ? sumOf(packet, 12, 20) : sumOf(packet, 8, 40);
  const pseudo = addresses + IP_PROTOCOL_TCP + length;
  put16(packet, tcp + TCP_CHECKSUM_OFF, checksumOf(packet, tcp, packet.length, pseudo));
}

/** RFC 1071 over bytes [start, end), `sum` being what was summed before. */
export function checksumOf(bytes: Uint8Array, start: number, end: number, sum: number): number {
  let total = sum + sumOf(bytes, start, end);
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return ~total & 0xffff;
}

function sumOf(bytes: Uint8Array, start: number, end: number): number {
  let sum = 0;
  for (let at = start; at < end; at += 2) {
    sum += ((bytes[at] ?? 0) << 8) | (at + 1 < end ? (bytes[at + 1] ?? 0) : 0);
  }
  return sum;
}

export function get16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

export function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = (value >> 8) & 0xff;
  bytes[at + 1] = value & 0xff;
}
