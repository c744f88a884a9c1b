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
  /** Its kernel has said since it was heard last that nobody listens there. */
  isClosed: boolean;
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
        isClosed: false,
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
    return peer.id !== this.self && this.clock.nowUs() - peer.heardUs > this.suspectUs;
  }

  /** May be granted a connection now. */
  isUsable(peer: Peer): boolean {
    if (peer.epoch === undefined || peer.isDead || !peer.isSynced) return false;
    if (peer.draining || !peer.serving || this.isSuspect(peer)) return false;
    return peer.granted < peer.credits;
  }

  /** Not usable, but perhaps in a moment: silent for a short while, or all its credits are out. */
  mayReturn(peer: Peer): boolean {
    if (peer.epoch === undefined || peer.isDead || !peer.isSynced) return false;
    if (peer.draining || !peer.serving) return false;
    return this.isSuspect(peer) || peer.granted >= peer.credits;
  }

  heard(peer: Peer): void {
    peer.heardUs = this.clock.nowUs();
    peer.isClosed = false;
  }

  /** This node did nothing for so long: what others said meanwhile has not been read yet. */
  stoodStill(us: number): void {
    const nowUs = this.clock.nowUs();
    for (const peer of this.peers.values()) peer.heardUs = Math.min(nowUs, peer.heardUs + us);
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
      if (this.mayDie(peer)) next = Math.min(next, this.deathUs(peer));
    }
    return next;
  }

  /** A node that has been silent for too long, one at a call. */
  takeSilent(): Peer | undefined {
    const nowUs = this.clock.nowUs();
    for (const peer of this.peers.values()) {
      if (this.mayDie(peer) && this.deathUs(peer) <= nowUs) return peer;
    }
    return undefined;
  }

  /** T_DEAD of silence; 3 heartbeats of it when nobody listens at its port (DESIGN section 8). */
  private deathUs(peer: Peer): number {
    return peer.heardUs + (peer.isClosed ? this.suspectUs : this.timers.deadUs);
  }

  private get suspectUs(): number {
    return SUSPECT_HEARTBEATS * this.timers.heartbeatUs;
  }

  private mayDie(peer: Peer): boolean {
    return peer.id !== this.self && peer.epoch !== undefined && !peer.isDead;
  }
}
