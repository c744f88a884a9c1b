/**
 * Connections that this node is giving away, with every index a message needs. Knows the bookkeeping;
 * the rules are in migrator.ts. Bounded: each frozen copy holds buffers of the stack.
 */
import type { Tuple } from "../core/tuple.ts";
import { tupleKey } from "../core/tuple.ts";
import { Numbered } from "../transport/numbered.ts";
import { Registry } from "../transport/registry.ts";
import type { Epoch, NodeId } from "../transport/transport.ts";
import { Lanes, type InLane } from "./lanes.ts";
import type { FlowId, ResetData } from "./messages.ts";
import type { MigrateOptions } from "./migration.ts";
import { Deadlines } from "./timers.ts";
import type { Timed } from "./timers.ts";

/**
 * Handoffs to one target under way at once. A round of so many blobs of 64 KiB takes far less than T_MOVE,
 * and more would not be faster: one round trip is some milliseconds.
 */
const LANE_MAX = 32;

/** A node, or a pool by the first 8 bytes of the SHA-256 of its name. */
export interface Target {
  readonly kind: "node" | "pool";
  readonly id: NodeId;
}

/**
 * "moved": the target has it. "unavailable": it still is ours and runs; nobody took it. "lost": the outcome
 * is unknown or it was declared dead; the connection is gone here. "ended": it closed before it moved.
 */
export type MigrationOutcome =
  | {
      readonly kind: "moved";
      readonly target: NodeId;
      readonly flow: FlowId;
      readonly blobBytes: number;
    }
  | {
      readonly kind: "unavailable";
      readonly reason: string;
      /** The forwarder was away or has just begun anew: nobody was asked. */
      readonly isUnasked?: boolean;
    }
  | { readonly kind: "lost" }
  | { readonly kind: "ended" };

export interface Outgoing extends Timed, InLane<Outgoing> {
  /** In line, or waiting for GRANT; frozen for `flow`; the copy was given up after T_FROZEN. */
  state: "waiting" | "frozen" | "lost";
  readonly connection: number;
  readonly forwarder: NodeId;
  readonly flow0: FlowId;
  readonly tuple: Tuple;
  /** Of the tuple. */
  readonly key: string;
  readonly generation: number;
  readonly done: (outcome: MigrationOutcome) => void;
  readonly options: MigrateOptions;
  /** Still to be tried, in order of preference. */
  candidates: readonly Target[];
  tries: number;
  /** The candidate that the attempt is about. */
  asked: Target | undefined;
  attempt: number;
  /** From the GRANT. */
  flow: FlowId;
  target: NodeId;
  targetEpoch: Epoch;
  reset: ResetData | undefined;
  blobBytes: number;
}

export class OutgoingTable {
  readonly deadlines = new Deadlines<Outgoing>();
  private readonly all = new Numbered<Outgoing>();
  private readonly byAttempt = new Numbered<Outgoing>();
  /** By the forwarder that gave the flow its identifier. */
  private readonly byFlow = new Map<NodeId, Numbered<Outgoing>>();
  private readonly byTuple = new Registry<string, Outgoing>();
  private readonly lanes = new Lanes<Outgoing>(LANE_MAX);

  /** `go` is told when one that waited in line may ask for its grant. */
  constructor(
    readonly max: number,
    private readonly go: (outgoing: Outgoing) => void,
  ) {}

  get size(): number {
    return this.all.size;
  }

  values(): Outgoing[] {
    return [...this.all.values()];
  }

  ofConnection(connection: number): Outgoing | undefined {
    return this.all.get(connection);
  }

  ofAttempt(attempt: number): Outgoing | undefined {
    return this.byAttempt.get(attempt);
  }

  /** Frozen for this flow, or given up while it was. */
  ofFlow(forwarder: NodeId, flow: FlowId): Outgoing | undefined {
    return this.byFlow.get(forwarder)?.get(flow);
  }

  /** Those whose copies were given up, and of which this forwarder may still speak a verdict. */
  lost(forwarder: NodeId): Outgoing[] {
    const flows = this.byFlow.get(forwarder);
    return flows ? [...flows.values()].filter(({ state }) => state === "lost") : [];
  }

  ofTuple(tuple: Tuple): Outgoing | undefined {
    return this.byTuple.get(tupleKey(tuple));
  }

  add(outgoing: Outgoing): void {
    this.all.set(outgoing.connection, outgoing);
    this.byTuple.set(outgoing.key, outgoing);
    this.byAttempt.set(outgoing.attempt, outgoing);
  }

  /** It wants to go to this target: now, or when a place is free. */
  line(outgoing: Outgoing, target: NodeId): void {
    this.leave(outgoing);
    if (this.lanes.enter(outgoing, target)) this.go(outgoing);
  }

  nextAttempt(outgoing: Outgoing, attempt: number): void {
    this.byAttempt.delete(outgoing.attempt);
    outgoing.attempt = attempt;
    this.byAttempt.set(attempt, outgoing);
  }

  freeze(outgoing: Outgoing, flow: FlowId, target: NodeId, targetEpoch: Epoch): void {
    this.byAttempt.delete(outgoing.attempt);
    outgoing.state = "frozen";
    outgoing.flow = flow;
    outgoing.target = target;
    outgoing.targetEpoch = targetEpoch;
    let flows = this.byFlow.get(outgoing.forwarder);
    if (!flows) this.byFlow.set(outgoing.forwarder, (flows = new Numbered()));
    flows.set(flow, outgoing);
  }

  /** It runs again; the flow is no longer its. */
  thaw(outgoing: Outgoing): void {
    this.byFlow.get(outgoing.forwarder)?.delete(outgoing.flow);
    this.deadlines.set(outgoing, Infinity);
    outgoing.state = "waiting";
  }

  /** The stack has nothing of it any more; only a late verdict for `flow` is still waited for. */
  giveUp(outgoing: Outgoing): void {
    outgoing.state = "lost";
    this.forgetConnection(outgoing);
    this.leave(outgoing);
  }

  remove(outgoing: Outgoing): void {
    this.deadlines.set(outgoing, Infinity);
    this.byAttempt.delete(outgoing.attempt);
    this.byFlow.get(outgoing.forwarder)?.delete(outgoing.flow);
    this.forgetConnection(outgoing);
    this.leave(outgoing);
  }

  private leave(outgoing: Outgoing): void {
    const next = this.lanes.leave(outgoing);
    if (next) this.go(next);
  }

  private forgetConnection(outgoing: Outgoing): void {
    if (this.all.get(outgoing.connection) === outgoing) this.all.delete(outgoing.connection);
    const { key } = outgoing;
    if (this.byTuple.get(key) === outgoing) this.byTuple.delete(key);
  }
}
