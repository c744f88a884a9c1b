/**
 * The backend: takes connections over and gives them to an application. Knows the migrator, flow records
 * and live connections; must not know what an application does, nor sockets.
 */
import { formatAddress } from "../core/address.ts";
import type { PacketBatch } from "../core/batch.ts";
import type { Core, CoreEvent } from "../core/core.ts";
import type { Tuple } from "../core/tuple.ts";
import { causeOf } from "./causes.ts";
import { Numbered } from "../transport/numbered.ts";
import type { Epoch, NodeId, Transport } from "../transport/transport.ts";
import type { Connection, ConnectionAddress, MoveOutcome } from "./connection.ts";
import type { Role } from "./engine.ts";
import type { Cipher, Clock, Log } from "./environment.ts";
import { Drain } from "./drain.ts";
import { wireReason } from "./drainage.ts";
import { Handbacks } from "./handbacks.ts";
import { PeerIndexes } from "./indexes.ts";
import { LiveConnection, type Finish, type LiveContext } from "./live.ts";
import type { HeartbeatMessage, Message, ReleaseCause } from "./messages.ts";
import type { Baggage, FlowMapping } from "./migration.ts";
import { Migrator } from "./migrator.ts";
import { LiveStack, Moves } from "./moves.ts";
import { setPatience, type Patience } from "./patience.ts";
import { Postbox } from "./postbox.ts";
import { Pulse } from "./pulse.ts";
import { CoreRecords } from "./stack.ts";
import { TIMERS, type Timers } from "./timers.ts";

/** What takes migrated connections. */
export interface Acceptor {
  /** Anything would be taken at all. */
  readonly isServing: boolean;
  /** Would a connection to this service address be taken now? */
  accepts(local: ConnectionAddress): boolean;
  /** Takes a connection; never throws, never waits. */
  accept(connection: Connection): void;
}

/** Errors that wait for the next turn. */
const ICMP_MAX = 4096;

export interface BackendOptions {
  readonly id: NodeId;
  readonly core: Core;
  readonly clock: Clock;
  readonly cipher: Cipher;
  readonly transport: Transport;
  readonly log: Log;
  readonly wake: () => void;
  /** Gives packet 0 of the rx batch to the core, as a link would. */
  readonly inject: () => void;
  readonly acceptor: Acceptor;
  /** In the order of the core's peer indexes. */
  readonly forwarders: readonly NodeId[];
  /** Connections that may be here at once; credits are what is left of it. */
  readonly connectionsMax: number;
  readonly mtu: number;
  /** Towards the clients of connections that arrive. */
  readonly patience?: Patience | undefined;
  readonly timers?: Timers;
  readonly events?: BackendEvents;
}

export interface BackendEvents {
  arrived?(connection: LiveConnection, mapping: FlowMapping): void;
  /** It is over for its application; its 4-tuple may still be in TIME-WAIT. */
  finished?(connection: LiveConnection, cause: ReleaseCause): void;
  /** It lives on at another node, or nobody knows whether it does. */
  moved?(connection: LiveConnection, outcome: MoveOutcome): void;
  /** A forwarder orders it to drain, or to take connections again. */
  ordered?(on: boolean): void;
  /** This node was declared dead, or lost its forwarder: everything was dropped (R14). */
  restart(): void;
}

export class Backend implements Role {
  readonly migrator: Migrator;
  readonly moves: Moves;
  readonly drainage: Drain;
  readonly counters = { arrived: 0, released: 0, icmpOverflowed: 0 };
  readonly #options: BackendOptions;
  readonly #peers: PeerIndexes;
  readonly #postbox: Postbox;
  readonly #pulse: Pulse;
  readonly #handbacks: Handbacks;
  readonly #timers: Timers;
  readonly #live = new Numbered<LiveConnection>();
  /** Handles that applications let go of and that may still have something to send. */
  readonly #leaving = new Set<number>();
  readonly #context: LiveContext;
  #early: LiveConnection[] = [];
  /** ICMP errors that the forwarder sent on. */
  #icmp: Uint8Array[] = [];
  #draining = false;
  #isOver = false;
  #heartbeatUs = 0;
  #ids = 0;

