/**
 * The forwarder's side of the handoff: the only judge of who owns a connection (PROTOCOL sections 1, 5, 6).
 * Knows the states and rules; must not know packets, sockets or how messages travel. Sans-IO: `handle*`
 * take input, `nextTimeoutUs` says when `handleTimeout` wants to be called.
 *
 * Rows of the table in section 5 are named in the comments; `own` gives a connection away, `next` takes it.
 */
import type { Tuple } from "../core/tuple.ts";
import type { Epoch, NodeId } from "../transport/transport.ts";
import { BOOK_LIMITS, Book } from "./book.ts";
import type { BookLimits, JudgeWorld, OpenEntry } from "./book.ts";
import { Endings } from "./endings.ts";
import type { BlobHead, FlowId, GoneMessage, Message } from "./messages.ts";
import type { MoveMessage, RefuseMessage } from "./messages.ts";
import { NO_FLOW } from "./messages.ts";
import { Grants } from "./grants.ts";
import { Peers, type Peer } from "./peers.ts";
import { Recovery } from "./recovery.ts";
import { Sweep } from "./sweep.ts";
import { Tombs } from "./tombs.ts";
import { TIMERS, type Timers } from "./timers.ts";

export interface JudgeOptions {
  readonly self: NodeId;
  /** This forwarder's epoch, as the transport has it. */
  readonly epoch: Epoch;
  /** Every configured node; this one too when it has a classifier. */
  readonly nodes: readonly NodeId[];
  /** 0 to 15: which worker of the forwarder this is. */
  readonly worker: number;
  /** Four random bytes: where identifiers begin. */
  readonly random: Uint8Array;
  readonly timers?: Timers;
  readonly limits?: BookLimits;
}

export class Judge {
  readonly peers: Peers;
  private readonly book: Book;
  private readonly tombs: Tombs;
  private readonly recovery: Recovery;
  private readonly grants: Grants;
  private readonly endings: Endings;
  private readonly sweep: Sweep;

  constructor(
    private readonly world: JudgeWorld,
    private readonly options: JudgeOptions,
  ) {
    const timers = options.timers ?? TIMERS;
    this.peers = new Peers(options.self, options.nodes, world.clock, timers);
    const limits = options.limits ?? BOOK_LIMITS;
    this.book = new Book(world, options.self, options.epoch, this.peers, timers, limits);
    this.tombs = new Tombs(this.book);
    this.grants = new Grants(this.book);
    this.recovery = new Recovery(this.book, this.tombs, options);
    this.sweep = new Sweep(this.book, () => this.recovery.isOn);
    this.endings = new Endings(this.book, this.tombs, this.grants, {
      finish: (entry) => this.finish(entry),
      refuse: (node, epoch, message) => this.handleRefuse(node, epoch, message),
    });
  }

  get counters(): Readonly<Record<string, number>> {
    return this.book.counters;
  }

  /** Flow identifiers that are out and not at rest yet. */
  get flowsInUse(): number {
    return this.book.ids?.inUse ?? 0;
  }

  get isRecovering(): boolean {
    return this.recovery.isOn;
  }

  /** Connections with something open, and tombstones. */
  get openCount(): number {
    return this.book.entries.size;
  }

  /** State of a connection in the words of the protocol. */
  stateOf(tuple: Tuple): "none" | "owned" | "reserved" | "pending" | "resolving" | "tomb" {
    const entry = this.book.entryOf(tuple);
    if (entry) return entry.state;
    const mapping = this.world.table.get(tuple);
    if (!mapping) return "none";
    return mapping.action === "tomb" ? "tomb" : "owned";
  }

  /** R13: the blob of a flow is passed on only from its owner, to its target, while it is handed over. */
  heirOf(source: NodeId, blob: BlobHead): NodeId | undefined {
    return this.book.heirOf(source, blob);
  }

