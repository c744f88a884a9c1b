/**
 * Frames by AF_PACKET, below the kernel's IP. Knows sockaddr_ll; must not know what a frame says.
 * See packet(7).
 */
import { AF_PACKET, libc, SOCK_DGRAM } from "./libc.ts";
import { deviceIndex } from "./device.ts";

export const ETH_P_IP = 0x0800;
export const ETH_P_ARP = 0x0806;
export const ETH_P_IPV6 = 0x86dd;

/** Sends one packet out of `device`; the kernel puts the link header to `mac` before it. */
export function sendPacket(
  device: string,
  protocol: number,
  mac: Uint8Array,
  packet: Uint8Array,
): void {
  // struct sockaddr_ll: family, protocol (network order), index, hardware type, packet type, MAC
  const address = new Uint8Array(20);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_PACKET, true);
  view.setUint16(2, protocol);
  view.setInt32(4, deviceIndex(device), true);
  address[11] = mac.length;
  address.set(mac, 12);
  const fd = libc().socket(AF_PACKET, SOCK_DGRAM, 0); // protocol 0: receives nothing
  try {
    libc().sendto(fd, packet, 0, address);
  } finally {
    libc().close(fd);
  }
}
