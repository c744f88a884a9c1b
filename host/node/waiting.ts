/**
 * Segments of connections that a classifier on a node of its own has frozen and that no flow names yet
 * (PROTOCOL section 4, FROZEN with f0 = 0): they are held until the forwarder has acknowledged MOVE. Knows
 * packets in their order; must not know who decides, nor where they go.
 */
import { tupleKey, type Tuple } from "../core/tuple.ts";

/** A packet as the client sent it, and whatever else is known of it. */
export interface Held {
  readonly packet: Uint8Array;
}

interface Line<T> {
  packets: T[];
  /** MOVE was acknowledged: the forwarder knows where later ones go. */
  isPassing: boolean;
}

/** All lines together, and one of them alone. */
const BYTES_MAX = 8 << 20;
const LINE_MAX = 256;

export class WaitingLines<T extends Held> {
  readonly counters = { held: 0, refused: 0, passed: 0, replayed: 0 };
  private readonly lines = new Map<string, Line<T>>();
  private bytes = 0;

  get isEmpty(): boolean {
    return this.lines.size === 0;
  }

  /** The connection stands still from now on. */
  freeze(tuple: Tuple): void {
    this.lines.set(tupleKey(tuple), { packets: [], isPassing: false });
  }

  /** True: the packet's connection is frozen, and the packet was kept, or refused for want of room. */
  hold(tuple: Tuple, held: T): boolean {
    const line = this.lines.get(tupleKey(tuple));
    if (!line || line.isPassing) return false;
    const { length } = held.packet;
    if (this.bytes + length > BYTES_MAX || line.packets.length >= LINE_MAX) {
      this.counters.refused++;
      return true;
    }
    this.bytes += length;
    this.counters.held++;
    line.packets.push(held);
    return true;
  }

  /** Whether packets of this connection go back to the forwarder. */
  isPassing(tuple: Tuple): boolean {
    return this.lines.get(tupleKey(tuple))?.isPassing ?? false;
  }

  /** MOVE was acknowledged: what waited goes back, and what comes later does at once. */
  pass(tuple: Tuple): T[] {
    const line = this.lines.get(tupleKey(tuple));
    if (!line) return [];
    line.isPassing = true;
    const packets = this.empty(line);
    this.counters.passed += packets.length;
    return packets;
  }

  /** It runs again, here: what waited is its own. */
  thaw(tuple: Tuple): T[] {
    const packets = this.end(tuple);
    this.counters.replayed += packets.length;
    return packets;
  }

  /** It is gone from here: what waited goes back. */
  leave(tuple: Tuple): T[] {
    const packets = this.end(tuple);
    this.counters.passed += packets.length;
    return packets;
  }

  private end(tuple: Tuple): T[] {
    const key = tupleKey(tuple);
    const line = this.lines.get(key);
    this.lines.delete(key);
    return line ? this.empty(line) : [];
  }

  private empty(line: Line<T>): T[] {
    const { packets } = line;
    line.packets = [];
    for (const { packet } of packets) this.bytes -= packet.length;
    return packets;
  }
}
