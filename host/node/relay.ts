/**
 * Packets of connections that no node owns by a flow, on their way to the classifiers on other nodes. Knows
 * the order in which a connection's classifiers are asked; must not know what a classifier does.
 *
 * Nothing is kept for a connection. Its classifiers are ranked by rendezvous hashing of its 4-tuple; a SYN goes
 * to the first that takes connections, any other packet to the first that is not suspect. While the set of
 * healthy classifiers stands still both are the same one. When it changes, only the share of the one that
 * left or came is asked for elsewhere, and who knows nothing of a connection sends the packet back: the next in
 * line is asked, suspects last of all. When nobody knows it, nobody has it, and the client hears a RST
 * (PROTOCOL section 6: "classifier by hash if one may have it, else RST").
 *
 * Every packet that is relayed has a number, and every verdict says how many there were before it: so a classifier can
 * tell a packet that was looked up before the verdict, and send it back to be looked up again (R24).
 */
import { tupleKey, type Tuple } from "../core/tuple.ts";
import { rendezvousRank } from "../routing/policy.ts";
import type { NodeId } from "../transport/transport.ts";
import type { Mapping } from "./book.ts";
import type { RelayMessage, SynHint } from "./messages.ts";
import { clientTuple, hasTcpHeader, isSyn } from "./packet.ts";
import type { Peer, Peers } from "./peers.ts";

export interface RelayWorld {
  readonly peers: Peers;
  /** Nothing is known for certain yet: packets of unknown connections wait or drop (R17). */
  readonly isRecovering: () => boolean;
  /** What the mapping table says of a connection. */
  mapping(tuple: Tuple): Mapping | undefined;
  send(node: NodeId, message: RelayMessage): void;
  /** Asks a classifier whether it has the connection that an entry names. */
  question(node: NodeId, tuple: Tuple): void;
  /** Looks a packet up again, as if the client had just sent it. */
  reinject(packet: Uint8Array, hint: SynHint | undefined): void;
  /** Answers a packet of a connection that nobody has. */
  refuse(packet: Uint8Array): void;
}

/** Places of the order that RELAY has bits for; classifiers beyond them are not asked for a connection. */
const PLACES_MAX = 32;

export class Relay {
  readonly counters = {
    sent: 0,
    returned: 0,
    overtaken: 0,
    bounced: 0,
    refused: 0,
    synDropped: 0,
    malformed: 0,
  };
  /** What the latest verdict said. */
  private spoken = 0;

  constructor(
    private readonly classifiers: readonly NodeId[],
    private readonly world: RelayWorld,
  ) {}

  get isOn(): boolean {
    return this.classifiers.length > 0;
  }

  /** Packets relayed so far, the number of the last one: a verdict says it (R24). */
  speak(): number {
    this.spoken = this.counters.sent;
    return this.spoken;
  }

  /** Classifiers that may read a connection's next request, the first choice first. */
  members(tuple: Tuple): readonly NodeId[] {
    return this.order(tuple);
  }

  /** A packet that the core left to us. `owner`: the classifier that has the connection by the mapping. */
  pass(packet: Uint8Array, owner: NodeId | undefined, hint: SynHint | undefined): void {
    if (owner === undefined) this.ask(packet, clientTuple(packet), 0, hint);
    else this.send(owner, packet, 0, hint);
  }

  /** A classifier knows nothing of this packet's connection: whoever has it now gets it, or the next is asked. */
  returned(node: NodeId, { packet, asked, order, isOvertaken, hint }: RelayMessage): void {
    this.counters.returned++;
    if (this.world.isRecovering()) return;
    if (!hasTcpHeader(packet)) {
      this.counters.malformed++;
      return;
    }
    // No verdict can have overtaken a later packet; one that came back for ever would.
    if (isOvertaken && order <= this.spoken) {
      this.counters.overtaken++;
      return this.world.reinject(packet, hint); // Under a new number when it is relayed again, to the same one or not.
    }
    const tuple = clientTuple(packet);
    const mapping = this.world.mapping(tuple);
    if (mapping?.action === "classifier" && mapping.node === node) {
      this.counters.bounced++; // Its end is on its way here, or was lost.
      return this.world.question(node, tuple);
    }
    if (mapping) return this.world.reinject(packet, hint);
    const place = this.order(tuple).indexOf(node);
    if (place < 0) return this.world.refuse(packet);
    this.ask(packet, tuple, has(asked, place) ? asked : asked + 2 ** place, hint);
  }

  private ask(packet: Uint8Array, tuple: Tuple, asked: number, hint: SynHint | undefined): void {
    const isFirst = isSyn(packet);
    const next = this.next(tuple, asked, isFirst);
    if (next !== undefined) return this.send(next, packet, asked, hint);
    if (isFirst) {
      this.counters.synDropped++; // The client sends it again; a RST would send it away.
      return;
    }
    this.counters.refused++;
    this.world.refuse(packet);
  }

  private send(node: NodeId, packet: Uint8Array, asked: number, hint: SynHint | undefined): void {
    const order = ++this.counters.sent;
    this.world.send(node, { type: "relay", asked, order, isOvertaken: false, hint, packet });
  }

  /** The best classifier that has not been asked; undefined when there is none. */
  private next(tuple: Tuple, asked: number, isFirst: boolean): NodeId | undefined {
    let fallback: NodeId | undefined;
    for (const [place, node] of this.order(tuple).entries()) {
      const peer = this.world.peers.get(node);
      if (has(asked, place) || !peer || peer.epoch === undefined || peer.isDead) continue;
      if (this.isBest(peer, isFirst)) return node;
      // One that drains takes no connection; one that is suspect may be back before the packet is there.
      if (!isFirst || !peer.draining) fallback ??= node;
    }
    return fallback;
  }

  private isBest(peer: Peer, isFirst: boolean): boolean {
    const { peers } = this.world;
    return isFirst ? peers.isUsable(peer) : !peers.isSuspect(peer);
  }

  /** The classifiers of a connection, the first to be asked first; every forwarder gives the same. */
  private order(tuple: Tuple): readonly NodeId[] {
    if (this.classifiers.length === 1) return this.classifiers;
    const key = tupleKey(tuple);
    const ranked = this.classifiers.map((node) => ({ node, rank: rendezvousRank(key, node) }));
    ranked.sort((a, b) => b.rank - a.rank);
    return ranked.slice(0, PLACES_MAX).map(({ node }) => node);
  }
}

function has(asked: number, place: number): boolean {
  return Math.floor(asked / 2 ** place) % 2 === 1;
}
