/**
 * The forwarder: receives a service's packets, classifies new connections in its own stack or relays them to
 * classifiers on nodes of their own, is the judge of every handoff. Knows judge, migrator, classifier and
 * relay; must not know sockets or files.
 *
 * In one process classifier and judge are two nodes of the protocol that happen to have one name: they
 * talk in messages, and the tables of PROTOCOL.md hold unchanged.
 */
import type { PacketBatch } from "../core/batch.ts";
import type { Core, CoreEvent } from "../core/core.ts";
import type { Router } from "../routing/route.ts";
import type { Epoch, NodeId, Passage, Transport } from "../transport/transport.ts";
import type { Tuple } from "../core/tuple.ts";
import { Classifier } from "./classifier.ts";
import { Courier } from "./courier.ts";
import { Dispatch, type DispatchEvents, type Health, type NodeName } from "./dispatch.ts";
import type { Routing } from "./connection.ts";
import type { Role } from "./engine.ts";
import type { Cipher, Clock, Log, Random } from "./environment.ts";
import { Drains } from "./drains.ts";
import { Handbacks } from "./handbacks.ts";
import { PeerIndexes } from "./indexes.ts";
import { Judge } from "./judge.ts";
import { decodeBlobHead } from "./codec.ts";
import type { CensusMessage, HeartbeatMessage, Message } from "./messages.ts";
import { Migrator } from "./migrator.ts";
import { CLASSIFIERS, NO_FLOW } from "./messages.ts";
import { quotedTuple, wirePackets } from "./packet.ts";
import { causeOf } from "./causes.ts";
import { Paths } from "./paths.ts";
import { setPatience, type Patience } from "./patience.ts";
import { Pools } from "./pools.ts";
import { Postbox } from "./postbox.ts";
import { Pulse } from "./pulse.ts";
import { Reinjector } from "./reinjector.ts";
import { Relay } from "./relay.ts";
import { CoreRecords, CoreStack } from "./stack.ts";
import { CoreTable } from "./table.ts";
import { TIMERS, type Timers } from "./timers.ts";

export type { Handoff, NodeName } from "./dispatch.ts";

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
  /** In the order of the core's peer indexes; classifiers come after them. */
  readonly backends: readonly NodeName[];
  /** Nodes that classify for this one; none: it does so itself. */
  readonly classifiers?: readonly NodeId[];
  /** Connections that this node's own classifier may have at once. */
  readonly connectionsMax: number;
  readonly headLimitUs?: number | undefined;
  /** How connections to a service address are routed; each by its first request without it. */
  readonly routingOf?: ((tuple: Tuple) => Routing) | undefined;
  readonly mtu: number;
  /** The narrowest link behind the services is another one: clients must hear what it takes. */
  readonly narrowed?: (mtu: number) => void;
  /** Towards clients while their requests are read; a blob carries it on. */
  readonly patience?: Patience | undefined;
  readonly timers?: Timers;
  readonly events?: ForwarderEvents;
}

export type ForwarderEvents = DispatchEvents;

export class Forwarder implements Role {
  /** A forwarder is declared dead by nobody. */
  readonly isOver = false;
  readonly judge: Judge;
  readonly migrator: Migrator;
  readonly classifier: Classifier;
  readonly courier: Courier;
  readonly drains: Drains;
  readonly dispatch: Dispatch;
  readonly relay: Relay;
  readonly #options: ForwarderOptions;
  readonly #peers: PeerIndexes;
  readonly #table: CoreTable;
  readonly #postbox: Postbox;
  readonly #pulse: Pulse;
  readonly #paths: Paths;
  readonly #handbacks: Handbacks;
  readonly #pools: Pools;
  readonly #timers: Timers;
  readonly #classifiers: readonly NodeId[];
  readonly #again: Reinjector;
  #heartbeatUs = 0;

