/**
 * How far each forwarder's relaying had come when it spoke its latest verdict that was heard here (R24). Knows
 * numbers of packets; must not know what a verdict was about.
 *
 * A verdict lets a connection go, and with it all that this node knew of its 4-tuple. A packet that the forwarder
 * looked up before it and that comes after it would be taken for news: a SYN would open a second connection beside the
 * one that has moved. One number for each forwarder tells them all, whatever they are about, and takes no memory
 * for any connection.
 */
import type { NodeId } from "../transport/transport.ts";

export class Spoken {
  readonly #relayed = new Map<NodeId, number>();

  /** A new epoch of a forwarder counts from the beginning; nothing that an earlier one sent can come any more. */
  begin(forwarder: NodeId): void {
    this.#relayed.delete(forwarder);
  }

  /** Verdicts come in any order, and again. */
  heard(forwarder: NodeId, relayed: number): void {
    this.#relayed.set(forwarder, Math.max(relayed, this.#relayed.get(forwarder) ?? 0));
  }

  /** Whether a packet was looked up before a verdict that was heard before it. */
  haveOvertaken(forwarder: NodeId, order: number): boolean {
    return order <= (this.#relayed.get(forwarder) ?? 0);
  }
}
