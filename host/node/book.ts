/**
 * What a forwarder remembers beyond the core's mapping table: one entry for each connection with something
 * open, tombstones, verdicts. Knows the data and its bounds; the rules are in judge.ts, tombs.ts and
 * recovery.ts. A connection that is merely owned has no object here: 4 million of them are the core's.
 */
import type { Tuple } from "../core/tuple.ts";
import { tupleKey } from "../core/tuple.ts";
import { Numbered } from "../transport/numbered.ts";
import { Registry } from "../transport/registry.ts";
import type { Epoch, NodeId, Outcome } from "../transport/transport.ts";
import type { Clock } from "./environment.ts";
import type { FlowIds } from "./flowid.ts";
import type { BlobHead, FlowId, Message, ResetData, SynHint, Verdict } from "./messages.ts";
import { NO_FLOW } from "./messages.ts";
import type { Owner, Peers } from "./peers.ts";
import { Deadlines } from "./timers.ts";
import type { Timed, Timers } from "./timers.ts";

/**
 * Where the packets of a connection go. "forward": encapsulated to `node`. "classifier": `node` has it in
 * its stack without an identifier (own stack, or RELAY). "tomb": PROTOCOL section 6.
 */
export interface Mapping {
  readonly action: "forward" | "classifier" | "tomb";
  readonly node: NodeId;
  readonly flow: FlowId;
}

/** The core's mapping table, by 4-tuple. */
export interface MappingTable {
  get(tuple: Tuple): Mapping | undefined;
  /** False: full, or no connection of a service here. Changing an entry that is present never fails. */
  set(tuple: Tuple, mapping: Mapping): boolean;
  delete(tuple: Tuple): void;
  /** What its owner knew of a client from whom nothing has been seen yet. */
  note(tuple: Tuple, reset: ResetData): void;
  /** One round of R20: RST and probe, from the last packet seen or else from `reset`. */
  resetClient(tuple: Tuple, reset: ResetData | undefined): void;
  /** Turns every mapping to `node` into a tombstone that keeps node and flow; returns how many. */
  tombAll(node: NodeId): number;
  /**
   * Looks at about `limit` places from `cursor` on; returns the next cursor, 0 at the end. `visit` is told
   * when the client was heard last, and ends the walk behind an entry by false.
   */
  scan(
    cursor: number,
    limit: number,
    visit: (tuple: Tuple, mapping: Mapping, seenUs: number) => boolean,
  ): number;
  /** While on: unknown packets and SYNs wait or drop, none is answered or accepted (R17). */
  setRecovering(on: boolean): void;
}

/** How the rooms above act on the world. None of these calls back into the judge before it returns. */
export interface JudgeWorld {
  readonly clock: Clock;
  readonly table: MappingTable;
  /** Reliable; to this very node a local delivery on a later turn. */
  send(node: NodeId, message: Message, onOutcome?: (outcome: Outcome) => void): void;
  /** A client packet that came back: look it up again. Without `tuple` it is as the client sent it. */
  reinject(packet: Uint8Array, tuple: Tuple | undefined, hint: SynHint | undefined): void;
  /** Packets of unmapped flows that this forwarder has sent to classifiers so far (R24). */
  relayed(): number;
  /** Its stack accepts connections of this forwarder's services. */
  isReader(node: NodeId): boolean;
  /** The stack in this process has a connection of this client that no mapping names. */
  isReading(tuple: Tuple): boolean;
  /** Members of a pool for this client, in order of preference; undefined for an unknown one. */
  pool(id: NodeId, tuple: Tuple): readonly NodeId[] | undefined;
}

export interface OpenEntry extends Timed {
  state: "reserved" | "pending" | "resolving";
  readonly key: string;
  readonly tuple: Tuple;
  readonly own: Owner;
  readonly next: Owner;
  readonly attempt: number;
  reset: ResetData | undefined;
}

