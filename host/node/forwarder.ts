/**
 * The forwarder: receives a service's packets, classifies new connections in its own stack, is the judge of
 * every handoff. Knows judge, migrator and classifier; must not know sockets or files.
 *
 * In one process classifier and judge are two nodes of the protocol that happen to have one name: they
 * talk in messages, and the tables of PROTOCOL.md hold unchanged.
 */
import type { PacketBatch } from "../core/batch.ts";
import type { Core, CoreEvent } from "../core/core.ts";
import type { Tuple } from "../core/tuple.ts";
import type { RequestHead, RouteContext, Router } from "../routing/route.ts";
import type { Epoch, NodeId, Transport } from "../transport/transport.ts";
import { Courier } from "./courier.ts";
import { Classifier, type Classified, type MoveOutcome } from "./classifier.ts";
import type { Role } from "./engine.ts";
import type { Cipher, Clock, Log, Random } from "./environment.ts";
import { Drains } from "./drains.ts";
import { Handbacks } from "./handbacks.ts";
import { PeerIndexes } from "./indexes.ts";
import { Judge } from "./judge.ts";
import type { HeartbeatMessage, Message, SynHint } from "./messages.ts";
import { Migrator } from "./migrator.ts";
import type { MigrationOutcome } from "./outgoing.ts";
import { quotedTuple } from "./packet.ts";
import { Pools } from "./pools.ts";
import { Postbox } from "./postbox.ts";
import { CoreRecords, CoreStack } from "./stack.ts";
import { CoreTable } from "./table.ts";
import { TIMERS, type Timers } from "./timers.ts";

/** A backend by the name that rules use. */
export interface BackendName {
  readonly name: string;
  readonly id: NodeId;
}

export interface ForwarderOptions {
  readonly id: NodeId;
  readonly core: Core;
  readonly clock: Clock;
  readonly random: Random;
  readonly cipher: Cipher;
  readonly transport: Transport;
  readonly log: Log;
  readonly wake: () => void;
  /** Gives packet 0 of the rx batch to the core, as a link would. */
  readonly inject: () => void;
  readonly router: Router;
  /** In the order of the core's peer indexes. */
  readonly backends: readonly BackendName[];
  readonly headLimitUs?: number | undefined;
  readonly mtu: number;
  readonly timers?: Timers;
  readonly events?: ForwarderEvents;
}

export interface Handoff {
  readonly request: Classified;
  readonly backend: string;
  readonly flow: number;
  readonly blobBytes: number;
  /** From the decision to the verdict. */
  readonly handoffUs: number;
}

export interface ForwarderEvents {
  handedOff?(handoff: Handoff): void;
  /** A connection that went to no backend, and why. */
  rejected?(tuple: Tuple, reason: string, head: RequestHead | undefined): void;
}

interface Reinjection {
  readonly packet: Uint8Array;
  /** Set when the packet is still encapsulated. */
  readonly tuple: Tuple | undefined;
  readonly hint: SynHint | undefined;
}

/** Packets that come back in one turn. */
const REINJECT_MAX = 4096;
const BLOB_VERSION = 1;

export class Forwarder implements Role {
  /** A forwarder is declared dead by nobody. */
  readonly isOver = false;
  readonly judge: Judge;
  readonly migrator: Migrator;
  readonly classifier: Classifier;
  readonly courier: Courier;
  readonly drains: Drains;
  readonly counters = { handedOff: 0, unavailable: 0, lost: 0, reinjected: 0, reinjectRefused: 0 };
  readonly #options: ForwarderOptions;
  readonly #peers: PeerIndexes;
  readonly #postbox: Postbox;
  readonly #handbacks: Handbacks;
  readonly #pools: Pools;
  readonly #timers: Timers;
  readonly #ids: ReadonlyMap<string, NodeId>;
  readonly #names: ReadonlyMap<NodeId, string>;
  #again: Reinjection[] = [];
  #heartbeatUs = 0;
  #sequence = 0;

