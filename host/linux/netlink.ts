/**
 * The kernel's routes and neighbours by rtnetlink: read, watched, asked to confirm. Knows the messages; must not know
 * what a route is for. rtnetlink(7), linux/rtnetlink.h, linux/neighbour.h.
 */
import { BatonError } from "../errors.ts";
import { AF_INET, AF_INET6, libc, SOCK_NONBLOCK, SOCK_RAW } from "./libc.ts";

export interface KernelRoute {
  readonly family: 4 | 6;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly length: number;
  /** Index of the device; 0 when there is none, or several. */
  readonly device: number;
  readonly gateway: Uint8Array | undefined;
  /** Smaller ones win. */
  readonly metric: number;
  /** One path, to one device, by a gateway of the same family or by none. */
  readonly plain: boolean;
}

export interface Neighbour {
  readonly family: 4 | 6;
  readonly device: number;
  readonly address: Uint8Array;
  /** Undefined as long as nobody has answered. */
  readonly mac: Uint8Array | undefined;
  /** Known, but not confirmed lately. */
  readonly stale: boolean;
}

const AF_NETLINK = 16;
const HEADER_BYTES = 16;
const ERROR = 2;
const DONE = 3;
const NEW_ROUTE = 24;
const GET_ROUTE = 26;
const NEW_NEIGHBOUR = 28;
const GET_NEIGHBOUR = 30;
const REQUEST = 0x001;
const DUMP = 0x300;
const CREATE_OR_REPLACE = 0x500;
const MAIN_TABLE = 254;
const UNICAST = 1;
const CLONED = 0x200;
/** Attributes of routes. */
const DESTINATION = 1;
const OUT_DEVICE = 4;
const GATEWAY = 5;
const PRIORITY = 6;
const MULTIPATH = 9;
const TABLE = 15;
const VIA = 18;
const NEXT_HOP_ID = 30;
/** And of neighbours. */
const ADDRESS = 1;
const LINK_ADDRESS = 2;
/** States in which the kernel itself would use the address: REACHABLE, STALE, DELAY, PROBE, NOARP, PERMANENT. */
const VALID = 0xde;
const STALE = 0x04;
const USE = 0x01;
const ETHERNET_BYTES = 6;
/** RTMGRP_LINK, RTMGRP_NEIGH, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE */
const GROUPS = 0x1 | 0x4 | 0x40 | 0x400;
const REPLY_BYTES = 1 << 16;
/** Notices read in one go: more wait for the next time. */
const NOTICES_MAX = 1000;

/** Every route of the main table. */
export function readRoutes(): KernelRoute[] {
  const body = new Uint8Array(12);
  return dump(GET_ROUTE, body).flatMap(({ type, bytes }) => {
    const route = type === NEW_ROUTE ? parseRoute(bytes) : undefined;
    return route === undefined ? [] : [route];
  });
}

export function readNeighbours(): Neighbour[] {
  const body = new Uint8Array(12);
  return dump(GET_NEIGHBOUR, body).flatMap(({ type, bytes }) => {
    const neighbour = type === NEW_NEIGHBOUR ? parseNeighbour(bytes) : undefined;
    return neighbour === undefined ? [] : [neighbour];
  });
}

/** Has the kernel find or confirm a neighbour's address, as if it had a packet for it. */
export function askNeighbour(device: number, address: Uint8Array): void {
  const body = new Uint8Array(12 + 4 + address.length);
  const view = new DataView(body.buffer);
  body[0] = address.length === 4 ? AF_INET : AF_INET6;
  view.setInt32(4, device, true);
  body[10] = USE;
  view.setUint16(12, 4 + address.length, true);
  view.setUint16(14, ADDRESS, true);
  body.set(address, 16);
  const fd = libc().socket(AF_NETLINK, SOCK_RAW, 0);
  try {
    // Without an acknowledgement: a neighbour that cannot be asked stays unknown, and packets go by the kernel.
    send(fd, NEW_NEIGHBOUR, REQUEST | CREATE_OR_REPLACE, body);
  } finally {
    libc().close(fd);
  }
}

/** Hears of changes of devices, routes and neighbours. */
export class ChangeWatch {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(new ArrayBuffer(REPLY_BYTES));

