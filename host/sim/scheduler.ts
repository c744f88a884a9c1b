/**
 * Virtual time: a queue of things to do, in order of time and, within one time, of their making. Knows
 * nothing else. No sleep: time jumps to the next entry.
 */
import type { Clock } from "../node/environment.ts";

interface Entry {
  readonly atUs: number;
  readonly order: number;
  readonly action: () => void;
}

/** 2026-01-01, so that what derives from wall time is the same in every run. */
const WALL_START_MS = 1_767_225_600_000;

export class Scheduler implements Clock {
  /** What is due later than when it was asked for. */
  readonly #heap: Entry[] = [];
  /** What was asked for at this very time, from `#soonAt` on: all of it was made after what the heap has for it. */
  readonly #soon: (() => void)[] = [];
  #soonAt = 0;
  #nowUs = 1;
  #order = 0;

  nowUs(): number {
    return this.#nowUs;
  }

  get wallStartMs(): number {
    return WALL_START_MS;
  }

  wallMs(): number {
    return WALL_START_MS + Math.floor(this.#nowUs / 1000);
  }

  /** Wall time to the microsecond. */
  wallUs(): number {
    return WALL_START_MS * 1000 + this.#nowUs;
  }

  get pending(): number {
    return this.#heap.length + this.#soon.length - this.#soonAt;
  }

  at(atUs: number, action: () => void): void {
    if (atUs > this.#nowUs) this.#push({ atUs, order: this.#order++, action });
    else this.#soon.push(action);
  }

  after(delayUs: number, action: () => void): void {
    this.at(this.#nowUs + delayUs, action);
  }

  /** Does the next thing, moving time to it. False: nothing is left, or nothing until `untilUs`. */
  step(untilUs = Infinity): boolean {
    const next = this.#heap[0];
    const isNow = next !== undefined && next.atUs <= this.#nowUs;
    if (!isNow && this.#soonAt < this.#soon.length) {
      if (this.#nowUs > untilUs) return false;
      this.#takeSoon()();
      return true;
    }
    if (!next || next.atUs > untilUs) return false;
    this.#pop();
    this.#nowUs = next.atUs;
    next.action();
    return true;
  }

  #takeSoon(): () => void {
    const action = this.#soon[this.#soonAt++] as () => void;
    if (this.#soonAt === this.#soon.length) {
      this.#soon.length = 0;
      this.#soonAt = 0;
    }
    return action;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!before(entry, heap[parent] as Entry)) break;
      heap[index] = heap[parent] as Entry;
      index = parent;
    }
    heap[index] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Entry;
    if (heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      const right = child + 1;
      if (right < heap.length && before(heap[right] as Entry, heap[child] as Entry)) child = right;
      if (!before(heap[child] as Entry, last)) break;
      heap[index] = heap[child] as Entry;
      index = child;
    }
    heap[index] = last;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.atUs < b.atUs || (a.atUs === b.atUs && a.order < b.order);
}
