/**
 * The migrator as target: blobs that arrive, and what a forwarder asks or orders about flows that are here
 * (PROTOCOL section 4, rows NONE, "any", "not NONE"). Knows records and the stack's answer to a blob; must
 * not know what is in it.
 */
import type { Tuple } from "../core/tuple.ts";
import type { Epoch, NodeId } from "../transport/transport.ts";
import type { Forwarders } from "./forwarders.ts";
import type { FlowMapping, MigratorWorld } from "./migration.ts";
import type { BlobMessage, FarConnection, FlowId, ForgetMessage } from "./messages.ts";
import type { QueryMessage, RecordState, RefuseReason, ResolveMessage } from "./messages.ts";
import { NO_FLOW } from "./messages.ts";
import type { Outgoing, OutgoingTable } from "./outgoing.ts";

/** What arrivals do to connections that are on their way out. */
export interface Departures {
  /** R3: its move was accepted, as a later generation shows. */
  departed(outgoing: Outgoing): void;
  /** It is gone: nothing is emitted. */
  dropped(outgoing: Outgoing): void;
  /** What is known of a connection that no flow names. */
  unnamed(forwarder: NodeId, tuple: Tuple): RecordState;
}

export class Arrivals {
  constructor(
    private readonly world: MigratorWorld,
    private readonly epoch: Epoch,
    private readonly forwarders: Forwarders,
    private readonly outgoing: OutgoingTable,
    private readonly departures: Departures,
    private readonly count: (name: string) => void,
  ) {}

  handleBlob(message: BlobMessage): void {
    const { forwarder, flow, forwarderEpoch, targetEpoch, tuple } = message;
    if (!this.forwarders.get(forwarder)) return this.count("blob-of-stranger");
    // R2: addressed to a predecessor of this boot epoch, which may have acknowledged data.
    if (targetEpoch !== this.epoch) {
      return this.gone(forwarder, flow, forwarderEpoch, targetEpoch);
    }
    const record = this.world.records.get(forwarder, flow);
    if (record === "poisoned") return this.refuse(message, "cancelled");
    if (record !== "none") return this.accept(forwarder, flow, forwarderEpoch); // R5
    // R21: the forwarder may have judged by our report already that this never happened.
    if (!this.forwarders.isCurrent(forwarder, forwarderEpoch))
      return this.refuse(message, "stale-epoch");
    // R3: a later generation of a connection frozen here says that its own move was accepted.
    const frozen = this.outgoing.ofTuple(tuple);
    const isLater = frozen && frozen.generation < message.generation;
    if (frozen?.state === "frozen" && isLater) this.departures.departed(frozen);
    const refusal = this.world.refusal(tuple);
    if (refusal) return this.refuse(message, refusal);
    const { generation, source, sourceEpoch } = message;
    const epochs = { forwarderEpoch, sourceEpoch, targetEpoch };
    const mapping: FlowMapping = { flow, generation, forwarder, source, ...epochs };
    const result = this.world.stack.infuse(message.blob, mapping, tuple);
    if ("refused" in result) return this.refuse(message, result.refused);
    this.count("arrived");
    this.world.records.set(forwarder, flow, "active");
    this.accept(forwarder, flow, forwarderEpoch);
    const { connection, state } = result;
    const { pool, routing } = message;
    this.world.arrived(connection, mapping, { pool, routing, state });
  }

  private accept(forwarder: NodeId, flow: FlowId, forwarderEpoch: Epoch): void {
    const targetEpoch = this.epoch;
    this.world.send(forwarder, { type: "accept", flow, forwarderEpoch, targetEpoch });
  }

  /** For good: the flow is poisoned, so that no later copy of the blob is taken. */
  private refuse(message: BlobMessage, reason: RefuseReason): void {
    const { forwarder, flow, forwarderEpoch, tuple, reset } = message;
    this.world.records.set(forwarder, flow, "poisoned");
    this.count(`refused-${reason}`);
    this.sendRefuse(forwarder, flow, forwarderEpoch, reason, { tuple, reset });
  }

  private sendRefuse(
    forwarder: NodeId,
    flow: FlowId,
    forwarderEpoch: Epoch,
    reason: RefuseReason,
    connection: FarConnection | undefined,
  ): void {
    const targetEpoch = this.epoch;
    const epochs = { forwarderEpoch, targetEpoch };
    this.world.send(forwarder, { type: "refuse", flow, ...epochs, reason, connection });
  }

  private gone(forwarder: NodeId, flow: FlowId, forwarderEpoch: Epoch, targetEpoch: Epoch): void {
    this.count("gone");
    const epochs = { forwarderEpoch, targetEpoch, currentEpoch: this.epoch };
    this.world.send(forwarder, { type: "gone", flow, ...epochs });
  }

  handleResolve(forwarder: NodeId, { flow, forwarderEpoch, targetEpoch }: ResolveMessage): void {
    if (targetEpoch !== this.epoch) return this.gone(forwarder, flow, forwarderEpoch, targetEpoch);
    if (!this.forwarders.isCurrent(forwarder, forwarderEpoch)) return;
    const record = this.world.records.get(forwarder, flow);
    if (record !== "none" && record !== "poisoned") {
      return this.accept(forwarder, flow, forwarderEpoch);
    }
    this.world.records.set(forwarder, flow, "poisoned");
    this.sendRefuse(forwarder, flow, forwarderEpoch, "cancelled", undefined);
  }

  /** R6: what was active is closed, what never was is poisoned. */
  handleForget(forwarder: NodeId, { flow, forwarderEpoch }: ForgetMessage): void {
    if (!this.forwarders.isCurrent(forwarder, forwarderEpoch)) return;
    const { records, stack } = this.world;
    const record = records.get(forwarder, flow);
    const connection = stack.find(forwarder, flow);
    const outgoing = connection === undefined ? undefined : this.outgoing.ofConnection(connection);
    if (record === "none") records.set(forwarder, flow, "poisoned");
    if (record === "frozen" && outgoing?.state === "frozen") this.departures.dropped(outgoing);
    else if (record === "active") {
      if (outgoing) this.outgoing.remove(outgoing);
      if (connection !== undefined) stack.reset(connection);
      outgoing?.done({ kind: "lost" });
      this.count("forgotten");
    }
    const isHeld = record === "active" || record === "frozen";
    if (isHeld) records.set(forwarder, flow, "closed");
    const left = isHeld ? "closed" : record === "none" ? "poisoned" : record;
    this.world.send(forwarder, { type: "forgotten", flow, forwarderEpoch, record: left });
  }

  handleQuery(forwarder: NodeId, message: QueryMessage): void {
    const items = message.items.map(({ flow, tuple }) => {
      const isNamed = flow !== NO_FLOW;
      const record = isNamed
        ? this.world.records.get(forwarder, flow)
        : this.departures.unnamed(forwarder, tuple);
      return { flow, tuple, record };
    });
    this.world.send(forwarder, { type: "answer", items });
  }
}
