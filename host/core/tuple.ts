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
  const bytes = [...tuple.remote, ...tuple.local].map((byte) => String.fromCharCode(byte)).join("");
  return bytes + String.fromCharCode(tuple.remotePort, tuple.localPort);
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
