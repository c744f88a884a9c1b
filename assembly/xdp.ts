/**
 * The ABI of the rings: exported functions and argument checks, no logic. docs/xdp.md.
 *
 *   once:       init with ringFrames -> map the rings at ringPtr, register framesPtr -> ringOpen each
 *               -> hopOwn, hopAdd ... -> ringFlush, which lends the first frames
 *   each turn:  ringReceive -> handlePackets -> ringTransmit the TRANSMIT ones -> ringFlush -> ringNeeds
 */
import { isFamily, isReadable } from "./argument";
import { rxDescriptor, txDescriptor } from "./batch";
import { clockReady } from "./clock";
import { Err } from "./errors";
import { BATCH_MAX } from "./layout";
import * as frame from "./ring/frame";
import * as hops from "./ring/hops";
import * as rings from "./ring/rings";

/** Where the kernel's ring (enum Ring) is to be mapped: a multiple of 64 KiB. 0: there are no rings. */
export function ringPtr(ring: u32): usize {
  return isRing(ring) && clockReady() ? rings.ringsBase(ring) : 0;
}

/** Entries of each of the four rings: half of ringFrames. */
export function ringEntries(): u32 {
  return clockReady() ? rings.ringsEntries() : 0;
}

/** Where the frames lie, ringFrames of ringFrameBytes each: a multiple of 64 KiB. 0: there are none. */
export function framesPtr(): usize {
  return clockReady() ? rings.ringsFrames() : 0;
}

/** Frames that are neither lent to the kernel nor waiting to be sent. */
export function framesFree(): u32 {
  return clockReady() ? rings.ringsFree() : 0;
}

/**
 * Offsets from ringPtr of the kernel's words and of the first entry, as XDP_MMAP_OFFSETS names them. ARGUMENT when
 * they do not lie in the ring, STATE without rings.
 */
export function ringOpen(ring: u32, producer: u32, consumer: u32, flags: u32, first: u32): i32 {
  if (!clockReady()) return Err.STATE;
  if (!isRing(ring)) return Err.ARGUMENT;
  return rings.ringsOpen(ring, producer, consumer, flags, first);
}

/** 1: TCP checksums of received packets may be unfinished, and are known by their value (docs/xdp.md). */
export function ringPartial(on: u32): i32 {
  rings.ringsPartial(on != 0);
  return Err.OK;
}

/** Points the rx batch at received packets; returns how many. Those of the batch before are gone. */
export function ringReceive(): i32 {
  return clockReady() ? <i32>rings.ringsReceive() : Err.STATE;
}

/**
 * Queues packet `index` of the rx batch, or of the tx batch with `tx` 1. 1: it is queued. 0: it must go by the kernel,
 * unchanged. FULL: no room or no frame. MALFORMED: no packet. STATE: ringOpen was not called.
 */
export function ringTransmit(tx: u32, index: u32): i32 {
  if (!clockReady()) return Err.STATE;
  if (index >= BATCH_MAX) return Err.ARGUMENT;
  if (tx != 0) return rings.ringsTransmit(txDescriptor(index), BATCH_MAX);
  return rings.ringsTransmit(rxDescriptor(index), index);
}

/** Ends a batch: queued packets go to the kernel, frames come back, the rx descriptors name their slots. */
export function ringFlush(): i32 {
  if (!clockReady()) return Err.STATE;
  rings.ringsFlush();
  return Err.OK;
}

/** RingNeed bits: whom to wake. */
export function ringNeeds(): i32 {
  return clockReady() ? <i32>rings.ringsNeeds() : Err.STATE;
}

/** The device's own MAC address: 6 bytes at macPtr, with room for 16. */
export function hopOwn(macPtr: usize): i32 {
  if (!isReadable(macPtr)) return Err.ARGUMENT;
  frame.frameOwn(macPtr);
  return Err.OK;
}

/** Forgets every next hop. */
export function hopClear(): i32 {
  hops.hopsClear();
  return Err.OK;
}

/**
 * Appends a prefix: family, 16 bytes at addrPtr, length in bits, and 6 bytes at macPtr (with room for 16) or 0 for
 * "by the kernel". The first prefix that fits a destination decides. Returns its index; FULL (HOPS_MAX), ARGUMENT.
 */
export function hopAdd(family: u32, addrPtr: usize, length: u32, macPtr: usize): i32 {
  if (!clockReady() || rings.ringsFrames() == 0) return Err.STATE;
  if (!isFamily(family) || !isReadable(addrPtr)) return Err.ARGUMENT;
  if (length > (family == 4 ? 32 : 128)) return Err.ARGUMENT;
  if (macPtr != 0 && !isReadable(macPtr)) return Err.ARGUMENT;
  return hops.hopsAdd(family, addrPtr, length, macPtr);
}

/** 1: packets asked for this entry since the last call; 0: none did. */
export function hopUsed(index: u32): i32 {
  return hops.hopsUsed(index) ? 1 : 0;
}

function isRing(ring: u32): bool {
  return ring <= <u32>rings.Ring.COMPLETION;
}
