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
/** The name that was read last of those that begin with the same four bytes. */
const texts = new Map<number, { readonly text: string; readonly bytes: Uint8Array }>();

/** Lower-case digits of `length` bytes at `at`; of a name that is known the same string each time. */
export function hexText(bytes: Uint8Array, at: number, length: number): string {
  const word = (bytes[at] ?? 0) * 0x100_0000 + wordOf24(bytes, at + 1);
  const found = texts.get(word);
  if (found && isSame(found.bytes, bytes, at, length)) return found.text;
  const text = newText(bytes, at, length);
  if (texts.size >= KNOWN_MAX) texts.clear();
  texts.set(word, { text, bytes: bytes.slice(at, at + length) });
  return text;
}

function wordOf24(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
}

function isSame(name: Uint8Array, bytes: Uint8Array, at: number, length: number): boolean {
  if (name.length !== length) return false;
  for (let index = 0; index < length; index += 1) {
    if (name[index] !== bytes[at + index]) return false;
  }
  return true;
}

function newText(bytes: Uint8Array, at: number, length: number): string {
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
