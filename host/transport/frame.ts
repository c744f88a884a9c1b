/**
 * The frames inside a sealed datagram. Knows their bytes; must not know what is done with them. All
 * integers big-endian; a datagram is a sequence of frames up to its end.
 *
 *   LOW        | 1 | low (6)                                            every smaller message is finished
 *   ACK        | 2 | window (4) | counter (6) | delay in us (4)         of the newest datagram to answer
 *   DONE       | 3 | base (6) | n (1) | bitmap (n)                      bit i: message base + i is finished
 *   PART       | 4 | message (6) | base (2) | n (1) | bitmap (n)        chunks below base, and base + i
 *   CHUNK      | 5 | message (6) | total (4) | index (2) | bytes        length follows from total, index
 *   UNRELIABLE | 6 | number (4) | part << 4 | parts (1) | length (2) | bytes
 *   DROP       | 7 | message (6)                                        given up: forget it, call it finished
 *
 * Bit i of a bitmap is bit i % 8 of byte i / 8, the lowest bit first.
 */
import { getU16, getU32 } from "./bytes.ts";
import { CHUNK_BYTES, PART_BYTES, UNRELIABLE_PARTS_MAX } from "./limits.ts";

export const FRAME_LOW = 1;
export const FRAME_ACK = 2;
export const FRAME_DONE = 3;
export const FRAME_PART = 4;
export const FRAME_CHUNK = 5;
export const FRAME_UNRELIABLE = 6;
export const FRAME_DROP = 7;

export const LOW_BYTES = 7;
export const ACK_BYTES = 15;
/** Without the bitmap. */
export const DONE_BYTES = 8;
export const PART_HEADER_BYTES = 10;
/** Without the payload. */
export const CHUNK_HEADER_BYTES = 13;
export const UNRELIABLE_HEADER_BYTES = 8;
export const DROP_BYTES = 7;

export const DONE_BITMAP_MAX = 32;
export const PART_BITMAP_MAX = 128;

/** A message of no bytes is one empty chunk. */
export function chunkCount(total: number): number {
  return total === 0 ? 1 : Math.ceil(total / CHUNK_BYTES);
}

export function chunkLength(total: number, index: number): number {
  return Math.min(CHUNK_BYTES, total - index * CHUNK_BYTES);
}

/** Length of the frame at `offset`, or -1 when it is not a whole frame that any end would send. */
export function frameLength(
  bytes: Uint8Array,
  offset: number,
  end: number,
  messageBytesMax: number,
): number {
  const room = end - offset;
  let length = -1;
  switch (bytes[offset]) {
    case FRAME_LOW:
      length = LOW_BYTES;
      break;
    case FRAME_ACK:
      length = ACK_BYTES;
      break;
    case FRAME_DONE:
      if (room >= DONE_BYTES) length = bitmapFrame(DONE_BYTES, bytes[offset + 7]!, DONE_BITMAP_MAX);
      break;
    case FRAME_PART:
      if (room >= PART_HEADER_BYTES) {
        length = bitmapFrame(PART_HEADER_BYTES, bytes[offset + 9]!, PART_BITMAP_MAX);
      }
      break;
    case FRAME_CHUNK:
      if (room >= CHUNK_HEADER_BYTES) length = chunkFrame(bytes, offset, messageBytesMax);
      break;
    case FRAME_UNRELIABLE:
      if (room >= UNRELIABLE_HEADER_BYTES) length = unreliableFrame(bytes, offset);
      break;
    case FRAME_DROP:
      length = DROP_BYTES;
      break;
  }
  return length <= room ? length : -1;
}

/** What a whole datagram asks of its receiver. */
export const MALFORMED = -1;
export const QUIET = 0;
/** It carries a CHUNK or a DROP: its sender waits for an acknowledgement. */
export const ELICITING = 1;

/** Whether the first `end` bytes are whole frames and nothing else, and want an answer. */
export function checkFrames(bytes: Uint8Array, end: number, messageBytesMax: number): number {
  let kind = QUIET;
  let offset = 0;
  while (offset < end) {
    const length = frameLength(bytes, offset, end, messageBytesMax);
    if (length < 0) return MALFORMED;
    if (bytes[offset] === FRAME_CHUNK || bytes[offset] === FRAME_DROP) kind = ELICITING;
    offset += length;
  }
  return kind;
}

function bitmapFrame(header: number, count: number, max: number): number {
  return count <= max ? header + count : -1;
}

function chunkFrame(bytes: Uint8Array, offset: number, messageBytesMax: number): number {
  const total = getU32(bytes, offset + 7);
  const index = getU16(bytes, offset + 11);
  if (total > messageBytesMax || index >= chunkCount(total)) return -1;
  return CHUNK_HEADER_BYTES + chunkLength(total, index);
}

function unreliableFrame(bytes: Uint8Array, offset: number): number {
  const part = bytes[offset + 5]! >> 4;
  const parts = bytes[offset + 5]! & 15;
  const length = getU16(bytes, offset + 6);
  if (parts === 0 || parts > UNRELIABLE_PARTS_MAX || part >= parts) return -1;
  // Every part but the last is full, so that the receiver knows where each belongs.
  if (length > PART_BYTES || (part < parts - 1 && length !== PART_BYTES)) return -1;
  return UNRELIABLE_HEADER_BYTES + length;
}
