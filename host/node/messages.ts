/**
 * Every message between nodes (PROTOCOL section 3), as values. Knows fields and which values are possible;
 * must not know bytes (codec.ts) nor what a node does on receipt (judge.ts, migrator.ts).
 * docs/messages.md has the layouts.
 *
 * The sender and its boot epoch are the transport's word and stand in no message. A message carries the
 * 4-tuple wherever its receiver would otherwise need an index from flow identifier to connection.
 */
import type { Tuple } from "../core/tuple.ts";
import type { Epoch, NodeId } from "../transport/transport.ts";
import type { Routing } from "./connection.ts";
import type { DrainMessage, ProgressMessage } from "./drainage.ts";
import type { CensusMessage, HeartbeatMessage, IcmpMessage, RelayMessage } from "./signals.ts";

export type { CensusItem, CensusMessage, HeartbeatMessage } from "./signals.ts";
export type { IcmpMessage, RelayMessage } from "./signals.ts";

/** u32, neither 16-bit half zero; NO_FLOW where a connection has no entry at the forwarder yet. */
export type FlowId = number;
export const NO_FLOW: FlowId = 0;

/** What is known of a flow at its node; the index is both the wire's and the core's value. */
export const RECORD_STATES = ["none", "active", "frozen", "moved", "closed", "poisoned"] as const;
export type RecordState = (typeof RECORD_STATES)[number];

export const VERDICTS = ["done", "resume", "aborted"] as const;
export type Verdict = (typeof VERDICTS)[number];

/** The index is the wire's value. */
export const ROUTINGS = ["connection", "request"] as const satisfies readonly Routing[];

/** Why a forwarder grants nothing. Wire value: index + 1. */
export const DENY_REASONS = [
  /** The forwarder recovers: it does not know all connections yet. */
  "recovering",
  /** The sender does not own this connection (any more). */
  "not-owner",
  /** No credits left, suspect, dead or unknown. */
  "no-target",
  /** The connection is being reset. */
  "aborted",
  /** A table, or the supply of identifiers, is used up. */
  "full",
] as const;
export type DenyReason = (typeof DENY_REASONS)[number];

/** Why a target takes nothing. Wire value: index + 1. */
export const REFUSE_REASONS = [
  "full",
  "draining",
  "no-application",
  "version",
  /** The blob breaks an invariant, or does not describe the connection that the message names. */
  "invalid",
  /** The forwarder epoch of the blob is older than the one known here. */
  "stale-epoch",
  /** The flow identifier is held or remembered here. */
  "taken",
  /** RESOLVE or FORGET came first. */
  "cancelled",
] as const;
export type RefuseReason = (typeof REFUSE_REASONS)[number];

/** Why an owner lets a flow go. Wire value: index + 1. */
export const RELEASE_CAUSES = [
  /** Both directions ended, TIME-WAIT included. */
  "closed",
  /** The client reset it. */
  "reset",
  "timeout",
  /** The application aborted it. */
  "aborted",
  /** The copy was given up after T_FROZEN, or its memory was lost: the client must be reset. */
  "lost",
] as const;
export type ReleaseCause = (typeof RELEASE_CAUSES)[number];

/** What a forwarder needs to reset a client in the owner's place (R20). */
export interface ResetData {
  readonly sndUna: number;
  readonly sndNxt: number;
  readonly rcvNxt: number;
  /** Undefined when timestamps were not negotiated. */
  readonly timestamps: { readonly tsVal: number; readonly tsEcr: number } | undefined;
}

/** A connection that another node holds or held. */
export interface FarConnection {
  readonly tuple: Tuple;
  readonly reset: ResetData;
}

/** What the next connection of a 4-tuple must stay above (RFC 6191): a SYN given back from TIME-WAIT. */
export interface SynHint {
  readonly sndNxt: number;
  readonly tsVal: number;
}

