/**
 * How many handoffs to one target are under way at once; the others wait in line, while their connections
 * work on. A burst that went all at once would queue its blobs behind each other, the last ones past
 * T_MOVE and T_RESOLVE. Knows order and a limit; must not know what a handoff is.
 */

interface Lane<T> {
  underWay: number;
  /** In the order of arrival. */
  readonly waiting: Set<T>;
}

export class Lanes<T> {
  readonly #max: number;
  readonly #lanes = new Map<string, Lane<T>>();
  readonly #laneOf = new Map<T, string>();

  constructor(max: number) {
    this.#max = max;
  }

  /** True: it may go now. False: it waits, and a later `leave` returns it. */
  enter(item: T, target: string): boolean {
    const lane = this.#lanes.get(target) ?? { underWay: 0, waiting: new Set<T>() };
    this.#lanes.set(target, lane);
    this.#laneOf.set(item, target);
    if (lane.underWay >= this.#max) {
      lane.waiting.add(item);
      return false;
    }
    lane.underWay++;
    return true;
  }

  /** It is over, or waits no more; returns who may go in its place. */
  leave(item: T): T | undefined {
    const target = this.#laneOf.get(item);
    const lane = target === undefined ? undefined : this.#lanes.get(target);
    if (target === undefined || lane === undefined) return undefined;
    this.#laneOf.delete(item);
    if (lane.waiting.delete(item)) return undefined;
    for (const next of lane.waiting) {
      lane.waiting.delete(next);
      return next;
    }
    lane.underWay--;
    if (lane.underWay === 0) this.#lanes.delete(target);
    return undefined;
  }
}
