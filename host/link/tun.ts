/**
 * The `tun` link: a TUN device with virtio_net_hdr, 64 KiB segments both ways, read straight into the
 * core's slots. Knows the device and its headers; must not know what packets mean.
 */
import { randomBytes } from "node:crypto";
import type { PacketBatch } from "../core/batch.ts";
import { BatonError } from "../errors.ts";
import { openTunDevice, setPersistent, deviceDrops } from "../linux/device.ts";
import * as errno from "../linux/errno.ts";
import { libc, type Libc } from "../linux/libc.ts";
import { ETH_P_IP, sendPacket } from "../linux/packet.ts";
import { PROBE_PROTOCOL } from "../linux/queues.ts";
import type { Route } from "../linux/route.ts";
import { claimDevice, setUpDevice, tearDownDevice } from "../linux/setup.ts";
import { watchByLoop, watchByWorker, type Watcher } from "../linux/watcher.ts";
import type { Link } from "./link.ts";
import { readVnetHeader, VNET_BYTES, writeVnetHeader } from "./vnet.ts";

export interface TunOptions {
  /** The device's name, "baton0". */
  readonly name: string;
  /** Default 1500. */
  readonly mtu?: number;
  /** Packets that wait for a late reader; default 4096. */
  readonly queueLen?: number;
  /** The device, its routes and settings survive this process; default false. */
  readonly persist?: boolean;
  /** 64 KiB segments with unfinished checksums; default true. */
  readonly offload?: boolean;
  /** Service and tunnel addresses to route to the device, or through a gateway. */
  readonly routes?: readonly Route[];
  /** Let the kernel forward what is written: needed unless all egress is raw; default true. */
  readonly forward?: boolean;
  /** How the loop learns of packets; default: "loop", and "worker" where that does not work. */
  readonly watch?: "loop" | "worker";
}

/** Of a device that was given no other. */
export const TUN_DEFAULTS = { mtu: 1500, queueLen: 4096 } as const;
/** IP's largest packet. */
const PACKET_MAX = 65535;
/**
 * A batch of super-packets ends with the packet that brings it beyond this, the third one of 64 KiB: the next node
 * begins with them while the next batch is read, and all copies of a packet stay in a second-level cache.
 */
const BATCH_BYTES = 160 << 10;

/** Opens and configures a device of one queue. Resolves when packets are being reported. */
export async function openTun(options: TunOptions): Promise<TunLink> {
  const { name, persist = false, offload = true, routes = [], forward = true } = options;
  const mtu = options.mtu ?? TUN_DEFAULTS.mtu;
  const found = claimDevice(name);
  const { fd } = openTunDevice({ name, kind: "tun", vnetHeader: true, offload });
  const link = new TunLink(fd, { name, mtu, offload, persist, routes, queue: 0 });
  try {
    // A device that is not to persist must go with us, also if its predecessor wanted it to stay.
    setPersistent(fd, persist);
    const queueLen = options.queueLen ?? TUN_DEFAULTS.queueLen;
    setUpDevice({ name, mtu, queueLen, routes, forward });
    await link.start(options.watch);
    return link;
  } catch (error) {
    if (persist && !found) link.forget();
    link.close();
    throw error;
  }
}

interface TunLinkOptions {
  readonly name: string;
  readonly mtu: number;
  readonly offload: boolean;
  readonly persist: boolean;
  readonly routes: readonly Route[];
  /** Which of the device's this is. */
  readonly queue: number;
}

/** A queue of a device that somebody else has set up, and takes away. */
export interface TunQueueOptions {
  /** The descriptor of the queue; the link closes it. */
  readonly fd: number;
  readonly queue: number;
  readonly name: string;
  readonly mtu: number;
  readonly offload: boolean;
  readonly watch?: "loop" | "worker";
}

/** Resolves when packets are being reported. */
export async function openTunQueue({ fd, watch, ...options }: TunQueueOptions): Promise<TunLink> {
  const link = new TunLink(fd, { ...options, persist: true, routes: [] });
  try {
    await link.start(watch);
    return link;
  } catch (error) {
    link.close();
    throw error;
  }
}

