/**
 * What is behind a network device: its driver, its receive queues. Knows SIOCETHTOOL; must not know what a node
 * makes of it. linux/ethtool.h.
 */
import { ethtool } from "./offload.ts";

const GET_DRIVER = 0x03;
const GET_CHANNELS = 0x3c;

/** "veth", "virtio_net", "ixgbe", ...; empty when the device does not say. */
export function driverOf(device: string): string {
  const info = Buffer.alloc(196);
  info.writeUInt32LE(GET_DRIVER, 0);
  if (!ethtool(device, info)) return "";
  return info.toString("latin1", 4, info.indexOf(0, 4));
}

/** Active receive queues; 1 when the device has no notion of them. */
export function receiveQueues(device: string): number {
  const channels = Buffer.alloc(36);
  channels.writeUInt32LE(GET_CHANNELS, 0);
  if (!ethtool(device, channels)) return 1;
  const [receive, combined] = [channels.readUInt32LE(20), channels.readUInt32LE(32)];
  return Math.max(1, receive + combined);
}

/**
 * Drivers whose neighbour may be on the same machine and leave checksums unfinished, since no wire is between.
 * linux/drivers/net: those that offer NETIF_F_HW_CSUM and hand packets on as they are.
 */
const WIRELESS: ReadonlySet<string> = new Set([
  "veth",
  "virtio_net",
  "tun",
  "macvlan",
  "macvtap",
  "ipvlan",
  "bridge",
  "vif",
  "hv_netvsc",
  "vmxnet3",
]);

export function mayLeaveChecksums(driver: string): boolean {
  return WIRELESS.has(driver);
}
