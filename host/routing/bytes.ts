/**
 * Character classes and text of received bytes. Knows bytes; must not know protocols' structure.
 * RFC 9110 5.6.2 (token), 5.5 (field values); RFC 3986 2 (URI characters).
 */

export const HTAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SP = 0x20;
export const COLON = 0x3a;

/** Classes, as bits. */
export const TCHAR = 1;
export const TARGET_CHAR = 2;
export const FIELD_CHAR = 4;
const REG_NAME_CHAR = 8;

const SHORT = 64;

const CLASS = classTable();

/** A character of a method or a field name. */
export function isTokenByte(byte: number): boolean {
  return ((CLASS[byte] ?? 0) & TCHAR) !== 0;
}

/** Nothing but unreserved, sub-delims and "%" of RFC 3986. */
export function isRegName(name: string): boolean {
  for (let index = 0; index < name.length; index++) {
    if (((CLASS[name.charCodeAt(index)] ?? 0) & REG_NAME_CHAR) === 0) return false;
  }
  return true;
}

/** The first index from `start` on whose byte is not of the class; `end` if there is none. */
export function spanEnd(bytes: Uint8Array, start: number, end: number, classBit: number): number {
  let at = start;
  while (at < end && ((CLASS[bytes[at] ?? 0] ?? 0) & classBit) !== 0) at++;
  return at;
}

/** One character for each byte (ISO 8859-1); the caller bounds the length. */
export function text(bytes: Uint8Array, start = 0, end = bytes.length): string {
  if (end - start > SHORT) return String.fromCharCode(...bytes.subarray(start, end));
  // A view and a spread cost more than a short text is long.
  let result = "";
  for (let at = start; at < end; at++) result += String.fromCharCode(bytes[at] ?? 0);
  return result;
}

/** The inverse of `text` for ASCII. */
export function asciiBytes(value: string): Uint8Array {
  const bytes = new Uint8Array(value.length);
  for (let index = 0; index < value.length; index++) bytes[index] = value.charCodeAt(index);
  return bytes;
}

function classTable(): Uint8Array {
  const table = new Uint8Array(256);
  const mark = (characters: string, bit: number): void => {
    for (const byte of asciiBytes(characters)) table[byte] = (table[byte] ?? 0) | bit;
  };
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  mark(letters + "0123456789!#$%&'*+-.^_`|~", TCHAR);
  mark(letters + "0123456789-._~!$&'()*+,;=%", REG_NAME_CHAR);
  for (let byte = 0; byte < 256; byte++) {
    let bits = table[byte] ?? 0;
    if (byte > SP && byte < 0x7f && byte !== 0x23) bits |= TARGET_CHAR;
    if (byte === HTAB || (byte >= SP && byte !== 0x7f)) bits |= FIELD_CHAR;
    table[byte] = bits;
  }
  return table;
}
