/**
 * A hierarchical timer wheel over connection blocks: setting, moving and expiring cost O(1), and a block
 * without a deadline costs nothing. Knows when to look at a block again; must not know why.
 *
 * Six levels of 64 slots; a slot of level n spans 64^n ticks of 128 us, so the wheel reaches 99 days ahead.
 * One 64-bit map a level says which slots hold anything: the next one is found by counting zeros. A block
 * lies where its earliest deadline at the time of insertion put it. Deadlines that move later (every ACK
 * moves the RTO) leave it there: it is looked at too early once, and put back.
 */
import { reserve } from "../layout";
import { Tcb, tcbAt, tcbIndex } from "./tcb";

const LEVELS: u32 = 6;
const SLOT_BITS: u32 = 6;
const SLOTS: u32 = 1 << SLOT_BITS;
const TICK_SHIFT: u32 = 7;
/** Microseconds by which a timer may fire late. */
export const TICK_US: u64 = 1 << TICK_SHIFT;
const TICKS_MAX: u64 = ((<u64>1) << (SLOT_BITS * LEVELS)) - 1;

/** Heads of the slots, u32 each; maps, u64 each. */
let slotsPtr: usize = 0;
let mapsPtr: usize = 0;
/** Every tick before this one was expired. */
let tick: u64 = 0;
/** Blocks put into a slot so far: what the wheel's work amounts to. */
let moves: u64 = 0;

/** Between layoutBegin and layoutEnd. */
export function wheelReserve(now: u64): void {
  slotsPtr = reserve(LEVELS * SLOTS * 4);
  mapsPtr = reserve(LEVELS * 8);
  tick = now >> TICK_SHIFT;
  moves = 0;
}

/** Blocks put into a slot so far, for whoever counts the work. */
export function wheelMoves(): u64 {
  return moves;
}

/** Makes the wheel look at the block at `whenUs` at the latest; an earlier date that is set stays. */
export function wheelArm(ptr: usize, whenUs: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.wheelSlot != 0) {
    if (tcb.wheelUs <= whenUs) return;
    wheelDisarm(ptr);
  }
  tcb.wheelUs = whenUs;
  insert(ptr, (whenUs + (TICK_US - 1)) >> TICK_SHIFT);
}

export function wheelDisarm(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.wheelSlot == 0) return;
  const slot = tcb.wheelSlot - 1;
  const headPtr = slotsPtr + ((<usize>slot) << 2);
  if (tcb.wheelPrev != 0) changetype<Tcb>(tcbAt(tcb.wheelPrev)).wheelNext = tcb.wheelNext;
  else store<u32>(headPtr, tcb.wheelNext);
  if (tcb.wheelNext != 0) changetype<Tcb>(tcbAt(tcb.wheelNext)).wheelPrev = tcb.wheelPrev;
  if (load<u32>(headPtr) == 0) mapClear(slot);
  tcb.wheelSlot = 0;
  tcb.wheelNext = 0;
  tcb.wheelPrev = 0;
}

/** When wheelPop may have something to give, as microseconds; u64.MAX_VALUE when nothing is armed. */
export function wheelNextUs(): u64 {
  const next = nextTick();
  return next == u64.MAX_VALUE ? next : next << TICK_SHIFT;
}

/**
 * Takes one block whose date has come out of the wheel.
 * @returns its address, or 0 when no date up to `now` is left. Bounded: each call moves time forward,
 *   moves a block down a level, or returns one
 */
export function wheelPop(now: u64): usize {
  const nowTick = now >> TICK_SHIFT;
  let next = nextTick();
  while (next <= nowTick) {
    if (tick != next) {
      tick = next;
      cascade();
    }
    const slot = <u32>(tick & (SLOTS - 1));
    const index = load<u32>(slotsPtr + ((<usize>slot) << 2));
    if (index != 0) {
      const ptr = tcbAt(index);
      wheelDisarm(ptr);
      return ptr;
    }
    next = nextTick();
  }
  if (tick < nowTick) tick = nowTick;
  return 0;
}

/** The earliest tick at which a slot expires or must be spread over the level below. */
function nextTick(): u64 {
  let best = u64.MAX_VALUE;
  for (let level: u32 = 0; level < LEVELS; level++) {
    const map = load<u64>(mapsPtr + ((<usize>level) << 3));
    if (map == 0) continue;
    const shift = level * SLOT_BITS;
    const at = tick >> shift;
    // The slot in which `tick` lies has been spread already, unless the level is 0.
    const first: u64 = level == 0 ? 0 : 1;
    const position = (at + first) & (SLOTS - 1);
    const distance = ctz<u64>(rotr<u64>(map, position)) + first;
    const when = (at + distance) << shift;
    if (when < best) best = when;
  }
  return best;
}

/** Spreads the slots of the upper levels that begin at `tick` over the levels below. */
function cascade(): void {
  for (let level: u32 = LEVELS - 1; level > 0; level--) {
    const shift = level * SLOT_BITS;
    if ((tick & (((<u64>1) << shift) - 1)) != 0) continue;
    const slot = level * SLOTS + <u32>((tick >> shift) & (SLOTS - 1));
    let index = load<u32>(slotsPtr + ((<usize>slot) << 2));
    while (index != 0) {
      const ptr = tcbAt(index);
      const tcb = changetype<Tcb>(ptr);
      index = tcb.wheelNext;
      wheelDisarm(ptr);
      insert(ptr, (tcb.wheelUs + (TICK_US - 1)) >> TICK_SHIFT);
    }
  }
}

function insert(ptr: usize, whenTick: u64): void {
  let when = max<u64>(whenTick, tick);
  when = min<u64>(when, tick + TICKS_MAX - ((<u64>1) << (SLOT_BITS * (LEVELS - 1))));
  // The level is decided by the highest digit in which the date differs from now, so that no slot is
  // met before its time and none is a whole turn away.
  const differs = when ^ tick;
  const level = differs == 0 ? 0 : (63 - <u32>clz<u64>(differs)) / SLOT_BITS;
  const top = min<u32>(level, LEVELS - 1);
  const slot = top * SLOTS + <u32>((when >> (top * SLOT_BITS)) & (SLOTS - 1));
  const headPtr = slotsPtr + ((<usize>slot) << 2);
  const head = load<u32>(headPtr);
  const index = tcbIndex(ptr);
  const tcb = changetype<Tcb>(ptr);
  moves++;
  tcb.wheelSlot = slot + 1;
  tcb.wheelPrev = 0;
  tcb.wheelNext = head;
  if (head != 0) changetype<Tcb>(tcbAt(head)).wheelPrev = index;
  store<u32>(headPtr, index);
  const mapPtr = mapsPtr + ((<usize>top) << 3);
  store<u64>(mapPtr, load<u64>(mapPtr) | ((<u64>1) << (slot & (SLOTS - 1))));
}

function mapClear(slot: u32): void {
  const mapPtr = mapsPtr + (((<usize>slot) >> SLOT_BITS) << 3);
  store<u64>(mapPtr, load<u64>(mapPtr) & ~((<u64>1) << (slot & (SLOTS - 1))));
}