export class TunLink implements Link {
  readonly name: string;
  readonly device: string;
  readonly mtu: number;
  readonly gso: boolean;
  readonly counters = {
    rxPackets: 0,
    rxBytes: 0,
    /** The virtio_net_hdr does not fit its packet. */
    rxMalformed: 0,
    /** Longer than a slot. */
    rxTruncated: 0,
    rxErrors: 0,
    txPackets: 0,
    txBytes: 0,
    /** The device's queue or the kernel's memory is full. */
    txFull: 0,
    /** The device is down. */
    txDown: 0,
    /** The kernel does not accept the packet or its offload fields. */
    txRefused: 0,
    txErrors: 0,
    wakeups: 0,
  };
  #fd: number;
  #options: TunLinkOptions;
  #libc: Libc = libc();
  #watcher: Watcher | undefined;
  /** What both batches lie in, each by a view of its own. */
  #memory: ArrayBufferLike | undefined;
  #address = 0;
  /** The self-test's packet, until it has been read. */
  #probe: Uint8Array | undefined;
  #onReadable: (() => void) | undefined;
  #onError: ((error: Error) => void) | undefined;
  #error: Error | undefined;
  /** The watcher reported while nobody listened. */
  #unheard = false;
  #persist: boolean;
  #drained = true;

  /** Use `openTun`. */
  constructor(fd: number, options: TunLinkOptions) {
    this.#fd = fd;
    this.#options = options;
    this.#persist = options.persist;
    this.device = options.name;
    this.name = `tun ${options.name}`;
    this.mtu = options.mtu;
    this.gso = options.offload;
  }

  /** How the loop learns of packets. */
  get watcher(): "loop" | "worker" | undefined {
    return this.#watcher?.kind;
  }

  get drained(): boolean {
    return this.#drained;
  }

  /** Packets that the kernel dropped because this reader was late. */
  get kernelDrops(): number {
    return deviceDrops(this.device);
  }

