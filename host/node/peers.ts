/**
 * What a forwarder knows of each configured node: its current boot epoch, whether that is dead, its credits.
 * Knows epochs and heartbeats; must not know connections. PROTOCOL section 2, R14; DESIGN section 8.
 */
import type { Epoch, NodeId } from "../transport/transport.ts";
import type { Clock } from "./environment.ts";
import type { FlowId, HeartbeatMessage } from "./messages.ts";
import { SUSPECT_HEARTBEATS } from "./timers.ts";
import type { Timers } from "./timers.ts";

/** Who holds a connection, and under which identifier. */
export interface Owner {
  readonly node: NodeId;
  readonly epoch: Epoch;
  readonly flow: FlowId;
}

export function sameOwner(a: Owner, b: Owner): boolean {
  return a.node === b.node && a.epoch === b.epoch && a.flow === b.flow;
}

export interface Peer {
  readonly id: NodeId;
  /** The epoch that the last hello exchange proved; undefined before the first one. */
  epoch: Epoch | undefined;
  /** The current epoch has been declared dead: nothing is taken from it any more. */
  isDead: boolean;
  /** Every part of its SYNC for this forwarder epoch is in. */
  isSynced: boolean;
  draining: boolean;
  serving: boolean;
  credits: number;
  /** Grants that name this node and have no verdict yet. */
  granted: number;
  load: number;
  heardUs: number;
}

export class Peers {
  private readonly peers = new Map<NodeId, Peer>();

  constructor(
    private readonly self: NodeId,
    nodes: readonly NodeId[],
    private readonly clock: Clock,
    private readonly timers: Timers,
  ) {
    for (const id of nodes) {
      this.peers.set(id, {
        id,
        epoch: undefined,
        isDead: false,
        isSynced: false,
        draining: false,
        serving: false,
        credits: 0,
        granted: 0,
        load: 0,
        heardUs: 0,
      });
    }
  }

  get(node: NodeId): Peer | undefined {
    return this.peers.get(node);
  }

  all(): IterableIterator<Peer> {
    return this.peers.values();
  }

  /** Its boot epoch is the current one and not declared dead. */
  isLive(owner: Owner): boolean {
    const peer = this.peers.get(owner.node);
    return peer !== undefined && peer.epoch === owner.epoch && !peer.isDead;
  }

  /** A later boot epoch has been proved: whatever the owner's epoch held is gone for certain. */
  isOver(owner: Owner): boolean {
    const peer = this.peers.get(owner.node);
    return peer === undefined || (peer.epoch !== undefined && peer.epoch !== owner.epoch);
  }

  /** 3 heartbeats missed: no new connections, nothing else. */
  isSuspect(peer: Peer): boolean {
    const silenceUs = this.clock.nowUs() - peer.heardUs;
    return peer.id !== this.self && silenceUs > SUSPECT_HEARTBEATS * this.timers.heartbeatUs;
  }

  /** May be granted a connection now. */
  isUsable(peer: Peer): boolean {
    if (peer.epoch === undefined || peer.isDead || !peer.isSynced) return false;
    if (peer.draining || !peer.serving || this.isSuspect(peer)) return false;
    return peer.granted < peer.credits;
  }

  heard(peer: Peer): void {
    peer.heardUs = this.clock.nowUs();
  }

  handleHeartbeat(peer: Peer, message: HeartbeatMessage): void {
    peer.draining = message.draining;
    peer.serving = message.serving;
    peer.credits = message.credits;
    peer.load = message.load;
  }

  /** A grant's credit comes back with its verdict or ABANDON, unless the node began anew meanwhile. */
  returnCredit(owner: Owner): void {
    const peer = this.peers.get(owner.node);
    if (peer && peer.epoch === owner.epoch && peer.granted > 0) peer.granted--;
  }

  /** When the next node would have been silent for too long. */
  nextDeathUs(): number {
    let next = Infinity;
    for (const peer of this.peers.values()) {
      if (this.mayDie(peer)) next = Math.min(next, peer.heardUs + this.timers.deadUs);
    }
    return next;
  }

  /** A node whose silence has lasted T_DEAD, one at a call. */
  takeSilent(): Peer | undefined {
    const limit = this.clock.nowUs() - this.timers.deadUs;
    for (const peer of this.peers.values()) {
      if (this.mayDie(peer) && peer.heardUs <= limit) return peer;
    }
    return undefined;
  }

  private mayDie(peer: Peer): boolean {
    return peer.id !== this.self && peer.epoch !== undefined && !peer.isDead;
  }
}
