/**
 * What is on its way: one entry for each chunk sent and not yet resolved, oldest first. Knows places and
 * times; must not know how chunks are chosen. A ring of plain arrays, so that sending makes no object.
 */
import type { OutgoingMessage } from "./message.ts";

const FIRST_CAPACITY = 256;
/** Datagrams whose time of departure is remembered, for round trips. */
const SENT_REMEMBERED = 1_024;

export class Flight {
  /** Bytes of single-chunk messages and of others, on the wire and not resolved. */
  smallBytes = 0;
  bulkBytes = 0;
  private head = 0;
  private tail = 0;
  private capacity = FIRST_CAPACITY;
  private messages: (OutgoingMessage | undefined)[] = new Array(FIRST_CAPACITY).fill(undefined);
  private indexes: number[] = new Array(FIRST_CAPACITY).fill(0);
  private serials: number[] = new Array(FIRST_CAPACITY).fill(0);
  private times: number[] = new Array(FIRST_CAPACITY).fill(0);
  private sizes: number[] = new Array(FIRST_CAPACITY).fill(0);

  get isEmpty(): boolean {
    this.skipResolved();
    return this.head === this.tail;
  }

  /** Place of the oldest entry; only when not empty. */
  get oldest(): number {
    return this.head % this.capacity;
  }

  message(slot: number): OutgoingMessage {
    return this.messages[slot]!;
  }

  index(slot: number): number {
    return this.indexes[slot]!;
  }

  serial(slot: number): number {
    return this.serials[slot]!;
  }

  sentUs(slot: number): number {
    return this.times[slot]!;
  }

  /** Returns the place of the new entry, valid until it is resolved. */
  add(
    message: OutgoingMessage,
    index: number,
    serial: number,
    sentUs: number,
    bytes: number,
  ): number {
    if (this.tail - this.head === this.capacity) this.grow();
    const slot = this.tail % this.capacity;
    this.messages[slot] = message;
    this.indexes[slot] = index;
    this.serials[slot] = serial;
    this.times[slot] = sentUs;
    this.sizes[slot] = bytes;
    this.count(message, bytes);
    this.tail += 1;
    return this.tail - 1;
  }

  /** The entry at a place is acknowledged or lost; returns its bytes. */
  resolve(place: number): number {
    const slot = place % this.capacity;
    const message = this.messages[slot];
    if (place < this.head || message === undefined) return 0;
    this.messages[slot] = undefined;
    const bytes = this.sizes[slot]!;
    this.count(message, -bytes);
    return bytes;
  }

  /** Resolves the oldest entry as lost. */
  dropOldest(): void {
    this.resolve(this.head);
    this.skipResolved();
  }

  private skipResolved(): void {
    while (this.head < this.tail && this.messages[this.head % this.capacity] === undefined) {
      this.head += 1;
    }
  }

  private count(message: OutgoingMessage, bytes: number): void {
    if (message.isSmall) this.smallBytes += bytes;
    else this.bulkBytes += bytes;
  }

  private grow(): void {
    const wider = this.capacity * 2;
    const move = <T>(from: T[], empty: T): T[] => {
      const to = new Array<T>(wider).fill(empty);
      for (let place = this.head; place < this.tail; place += 1) {
        to[place % wider] = from[place % this.capacity]!;
      }
      return to;
    };
    this.messages = move<OutgoingMessage | undefined>(this.messages, undefined);
    this.indexes = move(this.indexes, 0);
    this.serials = move(this.serials, 0);
    this.times = move(this.times, 0);
    this.sizes = move(this.sizes, 0);
    this.capacity = wider;
  }
}

/** When each of the last datagrams that want an answer left, by their counter. */
export class Departures {
  private readonly counters = new Float64Array(SENT_REMEMBERED).fill(-1);
  private readonly times = new Float64Array(SENT_REMEMBERED);
  private readonly serials = new Float64Array(SENT_REMEMBERED);

  add(counter: number, serial: number, sentUs: number): void {
    const slot = counter % SENT_REMEMBERED;
    this.counters[slot] = counter;
    this.times[slot] = sentUs;
    this.serials[slot] = serial;
  }

  has(counter: number): boolean {
    return this.counters[counter % SENT_REMEMBERED] === counter;
  }

  sentUs(counter: number): number {
    return this.times[counter % SENT_REMEMBERED]!;
  }

  serial(counter: number): number {
    return this.serials[counter % SENT_REMEMBERED]!;
  }
}