  receive(batch: PacketBatch): number {
    const watcher = this.#watcher;
    this.#drained = true;
    if (this.#fd < 0 || !watcher) return 0;
    if (batch.memory.buffer !== this.#memory) this.#attach(batch.memory);
    const room = batch.slotBytes + VNET_BYTES;
    let count = 0;
    let reads = 0;
    let left = BATCH_BYTES;
    if (watcher.pending.length > 0) {
      const bytes = watcher.pending;
      const fits = bytes.length < room;
      if (fits) batch.memory.set(bytes, batch.ptr(0) - VNET_BYTES);
      watcher.taken();
      if (this.#accept(batch, 0, fits ? bytes.length : room)) count = 1;
      reads = 1;
    }
    // Bounded by reads, not by good packets: malformed ones must not keep the loop here.
    for (; reads < batch.length && left > 0; reads += 1) {
      const to = this.#address + batch.ptr(count) - VNET_BYTES;
      const length = this.#libc.read(this.#fd, to, room);
      if (length <= 0) {
        this.#readFailed(-length);
        return count;
      }
      left -= length;
      if (this.#accept(batch, count, length)) count += 1;
    }
    this.#drained = false;
    return count;
  }

  transmit(batch: PacketBatch, index: number): boolean {
    if (this.#fd < 0) return false;
    if (batch.memory.buffer !== this.#memory) this.#attach(batch.memory);
    writeVnetHeader(batch, index);
    const from = this.#address + batch.ptr(index) - VNET_BYTES;
    const length = batch.len(index);
    const result = this.#libc.write(this.#fd, from, length + VNET_BYTES);
    if (result < 0) return this.#writeFailed(-result);
    this.counters.txPackets += 1;
    this.counters.txBytes += length;
    return true;
  }

  flush(): void {
    // Every packet is written at once.
  }

  onReadable(callback: () => void): void {
    this.#onReadable = callback;
    if (!this.#unheard) return;
    this.#unheard = false;
    setImmediate(() => this.#watcher?.report());
  }

  onError(callback: (error: Error) => void): void {
    this.#onError = callback;
    if (this.#error) callback(this.#error);
  }

  close(): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    this.#watcher?.close();
    this.#watcher = undefined;
    try {
      if (!this.#persist) tearDownDevice(this.device, this.#options.routes);
    } finally {
      this.#libc.close(fd);
    }
  }

  /** The device shall go with this link after all. */
  forget(): void {
    setPersistent(this.#fd, false);
    this.#persist = false;
  }

  /** Begins to watch the device; `openTun` calls it once. */
  async start(watch: "loop" | "worker" | undefined): Promise<void> {
    const readable = () => this.#readable();
    const failed = (error: Error) => this.#fail(error);
    if (watch !== "worker") {
      let broken: Error | undefined;
      let tested = false;
      this.#watcher = watchByLoop(this.#fd, PACKET_MAX + VNET_BYTES + 1, {
        readable,
        failed: (error) => (tested ? failed(error) : (broken = error)),
      });
      tested = await this.#selfTest(() => broken !== undefined);
      if (tested) return;
      this.#watcher.close();
      if (watch === "loop") {
        const got = broken?.message ?? "nothing";
        const message = `${this.name}: expected the loop to report a packet, got ${got}`;
        throw new BatonError("ERR_BATON_WATCHER", message);
      }
    }
    this.#watcher = watchByWorker(this.#fd, { readable, failed });
  }

  /**
   * Sends a packet out of the device that only its reader sees, and looks whether the loop reports it.
   * That is a question of the loop's turns, not of time: a packet that waits is reported within two.
   */
  async #selfTest(isBroken: () => boolean): Promise<boolean> {
    this.#probe = probePacket(this.#options.queue);
    try {
      sendPacket(this.device, ETH_P_IP, new Uint8Array(0), this.#probe);
    } catch (error) {
      if (!errno.isUnavailable(error)) throw error;
      this.#probe = undefined; // no privilege for it: take the watcher that needs no test
      return false;
    }
    for (let turn = 0; turn < SELF_TEST_TURNS_MAX && !isBroken(); turn += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.counters.wakeups > 0) return true;
    }
    return false;
  }

  #attach(memory: Uint8Array): void {
    this.#memory = memory.buffer;
    this.#address = this.#libc.address(memory);
  }

  #readable(): boolean {
    this.counters.wakeups += 1;
    if (!this.#onReadable) {
      this.#unheard = true;
      return false;
    }
    this.#onReadable();
    return true;
  }

  /** Looks at `length` bytes read into slot `index`, header included; false: the slot is free again. */
  #accept(batch: PacketBatch, index: number, length: number): boolean {
    const packetLen = length - VNET_BYTES;
    if (packetLen >= batch.slotBytes) {
      this.counters.rxTruncated += 1; // no packet fills a slot: more was cut off
      return false;
    }
    if (this.#probe && this.#isProbe(batch, index, packetLen)) return false;
    if (!readVnetHeader(batch, index, packetLen)) {
      this.counters.rxMalformed += 1;
      return false;
    }
    this.counters.rxPackets += 1;
    this.counters.rxBytes += packetLen;
    return true;
  }

  #isProbe(batch: PacketBatch, index: number, length: number): boolean {
    const ptr = batch.ptr(index);
    if (this.#probe?.length !== length) return false;
    if (!this.#probe.every((byte, at) => batch.memory[ptr + at] === byte)) return false;
    this.#probe = undefined;
    return true;
  }

  #readFailed(code: number): void {
    if (code === errno.EAGAIN) this.#watcher?.drained();
    else if (code === errno.EBADFD) this.#fail(errno.errnoError(this.name, code));
    else if (code !== errno.EINTR) this.counters.rxErrors += 1;
  }

  #writeFailed(code: number): false {
    const { counters } = this;
    if (code === errno.EAGAIN || code === errno.ENOBUFS || code === errno.ENOMEM) {
      counters.txFull += 1;
    } else if (code === errno.EIO) counters.txDown += 1;
    else if (code === errno.EINVAL) counters.txRefused += 1;
    else counters.txErrors += 1;
    if (code === errno.EBADFD) this.#fail(errno.errnoError(this.name, code));
    return false;
  }

  #fail(cause: Error): void {
    if (this.#error || this.#fd < 0) return;
    const message = `${this.name}: expected the device to stay, got ${cause.message}`;
    this.#error = new BatonError("ERR_BATON_DEVICE_GONE", message, { cause });
    this.#onError?.(this.#error);
  }
}

const SELF_TEST_TURNS_MAX = 100;

/**
 * An IPv4 packet from nowhere to nowhere of an experimental protocol, with 16 random bytes. The identification names
 * the queue that it is for.
 */
function probePacket(queue: number): Uint8Array {
  const packet = new Uint8Array(36);
  packet.set([0x45, 0, 0, packet.length, 0, queue, 0, 0, 1, PROBE_PROTOCOL]);
  packet.set(randomBytes(16), 20);
  return packet;
}
