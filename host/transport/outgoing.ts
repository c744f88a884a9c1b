/**
 * The sending half towards one boot epoch of a peer: what waits, what may leave, what is finished. Knows
 * messages, the receiver's window and limits of time; must not know keys, hellos or endpoints.
 */
import { putU16, putU32, putU48 } from "./bytes.ts";
import type { TransportCounters } from "./counters.ts";
import { MessageDeadlines } from "./deadlines.ts";
import {
  CHUNK_HEADER_BYTES,
  DROP_BYTES,
  FRAME_CHUNK,
  FRAME_DROP,
  FRAME_LOW,
  LOW_BYTES,
  chunkLength,
} from "./frame.ts";
import { CHUNK_BYTES, FIRST_FLIGHT_BYTES, MESSAGE_SPAN, type TransportLimits } from "./limits.ts";
import { ACKED, DROP_INDEX, OutgoingMessage, Queue, UNSENT, type Arriving } from "./message.ts";
import { Recovery } from "./recovery.ts";
import { Numbered } from "./numbered.ts";
import type { Outcome } from "./transport.ts";
import { WindowGate } from "./window.ts";
import type { Writer } from "./writer.ts";

/** Chunks of one message that leave before another one has its turn. */
const TURN_CHUNKS = 12;

export class Outgoing {
  readonly recovery: Recovery;
  private readonly limits: TransportLimits;
  private readonly counters: TransportCounters;
  /** Begun and not finished, by identifier; identifiers rise in the order of insertion. */
  private readonly outstanding = new Numbered<OutgoingMessage>();
  /** Messages of one chunk that never left. */
  private readonly small = new Queue<OutgoingMessage>();
  /** Messages whose only chunk, or whose DROP, must leave again. */
  private readonly repeats = new Queue<OutgoingMessage>();
  /** Admitted messages of several chunks that have something to send. */
  private active: OutgoingMessage[] = [];
  private turn = 0;
  private readonly gate: WindowGate;
  private readonly deadlines = new MessageDeadlines();
  /** When pacing lets the next chunk leave; Infinity: it holds nothing back. */
  pacedUntilUs = Infinity;
  /** Found the queue full; their outcome is told on the next turn. */
  private refused: OutgoingMessage[] = [];
  private queuedBytes = 0;
  private queuedCount = 0;
  private nextId = 0;

  constructor(limits: TransportLimits, counters: TransportCounters) {
    this.limits = limits;
    this.counters = counters;
    this.gate = new WindowGate(this.outstanding);
    this.recovery = new Recovery(limits, counters, (message, index) => this.lost(message, index));
  }

  send(
    from: Uint8Array | Arriving,
    deadlineUs: number,
    onOutcome?: (outcome: Outcome) => void,
  ): OutgoingMessage {
    const message = new OutgoingMessage(from, deadlineUs, onOutcome);
    this.counters.messagesOut += 1;
    if (
      this.queuedBytes + message.length > this.limits.queueBytesMax ||
      this.queuedCount >= this.limits.queueMessagesMax
    ) {
      this.counters.messagesRefused += 1;
      message.isFinished = true;
      this.refused.push(message);
      return message;
    }
    this.queuedBytes += message.length;
    this.queuedCount += 1;
    this.deadlines.add(message);
    if (message.isSmall) this.small.push(message);
    else {
      this.gate.wait(message);
      this.admit();
    }
    return message;
  }

  /** It will never be whole: given up on the next turn, as if its limit had passed. */
  withdraw(message: OutgoingMessage): void {
    if (message.isFinished || message.isAbandoned) return;
    message.deadlineUs = 0;
    this.deadlines.add(message);
  }

  /** Everything unfinished: this epoch is over. Their outcome is for the caller to tell. */
  takeAll(): OutgoingMessage[] {
    const all = [...this.outstanding.values()].filter((message) => !message.isAbandoned);
    const add = (message: OutgoingMessage) => {
      if (message.id < 0 && !message.isFinished) all.push(message);
    };
    for (let next = this.small.shift(); next; next = this.small.shift()) add(next);
    this.gate.takeAll().forEach(add);
    this.active.forEach(add);
    all.push(...this.refused);
    for (const message of all) message.isFinished = true;
    return all;
  }

  // Writing

  write(writer: Writer, nowUs: number): void {
    this.pacedUntilUs = Infinity;
    this.writeRepeats(writer, nowUs);
    this.writeSmall(writer, nowUs);
    this.writeBulk(writer, nowUs);
    this.watchGate(nowUs);
  }

  private writeRepeats(writer: Writer, nowUs: number): void {
    for (let message = this.repeats.peek(); message; message = this.repeats.peek()) {
      const isDue = !message.isFinished && message.places[0] !== ACKED && message.places[0]! < 0;
      if (isDue) {
        if (!this.maySmallLeave(message)) return;
        const isWritten = message.isAbandoned
          ? this.putDrop(writer, message, nowUs)
          : this.putChunk(writer, message, 0, nowUs);
        if (!isWritten) return;
      }
      this.repeats.shift();
    }
  }

