/**
 * The core as the connection migrator sees it: connections by handle, flow records by forwarder. Knows
 * how node names become peer indexes; must not know the protocol.
 */
import type { Core } from "../core/core.ts";
import type { Tuple } from "../core/tuple.ts";
import type { NodeId } from "../transport/transport.ts";
import type { Clock } from "./environment.ts";
import type { PeerIndexes } from "./indexes.ts";
import type { FlowId, RecordState, RefuseReason, ResetData } from "./messages.ts";
import type { FlowMapping, FlowOwner, Infused, RecordTable, Stack } from "./migration.ts";

/** What the core says about a blob that it does not take, in the words of REFUSE. */
const REFUSALS: Readonly<Record<string, RefuseReason>> = {
  FULL: "full",
  BLOB_VERSION: "version",
  EXISTS: "taken",
  BLOB_DUPLICATE: "taken",
};

export class CoreStack implements Stack {
  constructor(
    private readonly core: Core,
    private readonly clock: Clock,
    private readonly peers: PeerIndexes,
  ) {}

  freeze(connection: number): boolean {
    return this.core.freeze(connection);
  }

  thaw(connection: number): void {
    this.core.thaw(connection, this.clock.nowUs());
  }

  discard(connection: number): void {
    this.core.discard(connection);
  }

  reset(connection: number): void {
    this.core.abort(connection, this.clock.nowUs());
  }

  compile(connection: number, mapping: FlowMapping, state: Uint8Array): Uint8Array | undefined {
    const blob = this.core.compile(connection, mapping, this.clock.nowUs(), state);
    return typeof blob === "string" ? undefined : blob;
  }

  infuse(
    blob: Uint8Array,
    mapping: FlowMapping,
    tuple: Tuple,
  ): Infused | { readonly refused: RefuseReason } {
    const peer = this.peers.indexOf(mapping.forwarder);
    const result = this.core.infuse(blob, mapping, tuple, peer, this.clock.nowUs());
    if (typeof result === "number") {
      return { connection: result, state: this.core.application() };
    }
    return { refused: REFUSALS[result] ?? "invalid" };
  }

  tuple(connection: number): Tuple {
    return this.core.connectionTuple(connection);
  }

  resetData(connection: number): ResetData {
    return this.core.connectionNumbers(connection);
  }

  owner(connection: number): FlowOwner | undefined {
    const { ownerPeer, ownerFlow, generation } = this.core.connectionOwner(connection);
    const forwarder = this.peers.nodeOf(ownerPeer);
    if (forwarder === undefined || ownerFlow === 0) return undefined;
    return { forwarder, flow: ownerFlow, generation };
  }

  find(forwarder: NodeId, flow: FlowId): number | undefined {
    const handle = this.core.recordHandle(this.peers.indexOf(forwarder), flow);
    return handle !== 0 && this.core.isConnection(handle) ? handle : undefined;
  }
}

export class CoreRecords implements RecordTable {
  constructor(
    private readonly core: Core,
    private readonly clock: Clock,
    private readonly peers: PeerIndexes,
  ) {}

  get(forwarder: NodeId, flow: FlowId): RecordState {
    const peer = this.peers.indexOf(forwarder);
    return peer === 0 ? "none" : this.core.recordGet(peer, flow);
  }

  set(forwarder: NodeId, flow: FlowId, state: RecordState): void {
    const peer = this.peers.indexOf(forwarder);
    if (peer !== 0) this.core.recordSet(peer, flow, state, this.clock.nowUs());
  }

  pass(forwarder: NodeId, flow: FlowId): void {
    const peer = this.peers.indexOf(forwarder);
    if (peer !== 0) this.core.recordPass(peer, flow);
  }

  each(
    forwarder: NodeId,
    visit: (flow: FlowId, state: RecordState, tuple: Tuple | undefined) => void,
  ): void {
    const peer = this.peers.indexOf(forwarder);
    this.core.recordEach((found) => {
      if (found.peer === peer) visit(found.flow, found.state, found.tuple);
    });
  }
}