  constructor() {
    this.#fd = libc().socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, 0);
    libc().bind(this.#fd, netlinkAddress(GROUPS));
  }

  /** Whether anything changed since the last call. */
  changed(): boolean {
    let seen = false;
    try {
      for (let count = 0; count < NOTICES_MAX; count++) {
        if (libc().recv(this.#fd, this.#buffer, 0) === undefined) return seen;
        seen = true;
      }
    } catch (error) {
      // The kernel had more to say than it could keep: something changed.
      if (!(error instanceof BatonError) || error.code !== "ENOBUFS") throw error;
    }
    return true;
  }

  close(): void {
    libc().close(this.#fd);
  }
}

interface Message {
  readonly type: number;
  /** Behind the header. */
  readonly bytes: Uint8Array;
}

function dump(type: number, body: Uint8Array): Message[] {
  const fd = libc().socket(AF_NETLINK, SOCK_RAW, 0);
  try {
    send(fd, type, REQUEST | DUMP, body);
    const messages: Message[] = [];
    for (;;) {
      const buffer = new Uint8Array(new ArrayBuffer(REPLY_BYTES));
      const length = libc().recv(fd, buffer, 0) ?? 0;
      for (const message of parseMessages(buffer.subarray(0, length))) {
        if (message.type === DONE) return messages;
        if (message.type === ERROR) throw refused(message.bytes);
        messages.push(message);
      }
    }
  } finally {
    libc().close(fd);
  }
}

function refused(bytes: Uint8Array): BatonError {
  const code = new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true);
  return new BatonError("ERR_BATON_KERNEL", `netlink: expected an answer, got error ${-code}`);
}

function send(fd: number, type: number, flags: number, body: Uint8Array): void {
  const message = new Uint8Array(HEADER_BYTES + body.length);
  const view = new DataView(message.buffer);
  view.setUint32(0, message.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, 1, true);
  message.set(body, HEADER_BYTES);
  libc().sendto(fd, message, 0, netlinkAddress(0));
}

/** struct sockaddr_nl of the kernel, or of whoever listens to `groups`. */
function netlinkAddress(groups: number): Uint8Array {
  const address = new Uint8Array(12);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_NETLINK, true);
  view.setUint32(8, groups, true);
  return address;
}

/** Exported for tests: the messages of one datagram. */
export function parseMessages(bytes: Uint8Array): Message[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const messages: Message[] = [];
  for (let at = 0; at + HEADER_BYTES <= bytes.length;) {
    const length = view.getUint32(at, true);
    if (length < HEADER_BYTES || at + length > bytes.length) break;
    const type = view.getUint16(at + 4, true);
    messages.push({ type, bytes: bytes.subarray(at + HEADER_BYTES, at + length) });
    at += aligned(length);
  }
  return messages;
}

/** Exported for tests: struct rtmsg and its attributes; undefined for other tables, copies in a cache, broken ones. */
export function parseRoute(bytes: Uint8Array): KernelRoute | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const family = familyOf(bytes[0] ?? 0);
  if (family === undefined || bytes.length < 12) return undefined;
  const attributes = parseAttributes(bytes.subarray(12));
  const table = word(attributes.get(TABLE)) ?? bytes[4];
  if (table !== MAIN_TABLE || (view.getUint32(8, true) & CLONED) !== 0) return undefined;
  const size = family === 4 ? 4 : 16;
  const address = attributes.get(DESTINATION) ?? new Uint8Array(size);
  const gateway = attributes.get(GATEWAY);
  const length = bytes[1] ?? 0;
  if (address.length !== size || (gateway?.length ?? size) !== size || length > 8 * size) {
    return undefined;
  }
  const several = [MULTIPATH, VIA, NEXT_HOP_ID].some((name) => attributes.has(name));
  const device = several ? 0 : (word(attributes.get(OUT_DEVICE)) ?? 0);
  return {
    family,
    address,
    length,
    device,
    gateway,
    metric: word(attributes.get(PRIORITY)) ?? 0,
    plain: !several && bytes[7] === UNICAST && device !== 0,
  };
}

/** Exported for tests: struct ndmsg and its attributes; undefined for what is no neighbour on a network. */
export function parseNeighbour(bytes: Uint8Array): Neighbour | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const family = familyOf(bytes[0] ?? 0);
  if (family === undefined || bytes.length < 12) return undefined;
  const attributes = parseAttributes(bytes.subarray(12));
  const address = attributes.get(ADDRESS);
  if (address?.length !== (family === 4 ? 4 : 16)) return undefined;
  const state = view.getUint16(8, true);
  const mac = attributes.get(LINK_ADDRESS);
  const isKnown = (state & VALID) !== 0 && mac?.length === ETHERNET_BYTES;
  return {
    family,
    device: view.getInt32(4, true),
    address,
    mac: isKnown ? mac : undefined,
    stale: (state & STALE) !== 0,
  };
}

function parseAttributes(bytes: Uint8Array): Map<number, Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found = new Map<number, Uint8Array>();
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > bytes.length) break;
    found.set(view.getUint16(at + 2, true) & 0x3fff, bytes.slice(at + 4, at + length));
    at += aligned(length);
  }
  return found;
}

function familyOf(family: number): 4 | 6 | undefined {
  if (family === AF_INET) return 4;
  return family === AF_INET6 ? 6 : undefined;
}

function word(bytes: Uint8Array | undefined): number | undefined {
  if (bytes?.length !== 4) return undefined;
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
}

function aligned(length: number): number {
  return (length + 3) & ~3;
}
