/**
 * A router of the simulated network. Knows the ICMP errors that it sends, and what a checksum tells; must not know whom
 * they concern.
 */
import { formatAddress } from "../core/address.ts";
import { udpPlace } from "./node.ts";
import { buildIcmp, toAddress, viewTcp } from "./packet.ts";

/** What a router answers that may not fragment (RFC 1191, RFC 8201). */
export function tooBig(
  packet: Uint8Array,
  mtu: number,
): { to: string; bytes: Uint8Array } | undefined {
  const isV4 = (packet[0] ?? 0) >> 4 === 4;
  const to = formatAddress(isV4 ? packet.subarray(12, 16) : packet.subarray(8, 24));
  const fields = isV4 ? { type: 3, code: 4, rest: mtu } : { type: 2, code: 0, rest: mtu };
  const source = isV4 ? "10.2.0.1" : "fd02::1";
  const body = packet.slice(0, isV4 ? 28 : 1232);
  return { to, bytes: buildIcmp({ source, destination: toAddress(to), body, ...fields }) };
}

/** Whether a segment's checksum tells of damage on an earlier hop. Datagrams between nodes are sealed: always told. */
export function isDamaged(to: string, packet: Uint8Array): boolean {
  if (to.startsWith(udpPlace(""))) return false;
  try {
    return !viewTcp(packet).tcpChecksumOk;
  } catch {
    return false; // Not TCP, or not any more: nobody takes its bytes for data.
  }
}
