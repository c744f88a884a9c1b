/**
 * Room for packets and datagrams: pieces of large arrays, each given out once. Knows lengths only. An array of its own
 * for every packet costs the engine an allocation outside its heap, zeroing and a finalizer, several times what a copy
 * costs. A piece that is kept keeps its large array.
 */

/** Arrays this small lie in the engine's heap, and are cheaper than a piece. */
const OWN_BYTES_MAX = 64;
const ALIGN = 8;

export class Slab {
  readonly #size: number;
  #bytes: Uint8Array<ArrayBuffer>;
  #used = 0;

  /** @param size  bytes of each large array; a multiple of 8 */
  constructor(size: number) {
    this.#size = size;
    this.#bytes = new Uint8Array(size);
  }

  /** Zeroed bytes that nobody else has. */
  room(length: number): Uint8Array<ArrayBuffer> {
    if (length <= OWN_BYTES_MAX || length > this.#size) return new Uint8Array(length);
    if (this.#used + length > this.#size) {
      this.#bytes = new Uint8Array(this.#size);
      this.#used = 0;
    }
    const piece = this.#bytes.subarray(this.#used, this.#used + length);
    this.#used += (length + ALIGN - 1) & -ALIGN;
    return piece;
  }

  /** A copy of the bytes `from` .. `to`. */
  copy(bytes: Uint8Array, from = 0, to = bytes.length): Uint8Array {
    if (to - from <= OWN_BYTES_MAX) return bytes.slice(from, to);
    const piece = this.room(to - from);
    piece.set(bytes.subarray(from, to));
    return piece;
  }
}
