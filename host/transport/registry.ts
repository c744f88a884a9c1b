/**
 * A map for what comes and goes thousands of times a second. Knows keys and values; must not know what they are.
 *
 * V8 gives a Map a new table after so many insertions and deletions, and lets the old table refer to the new one,
 * for the sake of iterators. As soon as one dead table is old enough to leave the young generation, it keeps alive
 * the one that followed it, and that the next one: all of them grow old, and with them whatever was in a Map at
 * the wrong moment. Here the tables hold numbers only; the values lie in an array that lives as long as this does.
 */

export class Registry<K, V> {
  readonly #places = new Map<K, number>();
  readonly #values: (V | undefined)[] = [];
  /** Places in `#values` that are empty, the last one emptied first. */
  readonly #free: number[] = [];

  get size(): number {
    return this.#places.size;
  }

  has(key: K): boolean {
    return this.#places.has(key);
  }

  get(key: K): V | undefined {
    const place = this.#places.get(key);
    return place === undefined ? undefined : this.#values[place];
  }

  /** A key that is there already keeps its turn. */
  set(key: K, value: V): void {
    let place = this.#places.get(key);
    if (place === undefined) {
      place = this.#free.pop() ?? this.#values.length;
      this.#places.set(key, place);
    }
    this.#values[place] = value;
  }

  /** Whether it was there. */
  delete(key: K): boolean {
    const place = this.#places.get(key);
    if (place === undefined) return false;
    this.#places.delete(key);
    this.#values[place] = undefined;
    this.#free.push(place);
    return true;
  }

  clear(): void {
    for (const key of [...this.#places.keys()]) this.delete(key);
  }

  /** The key that has been there for longest. */
  firstKey(): K | undefined {
    for (const key of this.#places.keys()) return key;
    return undefined;
  }

  /** In the order in which their keys came; what is deleted meanwhile is left out, what comes is added. */
  keys(): IterableIterator<K> {
    return this.#places.keys();
  }

  /** In the same order. */
  *values(): IterableIterator<V> {
    for (const place of this.#places.values()) yield this.#values[place] as V;
  }
}
