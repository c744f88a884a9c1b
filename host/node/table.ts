/**
 * The judge's mapping table over the core's: nodes become peer indexes and back. Knows both vocabularies;
 * must not know when an entry changes.
 */
import type { Core, MapInfo } from "../core/core.ts";
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
  readonly #actions: Readonly<Record<string, number>>;

  constructor(core: Core, clock: Clock, peers: PeerIndexes, self: NodeId) {
    this.#core = core;
    this.#clock = clock;
    this.#peers = peers;
    this.#self = self;
    this.#actions = core.mapActions;
  }

  get(tuple: Tuple): Mapping | undefined {
    const info = this.#core.mapGet(tuple);
    return info && this.#mapping(info);
  }

  set(tuple: Tuple, mapping: Mapping): boolean {
    const { action, node, flow } = mapping;
    if (action === "classifier") return this.#core.mapSet(tuple, "local", 0, 0);
    const peer = node === this.#self ? 0 : this.#peers.indexOf(node);
    return this.#core.mapSet(tuple, action, peer, flow);
  }

  delete(tuple: Tuple): void {
    this.#core.mapDelete(tuple);
  }

  /** RST from the last packet that the forwarder saw of the connection, else from what its owner said. */
  resetClient(tuple: Tuple, reset: ResetData | undefined): void {
    const seen = this.#core.mapGet(tuple);
    if (seen && seen.segAck === 0 && seen.segSeq === 0 && reset) {
      const { rcvNxt, sndNxt, timestamps } = reset;
      const echo = timestamps && { tsVal: timestamps.tsEcr, tsEcr: timestamps.tsVal };
      this.#core.mapNote(tuple, { segAck: sndNxt, segSeq: rcvNxt, timestamps: echo });
    }
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
    this.#core.setMode(on ? "recovering" : "rst-unknown");
  }

  #mapping(info: MapInfo): Mapping | undefined {
    const { action, flow } = info;
    if (action === this.#actions["TOMB"]) {
      return { action: "tomb", node: this.#peers.nodeOf(info.peer) ?? this.#self, flow };
    }
    if (action === this.#actions["LOCAL"]) {
      return { action: "classifier", node: this.#self, flow: 0 };
    }
    const node = this.#peers.nodeOf(info.peer);
    return node === undefined ? undefined : { action: "forward", node, flow };
  }
}
