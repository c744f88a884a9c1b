/**
 * The contract of the blob transport. Knows peers, datagrams and messages as bytes; must not know what
 * a message means. Sans-IO: `handle*` take input, `poll*` yield output, `next*` say when.
 */
import type { Endpoint } from "../node/environment.ts";

/** First 8 bytes of SHA-256 of a node's name, as 16 hexadecimal digits. */
export type NodeId = string;

/** 16 random bytes, drawn at start and after each self-reset (PROTOCOL section 2), as 32 hex digits. */
export type Epoch = string;

export interface PeerConfig {
  readonly id: NodeId;
  readonly name: string;
  /** Where its datagrams are sent; learned from authenticated datagrams when absent. */
  readonly endpoint?: Endpoint;
}

/** How a reliable message ended. "unknown": it may or may not have been delivered. */
export type Outcome = "delivered" | "unknown";

export interface SendOptions {
  /** Give up after this time; the default is never, while the receiver's epoch lasts. */
  readonly limitUs?: number;
  readonly onOutcome?: (outcome: Outcome) => void;
}

/** Where a message goes on to while it still comes. */
export interface Passage extends SendOptions {
  /** A peer other than this node. */
  readonly to: NodeId;
  /** Asked at each chunk; once false the rest is dropped, and the peer is told to forget what it has. */
  readonly isWanted: () => boolean;
}

export interface TransportEvents {
  /** A whole message, exactly once for each message sent to this boot epoch. */
  message(peer: NodeId, epoch: Epoch, bytes: Uint8Array): void;
  /**
   * The beginning of a message of `total` bytes in several chunks, as soon as its first chunk is here. Who
   * answers with a passage has it passed on chunk by chunk, as they come, and `message` is not called for it.
   * Asked amid a datagram: it answers, and does nothing else.
   */
  passOn?(peer: NodeId, epoch: Epoch, head: Uint8Array, total: number): Passage | undefined;
  /** An authenticated hello exchange proved this epoch current; `previous` is over for good. */
  peerEpoch(peer: NodeId, epoch: Epoch, previous: Epoch | undefined): void;
}

export interface OutgoingDatagram {
  readonly to: Endpoint;
  readonly bytes: Uint8Array;
}

export interface Transport {
  readonly epoch: Epoch;
  addPeer(peer: PeerConfig): void;
  /** The proved current epoch of a peer, undefined before the first hello exchange. */
  peerEpoch(peer: NodeId): Epoch | undefined;
  /** Smoothed round trip to a peer in microseconds, undefined before the first measurement. */
  peerRttUs(peer: NodeId): number | undefined;
  /** Reliable, exactly once, independent of every other message. */
  send(peer: NodeId, bytes: Uint8Array, options?: SendOptions): void;
  /** At most once, not repeated; split in two when it exceeds one datagram. */
  sendUnreliable(peer: NodeId, bytes: Uint8Array): void;
  /** Begins (or repeats) the hello exchange with a peer. */
  hello(peer: NodeId): void;
  handleDatagram(from: Endpoint, bytes: Uint8Array): void;
  pollDatagram(): OutgoingDatagram | undefined;
  /** Monotonic microseconds, or Infinity. */
  nextTimeoutUs(): number;
  /** When what only pacing holds back may leave: one of the timeouts, told apart. Infinity: nothing is. */
  pacedUntilUs(): number;
  handleTimeout(): void;
  /** Cluster keys from now on, one or two: the first seals, any opens. */
  setKeys(keys: readonly Uint8Array[]): void;
  /** Gives keys and memory back; no call follows and no outcome is told. */
  close(): void;
  readonly counters: Readonly<Record<string, number>>;
}
