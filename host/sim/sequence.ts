/**
 * Sequence arithmetic for the reference client, written from RFC 9293 3.4 and not from the core; numbers in network
 * order. No view is made of an array: a small one would have to leave the heap for it.
 */

/** `seq + by` modulo 2^32. */
export function add(seq: number, by: number): number {
  return (seq + by) >>> 0;
}

/** From `a` to `b` in sequence space, 0 .. 2^32 - 1. */
export function distance(a: number, b: number): number {
  return (b - a) >>> 0;
}

/** RFC 9293 3.4: `a` is later than `b`. */
export function after(a: number, b: number): boolean {
  return a !== b && distance(b, a) < 0x80000000;
}

/** The first two bytes, network order. */
export function word16(bytes: Uint8Array): number {
  return ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
}

/** The first four bytes, network order. */
export function word32(bytes: Uint8Array): number {
  return ((word16(bytes) << 16) | ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0)) >>> 0;
}

export function getU16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

export function getU32(bytes: Uint8Array, at: number): number {
  return ((getU16(bytes, at) << 16) | getU16(bytes, at + 2)) >>> 0;
}

export function putU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function putU32(bytes: Uint8Array, at: number, value: number): void {
  putU16(bytes, at, value >>> 16);
  putU16(bytes, at + 2, value);
}
