/**
 * The connection migrator of a node, as source and as target of handoffs (PROTOCOL section 4). Knows the
 * protocol; must not know packets, what a blob holds or how messages travel. Sans-IO. Records of flows are
 * the core's (`RecordTable`), connections the stack's (`Stack`); here is only what is being given away.
 *
 * Nothing but the forwarder's verdict makes a frozen copy run or go (R7). What it says about another flow,
 * or said in an earlier epoch, changes nothing (R4, section 7).
 */
import { tupleKey, type Tuple } from "../core/tuple.ts";
import type { Epoch, NodeId } from "../transport/transport.ts";
import { Arrivals } from "./arrivals.ts";
import { VERDICT_COUNTERS } from "./book.ts";
import { Entered } from "./entered.ts";
import { Forwarders } from "./forwarders.ts";
import type { DenyReason, FlowId, GrantMessage, Message, RecordState } from "./messages.ts";
import type { ReleaseCause, VerdictMessage } from "./messages.ts";
import { NO_FLOW, NO_POOL } from "./messages.ts";
import { blobMessage, type FlowMapping, type MigrateOptions } from "./migration.ts";
import type { MigratorOptions, MigratorWorld } from "./migration.ts";
import { OutgoingTable, type MigrationOutcome, type Outgoing, type Target } from "./outgoing.ts";
import { Reporter } from "./report.ts";
import { TIMERS, type Timers } from "./timers.ts";

/** Why nobody was asked for a connection, or nobody can have it. */
type Local = "nobody took it" | "it is in no state to move";
/** Candidates tried in one go. */
const TRIES_MAX = 3;
const NO_STATE = new Uint8Array(0);

export class Migrator {
  readonly counters: Record<string, number> = {};
  /** Connections on their way out. */
  readonly outgoing: OutgoingTable;
  private readonly forwarders: Forwarders;
  private readonly arrivals: Arrivals;
  private readonly reporter: Reporter;
  private readonly timers: Timers;
  private attempts = 0;
  private readonly entered = new Entered();

  constructor(
    private readonly world: MigratorWorld,
    private readonly options: MigratorOptions,
  ) {
    this.timers = options.timers ?? TIMERS;
    this.outgoing = new OutgoingTable(options.outgoingMax ?? 4096, (next) => this.ask(next));
    this.forwarders = new Forwarders(world, this.timers.leaseUs);
    this.reporter = new Reporter(world, options.epoch, this.outgoing);
    const departures = {
      departed: (outgoing: Outgoing) => this.departed(outgoing),
      dropped: (outgoing: Outgoing) => this.dropped(outgoing),
      unnamed: (forwarder: NodeId, tuple: Tuple) => this.unnamed(forwarder, tuple),
    };
    const { forwarders, outgoing } = this;
    const count = (name: string) => this.count(name);
    const { epoch } = options;
    this.arrivals = new Arrivals(world, epoch, forwarders, outgoing, departures, count);
  }

  /** Connections accepted here whose end has to be reported, because a forwarder may have an entry for them. */
  get enteredCount(): number {
    return this.entered.size;
  }

  addForwarder(id: NodeId): void {
    this.forwarders.add(id);
  }

  /**
   * Gives a connection away, to the first candidate that takes it (at most 3 are tried). It works on until
   * the grant is there. `done` is called once, never before this returns. False: not possible now.
   */
  migrate(
    connection: number,
    forwarder: NodeId,
    candidates: readonly Target[],
    done: (outcome: MigrationOutcome) => void,
    options: MigrateOptions = {},
  ): boolean {
    const known = this.forwarders.get(forwarder);
    const isBusy = this.outgoing.ofConnection(connection) !== undefined;
    if (isBusy || known?.epoch === undefined || candidates.length === 0) return false;
    if (this.outgoing.size >= this.outgoing.max) {
      this.count("outgoing-full");
      return false;
    }
    const owner = this.world.stack.owner(connection);
    const tuple = this.world.stack.tuple(connection);
    const outgoing: Outgoing = {
      state: "waiting",
      connection,
      forwarder,
      flow0: owner?.flow ?? NO_FLOW,
      tuple,
      key: tupleKey(tuple),
      generation: (owner?.generation ?? 0) + 1,
      done,
      options,
      candidates,
      tries: 0,
      asked: undefined,
      attempt: ++this.attempts,
      flow: NO_FLOW,
      target: "",
      targetEpoch: "",
      reset: undefined,
      blobBytes: 0,
      deadlineUs: Infinity,
      ticket: undefined,
    };
    this.outgoing.add(outgoing);
    this.reserve(outgoing);
    return true;
  }