  constructor(options: ForwarderOptions) {
    this.#options = options;
    const { id, core, clock, transport, backends, classifiers = [], wake } = options;
    this.#timers = options.timers ?? TIMERS;
    this.#classifiers = classifiers;
    // This node is its own last peer: connections that come back to it have flows, too.
    this.#peers = new PeerIndexes([...backends.map((backend) => backend.id), ...classifiers, id]);
    const mode = classifiers.length > 0 ? "host-unknown" : "rst-unknown";
    this.#table = new CoreTable(core, clock, this.#peers, id, mode);
    this.#postbox = new Postbox(id, transport, wake, options.log);
    this.#pulse = new Pulse(options.mtu);
    this.#paths = new Paths(options.mtu, (mtu) => {
      this.#pulse.mtu = mtu; // Classifiers hear it.
      options.narrowed?.(mtu);
    });
    this.#handbacks = new Handbacks(core, this.#peers);
    this.#again = new Reinjector(core, options.inject);
    const health = (backend: NodeId): Health | undefined => this.#health(backend);
    this.dispatch = new Dispatch(backends, {
      clock,
      events: options.events,
      health,
      poolOf: (name) => this.#pools.idOf(name),
    });
    this.#pools = new Pools(options.cipher, options.router, this.dispatch.context, (name) =>
      this.dispatch.idOf(name),
    );
    this.judge = this.#newJudge();
    this.migrator = this.#newMigrator();
    this.courier = this.#newCourier();
    this.drains = new Drains({
      peers: this.judge.peers,
      idOf: (name) => this.dispatch.idOf(name),
      send: (node, message) => this.#postbox.send(node, message),
      wake,
    });
    this.relay = this.#newRelay();
    this.classifier = new Classifier({
      core,
      clock,
      router: options.router,
      headLimitUs: options.headLimitUs,
      routingOf: options.routingOf,
      context: this.dispatch.context,
      isRecovering: () => this.judge.isRecovering,
      move: (request, done) => this.dispatch.move(this.migrator, id, request, done),
      rejected: (tuple, reason, head) => options.events?.rejected?.(tuple, reason, head),
    });
    // The node is its own first peer: both halves learn the epoch as from a hello exchange.
    this.migrator.addForwarder(id);
    this.judge.handleEpoch(id, transport.epoch);
    this.migrator.handleEpoch(id, transport.epoch);
    for (const backend of backends) transport.hello(backend.id);
    for (const classifier of classifiers) transport.hello(classifier);
  }

  get counters(): Readonly<Record<string, number>> {
    return { ...this.dispatch.counters, ...this.#again.counters };
  }

  /** What became of messages, and of packets on their way back. */
  get mail() {
    return { postbox: { ...this.#postbox.counters }, handbacks: { ...this.#handbacks.counters } };
  }

  message(peer: NodeId, epoch: Epoch, bytes: Uint8Array): void {
    const message = this.#postbox.open(bytes, peer);
    if (!message) return;
    const isBackend = (): boolean => this.#options.backends.some(({ id }) => id === peer);
    if (message.type === "heartbeat" && isBackend()) this.#paths.heard(peer, message.mtu);
    const isLive = this.judge.peers.isLive({ node: peer, epoch, flow: NO_FLOW });
    if (message.type === "blob") this.courier.handle(peer, message, bytes);
    else if (message.type === "progress") this.drains.handle(peer, epoch, message);
    else if (message.type === "relay" && isLive) this.relay.returned(peer, message);
    else this.judge.handle(peer, epoch, message);
  }

  passOn(peer: NodeId, _epoch: Epoch, first: Uint8Array, total: number): Passage | undefined {
    const blob = decodeBlobHead(first, total);
    return blob && this.courier.begin(peer, blob, total);
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
      this.#handbacks.released(event);
      this.migrator.ended(
        event.handle,
        id,
        event.ownerFlow,
        event.tuple,
        causeOf(this.#options.core, event.code),
      );
    }
    if (event.kind === "accepted") {
      setPatience(this.#options.core, event.handle, this.#options.patience);
    }
    this.classifier.handleEvent(event);
  }

  pump(): void {
    do {
      this.#postbox.deliver((node, epoch, message) => this.#local(node, epoch, message));
      this.#again.flush();
    } while (this.#postbox.isWaiting || this.#again.isWaiting);
    this.#handbacks.flush((node, message) => this.#postbox.send(node, message));
  }

  handback(batch: PacketBatch, index: number): void {
    this.#handbacks.add(batch, index);
  }

  unmapped(batch: PacketBatch, index: number): void {
    const owner = this.#peers.nodeOf(batch.peer(index));
    for (const packet of wirePackets(batch, index))
      this.relay.pass(packet, owner, this.#again.hint);
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
    const census = this.#census();
    for (const id of this.#classifiers) {
      this.#postbox.send(id, beat);
      this.#postbox.send(id, census);
    }
    this.judge.handle(this.#options.id, this.#options.transport.epoch, beat);
  }

  #newJudge(): Judge {
    const { id, core, clock, random, transport, backends } = this.#options;
    return new Judge(
      {
        clock,
        table: this.#table,
        send: (node, message, onOutcome) =>
          this.#postbox.send(node, message, onOutcome ? { onOutcome } : {}),
        reinject: (packet, tuple, hint) => this.#again.add(packet, tuple, hint),
        relayed: () => this.relay.speak(),
        isReading: (tuple) => core.knows(tuple),
        isReader: (node) => (this.relay.isOn ? this.#classifiers.includes(node) : node === id),
        pool: (id, tuple) =>
          id === CLASSIFIERS ? this.#readers(tuple) : this.#pools.members(id, tuple),
      },
      {
        self: id,
        epoch: transport.epoch,
        nodes: [id, ...this.#classifiers, ...backends.map((backend) => backend.id)],
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
        refusal: () => this.#refusal(),
        arrived: (handle) => this.#arrived(handle),
        restart: () => undefined,
      },
      // In one process with its forwarder: it cannot lose contact.
      { self: id, epoch: transport.epoch, timers: { ...this.#timers, leaseUs: Infinity } },
    );
  }

  #newCourier(): Courier {
    const { moveUs, resolveUs } = this.#timers;
    return new Courier({
      self: this.#options.id,
      limitUs: moveUs + resolveUs,
      heirOf: (source, blob) => this.judge.heirOf(source, blob),
      pass: (to, blob, bytes, how) => {
        if (to === this.#options.id) this.#postbox.send(to, blob, how);
        else this.#postbox.pass(to, bytes, how);
      },
    });
  }

  #newRelay(): Relay {
    return new Relay(this.#classifiers, {
      peers: this.judge.peers,
      isRecovering: () => this.judge.isRecovering,
      mapping: (tuple) => this.#table.get(tuple),
      send: (node, message) => this.#postbox.send(node, message),
      question: (node, tuple) => this.judge.handleReturned(node, tuple),
      reinject: (packet, hint) => this.#again.add(packet, undefined, hint),
      refuse: (packet) => this.#again.refuse(packet),
    });
  }

  /** A message of this node to itself: what a judge answers goes to the migrator, the rest to the judge. */
  #local(node: NodeId, epoch: Epoch, message: Message): void {
    if (TO_MIGRATOR.has(message.type)) this.migrator.handle(node, epoch, message);
    else this.judge.handle(node, epoch, message);
  }

  #health(backend: NodeId): Health | undefined {
    const { peers } = this.judge;
    const peer = peers.get(backend);
    if (!peer) return undefined;
    // Of one that has not reported yet nothing is known: nobody is turned away for it.
    const mayReturn = this.judge.isRecovering || peers.mayReturn(peer);
    return { usable: peers.isUsable(peer), mayReturn, load: peer.load };
  }

  /** What classifiers on other nodes need to know of backends. */
  #census(): CensusMessage {
    const items = this.#options.backends.flatMap(({ id: node }) => {
      const health = this.#health(node);
      return health ? [{ node, ...health }] : [];
    });
    return { type: "census", items };
  }

  /** Who may read a connection's next request, the first choice first. */
  #readers(tuple: Tuple): readonly NodeId[] {
    return this.relay.isOn ? this.relay.members(tuple) : [this.#options.id];
  }

  /** Why this node's own classifier takes no connection back. */
  #refusal(): "full" | "no-application" | undefined {
    if (this.relay.isOn) return "no-application";
    return this.classifier.size >= this.#options.connectionsMax ? "full" : undefined;
  }

  #arrived(handle: number): void {
    const { core, patience } = this.#options;
    const { tuple, isEnded } = core.connectionInfo(handle);
    setPatience(core, handle, patience);
    this.#options.events?.cameBack?.(tuple);
    this.classifier.arrive(handle, tuple, isEnded);
  }

  #heartbeat(): HeartbeatMessage {
    const isServing = !this.relay.isOn;
    const free = Math.max(0, this.#options.connectionsMax - this.classifier.size);
    return this.#pulse.beat({
      draining: false,
      serving: isServing,
      load: this.classifier.size,
      credits: isServing ? free : 0,
    });
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
