/** Big-endian integers and hexadecimal text in byte arrays. Knows nothing of what they mean. */

export function getU16(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! << 8) | bytes[offset + 1]!;
}

export function getU32(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset) * 0x1_0000 + getU16(bytes, offset + 2);
}

export function getU48(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset) * 0x1_0000_0000 + getU32(bytes, offset + 2);
}

/** A 64-bit integer; Infinity when it is beyond what a number holds exactly. */
export function getU64(bytes: Uint8Array, offset: number): number {
  const high = getU32(bytes, offset);
  return high < 0x20_0000 ? high * 0x1_0000_0000 + getU32(bytes, offset + 4) : Infinity;
}

export function putU16(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >> 8;
  bytes[offset + 1] = value;
}

export function putU32(bytes: Uint8Array, offset: number, value: number): void {
  // Typed arrays and shifts keep the low bits, which is what is meant here.
  bytes[offset] = value >> 24;
  bytes[offset + 1] = value >> 16;
  bytes[offset + 2] = value >> 8;
  bytes[offset + 3] = value;
}

export function putU48(bytes: Uint8Array, offset: number, value: number): void {
  putU16(bytes, offset, Math.floor(value / 0x1_0000_0000));
  putU32(bytes, offset + 2, value % 0x1_0000_0000);
}

/** `value` is at most 2^53 - 1. */
export function putU64(bytes: Uint8Array, offset: number, value: number): void {
  putU32(bytes, offset, Math.floor(value / 0x1_0000_0000));
  putU32(bytes, offset + 4, value % 0x1_0000_0000);
}

/** Whether `length` bytes of both are the same; takes the same time wherever they differ. */
export function sameBytes(
  a: Uint8Array,
  aOffset: number,
  b: Uint8Array,
  bOffset: number,
  length: number,
): boolean {
  let difference = 0;
  for (let i = 0; i < length; i += 1) difference |= a[aOffset + i]! ^ b[bOffset + i]!;
  return difference === 0;
}

export function isZero(bytes: Uint8Array, offset: number, length: number): boolean {
  let any = 0;
  for (let i = 0; i < length; i += 1) any |= bytes[offset + i]!;
  return any === 0;
}

export function toHex(bytes: Uint8Array, offset = 0, length = bytes.length): string {
  let text = "";
  for (let i = 0; i < length; i += 1) text += bytes[offset + i]!.toString(16).padStart(2, "0");
  return text;
}

/** Bytes of a text of hexadecimal digits that the caller has checked. */
export function fromHex(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length >> 1);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    all.set(part, offset);
    offset += part.length;
  }
  return all;
}
