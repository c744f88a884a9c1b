/**
 * A registry (registry.ts) whose keys are whole numbers: identifiers of flows, messages and connections, looked up a
 * dozen times for each connection that is handed over. Knows keys and values; must not know what they are.
 *
 * A table of places, probed one after the other, and the places in a list in the order in which their keys came. All
 * are arrays of numbers that grow by doubling and stay: whatever comes and goes, the collector has nothing to do. A
 * Map of V8's takes four times as long for each step, and walks over all that was deleted to find its first key.
 */

const FIRST_PLACES = 16;
const NONE = -1;
/** 2^32 over the golden ratio: keys that follow each other come to lie far apart (Knuth, TAOCP 3, 6.4). */
const SPREAD = 0x9e3779b1;

export class Numbered<V> {
  #size = 0;
  /** By place. A place that is free is in the list of free ones, by `#after`. */
  #keys = new Float64Array(FIRST_PLACES);
  #values: (V | undefined)[] = new Array<V | undefined>(FIRST_PLACES).fill(undefined);
  #before = new Int32Array(FIRST_PLACES);
  #after = new Int32Array(FIRST_PLACES);
  /** When the key of a place came, counted; 0: the place is free. */
  #turns = new Float64Array(FIRST_PLACES);
  /** Twice as long, a power of two: a place, or NONE. */
  #table = new Int32Array(2 * FIRST_PLACES).fill(NONE);
  #shift = 32 - Math.log2(2 * FIRST_PLACES);
  #first = NONE;
  #last = NONE;
  #free = NONE;
  /** Places from here on were never used. */
  #fresh = 0;
  #turn = 0;

  get size(): number {
    return this.#size;
  }

  has(key: number): boolean {
    return this.#table[this.#find(key)] !== NONE;
  }

  get(key: number): V | undefined {
    const place = this.#table[this.#find(key)]!;
    return place === NONE ? undefined : this.#values[place];
  }

  /** A key that is there already keeps its turn. */
  set(key: number, value: V): void {
    const at = this.#find(key);
    const place = this.#table[at]!;
    if (place === NONE) this.#add(key, value, at);
    else this.#values[place] = value;
  }

  /** Whether it was there. */
  delete(key: number): boolean {
    const at = this.#find(key);
    const place = this.#table[at]!;
    if (place === NONE) return false;
    this.#vacate(at);
    const before = this.#before[place]!;
    const after = this.#after[place]!;
    if (before === NONE) this.#first = after;
    else this.#after[before] = after;
    if (after === NONE) this.#last = before;
    else this.#before[after] = before;
    this.#values[place] = undefined;
    this.#turns[place] = 0;
    this.#after[place] = this.#free;
    this.#free = place;
    this.#size -= 1;
    return true;
  }

  clear(): void {
    while (this.#first !== NONE) this.delete(this.#keys[this.#first]!);
  }

  /** The key that has been there for longest. */
  firstKey(): number | undefined {
    return this.#first === NONE ? undefined : this.#keys[this.#first];
  }

  /** In the order in which their keys came; what is deleted meanwhile is left out, what comes is added. */
  *keys(): IterableIterator<number> {
    for (const place of this.#places()) yield this.#keys[place]!;
  }

  /** In the same order. */
  *values(): IterableIterator<V> {
    for (const place of this.#places()) yield this.#values[place] as V;
  }

  *#places(): IterableIterator<number> {
    let turn = 0;
    for (let place = this.#first; place !== NONE;) {
      turn = this.#turns[place]!;
      yield place;
      place = this.#turns[place] === turn ? this.#after[place]! : this.#later(turn);
    }
  }

  /** The first place whose key came after a turn: where a walk goes on whose place was deleted. */
  #later(turn: number): number {
    let place = this.#first;
    while (place !== NONE && this.#turns[place]! <= turn) place = this.#after[place]!;
    return place;
  }

  /** Where in the table the key's place is, or would be. */
  #find(key: number): number {
    const table = this.#table;
    const keys = this.#keys;
    const mask = table.length - 1;
    let at = Math.imul(key, SPREAD) >>> this.#shift;
    for (let place = table[at]!; place !== NONE; place = table[at]!) {
      if (keys[place] === key) return at;
      at = (at + 1) & mask;
    }
    return at;
  }

  #add(key: number, value: V, at: number): void {
    let place = this.#free;
    if (place !== NONE) this.#free = this.#after[place]!;
    else {
      if (this.#fresh === this.#keys.length) {
        this.#grow();
        at = this.#find(key);
      }
      place = this.#fresh;
      this.#fresh += 1;
    }
    this.#table[at] = place;
    this.#keys[place] = key;
    this.#values[place] = value;
    this.#turn += 1;
    this.#turns[place] = this.#turn;
    this.#before[place] = this.#last;
    this.#after[place] = NONE;
    if (this.#last === NONE) this.#first = place;
    else this.#after[this.#last] = place;
    this.#last = place;
    this.#size += 1;
  }

  /** Empties an entry of the table; those behind it that belong nearer move up (Knuth, 6.4, algorithm R). */
  #vacate(hole: number): void {
    const table = this.#table;
    const mask = table.length - 1;
    for (let at = (hole + 1) & mask; table[at] !== NONE; at = (at + 1) & mask) {
      const home = Math.imul(this.#keys[table[at]!]!, SPREAD) >>> this.#shift;
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      table[hole] = table[at]!;
      hole = at;
    }
    table[hole] = NONE;
  }

  /** All places are taken: twice as many. */
  #grow(): void {
    const places = 2 * this.#keys.length;
    this.#keys = wider(new Float64Array(places), this.#keys);
    this.#turns = wider(new Float64Array(places), this.#turns);
    this.#before = wider(new Int32Array(places), this.#before);
    this.#after = wider(new Int32Array(places), this.#after);
    for (let place = this.#values.length; place < places; place += 1) this.#values.push(undefined);
    this.#table = new Int32Array(2 * places).fill(NONE);
    this.#shift -= 1;
    for (let place = 0; place < this.#fresh; place += 1) {
      this.#table[this.#find(this.#keys[place]!)] = place;
    }
  }
}

function wider<A extends Float64Array | Int32Array>(to: A, from: A): A {
  to.set(from);
  return to;
}
