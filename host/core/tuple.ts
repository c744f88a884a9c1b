/**
 * A connection's addresses from the view of the service, as the host passes them around. The core's own
 * form is assembly/layout.ts `Tuple`.
 */
import { formatAddress } from "./address.ts";

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
  const { remote, local } = tuple;
  const ports = String.fromCharCode(tuple.remotePort, tuple.localPort);
  return addressKey(remote) + addressKey(local) + ports;
}

/** A character for two bytes; addresses of the families differ in length. */
function addressKey(bytes: Uint8Array): string {
  const word = (at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  if (bytes.length === 4) return String.fromCharCode(word(0), word(2));
  const high = String.fromCharCode(word(0), word(2), word(4), word(6));
  return high + String.fromCharCode(word(8), word(10), word(12), word(14));
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
