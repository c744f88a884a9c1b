/**
 * A world of one forwarder and a few nodes in memory, with the real judge and the real migrators, and a
 * network that holds every message ever sent: each may arrive late, in any order, any number of times.
 * One client connection; a ghost counter says which copy of it is the latest (docs/model/handoff.pml).
 */
import * as assert from "uvu/assert";
import type { Tuple } from "../../host/core/tuple.ts";
import { tupleKey } from "../../host/core/tuple.ts";
import type { Mapping, MappingTable } from "../../host/node/book.ts";
import { decodeMessage, encodeMessage } from "../../host/node/codec.ts";
import { Judge } from "../../host/node/judge.ts";
import type { FlowId, Message, RecordState, ResetData } from "../../host/node/messages.ts";
import { NO_FLOW } from "../../host/node/messages.ts";
import type { FlowMapping, FlowOwner, RecordTable, Stack } from "../../host/node/migration.ts";
import { Migrator } from "../../host/node/migrator.ts";
import type { MigrationOutcome } from "../../host/node/outgoing.ts";
import type { Epoch, NodeId, SendOptions } from "../../host/transport/transport.ts";

export const F: NodeId = "f".repeat(16);
export const TUPLE: Tuple = {
  family: 4,
  remote: Uint8Array.of(10, 1, 0, 2),
  remotePort: 40000,
  local: Uint8Array.of(10, 0, 0, 100),
  localPort: 80,
};
const RESET: ResetData = { sndUna: 1, sndNxt: 2, rcvNxt: 3, timestamps: undefined };

export interface Sent {
  readonly from: NodeId;
  readonly fromEpoch: Epoch;
  readonly to: NodeId;
  /** Undefined: for whatever boot epoch it reaches (a blob passes through other hands). */
  readonly toEpoch: Epoch | undefined;
  readonly bytes: Uint8Array;
  readonly type: Message["type"];
  readonly options: SendOptions | undefined;
  deliveries: number;
  isLost: boolean;
}

interface Copy {
  readonly tuple: Tuple;
  owner: FlowOwner | undefined;
  isFrozen: boolean;
  /** Bytes acknowledged or written so far, as this copy knows. */
  token: number;
}

interface TableEntry {
  readonly tuple: Tuple;
  mapping: Mapping;
  /** When a packet of the client was seen last. */
  seenUs?: number;
}

export class Table implements MappingTable {
  readonly map = new Map<string, TableEntry>();
  readonly resets: Tuple[] = [];
  readonly noted: Tuple[] = [];
  isRecovering = false;
  max = 100;

  get(tuple: Tuple): Mapping | undefined {
    return this.map.get(tupleKey(tuple))?.mapping;
  }
  set(tuple: Tuple, mapping: Mapping): boolean {
    const key = tupleKey(tuple);
    if (!this.map.has(key) && this.map.size >= this.max) return false;
    this.map.set(key, { tuple, mapping });
    return true;
  }
  delete(tuple: Tuple): void {
    this.map.delete(tupleKey(tuple));
  }
  note(tuple: Tuple): void {
    this.noted.push(tuple);
  }
  resetClient(tuple: Tuple): void {
    this.resets.push(tuple);
  }
  tombAll(node: NodeId): number {
    let count = 0;
    for (const entry of this.map.values()) {
      if (entry.mapping.node !== node || entry.mapping.action === "tomb") continue;
      entry.mapping = { ...entry.mapping, action: "tomb" };
      count++;
    }
    return count;
  }
  scan(
    cursor: number,
    limit: number,
    visit: (tuple: Tuple, mapping: Mapping, seenUs: number) => boolean,
  ): number {
    const entries = [...this.map.values()];
    const end = Math.min(entries.length, cursor + limit);
    for (let at = cursor; at < end; at++) {
      const { tuple, mapping, seenUs = 0 } = entries[at] as TableEntry;
      if (!visit(tuple, mapping, seenUs)) return at + 1 < entries.length ? at + 1 : 0;
    }
    return end < entries.length ? end : 0;
  }
  setRecovering(on: boolean): void {
    this.isRecovering = on;
  }
}

/** One life of a node: from a boot epoch to the next. */
export class Node implements Stack, RecordTable {
  readonly copies = new Map<number, Copy>();
  readonly records = new Map<FlowId, RecordState>();
  readonly passed = new Set<FlowId>();
  readonly outcomes: MigrationOutcome[] = [];
  readonly migrator: Migrator;
  refusal: "full" | "draining" | "no-application" | undefined;
  /** The forwarder epoch that the last hello exchange proved here. */
  forwarderEpoch: Epoch | undefined;
  private nextHandle = 1;

