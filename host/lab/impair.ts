/**
 * What a bad path does to packets: loss, delay, jitter, reordering, duplication, corruption. Sans-IO and
 * seeded: what happens to the n-th packet follows from the seed and n alone, when it leaves from the
 * times handed in. Knows packets as bytes; must not know devices or clocks.
 */
import { BatonError } from "../errors.ts";

export interface Impairment {
  /** Each percentage: of packets, 0 to 100, independent of each other. */
  readonly lossPercent?: number;
  readonly delayMs?: number;
  /** The delay varies evenly by this much to both sides; packets keep their order. */
  readonly jitterMs?: number;
  /** Held back until one to three later packets have gone, 10 ms at most. */
  readonly reorderPercent?: number;
  readonly duplicatePercent?: number;
  /** One bit behind the IP header is flipped, so that TCP's checksum has to notice. */
  readonly corruptPercent?: number;
  /** Lost besides: the n-th packets of more than bare headers, counted from 1 since this was set. */
  readonly lose?: readonly number[];
}

export interface ImpairCounters {
  packets: number;
  bytes: number;
  lost: number;
  duplicated: number;
  reordered: number;
  corrupted: number;
  /** More waited than the queue takes. */
  overflow: number;
  /** Went out. */
  passed: number;
}

export interface PassingPacket {
  readonly bytes: Uint8Array;
  /** When it may leave. */
  readonly dueUs: number;
}

interface Held extends PassingPacket {
  /** Later packets that must go first. */
  behind: number;
}

/** The longest packet without data: IPv6, TCP with every option. */
const BARE_BYTES = 100;
const HOLD_US = 10_000;
const BEHIND_MAX = 3;
export const QUEUE_BYTES_MAX = 256 << 20;
const COMPACT_AT = 1024;

/** True when nothing happens to single packets: then 64 KiB segments may pass whole. */
export function onlyDelays(impairment: Impairment): boolean {
  const { lossPercent, reorderPercent, duplicatePercent, corruptPercent, lose } = impairment;
  const percents = [lossPercent, reorderPercent, duplicatePercent, corruptPercent];
  return !percents.some((value) => value) && !lose?.length;
}

/** Throws ERR_BATON_CONFIG for what cannot be. */
export function checkImpairment(impairment: Impairment): void {
  const { lose = [], ...rest } = impairment;
  if (!lose.every((number) => Number.isInteger(number) && number > 0)) {
    const message = `lose: expected numbers of packets from 1 on, got ${lose.join()}`;
    throw new BatonError("ERR_BATON_CONFIG", `middlebox ${message}`);
  }
  for (const [name, value] of Object.entries(rest) as [string, unknown][]) {
    const limit = name.endsWith("Percent") ? 100 : 60_000;
    const isNumber = typeof value === "number" && value >= 0 && value <= limit;
    if (isNumber) continue;
    const message = `${name}: expected a number from 0 to ${limit}, got ${String(value)}`;
    throw new BatonError("ERR_BATON_CONFIG", `middlebox ${message}`);
  }
}

/** One direction of a path. */
export class Impairer {
  readonly counters: ImpairCounters = {
    packets: 0,
    bytes: 0,
    lost: 0,
    duplicated: 0,
    reordered: 0,
    corrupted: 0,
    overflow: 0,
    passed: 0,
  };
  readonly #random: SeededBits;
  #impairment: Required<Impairment>;
  /** In the order of leaving; its first `#head` places are used up. */
  #queue: PassingPacket[] = [];
  #head = 0;
  #queueBytes = 0;
  #lastDueUs = 0;
  #held: Held[] = [];
  /** Packets with data since the impairment was set. */
  #withData = 0;

  constructor(impairment: Impairment, seed: number) {
    this.#random = new SeededBits(seed);
    this.#impairment = complete(impairment);
  }

  /** For packets from now on. */
  change(impairment: Impairment): void {
    this.#impairment = complete(impairment);
    this.#withData = 0;
  }

