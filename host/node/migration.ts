/**
 * What the connection migrator needs around it: the stack, the records of flows, a way to send. Knows
 * interfaces only; the rules are in migrator.ts (source) and arrivals.ts (target).
 */
import type { Tuple } from "../core/tuple.ts";
import type { Epoch, NodeId, SendOptions } from "../transport/transport.ts";
import type { Routing } from "./connection.ts";
import type { Clock } from "./environment.ts";
import type { BlobMessage, FlowId, Message, RecordState } from "./messages.ts";
import type { RefuseReason, ResetData } from "./messages.ts";
import type { Timers } from "./timers.ts";

/** What stands in the blob beside the protocol state and the data: who names the connection how. */
export interface FlowMapping {
  readonly flow: FlowId;
  readonly generation: number;
  readonly forwarder: NodeId;
  readonly forwarderEpoch: Epoch;
  readonly source: NodeId;
  readonly sourceEpoch: Epoch;
  readonly targetEpoch: Epoch;
}

/** BLOB, field by field: to copy a mapping's by a spread takes the engine many times as long. */
export function blobMessage(
  mapping: FlowMapping,
  tuple: Tuple,
  reset: ResetData,
  { pool, routing }: Pick<Baggage, "pool" | "routing">,
  blob: Uint8Array,
): BlobMessage {
  return {
    type: "blob",
    flow: mapping.flow,
    forwarder: mapping.forwarder,
    forwarderEpoch: mapping.forwarderEpoch,
    targetEpoch: mapping.targetEpoch,
    generation: mapping.generation,
    source: mapping.source,
    sourceEpoch: mapping.sourceEpoch,
    tuple,
    reset,
    pool,
    routing,
    blob,
  };
}

/** The flow that names a connection now. */
export interface FlowOwner {
  readonly forwarder: NodeId;
  readonly flow: FlowId;
  readonly generation: number;
}

export interface Infused {
  readonly connection: number;
  /** What the application sent along; empty when nothing. */
  readonly state: Uint8Array;
}

/** What comes with a connection beside its protocol state. */
export interface Baggage {
  /** NO_POOL when none is known. */
  readonly pool: NodeId;
  readonly routing: Routing;
  readonly state: Uint8Array;
}

/** How a connection is to be given away. */
export interface MigrateOptions {
  /** The pool it belongs to. */
  readonly pool?: NodeId;
  readonly routing?: Routing;
  /**
   * Asked when the grant is there, just before the connection freezes: the state that its application sends
   * along, or undefined when it is in no state to move after all.
   */
  readonly ready?: () => Uint8Array | undefined;
}

/** The stack as migration needs it. `connection` is its handle. */
export interface Stack {
  /** False: it is in no state to move (handshake, TIME-WAIT, gone). */
  freeze(connection: number): boolean;
  /** Run on: timers start from now. */
  thaw(connection: number): void;
  /** Drop it and emit nothing. */
  discard(connection: number): void;
  /** RST to the client, then nothing. */
  reset(connection: number): void;
  /** Of a frozen connection, with the application's state; undefined when it breaks an invariant. */
  compile(connection: number, mapping: FlowMapping, state: Uint8Array): Uint8Array | undefined;
  /**
   * Everything or nothing: a connection that runs under `mapping.flow`, its record ACTIVE, early packets
   * replayed. The blob must hold `mapping` and describe `tuple`.
   */
  infuse(
    blob: Uint8Array,
    mapping: FlowMapping,
    tuple: Tuple,
  ): Infused | { readonly refused: RefuseReason };
  tuple(connection: number): Tuple;
  resetData(connection: number): ResetData;
  /** Undefined for a connection that was accepted here and never moved. */
  owner(connection: number): FlowOwner | undefined;
  /** The connection that a flow names. */
  find(forwarder: NodeId, flow: FlowId): number | undefined;
}

/** Records of flows; the core forgets ended ones after T_RECORD and hands early packets back on any end. */
export interface RecordTable {
  get(forwarder: NodeId, flow: FlowId): RecordState;
  set(forwarder: NodeId, flow: FlowId, state: RecordState): void;
  /** Held segments of a frozen flow may go back to the forwarder: it has acknowledged MOVE. */
  pass(forwarder: NodeId, flow: FlowId): void;
  each(
    forwarder: NodeId,
    visit: (flow: FlowId, state: RecordState, tuple: Tuple | undefined) => void,
  ): void;
}

/** Connections that no flow names: accepted here, and on their way out for the first time. */
export interface Unnamed {
  /** As RecordTable.set for one with a flow: frozen, active again, moved or closed. */
  mark(tuple: Tuple, state: RecordState): void;
  /** As RecordTable.pass. */
  pass(tuple: Tuple): void;
}

export interface MigratorWorld {
  readonly clock: Clock;
  readonly stack: Stack;
  readonly records: RecordTable;
  /** Undefined where the forwarder is in this very process: it sends nothing here that it has mapped. */
  readonly unnamed?: Unnamed | undefined;
  /** Reliable; to this very node a local delivery on a later turn. */
  send(node: NodeId, message: Message, options?: SendOptions): void;
  /** Why nothing is taken now; undefined: send it. */
  refusal(tuple: Tuple): "full" | "draining" | "no-application" | undefined;
  /** A connection arrived and runs. */
  arrived(connection: number, mapping: FlowMapping, baggage: Baggage): void;
  /** This node was declared dead or is out of contact: drop all, draw a new boot epoch (R14). */
  restart(): void;
}

export interface MigratorOptions {
  readonly self: NodeId;
  readonly epoch: Epoch;
  readonly timers?: Timers;
  /** Connections that may be on their way out at once. */
  readonly outgoingMax?: number;
  /** A blob that takes longer is given up, and the forwarder asked to find out. */
  readonly blobLimitUs?: number;
}