  /** The transport has proved `epoch` current; whatever an earlier one held is over. */
  handleEpoch(node: NodeId, epoch: Epoch): void {
    const peer = this.peers.get(node);
    if (!peer || peer.epoch === epoch) return;
    const isReplaced = peer.epoch !== undefined;
    Object.assign(peer, { epoch, isDead: false, isSynced: false, credits: 0, granted: 0 });
    this.peers.heard(peer);
    if (isReplaced) this.ownerGone(node, true);
    this.tombs.confirmNode(node);
    this.recovery.greet(peer);
  }

  /** The conditions of DESIGN section 8 hold: its boot epoch is dead, for good (R14). */
  declareDead(node: NodeId): void {
    const peer = this.peers.get(node);
    if (!peer || peer.epoch === undefined || peer.isDead || node === this.options.self) return;
    peer.isDead = true;
    this.book.count("nodes-dead");
    this.world.send(node, { type: "dead", bootEpoch: peer.epoch });
    this.ownerGone(node, false);
  }

  /** Nobody listens at its port: with 3 heartbeats missed, that is death. A kernel may not say it twice. */
  handleUnreachable(node: NodeId): void {
    const peer = this.peers.get(node);
    if (peer) peer.isClosed = true;
  }

  /** This process did nothing for so long; to be called before `handleTimeout`. */
  stoodStill(us: number): void {
    this.book.count("stood-still");
    this.peers.stoodStill(us);
  }

  /** A message of `node`, authenticated as of boot epoch `epoch`. */
  handle(node: NodeId, epoch: Epoch, message: Message): void {
    const peer = this.peers.get(node);
    if (!peer || peer.epoch !== epoch) return this.book.count("stale-sender");
    if (peer.isDead) {
      this.book.count("dead-sender");
      return this.world.send(node, { type: "dead", bootEpoch: epoch });
    }
    this.peers.heard(peer);
    this.dispatch(peer, epoch, message);
  }

  /** A classifier gave a packet back that an entry without a flow had sent to it. */
  handleReturned(node: NodeId, tuple: Tuple): void {
    this.endings.handleReturned(node, tuple);
  }

  nextTimeoutUs(): number {
    return Math.min(
      this.book.deadlines.nextUs(),
      this.tombs.nextTimeoutUs(),
      this.peers.nextDeathUs(),
      this.recovery.nextTimeoutUs(),
      this.sweep.nextTimeoutUs(),
    );
  }

  handleTimeout(): void {
    const nowUs = this.world.clock.nowUs();
    const { deadlines } = this.book;
    for (let entry = deadlines.takeDue(nowUs); entry; entry = deadlines.takeDue(nowUs)) {
      if (entry.state === "tomb") this.tombs.handleDue(entry);
      // PENDING: T_MOVE over. RESOLVING: T_RESOLVE over.
      else if (entry.state === "pending") this.resolve(entry);
      else this.abort(entry);
    }
    this.tombs.handleTimeout();
    for (let peer = this.peers.takeSilent(); peer; peer = this.peers.takeSilent()) {
      this.declareDead(peer.id);
    }
    this.recovery.handleTimeout();
    this.sweep.handleTimeout();
  }

  private dispatch(peer: Peer, epoch: Epoch, message: Message): void {
    const node = peer.id;
    switch (message.type) {
      case "reserve":
        // open: RESERVE of T as owner of new says ACCEPT.
        this.finishIfOpen(message.flow, node, epoch);
        return this.grants.handleReserve(peer, epoch, message, this.recovery.isOn);
      case "abandon":
        return this.handleAbandon(node, epoch, message.flow);
      case "move":
        return this.handleMove(node, epoch, message);
      case "cancel":
        return this.handleCancel(node, epoch, message.flow);
      case "accept":
        if (message.forwarderEpoch !== this.options.epoch) return this.book.count("stale-answer");
        return this.handleAccept(node, epoch, message.flow);
      case "refuse":
        return this.handleRefuse(node, epoch, message);
      case "gone":
        return this.handleGone(node, message);
      case "forgotten":
        return this.confirm(node, message.flow);
      case "release":
        for (const item of message.items) {
          this.recovery.noteReleased(peer, epoch, item.flow);
          this.endings.handleRelease(node, epoch, item);
        }
        return;
      case "answer":
        for (const item of message.items) this.endings.handleAnswer(node, epoch, item);
        return;
      case "handback":
        return this.endings.handleHandback(node, epoch, message);
      case "heartbeat":
        return this.peers.handleHeartbeat(peer, message);
      case "sync":
        return this.recovery.handleSync(peer, message);
      default:
        this.book.count("unexpected-message");
    }
  }

