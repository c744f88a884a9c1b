/**
 * Which of several forwarders has a client: decided by its address and port alone, as a device with several queues does
 * (docs/queues.md). Knows headers; must not know forwarders.
 */
import { formatAddress } from "../core/address.ts";

const PROTOCOL_TCP = 6;
const ICMP_BYTES = 8;

/** The same one of `count` for each packet of a client's port. */
export function steer(address: string, port: number, count: number): number {
  let hash = 0x811c9dc5;
  for (const char of `${address} ${port}`) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193);
  return ((hash ^ (hash >>> 15)) >>> 0) % count;
}

/** Who sent a segment to a service; the receiver of what an ICMP error quotes. */
export function clientOf(packet: Uint8Array): { readonly address: string; readonly port: number } {
  const isV4 = (packet[0] ?? 0) >> 4 === 4;
  const [size, first, header] = isV4 ? [4, 12, 20] : [16, 8, 40];
  const isError = packet[isV4 ? 9 : 6] !== PROTOCOL_TCP;
  const ip = isError ? header + ICMP_BYTES : 0;
  const at = ip + first + (isError ? size : 0);
  const port = ip + header + (isError ? 2 : 0);
  return {
    address: formatAddress(packet.subarray(at, at + size)),
    port: ((packet[port] ?? 0) << 8) | (packet[port + 1] ?? 0),
  };
}
