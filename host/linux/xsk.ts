/**
 * AF_XDP sockets: frames and rings registered at addresses of ours. Knows linux/if_xdp.h; must not know packets, nor
 * who reads the rings. Documentation/networking/af_xdp.rst.
 */
import { BatonError } from "../errors.ts";
import { deviceIndex } from "./device.ts";
import { libc, SOCK_NONBLOCK, SOCK_RAW } from "./libc.ts";

export const AF_XDP = 44;
const SOL_XDP = 283;
const MMAP_OFFSETS = 1;
const RX_RING = 2;
const TX_RING = 3;
const UMEM_REG = 4;
const FILL_RING = 5;
const COMPLETION_RING = 6;
const STATISTICS = 7;
const OPTIONS = 8;
const BIND_COPY = 2;
const BIND_NEED_WAKEUP = 8;
const IS_ZERO_COPY = 1;

/** In the order of the core's enum Ring, which is that of XDP_MMAP_OFFSETS: the option that sets its size, and where
 *  it is mapped from. */
const RINGS = [
  [RX_RING, 0],
  [TX_RING, 0x80000000],
  [FILL_RING, 0x100000000],
  [COMPLETION_RING, 0x180000000],
] as const;

/** Offsets of a ring's words from where it is mapped. */
export interface RingOffsets {
  readonly producer: number;
  readonly consumer: number;
  readonly flags: number;
  readonly first: number;
}

export interface XskMemory {
  /** Absolute addresses, multiples of the page size. */
  readonly frames: number;
  readonly frameCount: number;
  readonly frameBytes: number;
  /** Of each ring. */
  readonly entries: number;
  readonly rings: readonly number[];
}

/** Counters of the kernel: struct xdp_statistics. */
export interface XskStatistics {
  /** Too long for a frame, or no frame was lent: the latter are in rxNoFrame, too. */
  readonly rxDropped: number;
  readonly rxInvalid: number;
  readonly txInvalid: number;
  readonly rxRingFull: number;
  /** The FILL ring was empty when a packet came. */
  readonly rxNoFrame: number;
}

export class XskSocket {
  readonly fd: number;
  readonly #mapped: [number, number][] = [];

  constructor() {
    try {
      this.fd = libc().socket(AF_XDP, SOCK_RAW | SOCK_NONBLOCK, 0);
    } catch (cause) {
      if (!(cause instanceof BatonError) || cause.code !== "EAFNOSUPPORT") throw cause;
      const message = "xdp: expected a kernel with AF_XDP, got EAFNOSUPPORT";
      throw new BatonError("ERR_BATON_KERNEL", message, { cause });
    }
  }

  /** Registers the frames and puts the rings over the pages at their addresses. Where the words of each lie. */
  map(memory: XskMemory): RingOffsets[] {
    const c = libc();
    const { frames, frameCount, frameBytes, entries } = memory;
    const registration = new Uint8Array(new ArrayBuffer(32));
    const view = new DataView(registration.buffer);
    view.setBigUint64(0, BigInt(frames), true);
    view.setBigUint64(8, BigInt(frameCount * frameBytes), true);
    view.setUint32(16, frameBytes, true);
    c.setsockoptBytes(this.fd, SOL_XDP, UMEM_REG, registration);
    for (const [option] of RINGS) c.setsockopt(this.fd, SOL_XDP, option, entries);
    const bytes = c.getsockoptBytes(this.fd, SOL_XDP, MMAP_OFFSETS, 128);
    const offsets = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    return RINGS.map(([option, pageOffset], index) => {
      const word = (at: number): number => Number(offsets.getBigUint64(index * 32 + at * 8, true));
      const [producer, consumer, first, flags] = [word(0), word(1), word(2), word(3)];
      const entry = option === RX_RING || option === TX_RING ? 16 : 8;
      const address = memory.rings[index] ?? 0;
      const length = first + entries * entry;
      c.mapAt(address, length, this.fd, pageOffset);
      this.#mapped.push([address, length]);
      return { producer, consumer, flags, first };
    });
  }

  /** From now on the kernel uses the rings. */
  bind(device: string, queue: number, copy: boolean): void {
    const address = new Uint8Array(16);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_XDP, true);
    view.setUint16(2, BIND_NEED_WAKEUP | (copy ? BIND_COPY : 0), true);
    view.setUint32(4, deviceIndex(device), true);
    view.setUint32(8, queue, true);
    libc().bind(this.fd, address);
  }

  /** Whether frames go to and from the device without a copy. */
  get isZeroCopy(): boolean {
    const bytes = libc().getsockoptBytes(this.fd, SOL_XDP, OPTIONS, 4);
    return ((bytes[0] ?? 0) & IS_ZERO_COPY) !== 0;
  }

  get statistics(): XskStatistics {
    const bytes = libc().getsockoptBytes(this.fd, SOL_XDP, STATISTICS, 48);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const count = (index: number): number =>
      bytes.length < index * 8 + 8 ? 0 : Number(view.getBigUint64(index * 8, true));
    return {
      rxDropped: count(0),
      rxInvalid: count(1),
      txInvalid: count(2),
      rxRingFull: count(3),
      rxNoFrame: count(4),
    };
  }

  /** Whoever uses the rings has stopped: zeros lie in their place then. */
  close(): void {
    // A mapping keeps the socket as much as its descriptor does.
    for (const [address, length] of this.#mapped) libc().clearAt(address, length);
    libc().close(this.fd);
  }
}
