/**
 * The `xdp` link: AF_XDP with frames and rings inside the core's memory. The host polls, wakes and counts; packets
 * without a next hop leave by a raw socket, through the kernel. Knows devices and their descriptors; must not know
 * what packets mean, nor Ethernet headers. docs/xdp.md.
 */
import { arch } from "node:os";
import { setTimeout as wait } from "node:timers/promises";
import type { PacketBatch } from "../core/batch.ts";
import type { Core } from "../core/core.ts";
import type { Rings } from "../core/rings.ts";
import { BatonError } from "../errors.ts";
import { addressBytes, macBytes } from "../linux/address.ts";
import {
  attachXdp,
  createMap,
  loadProgram,
  MapType,
  updateMap,
  type XdpMode,
} from "../linux/bpf.ts";
import { deviceIndex, deviceMac, deviceMtu, isUp } from "../linux/device.ts";
import { driverOf, mayLeaveChecksums, receiveQueues } from "../linux/driver.ts";
import { libc, type Libc } from "../linux/libc.ts";
import * as errno from "../linux/errno.ts";
import { getOffloads, setGro } from "../linux/offload.ts";
import { checkFree } from "../linux/route.ts";
import { steerProgram } from "../linux/steer.ts";
import { pauseAfter, watchByWorker, type Watcher } from "../linux/watcher.ts";
import { XskSocket } from "../linux/xsk.ts";
import { HopKeeper } from "./hops.ts";
import type { Link } from "./link.ts";
import { openRaw, type RawLink } from "./raw.ts";

export interface XdpOptions {
  /** An Ethernet device with one active receive queue. */
  readonly device: string;
  readonly core: Core;
  /** Largest packet that the core builds. */
  readonly mtu: number;
  /** Service and tunnel addresses: their packets come here. */
  readonly addresses: readonly string[];
  /** Default: native where the driver takes the program, generic otherwise. */
  readonly mode?: XdpMode | undefined;
}

/** Of each frame; the kernel keeps the second number for itself. */
const FRAME_BYTES = 2048;
const FRAME_BYTES_LARGE = 4096;
const KERNEL_ROOM = 256;
const ETHER_BYTES = 14;
const FRAMES = 4096;
const QUEUE = 0;
const NO_MAC = "00:00:00:00:00:00";
/** Calls that ask for frames to be sent, each good for 32 at least, before the loop gets its turn. */
const KICKS_MAX = 16;
const RETRY_MS = 1;
const BIND_ATTEMPTS_MAX = 100;
const BIND_RETRY_MS = 20;

/** Parameters of a core for this link: what a frame must hold decides. */
export function xdpParameters(device: string): {
  readonly ringFrames: number;
  readonly ringFrameBytes: number;
  readonly slotBytes: number;
} {
  const mtu = deviceMtu(device);
  const room = (bytes: number): number => bytes - KERNEL_ROOM - ETHER_BYTES;
  const ringFrameBytes = mtu <= room(FRAME_BYTES) ? FRAME_BYTES : FRAME_BYTES_LARGE;
  if (mtu > room(ringFrameBytes)) {
    const wanted = `an MTU of at most ${room(FRAME_BYTES_LARGE)}`;
    throw fault(device, `expected ${wanted}, got ${mtu}`);
  }
  return { ringFrames: FRAMES, ringFrameBytes, slotBytes: FRAME_BYTES_LARGE };
}

/** Attaches the program. When it resolves, packets for the addresses come here and nowhere else. */
export async function openXdp(options: XdpOptions): Promise<XdpLink> {
  const { device, mtu, addresses } = options;
  if (arch() !== "x64") throw fault(device, `expected x86-64, got ${arch()}`);
  const mac = deviceMac(device);
  if (mac === NO_MAC) throw fault(device, "expected an Ethernet device, got one without addresses");
  if (!isUp(device)) throw fault(device, "expected the device to be up");
  if (mtu > deviceMtu(device)) {
    throw fault(device, `expected an MTU of at least ${mtu}, got ${deviceMtu(device)}`);
  }
  const queues = receiveQueues(device);
  if (queues > 1) {
    const how = `ethtool -L ${device} combined 1`;
    throw fault(device, `expected one active receive queue, got ${queues} (${how})`);
  }
  checkFree(addresses);
  const link = new XdpLink(options, mac);
  try {
    await link.start();
    return link;
  } catch (error) {
    link.close();
    throw error;
  }
}

