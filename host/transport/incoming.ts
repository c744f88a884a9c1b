/**
 * The receiving half for one boot epoch of a peer: joins chunks to messages and delivers each once.
 * Knows messages as bytes; must not know keys or endpoints. Its memory is bounded by a shared pool.
 */
import { Acks, type PartState } from "./acks.ts";
import { getU16, getU32, getU48 } from "./bytes.ts";
import { Completed } from "./completed.ts";
import type { TransportCounters } from "./counters.ts";
import { CHUNK_HEADER_BYTES, chunkCount, chunkLength } from "./frame.ts";
import { CHUNK_BYTES, type TransportLimits } from "./limits.ts";
import type { Arriving } from "./message.ts";
import type { Writer } from "./writer.ts";

/** Reassembly memory of all peers. */
export class ReassemblyPool {
  private readonly limitBytes: number;
  private readonly counters: TransportCounters;
  /** Those that were refused, to be told when there is room again. */
  private waiting = new Set<() => void>();

  constructor(limitBytes: number, counters: TransportCounters) {
    this.limitBytes = limitBytes;
    this.counters = counters;
  }

  get freeBytes(): number {
    return this.limitBytes - this.counters.reassemblyBytes;
  }

  take(bytes: number): void {
    this.counters.reassemblyBytes += bytes;
  }

  giveBack(bytes: number): void {
    this.counters.reassemblyBytes -= bytes;
    if (bytes === 0 || this.waiting.size === 0) return;
    const waiting = this.waiting;
    this.waiting = new Set();
    for (const tell of waiting) tell();
  }

  callWhenFree(tell: () => void): void {
    this.waiting.add(tell);
  }

  cancel(tell: () => void): void {
    this.waiting.delete(tell);
  }
}

/** A message on the rest of its way while it still comes. */
export interface Passing {
  /** Another chunk is here. */
  more(): void;
  /** It will never be whole. */
  withdraw(): void;
}

class Partial implements PartState, Arriving {
  readonly bytes: Uint8Array;
  readonly chunks: number;
  base = 0;
  end = 0;
  /** Who takes its chunks as they come. */
  passing: Passing | undefined;
  private missing: number;
  private readonly here: Uint8Array;

  constructor(total: number) {
    this.bytes = new Uint8Array(total);
    this.chunks = chunkCount(total);
    this.missing = this.chunks;
    this.here = new Uint8Array(this.chunks);
  }

  has(index: number): boolean {
    return this.here[index] === 1;
  }

  get isWhole(): boolean {
    return this.missing === 0;
  }

  put(index: number, from: Uint8Array, offset: number): void {
    const length = chunkLength(this.bytes.length, index);
    this.bytes.set(from.subarray(offset, offset + length), index * CHUNK_BYTES);
    this.here[index] = 1;
    this.missing -= 1;
    this.end = Math.max(this.end, index + 1);
    while (this.here[this.base] === 1) this.base += 1;
  }
}

export class Incoming {
  readonly acks: Acks;
  private readonly limits: TransportLimits;
  private readonly counters: TransportCounters;
  private readonly pool: ReassemblyPool;
  private readonly completed = new Completed();
  private readonly partial = new Map<number, Partial>();
  private usedBytes = 0;
  /** There is memory again after something was refused. */
  private readonly onFree: () => void;
  private readonly passOn: (message: Arriving) => Passing | undefined;
  private readonly stateOf = (id: number): PartState | undefined => this.partial.get(id);

  /**
   * `wake`: something became due without a datagram of this peer. `passOn`: the first chunk of a message of
   * several is here; who takes it takes it all.
   */
  constructor(
    limits: TransportLimits,
    counters: TransportCounters,
    pool: ReassemblyPool,
    events: {
      readonly wake: () => void;
      readonly passOn: (message: Arriving) => Passing | undefined;
    },
  ) {
    this.limits = limits;
    this.counters = counters;
    this.pool = pool;
    this.acks = new Acks(limits);
    this.passOn = events.passOn;
    this.onFree = () => {
      this.acks.wantBy(0);
      events.wake();
    };
  }

