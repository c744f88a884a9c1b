/**
 * Where packets enter and leave a node. Batch-first: packets live in slots of the core's linear memory
 * from the read to the write. A link knows descriptors and bytes; must not know what a packet means.
 */
import type { PacketBatch } from "../core/batch.ts";

export interface Link {
  /** For messages: "tun baton0". */
  readonly name: string;
  readonly mtu: number;
  /**
   * True: takes packets above the MTU with `gsoType` set (64 KiB segmentation offload). False: the
   * sender must build packets of at most `mtu` bytes; unfinished checksums are taken either way.
   */
  readonly gso: boolean;
  /** Reads into the slots of the batch from index 0 on, fills its descriptors; returns the count, 0 when none waits. */
  receive(batch: PacketBatch): number;
  /**
   * Whether the last `receive` found no more. One that did not may have stopped before the batch was full:
   * after many bytes, so that they are dealt with while they are in the processor's caches.
   */
  readonly drained: boolean;
  /**
   * Writes packet `index` of the batch, offload fields included; a link may gather packets until `flush`,
   * so the slot must stay untouched until then. False: the device refused it (full queue, link down);
   * the link has counted it, the sender need not.
   */
  transmit(batch: PacketBatch, index: number): boolean;
  /** Writes what `transmit` gathered. Call after each batch, before its slots are used again. */
  flush(): void;
  /** Calls back on the loop whenever packets may be waiting, until close. A later callback replaces it. */
  onReadable(callback: () => void): void;
  /** Calls back when the device is gone or broken. */
  onError(callback: (error: Error) => void): void;
  close(): void;
  readonly counters: Readonly<Record<string, number>>;
}
