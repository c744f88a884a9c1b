/**
 * IP addresses as bytes in network order and as text (RFC 4291 2.2, RFC 5952). Knows notation only.
 */

/** 4 bytes for IPv4, 16 for IPv6, undefined when `text` is neither. Zone identifiers are refused. */
export function parseAddress(text: string): Uint8Array | undefined {
  return text.includes(":") ? parseIpv6(text) : parseIpv4(text);
}

/** Canonical text of 4 or 16 bytes; lower case, the longest run of zero groups compressed (RFC 5952). */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups: number[] = [];
  for (let index = 0; index < 16; index += 2) {
    groups.push(((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0));
  }
  const run = longestZeroRun(groups);
  const hex = groups.map((group) => group.toString(16));
  if (run.length < 2) return hex.join(":");
  const head = hex.slice(0, run.start).join(":");
  const tail = hex.slice(run.start + run.length).join(":");
  return `${head}::${tail}`;
}

export function copyAddress(bytes: Uint8Array, at: number, size: number): Uint8Array {
  const address = new Uint8Array(size);
  for (let index = 0; index < size; index += 1) address[index] = bytes[at + index] ?? 0;
  return address;
}

/** The last address read that ends in each number, for each family. */
const known: (Uint8Array | undefined)[] = new Array<undefined>(512).fill(undefined);

/**
 * The same for an address of our own, of which there are few: everybody gets the same bytes, never to be written.
 * A copy costs the engine more than what is in it.
 */
export function knownAddress(bytes: Uint8Array, at: number, size: number): Uint8Array {
  const place = 2 * (bytes[at + size - 1] ?? 0) + (size === 4 ? 0 : 1);
  const found = known[place];
  if (found && isAddress(found, bytes, at)) return found;
  return (known[place] = copyAddress(bytes, at, size));
}

function isAddress(address: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let index = 0; index < address.length; index += 1) {
    if (address[index] !== bytes[at + index]) return false;
  }
  return true;
}

function parseIpv4(text: string): Uint8Array | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (const [index, part] of parts.entries()) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    bytes[index] = Number(part);
  }
  return bytes;
}

function parseIpv6(text: string): Uint8Array | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? "", halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? "", true) : [];
  if (!head || !tail) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  const bytes = new Uint8Array(16);
  for (const [index, group] of groups.entries()) {
    bytes[2 * index] = group >> 8;
    bytes[2 * index + 1] = group & 0xff;
  }
  return bytes;
}

/** The 16-bit groups of one side of "::"; a dotted quad at the very end counts as two. */
function parseGroups(text: string, atEnd: boolean): number[] | undefined {
  if (text === "") return [];
  const groups: number[] = [];
  const parts = text.split(":");
  for (const [index, part] of parts.entries()) {
    if (atEnd && index === parts.length - 1 && part.includes(".")) {
      const quad = parseIpv4(part);
      if (!quad) return undefined;
      groups.push(((quad[0] ?? 0) << 8) | (quad[1] ?? 0), ((quad[2] ?? 0) << 8) | (quad[3] ?? 0));
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return undefined;
      groups.push(parseInt(part, 16));
    }
  }
  return groups;
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (let index = 0; index <= groups.length; index++) {
    if (groups[index] === 0) continue;
    if (index - start > best.length) best = { start, length: index - start };
    start = index + 1;
  }
  return best;
}
