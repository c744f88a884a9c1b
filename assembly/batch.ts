/**
 * The two batches of packets that cross the ABI: descriptors and their slots, rx and tx. Knows where they
 * lie; must not know what a packet means. A slot has SLOT_HEADROOM bytes in front of the packet.
 */
import { BATCH_MAX, DESCRIPTOR_SIZE, Descriptor, SLOT_HEADROOM, reserve } from "./layout";

let rxPtr: usize = 0;
let txPtr: usize = 0;
let rxSlots: usize = 0;
let txSlots: usize = 0;
let stride: usize = 0;
let packetMax: u32 = 0;

/** Between layoutBegin and layoutEnd. `slotBytes` is the largest packet of a slot. */
export function batchReserve(slotBytes: u32): void {
  packetMax = slotBytes;
  // An odd number of cache lines, or all packets of a batch would compete for the same cache sets.
  stride = (((<usize>SLOT_HEADROOM + slotBytes + 63) >> 6) | 1) << 6;
  rxPtr = reserve(BATCH_MAX * DESCRIPTOR_SIZE);
  txPtr = reserve(BATCH_MAX * DESCRIPTOR_SIZE);
  rxSlots = reserve(stride * BATCH_MAX);
  txSlots = reserve(stride * BATCH_MAX);
}

/** After layoutEnd: points every descriptor at its slot. */
export function batchInit(): void {
  for (let index: u32 = 0; index < BATCH_MAX; index++) {
    changetype<Descriptor>(rxDescriptor(index)).ptr = <u32>slotPtr(rxSlots, index);
    txReset(index);
  }
}

/** Address of the rx descriptors: 0 before init. */
export function rxBatch(): usize {
  return rxPtr;
}

export function txBatch(): usize {
  return txPtr;
}

/** Descriptor `index` < BATCH_MAX of the rx batch. */
export function rxDescriptor(index: u32): usize {
  return rxPtr + <usize>(index * DESCRIPTOR_SIZE);
}

export function txDescriptor(index: u32): usize {
  return txPtr + <usize>(index * DESCRIPTOR_SIZE);
}

/** First byte of the packet in rx slot `index`, which the descriptor's ptr must name. */
export function rxPacketPtr(index: u32): usize {
  return slotPtr(rxSlots, index);
}

/** Zeroes tx descriptor `index`, points it at its slot, and returns where to build the packet. */
export function txReset(index: u32): usize {
  const descriptor = txDescriptor(index);
  // Every poll does this for the whole batch: a call of memory.fill for each would be most of its cost.
  for (let at = descriptor; at < descriptor + DESCRIPTOR_SIZE; at += 8) store<u64>(at, 0);
  const ptr = slotPtr(txSlots, index);
  changetype<Descriptor>(descriptor).ptr = <u32>ptr;
  return ptr;
}

/** Largest packet of a slot, headroom not counted. */
export function slotPacketMax(): u32 {
  return packetMax;
}

function slotPtr(base: usize, index: u32): usize {
  return base + stride * <usize>index + <usize>SLOT_HEADROOM;
}