  constructor(
    readonly world: World,
    readonly id: NodeId,
    readonly epoch: Epoch,
  ) {
    const send = (to: NodeId, message: Message, options?: SendOptions) =>
      world.post(this, to, message, options);
    this.migrator = new Migrator(
      {
        clock: world,
        stack: this,
        records: {
          get: (_f, flow) => this.get(_f, flow),
          set: (_f, flow, state) => this.set(_f, flow, state),
          pass: (_f, flow) => this.pass(_f, flow),
          each: (_f, visit) => this.each(_f, visit),
        },
        send,
        refusal: () => this.refusal,
        arrived: () => world.check(),
        restart: () => world.restart(id),
      },
      { self: id, epoch, blobLimitUs: 300_000 },
    );
    this.migrator.addForwarder(F);
  }

  accept(tuple: Tuple): number {
    const handle = this.nextHandle++;
    this.copies.set(handle, { tuple, owner: undefined, isFrozen: false, token: 0 });
    return handle;
  }

  freeze(connection: number): boolean {
    const copy = this.copies.get(connection);
    if (!copy || copy.isFrozen) return false;
    copy.isFrozen = true;
    return true;
  }
  thaw(connection: number): void {
    this.copyOf(connection).isFrozen = false;
    this.world.check();
  }
  discard(connection: number): void {
    assert.ok(this.copies.delete(connection), "discards what it has");
  }
  reset(connection: number): void {
    assert.ok(this.copies.delete(connection), "resets what it has");
    this.world.isClosed = true;
  }
  compile(connection: number, mapping: FlowMapping): Uint8Array | undefined {
    const { token, isFrozen } = this.copyOf(connection);
    assert.ok(isFrozen, "compiles what is frozen");
    return Buffer.from(JSON.stringify({ token, mapping }));
  }
  infuse(blob: Uint8Array, mapping: FlowMapping, tuple: Tuple) {
    const content = JSON.parse(Buffer.from(blob).toString()) as {
      token: number;
      mapping: FlowMapping;
    };
    assert.equal(content.mapping, mapping, "the mapping bundled is the one announced");
    const isPresent = [...this.copies.values()].some(
      (copy) => tupleKey(copy.tuple) === tupleKey(tuple),
    );
    if (isPresent) return { refused: "taken" as const };
    this.world.infused(mapping.flow, mapping.forwarderEpoch);
    const handle = this.nextHandle++;
    const owner = {
      forwarder: mapping.forwarder,
      flow: mapping.flow,
      generation: mapping.generation,
    };
    this.copies.set(handle, { tuple, owner, isFrozen: false, token: content.token });
    this.records.set(mapping.flow, "active");
    return { connection: handle, state: new Uint8Array(0) };
  }
  tuple(connection: number): Tuple {
    return this.copyOf(connection).tuple;
  }
  resetData(): ResetData {
    return RESET;
  }
  owner(connection: number): FlowOwner | undefined {
    return this.copyOf(connection).owner;
  }
  find(_forwarder: NodeId, flow: FlowId): number | undefined {
    for (const [handle, copy] of this.copies) if (copy.owner?.flow === flow) return handle;
    return undefined;
  }

  get(_forwarder: NodeId, flow: FlowId): RecordState {
    return this.records.get(flow) ?? "none";
  }
  set(_forwarder: NodeId, flow: FlowId, state: RecordState): void {
    this.records.set(flow, state);
  }
  pass(_forwarder: NodeId, flow: FlowId): void {
    this.passed.add(flow);
  }
  each(
    _forwarder: NodeId,
    visit: (flow: FlowId, state: RecordState, tuple: Tuple | undefined) => void,
  ): void {
    for (const [flow, state] of this.records) {
      const handle = this.find(F, flow);
      visit(flow, state, handle === undefined ? undefined : this.copyOf(handle).tuple);
    }
  }

  /** The handle of the one running copy, undefined when none runs here. */
  running(): number | undefined {
    for (const [handle, copy] of this.copies) if (!copy.isFrozen) return handle;
    return undefined;
  }

  frozen(): number | undefined {
    for (const [handle, copy] of this.copies) if (copy.isFrozen) return handle;
    return undefined;
  }

  copyOf(connection: number): Copy {
    const copy = this.copies.get(connection);
    assert.ok(copy, `node ${this.id} has connection ${connection}`);
    return copy as Copy;
  }
}

export class World {
  us = 1;
  readonly sent: Sent[] = [];
  nodes: Node[];
  judge!: Judge;
  table!: Table;
  judgeEpoch: Epoch = "";
  /** Bytes that any copy acknowledged or wrote. */
  ghost = 0;
  isClosed = false;
  /** Packets of unmapped flows that the forwarder has sent to classifiers. */
  relayed = 0;
  /** The forwarder's own stack has a connection of this client. */
  isReading = false;
  faults = 0;
  readonly reinjected: { packet: Uint8Array; tuple: Tuple | undefined }[] = [];
  private readonly infusions = new Set<string>();
  private epochs = 0;

