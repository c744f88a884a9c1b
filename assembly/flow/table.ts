/**
 * Open-addressing tables with linear probing and backward-shift deletion: no tombstones, so a look-up
 * never gets slower with time. Capacity is any number: the home slot is hash * capacity >> 32 (fastrange),
 * so a table is exactly as large as its limit asks for. Where entries share cache lines, probing begins at the
 * first slot of the home slot's line: a line costs one miss, so all of it is searched before the next.
 *
 * An entry is `entrySize` bytes, a multiple of 8; it is empty if and only if its first 8 bytes are zero.
 * Look-ups are written out by each user, because the key's shape decides their speed:
 *
 *   for (let entry = tableHome(t, hash); load<u64>(entry) != 0; entry = tableNext(t, entry)) ...
 *
 * which ends because a table never fills beyond its limit, and the limit is below the capacity.
 */
import { SPAN, reserve } from "../layout";

/**
 *    0 base       u32  first entry
 *    4 end        u32  one past the last entry
 *    8 entrySize  u32
 *   12 capacity   u32  slots
 *   16 limit      u32  entries it may hold, < capacity
 *   20 count      u32  entries it holds
 *   24 homeMask   u32  of the address that probing begins at
 *   28 reserved   u32
 */
@unmanaged
export class Table {
  base: u32;
  end: u32;
  entrySize: u32;
  capacity: u32;
  limit: u32;
  count: u32;
  homeMask: u32;
  reserved: u32;
}
export const TABLE_SIZE: u32 = 32;
if (offsetof<Table>() != TABLE_SIZE) ERROR("Table layout changed");

/** Bytes of a cache line; what `reserve` gives begins at one. */
const LINE: u32 = 64;

/** Reserves the slots: between layoutBegin and layoutEnd. `capacity` > `limit`. */
export function tableReserve(tablePtr: usize, entrySize: u32, limit: u32, capacity: u32): void {
  assert(limit < capacity && (entrySize & 7) == 0);
  const table = changetype<Table>(tablePtr);
  const bytes = <usize>entrySize * <usize>capacity;
  const base = reserve(bytes);
  table.base = <u32>base;
  table.end = <u32>(base + bytes);
  table.entrySize = entrySize;
  table.capacity = capacity;
  table.limit = limit;
  table.count = 0;
  table.homeMask = LINE % entrySize == 0 ? ~(LINE - 1) : ~0;
}

/** Where probing for a hash begins. */
export function tableHome(tablePtr: usize, hash: u32): usize {
  const table = changetype<Table>(tablePtr);
  const slot = <u32>((<u64>hash * <u64>table.capacity) >> 32);
  return <usize>((table.base + slot * table.entrySize) & table.homeMask);
}

/** The slot after `entry`, around the end. */
export function tableNext(tablePtr: usize, entry: usize): usize {
  const table = changetype<Table>(tablePtr);
  const next = <u32>entry + table.entrySize;
  return <usize>(next == table.end ? table.base : next);
}

/** Writes the address of the first slot and the bytes of all slots to SPAN. */
export function tableSpan(tablePtr: usize): void {
  const table = changetype<Table>(tablePtr);
  store<u32>(SPAN, table.base);
  store<u32>(SPAN, table.end - table.base, 4);
}

export function tableFull(tablePtr: usize): bool {
  const table = changetype<Table>(tablePtr);
  return table.count >= table.limit;
}

export function tableCount(tablePtr: usize): u32 {
  return changetype<Table>(tablePtr).count;
}

/** The first empty slot of a hash's probe sequence, counted as taken; the caller checked tableFull. */
export function tableClaim(tablePtr: usize, hash: u32): usize {
  const table = changetype<Table>(tablePtr);
  assert(table.count < table.limit);
  table.count += 1;
  let entry = tableHome(tablePtr, hash);
  while (load<u64>(entry) != 0) entry = tableNext(tablePtr, entry);
  return entry;
}

/**
 * Empties `entry` and moves later entries of its cluster back, so that every one stays reachable from its
 * home slot without passing an empty one. Addresses of other entries may change.
 * @param hashOf gives the hash of the key in an entry, the one it was claimed with
 */
export function tableRemove(tablePtr: usize, entry: usize, hashOf: (entry: usize) => u32): void {
  const table = changetype<Table>(tablePtr);
  const size = <usize>table.entrySize;
  const span = <u32>(table.end - table.base);
  let hole = entry;
  let probe = tableNext(tablePtr, entry);
  while (load<u64>(probe) != 0) {
    const home = tableHome(tablePtr, hashOf(probe));
    // The entry at `probe` may move into the hole if its home does not lie between the two.
    if (distance(home, probe, span) >= distance(hole, probe, span)) {
      memory.copy(hole, probe, size);
      hole = probe;
    }
    probe = tableNext(tablePtr, probe);
  }
  memory.fill(hole, 0, size);
  table.count -= 1;
}

/** Bytes from one slot forward to another, around the end. */
function distance(from: usize, to: usize, span: u32): u32 {
  return to >= from ? <u32>(to - from) : <u32>to + span - <u32>from;
}

/**
 * Entry of a slot number, for walks over the whole table in bounded steps; its first 8 bytes tell whether
 * it is empty. An entry that a removal moves during a walk may be seen twice or missed once.
 */
export function tableAt(tablePtr: usize, slot: u32): usize {
  const table = changetype<Table>(tablePtr);
  return <usize>(table.base + slot * table.entrySize);
}

export function tableCapacity(tablePtr: usize): u32 {
  return changetype<Table>(tablePtr).capacity;
}
