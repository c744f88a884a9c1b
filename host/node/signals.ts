/**
 * Messages that are sent once and never repeated: the next one says the same, or TCP above them sends again.
 * Knows fields only. Part of messages.ts.
 */
import type { Tuple } from "../core/tuple.ts";
import type { NodeId } from "../transport/transport.ts";
import type { FlowId, SynHint } from "./messages.ts";

/** Sent by every node to its forwarders and back, every 250 ms. */
export interface HeartbeatMessage {
  readonly type: "heartbeat";
  readonly sequence: number;
  readonly draining: boolean;
  /** An application takes connections, or a classifier does. */
  readonly serving: boolean;
  /** Open connections. */
  readonly load: number;
  /** Blobs that the sender has room for now. */
  readonly credits: number;
  /** Range of blob formats that the sender reads. */
  readonly blobVersionMin: number;
  readonly blobVersionMax: number;
  /** Path MTU towards the clients. */
  readonly mtu: number;
}

/** A packet of an unmapped flow for a classifier on another node, or on its way back from one. */
export interface RelayMessage {
  readonly type: "relay";
  /**
   * Classifiers that know nothing of the connection, one bit for each place in the order that the hash of
   * its 4-tuple gives them.
   */
  readonly asked: number;
  /** Place among all that this forwarder's epoch has relayed, from 1 (R24). */
  readonly order: number;
  /**
   * On its way back: a verdict has overtaken it, or it waited for a connection that has left. The classifier says
   * nothing of the connection; the forwarder looks the packet up again.
   */
  readonly isOvertaken: boolean;
  readonly hint: SynHint | undefined;
  /** As the client sent it. */
  readonly packet: Uint8Array;
}

/** An ICMP error that arrived at the forwarder and belongs to the owner of `flow`. */
export interface IcmpMessage {
  readonly type: "icmp";
  readonly flow: FlowId;
  readonly tuple: Tuple;
  readonly packet: Uint8Array;
}

export interface CensusItem {
  readonly node: NodeId;
  /** May be granted a connection now. */
  readonly usable: boolean;
  /** Not now, but perhaps in a moment: silent for a short while, or all its credits are out. */
  readonly mayReturn: boolean;
  /** Open connections. */
  readonly load: number;
}

/** What a forwarder knows of its backends, for classifiers on other nodes: with every heartbeat. */
export interface CensusMessage {
  readonly type: "census";
  readonly items: readonly CensusItem[];
}

/** Nodes that a core can tell apart. */
export const CENSUS_MAX = 255;
