/**
 * A batch of packet descriptors in linear memory, with typed access to their fields. The layout is
 * assembly/layout.ts `Descriptor`; the offsets come from the module's exported globals.
 */
import { constant, enumValue, type CoreModule } from "./module.ts";

export interface PacketBatch {
  /** The whole linear memory; never detaches after init. */
  readonly memory: Uint8Array;
  /** Slots in the batch. */
  readonly length: number;
  /** Bytes of free space before each packet (assembly/layout.ts SLOT_HEADROOM). */
  readonly headroom: number;
  /** Largest packet a slot takes, headroom not counted. */
  readonly slotBytes: number;
  /** Index into `memory` of the first byte of packet `index`. */
  ptr(index: number): number;
  len(index: number): number;
  setLen(index: number, len: number): void;
  /** PacketFlag bits. */
  flags(index: number): number;
  csumStart(index: number): number;
  csumOffset(index: number): number;
  gsoType(index: number): number;
  gsoSize(index: number): number;
  headerLen(index: number): number;
  /** Sets every offload field at once; all zero for a plain packet. */
  setOffload(
    index: number,
    flags: number,
    csumStart: number,
    csumOffset: number,
    gsoType: number,
    gsoSize: number,
    headerLen: number,
  ): void;
  verdict(index: number): number;
  peer(index: number): number;
  flow(index: number): number;
  record(index: number): number;
}

/** The PacketBatch over `count` descriptors at `descriptorsPtr` of a core's memory. */
export class CoreBatch implements PacketBatch {
  readonly memory: Uint8Array;
  readonly length: number;
  readonly headroom: number;
  readonly slotBytes: number;
  readonly #view: DataView;
  readonly #base: number;
  readonly #size: number;
  readonly #off: DescriptorOffsets;

  constructor(module: CoreModule, descriptorsPtr: number, slotBytes: number) {
    this.memory = new Uint8Array(module.memory.buffer);
    this.#view = new DataView(module.memory.buffer);
    this.length = constant(module, "BATCH_MAX");
    this.headroom = constant(module, "SLOT_HEADROOM");
    this.slotBytes = slotBytes;
    this.#base = descriptorsPtr;
    this.#size = constant(module, "DESCRIPTOR_SIZE");
    const at = (name: string): number => enumValue(module, "DescriptorOff", name);
    this.#off = {
      ptr: at("PTR"),
      len: at("LEN"),
      flags: at("FLAGS"),
      csumStart: at("CSUM_START"),
      csumOffset: at("CSUM_OFFSET"),
      gsoType: at("GSO_TYPE"),
      gsoSize: at("GSO_SIZE"),
      headerLen: at("HEADER_LEN"),
      verdict: at("VERDICT"),
      peer: at("PEER"),
      flow: at("FLOW"),
      record: at("RECORD"),
    };
  }

  ptr(index: number): number {
    return this.#u32(index, this.#off.ptr);
  }

  len(index: number): number {
    return this.#u32(index, this.#off.len);
  }

  setLen(index: number, len: number): void {
    this.#view.setUint32(this.#base + index * this.#size + this.#off.len, len, true);
  }

  flags(index: number): number {
    return this.#u16(index, this.#off.flags);
  }

  csumStart(index: number): number {
    return this.#u16(index, this.#off.csumStart);
  }

  csumOffset(index: number): number {
    return this.#u16(index, this.#off.csumOffset);
  }

  gsoType(index: number): number {
    return this.#u16(index, this.#off.gsoType);
  }

  gsoSize(index: number): number {
    return this.#u16(index, this.#off.gsoSize);
  }

  headerLen(index: number): number {
    return this.#u16(index, this.#off.headerLen);
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
    const at = this.#base + index * this.#size;
    const view = this.#view;
    view.setUint16(at + this.#off.flags, flags, true);
    view.setUint16(at + this.#off.csumStart, csumStart, true);
    view.setUint16(at + this.#off.csumOffset, csumOffset, true);
    view.setUint16(at + this.#off.gsoType, gsoType, true);
    view.setUint16(at + this.#off.gsoSize, gsoSize, true);
    view.setUint16(at + this.#off.headerLen, headerLen, true);
  }

  verdict(index: number): number {
    return this.#u16(index, this.#off.verdict);
  }

  peer(index: number): number {
    return this.#u32(index, this.#off.peer);
  }

  flow(index: number): number {
    return this.#u32(index, this.#off.flow);
  }

  record(index: number): number {
    return this.#u32(index, this.#off.record);
  }

  /** Copies a plain packet into slot `index`; false when it is larger than a slot. */
  place(index: number, packet: Uint8Array): boolean {
    if (packet.length > this.slotBytes) return false;
    this.memory.set(packet, this.ptr(index));
    this.setLen(index, packet.length);
    this.setOffload(index, 0, 0, 0, 0, 0, 0);
    return true;
  }

  /** Sets the flags and the two fields that a packet carries which did not come from a link. */
  setHint(index: number, flags: number, flow: number, record: number): void {
    const at = this.#base + index * this.#size;
    this.#view.setUint16(at + this.#off.flags, flags, true);
    this.#view.setUint32(at + this.#off.flow, flow, true);
    this.#view.setUint32(at + this.#off.record, record, true);
  }

  #u16(index: number, off: number): number {
    return this.#view.getUint16(this.#base + index * this.#size + off, true);
  }

  #u32(index: number, off: number): number {
    return this.#view.getUint32(this.#base + index * this.#size + off, true);
  }
}

interface DescriptorOffsets {
  readonly ptr: number;
  readonly len: number;
  readonly flags: number;
  readonly csumStart: number;
  readonly csumOffset: number;
  readonly gsoType: number;
  readonly gsoSize: number;
  readonly headerLen: number;
  readonly verdict: number;
  readonly peer: number;
  readonly flow: number;
  readonly record: number;
}
