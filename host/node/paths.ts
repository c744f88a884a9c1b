/**
 * The narrowest link behind a service, by what nodes say of theirs in heartbeats (DESIGN section 4, MSS).
 * Knows numbers of bytes; must not know services, nor how an MSS is announced.
 *
 * A client's segments reach a backend at their length, and with "don't fragment": one that is longer than a
 * link on the way would vanish. A node that is silent counts with what it said last, since it may be back
 * before the connections that are opened now are at their end.
 */
import type { NodeId } from "../transport/transport.ts";

/** RFC 791: what every IPv4 link takes. A node that claims less is not believed. */
const MTU_MIN = 576;

export class Paths {
  /** Of the narrowest link. */
  mtu: number;
  readonly #own: number;
  readonly #told = new Map<NodeId, number>();
  readonly #narrowed: (mtu: number) => void;

  /** `narrowed` is told whenever the narrowest link is another one than before. */
  constructor(own: number, narrowed: (mtu: number) => void) {
    this.mtu = own;
    this.#own = own;
    this.#narrowed = narrowed;
  }

  /** A heartbeat of a node that connections go to, or that knows of such nodes. */
  heard(node: NodeId, mtu: number): void {
    if (mtu < MTU_MIN || this.#told.get(node) === mtu) return;
    this.#told.set(node, mtu);
    const narrowest = Math.min(this.#own, ...this.#told.values());
    if (narrowest === this.mtu) return;
    this.mtu = narrowest;
    this.#narrowed(narrowest);
  }
}
