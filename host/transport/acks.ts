/**
 * What a peer must be told about its messages, and when. Knows frames of acknowledgement; must not know
 * what arrived in them. They wait a little for company, never longer than `ackDelayUs`.
 */
import { putU16, putU32, putU48 } from "./bytes.ts";
import type { Completed } from "./completed.ts";
import {
  ACK_BYTES,
  DONE_BITMAP_MAX,
  DONE_BYTES,
  FRAME_ACK,
  FRAME_DONE,
  FRAME_PART,
  PART_BITMAP_MAX,
  PART_HEADER_BYTES,
} from "./frame.ts";
import type { TransportLimits } from "./limits.ts";
import type { Writer } from "./writer.ts";

/** Finished messages before the one in question that are told again, against lost acknowledgements. */
const RETOLD = 64;
/** Finished messages that wait to be told before it becomes urgent. */
const DONE_WAITING_MAX = 256;

/** In an ACK that is sent for its window only. */
const NO_COUNTER = 2 ** 48 - 1;

/** Chunks of a message that is not whole. */
export interface PartState {
  /** First chunk missing. */
  readonly base: number;
  /** One more than the last chunk here. */
  readonly end: number;
  has(index: number): boolean;
}

export class Acks {
  private readonly limits: TransportLimits;
  private done: number[] = [];
  private readonly parts = new Set<number>();
  /** Newest datagram that wants an answer. */
  private counter = -1;
  private counterUs = 0;
  private unanswered = 0;
  private deadlineUs = Infinity;

  constructor(limits: TransportLimits) {
    this.limits = limits;
  }

  /** A datagram came that wants an answer; `isGap`: one before it is missing, or came late. */
  datagramCame(counter: number, nowUs: number, isGap: boolean): void {
    if (counter > this.counter) {
      this.counter = counter;
      this.counterUs = nowUs;
    }
    this.unanswered += 1;
    const isUrgent = isGap || this.unanswered >= this.limits.ackEvery;
    this.wantBy(isUrgent ? nowUs : nowUs + this.limits.ackDelayUs);
  }

  messageDone(id: number, nowUs: number): void {
    this.done.push(id);
    this.parts.delete(id);
    if (this.done.length >= DONE_WAITING_MAX) this.wantBy(nowUs);
  }

  partCame(id: number): void {
    this.parts.add(id);
  }

  partGone(id: number): void {
    this.parts.delete(id);
  }

  wantBy(timeUs: number): void {
    this.deadlineUs = Math.min(this.deadlineUs, timeUs);
  }

  isDue(nowUs: number): boolean {
    return this.deadlineUs <= nowUs;
  }

  get isPending(): boolean {
    return this.deadlineUs < Infinity;
  }

  nextTimeoutUs(): number {
    return this.deadlineUs;
  }

  /** Writes as much as there is room for; the rest stays due. */
  write(
    writer: Writer,
    nowUs: number,
    windowBytes: number,
    completed: Completed,
    stateOf: (id: number) => PartState | undefined,
  ): void {
    if (writer.room < ACK_BYTES) return;
    const { bytes, offset } = writer;
    bytes[offset] = FRAME_ACK;
    putU32(bytes, offset + 1, windowBytes);
    putU48(bytes, offset + 5, this.counter < 0 ? NO_COUNTER : this.counter);
    putU32(bytes, offset + 11, Math.min(Math.round(nowUs - this.counterUs), 0xffff_ffff));
    writer.offset += ACK_BYTES;
    if (!this.writeDone(writer, completed) || !this.writeParts(writer, stateOf)) return;
    this.unanswered = 0;
    this.deadlineUs = Infinity;
  }

  /** Returns whether all was written. */
  private writeDone(writer: Writer, completed: Completed): boolean {
    if (this.done.length === 0) return true;
    const done = this.done.sort((a, b) => a - b);
    const last = done[done.length - 1]!;
    let told = 0;
    while (told < done.length) {
      const first = done[told]!;
      if (first < completed.low) {
        told += 1; // Its sender has said itself that it is finished.
        continue;
      }
      const base = Math.max(completed.low, first - RETOLD);
      const count = Math.min(DONE_BITMAP_MAX, ((last - base) >> 3) + 1);
      if (writer.room < DONE_BYTES + count) break;
      putDone(writer, base, count, completed);
      while (told < done.length && done[told]! < base + 8 * count) told += 1;
    }
    this.done = done.slice(told);
    return this.done.length === 0;
  }

  private writeParts(writer: Writer, stateOf: (id: number) => PartState | undefined): boolean {
    for (const id of this.parts) {
      const state = stateOf(id);
      if (state) {
        const count = Math.min(PART_BITMAP_MAX, (Math.max(0, state.end - state.base) + 7) >> 3);
        if (writer.room < PART_HEADER_BYTES + count) return false;
        putPart(writer, id, count, state);
      }
      this.parts.delete(id);
    }
    return true;
  }
}

function putDone(writer: Writer, base: number, count: number, completed: Completed): void {
  const { bytes, offset } = writer;
  bytes[offset] = FRAME_DONE;
  putU48(bytes, offset + 1, base);
  bytes[offset + 7] = count;
  for (let i = 0; i < count; i += 1) {
    let bits = 0;
    for (let bit = 0; bit < 8; bit += 1) if (completed.has(base + 8 * i + bit)) bits |= 1 << bit;
    bytes[offset + DONE_BYTES + i] = bits;
  }
  writer.offset += DONE_BYTES + count;
}

function putPart(writer: Writer, id: number, count: number, state: PartState): void {
  const { bytes, offset } = writer;
  bytes[offset] = FRAME_PART;
  putU48(bytes, offset + 1, id);
  putU16(bytes, offset + 7, state.base);
  bytes[offset + 9] = count;
  for (let i = 0; i < count; i += 1) {
    let bits = 0;
    for (let bit = 0; bit < 8; bit += 1) if (state.has(state.base + 8 * i + bit)) bits |= 1 << bit;
    bytes[offset + PART_HEADER_BYTES + i] = bits;
  }
  writer.offset += PART_HEADER_BYTES + count;
}
