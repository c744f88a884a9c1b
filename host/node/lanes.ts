/**
 * How many handoffs to one target are under way at once; the others wait in line, while their connections
 * work on. A burst that went all at once would queue its blobs behind each other, the last ones past
 * T_MOVE and T_RESOLVE. Knows order and a limit; must not know what a handoff is.
 */
import { Numbered } from "../transport/numbered.ts";

/** Empty lanes that are kept: their targets are asked for again and again. */
const KEPT_MAX = 64;

interface Lane<T> {
  readonly target: string;
  underWay: number;
  /** By their numbers, which rise in the order of arrival. */
  readonly waiting: Numbered<T>;
}

/** A place in a lane: under way, or waiting under a number. */
interface Ticket<T> {
  readonly lane: Lane<T>;
  readonly number: number;
}

/** What stands in a lane, or in none. Only `Lanes` writes the field. */
export interface InLane<T> {
  ticket: Ticket<T> | undefined;
}

export class Lanes<T extends InLane<T>> {
  readonly #max: number;
  readonly #lanes = new Map<string, Lane<T>>();
  #last = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** True: it may go now. False: it waits, and a later `leave` returns it. */
  enter(item: T, target: string): boolean {
    let lane = this.#lanes.get(target);
    if (!lane) this.#lanes.set(target, (lane = { target, underWay: 0, waiting: new Numbered() }));
    item.ticket = { lane, number: ++this.#last };
    if (lane.underWay >= this.#max) {
      lane.waiting.set(this.#last, item);
      return false;
    }
    lane.underWay++;
    return true;
  }

  /** It is over, or waits no more; returns who may go in its place. */
  leave(item: T): T | undefined {
    if (!item.ticket) return undefined;
    const { lane, number } = item.ticket;
    item.ticket = undefined;
    if (lane.waiting.delete(number)) return undefined;
    const first = lane.waiting.firstKey();
    if (first === undefined) {
      lane.underWay--;
      if (lane.underWay === 0 && this.#lanes.size > KEPT_MAX) this.#lanes.delete(lane.target);
      return undefined;
    }
    const next = lane.waiting.get(first);
    lane.waiting.delete(first);
    return next;
  }
}
