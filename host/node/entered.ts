/**
 * Connections that were accepted here and for which a forwarder may have an entry without a flow, because a move
 * was asked for: their end is reported, and a QUERY without a flow is about them. Knows handles and 4-tuples;
 * must not know why an entry was made.
 */
import { tupleKey, type Tuple } from "../core/tuple.ts";
import { Numbered } from "../transport/numbered.ts";
import type { NodeId } from "../transport/transport.ts";

interface Entry {
  readonly forwarder: NodeId;
  readonly tuple: Tuple;
}

export class Entered {
  private readonly all = new Numbered<Entry>();

  get size(): number {
    return this.all.size;
  }

  add(connection: number, forwarder: NodeId, tuple: Tuple): void {
    this.all.set(connection, { forwarder, tuple });
  }

  /** Whether it was there. */
  delete(connection: number): boolean {
    return this.all.delete(connection);
  }

  /** A walk: it is asked for seldom, and there are few that no move has taken away. */
  has(forwarder: NodeId, tuple: Tuple): boolean {
    const key = tupleKey(tuple);
    for (const entry of this.all.values()) {
      if (entry.tuple.remotePort !== tuple.remotePort || entry.forwarder !== forwarder) continue;
      if (tupleKey(entry.tuple) === key) return true;
    }
    return false;
  }
}
