/** IP addresses of tests: text to bytes and back, throwing where the host's own functions return undefined. */
export { toAddress, type Address } from "../../host/sim/packet.ts";
export { formatAddress as addressText } from "../../host/core/address.ts";
import { toAddress } from "../../host/sim/packet.ts";

/** "10.0.0.1" or "fd00::1" as 4 or 16 bytes in network order. */
export function addressBytes(text: string): Uint8Array {
  return toAddress(text);
}