export interface ReserveMessage {
  readonly type: "reserve";
  /** The flow at the source, NO_FLOW for a classifier without an entry. */
  readonly flow: FlowId;
  /** Counts up within a source's boot epoch; a repeat of the same attempt gives the same GRANT. */
  readonly attempt: number;
  readonly tuple: Tuple;
  /** A node, or a pool by the first 8 bytes of the SHA-256 of its name. */
  readonly target: { readonly kind: "node" | "pool"; readonly id: NodeId };
}

export interface GrantMessage {
  readonly type: "grant";
  readonly flow: FlowId;
  readonly attempt: number;
  readonly forwarderEpoch: Epoch;
  readonly target: NodeId;
  readonly targetEpoch: Epoch;
}

export interface DenyMessage {
  readonly type: "deny";
  readonly attempt: number;
  readonly reason: DenyReason;
}

/** "Never frozen for this flow, never will be." */
export interface AbandonMessage {
  readonly type: "abandon";
  readonly flow: FlowId;
}

export interface MoveMessage {
  readonly type: "move";
  readonly flow: FlowId;
  readonly previous: FlowId;
  readonly tuple: Tuple;
  readonly reset: ResetData;
}

/** What stands for a pool where a connection has none. */
export const NO_POOL: NodeId = "0".repeat(16);
/** In RESERVE: whoever reads requests. No SHA-256 that anybody will find begins like that. */
export const CLASSIFIERS: NodeId = "f".repeat(16);

export interface BlobMessage {
  readonly type: "blob";
  readonly flow: FlowId;
  readonly forwarder: NodeId;
  readonly forwarderEpoch: Epoch;
  readonly targetEpoch: Epoch;
  /** 0 at accept, one more at each infusion: the generation that the target will have. */
  readonly generation: number;
  readonly source: NodeId;
  readonly sourceEpoch: Epoch;
  readonly tuple: Tuple;
  readonly reset: ResetData;
  /** The pool whose members may have the connection: for the next move of it. NO_POOL: none is known. */
  readonly pool: NodeId;
  readonly routing: Routing;
  readonly blob: Uint8Array;
}

/** What a BLOB says before the blob itself. */
export type BlobHead = Omit<BlobMessage, "blob">;

export interface CancelMessage {
  readonly type: "cancel";
  readonly flow: FlowId;
}

export interface AcceptMessage {
  readonly type: "accept";
  readonly flow: FlowId;
  readonly forwarderEpoch: Epoch;
  readonly targetEpoch: Epoch;
}

export interface RefuseMessage {
  readonly type: "refuse";
  readonly flow: FlowId;
  readonly forwarderEpoch: Epoch;
  readonly targetEpoch: Epoch;
  readonly reason: RefuseReason;
  /** Undefined when the target has not seen the blob. */
  readonly connection: FarConnection | undefined;
}

export interface ResolveMessage {
  readonly type: "resolve";
  readonly flow: FlowId;
  readonly forwarderEpoch: Epoch;
  readonly targetEpoch: Epoch;
}

/** "Addressed to a predecessor of mine." */
export interface GoneMessage {
  readonly type: "gone";
  readonly flow: FlowId;
  readonly forwarderEpoch: Epoch;
  readonly targetEpoch: Epoch;
  readonly currentEpoch: Epoch;
}

export interface VerdictMessage {
  readonly type: "verdict";
  readonly flow: FlowId;
  readonly forwarderEpoch: Epoch;
  readonly verdict: Verdict;
  /** How many packets of unmapped flows the forwarder had relayed when it said so (R24). */
  readonly relayed: number;
}

export interface ForgetMessage {
  readonly type: "forget";
  readonly flow: FlowId;
  readonly forwarderEpoch: Epoch;
}

export interface ForgottenMessage {
  readonly type: "forgotten";
  readonly flow: FlowId;
  readonly forwarderEpoch: Epoch;
  /** The record that was left: closed (was active) or poisoned (never was) (R6). */
  readonly record: RecordState;
}

export interface ReleaseItem {
  readonly flow: FlowId;
  readonly cause: ReleaseCause;
  readonly tuple: Tuple;
}