  /** RESERVED, ABANDON(new): OWNED. */
  private handleAbandon(node: NodeId, epoch: Epoch, flow: FlowId): void {
    const entry = this.book.openFrom(flow, node, epoch);
    if (entry?.state === "reserved") this.grants.reopen(entry);
    else this.book.count("unmatched-abandon");
  }

  /** RESERVED, MOVE(new): map to new, PENDING. */
  private handleMove(node: NodeId, epoch: Epoch, message: MoveMessage): void {
    const entry = this.book.openFrom(message.flow, node, epoch);
    if (!entry) {
      this.noteLate(node, epoch, message);
      return this.repeat(node, epoch, message.flow);
    }
    entry.reset = message.reset;
    if (entry.state !== "reserved") return;
    this.book.mapTo(entry.tuple, entry.next);
    this.world.table.note(entry.tuple, message.reset);
    entry.state = "pending";
    this.book.deadlines.set(entry, this.world.clock.nowUs() + this.book.timers.moveUs);
    // The target died while the source still owed us this MOVE.
    if (!this.peers.isLive(entry.next)) this.abort(entry);
  }

  /** ACCEPT has overtaken this MOVE, and the new owner may die before its client says anything. */
  private noteLate(node: NodeId, epoch: Epoch, { flow, tuple, reset }: MoveMessage): void {
    const source = this.book.verdictOf(flow)?.own;
    const isSource = source?.node === node && source.epoch === epoch;
    if (isSource && this.world.table.get(tuple)?.flow === flow) this.world.table.note(tuple, reset);
  }

  /** PENDING, CANCEL(new): ask the target. */
  private handleCancel(node: NodeId, epoch: Epoch, flow: FlowId): void {
    const entry = this.book.openFrom(flow, node, epoch);
    if (!entry) return this.repeat(node, epoch, flow);
    // Before its MOVE it changes nothing: MOVE is on its way and starts T_MOVE.
    if (entry.state === "pending") this.resolve(entry);
  }

  /** R10: whoever asks about a flow that was judged hears the verdict again. */
  private repeat(node: NodeId, epoch: Epoch, flow: FlowId): void {
    const record = this.book.verdictOf(flow);
    this.book.count("unmatched-source");
    if (record && record.own.node === node && record.own.epoch === epoch) this.book.tell(record);
  }

  private resolve(entry: OpenEntry): void {
    const { node, epoch, flow } = entry.next;
    entry.state = "resolving";
    this.book.deadlines.set(entry, this.world.clock.nowUs() + this.book.timers.resolveUs);
    this.world.send(node, {
      type: "resolve",
      flow,
      forwarderEpoch: this.options.epoch,
      targetEpoch: epoch,
    });
  }

  /** open, ACCEPT(new): DONE. */
  private handleAccept(node: NodeId, epoch: Epoch, flow: FlowId): void {
    const entry = this.book.openTo(flow, node, epoch);
    if (entry) return this.finish(entry);
    // R9, R10: too late. The target owns what was given up; it must forget.
    const isAborted = this.book.verdictOf(flow)?.verdict === "aborted";
    if (this.book.tombOf(flow) || isAborted) return this.book.forget(node, flow);
    this.book.count("unmatched-accept");
  }