  /** Takes a packet; `bytes` is kept, and changed when it is to be corrupted. */
  handlePacket(bytes: Uint8Array, headerOff: number, nowUs: number): void {
    const { counters } = this;
    const random = this.#random;
    counters.packets += 1;
    counters.bytes += bytes.length - headerOff;
    // Every packet draws the same numbers, whatever becomes of it: the n-th one's fate depends on n.
    const isLost = random.percent(this.#impairment.lossPercent);
    const isTwice = random.percent(this.#impairment.duplicatePercent);
    const isCorrupt = random.percent(this.#impairment.corruptPercent);
    const bit = random.fraction();
    const isLate = random.percent(this.#impairment.reorderPercent);
    const behind = 1 + Math.floor(random.fraction() * BEHIND_MAX);
    const spread = (random.fraction() * 2 - 1) * this.#impairment.jitterMs;
    const hasData = bytes.length - headerOff > BARE_BYTES;
    if (hasData) this.#withData += 1;
    if (isLost || (hasData && this.#impairment.lose.includes(this.#withData))) {
      counters.lost += 1;
      return;
    }
    if (isCorrupt) this.#corrupt(bytes, headerOff, bit);
    const delayUs = Math.max(0, this.#impairment.delayMs + spread) * 1000;
    const dueUs = nowUs + delayUs;
    if (isTwice) counters.duplicated += 1;
    for (let copies = isTwice ? 2 : 1; copies > 0; copies -= 1) {
      if (isLate) this.#hold(bytes, dueUs, behind);
      else this.#enqueue(bytes, dueUs);
    }
    if (isLate) counters.reordered += 1;
    else this.#releaseHeld();
  }

  /** The next packet that may leave now; undefined when none may. */
  pollPacket(nowUs: number): Uint8Array | undefined {
    this.#expireHeld(nowUs);
    const first = this.#queue[this.#head];
    if (first === undefined || first.dueUs > nowUs) return undefined;
    this.#head += 1;
    if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    this.#queueBytes -= first.bytes.length;
    this.counters.passed += 1;
    return first.bytes;
  }

  /** Infinity when nothing waits. */
  nextTimeoutUs(): number {
    const first = this.#queue[this.#head]?.dueUs ?? Infinity;
    return this.#held.reduce((least, held) => Math.min(least, held.dueUs + HOLD_US), first);
  }

  #enqueue(bytes: Uint8Array, dueUs: number): void {
    if (this.#queueBytes + bytes.length > QUEUE_BYTES_MAX) {
      this.counters.overflow += 1;
      return;
    }
    this.#queueBytes += bytes.length;
    this.#lastDueUs = Math.max(this.#lastDueUs, dueUs);
    this.#queue.push({ bytes, dueUs: this.#lastDueUs });
  }

  #hold(bytes: Uint8Array, dueUs: number, behind: number): void {
    this.#held.push({ bytes, dueUs, behind });
  }

  /** One more packet has gone past those that are held. */
  #releaseHeld(): void {
    if (this.#held.length === 0) return;
    for (const held of this.#held) held.behind -= 1;
    const free = this.#held.filter((held) => held.behind <= 0);
    this.#held = this.#held.filter((held) => held.behind > 0);
    for (const { bytes, dueUs } of free) this.#enqueue(bytes, dueUs);
  }

  #expireHeld(nowUs: number): void {
    if (this.#held.length === 0) return;
    const late = this.#held.filter((held) => held.dueUs + HOLD_US <= nowUs);
    this.#held = this.#held.filter((held) => held.dueUs + HOLD_US > nowUs);
    for (const { bytes, dueUs } of late) this.#enqueue(bytes, dueUs + HOLD_US);
  }

  #corrupt(bytes: Uint8Array, headerOff: number, bit: number): void {
    const isV4 = (bytes[headerOff] ?? 0) >> 4 === 4;
    const bodyOff = headerOff + (isV4 ? ((bytes[headerOff] ?? 0) & 15) * 4 : 40);
    if (bodyOff >= bytes.length) return;
    const index = Math.floor(bit * (bytes.length - bodyOff) * 8);
    bytes[bodyOff + (index >> 3)]! ^= 1 << (index & 7);
    this.counters.corrupted += 1;
  }
}

function complete(impairment: Impairment): Required<Impairment> {
  return {
    lossPercent: 0,
    delayMs: 0,
    jitterMs: 0,
    reorderPercent: 0,
    duplicatePercent: 0,
    corruptPercent: 0,
    lose: [],
    ...impairment,
  };
}

/** xoshiro128** (Blackman and Vigna, 2018), seeded by splitmix32. Not for secrets. */
class SeededBits {
  readonly #state = new Uint32Array(4);
  readonly #word = new Uint32Array(1);

  constructor(seed: number) {
    const mix = new Uint32Array([seed]);
    for (let index = 0; index < 4; index += 1) {
      mix[0]! += 0x9e3779b9;
      let z = Math.imul(mix[0]! ^ (mix[0]! >>> 16), 0x85ebca6b);
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
      this.#state[index] = z ^ (z >>> 16);
    }
  }

  /** In [0, 1). */
  fraction(): number {
    const s = this.#state;
    const word = this.#word;
    word[0] = Math.imul(rotate(Math.imul(s[1]!, 5), 7), 9);
    const shifted = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= shifted;
    s[3] = rotate(s[3]!, 11);
    return word[0]! / 4294967296;
  }

  percent(percent: number): boolean {
    return this.fraction() * 100 < percent;
  }
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}