  /**
   * A connection is over, TIME-WAIT included: its flow is released. To be called for every connection, with
   * NO_FLOW for one that was accepted here: its end is reported when the forwarder may have an entry for it.
   */
  ended(
    connection: number,
    forwarder: NodeId,
    flow: FlowId,
    tuple: Tuple,
    cause: ReleaseCause,
  ): void {
    const outgoing = this.outgoing.ofConnection(connection);
    if (outgoing) {
      this.outgoing.remove(outgoing); // A grant that still comes is abandoned.
      outgoing.done({ kind: "ended" });
    }
    if (flow !== NO_FLOW) this.world.records.set(forwarder, flow, "closed");
    const isEntered = this.entered.delete(connection) || outgoing !== undefined;
    if (flow !== NO_FLOW || isEntered) {
      this.forwarders.release(forwarder, { flow, cause, tuple });
    }
  }

  /** Anything was heard from a forwarder: its lease runs from now. */
  heard(forwarder: NodeId): void {
    this.forwarders.heard(forwarder);
  }

  /** The transport has proved a forwarder's epoch current: adopt it and report every record (section 7). */
  handleEpoch(forwarder: NodeId, epoch: Epoch): void {
    const known = this.forwarders.get(forwarder);
    if (!known || known.epoch === epoch) return;
    this.forwarders.adopt(known, epoch);
    for (const outgoing of this.outgoing.lost(forwarder)) this.forgetLost(outgoing);
    for (const outgoing of this.outgoing.values()) {
      if (outgoing.forwarder !== forwarder || outgoing.state !== "waiting") continue;
      this.outgoing.remove(outgoing);
      const reason = "the forwarder restarted";
      outgoing.done({ kind: "unavailable", reason, isUnasked: true });
    }
    this.forwarders.flush(known);
    this.reporter.report(known, epoch);
  }

  handle(node: NodeId, epoch: Epoch, message: Message): void {
    this.heard(node);
    switch (message.type) {
      case "grant":
        return this.handleGrant(node, message);
      case "deny":
        return this.handleDeny(node, message.attempt, message.reason);
      case "verdict":
        return this.handleVerdict(node, message);
      case "blob":
        return this.arrivals.handleBlob(message);
      case "resolve":
        return this.arrivals.handleResolve(node, message);
      case "forget":
        return this.arrivals.handleForget(node, message);
      case "query":
        return this.arrivals.handleQuery(node, message);
      case "hello": {
        const known = this.forwarders.get(node);
        // The transport has proved which epoch it speaks in; another one would turn this node deaf.
        if (message.forwarderEpoch !== epoch) return this.count("stale-hello");
        this.handleEpoch(node, message.forwarderEpoch);
        if (known && message.slice !== undefined) known.slice = message.slice;
        return;
      }
      case "dead":
        if (message.bootEpoch === this.options.epoch) this.world.restart();
        return;
      default:
        this.count("unexpected-message");
    }
  }

  nextTimeoutUs(): number {
    return Math.min(this.outgoing.deadlines.nextUs(), this.forwarders.nextTimeoutUs());
  }

  handleTimeout(): void {
    const nowUs = this.world.clock.nowUs();
    const { deadlines } = this.outgoing;
    for (let due = deadlines.takeDue(nowUs); due; due = deadlines.takeDue(nowUs)) this.giveUp(due);
    if (this.forwarders.handleTimeout()) return;
    this.count("leases-lost");
    this.world.restart();
  }

  private reserve(outgoing: Outgoing): void {
    const [target, ...rest] = outgoing.candidates;
    if (!target || outgoing.tries >= TRIES_MAX) return this.unavailable(outgoing, "nobody took it");
    outgoing.candidates = rest;
    outgoing.tries++;
    outgoing.asked = target;
    this.outgoing.line(outgoing, target.id);
  }

