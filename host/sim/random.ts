/**
 * Seeded randomness for the simulator: xoshiro128** (Blackman and Vigna, 2018) seeded by splitmix32.
 * Knows numbers only. Not for secrets.
 */
import type { Random } from "../node/environment.ts";

export class SeededRandom implements Random {
  readonly #state = new Uint32Array(4);
  readonly #seed: number;

  constructor(seed: number) {
    this.#seed = seed >>> 0;
    let x = this.#seed;
    for (let index = 0; index < 4; index++) {
      x = (x + 0x9e3779b9) >>> 0;
      let z = x;
      z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
      this.#state[index] = z ^ (z >>> 16);
    }
  }

  /** A whole number in 0 .. 2^32 - 1. */
  u32(): number {
    const s = this.#state;
    const a = s[0]!;
    const b = s[1]!;
    const c = s[2]!;
    const d = s[3]!;
    const scrambled = Math.imul(rotateLeft(Math.imul(b, 5), 7), 9) >>> 0;
    const c2 = c ^ a;
    const d2 = d ^ b;
    s[1] = b ^ c2;
    s[0] = a ^ d2;
    s[2] = c2 ^ (b << 9);
    s[3] = rotateLeft(d2, 11);
    return scrambled;
  }

  /** A number in [0, 1). */
  fraction(): number {
    return this.u32() / 4294967296;
  }

  /** A whole number in 0 .. limit - 1. */
  below(limit: number): number {
    return Math.floor(this.fraction() * limit);
  }

  /** True in `percent` of all cases. */
  chance(percent: number): boolean {
    return percent > 0 && this.fraction() * 100 < percent;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }

  bytes(length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let index = 0; index < length; index++) out[index] = this.u32();
    return out;
  }

  /** The stream of that name: always the same one, whatever was drawn from this one or from others. */
  child(name: number | string): SeededRandom {
    let mixed = Math.imul(this.#seed ^ 0x5bd1e995, 0x9e3779b1);
    for (const part of typeof name === "number" ? [name] : [...name].map((c) => c.charCodeAt(0))) {
      mixed = Math.imul(mixed ^ (mixed >>> 15) ^ part, 0x85ebca6b);
    }
    return new SeededRandom(mixed ^ (mixed >>> 13));
  }

  /** An independent stream, so that one consumer more does not change what the others draw. */
  fork(): SeededRandom {
    return new SeededRandom(this.u32());
  }
}

function rotateLeft(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by));
}