export interface Tomb extends Timed {
  readonly state: "tomb";
  readonly key: string;
  readonly tuple: Tuple;
  /** Flows whose node may still emit: each has to confirm, or its boot epoch to end. */
  unconfirmed: Owner[];
  /** Identifiers that rest once the tombstone goes (R23). */
  readonly flows: readonly FlowId[];
  readonly reset: ResetData | undefined;
  round: number;
  untilUs: number;
}

export type Entry = OpenEntry | Tomb;

export interface VerdictRecord {
  readonly verdict: Verdict;
  readonly own: Owner;
  readonly next: Owner;
  readonly tuple: Tuple;
  readonly untilUs: number;
}

export interface BookLimits {
  readonly entriesMax: number;
  readonly verdictsMax: number;
}
/** Names of counters: texts that are put together each time cost more than what they count. */
export const VERDICT_COUNTERS: Readonly<Record<Verdict, string>> = {
  done: "verdict-done",
  resume: "verdict-resume",
  aborted: "verdict-aborted",
};
/** Questions on their way to owners. */
const QUESTIONS_MAX = 1024;
export const BOOK_LIMITS: BookLimits = { entriesMax: 65_536, verdictsMax: 65_536 };

export class Book {
  readonly entries = new Registry<string, Entry>();
  /** Open entries by their new flow, tombstones by every flow of theirs. */
  readonly byFlow = new Numbered<Entry>();
  readonly deadlines = new Deadlines<Entry>();
  readonly counters: Record<string, number> = {};
  /** Undefined while recovering: the slice is chosen after the reports. */
  ids: FlowIds | undefined;
  private readonly verdicts = new Numbered<VerdictRecord>();
  /** By flow, or by 4-tuple where there is none. */
  private readonly asked = new Set<FlowId | string>();

  constructor(
    readonly world: JudgeWorld,
    readonly self: NodeId,
    readonly epoch: Epoch,
    readonly peers: Peers,
    readonly timers: Timers,
    readonly limits: BookLimits,
  ) {}

  count(name: string): void {
    this.counters[name] = (this.counters[name] ?? 0) + 1;
  }

  entryOf(tuple: Tuple): Entry | undefined {
    return this.entries.get(tupleKey(tuple));
  }

  /** The open entry in which `node` in this epoch is the owner to be of `flow`. */
  openTo(flow: FlowId, node: NodeId, epoch: Epoch): OpenEntry | undefined {
    const entry = this.byFlow.get(flow);
    if (!entry || entry.state === "tomb") return undefined;
    return entry.next.node === node && entry.next.epoch === epoch ? entry : undefined;
  }

  /** The open entry in which `node` in this epoch gives the connection away under `flow`. */
  openFrom(flow: FlowId, node: NodeId, epoch: Epoch): OpenEntry | undefined {
    const entry = this.byFlow.get(flow);
    if (!entry || entry.state === "tomb") return undefined;
    return entry.own.node === node && entry.own.epoch === epoch ? entry : undefined;
  }

  /**
   * The target of a blob, when it comes from the owner and while the connection is handed over (R13): this one, and no
   * other, for a target that has another one frozen would take its later generation for a verdict (R3).
   */
  heirOf(source: NodeId, head: BlobHead): NodeId | undefined {
    const { flow, sourceEpoch, targetEpoch, forwarder, forwarderEpoch, tuple } = head;
    const entry = this.openFrom(flow, source, sourceEpoch);
    if (entry?.next.flow !== flow || entry.next.epoch !== targetEpoch) return undefined;
    const isOurs = forwarder === this.self && forwarderEpoch === this.epoch;
    const isIt = head.source === source && isOurs && tupleKey(tuple) === entry.key;
    return isIt ? entry.next.node : undefined;
  }

  /** A connection is being handed over under this flow. */
  isOpen(flow: FlowId): boolean {
    const entry = this.byFlow.get(flow);
    return entry !== undefined && entry.state !== "tomb";
  }

  tombOf(flow: FlowId): Tomb | undefined {
    const entry = this.byFlow.get(flow);
    return entry?.state === "tomb" ? entry : undefined;
  }

