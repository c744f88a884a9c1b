/**
 * Offloads of a network device by SIOCETHTOOL: checksums, segmentation, receive coalescing. Knows the
 * ioctl; must not know which device is whose. Needs no ethtool program. linux/ethtool.h.
 */
import { BatonError } from "../errors.ts";
import { AF_INET, libc, SOCK_DGRAM } from "./libc.ts";

const SIOCETHTOOL = 0x8946;
const IFREQ_SIZE = 40;
const IFNAMSIZ = 16;

/** Name, command that reads it, command that sets it; in the order in which they can be turned on. */
const OFFLOADS = [
  ["tx", 0x16, 0x17],
  ["tso", 0x1e, 0x1f],
  ["gso", 0x23, 0x24],
  ["gro", 0x2b, 0x2c],
] as const;

/** A device that has no such offload, or cannot change it. */
const REFUSALS: ReadonlySet<string> = new Set(["EOPNOTSUPP", "EINVAL"]);

export type Offload = (typeof OFFLOADS)[number][0];

/** Turns tx, tso, gso and gro of a device on or off; names those that the device refused. */
export function setOffloads(device: string, on: boolean): Offload[] {
  const order = on ? OFFLOADS : [...OFFLOADS].reverse();
  for (const [, , set] of order) setting(device, set, on ? 1 : 0);
  const now = getOffloads(device);
  return OFFLOADS.map(([name]) => name).filter((name) => now[name] !== on);
}

export function getOffloads(device: string): Record<Offload, boolean> {
  const read = (get: number) => setting(device, get, 0) === 1;
  return Object.fromEntries(OFFLOADS.map(([name, get]) => [name, read(get)])) as Record<
    Offload,
    boolean
  >;
}

/** Turns receive coalescing on or off; whether the device has it on now. */
export function setGro(device: string, on: boolean): boolean {
  const [, get, set] = OFFLOADS[3];
  setting(device, set, on ? 1 : 0);
  return setting(device, get, 0) === 1;
}

/** One ethtool_value {cmd, data}; returns data as the kernel left it, -1 when it refused. */
function setting(device: string, command: number, data: number): number {
  const value = Buffer.alloc(8);
  value.writeUInt32LE(command, 0);
  value.writeUInt32LE(data, 4);
  return ethtool(device, value) ? value.readUInt32LE(4) : -1;
}

/** One request, which begins with its command; the kernel answers into it. False: the device refused it. */
export function ethtool(device: string, value: Buffer): boolean {
  if (Buffer.byteLength(device) >= IFNAMSIZ) {
    throw new BatonError("ERR_BATON_CONFIG", `device: expected a short name, got "${device}"`);
  }
  const request = Buffer.alloc(IFREQ_SIZE);
  request.write(device, 0);
  request.writeBigUInt64LE(BigInt(libc().address(value)), IFNAMSIZ);
  const fd = libc().socket(AF_INET, SOCK_DGRAM, 0);
  try {
    libc().ioctl(fd, SIOCETHTOOL, request, `offloads of ${device}`);
    return true;
  } catch (error) {
    if (error instanceof BatonError && REFUSALS.has(error.code)) return false;
    throw error;
  } finally {
    libc().close(fd);
  }
}
