/**
 * The four rings of an AF_XDP socket and the frames that go round on them. Knows which frame belongs to whom: the
 * kernel (lent, or to be sent), the rx batch, or nobody (free); must not know what a packet is. What the
 * kernel writes is bounded before use. Documentation/networking/af_xdp.rst.
 *
 *   free --ringsFlush--> FILL --kernel--> RX --ringsReceive--> rx batch --ringsTransmit--> TX
 *    ^                                                             |                       |
 *    +----------------------- ringsFlush --------------------------+     kernel            |
 *    +----------------------- ringsFlush ---------------------------- COMPLETION <---------+
 */
import { rxDescriptor, rxPacketPtr } from "../batch";
import { Counter, count } from "../counters";
import { Err } from "../errors";
import { BATCH_MAX, Descriptor, DESCRIPTOR_SIZE, GsoType, PacketFlag, reserve } from "../layout";
import { RING_FRAMES_MAX, RING_FRAMES_MIN } from "../limits";
import { ETHER_LEN, frameAccept, frameFinish, frameHeader, framePartial } from "./frame";
import { hopFind, hopsReserve } from "./hops";

export enum Ring {
  RX = 0,
  TX = 1,
  FILL = 2,
  COMPLETION = 3,
}

/** Whom ringNeeds says to wake. */
export enum RingNeed {
  NONE = 0,
  /** Frames wait in the TX ring: sendto. */
  TX = 1,
  /** The driver waits for frames of the FILL ring: recvfrom or poll. */
  FILL = 2,
}

/** A ring as this side sees it; the kernel's words lie where the pointers say. */
@unmanaged
class RingState {
  producer: u32;
  consumer: u32;
  flags: u32;
  entries: u32;
  /** Where it is to be mapped, and how many bytes there are. */
  base: u32;
  bytes: u32;
  /** This side's index, which the kernel may not have seen yet; what was read last of the kernel's. */
  own: u32;
  other: u32;
}
const RING_STATE_SIZE: usize = 32;
if (offsetof<RingState>() != RING_STATE_SIZE) ERROR("RingState layout changed");
const RINGS: usize = memory.data(128, 8);
const RING_COUNT: u32 = 4;

/** Mappings and UMEM begin at a multiple of every page size that Linux has on 64-bit machines. */
const PAGE: usize = 65536;
/** Room for the kernel's words in front of the entries: they end within 512 bytes today. */
const HEAD_LEN: u32 = 4096;
/** struct xdp_desc { addr u64, len u32, options u32 }, or an address alone. */
const DESC_SHIFT: u32 = 4;
const ADDRESS_SHIFT: u32 = 3;
/** XDP_RING_NEED_WAKEUP */
const NEED_WAKEUP: u32 = 1;
/** What the kernel keeps of each frame for itself: XDP_PACKET_HEADROOM. */
const KERNEL_ROOM: u32 = 256;
const FRAME_BYTES_SMALL: u32 = 2048;
const FRAME_BYTES_LARGE: u32 = 4096;
/** Of a batch entry whose frame has gone to the TX ring, or that lies in its slot. */
const NO_FRAME: u32 = 0xffffffff;

let frames: usize = 0;
let frameCount: u32 = 0;
let frameBytes: u32 = 0;
let entries: u32 = 0;
let mtu: u32 = 0;
/** A stack of frame addresses, offsets from `frames`. */
let free: usize = 0;
let freeCount: u32 = 0;
/** Frames in the FILL ring, in the kernel's hands, or received and not taken yet. */
let lent: u32 = 0;
/** Packets of the rx batch that lie in frames, and the frame address of each. */
let batchCount: u32 = 0;
const BATCH_FRAMES: usize = memory.data(256, 8);
let partial: bool = false;

