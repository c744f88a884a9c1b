/**
 * The judge's mapping table over the core's: nodes become peer indexes and back. Knows both vocabularies;
 * must not know when an entry changes.
 */
import type { Core, MapInfo, Mode } from "../core/core.ts";
import type { Tuple } from "../core/tuple.ts";
import type { NodeId } from "../transport/transport.ts";
import type { Mapping, MappingTable } from "./book.ts";
import type { Clock } from "./environment.ts";
import type { ResetData } from "./messages.ts";
import type { PeerIndexes } from "./indexes.ts";

export class CoreTable implements MappingTable {
  readonly #core: Core;
  readonly #clock: Clock;
  readonly #peers: PeerIndexes;
  readonly #self: NodeId;
  readonly #mode: Mode;
  readonly #actions: Core["mapActions"];

  /** @param mode what becomes of packets of unknown connections, except while recovering */
  constructor(core: Core, clock: Clock, peers: PeerIndexes, self: NodeId, mode: Mode) {
    this.#core = core;
    this.#clock = clock;
    this.#peers = peers;
    this.#self = self;
    this.#mode = mode;
    this.#actions = core.mapActions;
  }

  get(tuple: Tuple): Mapping | undefined {
    const info = this.#core.mapGet(tuple);
    return info && this.#mapping(info);
  }

  set(tuple: Tuple, mapping: Mapping): boolean {
    const { action, node, flow } = mapping;
    const isSelf = node === this.#self;
    if (action === "classifier") {
      return this.#core.mapSet(tuple, "local", isSelf ? 0 : this.#peers.indexOf(node), 0);
    }
    // Under a flow of its own this node is a peer like the others, but without a tunnel to itself.
    const kind = isSelf && action === "forward" ? "local" : action;
    const peer = isSelf && action === "tomb" ? 0 : this.#peers.indexOf(node);
    return this.#core.mapSet(tuple, kind, peer, flow);
  }

  delete(tuple: Tuple): void {
    this.#core.mapDelete(tuple);
  }

  note(tuple: Tuple, reset: ResetData): void {
    const seen = this.#core.mapGet(tuple);
    if (!seen || !isUnheard(seen)) return;
    const { rcvNxt, sndNxt, timestamps } = reset;
    const echo = timestamps && { tsVal: timestamps.tsEcr, tsEcr: timestamps.tsVal };
    this.#core.mapNote(tuple, { segAck: sndNxt, segSeq: rcvNxt, timestamps: echo });
  }

  /**
   * RST from the last packet that the forwarder saw of the connection, else from what its owner said. Of a
   * connection in TIME-WAIT a new forwarder knows no number: its client is done, and nobody is to be reset.
   */
  resetClient(tuple: Tuple, reset: ResetData | undefined): void {
    if (reset) this.note(tuple, reset);
    const seen = this.#core.mapGet(tuple);
    if (!seen || isUnheard(seen)) return;
    this.#core.mapReset(tuple, this.#clock.nowUs(), true);
  }

  tombAll(node: NodeId): number {
    const peer = this.#peers.indexOf(node);
    return peer === 0 ? 0 : this.#core.mapBury(peer);
  }

  scan(
    cursor: number,
    limit: number,
    visit: (tuple: Tuple, mapping: Mapping, seenUs: number) => boolean,
  ): number {
    return this.#core.mapScan(cursor, limit, (tuple, info) => {
      const mapping = this.#mapping(info);
      return mapping === undefined || visit(tuple, mapping, info.seenUs);
    });
  }

  setRecovering(on: boolean): void {
    this.#core.setMode(on ? "recovering" : this.#mode);
  }

  #mapping(info: MapInfo): Mapping | undefined {
    const { action, flow } = info;
    if (action === this.#actions.tomb) {
      return { action: "tomb", node: this.#peers.nodeOf(info.peer) ?? this.#self, flow };
    }
    const node = this.#peers.nodeOf(info.peer);
    if (action === this.#actions.local && flow === 0) {
      return { action: "classifier", node: node ?? this.#self, flow };
    }
    return node === undefined ? undefined : { action: "forward", node, flow };
  }
}

/** Neither a packet of the client nor its owner has told any number. */
function isUnheard({ segAck, segSeq }: MapInfo): boolean {
  return segAck === 0 && segSeq === 0;
}
