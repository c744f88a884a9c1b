/** Messages that are sent once: cut in parts on the way out, joined on the way in. Nothing waits for them. */
import { getU16, getU32, putU16, putU32 } from "./bytes.ts";
import type { TransportCounters } from "./counters.ts";
import { FRAME_UNRELIABLE, UNRELIABLE_HEADER_BYTES } from "./frame.ts";
import { PART_BYTES, UNRELIABLE_PARTS_MAX, type TransportLimits } from "./limits.ts";
import { Queue } from "./message.ts";
import type { Writer } from "./writer.ts";

interface Waiting {
  readonly bytes: Uint8Array;
  readonly number: number;
  readonly parts: number;
  next: number;
}

export class UnreliableSender {
  private readonly queue = new Queue<Waiting>();
  private readonly limits: TransportLimits;
  private readonly counters: TransportCounters;
  private queuedBytes = 0;
  private number = 0;

  constructor(limits: TransportLimits, counters: TransportCounters) {
    this.limits = limits;
    this.counters = counters;
  }

  send(bytes: Uint8Array): void {
    const parts = Math.max(1, Math.ceil(bytes.length / PART_BYTES));
    if (parts > UNRELIABLE_PARTS_MAX) {
      this.counters.unreliableTooLong += 1;
    } else if (this.queuedBytes + bytes.length > this.limits.unreliableBytesMax) {
      this.counters.unreliableRefused += 1;
    } else {
      this.queuedBytes += bytes.length;
      this.queue.push({ bytes, number: this.number, parts, next: 0 });
      this.number = (this.number + 1) % 2 ** 32;
    }
  }

  write(writer: Writer): void {
    for (let message = this.queue.peek(); message; message = this.queue.peek()) {
      const from = message.next * PART_BYTES;
      const length = Math.min(PART_BYTES, message.bytes.length - from);
      if (writer.room < UNRELIABLE_HEADER_BYTES + length) return;
      const { bytes, offset } = writer;
      bytes[offset] = FRAME_UNRELIABLE;
      putU32(bytes, offset + 1, message.number);
      bytes[offset + 5] = (message.next << 4) | message.parts;
      putU16(bytes, offset + 6, length);
      bytes.set(message.bytes.subarray(from, from + length), offset + UNRELIABLE_HEADER_BYTES);
      writer.offset += UNRELIABLE_HEADER_BYTES + length;
      message.next += 1;
      if (message.next < message.parts) continue;
      this.queue.shift();
      this.queuedBytes -= message.bytes.length;
      this.counters.unreliableOut += 1;
    }
  }
}

interface Partial {
  readonly parts: (Uint8Array | undefined)[];
  readonly startedUs: number;
  missing: number;
}

/** Duplicates never come here: each part leaves once, and the replay window takes a datagram once. */
export class UnreliableReceiver {
  private readonly partial = new Map<number, Partial>();
  private readonly limits: TransportLimits;
  private readonly counters: TransportCounters;

  constructor(limits: TransportLimits, counters: TransportCounters) {
    this.limits = limits;
    this.counters = counters;
  }

  /** Takes a whole frame; returns the message when this was its last part. */
  handleFrame(bytes: Uint8Array, offset: number, nowUs: number): Uint8Array | undefined {
    const number = getU32(bytes, offset + 1);
    const part = bytes[offset + 5]! >> 4;
    const parts = bytes[offset + 5]! & 15;
    const start = offset + UNRELIABLE_HEADER_BYTES;
    const content = bytes.slice(start, start + getU16(bytes, offset + 6));
    if (parts === 1) return content;
    const partial = this.partial.get(number) ?? this.open(number, parts, nowUs);
    if (partial.parts.length !== parts || partial.parts[part]) return undefined;
    partial.parts[part] = content;
    partial.missing -= 1;
    if (partial.missing > 0) return undefined;
    this.partial.delete(number);
    return join(partial.parts as Uint8Array[]);
  }

  private open(number: number, parts: number, nowUs: number): Partial {
    for (const [old, { startedUs }] of this.partial) {
      const isRoom = this.partial.size < this.limits.unreliablePartialMax;
      if (isRoom && nowUs < startedUs + this.limits.unreliablePartialUs) break;
      this.partial.delete(old);
      this.counters.unreliableExpired += 1;
    }
    const partial = {
      parts: new Array<undefined>(parts).fill(undefined),
      startedUs: nowUs,
      missing: parts,
    };
    this.partial.set(number, partial);
    return partial;
  }
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.forEach((part, index) => whole.set(part, index * PART_BYTES));
  return whole;
}
