/**
 * The supply of flow identifiers of one forwarder worker in one epoch (PROTOCOL section 8). Knows which
 * identifiers are out and which rest; must not know what they name.
 *
 *   31..28 worker    27..24 slice    23..0 counter, from a random start; neither 16-bit half is zero
 *
 * Memory is fixed: two bits for each counter value and four bytes for each block of 32. `used` is set
 * when an identifier is handed out, `live` until it is released. A block notes its last release.
 * Only when that lies T_QUARANTINE back is `used` reduced to `live`. Hence an identifier whose `used` bit
 * is clear was either never out, or every release in its block, its own included, is older than the
 * quarantine: handing it out is safe, and no list of resting identifiers is needed.
 */
import type { Clock } from "./environment.ts";
import type { FlowId } from "./messages.ts";
import { isFlowId } from "./messages.ts";

const COUNTER_BITS = 24;
const COUNTER_MASK = (1 << COUNTER_BITS) - 1;
const BLOCK_BITS = 5;
/** Blocks looked at in one call; a call that finds nothing goes on where it stopped. */
const SCAN_MAX = 4096;
const ALL_USED = 0xffff_ffff;
const STAMPS = 0xffff_ffff;

export interface FlowIdOptions {
  /** 0 to 15. */
  readonly worker: number;
  /** 0 to 15; another one in each epoch. */
  readonly slice: number;
  /** Where to begin; only the low 24 bits count. */
  readonly start: number;
  readonly quarantineUs: number;
  readonly clock: Clock;
  /** Tests shrink the counter to wear it out. */
  readonly counterBits?: number;
}

export class FlowIds {
  /** Identifiers that are out now. */
  inUse = 0;
  /** Calls of `allocate` that found nothing. */
  exhausted = 0;
  private readonly prefix: number;
  private readonly size: number;
  private readonly used: Uint32Array;
  private readonly live: Uint32Array;
  /** Milliseconds of each block's last release, as `stamp` gives them; 0: none. */
  private readonly releasedMs: Uint32Array;
  private cursor: number;

  constructor(private readonly options: FlowIdOptions) {
    const bits = options.counterBits ?? COUNTER_BITS;
    this.size = 1 << bits;
    this.prefix = options.worker * 2 ** 28 + options.slice * 2 ** 24;
    this.used = new Uint32Array(this.size >> BLOCK_BITS);
    this.live = new Uint32Array(this.size >> BLOCK_BITS);
    this.releasedMs = new Uint32Array(this.size >> BLOCK_BITS);
    this.cursor = options.start & (this.size - 1);
    this.markImpossible();
  }

  /** A fresh identifier, or undefined when none is free within the search bound. */
  allocate(): FlowId | undefined {
    let blocks = 0;
    while (blocks < SCAN_MAX) {
      const counter = this.cursor;
      const block = counter >> BLOCK_BITS;
      this.sweep(block);
      const mask = 1 << (counter & 31);
      if ((this.read(this.used, block) & mask) === 0) {
        this.cursor = (counter + 1) & (this.size - 1);
        this.take(block, mask);
        return this.prefix + counter;
      }
      const isFull = this.read(this.used, block) === ALL_USED;
      this.cursor = (isFull ? (block + 1) << BLOCK_BITS : counter + 1) & (this.size - 1);
      if ((this.cursor & 31) === 0) blocks++;
    }
    this.exhausted++;
    return undefined;
  }

  /** Its quarantine begins. False: not one that is out (another slice's, or released before). */
  release(flow: FlowId): boolean {
    const counter = this.counterOf(flow);
    if (counter < 0) return false;
    const block = counter >> BLOCK_BITS;
    const mask = 1 << (counter & 31);
    if ((this.read(this.live, block) & mask) === 0) return false;
    this.live[block] = this.read(this.live, block) & ~mask;
    this.releasedMs[block] = this.stamp();
    this.inUse--;
    return true;
  }

  /** Whether it was out in this epoch, was released, and has not been handed out since. */
  isResting(flow: FlowId): boolean {
    const counter = this.counterOf(flow);
    if (counter < 0) return false;
    const block = counter >> BLOCK_BITS;
    const mask = 1 << (counter & 31);
    return (this.read(this.used, block) & ~this.read(this.live, block) & mask) !== 0;
  }

  /** Marks an identifier as out that an earlier epoch handed out, so that this one does not. */
  adopt(flow: FlowId): void {
    const counter = this.counterOf(flow);
    if (counter < 0) return;
    const block = counter >> BLOCK_BITS;
    const mask = 1 << (counter & 31);
    if ((this.read(this.live, block) & mask) === 0) this.take(block, mask);
  }

  private take(block: number, mask: number): void {
    this.used[block] = this.read(this.used, block) | mask;
    this.live[block] = this.read(this.live, block) | mask;
    this.inUse++;
  }

  /** The quarantine of a block ends T_QUARANTINE after its last release. */
  private sweep(block: number): void {
    const released = this.read(this.releasedMs, block);
    if (released === 0) return;
    const restedMs = (this.stamp() - released + STAMPS) % STAMPS;
    if (restedMs <= this.options.quarantineUs / 1000) return;
    this.releasedMs[block] = 0;
    this.used[block] = this.read(this.live, block);
    this.markImpossibleIn(block);
  }

  /** Now in whole milliseconds, never 0; wraps after 49 days, which can only lengthen a quarantine. */
  private stamp(): number {
    return (Math.floor(this.options.clock.nowUs() / 1000) % STAMPS) + 1;
  }

  private counterOf(flow: FlowId): number {
    const counter = (flow % 2 ** COUNTER_BITS) & COUNTER_MASK;
    const isOurs = flow - counter === this.prefix && counter < this.size;
    return isOurs && isFlowId(flow) ? counter : -1;
  }

  private markImpossible(): void {
    for (let block = 0; block < this.used.length; block++) this.markImpossibleIn(block);
  }

  /** An identifier with a zero half counts as used for ever. */
  private markImpossibleIn(block: number): void {
    const first = this.prefix + (block << BLOCK_BITS);
    if (first < 0x10000) this.used[block] = ALL_USED;
    else if (first % 0x10000 === 0) this.used[block] = this.read(this.used, block) | 1;
  }

  private read(array: Uint32Array, index: number): number {
    return array[index] ?? 0;
  }
}
