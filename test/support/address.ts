/** IP addresses of tests: text to bytes and back. Slow and plain; shares nothing with the core. */

/** "10.0.0.1" or "fd00::1" as 4 or 16 bytes in network order. */
export function addressBytes(text: string): Uint8Array {
  if (!text.includes(":")) {
    const parts = text.split(".").map(Number);
    if (parts.length !== 4 || parts.some((part) => !(part >= 0 && part <= 255))) {
      throw new Error(`not an IPv4 address: ${text}`);
    }
    return Uint8Array.from(parts);
  }
  const [head = "", tail] = text.split("::");
  const words = (side: string) => (side === "" ? [] : side.split(":").map((w) => parseInt(w, 16)));
  const front = words(head);
  const back = tail === undefined ? [] : words(tail);
  const gap = 8 - front.length - back.length;
  if (gap < 0 || (tail === undefined && gap !== 0)) throw new Error(`not an IPv6 address: ${text}`);
  const all = [...front, ...new Array<number>(gap).fill(0), ...back];
  return Uint8Array.from(all.flatMap((word) => [word >> 8, word & 255]));
}

/** The text of 4 or 16 bytes; IPv6 without compression, so that equal bytes give equal text. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const words = [];
  for (let i = 0; i < 16; i += 2) words.push((bytes[i]! * 256 + bytes[i + 1]!).toString(16));
  return words.join(":");
}

/** An address given as text or as bytes. */
export type Address = string | Uint8Array;

export function toAddress(address: Address): Uint8Array {
  return typeof address === "string" ? addressBytes(address) : address;
}