  constructor(readonly ids: readonly NodeId[]) {
    this.nodes = ids.map((id) => new Node(this, id, this.newEpoch()));
    this.startForwarder();
  }

  nowUs(): number {
    return this.us;
  }
  wallMs(): number {
    return this.us / 1000;
  }

  newEpoch(): Epoch {
    return (++this.epochs).toString(16).padStart(32, "0");
  }

  node(id: NodeId): Node {
    return this.nodes.find((node) => node.id === id) as Node;
  }

  startForwarder(): void {
    this.judgeEpoch = this.newEpoch();
    this.table = new Table();
    const epoch = this.judgeEpoch;
    const world = {
      clock: this,
      table: this.table,
      send: (to: NodeId, message: Message, onOutcome?: SendOptions["onOutcome"]) => {
        const toEpoch = this.judge.peers.get(to)?.epoch;
        if (toEpoch === undefined) return;
        this.push({ id: F, epoch }, to, toEpoch, message, onOutcome && { onOutcome });
      },
      reinject: (packet: Uint8Array, tuple: Tuple | undefined) => {
        this.reinjected.push({ packet, tuple });
      },
      relayed: () => this.relayed,
      isReader: () => true,
      isReading: () => this.isReading,
      pool: () => this.ids,
    };
    const random = Uint8Array.of(this.epochs, 0x12, 0x34, 0x56);
    this.judge = new Judge(world, { self: F, epoch, nodes: this.ids, worker: 1, random });
  }

  /** A node's message. It is for the forwarder epoch that the node knows, or for any target. */
  post(from: Node, to: NodeId, message: Message, options?: SendOptions): void {
    const toEpoch = to === F ? from.forwarderEpoch : undefined;
    if (to === F && toEpoch === undefined) return;
    this.push(from, to, toEpoch, message, options);
  }

  private push(
    from: { id: NodeId; epoch: Epoch },
    to: NodeId,
    toEpoch: Epoch | undefined,
    message: Message,
    options: SendOptions | undefined,
  ): void {
    const bytes = encodeMessage(message);
    const base = { from: from.id, fromEpoch: from.epoch, to, toEpoch, bytes, type: message.type };
    this.sent.push({ ...base, options, deliveries: 0, isLost: false });
  }

  /** Whether the transport would hand it over now: the receiver's epoch, and the sender proved to it. */
  canDeliver(sent: Sent): boolean {
    if (sent.isLost) return false;
    if (sent.to === F) {
      const known = this.judge.peers.get(sent.from)?.epoch;
      return sent.toEpoch === this.judgeEpoch && known === sent.fromEpoch;
    }
    const node = this.node(sent.to);
    if (sent.from === F)
      return sent.toEpoch === node.epoch && node.forwarderEpoch === sent.fromEpoch;
    return true;
  }

  deliver(sent: Sent): void {
    if (!this.canDeliver(sent)) return;
    const message = decodeMessage(sent.bytes);
    assert.is.not(message.type, "malformed");
    if (message.type === "malformed") return;
    sent.deliveries++;
    if (sent.to === F) this.judge.handle(sent.from, sent.fromEpoch, message);
    else this.node(sent.to).migrator.handle(sent.from, sent.fromEpoch, message);
    if (sent.deliveries === 1) this.outcome(sent, "delivered");
    this.check();
  }

  /** Its sender gives a blob up, perhaps after it arrived. */
  lose(sent: Sent): void {
    if (sent.type !== "blob" || sent.isLost) return;
    sent.isLost = true;
    if (sent.deliveries === 0) this.outcome(sent, "unknown");
  }

  private outcome(sent: Sent, outcome: "delivered" | "unknown"): void {
    const isAlive =
      sent.from === F
        ? sent.fromEpoch === this.judgeEpoch
        : this.node(sent.from).epoch === sent.fromEpoch;
    if (isAlive) sent.options?.onOutcome?.(outcome);
  }

  /** The hello exchange between a node and the forwarder: each proves its epoch to the other. */
  hello(id: NodeId): void {
    const node = this.node(id);
    if (node.forwarderEpoch !== this.judgeEpoch) {
      node.forwarderEpoch = this.judgeEpoch;
      node.migrator.handleEpoch(F, this.judgeEpoch);
    }
    this.judge.handleEpoch(id, node.epoch);
    this.check();
  }

  beat(): void {
    for (const node of this.nodes) {
      const isKnown = this.judge.peers.get(node.id)?.epoch === node.epoch;
      if (!isKnown || node.forwarderEpoch !== this.judgeEpoch) continue;
      node.migrator.heard(F);
      if (this.judge.peers.get(node.id)?.isDead) continue;
      this.judge.handle(node.id, node.epoch, {
        type: "heartbeat",
        sequence: 0,
        draining: false,
        serving: true,
        load: 0,
        credits: 100,
        blobVersionMin: 1,
        blobVersionMax: 1,
        mtu: 1500,
      });
    }
  }