  private ask(outgoing: Outgoing): void {
    const { flow0: flow, attempt, tuple, asked: target } = outgoing;
    if (target)
      this.world.send(outgoing.forwarder, { type: "reserve", flow, attempt, tuple, target });
  }

  /** The next candidate, under a new attempt: an identifier is never tried twice. */
  private retry(outgoing: Outgoing): void {
    this.outgoing.nextAttempt(outgoing, ++this.attempts);
    this.reserve(outgoing);
  }

  private unavailable(outgoing: Outgoing, reason: DenyReason | Local): void {
    this.outgoing.remove(outgoing);
    this.count("unavailable");
    outgoing.done({ kind: "unavailable", reason, isUnasked: reason === "recovering" });
  }

  private handleDeny(node: NodeId, attempt: number, reason: DenyReason): void {
    const outgoing = this.outgoing.ofAttempt(attempt);
    if (!outgoing || outgoing.forwarder !== node || outgoing.state !== "waiting") return;
    if (reason === "no-target") this.retry(outgoing);
    else this.unavailable(outgoing, reason);
  }

  /** ACTIVE waiting, GRANT of this attempt and of the F epoch known: FROZEN. Otherwise ABANDON. */
  private handleGrant(node: NodeId, grant: GrantMessage): void {
    if (this.outgoing.ofFlow(node, grant.flow)) return; // Used already: nothing.
    const outgoing = this.outgoing.ofAttempt(grant.attempt);
    const isWanted = outgoing?.forwarder === node && outgoing.state === "waiting";
    if (!outgoing || !isWanted || !this.forwarders.isCurrent(node, grant.forwarderEpoch)) {
      return this.world.send(node, { type: "abandon", flow: grant.flow });
    }
    const { stack } = this.world;
    const { ready } = outgoing.options;
    const state = ready ? ready() : NO_STATE;
    if (!state || !stack.freeze(outgoing.connection)) return this.abandon(outgoing, grant, false);
    const mapping: FlowMapping = {
      flow: grant.flow,
      generation: outgoing.generation,
      forwarder: node,
      forwarderEpoch: grant.forwarderEpoch,
      source: this.options.self,
      sourceEpoch: this.options.epoch,
      targetEpoch: grant.targetEpoch,
    };
    const blob = stack.compile(outgoing.connection, mapping, state);
    if (!blob) return this.abandon(outgoing, grant, true);
    this.depart(outgoing, grant, mapping, blob);
  }

  private abandon(outgoing: Outgoing, grant: GrantMessage, isFrozen: boolean): void {
    this.count("abandoned");
    if (isFrozen) this.world.stack.thaw(outgoing.connection);
    this.world.send(outgoing.forwarder, { type: "abandon", flow: grant.flow });
    this.unavailable(outgoing, "it is in no state to move");
  }

  /** BLOB and MOVE in one go; from here on only a verdict decides. */
  private depart(
    outgoing: Outgoing,
    grant: GrantMessage,
    mapping: FlowMapping,
    blob: Uint8Array,
  ): void {
    const { forwarder, flow0: previous, tuple } = outgoing;
    const { flow, target, targetEpoch } = grant;
    const reset = this.world.stack.resetData(outgoing.connection);
    outgoing.reset = reset;
    outgoing.blobBytes = blob.length;
    this.outgoing.freeze(outgoing, flow, target, targetEpoch);
    if (previous === NO_FLOW) this.entered.add(outgoing.connection, forwarder, tuple);
    this.mark(outgoing, "frozen");
    const until = this.world.clock.nowUs() + this.timers.frozenUs;
    this.outgoing.deadlines.set(outgoing, until);
    this.count("departed");
    const limitUs = this.options.blobLimitUs ?? this.timers.frozenUs;
    const { pool = NO_POOL, routing = "connection" } = outgoing.options;
    this.world.send(target, blobMessage(mapping, tuple, reset, { pool, routing }, blob), {
      limitUs,
      onOutcome: (outcome) => {
        const isWaiting = this.outgoing.ofFlow(forwarder, flow) !== undefined;
        if (outcome === "unknown" && isWaiting) {
          this.world.send(forwarder, { type: "cancel", flow });
        }
      },
    });
    this.world.send(
      forwarder,
      { type: "move", flow, previous, tuple, reset },
      {
        onOutcome: (outcome) => {
          const isFrozen = this.world.records.get(forwarder, previous) === "frozen";
          if (outcome === "delivered" && previous !== NO_FLOW && isFrozen) {
            this.world.records.pass(forwarder, previous);
          }
          const isStill = this.outgoing.ofFlow(forwarder, flow) === outgoing;
          if (outcome === "delivered" && previous === NO_FLOW && isStill) {
            this.world.unnamed?.pass(tuple);
          }
        },
      },
    );
  }

