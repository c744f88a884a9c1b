/**
 * struct virtio_net_hdr, the ten bytes before each packet of a TUN device, to and from a packet's
 * descriptor. Knows the header's fields; of the packet it reads one byte, the TCP data offset of a
 * segment to be split. Distrusts every field: a packet may come from another virtual machine.
 * See virtio 1.2 section 5.1.6 and linux/virtio_net.h.
 *
 *   0 flags       u8    NEEDS_CSUM, DATA_VALID: the same bits as PacketFlag
 *   1 gso_type    u8    the same values as GsoType
 *   2 hdr_len     u16   a hint: bytes in the first fragment, not the length of the headers
 *   4 gso_size    u16
 *   6 csum_start  u16   from the first byte of the packet
 *   8 csum_offset u16   from csum_start
 */
import type { PacketBatch } from "../core/batch.ts";

export const VNET_BYTES = 10;

const NEEDS_CSUM = 1;
const DATA_VALID = 2;
const GSO_NONE = 0;
const GSO_TCPV4 = 1;
const GSO_TCPV6 = 4;
const GSO_ECN = 0x80;
const IP_HEADER_MIN = 20;
const TCP_HEADER_MIN = 20;

/**
 * Fills the descriptor of packet `index` from the header right before it. False: the header does not
 * fit a packet of `len` bytes; the packet must not be used.
 */
export function readVnetHeader(batch: PacketBatch, index: number, len: number): boolean {
  const { memory } = batch;
  const packet = batch.ptr(index);
  const at = packet - VNET_BYTES;
  const flags = memory[at]! & (NEEDS_CSUM | DATA_VALID);
  const gsoType = memory[at + 1]!;
  const partial = (flags & NEEDS_CSUM) !== 0;
  const csumStart = partial ? memory[at + 6]! | (memory[at + 7]! << 8) : 0;
  const csumOffset = partial ? memory[at + 8]! | (memory[at + 9]! << 8) : 0;
  if (len < IP_HEADER_MIN) return false;
  if (partial && (csumStart < IP_HEADER_MIN || csumStart + csumOffset + 2 > len)) return false;
  if (gsoType === GSO_NONE) {
    batch.setLen(index, len);
    batch.setOffload(index, flags, csumStart, csumOffset, GSO_NONE, 0, 0);
    return true;
  }
  const kind = gsoType & ~GSO_ECN;
  const gsoSize = memory[at + 4]! | (memory[at + 5]! << 8);
  if ((kind !== GSO_TCPV4 && kind !== GSO_TCPV6) || gsoSize === 0 || !partial) return false;
  if (csumStart + TCP_HEADER_MIN > len) return false;
  const tcpHeader = (memory[packet + csumStart + 12]! >> 4) * 4;
  const headerLen = csumStart + tcpHeader;
  if (tcpHeader < TCP_HEADER_MIN || headerLen > len) return false;
  batch.setLen(index, len);
  batch.setOffload(index, flags, csumStart, csumOffset, gsoType, gsoSize, headerLen);
  return true;
}

/** Writes the header of packet `index` from its descriptor into the bytes right before the packet. */
export function writeVnetHeader(batch: PacketBatch, index: number): void {
  const { memory } = batch;
  const at = batch.ptr(index) - VNET_BYTES;
  const partial = (batch.flags(index) & NEEDS_CSUM) !== 0;
  const gsoType = batch.gsoType(index);
  memory[at] = partial ? NEEDS_CSUM : 0;
  memory[at + 1] = gsoType;
  put16(memory, at + 2, gsoType === GSO_NONE ? 0 : batch.headerLen(index));
  put16(memory, at + 4, gsoType === GSO_NONE ? 0 : batch.gsoSize(index));
  put16(memory, at + 6, partial ? batch.csumStart(index) : 0);
  put16(memory, at + 8, partial ? batch.csumOffset(index) : 0);
}

function put16(memory: Uint8Array, at: number, value: number): void {
  memory[at] = value & 0xff;
  memory[at + 1] = value >> 8;
}
