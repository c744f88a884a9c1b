/**
 * What a node reports to a forwarder with a new epoch (PROTOCOL section 7, step 2). Knows how records become
 * items of SYNC; must not know what the forwarder makes of them.
 *
 * SYNC is a cut: what is not in it, this node will never activate for an earlier epoch (R21, R22).
 */
import type { Tuple } from "../core/tuple.ts";
import type { Epoch, NodeId } from "../transport/transport.ts";
import type { Forwarder } from "./forwarders.ts";
import type { MigratorWorld } from "./migration.ts";
import type { FlowId, RecordState, ResetData, SyncItem } from "./messages.ts";
import { NO_FLOW, SYNC_ITEMS_MAX } from "./messages.ts";
import type { Outgoing, OutgoingTable } from "./outgoing.ts";

/** TIME-WAIT: a SYN must still come here (R18), but there is nobody to be reset. */
const NO_RESET: ResetData = { sndUna: 0, sndNxt: 0, rcvNxt: 0, timestamps: undefined };

export class Reporter {
  constructor(
    private readonly world: MigratorWorld,
    private readonly bootEpoch: Epoch,
    private readonly outgoing: OutgoingTable,
  ) {}

  report(forwarder: Forwarder, epoch: Epoch): void {
    const items: SyncItem[] = [];
    this.world.records.each(forwarder.id, (flow, record, tuple) => {
      items.push(this.syncItem(forwarder.id, flow, record, tuple));
    });
    for (const outgoing of this.outgoing.values()) {
      const isHere = outgoing.forwarder === forwarder.id && outgoing.flow0 === NO_FLOW;
      if (isHere && outgoing.state === "frozen") items.push(frozenItem(NO_FLOW, outgoing));
    }
    const parts = Math.max(1, Math.ceil(items.length / SYNC_ITEMS_MAX));
    for (let part = 0; part < parts; part++) {
      this.world.send(forwarder.id, {
        type: "sync",
        forwarderEpoch: epoch,
        bootEpoch: this.bootEpoch,
        part,
        parts,
        slice: forwarder.slice,
        items: items.slice(part * SYNC_ITEMS_MAX, (part + 1) * SYNC_ITEMS_MAX),
      });
    }
  }

  private syncItem(
    forwarder: NodeId,
    flow: FlowId,
    record: RecordState,
    tuple: Tuple | undefined,
  ): SyncItem {
    const { stack } = this.world;
    const connection = stack.find(forwarder, flow);
    const outgoing = connection === undefined ? undefined : this.outgoing.ofConnection(connection);
    if (record === "frozen" && outgoing?.state === "frozen") return frozenItem(flow, outgoing);
    if (record !== "active") {
      return { flow, record, generation: 0, connection: undefined, next: undefined };
    }
    if (connection === undefined) {
      const waiting = tuple && { tuple, reset: NO_RESET };
      return { flow, record, generation: 0, connection: waiting, next: undefined };
    }
    const generation = stack.owner(connection)?.generation ?? 0;
    const far = { tuple: tuple ?? stack.tuple(connection), reset: stack.resetData(connection) };
    return { flow, record, generation, connection: far, next: undefined };
  }
}

function frozenItem(flow: FlowId, outgoing: Outgoing): SyncItem {
  const { tuple, reset, generation, target, targetEpoch } = outgoing;
  return {
    flow,
    record: "frozen",
    generation: generation - 1,
    connection: reset && { tuple, reset },
    next: { flow: outgoing.flow, target, targetEpoch },
  };
}