  private finishIfOpen(flow: FlowId, node: NodeId, epoch: Epoch): void {
    const entry = flow === NO_FLOW ? undefined : this.book.openTo(flow, node, epoch);
    if (entry) this.finish(entry);
  }

  /** Verdict DONE: own := new. A blob may overtake its MOVE, so the mapping is set here too. */
  private finish(entry: OpenEntry): void {
    this.close(entry);
    // Since MOVE, or the death of its owner, packets go there already.
    if (entry.state === "reserved") this.book.mapTo(entry.tuple, entry.next);
    this.book.rest(entry.own.flow);
    this.book.judge("done", entry.own, entry.next, entry.tuple);
  }

  private close(entry: OpenEntry): void {
    this.book.remove(entry);
    this.peers.returnCredit(entry.next);
  }

  /** open, REFUSE(new): conclusive, because it comes from the boot epoch that the grant names (R11). */
  private handleRefuse(node: NodeId, epoch: Epoch, message: RefuseMessage): void {
    const entry = this.book.openTo(message.flow, node, epoch);
    if (!entry || message.forwarderEpoch !== this.options.epoch) {
      this.confirm(node, message.flow); // R12: after ABORTED a refusal changes nothing else.
      if (message.connection)
        this.recovery.handleOrphan(message.forwarderEpoch, message.connection);
      return this.book.count("unmatched-refuse");
    }
    this.close(entry);
    if (this.peers.isLive(entry.own)) {
      this.book.mapTo(entry.tuple, entry.own); // First the way back, then the verdict.
      this.book.judge("resume", entry.own, entry.next, entry.tuple);
      return this.book.rest(entry.next.flow);
    }
    this.book.judge("aborted", entry.own, entry.next, entry.tuple);
    const reset = entry.reset ?? message.connection?.reset;
    this.tombs.bury(entry.tuple, [entry.own], [entry.own.flow, entry.next.flow], reset);
  }

  /** open, GONE(new): the target that the grant names is no more, and may have acknowledged data (R2, R11). */
  private handleGone(node: NodeId, message: GoneMessage): void {
    const entry = this.book.openTo(message.flow, node, message.targetEpoch);
    if (entry) return this.abort(entry);
    this.confirm(node, message.flow);
  }

  private confirm(node: NodeId, flow: FlowId): void {
    const tomb = this.book.tombOf(flow);
    if (tomb) this.tombs.confirm(tomb, node, flow);
  }

  /**
   * Verdict ABORTED: the outcome is unknown and nobody may run on. The target is told to forget. A source
   * that lives is frozen and stays so; one declared dead might run, so its end is waited for as well.
   */
  private abort(entry: OpenEntry): void {
    const { own, next } = entry;
    const isFrozen = this.peers.isLive(own);
    this.close(entry);
    this.tombs.bury(
      entry.tuple,
      isFrozen ? [next] : [own, next],
      [own.flow, next.flow],
      entry.reset,
    );
    this.book.judge("aborted", own, next, entry.tuple);
    if (this.peers.isLive(next)) this.book.forget(next.node, next.flow);
  }

  /** A boot epoch is over or declared dead. */
  private ownerGone(node: NodeId, isOver: boolean): void {
    this.tombs.nodeLost(node, isOver);
    for (const entry of [...this.book.entries.values()]) {
      if (entry.state === "tomb") continue;
      const isNextDead = !this.peers.isLive(entry.next);
      const isOwnDead = !this.peers.isLive(entry.own);
      // RESERVED, new dead: the source owes MOVE or ABANDON and may still be working.
      if (isNextDead && (entry.state !== "reserved" || isOwnDead)) this.abort(entry);
      else if (isOwnDead && !isNextDead && entry.state !== "resolving") {
        this.book.mapTo(entry.tuple, entry.next);
        this.resolve(entry);
      }
    }
  }
}
