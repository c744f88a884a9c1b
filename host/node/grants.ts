/**
 * The first half of a handoff at the forwarder: who may have a connection, and under which identifier
 * (PROTOCOL section 5, rows OWNED and RESERVED). It happens while the source still works; nothing that a
 * frozen connection would need may be found missing later.
 */
import { tupleKey } from "../core/tuple.ts";
import type { Epoch, NodeId } from "../transport/transport.ts";
import { isMappedTo, type Book, type Mapping, type OpenEntry } from "./book.ts";
import type { DenyReason, ReserveMessage } from "./messages.ts";
import { NO_FLOW } from "./messages.ts";
import { sameOwner } from "./peers.ts";
import type { Owner, Peer } from "./peers.ts";

export class Grants {
  constructor(private readonly book: Book) {}

  handleReserve(peer: Peer, epoch: Epoch, message: ReserveMessage, isRecovering: boolean): void {
    const own: Owner = { node: peer.id, epoch, flow: message.flow };
    if (isRecovering) return this.deny(own, message, "recovering");
    const key = tupleKey(message.tuple);
    const entry = this.book.entries.get(key);
    if (entry?.state === "tomb") {
      // R9: a tombstone is for ever deaf, but it says so.
      if (message.flow !== NO_FLOW) this.book.forget(peer.id, message.flow);
      return this.deny(own, message, "aborted");
    }
    if (entry) {
      const isOwn = sameOwner(entry.own, own);
      if (!isOwn || entry.state !== "reserved") return this.deny(own, message, "not-owner");
      if (message.attempt === entry.attempt) return this.grant(entry);
      if (message.attempt < entry.attempt) return this.deny(own, message, "not-owner");
      // Its owner waits for a later attempt, so it will never freeze for this one.
      this.reopen(entry);
    }
    const mapping = this.book.world.table.get(message.tuple);
    // R18: only who reads requests has a connection that no flow names.
    const isReaders = mapping !== undefined || this.book.world.isReader(own.node);
    if (!isReaders || !owns(own, mapping)) {
      return this.deny(own, message, mapping?.action === "tomb" ? "aborted" : "not-owner");
    }
    this.reserve(own, message, key, mapping === undefined);
  }

  /** OWNED, RESERVE from own with credits of T left: RESERVED. */
  private reserve(own: Owner, message: ReserveMessage, key: string, isNew: boolean): void {
    if (this.book.entries.size >= this.book.limits.entriesMax) {
      return this.deny(own, message, "full");
    }
    const target = this.chooseTarget(own.node, message);
    if (!target || target.epoch === undefined) return this.deny(own, message, "no-target");
    // Room in the table is found now, while the source still works, not when it is frozen.
    const mapping = { action: "classifier", node: own.node, flow: NO_FLOW } as const;
    if (isNew && !this.book.world.table.set(message.tuple, mapping)) {
      return this.deny(own, message, "full");
    }
    const flow = this.book.ids?.allocate();
    if (flow === undefined) {
      if (isNew) this.book.world.table.delete(message.tuple);
      return this.deny(own, message, "full");
    }
    target.granted++;
    const entry: OpenEntry = {
      state: "reserved",
      key,
      tuple: message.tuple,
      own,
      next: { node: target.id, epoch: target.epoch, flow },
      attempt: message.attempt,
      reset: undefined,
      deadlineUs: Infinity,
    };
    this.book.open(entry);
    this.grant(entry);
  }

  private chooseTarget(source: NodeId, message: ReserveMessage): Peer | undefined {
    const { kind, id } = message.target;
    const candidates = kind === "pool" ? (this.book.world.pool(id, message.tuple) ?? []) : [id];
    for (const candidate of candidates) {
      const peer = this.book.peers.get(candidate);
      if (peer && candidate !== source && this.book.peers.isUsable(peer)) return peer;
    }
    return undefined;
  }

  private grant(entry: OpenEntry): void {
    this.book.count("grants");
    this.book.world.send(entry.own.node, {
      type: "grant",
      flow: entry.next.flow,
      attempt: entry.attempt,
      forwarderEpoch: this.book.epoch,
      target: entry.next.node,
      targetEpoch: entry.next.epoch,
    });
  }

  private deny(own: Owner, message: ReserveMessage, reason: DenyReason): void {
    this.book.count(`denied-${reason}`);
    this.book.world.send(own.node, { type: "deny", attempt: message.attempt, reason });
  }

  /** Back to OWNED without a verdict, because the source never froze. */
  reopen(entry: OpenEntry): void {
    this.book.remove(entry);
    this.book.rest(entry.next.flow);
    this.book.peers.returnCredit(entry.next);
    if (entry.own.flow === NO_FLOW) this.book.world.table.delete(entry.tuple);
  }
}

/** A classifier's connection (f0 = 0) is its own as long as nobody else has it. */
function owns(own: Owner, mapping: Mapping | undefined): boolean {
  return mapping ? isMappedTo(mapping, own.node, own.flow) : own.flow === NO_FLOW;
}
