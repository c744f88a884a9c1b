/**
 * Network devices by ioctl: TUN/TAP creation, flags, MTU, addresses. Knows struct ifreq; must not
 * know packets or what a device is for. See netdevice(7) and Documentation/networking/tuntap.rst.
 */
import { readFileSync } from "node:fs";
import { formatAddress } from "../core/address.ts";
import { BatonError } from "../errors.ts";
import { addressBytes, macBytes, macText, parsePrefix } from "./address.ts";
import { AF_INET, AF_INET6, libc, O_NONBLOCK, O_RDWR, SOCK_DGRAM } from "./libc.ts";

const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCGIFADDR = 0x8915;
const SIOCSIFADDR = 0x8916;
const SIOCGIFNETMASK = 0x891b;
const SIOCSIFNETMASK = 0x891c;
const SIOCGIFMTU = 0x8921;
const SIOCSIFMTU = 0x8922;
const SIOCSIFHWADDR = 0x8924;
const SIOCGIFHWADDR = 0x8927;
const SIOCGIFINDEX = 0x8933;
const SIOCDIFADDR = 0x8936;

const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETVNETHDRSZ = 0x400454d8;
const TUNSETSTEERINGEBPF = 0x800454e0;

const IFF_UP = 1;
const IFF_TUN = 1;
const IFF_TAP = 2;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
/** TUN_F_CSUM, TSO4, TSO6, TSO_ECN: what a TCP-only reader can take. */
const OFFLOADS = 0x0f;

/** struct ifreq: 16 bytes of name, then a union that starts at 16. */
const IFREQ_BYTES = 40;
const VALUE = 16;

export interface TunDeviceOptions {
  /** A name, or a pattern such as "tun%d" that the kernel completes. */
  readonly name: string;
  readonly kind: "tun" | "tap";
  /** Each packet is preceded by a 10-byte struct virtio_net_hdr. */
  readonly vnetHeader: boolean;
  /** The kernel may hand over 64 KiB segments with unfinished checksums; needs `vnetHeader`. */
  readonly offload: boolean;
  /** One of several queues of the device, numbered in the order in which they are opened; default false. */
  readonly multiQueue?: boolean;
}

/** Creates the device or attaches to a persistent one; non-blocking. The caller closes `fd`. */
export function openTunDevice(options: TunDeviceOptions): { fd: number; name: string } {
  const request = ifreq(options.name);
  const fd = openControl();
  try {
    const flags = options.kind === "tun" ? IFF_TUN : IFF_TAP;
    const header = options.vnetHeader ? IFF_VNET_HDR : 0;
    const queue = options.multiQueue === true ? IFF_MULTI_QUEUE : 0;
    word(request, VALUE, 2, flags | IFF_NO_PI | header | queue);
    libc().ioctl(fd, TUNSETIFF, request, `${options.kind} ${options.name}`);
    if (options.vnetHeader) {
      // Both outlive a previous owner of a persistent device, so they are always set.
      libc().ioctl(fd, TUNSETVNETHDRSZ, pack(10), "TUNSETVNETHDRSZ");
      const offloads = options.offload ? OFFLOADS : 0;
      libc().ioctl(fd, TUNSETOFFLOAD, offloads, "TUNSETOFFLOAD");
    }
    return { fd, name: nameOf(request) };
  } catch (error) {
    libc().close(fd);
    throw explain(error, options);
  }
}

function explain(error: unknown, { kind, name }: TunDeviceOptions): unknown {
  if (!(error instanceof BatonError)) return error;
  const lines: Record<string, string> = {
    EPERM: `${kind} ${name}: expected the privilege CAP_NET_ADMIN, got EPERM`,
    EBUSY: `${kind} ${name}: expected a device that nobody uses, got one that another process has`,
  };
  const line = lines[error.code];
  return line ? new BatonError(error.code, line, { cause: error }) : error;
}

function openControl(): number {
  try {
    return libc().open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  } catch (error) {
    if (!(error instanceof BatonError) || !["ENOENT", "ENODEV", "ENXIO"].includes(error.code)) {
      throw error;
    }
    const message = `tun: expected the kernel's TUN driver at /dev/net/tun, got ${error.code}`;
    throw new BatonError("ERR_BATON_KERNEL", message, { cause: error });
  }
}

/** Whether the kernel may hand over 64 KiB segments with unfinished checksums from now on. */
export function setTunOffload(fd: number, offload: boolean): void {
  libc().ioctl(fd, TUNSETOFFLOAD, offload ? OFFLOADS : 0, "TUNSETOFFLOAD");
}

/** A persistent device survives the last close of its descriptor. */
export function setPersistent(fd: number, persistent: boolean): void {
  libc().ioctl(fd, TUNSETPERSIST, persistent ? 1 : 0, "TUNSETPERSIST");
}

/** Lets a loaded program choose the queue of each packet that goes to the device of this queue, until the next one. */
export function setSteering(fd: number, program: number): void {
  libc().ioctl(fd, TUNSETSTEERINGEBPF, pack(program), "TUNSETSTEERINGEBPF");
}

/** The index of a device; throws ENODEV when there is none of that name. */
export function deviceIndex(name: string): number {
  return read(SIOCGIFINDEX, name, 4);
}

export function isUp(name: string): boolean {
  return (read(SIOCGIFFLAGS, name, 2) & IFF_UP) !== 0;
}

export function setUp(name: string, up: boolean): void {
  const flags = read(SIOCGIFFLAGS, name, 2);
  write(SIOCSIFFLAGS, name, up ? flags | IFF_UP : flags & ~IFF_UP, 2);
}