  open(entry: OpenEntry): void {
    this.entries.set(entry.key, entry);
    this.byFlow.set(entry.next.flow, entry);
  }

  remove(entry: Entry): void {
    this.deadlines.set(entry, Infinity);
    this.entries.delete(entry.key);
    if (entry.state === "tomb") for (const flow of entry.flows) this.byFlow.delete(flow);
    else this.byFlow.delete(entry.next.flow);
  }

  /** Begins the quarantine of an identifier. */
  rest(flow: FlowId): void {
    if (flow !== NO_FLOW) this.ids?.release(flow);
  }

  mapTo(tuple: Tuple, owner: Owner): void {
    const action = owner.flow === NO_FLOW ? "classifier" : "forward";
    this.world.table.set(tuple, { action, node: owner.node, flow: owner.flow });
  }

  /** The mapping of a connection that nothing is open for belongs to this owner. */
  isOwner(tuple: Tuple, node: NodeId, flow: FlowId): boolean {
    return isMappedTo(this.world.table.get(tuple), node, flow);
  }

  verdictOf(flow: FlowId): VerdictRecord | undefined {
    const record = this.verdicts.get(flow);
    return record && record.untilUs > this.world.clock.nowUs() ? record : undefined;
  }

  /** The first verdict stands: a second one for the same flow changes nothing. */
  judge(verdict: Verdict, own: Owner, next: Owner, tuple: Tuple): void {
    if (this.verdictOf(next.flow)) return;
    this.expireVerdicts();
    const untilUs = this.world.clock.nowUs() + this.timers.recordUs;
    const record = { verdict, own, next, tuple, untilUs };
    this.verdicts.delete(next.flow);
    this.verdicts.set(next.flow, record);
    this.count(VERDICT_COUNTERS[verdict]);
    this.tell(record);
  }

  /** Sends a verdict, the first time or again. DONE is forgotten once the source has it. */
  tell(record: VerdictRecord): void {
    if (!this.peers.isLive(record.own)) return;
    const { verdict, next } = record;
    const message = {
      type: "verdict",
      flow: next.flow,
      forwarderEpoch: this.epoch,
      verdict,
      relayed: this.world.relayed(),
    } as const;
    this.world.send(record.own.node, message, (outcome) => {
      const isSettled = outcome === "delivered" && verdict === "done";
      if (isSettled && this.verdicts.get(next.flow) === record) this.verdicts.delete(next.flow);
    });
  }

  /** Asks the owner of a flow whether it has it, once until the question has arrived. */
  ask(node: NodeId, flow: FlowId, tuple: Tuple): void {
    const name = flow === NO_FLOW ? tupleKey(tuple) : flow;
    if (this.asked.has(name)) return;
    if (this.asked.size >= QUESTIONS_MAX) return this.count("questions-dropped");
    this.asked.add(name);
    const query = { type: "query", items: [{ flow, tuple }] } as const;
    this.world.send(node, query, () => this.asked.delete(name));
  }

  forget(node: NodeId, flow: FlowId): void {
    this.world.send(node, { type: "forget", flow, forwarderEpoch: this.epoch });
  }

  /** Records are in order of their end; the oldest also make room when there are too many. */
  private expireVerdicts(): void {
    const nowUs = this.world.clock.nowUs();
    for (let flow = this.verdicts.firstKey(); flow !== undefined; flow = this.verdicts.firstKey()) {
      const untilUs = this.verdicts.get(flow)?.untilUs ?? 0;
      const isFull = this.verdicts.size >= this.limits.verdictsMax;
      if (untilUs > nowUs && !isFull) return;
      if (untilUs > nowUs) this.count("verdicts-dropped");
      this.verdicts.delete(flow);
    }
  }
}

/** Whether the mapping is of this node's flow; a tombstone is nobody's. */
export function isMappedTo(mapping: Mapping | undefined, node: NodeId, flow: FlowId): boolean {
  if (!mapping || mapping.action === "tomb") return false;
  return mapping.node === node && mapping.flow === flow;
}
