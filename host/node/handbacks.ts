/**
 * Packets on their way back to a forwarder (PROTOCOL R19). They wait until the events of the same batch
 * are known, because a SYN that TIME-WAIT admitted takes the old connection's numbers along.
 */
import type { PacketBatch } from "../core/batch.ts";
import type { Core, CoreEvent } from "../core/core.ts";
import type { NodeId } from "../transport/transport.ts";
import type { PeerIndexes } from "./indexes.ts";
import { RECORD_STATES, type FlowId, type HandbackMessage, type SynHint } from "./messages.ts";
import { isSyn, wirePackets } from "./packet.ts";

interface Held {
  readonly peer: number;
  readonly flow: FlowId;
  readonly record: number;
  readonly packet: Uint8Array;
}

/** Packets kept for one turn; more are dropped, and TCP sends them again. */
const HELD_MAX = 4096;
/** Connections whose numbers are remembered: a SYN may come twice, and the first HANDBACK be lost. */
const HINTS_MAX = 4096;

export class Handbacks {
  readonly counters = { sent: 0, malformed: 0, overflowed: 0 };
  #held: Held[] = [];
  #hints = new Map<string, SynHint>();

  constructor(
    private readonly core: Core,
    private readonly peers: PeerIndexes,
  ) {}

  get isWaiting(): boolean {
    return this.#held.length > 0;
  }

  add(batch: PacketBatch, index: number): void {
    const packets = wirePackets(batch, index);
    if (packets.length === 0) this.counters.malformed++;
    const [peer, flow, record] = [batch.peer(index), batch.flow(index), batch.record(index)];
    for (const packet of packets) {
      if (this.#held.length < HELD_MAX) this.#held.push({ peer, flow, record, packet });
      else this.counters.overflowed++;
    }
  }

  /** A connection's 4-tuple is free: what its next one must stay above. */
  released(event: CoreEvent): void {
    if (this.#held.length === 0) return;
    const { ownerPeer, ownerFlow, sndNxt, tsVal } = event;
    this.#hints.set(`${ownerPeer} ${ownerFlow}`, { sndNxt, tsVal });
    if (this.#hints.size <= HINTS_MAX) return;
    for (const oldest of this.#hints.keys()) {
      this.#hints.delete(oldest);
      break;
    }
  }

  /** Sends what waited. */
  flush(send: (node: NodeId, message: HandbackMessage) => void): void {
    const held = this.#held;
    this.#held = [];
    for (const { peer, flow, record, packet } of held) {
      const node = this.peers.nodeOf(peer);
      if (node === undefined) continue;
      const tuple = this.core.recordTuple(peer, flow);
      const hint = isSyn(packet) ? this.#hints.get(`${peer} ${flow}`) : undefined;
      const state = RECORD_STATES[record] ?? "none";
      this.counters.sent++;
      send(node, { type: "handback", flow, record: state, tuple, hint, packet });
    }
  }
}