  constructor(options: ForwarderOptions) {
    this.#options = options;
    const { id, core, clock, transport, backends, wake } = options;
    this.#timers = options.timers ?? TIMERS;
    this.#ids = new Map(backends.map((backend) => [backend.name, backend.id]));
    this.#names = new Map(backends.map((backend) => [backend.id, backend.name]));
    this.#peers = new PeerIndexes(backends.map((backend) => backend.id));
    this.#postbox = new Postbox(id, transport, wake);
    this.#handbacks = new Handbacks(core, this.#peers);
    this.#pools = new Pools(options.cipher, options.router, this.#context, (name) =>
      this.#ids.get(name),
    );
    this.judge = this.#newJudge();
    this.migrator = this.#newMigrator();
    this.courier = this.#newCourier();
    this.drains = new Drains({
      peers: this.judge.peers,
      idOf: (name) => this.#ids.get(name),
      send: (node, message) => this.#postbox.send(node, message),
      wake,
    });
    this.classifier = new Classifier({
      core,
      clock,
      router: options.router,
      headLimitUs: options.headLimitUs,
      context: this.#context,
      move: (request, done) => this.#move(request, done),
      rejected: (tuple, reason, head) => options.events?.rejected?.(tuple, reason, head),
    });
    // The node is its own first peer: both halves learn the epoch as from a hello exchange.
    this.migrator.addForwarder(id);
    this.judge.handleEpoch(id, transport.epoch);
    this.migrator.handleEpoch(id, transport.epoch);
    for (const backend of backends) transport.hello(backend.id);
  }

  /** What became of messages, and of packets on their way back. */
  get mail() {
    return { postbox: { ...this.#postbox.counters }, handbacks: { ...this.#handbacks.counters } };
  }

  message(peer: NodeId, epoch: Epoch, bytes: Uint8Array): void {
    const message = this.#postbox.open(bytes);
    if (message?.type === "blob") this.courier.handle(peer, message, bytes);
    else if (message?.type === "progress") this.drains.handle(peer, epoch, message);
    else if (message) this.judge.handle(peer, epoch, message);
  }

  peerEpoch(peer: NodeId, epoch: Epoch): void {
    this.judge.handleEpoch(peer, epoch);
  }

  unreachable(peer: NodeId): void {
    this.judge.handleUnreachable(peer);
  }

  event(event: CoreEvent): void {
    if (event.kind === "released") {
      const { id } = this.#options;
      this.migrator.ended(event.handle, id, event.ownerFlow, event.tuple, "closed");
    }
    this.classifier.handleEvent(event);
  }

  pump(): void {
    do {
      this.#postbox.deliver((node, epoch, message) => this.#local(node, epoch, message));
      this.#reinject();
    } while (this.#postbox.isWaiting);
    this.#handbacks.flush((node, message) => this.#postbox.send(node, message));
  }

  handback(batch: PacketBatch, index: number): void {
    this.#handbacks.add(batch, index);
  }

  unmapped(): void {
    // The classifier is in this process: the core's stack has answered such packets itself.
  }

  icmp(batch: PacketBatch, index: number): void {
    const node = this.#peers.nodeOf(batch.peer(index));
    if (node === undefined) return;
    const ptr = batch.ptr(index);
    const packet = batch.memory.slice(ptr, ptr + batch.len(index));
    const tuple = quotedTuple(packet);
    if (tuple) this.#postbox.send(node, { type: "icmp", flow: batch.flow(index), tuple, packet });
  }

  nextTimeoutUs(): number {
    return Math.min(
      this.#heartbeatUs,
      this.judge.nextTimeoutUs(),
      this.migrator.nextTimeoutUs(),
      this.classifier.nextTimeoutUs(),
    );
  }

  handleTimeout(): void {
    const now = this.#options.clock.nowUs();
    const lateUs = this.#heartbeatUs > 0 ? now - this.#heartbeatUs : 0;
    if (lateUs > this.#timers.heartbeatUs) this.judge.stoodStill(lateUs);
    if (this.judge.nextTimeoutUs() <= now) this.judge.handleTimeout();
    if (this.migrator.nextTimeoutUs() <= now) this.migrator.handleTimeout();
    if (this.classifier.nextTimeoutUs() <= now) this.classifier.handleTimeout();
    if (this.#heartbeatUs > now) return;
    this.#heartbeatUs = now + this.#timers.heartbeatUs;
    const beat = this.#heartbeat();
    this.migrator.heard(this.#options.id);
    for (const { id } of this.#options.backends) this.#postbox.send(id, beat);
    this.judge.handle(this.#options.id, this.#options.transport.epoch, beat);
  }

  #newJudge(): Judge {
    const { id, core, clock, random, transport, backends } = this.#options;
    return new Judge(
      {
        clock,
        table: new CoreTable(core, clock, this.#peers, id),
        send: (node, message, onOutcome) =>
          this.#postbox.send(node, message, onOutcome ? { onOutcome } : {}),
        reinject: (packet, tuple, hint) => this.#comeAgain({ packet, tuple, hint }),
        pool: (id, tuple) => this.#pools.members(id, tuple),
      },
      {
        self: id,
        epoch: transport.epoch,
        nodes: [id, ...backends.map((backend) => backend.id)],
        worker: 0,
        random: random.bytes(4),
        timers: this.#timers,
      },
    );
  }

  #newMigrator(): Migrator {
    const { id, core, clock, transport } = this.#options;
    return new Migrator(
      {
        clock,
        stack: new CoreStack(core, clock, this.#peers),
        records: new CoreRecords(core, clock, this.#peers),
        send: (node, message, how) => this.#postbox.send(node, message, how),
        refusal: () => "no-application",
        arrived: () => undefined,
        restart: () => undefined,
      },
      // In one process with its forwarder: it cannot lose contact.
      { self: id, epoch: transport.epoch, timers: { ...this.#timers, leaseUs: Infinity } },
    );
  }

  #newCourier(): Courier {
    const { moveUs, resolveUs } = this.#timers;
    return new Courier({
      heirOf: (source, blob) => this.judge.heirOf(source, blob),
      // Later it is resolved, and refused for good where it did not arrive.
      pass: (to, blob, bytes, onOutcome) => {
        const how = { limitUs: moveUs + resolveUs, onOutcome };
        if (to === this.#options.id) this.#postbox.send(to, blob, how);
        else this.#postbox.pass(to, bytes, how);
      },
    });
  }

  /** A message of this node to itself: what a judge answers goes to the migrator, the rest to the judge. */
  #local(node: NodeId, epoch: Epoch, message: Message): void {
    if (TO_MIGRATOR.has(message.type)) this.migrator.handle(node, epoch, message);
    else this.judge.handle(node, epoch, message);
  }

  #move(request: Classified, done: (outcome: MoveOutcome) => void): void {
    const { id } = this.#options;
    const targets = request.candidates.flatMap((name) => {
      const target = this.#ids.get(name);
      return target === undefined ? [] : [{ kind: "node" as const, id: target }];
    });
    const settled = (outcome: MigrationOutcome): void => done(this.#settle(request, outcome));
    const pool = this.#pools.idOf(request.pool);
    const how = pool === undefined ? {} : { pool };
    const isMoving = this.migrator.migrate(request.handle, id, targets, settled, how);
    if (!isMoving) done(this.#settle(request, { kind: "unavailable", reason: "too busy" }));
  }

  #settle(request: Classified, outcome: MigrationOutcome): MoveOutcome {
    const { clock, events } = this.#options;
    if (outcome.kind === "unavailable") {
      this.counters.unavailable++;
      return "unavailable";
    }
    if (outcome.kind !== "moved") {
      this.counters.lost++;
      events?.rejected?.(request.tuple, "the connection ended while it moved", request.head);
      return "lost";
    }
    this.counters.handedOff++;
    events?.handedOff?.({
      request,
      backend: this.#names.get(outcome.target) ?? outcome.target,
      flow: outcome.flow,
      blobBytes: outcome.blobBytes,
      handoffUs: clock.nowUs() - request.decidedUs,
    });
    return "moved";
  }

  readonly #context = (clientAddress: string): RouteContext => ({
    clientAddress,
    usable: (name) => this.#peer(name)?.isUsable ?? false,
    load: (name) => this.#peer(name)?.load ?? 0,
  });

  #peer(name: string): { isUsable: boolean; load: number } | undefined {
    const id = this.#ids.get(name);
    const peer = id === undefined ? undefined : this.judge.peers.get(id);
    return peer && { isUsable: this.judge.peers.isUsable(peer), load: peer.load };
  }

  #comeAgain(packet: Reinjection): void {
    if (this.#again.length >= REINJECT_MAX) this.counters.reinjectRefused++;
    else this.#again.push(packet);
  }

  /** Gives packets that came back to the core, as if they had just arrived. */
  #reinject(): void {
    const again = this.#again;
    if (again.length === 0) return;
    this.#again = [];
    const { core, inject } = this.#options;
    for (const { packet, tuple, hint } of again) {
      const isPlaced = core.rx.place(0, packet);
      if (!isPlaced || (tuple && !core.unwrapReturned(0, tuple))) {
        this.counters.reinjectRefused++;
        continue;
      }
      if (hint) core.setSynHint(0, hint.sndNxt, hint.tsVal);
      this.counters.reinjected++;
      inject();
    }
  }

  /** Counts heartbeats modulo 2^32. */
  #nextSequence(): number {
    this.#sequence = (this.#sequence + 1) % 0x1_0000_0000;
    return this.#sequence;
  }

  #heartbeat(): HeartbeatMessage {
    return {
      type: "heartbeat",
      sequence: this.#nextSequence(),
      draining: false,
      serving: false,
      load: this.classifier.size,
      credits: 0,
      blobVersionMin: BLOB_VERSION,
      blobVersionMax: BLOB_VERSION,
      mtu: this.#options.mtu,
    };
  }
}

/** Messages from a judge, or between migrators. */
const TO_MIGRATOR: ReadonlySet<Message["type"]> = new Set([
  "grant",
  "deny",
  "verdict",
  "blob",
  "resolve",
  "forget",
  "query",
  "hello",
  "dead",
]);