/** Whether parameters describe rings that can be; 0 frames: none. */
export function ringsFit(wanted: u32, bytes: u32, mtuBytes: u32): bool {
  if (wanted == 0) return true;
  if (wanted < RING_FRAMES_MIN || wanted > RING_FRAMES_MAX || popcnt(wanted) != 1) return false;
  if (bytes != FRAME_BYTES_SMALL && bytes != FRAME_BYTES_LARGE) return false;
  return <u64>mtuBytes + ETHER_LEN + KERNEL_ROOM <= <u64>bytes;
}

/** Between layoutBegin and layoutEnd; `wanted` 0: no rings. */
export function ringsReserve(wanted: u32, bytes: u32, mtuBytes: u32): void {
  frames = 0;
  frameCount = wanted;
  if (wanted == 0) return;
  frameBytes = bytes;
  mtu = mtuBytes;
  entries = wanted >> 1;
  for (let ring: u32 = 0; ring < RING_COUNT; ring++) {
    const state = changetype<RingState>(statePtr(ring));
    state.bytes = HEAD_LEN + (entries << shiftOf(ring));
    state.base = <u32>reservePages(state.bytes);
    state.entries = 0;
  }
  frames = reservePages(wanted * bytes);
  free = reserve((<usize>wanted) << 2);
  hopsReserve();
}

/** After layoutEnd: every frame is free. */
export function ringsInit(): void {
  for (let index: u32 = 0; index < frameCount; index++) release(index * frameBytes);
}

/** Where ring `ring` is to be mapped; 0: there are no rings. */
export function ringsBase(ring: u32): usize {
  return frameCount == 0 ? 0 : <usize>changetype<RingState>(statePtr(ring)).base;
}

/** Entries of each ring. */
export function ringsEntries(): u32 {
  return entries;
}

/** The first frame: UMEM. 0: there are no rings. */
export function ringsFrames(): usize {
  return frames;
}

/** Offsets of the kernel's words from the ring's base. Err.ARGUMENT when they do not lie in it. */
export function ringsOpen(ring: u32, producer: u32, consumer: u32, flags: u32, first: u32): i32 {
  const state = changetype<RingState>(statePtr(ring));
  if (frameCount == 0) return Err.STATE;
  if (!isWord(producer) || !isWord(consumer) || !isWord(flags)) return Err.ARGUMENT;
  const length = entries << shiftOf(ring);
  if ((first & 7) != 0 || first > HEAD_LEN || first + length > state.bytes) return Err.ARGUMENT;
  state.producer = state.base + producer;
  state.consumer = state.base + consumer;
  state.flags = state.base + flags;
  state.entries = state.base + first;
  state.own = acquire(isProducer(ring) ? state.producer : state.consumer);
  state.other = acquire(isProducer(ring) ? state.consumer : state.producer);
  return Err.OK;
}

/** Whether TCP checksums of received packets may be unfinished: the neighbour has no wire to send them by. */
export function ringsPartial(on: bool): void {
  partial = on;
}

/** Takes packets from the RX ring into the rx batch; returns how many. */
export function ringsReceive(): u32 {
  const state = changetype<RingState>(statePtr(Ring.RX));
  if (state.entries == 0) return 0;
  giveBack();
  const available = min<u32>(acquire(state.producer) - state.own, BATCH_MAX);
  const end = state.own + available;
  let taken: u32 = 0;
  for (let at = state.own; at != end; at++) {
    const entry = <usize>(state.entries + ((at & (entries - 1)) << DESC_SHIFT));
    const address = load<u64>(entry);
    if (address >= <u64>(frameCount * frameBytes)) {
      count(Counter.RING_MALFORMED);
      continue;
    }
    if (lent > 0) lent -= 1;
    if (take(<u32>address, load<u32>(entry, 8), load<u32>(entry, 12), taken)) {
      taken += 1;
      continue;
    }
    count(Counter.RING_MALFORMED);
    release(<u32>address);
  }
  state.own = end;
  publish(state.consumer, end);
  batchCount = taken;
  return taken;
}

