/**
 * The kernel's side of the rings of an xdp link, over a test core: lends frames, delivers packets in them, takes what
 * is to be sent. Knows the ring layout of linux/if_xdp.h as on a machine with lines of 64 bytes.
 */
import * as assert from "uvu/assert";
import { toAddress, type Address } from "./address.ts";
import { initCore, type TestParameters } from "./batch.ts";
import { type TestCore, u32 } from "./core.ts";

export const FRAMES = 256;
export const FRAME_BYTES = 2048;
export const ENTRIES = FRAMES / 2;
export const ETHER = 14;
/** XDP_PACKET_HEADROOM */
const ROOM = 256;
const PRODUCER = 0;
const CONSUMER = 64;
const FLAGS = 128;
const FIRST = 192;
export const RINGS = { rx: 0, tx: 1, fill: 2, completion: 3 } as const;
export type RingName = keyof typeof RINGS;

export const OWN_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
export const NEXT_MAC = Uint8Array.of(2, 0, 0, 0, 0, 0xfe);

export class RingKernel {
  readonly core: TestCore;
  readonly frames: number;

  constructor(core: TestCore, parameters: TestParameters = {}) {
    this.core = core;
    const rings = { ringFrames: FRAMES, ringFrameBytes: FRAME_BYTES, slotBytes: 4096 };
    assert.is(initCore(core, { ...rings, ...parameters }), 0);
    this.frames = u32(core.f.framesPtr!());
    for (const ring of Object.values(RINGS)) {
      assert.is(core.f.ringPtr!(ring) % 65536, 0, "mappings need whole pages");
      assert.is(core.f.ringOpen!(ring, PRODUCER, CONSUMER, FLAGS, FIRST), 0);
    }
    assert.is(core.f.hopOwn!(this.#scratch(OWN_MAC)), 0);
    assert.is(core.f.ringFlush!(), 0);
  }

  /** A prefix with a next hop, or one for the kernel. */
  addHop(address: Address, length: number, mac?: Uint8Array): number {
    const bytes = toAddress(address);
    const ptr = this.#scratch(bytes);
    const macPtr = mac ? this.core.write(this.core.f.spanPtr!(), mac) : 0;
    return this.core.f.hopAdd!(bytes.length === 4 ? 4 : 6, ptr, length, macPtr);
  }

  producer(ring: RingName): number {
    return this.#word(ring, PRODUCER);
  }

  consumer(ring: RingName): number {
    return this.#word(ring, CONSUMER);
  }

  setFlag(ring: RingName, on: boolean): void {
    this.#setWord(ring, FLAGS, on ? 1 : 0);
  }

  /** Frames that wait in the FILL ring. */
  get lent(): number {
    return u32(this.producer("fill") - this.consumer("fill"));
  }

  /** Takes a frame of the FILL ring, puts `frame` into it and reports it; false: none is lent. */
  deliver(frame: Uint8Array): boolean {
    if (this.lent === 0) return false;
    const at = this.consumer("fill");
    const address = Number(this.core.view.getBigUint64(this.#entry("fill", at), true));
    assert.is(address % FRAME_BYTES, 0, "whole frames are lent");
    this.#setWord("fill", CONSUMER, at + 1);
    this.core.write(this.frames + address + ROOM, frame);
    this.report(BigInt(address + ROOM), frame.length, 0);
    return true;
  }

  /** An entry of the RX ring, whatever it says. */
  report(address: bigint, length: number, options: number): void {
    const at = this.producer("rx");
    const entry = this.#entry("rx", at);
    this.core.view.setBigUint64(entry, address, true);
    this.core.view.setUint32(entry + 8, length, true);
    this.core.view.setUint32(entry + 12, options, true);
    this.#setWord("rx", PRODUCER, at + 1);
  }

  /** Takes at most `count` frames of the TX ring, and gives them back as sent unless told otherwise. */
  send(count = ENTRIES, complete = true): Uint8Array[] {
    const sent: Uint8Array[] = [];
    for (let at = this.consumer("tx"); at !== this.producer("tx") && sent.length < count;) {
      const entry = this.#entry("tx", at);
      const address = Number(this.core.view.getBigUint64(entry, true));
      const length = this.core.view.getUint32(entry + 8, true);
      assert.is(this.core.view.getUint32(entry + 12, true), 0, "no options");
      sent.push(this.core.read(this.frames + address, length));
      at = u32(at + 1);
      this.#setWord("tx", CONSUMER, at);
      if (complete) this.complete(BigInt(address));
    }
    return sent;
  }

  complete(address: bigint): void {
    const at = this.producer("completion");
    this.core.view.setBigUint64(this.#entry("completion", at), address, true);
    this.#setWord("completion", PRODUCER, at + 1);
  }

  /** Moves an index of the kernel's, as only a broken one would. */
  setIndex(ring: RingName, value: number): void {
    const isKernels = ring === "rx" || ring === "completion";
    this.#setWord(ring, isKernels ? PRODUCER : CONSUMER, value);
  }

  #word(ring: RingName, off: number): number {
    return this.core.view.getUint32(u32(this.core.f.ringPtr!(RINGS[ring])) + off, true);
  }

  #setWord(ring: RingName, off: number, value: number): void {
    this.core.view.setUint32(u32(this.core.f.ringPtr!(RINGS[ring])) + off, value, true);
  }

  #entry(ring: RingName, index: number): number {
    const size = ring === "rx" || ring === "tx" ? 16 : 8;
    return u32(this.core.f.ringPtr!(RINGS[ring])) + FIRST + (index % ENTRIES) * size;
  }

  #scratch(bytes: Uint8Array): number {
    return this.core.write(this.core.f.tuplePtr!(), bytes);
  }
}

/** A packet behind an Ethernet header, as the neighbour sends it. */
export function framed(packet: Uint8Array, pad = 0): Uint8Array {
  const frame = new Uint8Array(ETHER + packet.length + pad);
  frame.set(OWN_MAC);
  frame.set(NEXT_MAC, 6);
  frame.set(packet[0]! >> 4 === 4 ? [0x08, 0x00] : [0x86, 0xdd], 12);
  frame.set(packet, ETHER);
  return frame;
}