  /** Bytes of unfinished messages that the peer may have here. */
  get windowBytes(): number {
    return Math.min(this.limits.windowBytes, this.usedBytes + Math.max(0, this.pool.freeBytes));
  }

  /** Takes a whole CHUNK frame; returns the message when this made it whole and it is for this node. */
  handleChunk(bytes: Uint8Array, offset: number, nowUs: number): Uint8Array | undefined {
    const id = getU48(bytes, offset + 1);
    const total = getU32(bytes, offset + 7);
    const index = getU16(bytes, offset + 11);
    const start = offset + CHUNK_HEADER_BYTES;
    this.counters.chunksIn += 1;
    if (this.completed.has(id)) {
      this.counters.chunksDuplicate += 1;
      this.acks.messageDone(id, nowUs);
      return undefined;
    }
    if (!this.completed.covers(id)) {
      this.counters.spanRefused += 1;
      return undefined;
    }
    if (chunkCount(total) === 1) {
      this.finish(id, nowUs);
      return bytes.slice(start, start + total);
    }
    return this.handlePartial(id, total, index, bytes, start, nowUs);
  }

  handleDrop(id: number, nowUs: number): void {
    if (!this.completed.has(id)) {
      if (!this.completed.covers(id)) {
        this.counters.spanRefused += 1;
        return;
      }
      this.counters.messagesDropped += 1;
      this.release(id);
      this.completed.add(id);
    }
    this.acks.messageDone(id, nowUs);
  }

  /** Every message below `low` is finished at its sender. */
  handleLow(low: number): void {
    if (!this.completed.raise(low)) return;
    for (const id of this.partial.keys()) if (id < low) this.release(id);
  }

  writeAcks(writer: Writer, nowUs: number): void {
    this.acks.write(writer, nowUs, this.windowBytes, this.completed, this.stateOf);
  }

  /** The epoch is over: nothing of it is delivered any more. */
  close(): void {
    this.pool.cancel(this.onFree);
    for (const id of [...this.partial.keys()]) this.release(id);
  }

  private handlePartial(
    id: number,
    total: number,
    index: number,
    bytes: Uint8Array,
    start: number,
    nowUs: number,
  ): Uint8Array | undefined {
    const partial = this.partial.get(id) ?? this.open(id, total, nowUs);
    if (!partial) return undefined;
    if (partial.bytes.length !== total || partial.has(index)) {
      this.counters.chunksDuplicate += 1;
      this.acks.partCame(id);
      return undefined;
    }
    partial.put(index, bytes, start);
    if (index === 0) partial.passing = this.passOn(partial);
    else partial.passing?.more();
    if (!partial.isWhole) {
      this.acks.partCame(id);
      return undefined;
    }
    this.release(id);
    this.finish(id, nowUs);
    return partial.passing ? undefined : partial.bytes;
  }

  private open(id: number, total: number, nowUs: number): Partial | undefined {
    if (this.usedBytes + total > this.limits.windowBytes || total > this.pool.freeBytes) {
      this.counters.reassemblyRefused += 1;
      this.pool.callWhenFree(this.onFree);
      this.acks.wantBy(nowUs);
      return undefined;
    }
    const partial = new Partial(total);
    this.partial.set(id, partial);
    this.usedBytes += total;
    this.pool.take(total);
    return partial;
  }

  private finish(id: number, nowUs: number): void {
    this.completed.add(id);
    this.acks.messageDone(id, nowUs);
    this.counters.messagesIn += 1;
  }

  private release(id: number): void {
    const partial = this.partial.get(id);
    if (!partial) return;
    this.partial.delete(id);
    if (!partial.isWhole) partial.passing?.withdraw();
    this.acks.partGone(id);
    this.usedBytes -= partial.bytes.length;
    this.pool.giveBack(partial.bytes.length);
  }
}