export interface ReleaseMessage {
  readonly type: "release";
  readonly items: readonly ReleaseItem[];
}

export interface HandbackMessage {
  readonly type: "handback";
  readonly flow: FlowId;
  readonly record: RecordState;
  /** Undefined when the node never knew the connection: the packet is then still encapsulated. */
  readonly tuple: Tuple | undefined;
  /** Set for a SYN that TIME-WAIT admitted. */
  readonly hint: SynHint | undefined;
  readonly packet: Uint8Array;
}

export interface QueryItem {
  readonly flow: FlowId;
  readonly tuple: Tuple;
}

export interface QueryMessage {
  readonly type: "query";
  readonly items: readonly QueryItem[];
}

export interface AnswerItem {
  readonly flow: FlowId;
  readonly record: RecordState;
  readonly tuple: Tuple;
}

export interface AnswerMessage {
  readonly type: "answer";
  readonly items: readonly AnswerItem[];
}

/** A forwarder introduces its epoch; what comes back is SYNC. */
export interface HelloMessage {
  readonly type: "hello";
  readonly forwarderEpoch: Epoch;
  /** Undefined while it recovers: it chooses one after the reports. */
  readonly slice: number | undefined;
}

export interface SyncItem {
  readonly flow: FlowId;
  readonly record: RecordState;
  readonly generation: number;
  /** Undefined for a flow that never had a connection here (poisoned before any blob). */
  readonly connection: FarConnection | undefined;
  /** For a frozen or moved flow: where it went. */
  readonly next:
    { readonly flow: FlowId; readonly target: NodeId; readonly targetEpoch: Epoch } | undefined;
}

/** One part of the cut (section 7): the forwarder judges when it has all `parts`. */
export interface SyncMessage {
  readonly type: "sync";
  readonly forwarderEpoch: Epoch;
  readonly bootEpoch: Epoch;
  readonly part: number;
  readonly parts: number;
  /** Latest slice heard from this forwarder, undefined when none. */
  readonly slice: number | undefined;
  readonly items: readonly SyncItem[];
}

export interface DeadMessage {
  readonly type: "dead";
  readonly bootEpoch: Epoch;
}

export type Message =
  | ReserveMessage
  | GrantMessage
  | DenyMessage
  | AbandonMessage
  | MoveMessage
  | BlobMessage
  | CancelMessage
  | AcceptMessage
  | RefuseMessage
  | ResolveMessage
  | GoneMessage
  | VerdictMessage
  | ForgetMessage
  | ForgottenMessage
  | ReleaseMessage
  | HandbackMessage
  | QueryMessage
  | AnswerMessage
  | HelloMessage
  | SyncMessage
  | DeadMessage
  | HeartbeatMessage
  | RelayMessage
  | IcmpMessage
  | DrainMessage
  | ProgressMessage
  | CensusMessage;

export type MessageType = Message["type"];

/** Wire value of a type: index + 1. Only ever appended to. */
export const MESSAGE_TYPES: readonly MessageType[] = [
  "reserve",
  "grant",
  "deny",
  "abandon",
  "move",
  "blob",
  "cancel",
  "accept",
  "refuse",
  "resolve",
  "gone",
  "verdict",
  "forget",
  "forgotten",
  "release",
  "handback",
  "query",
  "answer",
  "hello",
  "sync",
  "dead",
  "heartbeat",
  "relay",
  "icmp",
  "drain",
  "progress",
  "census",
];

/** Neither half of a flow identifier may be zero: a port 0 does not survive real networks. */
export function isFlowId(flow: number): boolean {
  return (flow & 0xffff) !== 0 && flow >>> 16 !== 0;
}

/** Items of RELEASE, QUERY, ANSWER and SYNC in one message: keeps the first three in one datagram. */
export const ITEMS_MAX = 24;
/** Items of one part of SYNC. */
export const SYNC_ITEMS_MAX = 512;