  constructor(options: BackendOptions) {
    this.#options = options;
    const { core, clock, transport, forwarders, id, wake } = options;
    this.#timers = options.timers ?? TIMERS;
    this.#peers = new PeerIndexes(forwarders);
    this.#postbox = new Postbox(id, transport, wake, options.log);
    this.#pulse = new Pulse(options.mtu);
    this.#handbacks = new Handbacks(core, this.#peers);
    const early = (live: LiveConnection): void => {
      this.#early.push(live);
      wake();
    };
    const finished = (live: LiveConnection, how: Finish): void => this.#finished(live, how);
    this.#context = {
      core,
      nowUs: () => clock.nowUs(),
      wake,
      early,
      move: (live, request) => this.moves.start(live, request),
      offered: (live) => this.drainage.offered(live),
      finished,
    };
    const live = (handle: number): LiveConnection | undefined => this.#live.get(handle);
    this.migrator = new Migrator(
      {
        clock,
        stack: new LiveStack(core, clock, this.#peers, live),
        records: new CoreRecords(core, clock, this.#peers),
        // A blob goes by way of its forwarder, which knows the target.
        send: (node, message, how) =>
          this.#postbox.send(message.type === "blob" ? message.forwarder : node, message, how),
        refusal: (tuple) => this.#refusal(tuple),
        arrived: (handle, mapping, baggage) => this.#arrived(handle, mapping, baggage),
        restart: () => this.#end(),
      },
      { self: id, epoch: transport.epoch, timers: this.#timers },
    );
    this.moves = new Moves({
      core,
      cipher: options.cipher,
      migrator: this.migrator,
      peers: this.#peers,
      live,
      gone: (connection, outcome) => this.#gone(connection, outcome),
      wake,
    });
    this.drainage = new Drain({
      clock,
      moves: this.moves,
      connections: () => this.#live.values(),
      wake,
    });
    for (const forwarder of forwarders) {
      this.migrator.addForwarder(forwarder);
      transport.hello(forwarder);
    }
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get connections(): number {
    return this.#live.size;
  }

  /** From now on nothing more is taken; what is here stays. */
  drain(): void {
    this.#draining = true;
    this.#heartbeatUs = 0;
    this.#options.wake();
  }

  /** The same, and everything that can be moved goes to other members of its pool. */
  empty(): void {
    this.drain();
    this.drainage.begin();
  }

  /** Takes connections again; what has moved stays where it is. */
  undrain(): void {
    this.#draining = false;
    this.drainage.cancel();
    this.#heartbeatUs = 0;
    this.#options.wake();
  }

  /** Bytes that applications wrote, let go of, and whose clients have not acknowledged them yet. */
  unacknowledged(): number {
    let bytes = 0;
    for (const handle of this.#leaving) {
      const left = this.#options.core.unacknowledgedLength(handle);
      if (left === 0) this.#leaving.delete(handle);
      bytes += left;
    }
    return bytes;
  }

  /** Tells every application that its connections are gone; nothing is sent to any client. */
  giveUp(): void {
    const code = this.#options.core.err["RESET"] ?? 0;
    for (const live of this.#live.values()) live.handleEvent({ kind: "closed", code });
    this.#live.clear();
  }

  /** What became of messages, and of packets on their way back. */
  get mail() {
    return { postbox: { ...this.#postbox.counters }, handbacks: { ...this.#handbacks.counters } };
  }

  message(peer: NodeId, epoch: Epoch, bytes: Uint8Array): void {
    const message = this.#postbox.open(bytes, peer);
    if (!message) return;
    if (message.type === "heartbeat") this.migrator.heard(peer);
    else if (message.type === "icmp") this.#takeIcmp(message.packet);
    else if (message.type === "drain") this.#ordered(peer, message.on);
    else this.migrator.handle(peer, epoch, message);
  }

  peerEpoch(peer: NodeId, epoch: Epoch): void {
    this.migrator.handleEpoch(peer, epoch);
    this.#heartbeatUs = 0; // The forwarder should know at once that we are here.
  }

  unreachable(): void {
    // A forwarder that restarts says so itself; the lease bounds the rest.
  }

  event(event: CoreEvent): void {
    if (event.kind === "released") return this.#released(event);
    const live = this.#live.get(event.handle);
    if (!live) return;
    live.handleEvent(event);
  }

  pump(): void {
    this.#postbox.deliver((node, epoch, message: Message) =>
      this.migrator.handle(node, epoch, message),
    );
    this.#handbacks.flush((node, message) => this.#postbox.send(node, message));
    this.moves.pump();
    for (const packet of this.#icmp.splice(0)) this.#inject(packet);
    if (this.#early.length === 0) return;
    const early = this.#early;
    this.#early = [];
    for (const live of early) live.deliverEarly();
  }

  handback(batch: PacketBatch, index: number): void {
    this.#handbacks.add(batch, index);
  }

  unmapped(): void {
    // A backend has no service addresses of its own: packets come by tunnel, or not at all.
  }

  icmp(): void {
    // Errors about connections of other nodes arrive at the forwarder.
  }

  nextTimeoutUs(): number {
    if (this.#early.length > 0) return 0;
    const timeoutUs = Math.min(this.migrator.nextTimeoutUs(), this.drainage.nextTimeoutUs());
    return Math.min(this.#heartbeatUs, timeoutUs);
  }

  handleTimeout(): void {
    const now = this.#options.clock.nowUs();
    if (this.migrator.nextTimeoutUs() <= now) this.migrator.handleTimeout();
    this.drainage.handleTimeout();
    if (this.#heartbeatUs > now) return;
    this.#heartbeatUs = now + this.#timers.heartbeatUs;
    const beat = this.#heartbeat();
    for (const forwarder of this.#options.forwarders) this.#postbox.send(forwarder, beat);
    if (this.drainage.isOn) this.#report();
  }

  /** The forwarder's order, which an operator gave. */
  #ordered(forwarder: NodeId, on: boolean): void {
    this.migrator.heard(forwarder);
    if (on) this.empty();
    else this.undrain();
    this.#options.events?.ordered?.(on);
    this.#report();
  }

  #report(): void {
    const { isOn: on, open, moving, moved, lost, remaining } = this.drainage.state();
    const items = remaining.map((item) => ({ ...item, reason: wireReason(item.reason) }));
    const progress = { type: "progress", on, open, moving, moved, lost, remaining: items } as const;
    for (const forwarder of this.#options.forwarders) this.#postbox.send(forwarder, progress);
  }

  /** R14: the forwarder has given these connections up, or may have. Not one segment more. */
  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#options.events?.restart();
  }

  #takeIcmp(packet: Uint8Array): void {
    if (this.#icmp.length < ICMP_MAX) this.#icmp.push(packet);
    else this.counters.icmpOverflowed++;
  }

  #inject(packet: Uint8Array): void {
    const { core, inject } = this.#options;
    if (core.rx.place(0, packet)) inject();
  }

  #heartbeat(): HeartbeatMessage {
    const { connectionsMax, acceptor } = this.#options;
    const free = Math.max(0, connectionsMax - this.#live.size);
    return this.#pulse.beat({
      draining: this.#draining,
      serving: !this.#draining && acceptor.isServing,
      load: this.#live.size,
      credits: this.#draining ? 0 : free,
    });
  }

  #refusal(tuple: Tuple): "full" | "draining" | "no-application" | undefined {
    const { connectionsMax, acceptor } = this.#options;
    if (this.#draining) return "draining";
    if (this.#live.size >= connectionsMax) return "full";
    const local = { address: formatAddress(tuple.local), port: tuple.localPort };
    return acceptor.accepts({ ...local, family: tuple.family }) ? undefined : "no-application";
  }

  #arrived(handle: number, mapping: FlowMapping, baggage: Baggage): void {
    const tuple = this.#options.core.connectionTuple(handle);
    const live = new LiveConnection(this.#context, ++this.#ids, handle, tuple, baggage);
    this.#live.set(handle, live);
    this.counters.arrived++;
    this.#options.events?.arrived?.(live, mapping);
    setPatience(this.#options.core, handle, this.#options.patience);
    live.begin();
    this.#options.acceptor.accept(live);
  }

  #released(event: CoreEvent): void {
    const { handle, ownerPeer, ownerFlow, tuple } = event;
    this.#handbacks.released(event);
    const cause = causeOf(this.#options.core, event.code);
    const forwarder = this.#peers.nodeOf(ownerPeer);
    if (forwarder !== undefined && ownerFlow !== 0) {
      this.migrator.ended(handle, forwarder, ownerFlow, tuple, cause);
    }
    this.counters.released++;
    this.#live.delete(handle);
    this.#leaving.delete(handle);
  }

  /** From here on nobody asks for it; the core keeps what TIME-WAIT and unacknowledged bytes need. */
  #finished(live: LiveConnection, how: Finish): void {
    this.#live.delete(live.handle);
    if (how === "closed") this.#leaving.add(live.handle);
    this.#options.events?.finished?.(
      live,
      typeof how === "string" ? how : causeOf(this.#options.core, how.code),
    );
  }

  /** The stack has dropped it without a word. */
  #gone(live: LiveConnection, outcome: MoveOutcome): void {
    this.#live.delete(live.handle);
    this.#leaving.delete(live.handle);
    this.#options.events?.moved?.(live, outcome);
  }
}
