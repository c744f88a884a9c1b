/**
 * Backends that an operator empties: the order to each, and what it says of its progress. Knows names and
 * the two messages; must not know connections, nor who the operator is.
 */
import type { Epoch, NodeId } from "../transport/transport.ts";
import type { ProgressMessage } from "./drainage.ts";
import type { Message } from "./messages.ts";
import type { Peers } from "./peers.ts";

export interface DrainView {
  /** It answers; one that does not cannot be emptied, and its connections end when it is declared dead. */
  readonly isAlive: boolean;
  /** What it said last, since the order was given; undefined before its first word. */
  readonly progress: ProgressMessage | undefined;
}

export interface DrainsWorld {
  readonly peers: Peers;
  idOf(backend: string): NodeId | undefined;
  send(node: NodeId, message: Message): void;
  /** A turn is due: the order comes from outside of one. */
  readonly wake: () => void;
}

export class Drains {
  readonly #world: DrainsWorld;
  readonly #progress = new Map<NodeId, ProgressMessage>();

  constructor(world: DrainsWorld) {
    this.#world = world;
  }

  /** False: there is no backend of that name. An order lasts until the next one, or the backend's restart. */
  order(backend: string, on: boolean): boolean {
    const id = this.#world.idOf(backend);
    const peer = id === undefined ? undefined : this.#world.peers.get(id);
    if (!peer) return false;
    this.#progress.delete(peer.id);
    if (on) peer.draining = true; // Its heartbeat says so a moment later.
    this.#world.send(peer.id, { type: "drain", on });
    this.#world.wake();
    return true;
  }

  view(backend: string): DrainView | undefined {
    const id = this.#world.idOf(backend);
    const peer = id === undefined ? undefined : this.#world.peers.get(id);
    if (!peer) return undefined;
    const isAlive = peer.epoch !== undefined && !peer.isDead && !this.#world.peers.isSuspect(peer);
    return { isAlive, progress: this.#progress.get(peer.id) };
  }

  handle(node: NodeId, epoch: Epoch, progress: ProgressMessage): void {
    const peer = this.#world.peers.get(node);
    if (peer?.epoch === epoch && !peer.isDead) this.#progress.set(node, progress);
  }
}
