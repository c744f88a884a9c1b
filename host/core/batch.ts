/**
 * A batch of packet descriptors in linear memory, with typed access to their fields. The layout is
 * assembly/layout.ts `Descriptor`; the offsets come from the module's exported globals.
 */
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
