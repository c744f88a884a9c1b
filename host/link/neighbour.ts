/**
 * `--announce`: makes service addresses, which no kernel owns, reachable from a local network. The kernel
 * answers ARP and neighbour solicitations as a proxy; here the neighbours are told at once, so that
 * a take-over does not wait for their caches. Knows the two packets; must not know roles.
 * RFC 826, RFC 5227 section 2.3, RFC 4861 sections 4.4 and 7.2.6.
 */
import { parseAddress } from "../core/address.ts";
import { BatonError } from "../errors.ts";
import { macBytes } from "../linux/address.ts";
import { deviceMac } from "../linux/device.ts";
import { ETH_P_ARP, ETH_P_IPV6, sendPacket } from "../linux/packet.ts";
import { openProxy } from "../linux/proxy.ts";
import { finishChecksum, internetSum } from "./checksum.ts";

/** MAX_NEIGHBOR_ADVERTISEMENT of RFC 4861; one more than ANNOUNCE_NUM of RFC 5227. */
const REPEATS = 3;
const INTERVAL_MS = 1000;

export interface Announcement {
  /** Settled when the last repetition has gone out; rejects when the device refuses one. */
  readonly done: Promise<void>;
  /** Stops, and removes what was installed. */
  close(): void;
}

/** Throws when nothing can be announced on a device: to be called before anything is installed. */
export function checkAnnounce(device: string): void {
  ethernetAddress(device);
}

/** Answers and announces `addresses` on an Ethernet device. They must be routed to a link already. */
export function announce(device: string, addresses: readonly string[]): Announcement {
  const mac = ethernetAddress(device);
  const packets = addresses.map((address) => announcementOf(address, macBytes(mac)));
  const proxy = openProxy(device, addresses);
  let timer: NodeJS.Timeout | undefined;
  let finish = () => {};
  const send = (): void => packets.forEach((packet) => sendTo(device, packet));
  try {
    send();
  } catch (error) {
    proxy.close();
    throw error;
  }
  const done = new Promise<void>((resolve, reject) => {
    finish = resolve;
    let left = REPEATS - 1;
    timer = setInterval(() => {
      try {
        send();
        left -= 1;
      } catch (error) {
        clearInterval(timer);
        reject(error instanceof Error ? error : new Error(String(error)));
      }
      if (left > 0) return;
      clearInterval(timer);
      resolve();
    }, INTERVAL_MS).unref();
  });
  done.catch(() => {}); // whoever asks for it gets the error
  let closed = false;
  return {
    done,
    close: () => {
      if (closed) return;
      closed = true;
      clearInterval(timer);
      finish();
      proxy.close();
    },
  };
}

function ethernetAddress(device: string): string {
  const mac = deviceMac(device);
  if (mac !== "00:00:00:00:00:00") return mac;
  const message = `announce ${device}: expected an Ethernet device, got one without addresses`;
  throw new BatonError("ERR_BATON_CONFIG", message);
}

interface Packet {
  readonly protocol: number;
  readonly to: Uint8Array;
  readonly bytes: Uint8Array;
}

function sendTo(device: string, { protocol, to, bytes }: Packet): void {
  sendPacket(device, protocol, to, bytes);
}

/** Exported for tests: the packet that says "`address` is at `mac`" to everybody. */
export function announcementOf(address: string, mac: Uint8Array): Packet {
  const bytes = parseAddress(address);
  if (!bytes) {
    throw new BatonError("ERR_BATON_CONFIG", `announce: expected an IP address, got ${address}`);
  }
  return bytes.length === 4 ? gratuitousArp(bytes, mac) : unsolicitedAdvertisement(bytes, mac);
}

/** An ARP request for the own address (RFC 5227 2.3): receivers update, nobody answers. */
function gratuitousArp(address: Uint8Array, mac: Uint8Array): Packet {
  const bytes = new Uint8Array(28);
  bytes.set([0, 1, 8, 0, 6, 4, 0, 1]); // Ethernet, IPv4, lengths, request
  bytes.set(mac, 8);
  bytes.set(address, 14);
  bytes.set(address, 24);
  return { protocol: ETH_P_ARP, to: new Uint8Array(6).fill(0xff), bytes };
}

const ICMPV6 = 58;
const NEIGHBOUR_ADVERTISEMENT = 136;
const ROUTER_AND_OVERRIDE = 0xa0;
const TARGET_LINK_LAYER_ADDRESS = 2;

/** A neighbour advertisement to all nodes, with the override flag: caches take it at once. */
function unsolicitedAdvertisement(address: Uint8Array, mac: Uint8Array): Packet {
  const bytes = new Uint8Array(40 + 32);
  bytes.set([0x60, 0, 0, 0, 0, 32, ICMPV6, 255]);
  bytes.set(address, 8);
  bytes.set([0xff, 0x02], 24); // ff02::1
  bytes[39] = 1;
  bytes[40] = NEIGHBOUR_ADVERTISEMENT;
  bytes[44] = ROUTER_AND_OVERRIDE;
  bytes.set(address, 48);
  bytes.set([TARGET_LINK_LAYER_ADDRESS, 1], 64);
  bytes.set(mac, 66);
  const pseudo = internetSum(bytes, 8, 40) + 32 + ICMPV6;
  const folded = (pseudo & 0xffff) + (pseudo >> 16);
  bytes[42] = folded >> 8;
  bytes[43] = folded & 0xff;
  finishChecksum(bytes, 40, bytes.length, 42);
  return { protocol: ETH_P_IPV6, to: Uint8Array.of(0x33, 0x33, 0, 0, 0, 1), bytes };
}
