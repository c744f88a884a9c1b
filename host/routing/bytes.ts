/**
 * Character classes and text of received bytes. Knows bytes; must not know protocols' structure.
 * RFC 9110 5.6.2 (token), 5.5 (field values); RFC 3986 2 (URI characters).
 */

export const HTAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SP = 0x20;
export const COLON = 0x3a;

const TCHAR = 1;
const TARGET_CHAR = 2;
const FIELD_CHAR = 4;
const REG_NAME_CHAR = 8;

const CLASS = classTable();

/** A character of a method or a field name. */
export function isTokenByte(byte: number): boolean {
  return ((CLASS[byte] ?? 0) & TCHAR) !== 0;
}

/** A character of a request target: printable ASCII, no space, no fragment sign. */
export function isTargetByte(byte: number): boolean {
  return ((CLASS[byte] ?? 0) & TARGET_CHAR) !== 0;
}

/** HTAB, SP, VCHAR or obs-text. */
export function isFieldByte(byte: number): boolean {
  return ((CLASS[byte] ?? 0) & FIELD_CHAR) !== 0;
}

/** unreserved, sub-delims or "%" of RFC 3986. */
export function isRegNameByte(byte: number): boolean {
  return ((CLASS[byte] ?? 0) & REG_NAME_CHAR) !== 0;
}

/** One character for each byte (ISO 8859-1); the caller bounds the length. */
export function text(bytes: Uint8Array, start = 0, end = bytes.length): string {
  return String.fromCharCode(...bytes.subarray(start, end));
}

/** The inverse of `text` for ASCII. */
export function asciiBytes(value: string): Uint8Array {
  return Uint8Array.from(value, (character) => character.charCodeAt(0));
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
