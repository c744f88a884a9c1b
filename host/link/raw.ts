/**
 * The `raw` link: egress by raw sockets with the caller's IP header, 32 packets a system call, straight
 * from the core's slots. Needs no device and no forwarding. Knows where the destination stands in an IP
 * header; must not know what packets mean. See raw(7), sendmmsg(2).
 */
import type { PacketBatch } from "../core/batch.ts";
import { BatonError } from "../errors.ts";
import * as errno from "../linux/errno.ts";
import {
  AF_INET,
  AF_INET6,
  libc,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SOCK_RAW,
  SOL_SOCKET,
} from "../linux/libc.ts";
import { MessageArray } from "../linux/mmsg.ts";
import { finishChecksum } from "./checksum.ts";
import type { Link } from "./link.ts";

const IPPROTO_RAW = 255;
const NEEDS_CSUM = 1;
const SEND_BUFFER_BYTES = 4 << 20;

export interface RawOptions {
  /** What the core may build at most; default 1500. */
  readonly mtu?: number;
}

/** Opens both families' sockets; a family that this kernel lacks is left out. */
export function openRaw(options: RawOptions = {}): RawLink {
  return new RawLink(options.mtu ?? 1500);
}

export class RawLink implements Link {
  readonly name = "raw";
  readonly mtu: number;
  readonly gso = false;
  readonly counters = {
    txPackets: 0,
    txBytes: 0,
    /** The socket's buffer, the device's queue or the kernel's memory is full. */
    txFull: 0,
    /** No route to the destination. */
    txUnroutable: 0,
    /** Longer than the route's MTU, or to be split, which raw sockets cannot. */
    txTooLong: 0,
    /** Not an IP packet, or the firewall or the kernel forbids it. */
    txRefused: 0,
    txErrors: 0,
  };
  #queues: ReadonlyMap<number, Queue>;
  #closed = false;

  /** Use `openRaw`. */
  constructor(mtu: number) {
    this.mtu = mtu;
    const queues = new Map<number, Queue>();
    for (const [version, family] of [
      [4, AF_INET],
      [6, AF_INET6],
    ] as const) {
      const fd = openSocket(family);
      if (fd !== undefined) queues.set(version, new Queue(fd, family));
    }
    if (queues.size === 0) {
      const message = "raw: expected a kernel with IPv4 or IPv6, got neither";
      throw new BatonError("ERR_BATON_KERNEL", message);
    }
    this.#queues = queues;
  }

  get drained(): boolean {
    return true;
  }

  receive(): number {
    return 0;
  }

  /** Takes the packet until `flush`, which its 32nd of a family brings on. */
  transmit(batch: PacketBatch, index: number): boolean {
    if (this.#closed) return false;
    const { memory } = batch;
    const ptr = batch.ptr(index);
    const length = batch.len(index);
    const version = memory[ptr]! >> 4;
    const queue = this.#queues.get(version);
    if (!queue || length < (version === 4 ? 20 : 40)) {
      this.counters.txRefused += 1;
      return false;
    }
    if (batch.gsoType(index) !== 0) {
      this.counters.txTooLong += 1;
      return false;
    }
    if ((batch.flags(index) & NEEDS_CSUM) !== 0) {
      const start = batch.csumStart(index);
      finishChecksum(memory, ptr + start, ptr + length, ptr + start + batch.csumOffset(index));
      batch.setOffload(index, 0, 0, 0, 0, 0, 0);
    }
    queue.put(memory, ptr, length);
    if (queue.full) this.#send(queue);
    return true;
  }

  flush(): void {
    for (const queue of this.#queues.values()) if (queue.count > 0) this.#send(queue);
  }

  onReadable(): void {
    // Nothing ever comes in.
  }

  onError(): void {
    // A raw socket does not break.
  }

  close(): void {
    if (this.#closed) return;
    this.flush();
    this.#closed = true;
    for (const queue of this.#queues.values()) queue.close();
  }

  #send(queue: Queue): void {
    const { counters } = this;
    for (let next = 0; next < queue.count;) {
      const sent = queue.send(next);
      if (sent > 0) {
        counters.txPackets += sent;
        for (let index = next; index < next + sent; index += 1) {
          counters.txBytes += queue.bytes(index);
        }
        next += sent;
        continue;
      }
      // Packet `next` failed alone; after EAGAIN all further ones would.
      const lost = sent === -errno.EAGAIN ? queue.count - next : 1;
      this.#count(-sent, lost);
      next += lost;
    }
    queue.clear();
  }

  #count(code: number, lost: number): void {
    const { counters } = this;
    if (code === errno.EAGAIN || code === errno.ENOBUFS || code === errno.ENOMEM) {
      counters.txFull += lost;
    } else if (code === errno.ENETUNREACH || code === errno.EHOSTUNREACH) {
      counters.txUnroutable += lost;
    } else if (code === errno.EMSGSIZE) counters.txTooLong += lost;
    else if (code === errno.EPERM || code === errno.EINVAL) counters.txRefused += lost;
    else counters.txErrors += lost;
  }
}

function openSocket(family: number): number | undefined {
  try {
    // IPPROTO_RAW: the header is ours (IP_HDRINCL, IPV6_HDRINCL), and nothing is ever received.
    const fd = libc().socket(family, SOCK_RAW, IPPROTO_RAW);
    try {
      libc().setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES);
    } catch {
      // Beyond the system's limit only with CAP_NET_ADMIN; up to the limit always.
      libc().setsockopt(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER_BYTES);
    }
    return fd;
  } catch (error) {
    if (!(error instanceof BatonError)) throw error;
    if (error.code === "EAFNOSUPPORT") return undefined;
    if (error.code !== "EPERM") throw error;
    const message = "raw: expected the privilege CAP_NET_RAW, got EPERM";
    throw new BatonError(error.code, message, { cause: error });
  }
}

const MESSAGES = 32;

/** Messages for one sendmmsg, built once; a packet sets an address and a place in memory only. */
class Queue {
  count = 0;
  #fd: number;
  #messages = new MessageArray(MESSAGES);
  /** Where in the array each message's destination address goes. */
  #addresses: number[] = [];
  #v4: boolean;

  constructor(fd: number, family: number) {
    this.#fd = fd;
    this.#v4 = family === AF_INET;
    for (let index = 0; index < MESSAGES; index += 1) {
      const name = this.#messages.name(index, this.#v4 ? 16 : 28);
      this.#messages.bytes[name] = family;
      this.#addresses.push(name + (this.#v4 ? 4 : 8));
    }
  }

  get full(): boolean {
    return this.count === MESSAGES;
  }

  put(memory: Uint8Array, ptr: number, length: number): void {
    this.#messages.point(this.count, memory, ptr, length);
    const { bytes } = this.#messages;
    const to = this.#addresses[this.count]!;
    const [from, size] = this.#v4 ? [ptr + 16, 4] : [ptr + 24, 16];
    for (let at = 0; at < size; at += 1) bytes[to + at] = memory[from + at]!;
    this.count += 1;
  }

  /** Sends from message `first` on: how many went, or -errno of that first one. */
  send(first: number): number {
    return this.#messages.send(this.#fd, first, this.count);
  }

  bytes(index: number): number {
    return this.#messages.pointed(index);
  }

  clear(): void {
    this.count = 0;
  }

  close(): void {
    libc().close(this.#fd);
  }
}