export class XdpLink implements Link {
  readonly name: string;
  readonly mtu: number;
  readonly gso = false;
  readonly mode: XdpMode;
  readonly #device: string;
  readonly #mac: string;
  readonly #rings: Rings;
  readonly #libc: Libc = libc();
  readonly #socket: XskSocket;
  readonly #raw: RawLink;
  readonly #hops: HopKeeper;
  readonly #watcher: Watcher;
  /** The map of sockets by queue. */
  readonly #sockets: number;
  /** What is undone at the end, in reverse order. */
  readonly #cleanup: (() => void)[] = [];
  readonly #count = {
    rxPackets: 0,
    rxBytes: 0,
    txPackets: 0,
    txBytes: 0,
    /** The TX ring is full, or no frame is free. */
    txFull: 0,
    /** No packet, or checksum fields that do not fit one. */
    txRefused: 0,
    /** Handed to the kernel, which has a route or a neighbour to find. */
    viaKernel: 0,
    wakeups: 0,
    kicks: 0,
    /** The kernel could not send at once what stood in the ring; it was asked again. */
    kicksDelayed: 0,
  };
  #drained = true;
  /** Packets since the last report. */
  #since = 0;
  #onReadable: (() => void) | undefined;
  #onError: ((error: Error) => void) | undefined;
  #error: Error | undefined;
  #unheard = false;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  /** Use `openXdp`. */
  constructor(options: XdpOptions, mac: string) {
    const { device, core, mtu } = options;
    this.name = `xdp ${device}`;
    this.mtu = mtu;
    this.#device = device;
    this.#mac = mac;
    this.#rings = core.rings;
    try {
      this.#raw = openRaw({ mtu });
      this.#cleanup.push(() => this.#raw.close());
      this.#socket = new XskSocket();
      this.#cleanup.push(() => this.#socket.close());
      this.#openRings();
      this.#hops = new HopKeeper(this.#rings, deviceIndex(device), (changed) => {
        if (changed) this.#checkDevice();
      });
      this.#cleanup.push(() => this.#hops.close());
      this.#rings.flush(); // lends the first frames
      [this.mode, this.#sockets] = this.#attach(options);
      this.#watcher = watchByWorker(this.#socket.fd, {
        readable: () => this.#readable(),
        failed: (error) => this.#fail(error),
      });
      // The waiter polls the socket: it ends before the socket is closed.
      this.#cleanup.push(() => this.#watcher.close());
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get drained(): boolean {
    return this.#drained;
  }

  get watcher(): "worker" {
    return "worker";
  }

  get counters(): Readonly<Record<string, number>> {
    const { txFull, txUnroutable, txTooLong, txRefused, txErrors } = this.#raw.counters;
    return {
      ...this.#count,
      ...(this.#closed ? {} : this.#socket.statistics),
      kernelFull: txFull,
      kernelUnroutable: txUnroutable,
      kernelTooLong: txTooLong,
      kernelRefused: txRefused,
      kernelErrors: txErrors,
      hopsMade: this.#hops.made,
      hopsOverflows: this.#hops.overflows,
      native: this.mode === "native" ? 1 : 0,
    };
  }

  receive(batch: PacketBatch): number {
    this.#drained = true;
    if (this.#closed) return 0;
    const count = this.#rings.receive();
    this.#count.rxPackets += count;
    for (let index = 0; index < count; index += 1) this.#count.rxBytes += batch.len(index);
    this.#drained = count < batch.length;
    this.#since += count;
    if (this.#drained) {
      this.#watcher.drained(pauseAfter(this.#since));
      this.#since = 0;
    }
    return count;
  }

  transmit(batch: PacketBatch, index: number): boolean {
    if (this.#closed) return false;
    const count = this.#count;
    const sent = this.#rings.transmit(batch, index);
    if (sent === "queued") {
      count.txPackets += 1;
      count.txBytes += batch.len(index);
      return true;
    }
    if (sent === "by-kernel") {
      count.viaKernel += 1;
      this.#hops.missed();
      return this.#raw.transmit(batch, index);
    }
    if (sent === "full") count.txFull += 1;
    else count.txRefused += 1;
    return false;
  }

  flush(): void {
    if (this.#closed) return;
    // Its packets lie in frames, which the rings take back.
    this.#raw.flush();
    this.#rings.flush();
    this.#kick();
  }

  onReadable(callback: () => void): void {
    this.#onReadable = callback;
    if (!this.#unheard) return;
    this.#unheard = false;
    setImmediate(() => this.#watcher.report());
  }

  onError(callback: (error: Error) => void): void {
    this.#onError = callback;
    if (this.#error) callback(this.#error);
  }

  /** Takes the device's queue; `openXdp` calls it once. */
  async start(): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        this.#socket.bind(this.#device, QUEUE, this.mode === "generic");
        break;
      } catch (error) {
        const isBusy = error instanceof BatonError && error.code === "EBUSY";
        if (!isBusy || attempt === BIND_ATTEMPTS_MAX) throw error;
      }
      // The kernel lets go of a predecessor's frames some time after its descriptor was closed.
      await wait(BIND_RETRY_MS);
    }
    // Only now packets come: until a socket stands in its queue's place they go to the kernel.
    updateMap(this.#sockets, word(QUEUE), word(this.#socket.fd));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#retry);
    for (const undo of this.#cleanup.reverse()) undo();
  }

  #openRings(): void {
    const rings = this.#rings;
    const { rings: places, frames } = rings.places;
    if (frames === 0) throw fault(this.#device, "expected a core with rings");
    const base = this.#libc.address(rings.memory);
    const entries = rings.entries;
    const frameCount = entries * 2;
    const { ringFrameBytes } = xdpParameters(this.#device);
    const words = this.#socket.map({
      frames: base + frames,
      frameCount,
      frameBytes: ringFrameBytes,
      entries,
      rings: places.map((place) => base + place),
    });
    rings.open(words);
    rings.setOwnMac(macBytes(this.#mac));
    rings.setPartial(mayLeaveChecksums(driverOf(this.#device)));
  }

  /** Native first; the generic way copies in any case, and must see packets before they are coalesced. */
  #attach({ device, addresses, mode }: XdpOptions): [XdpMode, number] {
    const c = this.#libc;
    const keep = (fd: number): number => {
      this.#cleanup.push(() => c.close(fd));
      return fd;
    };
    const bytes = addresses.map(addressBytes);
    const maps = [4, 16].map((size) => {
      const keys = bytes.filter(({ length }) => length === size);
      const fd = keep(createMap(MapType.HASH, size, 4, Math.max(1, keys.length)));
      for (const key of keys) updateMap(fd, key, word(1));
      return fd;
    });
    const sockets = keep(createMap(MapType.XSK, 4, 4, QUEUE + 1));
    const [addresses4 = -1, addresses6 = -1] = maps;
    const steer = steerProgram({ addresses4, addresses6, sockets }, macBytes(this.#mac));
    const program = keep(loadProgram(steer));
    const attached = attachXdp(program, device, mode);
    keep(attached.fd);
    if (attached.mode === "generic") this.#stopCoalescing();
    return [attached.mode, sockets];
  }

  #stopCoalescing(): void {
    if (!getOffloads(this.#device).gro) return;
    if (setGro(this.#device, false)) {
      throw fault(this.#device, "expected GRO to be turned off, but the device has it fixed");
    }
    this.#cleanup.push(() => {
      if (!this.#isGone()) setGro(this.#device, true);
    });
  }

  /** Has the kernel send what stands in the ring. What it does not take now is asked for again soon. */
  #kick(): void {
    const rings = this.#rings;
    let needs = rings.needs();
    for (let round = 0; needs !== 0 && round < KICKS_MAX; round += 1) {
      if ((needs & rings.needsFill) !== 0) this.#libc.kickReceive(this.#socket.fd);
      if ((needs & rings.needsTx) === 0) return;
      this.#count.kicks += 1;
      const result = -this.#libc.kick(this.#socket.fd);
      // EAGAIN: it has done its share of one call.
      if (result !== 0 && result !== errno.EAGAIN) break;
      needs = rings.needs();
    }
    if ((needs & rings.needsTx) === 0 || this.#retry) return;
    this.#count.kicksDelayed += 1;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      if (!this.#closed) this.flush();
    }, RETRY_MS);
  }

  #readable(): boolean {
    this.#count.wakeups += 1;
    if (!this.#onReadable) {
      this.#unheard = true;
      return false;
    }
    this.#onReadable();
    return true;
  }

  /** The program compares with the MAC address that the device had: another one makes the node deaf. */
  #checkDevice(): void {
    if (this.#closed || this.#error) return;
    try {
      const mac = deviceMac(this.#device);
      if (mac === this.#mac) return;
      this.#fail(new Error(`MAC address ${mac} in place of ${this.#mac}`));
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #isGone(): boolean {
    try {
      deviceIndex(this.#device);
      return false;
    } catch {
      return true; // ENODEV is the answer, not a failure.
    }
  }

  #fail(cause: Error): void {
    if (this.#error || this.#closed) return;
    const message = `${this.name}: expected the device to stay as it was, got ${cause.message}`;
    this.#error = new BatonError("ERR_BATON_DEVICE_GONE", message, { cause });
    this.#onError?.(this.#error);
  }
}

function word(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function fault(device: string, what: string): BatonError {
  return new BatonError("ERR_BATON_KERNEL", `xdp ${device}: ${what}`);
}
