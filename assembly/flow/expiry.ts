/**
 * A ring of keys in the order of their deadlines, for things that all live equally long: a first-in
 * first-out queue instead of a timer for each entry. Knows keys and times; an owner whose key means
 * something else by now recognises that by the stamp.
 *
 *   item, 16 bytes:  0 key u64   8 stampUs f64
 */
import { reserve } from "../layout";

/**
 *    0 base u32   4 capacity u32   8 head u32   12 count u32
 */
@unmanaged
export class Expiry {
  base: u32;
  capacity: u32;
  head: u32;
  count: u32;
}
export const EXPIRY_SIZE: u32 = 16;
if (offsetof<Expiry>() != EXPIRY_SIZE) ERROR("Expiry layout changed");
const ITEM_SHIFT: usize = 4;

/** Reserves room for `capacity` keys: between layoutBegin and layoutEnd. */
export function expiryReserve(expiryPtr: usize, capacity: u32): void {
  const expiry = changetype<Expiry>(expiryPtr);
  expiry.base = <u32>reserve((<usize>capacity) << ITEM_SHIFT);
  expiry.capacity = capacity;
  expiry.head = 0;
  expiry.count = 0;
}

/** Appends a key; false when the ring is full: pop the oldest first. Stamps must not decrease. */
export function expiryPush(expiryPtr: usize, key: u64, stampUs: f64): bool {
  const expiry = changetype<Expiry>(expiryPtr);
  if (expiry.count == expiry.capacity) return false;
  let index = expiry.head + expiry.count;
  if (index >= expiry.capacity) index -= expiry.capacity;
  const item = <usize>expiry.base + ((<usize>index) << ITEM_SHIFT);
  store<u64>(item, key);
  store<f64>(item, stampUs, 8);
  expiry.count += 1;
  return true;
}

/** Stamp of the oldest key, Infinity when there is none. */
export function expiryOldestUs(expiryPtr: usize): f64 {
  const expiry = changetype<Expiry>(expiryPtr);
  if (expiry.count == 0) return Infinity;
  return load<f64>(<usize>expiry.base + ((<usize>expiry.head) << ITEM_SHIFT), 8);
}

/** Removes and returns the oldest key; 0 when there is none. */
export function expiryPop(expiryPtr: usize): u64 {
  const expiry = changetype<Expiry>(expiryPtr);
  if (expiry.count == 0) return 0;
  const key = load<u64>(<usize>expiry.base + ((<usize>expiry.head) << ITEM_SHIFT));
  expiry.head = expiry.head + 1 == expiry.capacity ? 0 : expiry.head + 1;
  expiry.count -= 1;
  return key;
}
