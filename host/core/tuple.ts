/**
 * A connection's addresses from the view of the service, as the host passes them around. The core's own
 * form is assembly/layout.ts `Tuple`.
 */
import { copyAddress, formatAddress, knownAddress } from "./address.ts";

export interface Tuple {
  readonly family: 4 | 6;
  /** The client: 4 or 16 bytes, network order. */
  readonly remote: Uint8Array;
  readonly remotePort: number;
  /** The service: 4 or 16 bytes, network order. */
  readonly local: Uint8Array;
  readonly localPort: number;
}

/** A string that names the tuple, for use as a map key. */
export function tupleKey(tuple: Tuple): string {
  const { remote, local, remotePort, localPort } = tuple;
  if (remote.length === 4 && local.length === 4) {
    // In one go: what is joined from parts is joined once more by whoever looks it up.
    const [a, b, c, d] = [word(remote, 0), word(remote, 2), word(local, 0), word(local, 2)];
    return String.fromCharCode(a, b, c, d, remotePort, localPort);
  }
  const ports = String.fromCharCode(remotePort, localPort);
  return addressKey(remote) + addressKey(local) + ports;
}

/** A character for two bytes; addresses of the families differ in length. */
function addressKey(bytes: Uint8Array): string {
  if (bytes.length === 4) return String.fromCharCode(word(bytes, 0), word(bytes, 2));
  const high = String.fromCharCode(word(bytes, 0), word(bytes, 2), word(bytes, 4), word(bytes, 6));
  const [a, b, c, d] = [word(bytes, 8), word(bytes, 10), word(bytes, 12), word(bytes, 14)];
  return high + String.fromCharCode(a, b, c, d);
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

/** "10.1.0.2:40000 -> 10.0.0.100:80", IPv6 addresses in brackets. */
export function formatTuple(tuple: Tuple): string {
  const remote = formatHostPort(tuple.remote, tuple.remotePort);
  return `${remote} -> ${formatHostPort(tuple.local, tuple.localPort)}`;
}

export function formatHostPort(address: Uint8Array, port: number): string {
  const text = formatAddress(address);
  return address.length === 4 ? `${text}:${port}` : `[${text}]:${port}`;
}

const TUPLE_FAMILY = 0;
const TUPLE_REMOTE_PORT = 4;
const TUPLE_LOCAL_PORT = 6;
export const TUPLE_REMOTE = 8;
const TUPLE_LOCAL = 24;

/** Writes a tuple at `ptr` in the layout of assembly/layout.ts `Tuple`. */
export function writeTuple(memory: Uint8Array, view: DataView, ptr: number, tuple: Tuple): void {
  view.setUint32(ptr + TUPLE_FAMILY, tuple.family, true);
  view.setUint16(ptr + TUPLE_REMOTE_PORT, tuple.remotePort, true);
  view.setUint16(ptr + TUPLE_LOCAL_PORT, tuple.localPort, true);
  writeAddress(memory, ptr + TUPLE_REMOTE, tuple.remote);
  writeAddress(memory, ptr + TUPLE_LOCAL, tuple.local);
}

/** Byte by byte: for so few of them that is less than a call of the engine. */
function writeAddress(memory: Uint8Array, ptr: number, address: Uint8Array): void {
  for (let index = 0; index < 16; index += 1) memory[ptr + index] = address[index] ?? 0;
}

/** Reads what `writeTuple` writes. */
export function readTuple(memory: Uint8Array, view: DataView, ptr: number): Tuple {
  const family = view.getUint32(ptr + TUPLE_FAMILY, true) === 4 ? 4 : 6;
  const size = family === 4 ? 4 : 16;
  return {
    family,
    remote: copyAddress(memory, ptr + TUPLE_REMOTE, size),
    remotePort: view.getUint16(ptr + TUPLE_REMOTE_PORT, true),
    local: knownAddress(memory, ptr + TUPLE_LOCAL, size),
    localPort: view.getUint16(ptr + TUPLE_LOCAL_PORT, true),
  };
}
