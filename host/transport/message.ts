/** One outgoing reliable message and what became of its chunks. Knows no timer and no peer. */
import { chunkCount } from "./frame.ts";
import { CHUNK_SPAN } from "./limits.ts";
import type { Outcome } from "./transport.ts";

/** States of a chunk; any value from 0 on is its place in the flight. */
export const UNSENT = -1;
export const LOST = -2;
export const ACKED = -3;

/** Index under which the DROP of a message that was given up is in flight. */
export const DROP_INDEX = -1;

/** A message that leaves while it still comes from another peer. */
export interface Arriving {
  readonly bytes: Uint8Array;
  /** Whether the bytes of a chunk are there. */
  has(index: number): boolean;
}

export class OutgoingMessage {
  bytes: Uint8Array;
  readonly length: number;
  readonly chunks: number;
  readonly onOutcome: ((outcome: Outcome) => void) | undefined;
  /** When it is given up; Infinity: never. */
  deadlineUs: number;
  /** Its number among those that have a limit of time, 0 for none. Only `MessageDeadlines` writes the field. */
  limit = 0;
  /** Drawn when its first chunk leaves; -1 before. */
  id = -1;
  /** State of each chunk; of a message that was given up, of its DROP only. */
  readonly places: number[];
  ackedCount = 0;
  /** First chunk that the receiver is not known to have. */
  ackBase = 0;
  /** First chunk that never left. */
  next = 0;
  /** Chunks to be sent again. */
  readonly lost: number[] = [];
  /** The receiver's window has room for it. */
  isAdmitted = false;
  /** It stands in the list of messages that have something to send. */
  isListed = false;
  /** Its limit passed after it had begun to leave: the receiver is told to forget it. */
  isAbandoned = false;
  isFinished = false;
  private readonly arriving: Arriving | undefined;

  /** `from`: its bytes, or the message of another peer that it is the rest of the way of. */
  constructor(
    from: Uint8Array | Arriving,
    deadlineUs: number,
    onOutcome: ((outcome: Outcome) => void) | undefined,
  ) {
    const isArriving = "has" in from;
    this.arriving = isArriving ? from : undefined;
    this.bytes = isArriving ? from.bytes : from;
    this.length = this.bytes.length;
    this.chunks = chunkCount(this.length);
    this.deadlineUs = deadlineUs;
    this.onOutcome = onOutcome;
    this.places = this.chunks === 1 ? [UNSENT] : new Array<number>(this.chunks).fill(UNSENT);
  }

  /** Costs the receiver no reassembly memory. */
  get isSmall(): boolean {
    return this.chunks === 1;
  }

  /** The first chunk that must be sent again, -1 when there is none. */
  get nextLost(): number {
    for (const { lost } = this; lost.length > 0; lost.shift()) {
      if (this.places[lost[0]!] === LOST) return lost[0]!;
    }
    return -1;
  }

  /** The first chunk that never left, -1 when there is none, or it may not leave yet, or is not here yet. */
  get nextNew(): number {
    const { next } = this;
    if (next >= this.chunks || next >= this.ackBase + CHUNK_SPAN) return -1;
    return this.arriving?.has(next) === false ? -1 : next;
  }
}

/** First in, first out, without moving what waits. */
export class Queue<T> {
  private items: (T | undefined)[] = [];
  private head = 0;

  get length(): number {
    return this.items.length - this.head;
  }

  push(item: T): void {
    this.items.push(item);
  }

  peek(): T | undefined {
    return this.items[this.head];
  }

  shift(): T | undefined {
    const item = this.items[this.head];
    if (this.head < this.items.length) {
      this.items[this.head] = undefined;
      this.head += 1;
      if (
        this.head === this.items.length ||
        (this.head > 1_024 && 2 * this.head > this.items.length)
      ) {
        this.items = this.items.slice(this.head);
        this.head = 0;
      }
    }
    return item;
  }
}
