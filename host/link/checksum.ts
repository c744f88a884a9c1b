/** The Internet checksum over bytes of a packet (RFC 1071). Knows sums; must not know headers. */

/** One's complement sum of the 16-bit words of `bytes` from `start` to `end`, folded, not inverted. */
export function internetSum(bytes: Uint8Array, start: number, end: number): number {
  let sum = 0;
  // Numbers are exact far beyond what 64 KiB can add up to: one fold at the end is enough.
  for (let at = start; at + 1 < end; at += 2) sum += (bytes[at]! << 8) | bytes[at + 1]!;
  if ((end - start) % 2 === 1) sum += bytes[end - 1]! << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

/** Finishes a checksum whose field, at `at`, holds the pseudo-header's sum (NEEDS_CSUM). */
export function finishChecksum(bytes: Uint8Array, start: number, end: number, at: number): void {
  const value = 0xffff - internetSum(bytes, start, end);
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 0xff;
}