  private handleVerdict(node: NodeId, message: VerdictMessage): void {
    if (!this.forwarders.isCurrent(node, message.forwarderEpoch))
      return this.count("stale-verdict");
    const outgoing = this.outgoing.ofFlow(node, message.flow);
    if (!outgoing) return this.count("unmatched-verdict");
    this.count(VERDICT_COUNTERS[message.verdict]);
    if (outgoing.state === "lost") {
      // Its copy was given up: nobody can run on, so the client must hear it.
      this.forgetLost(outgoing);
      const { flow0: flow, tuple } = outgoing;
      if (message.verdict === "resume")
        this.forwarders.release(node, { flow, cause: "lost", tuple });
    } else if (message.verdict === "done") this.departed(outgoing);
    else if (message.verdict === "aborted") this.dropped(outgoing);
    else {
      this.mark(outgoing, "active");
      this.outgoing.thaw(outgoing);
      this.world.stack.thaw(outgoing.connection);
      // It may have come too late only: once more when the others have refused as well.
      if (outgoing.asked) outgoing.candidates = [...outgoing.candidates, outgoing.asked];
      this.retry(outgoing);
    }
  }

  private departed(outgoing: Outgoing): void {
    this.outgoing.remove(outgoing);
    this.mark(outgoing, "moved");
    this.entered.delete(outgoing.connection);
    this.world.stack.discard(outgoing.connection);
    const { target, flow, blobBytes } = outgoing;
    outgoing.done({ kind: "moved", target, flow, blobBytes });
  }

  /** FROZEN, ABORTED or FORGET: nothing is emitted. */
  private dropped(outgoing: Outgoing): void {
    this.outgoing.remove(outgoing);
    this.mark(outgoing, "closed");
    this.entered.delete(outgoing.connection);
    this.world.stack.discard(outgoing.connection);
    outgoing.done({ kind: "lost" });
  }

  /** R7: the forwarder stayed away for T_FROZEN. The copy goes without a word: the target may be working. */
  private giveUp(outgoing: Outgoing): void {
    if (outgoing.state === "lost") return this.forgetLost(outgoing);
    this.count("given-up");
    this.outgoing.giveUp(outgoing);
    // R24: without a flow its packets go back until the verdict is here, which says what was relayed before.
    if (outgoing.flow0 === NO_FLOW) this.world.unnamed?.pass(outgoing.tuple);
    else this.mark(outgoing, "closed");
    this.entered.delete(outgoing.connection);
    this.world.stack.discard(outgoing.connection);
    this.outgoing.deadlines.set(outgoing, this.world.clock.nowUs() + this.timers.recordUs);
    outgoing.done({ kind: "lost" });
  }

  /** The verdict about a copy that was given up is here, or nobody can speak it any more. */
  private forgetLost(outgoing: Outgoing): void {
    this.outgoing.remove(outgoing);
    if (outgoing.flow0 === NO_FLOW) this.mark(outgoing, "closed");
  }

  private unnamed(forwarder: NodeId, tuple: Tuple): RecordState {
    const outgoing = this.outgoing.ofTuple(tuple);
    const isLeaving = outgoing?.forwarder === forwarder && outgoing.flow0 === NO_FLOW;
    if (isLeaving) return outgoing.state === "frozen" ? "frozen" : "active";
    return this.entered.has(forwarder, tuple) ? "active" : "none";
  }

  private mark(outgoing: Outgoing, state: RecordState): void {
    const { forwarder, flow0, tuple } = outgoing;
    if (flow0 === NO_FLOW) this.world.unnamed?.mark(tuple, state);
    else this.world.records.set(forwarder, flow0, state);
  }

  private count(name: string): void {
    this.counters[name] = (this.counters[name] ?? 0) + 1;
  }
}
