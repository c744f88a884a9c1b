/**
 * Hexadecimal text of bytes and back, for names that come with every message: node identifiers and epochs,
 * of which a cluster has few. Knows no names.
 */

const TEXT: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).padStart(2, "0"),
);
/** Far more than a cluster has; beyond that nothing is kept for anybody but the newest. */
const KNOWN_MAX = 1024;
const known = new Map<string, Uint8Array>();

/** Lower-case digits of `length` bytes at `at`. */
export function hexText(bytes: Uint8Array, at: number, length: number): string {
  let text = "";
  for (let index = at; index < at + length; index += 1) text += TEXT[bytes[index] ?? 0] ?? "";
  return text;
}

/** Bytes of digits that the caller has checked. They are shared: nobody may write to them. */
export function hexBytes(text: string): Uint8Array {
  const found = known.get(text);
  if (found) return found;
  const bytes = new Uint8Array(text.length >> 1);
  for (let index = 0; index < bytes.length; index += 1) {
    bytes[index] = parseInt(text.slice(2 * index, 2 * index + 2), 16);
  }
  if (known.size >= KNOWN_MAX) known.clear();
  known.set(text, bytes);
  return bytes;
}
