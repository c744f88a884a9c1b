/**
 * Packets of a device as they pass, through a ring that the kernel shares (AF_PACKET, TPACKET_V3). Knows
 * packet(7) and Documentation/networking/packet_mmap.rst; must not know what a packet says. Each
 * packet comes from its IP header on: the socket takes link headers off.
 */
import { BatonError } from "../errors.ts";
import { deviceIndex } from "./device.ts";
import { AF_INET, AF_PACKET, libc, SOCK_DGRAM, SOL_SOCKET } from "./libc.ts";

const SOL_PACKET = 263;
const PACKET_RX_RING = 5;
const PACKET_STATISTICS = 6;
const PACKET_VERSION = 10;
const TPACKET_V3 = 2;
const SO_ATTACH_FILTER = 26;
const ETH_P_ALL = 3;
const SIOCGIFNAME = 0x8910;
const BPF_RET = 6;

const BLOCK_BYTES = 1 << 18;
const FRAME_BYTES = 2048; // Only a unit of account in version 3.
const RETIRE_MS = 10;
/** In a block: where its status, its count of packets and the first of them are. */
const STATUS = 8;
const COUNT = 12;
const FIRST = 16;
const FROM_KERNEL = 0;
const FROM_USER = 1;
/** struct sockaddr_ll follows struct tpacket3_hdr. */
const LINK_ADDRESS = 48;
const OUTGOING = 4;

export interface RingPacket {
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly deviceIndex: number;
  /** EtherType: 0x0800, 0x86dd, ... */
  readonly protocol: number;
  readonly outgoing: boolean;
  /** On the wire. */
  readonly length: number;
  /** In the ring: valid until the callback returns. */
  readonly bytes: Uint8Array;
}

export interface RingOptions {
  /** Undefined: every device of the namespace. */
  readonly device: string | undefined;
  /** Bytes to keep of each packet. */
  readonly snapLen: number;
  /** Memory of the ring. */
  readonly ringBytes: number;
}

export class PacketRing {
  readonly fd: number;
  readonly #memory: Uint8Array;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #blocks: number;
  #next = 0;

  constructor(options: RingOptions) {
    const c = libc();
    // Protocol 0: nothing arrives before the ring and the filter stand.
    this.fd = c.socket(AF_PACKET, SOCK_DGRAM, 0);
    this.#blocks = Math.max(2, Math.ceil(options.ringBytes / BLOCK_BYTES));
    c.setsockopt(this.fd, SOL_PACKET, PACKET_VERSION, TPACKET_V3);
    const request = Uint32Array.of(
      BLOCK_BYTES,
      this.#blocks,
      FRAME_BYTES,
      (BLOCK_BYTES / FRAME_BYTES) * this.#blocks,
      RETIRE_MS,
      0,
      0,
    );
    c.setsockoptBytes(this.fd, SOL_PACKET, PACKET_RX_RING, new Uint8Array(request.buffer));
    this.#memory = c.mapShared(this.fd, BLOCK_BYTES * this.#blocks);
    this.#view = new DataView(this.#memory.buffer);
    this.#words = new Int32Array(this.#memory.buffer);
    cutTo(this.fd, options.snapLen);
    const address = new Uint8Array(20);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_PACKET, true);
    view.setUint16(2, ETH_P_ALL);
    if (options.device !== undefined) view.setInt32(4, deviceIndex(options.device), true);
    c.bind(this.fd, address);
  }

  /** Hands every packet of the blocks that are full or timed out to `take`; returns how many. */
  drain(take: (packet: RingPacket) => void): number {
    let count = 0;
    for (let seen = 0; seen < this.#blocks; seen += 1) {
      const start = this.#next * BLOCK_BYTES;
      const status = (start + STATUS) >> 2;
      if ((Atomics.load(this.#words, status) & FROM_USER) === 0) break;
      count += this.#drainBlock(start, take);
      Atomics.store(this.#words, status, FROM_KERNEL);
      this.#next = (this.#next + 1) % this.#blocks;
    }
    return count;
  }

  #drainBlock(start: number, take: (packet: RingPacket) => void): number {
    const view = this.#view;
    const count = view.getUint32(start + COUNT, true);
    let at = start + view.getUint32(start + FIRST, true);
    for (let index = 0; index < count; index += 1) {
      const from = at + view.getUint16(at + 26, true);
      take({
        seconds: view.getUint32(at + 4, true),
        nanoseconds: view.getUint32(at + 8, true),
        deviceIndex: view.getInt32(at + LINK_ADDRESS + 4, true),
        protocol: view.getUint16(at + LINK_ADDRESS + 2),
        outgoing: view.getUint8(at + LINK_ADDRESS + 10) === OUTGOING,
        length: view.getUint32(at + 16, true),
        bytes: this.#memory.subarray(from, from + view.getUint32(at + 12, true)),
      });
      at += view.getUint32(at, true);
    }
    return count;
  }

  /** Packets that the kernel offered, and those of them that found no room; counted anew each time. */
  statistics(): { packets: number; dropped: number } {
    const bytes = libc().getsockoptBytes(this.fd, SOL_PACKET, PACKET_STATISTICS, 12);
    const view = new DataView(bytes.buffer);
    return { packets: view.getUint32(0, true), dropped: view.getUint32(4, true) };
  }
}

/** Packets wait in their block for at most this long. */
export const RING_DELAY_MS = RETIRE_MS;

/** A filter of one instruction, "return n": accepts everything and cuts it. */
function cutTo(fd: number, snapLen: number): void {
  const program = new Uint8Array(8);
  const view = new DataView(program.buffer);
  view.setUint16(0, BPF_RET, true);
  view.setUint32(4, snapLen, true);
  const descriptor = new Uint8Array(16); // struct sock_fprog
  const fields = new DataView(descriptor.buffer);
  fields.setUint16(0, 1, true);
  fields.setBigUint64(8, BigInt(libc().address(program)), true);
  libc().setsockoptBytes(fd, SOL_SOCKET, SO_ATTACH_FILTER, descriptor);
}

/** "if7" when the device has gone meanwhile. */
export function deviceName(index: number): string {
  const request = new Uint8Array(40);
  new DataView(request.buffer).setInt32(16, index, true);
  const fd = libc().socket(AF_INET, SOCK_DGRAM, 0);
  try {
    libc().ioctl(fd, SIOCGIFNAME, request, `device ${index}`);
  } catch (error) {
    if (error instanceof BatonError) return `if${index}`;
    throw error;
  } finally {
    libc().close(fd);
  }
  return new TextDecoder().decode(request.subarray(0, request.indexOf(0)));
}
