/**
 * A forwarder of several workers as its nodes see it: each worker is a node with a name, a port and tunnel
 * addresses of its own, made from those of the first. Knows how they follow from each other (docs/queues.md);
 * must not know what a worker does.
 */
import { formatAddress, parseAddress } from "../core/address.ts";
import { expected, parseCount, parseNetworkAddress, parsePeer } from "./values.ts";
import type { NetworkAddress, PeerSpec, ServiceAddress } from "./values.ts";

export const QUEUES_MAX = 16;

export const FORWARDER_FORM = "NAME=ADDRESS[:PORT],tunnel=ADDRESS[,queues=N]";

export function parseQueues(text: string): number {
  return parseCount(text, 1, QUEUES_MAX);
}

/** A forwarder with all its workers: `lb=10.0.0.1,tunnel=10.2.0.1,queues=2`. */
export function parseForwarder(text: string): readonly PeerSpec[] {
  const parts = text.split(",");
  const given = parts.filter((part) => part.startsWith("queues="));
  const [first, second] = given;
  if (second !== undefined) throw expected("queues= once", second);
  const peer = parsePeer(parts.filter((part) => part !== first).join());
  const count = first === undefined ? 1 : parseQueues(first.slice("queues=".length));
  return Array.from({ length: count }, (_, worker) => ({
    name: workerName(peer.name, worker),
    endpoint: workerEndpoint(peer.endpoint, worker),
    tunnels: peer.tunnels.map((tunnel) => workerTunnel(tunnel, worker)),
  }));
}

export function workerName(name: string, worker: number): string {
  return worker === 0 ? name : `${name}.${worker}`;
}

export function workerEndpoint(endpoint: ServiceAddress, worker: number): ServiceAddress {
  const port = endpoint.port + worker;
  if (port > 65_535) throw expected(`a port for worker ${worker}, too`, String(endpoint.port));
  return { ...endpoint, port };
}

/** The address `worker` places behind this one. */
export function workerTunnel({ address }: NetworkAddress, worker: number): NetworkAddress {
  const bytes = parseAddress(address) ?? new Uint8Array(4);
  let carry = worker;
  for (let index = bytes.length - 1; index >= 0 && carry > 0; index -= 1) {
    const sum = (bytes[index] ?? 0) + carry;
    bytes[index] = sum & 0xff;
    carry = sum >> 8;
  }
  if (carry > 0) throw expected(`an address for worker ${worker}, too`, address);
  return parseNetworkAddress(formatAddress(bytes));
}