export function deviceMtu(name: string): number {
  return read(SIOCGIFMTU, name, 4);
}

export function setDeviceMtu(name: string, mtu: number): void {
  write(SIOCSIFMTU, name, mtu, 4);
}

/** "02:00:5e:10:00:01"; all zero on a device without hardware addresses. */
export function deviceMac(name: string): string {
  const request = ifreq(name);
  control(SIOCGIFHWADDR, request, name);
  return macText(request.subarray(VALUE + 2));
}

export function setDeviceMac(name: string, mac: string): void {
  const request = ifreq(name);
  control(SIOCGIFHWADDR, request, name); // keeps the hardware type
  request.set(macBytes(mac), VALUE + 2);
  control(SIOCSIFHWADDR, request, name);
}

/** The first IPv4 address as "a.b.c.d/len", or "" when there is none. */
export function deviceIpv4(name: string): string {
  const request = ifreq(name);
  try {
    control(SIOCGIFADDR, request, name);
  } catch (error) {
    if (error instanceof BatonError && error.code === "EADDRNOTAVAIL") return "";
    throw error;
  }
  const address = formatAddress(request.subarray(VALUE + 4, VALUE + 8));
  control(SIOCGIFNETMASK, request, name);
  const mask = new DataView(request.buffer).getUint32(VALUE + 4);
  return `${address}/${mask === 0 ? 0 : 32 - Math.log2(2 ** 32 - mask)}`;
}

/** Replaces the first IPv4 address. */
export function setDeviceIpv4(name: string, text: string): void {
  const prefix = parsePrefix(text);
  if (prefix.family !== 4) {
    throw new BatonError("ERR_BATON_CONFIG", `ipv4: expected a.b.c.d/len, got ${text}`);
  }
  const request = ifreq(name);
  word(request, VALUE, 2, AF_INET);
  request.set(addressBytes(prefix.address), VALUE + 4);
  control(SIOCSIFADDR, request, name);
  const mask = 2 ** 32 - 2 ** (32 - prefix.length);
  new DataView(request.buffer).setUint32(VALUE + 4, mask);
  control(SIOCSIFNETMASK, request, name);
}

/** Every IPv6 address of the device as "fd00::1/64", in the kernel's order. */
export function deviceIpv6(name: string): string[] {
  // address, index, prefix length, scope, flags (hexadecimal), device name
  return readFileSync("/proc/net/if_inet6", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[5] === name)
    .map(([address = "", , length = ""]) => {
      const bytes = Uint8Array.from(address.match(/../g) ?? [], (pair) => parseInt(pair, 16));
      return `${formatAddress(bytes)}/${parseInt(length, 16)}`;
    });
}

export function changeDeviceIpv6(name: string, text: string, change: "add" | "remove"): void {
  const prefix = parsePrefix(text);
  if (prefix.family !== 6) {
    throw new BatonError("ERR_BATON_CONFIG", `ipv6: expected ADDRESS/LENGTH, got ${text}`);
  }
  // struct in6_ifreq: address, prefix length, index
  const request = new Uint8Array(24);
  request.set(addressBytes(prefix.address));
  word(request, 16, 4, prefix.length);
  word(request, 20, 4, deviceIndex(name));
  control(change === "add" ? SIOCSIFADDR : SIOCDIFADDR, request, name, AF_INET6);
}

/** Packets that the kernel could not queue to the device: the reader of a TUN was too slow. */
export function deviceDrops(name: string): number {
  const line = readFileSync("/proc/net/dev", "utf8")
    .split("\n")
    .find((text) => text.trim().startsWith(`${name}:`));
  // receive: bytes packets errs drop fifo frame compressed multicast; transmit: bytes packets errs drop
  return Number(line?.split(":")[1]?.trim().split(/\s+/)[11] ?? 0);
}

function read(request: number, name: string, bytes: 2 | 4): number {
  const body = ifreq(name);
  control(request, body, name);
  const view = new DataView(body.buffer);
  return bytes === 2 ? view.getUint16(VALUE, true) : view.getInt32(VALUE, true);
}

function write(request: number, name: string, value: number, bytes: 2 | 4): void {
  const body = ifreq(name);
  word(body, VALUE, bytes, value);
  control(request, body, name);
}

/** One ioctl on a socket that lives for it alone: the socket belongs to the thread's namespace. */
function control(request: number, body: Uint8Array, name: string, family = AF_INET): void {
  const fd = libc().socket(family, SOCK_DGRAM, 0);
  try {
    libc().ioctl(fd, request, body, `device ${name}`);
  } finally {
    libc().close(fd);
  }
}

function ifreq(name: string): Uint8Array {
  const bytes = new TextEncoder().encode(name);
  if (bytes.length === 0 || bytes.length > 15 || /[\s/:]|^\.{1,2}$/.test(name)) {
    throw new BatonError(
      "ERR_BATON_CONFIG",
      `device: expected a name of 1 to 15 bytes, got ${name}`,
    );
  }
  const request = new Uint8Array(IFREQ_BYTES);
  request.set(bytes);
  return request;
}

function nameOf(request: Uint8Array): string {
  return new TextDecoder().decode(request.subarray(0, request.indexOf(0)));
}

function pack(value: number): Uint8Array {
  return new Uint8Array(Int32Array.of(value).buffer);
}

function word(bytes: Uint8Array, at: number, size: 2 | 4, value: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  if (size === 2) view.setUint16(at, value, true);
  else view.setInt32(at, value, true);
}