  private writeSmall(writer: Writer, nowUs: number): void {
    for (let message = this.small.peek(); message; message = this.small.peek()) {
      if (!message.isFinished) {
        if (!this.maySmallLeave(message) || this.isSpanFull()) return;
        if (!this.putChunk(writer, message, 0, nowUs)) return;
      }
      this.small.shift();
    }
  }

  /** Small messages have a share of the path of their own, so that a large one never holds them up. */
  private maySmallLeave(message: OutgoingMessage): boolean {
    const { flight, congestion } = this.recovery;
    const bytes = CHUNK_HEADER_BYTES + (message.isAbandoned ? 0 : message.length);
    if (flight.smallBytes + bytes <= FIRST_FLIGHT_BYTES) return true;
    return this.recovery.bytesInFlight + bytes <= congestion.cwnd;
  }

  private writeBulk(writer: Writer, nowUs: number): void {
    const probe = this.gate.probe;
    if (probe && this.putNextChunk(writer, probe, nowUs)) {
      this.gate.probe = undefined;
      this.counters.windowProbes += 1;
    }
    while (this.active.length > 0) {
      const message = this.active[0]!;
      const index = message.isAdmitted ? this.nextChunk(message) : -1;
      if (index < 0) {
        this.active.shift();
        message.isListed = false;
        this.turn = 0;
        continue;
      }
      if (!this.mayBulkLeave(nowUs)) {
        this.recovery.isLimited = true;
        return;
      }
      if (!this.putChunk(writer, message, index, nowUs)) return;
      this.takeTurn(message);
    }
    this.recovery.isLimited = false;
  }

  private mayBulkLeave(nowUs: number): boolean {
    const { flight, congestion, rtt } = this.recovery;
    if (this.recovery.takeProbe()) return true;
    const isOpen = this.recovery.bytesInFlight + CHUNK_BYTES <= congestion.cwnd;
    if (!isOpen && flight.bulkBytes > 0) return false;
    if (congestion.mayLeave(nowUs, rtt.minUs)) return true;
    this.pacedUntilUs = congestion.nextUs(rtt.minUs);
    return false;
  }

  private takeTurn(message: OutgoingMessage): void {
    this.turn += 1;
    if (this.turn < TURN_CHUNKS) return;
    this.turn = 0;
    this.active.shift();
    this.active.push(message);
  }

  /** The chunk of a message that should leave next, lost ones first; -1 when there is none. */
  private nextChunk(message: OutgoingMessage): number {
    if (message.isFinished || message.isAbandoned) return -1;
    const { nextLost } = message;
    if (nextLost >= 0) return nextLost;
    return message.id < 0 && this.isSpanFull() ? -1 : message.nextNew;
  }

  private putNextChunk(writer: Writer, message: OutgoingMessage, nowUs: number): boolean {
    const index = this.nextChunk(message);
    return index < 0 || this.putChunk(writer, message, index, nowUs);
  }

  private isSpanFull(): boolean {
    return this.nextId >= this.low() + MESSAGE_SPAN;
  }

  /** Every message below is finished. */
  private low(): number {
    return this.outstanding.firstKey() ?? this.nextId;
  }

  private putChunk(
    writer: Writer,
    message: OutgoingMessage,
    index: number,
    nowUs: number,
  ): boolean {
    const length = chunkLength(message.length, index);
    if (writer.room < (writer.isEliciting ? 0 : LOW_BYTES) + CHUNK_HEADER_BYTES + length)
      return false;
    this.open(writer, message);
    const { bytes, offset } = writer;
    bytes[offset] = FRAME_CHUNK;
    putU48(bytes, offset + 1, message.id);
    putU32(bytes, offset + 7, message.length);
    putU16(bytes, offset + 11, index);
    const from = index * CHUNK_BYTES;
    const isWhole = length === message.length;
    bytes.set(
      isWhole ? message.bytes : message.bytes.subarray(from, from + length),
      offset + CHUNK_HEADER_BYTES,
    );
    writer.offset += CHUNK_HEADER_BYTES + length;
    this.counters.chunksOut += 1;
    if (index < message.next) this.counters.chunksRepeated += 1;
    else message.next = index + 1;
    const size = CHUNK_HEADER_BYTES + length;
    message.places[index] = this.recovery.chunkSent(message, index, size, nowUs);
    if (!message.isSmall) this.recovery.congestion.left(size);
    return true;
  }

  private putDrop(writer: Writer, message: OutgoingMessage, nowUs: number): boolean {
    if (writer.room < LOW_BYTES + DROP_BYTES) return false;
    this.open(writer, message);
    writer.bytes[writer.offset] = FRAME_DROP;
    putU48(writer.bytes, writer.offset + 1, message.id);
    writer.offset += DROP_BYTES;
    message.places[0] = this.recovery.chunkSent(message, DROP_INDEX, DROP_BYTES, nowUs);
    return true;
  }

