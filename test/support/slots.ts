/** A PacketBatch over a plain ArrayBuffer: what a link needs of the core, without the core. */
import type { PacketBatch } from "../../host/core/batch.ts";

interface Fields {
  len: number;
  flags: number;
  csumStart: number;
  csumOffset: number;
  gsoType: number;
  gsoSize: number;
  headerLen: number;
}

export class SlotBatch implements PacketBatch {
  readonly memory: Uint8Array;
  readonly length: number;
  readonly headroom = 64;
  readonly slotBytes: number;
  #fields: Fields[];

  constructor(length = 64, slotBytes = 65536) {
    this.length = length;
    this.slotBytes = slotBytes;
    this.memory = new Uint8Array(new ArrayBuffer(length * (slotBytes + this.headroom)));
    this.#fields = Array.from({ length }, () => ({
      len: 0,
      flags: 0,
      csumStart: 0,
      csumOffset: 0,
      gsoType: 0,
      gsoSize: 0,
      headerLen: 0,
    }));
  }

  ptr(index: number): number {
    return index * (this.slotBytes + this.headroom) + this.headroom;
  }

  /** The packet's bytes, in place. */
  packet(index: number): Uint8Array {
    const ptr = this.ptr(index);
    return this.memory.subarray(ptr, ptr + this.len(index));
  }

  /** Puts a plain packet into a slot. */
  put(index: number, bytes: Uint8Array): void {
    this.memory.set(bytes, this.ptr(index));
    this.setLen(index, bytes.length);
    this.setOffload(index, 0, 0, 0, 0, 0, 0);
  }

  #at(index: number): Fields {
    const fields = this.#fields[index];
    if (!fields) throw new RangeError(`slot ${index} of ${this.length}`);
    return fields;
  }

  len(index: number): number {
    return this.#at(index).len;
  }
  setLen(index: number, len: number): void {
    this.#at(index).len = len;
  }
  flags(index: number): number {
    return this.#at(index).flags;
  }
  csumStart(index: number): number {
    return this.#at(index).csumStart;
  }
  csumOffset(index: number): number {
    return this.#at(index).csumOffset;
  }
  gsoType(index: number): number {
    return this.#at(index).gsoType;
  }
  gsoSize(index: number): number {
    return this.#at(index).gsoSize;
  }
  headerLen(index: number): number {
    return this.#at(index).headerLen;
  }
  setOffload(
    index: number,
    flags: number,
    csumStart: number,
    csumOffset: number,
    gsoType: number,
    gsoSize: number,
    headerLen: number,
  ): void {
    const fields = { flags, csumStart, csumOffset, gsoType, gsoSize, headerLen };
    Object.assign(this.#at(index), fields);
  }
  verdict(): number {
    return 0;
  }
  peer(): number {
    return 0;
  }
  flow(): number {
    return 0;
  }
  record(): number {
    return 0;
  }
}
