/**
 * What owners say of flows that are over: RELEASE, the answer to QUERY, and packets that they hand back
 * (PROTOCOL section 5, rows RELEASE; R10, R19). Knows the book; a verdict is the judge's to give.
 */
import type { Tuple } from "../core/tuple.ts";
import type { Epoch, NodeId } from "../transport/transport.ts";
import type { Book, OpenEntry } from "./book.ts";
import type { Grants } from "./grants.ts";
import type { AnswerItem, HandbackMessage, RefuseMessage, ReleaseItem } from "./messages.ts";
import { NO_FLOW } from "./messages.ts";
import { sameOwner } from "./peers.ts";
import type { Tombs } from "./tombs.ts";

/** What the judge does when an owner's word decides an open handoff. */
export interface Rulings {
  finish(entry: OpenEntry): void;
  refuse(node: NodeId, epoch: Epoch, message: RefuseMessage): void;
}

export class Endings {
  constructor(
    private readonly book: Book,
    private readonly tombs: Tombs,
    private readonly grants: Grants,
    private readonly rulings: Rulings,
  ) {}

  handleRelease(node: NodeId, epoch: Epoch, item: ReleaseItem): void {
    const entry = this.book.entryOf(item.tuple);
    if (entry?.state === "tomb") return this.tombs.confirm(entry, node, item.flow);
    if (entry) {
      const isNew = sameOwner(entry.next, { node, epoch, flow: item.flow });
      const isOwn = sameOwner(entry.own, { node, epoch, flow: item.flow });
      // A classifier's flow 0 names no handoff: this may be the end of an earlier connection with the same
      // addresses, heard late. The MOVE or ABANDON that the source owes says which.
      if (isOwn && item.flow === NO_FLOW) return this.book.count("unnamed-release");
      // open, RELEASE(new): it was active and is gone. RESERVED, RELEASE(own): it ended before it moved.
      if (isNew) this.rulings.finish(entry);
      else if (isOwn && entry.state === "reserved") this.grants.reopen(entry);
      else return this.unmatched(item);
      return this.released(item);
    }
    if (this.book.isOwner(item.tuple, node, item.flow)) return this.released(item);
    // R10: not its own any more. RELEASE names a flow, never a 4-tuple alone.
    const record = this.book.verdictOf(item.flow);
    if (record?.verdict === "aborted" && record.next.node === node) {
      this.book.forget(node, item.flow);
    }
    this.unmatched(item);
  }

  /**
   * Nothing to be done. Of a flow that rests it is the end told twice: a SYN that TIME-WAIT admitted, or a late packet,
   * comes back with the record, and RELEASE follows (R18, R19). Else nobody here knows the flow.
   */
  private unmatched({ flow }: ReleaseItem): void {
    this.book.count(this.book.ids?.isResting(flow) ? "release-again" : "unmatched-release");
  }

  /** OWNED, RELEASE(own): nothing is left, unless the client does not know yet. */
  private released(item: ReleaseItem): void {
    this.book.count("released");
    if (item.cause === "lost") return this.tombs.bury(item.tuple, [], [item.flow], undefined);
    this.book.world.table.delete(item.tuple);
    this.book.rest(item.flow);
  }

  /** The owner's word about a flow that was idle: F never drops what the owner calls active. */
  handleAnswer(node: NodeId, epoch: Epoch, item: AnswerItem): void {
    const open = this.book.openTo(item.flow, node, epoch);
    if (open && item.record === "active") return this.rulings.finish(open);
    const isGone = item.record !== "active" && item.record !== "frozen" && item.record !== "moved";
    if (open || !isGone || this.book.entryOf(item.tuple)) return;
    if (!this.book.isOwner(item.tuple, node, item.flow)) return;
    this.book.count("answered-gone");
    this.released({ flow: item.flow, cause: "closed", tuple: item.tuple });
  }

  /**
   * A classifier knows nothing of a packet that came to it by an entry without a flow: HANDBACK of NONE in
   * RELAY's words. As there the entry may be new, so it is a question.
   */
  handleReturned(node: NodeId, tuple: Tuple): void {
    const isOwn = this.book.isOwner(tuple, node, NO_FLOW) && !this.book.entryOf(tuple);
    if (isOwn) this.book.ask(node, NO_FLOW, tuple);
  }

  /** R19: first the record, then the packet, once, and not to where it came from. */
  handleHandback(node: NodeId, epoch: Epoch, message: HandbackMessage): void {
    const { flow, record } = message;
    const tuple = message.tuple ?? this.book.byFlow.get(flow)?.tuple;
    const known = tuple ?? this.book.verdictOf(flow)?.tuple;
    if (!known) return this.book.count("handback-unknown");
    if (record === "closed")
      this.handleRelease(node, epoch, { flow, cause: "closed", tuple: known });
    // It may have accepted the blob since: what it says now stands only as the answer to a question, and while
    // the blob is on its way the answer could be older than the acceptance.
    const isOwn = record === "none" && this.book.isOwner(known, node, flow);
    if (isOwn && !this.book.entryOf(known)) this.book.ask(node, flow, known);
    if (record === "poisoned") {
      const open = this.book.openTo(flow, node, epoch);
      const epochs = { forwarderEpoch: this.book.epoch, targetEpoch: epoch };
      const refusal = { type: "refuse", flow, reason: "cancelled", connection: undefined } as const;
      if (open) this.rulings.refuse(node, epoch, { ...refusal, ...epochs });
    }
    const mapping = this.book.world.table.get(known);
    const isSame = mapping?.action === "forward" && mapping.node === node && mapping.flow === flow;
    if (isSame) return this.book.count("handback-bounced");
    this.book.count("handback-again");
    this.book.world.reinject(message.packet, message.tuple ? undefined : known, message.hint);
  }
}