  /** Gives a message its identifier, and a datagram that wants an answer its LOW. */
  private open(writer: Writer, message: OutgoingMessage): void {
    if (message.id < 0) {
      message.id = this.nextId;
      this.nextId += 1;
      this.outstanding.set(message.id, message);
    }
    if (writer.isEliciting) return;
    writer.isEliciting = true;
    writer.bytes[writer.offset] = FRAME_LOW;
    putU48(writer.bytes, writer.offset + 1, this.low());
    writer.offset += LOW_BYTES;
  }

  private lost(message: OutgoingMessage, index: number): void {
    if (message.isFinished) return;
    if (message.isSmall || message.isAbandoned) {
      this.repeats.push(message);
      return;
    }
    message.lost.push(index);
    this.list(message);
  }

  /** It has something to send, or another chunk of it is here. */
  list(message: OutgoingMessage): void {
    if (!message.isAdmitted || message.isListed || message.isFinished) return;
    message.isListed = true;
    this.active.push(message);
  }

  // Acknowledgements

  /** The window counts only when it is the newest word of the receiver. */
  handleWindow(windowBytes: number): void {
    this.gate.set(windowBytes);
    this.admit();
  }

  /** Bits of a DONE frame: which of the messages from `base` on are finished. */
  handleDone(base: number, bytes: Uint8Array, offset: number, count: number): void {
    // Most of them were told before: below the first outstanding one everything is finished.
    for (let i = Math.max(0, this.low() - base); i < 8 * count; i += 1) {
      if ((bytes[offset + (i >> 3)]! & (1 << (i & 7))) === 0) continue;
      const message = this.outstanding.get(base + i);
      if (!message) continue;
      for (let index = 0; index < message.places.length; index += 1) {
        this.recovery.chunkAcked(message, index);
      }
      this.finish(message, "delivered");
    }
  }

  /** A PART frame: the chunks of a message below `base`, and those of the bitmap. */
  handlePart(id: number, base: number, bytes: Uint8Array, offset: number, count: number): void {
    const message = this.outstanding.get(id);
    if (!message || message.isAbandoned || message.isSmall) return;
    for (let index = message.ackBase; index < Math.min(base, message.chunks); index += 1) {
      this.recovery.chunkAcked(message, index);
    }
    message.ackBase = Math.max(message.ackBase, Math.min(base, message.chunks));
    const bits = Math.min(8 * count, message.chunks - base);
    for (let i = 0; i < bits; i += 1) {
      if ((bytes[offset + (i >> 3)]! & (1 << (i & 7))) !== 0) {
        this.recovery.chunkAcked(message, base + i);
      }
    }
    // What the receiver holds in part has its memory: it needs no room in the window any more.
    if (this.gate.holds(message)) this.list(message);
    if (message.ackedCount === message.chunks) this.finish(message, "delivered");
    else if (message.next < message.chunks) this.list(message);
  }

  private finish(message: OutgoingMessage, outcome: Outcome): void {
    if (message.isFinished) return;
    message.isFinished = true;
    this.outstanding.delete(message.id);
    this.queuedCount -= 1;
    this.queuedBytes -= message.length;
    this.gate.leave(message);
    this.deadlines.delete(message);
    this.admit();
    if (message.isAbandoned) return;
    this.tell(message, outcome);
  }

  private tell(message: OutgoingMessage, outcome: Outcome): void {
    if (outcome === "delivered") this.counters.messagesDelivered += 1;
    else this.counters.messagesUnknown += 1;
    message.onOutcome?.(outcome);
  }

  private admit(): void {
    for (let next = this.gate.admit(); next; next = this.gate.admit()) this.list(next);
  }

  // Time

  nextTimeoutUs(nowUs: number): number {
    if (this.refused.length > 0) return nowUs;
    return Math.min(
      this.deadlines.nextUs,
      this.pacedUntilUs,
      this.recovery.nextTimeoutUs(),
      this.gate.probeUs,
    );
  }

  handleTimeout(nowUs: number): void {
    this.recovery.handleTimeout(nowUs);
    if (this.pacedUntilUs <= nowUs) this.pacedUntilUs = Infinity;
    for (const message of this.deadlines.takeDue(nowUs)) this.giveUp(message);
    this.watchGate(nowUs);
    for (const message of this.refused.splice(0)) this.tell(message, "unknown");
  }

  /** The window is shut and nothing is on its way that would open it: asks from time to time. */
  private watchGate(nowUs: number): void {
    const isIdle = this.recovery.flight.bulkBytes === 0 && this.active.length === 0;
    this.gate.handleTimeout(nowUs, isIdle, this.recovery.rtt.rtoUs, this.limits.rtoUsMax);
  }

  /** It may have arrived or not. The receiver is told to forget what left, which it must acknowledge. */
  private giveUp(message: OutgoingMessage): void {
    if (message.id < 0) return this.finish(message, "unknown");
    this.recovery.forget(message);
    message.isAbandoned = true;
    message.places.length = 1;
    message.places[0] = UNSENT;
    message.ackedCount = 0;
    message.bytes = new Uint8Array(0);
    this.repeats.push(message);
    this.tell(message, "unknown");
  }
}