/** Points descriptor `index` of the rx batch at the packet of a frame. */
function take(address: u32, len: u32, options: u32, index: u32): bool {
  const offset = address & (frameBytes - 1);
  // Options: parts of a frame that continues elsewhere, which nobody asked for.
  if (options != 0 || <u64>offset + <u64>len > <u64>frameBytes) return false;
  const ptr = frames + <usize>address;
  if (!frameAccept(ptr, len)) return false;
  const descriptorPtr = rxDescriptor(index);
  for (let at = descriptorPtr; at < descriptorPtr + DESCRIPTOR_SIZE; at += 8) store<u64>(at, 0);
  const descriptor = changetype<Descriptor>(descriptorPtr);
  descriptor.ptr = <u32>ptr + ETHER_LEN;
  descriptor.len = len - ETHER_LEN;
  if (partial && framePartial(descriptorPtr)) count(Counter.RING_PARTIAL);
  store<u32>(batchFrame(index), address);
  return true;
}

/**
 * Queues a packet for transmission.
 * @param index  its place in the rx batch, or BATCH_MAX: it lies in a slot
 * @returns 1, 0 when it must go by the kernel (no next hop, too long, to be cut), Err.FULL, Err.MALFORMED
 */
export function ringsTransmit(descriptorPtr: usize, index: u32): i32 {
  const state = changetype<RingState>(statePtr(Ring.TX));
  if (state.entries == 0) return Err.STATE;
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const len = descriptor.len;
  const ptr = <usize>descriptor.ptr;
  if (len < MIN_LEN || <u64>ptr + <u64>len > (<u64>memory.size()) << 16) return Err.MALFORMED;
  if (len > mtu || <u32>descriptor.gsoType != GsoType.NONE) return 0;
  if (load<u8>(ptr) >> 4 != 4 && len < MIN_LEN_6) return Err.MALFORMED;
  const hop = hopFind(ptr);
  if (hop == 0) return 0;
  if (state.own - state.other >= entries) {
    state.other = acquire(state.consumer);
    if (state.own - state.other >= entries) return Err.FULL;
  }
  const isPartial = ((<u32>descriptor.flags) & PacketFlag.NEEDS_CSUM) != 0;
  if (isPartial && !frameFinish(descriptorPtr)) return Err.MALFORMED;
  const address = placed(ptr, len, index);
  if (address == NO_FRAME) return Err.FULL;
  frameHeader(frames + <usize>address, hop);
  const entry = <usize>(state.entries + ((state.own & (entries - 1)) << DESC_SHIFT));
  store<u64>(entry, <u64>address);
  store<u64>(entry, <u64>(len + ETHER_LEN), 8);
  state.own += 1;
  return 1;
}

/** The shortest packets whose destination can be read. */
const MIN_LEN: u32 = 20;
const MIN_LEN_6: u32 = 40;

/** Frame address of a packet to be sent: where it came in, or a copy in a free frame; NO_FRAME: none is free. */
function placed(ptr: usize, len: u32, index: u32): u32 {
  if (index < batchCount) {
    const address = load<u32>(batchFrame(index));
    if (address != NO_FRAME && ptr == frames + <usize>(address + ETHER_LEN)) {
      store<u32>(batchFrame(index), NO_FRAME);
      return address;
    }
  }
  if (freeCount == 0) return NO_FRAME;
  freeCount -= 1;
  const address = load<u32>(free + ((<usize>freeCount) << 2));
  memory.copy(frames + <usize>(address + ETHER_LEN), ptr, len);
  return address;
}

/**
 * Ends a batch: what was queued is the kernel's, frames that were not sent are free, those that were sent come
 * back, and the kernel is lent new ones. The rx descriptors name their slots again.
 */
export function ringsFlush(): void {
  if (changetype<RingState>(statePtr(Ring.TX)).entries == 0) return;
  giveBack();
  complete();
  lend();
  const state = changetype<RingState>(statePtr(Ring.TX));
  publish(state.producer, state.own);
}