  restart(id: NodeId): void {
    this.nodes = this.nodes.map((node) =>
      node.id === id ? new Node(this, id, this.newEpoch()) : node,
    );
  }

  crash(id: NodeId): void {
    this.faults++;
    this.restart(id);
  }

  crashForwarder(): void {
    this.faults++;
    this.startForwarder();
  }

  /** Lets time pass, in steps in which heartbeats come and timers fire. */
  pass(us: number, stepUs = 200_000): void {
    const end = this.us + us;
    while (this.us < end) {
      this.us = Math.min(end, this.us + stepUs);
      this.beat();
      this.fire();
    }
  }

  fire(): void {
    if (this.judge.nextTimeoutUs() <= this.us) this.judge.handleTimeout();
    for (const node of this.nodes) {
      if (node.migrator.nextTimeoutUs() <= this.us) node.migrator.handleTimeout();
    }
    this.check();
  }

  /** Some copy runs: it acknowledges or writes a byte. I2: it must have seen all before. */
  run(id: NodeId): void {
    const node = this.node(id);
    const handle = node.running();
    if (handle === undefined) return;
    const copy = node.copyOf(handle);
    assert.not.ok(this.isClosed, "I2: runs after it was closed");
    assert.is(copy.token, this.ghost, "I2: a stale copy runs");
    this.ghost++;
    copy.token++;
  }

  migrate(id: NodeId, to: NodeId): boolean {
    const node = this.node(id);
    const handle = node.running();
    if (handle === undefined || id === to) return false;
    this.beat();
    const rest = this.ids.filter((other) => other !== to && other !== id);
    const candidates = [to, ...rest].map((target) => ({ kind: "node", id: target }) as const);
    return node.migrator.migrate(handle, F, candidates, (outcome) => node.outcomes.push(outcome));
  }

  close(id: NodeId): void {
    const node = this.node(id);
    const handle = node.running();
    if (handle === undefined) return;
    const { owner, tuple } = node.copyOf(handle);
    assert.not.ok(this.isClosed, "I2: closes twice");
    this.isClosed = true;
    node.copies.delete(handle);
    node.migrator.ended(handle, F, owner?.flow ?? NO_FLOW, tuple, "closed");
  }

  /** I1: at most one copy of a connection runs. */
  check(): void {
    const runners = new Map<string, NodeId>();
    for (const { id, copies } of this.nodes) {
      for (const { tuple, isFrozen } of copies.values()) {
        if (isFrozen) continue;
        const other = runners.get(tupleKey(tuple));
        assert.is(other, undefined, `I1: ${other} and ${id} both run`);
        runners.set(tupleKey(tuple), id);
      }
    }
  }

  /** I4: a blob is infused once. */
  infused(flow: FlowId, epoch: Epoch): void {
    const name = `${epoch}/${flow}`;
    assert.not.ok(this.infusions.has(name), `I4: flow ${flow} is infused twice`);
    this.infusions.add(name);
  }

  /** Delivers all that waits, in order, until nothing does. */
  settle(): void {
    for (let index = 0; index < this.sent.length && index < 5000; index++) {
      const sent = this.sent[index];
      if (sent && sent.deliveries === 0 && this.canDeliver(sent)) this.deliver(sent);
    }
    if (this.sent.length < 5000) return;
    assert.unreachable("messages go round in circles");
  }

  /** Delivers the oldest undelivered message of each type in turn; every one must be there. */
  flow(...types: Message["type"][]): void {
    for (const type of types) {
      const waiting = this.sent.find((sent) => {
        return sent.type === type && sent.deliveries === 0 && this.canDeliver(sent);
      });
      assert.ok(waiting, `a ${type} waits`);
      if (waiting) this.deliver(waiting);
    }
  }

  /** A message as the judge or a migrator would see it, from a peer of a test's making. */
  tell(from: NodeId, message: Message): void {
    this.judge.handle(from, this.node(from).epoch, message);
  }

  /** The last message of a type, decoded. */
  last<T extends Message["type"]>(type: T): Message & { type: T } {
    const message = decodeMessage(this.message(type).bytes);
    assert.is(message.type, type);
    return message as Message & { type: T };
  }

  countOf(type: Message["type"]): number {
    return this.sent.filter((sent) => sent.type === type).length;
  }

  message(type: Message["type"]): Sent {
    const found = this.sent.filter((sent) => sent.type === type).at(-1);
    assert.ok(found, `a ${type} was sent`);
    return found as Sent;
  }

  has(type: Message["type"]): boolean {
    return this.sent.some((sent) => sent.type === type);
  }
}
