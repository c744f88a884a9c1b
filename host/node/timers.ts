/**
 * The timers of PROTOCOL section 9 and a queue of deadlines. Timers give progress; safety rests on the
 * inequalities that `timersFault` checks: records outlive the frozen copy, the lease ends before the
 * tombstone, the quarantine outlives a datagram and the early packets.
 */
export interface Timers {
  readonly moveUs: number;
  readonly resolveUs: number;
  readonly heartbeatUs: number;
  readonly deadUs: number;
  readonly earlyUs: number;
  readonly recoverUs: number;
  readonly frozenUs: number;
  readonly leaseUs: number;
  readonly recordUs: number;
  readonly quarantineUs: number;
  readonly tombUs: number;
  /** How long a client is silent before the owner is asked whether it still has the flow. */
  readonly idleUs: number;
}

export const SUSPECT_HEARTBEATS = 3;

export const TIMERS: Timers = {
  // Long enough for a burst of blobs over a path that loses packets: what is late is not lost, and a
  // transport that gives up says so. Asking too early cancels handoffs that were about to arrive.
  moveUs: 2_000_000,
  // A target that is alive but busy answers later than one would think; one that is not is declared dead.
  resolveUs: 2_000_000,
  heartbeatUs: 250_000,
  deadUs: 5_000_000,
  earlyUs: 1_000_000,
  recoverUs: 3_000_000,
  frozenUs: 10_000_000,
  leaseUs: 30_000_000,
  recordUs: 60_000_000,
  quarantineUs: 60_000_000,
  tombUs: 60_000_000,
  idleUs: 300_000_000,
};

/** Which constraint of PROTOCOL section 9 the timers break; undefined when none. */
export function timersFault(timers: Timers): string | undefined {
  if (timers.frozenUs >= timers.recordUs) return "T_FROZEN must be below T_RECORD";
  if (timers.leaseUs >= timers.tombUs) return "T_LEASE must be below T_TOMB";
  if (timers.earlyUs >= timers.quarantineUs) return "T_EARLY must be below T_QUARANTINE";
  if (timers.moveUs + timers.resolveUs + timers.recoverUs >= timers.frozenUs) {
    return "T_FROZEN must be above T_MOVE + T_RESOLVE + T_RECOVER";
  }
  return undefined;
}

/** Something with at most one deadline at a time. Only `Deadlines` writes the field. */
export interface Timed {
  deadlineUs: number;
}

/** Places left behind that are kept whatever else there is. */
const STALE_MIN = 64;

/**
 * A binary heap of deadlines. Changing one leaves its old place behind, which is skipped when due. They go
 * when they are more than the others: most deadlines never come, and what they name is to be freed before.
 */
export class Deadlines<T extends Timed> {
  private readonly heap: { readonly atUs: number; readonly item: T }[] = [];
  /** About how many places were left behind. */
  private stale = 0;

  /** Deadlines, and what others have left behind. */
  get places(): number {
    return this.heap.length;
  }

  /** Infinity: none. */
  set(item: T, atUs: number): void {
    if (item.deadlineUs === atUs) return;
    if (item.deadlineUs !== Infinity) this.leave();
    item.deadlineUs = atUs;
    if (atUs === Infinity) return;
    this.heap.push({ atUs, item });
    this.up(this.heap.length - 1);
  }

  nextUs(): number {
    for (let first = this.heap[0]; first !== undefined; first = this.heap[0]) {
      if (first.item.deadlineUs === first.atUs) return first.atUs;
      this.removeFirst();
    }
    return Infinity;
  }

  /** One item whose time has come; its deadline is cleared. */
  takeDue(nowUs: number): T | undefined {
    if (this.nextUs() > nowUs) return undefined;
    const item = this.removeFirst();
    item.deadlineUs = Infinity;
    return item;
  }

  /** Before the deadline changes, so that its own place counts as one of the others. */
  private leave(): void {
    this.stale++;
    if (this.stale <= STALE_MIN || 2 * this.stale <= this.heap.length) return;
    let kept = 0;
    for (const place of this.heap) {
      if (place.item.deadlineUs === place.atUs) this.heap[kept++] = place;
    }
    this.heap.length = kept;
    for (let index = this.heap.length >> 1; index >= 0; index--) this.down(index);
    this.stale = 1;
  }

  private at(index: number): number {
    return this.heap[index]?.atUs ?? Infinity;
  }

  private swap(a: number, b: number): void {
    const first = this.heap[a];
    const second = this.heap[b];
    if (!first || !second) return;
    this.heap[a] = second;
    this.heap[b] = first;
  }

  private removeFirst(): T {
    this.swap(0, this.heap.length - 1);
    const last = this.heap.pop();
    this.down(0);
    if (!last) throw new Error("deadlines: expected an item, got an empty heap");
    return last.item;
  }

  private up(index: number): void {
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (this.at(parent) <= this.at(index)) return;
      this.swap(parent, index);
      index = parent;
    }
  }

  private down(index: number): void {
    for (;;) {
      const left = 2 * index + 1;
      const least = this.at(left + 1) < this.at(left) ? left + 1 : left;
      if (this.at(index) <= this.at(least)) return;
      this.swap(index, least);
      index = least;
    }
  }
}
