/** The packet builder and parser that tests and the simulator share, and what a congested router does. */
import { internetSum } from "../../host/sim/packet.ts";

export * from "../../host/sim/packet.ts";

/** CE in the IP header; the header checksum of IPv4 with it. */
export function markCongestion(bytes: Uint8Array): void {
  const isV4 = bytes[0]! >> 4 === 4;
  bytes[1] = bytes[1]! | (isV4 ? 3 : 0x30);
  if (!isV4) return;
  bytes.fill(0, 10, 12);
  const sum = ~internetSum(bytes.subarray(0, 20)) & 0xffff;
  bytes.set([sum >> 8, sum & 255], 10);
}