/** RingNeed bits. */
export function ringsNeeds(): u32 {
  const tx = changetype<RingState>(statePtr(Ring.TX));
  const fill = changetype<RingState>(statePtr(Ring.FILL));
  if (tx.entries == 0 || fill.entries == 0) return RingNeed.NONE;
  const waits = acquire(tx.consumer) != tx.own && (acquire(tx.flags) & NEED_WAKEUP) != 0;
  const starves = (acquire(fill.flags) & NEED_WAKEUP) != 0;
  return (waits ? RingNeed.TX : RingNeed.NONE) | (starves ? RingNeed.FILL : RingNeed.NONE);
}

/** Frames that nobody has: for tests. */
export function ringsFree(): u32 {
  return freeCount;
}

/** Frames of the rx batch that were not sent. */
function giveBack(): void {
  for (let index: u32 = 0; index < batchCount; index++) {
    const address = load<u32>(batchFrame(index));
    if (address != NO_FRAME) release(address);
    changetype<Descriptor>(rxDescriptor(index)).ptr = <u32>rxPacketPtr(index);
  }
  batchCount = 0;
}

function complete(): void {
  const state = changetype<RingState>(statePtr(Ring.COMPLETION));
  if (state.entries == 0) return;
  const end = state.own + min<u32>(acquire(state.producer) - state.own, entries);
  for (let at = state.own; at != end; at++) {
    const entry = <usize>(state.entries + ((at & (entries - 1)) << ADDRESS_SHIFT));
    const address = load<u64>(entry);
    if (address < <u64>(frameCount * frameBytes)) release(<u32>address);
    else count(Counter.RING_MALFORMED);
  }
  state.own = end;
  publish(state.consumer, end);
}

/** At most half of the frames: the others are for sending. */
function lend(): void {
  const state = changetype<RingState>(statePtr(Ring.FILL));
  if (state.entries == 0) return;
  const used = state.own - acquire(state.consumer);
  const room = used < entries ? entries - used : 0;
  const wanted = lent < entries ? entries - lent : 0;
  const more = min<u32>(min<u32>(room, wanted), freeCount);
  for (let given: u32 = 0; given < more; given++) {
    freeCount -= 1;
    const entry = <usize>(state.entries + ((state.own & (entries - 1)) << ADDRESS_SHIFT));
    store<u64>(entry, <u64>load<u32>(free + ((<usize>freeCount) << 2)));
    state.own += 1;
  }
  lent += more;
  publish(state.producer, state.own);
}

/** Puts a frame on the stack; an address anywhere in the frame names it. More than there are cannot be. */
function release(address: u32): void {
  if (freeCount >= frameCount) return;
  store<u32>(free + ((<usize>freeCount) << 2), address & ~(frameBytes - 1));
  freeCount += 1;
}

function reservePages(size: u32): usize {
  return (reserve(<usize>size + PAGE) + PAGE - 1) & ~(PAGE - 1);
}

function statePtr(ring: u32): usize {
  return RINGS + <usize>ring * RING_STATE_SIZE;
}

function batchFrame(index: u32): usize {
  return BATCH_FRAMES + ((<usize>index) << 2);
}

function shiftOf(ring: u32): u32 {
  return ring == Ring.RX || ring == Ring.TX ? DESC_SHIFT : ADDRESS_SHIFT;
}

function isProducer(ring: u32): bool {
  return ring == Ring.TX || ring == Ring.FILL;
}

/** An aligned word in front of the entries, as the kernel has them. */
function isWord(off: u32): bool {
  return (off & 3) == 0 && off < HEAD_LEN;
}

/** Reads a word that the kernel writes. x86-64 keeps the order of loads, and of stores: see docs/xdp.md. */
function acquire(ptr: u32): u32 {
  return load<u32>(<usize>ptr);
}

/** Writes a word that the kernel reads, after everything before it. */
function publish(ptr: u32, value: u32): void {
  store<u32>(<usize>ptr, value);
}
