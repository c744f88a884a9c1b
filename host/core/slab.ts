/**
 * Room for packets: pieces of large arrays, each given out once. Knows lengths only. An array of its own for every
 * packet costs the engine an allocation outside its heap, zeroing and a finalizer, several times what a copy costs.
 */
const SLAB_BYTES = 1 << 18;
/** Arrays this small lie in the engine's heap, and are cheaper than a piece. */
const OWN_BYTES_MAX = 64;
const ALIGN = 8;

let slab = new Uint8Array(SLAB_BYTES);
let used = 0;

/** Zeroed bytes that nobody else has. */
export function room(length: number): Uint8Array {
  if (length <= OWN_BYTES_MAX || length > SLAB_BYTES) return new Uint8Array(length);
  if (used + length > SLAB_BYTES) {
    slab = new Uint8Array(SLAB_BYTES);
    used = 0;
  }
  const piece = slab.subarray(used, used + length);
  used += (length + ALIGN - 1) & -ALIGN;
  return piece;
}

/** A copy of the bytes `from` .. `to`. */
export function copy(bytes: Uint8Array, from = 0, to = bytes.length): Uint8Array {
  if (to - from <= OWN_BYTES_MAX) return bytes.slice(from, to);
  const piece = room(to - from);
  piece.set(bytes.subarray(from, to));
  return piece;
}
