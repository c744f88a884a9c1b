/**
 * A classifier on a node of its own: the forwarder sends it the packets of connections that nobody owns yet, it answers
 * the clients directly, reads their requests and hands the connections to backends. It takes them back as well, for
 * their next request. Knows classifier, migrator and how packets come in messages; must not know the mapping table.
 */
import type { PacketBatch } from "../core/batch.ts";
import type { Core, CoreEvent } from "../core/core.ts";
import type { Tuple } from "../core/tuple.ts";
import type { Router } from "../routing/route.ts";
import type { Epoch, NodeId, Transport } from "../transport/transport.ts";
import { Census } from "./census.ts";
import { Classifier } from "./classifier.ts";
import { Dispatch, type DispatchEvents, type Health, type NodeName } from "./dispatch.ts";
import type { Routing } from "./connection.ts";
import type { Role } from "./engine.ts";
import type { Cipher, Clock, Log } from "./environment.ts";
import { Handbacks } from "./handbacks.ts";
import { PeerIndexes } from "./indexes.ts";
import type { HeartbeatMessage, Message, RelayMessage } from "./messages.ts";
import type { VerdictMessage } from "./messages.ts";
import { Migrator } from "./migrator.ts";
import { clientTuple, hasTcpHeader, isSyn } from "./packet.ts";
import { Paths } from "./paths.ts";
import { setPatience, type Patience } from "./patience.ts";
import { Pools } from "./pools.ts";
import { Postbox } from "./postbox.ts";
import { Pulse } from "./pulse.ts";
import { CoreRecords, CoreStack } from "./stack.ts";
import { Spoken } from "./spoken.ts";
import { Standstill } from "./standstill.ts";
import { TIMERS, type Timers } from "./timers.ts";
import { WaitingLines } from "./waiting.ts";

export interface ClassifierNodeOptions {
  readonly id: NodeId;
  readonly core: Core;
  readonly clock: Clock;
  readonly cipher: Cipher;
  readonly transport: Transport;
  readonly log: Log;
  readonly wake: () => void;
  /** Gives packet 0 of the rx batch to the core, as a link would. */
  readonly inject: () => void;
  readonly router: Router;
  /** In the order of the core's peer indexes. */
  readonly forwarders: readonly NodeId[];
  /** Backends that rules name; how they are is the forwarder's word. */
  readonly backends: readonly NodeName[];
  /** Connections that may be here at once. */
  readonly connectionsMax: number;
  readonly headLimitUs?: number | undefined;
  readonly routingOf?: ((tuple: Tuple) => Routing) | undefined;
  /** For connections that begin here; it moves with them. */
  readonly patience?: Patience | undefined;
  readonly mtu: number;
  /** The narrowest link behind the services is another one, as the forwarder says. */
  readonly narrowed?: (mtu: number) => void;
  readonly timers?: Timers;
  readonly events?: ClassifierNodeEvents;
}

export interface ClassifierNodeEvents extends DispatchEvents {
  /** This node was declared dead, or lost its forwarder: everything was dropped (R14). */
  restart(): void;
}

/** A packet that came in a message, and what is to be said when nobody here knows its connection. */
interface Relayed {
  readonly forwarder: NodeId;
  readonly packet: Uint8Array;
  readonly message: RelayMessage;
}
const RELAYED_MAX = 4096; // packets that wait for the next turn

export class ClassifierNode implements Role {
  readonly migrator: Migrator;
  readonly classifier: Classifier;
  readonly dispatch: Dispatch;
  readonly waiting = new WaitingLines<Relayed>();
  readonly counters = {
    relayed: 0,
    returned: 0,
    overtaken: 0,
    overflowed: 0,
    late: 0,
    stray: 0,
    icmp: 0,
    malformed: 0,
  };
  readonly #options: ClassifierNodeOptions;
  readonly #peers: PeerIndexes;
  readonly #postbox: Postbox;
  readonly #pulse: Pulse;
  readonly #paths: Paths;
  readonly #handbacks: Handbacks;
  readonly #timers: Timers;
  readonly #standstill: Standstill;
  readonly #verdicts = new Spoken();
  readonly #census: Census;
  #relayed: Relayed[] = [];
  #icmp: Uint8Array[] = [];
  /** The packet that the core has in hand. */
  #now: Relayed | undefined;
  #draining = false;
  #isOver = false;
  #heartbeatUs = 0;
  #recoveryUs = 0; // until then a forwarder that began anew may not know how backends are

  constructor(options: ClassifierNodeOptions) {
    this.#options = options;
    const { core, clock, router, transport, forwarders, id, wake, events } = options;
    this.#timers = options.timers ?? TIMERS;
    this.#standstill = new Standstill(this.#timers.heartbeatUs);
    this.#peers = new PeerIndexes(forwarders);
    this.#postbox = new Postbox(id, transport, wake, options.log);
    this.#pulse = new Pulse(options.mtu);
    this.#paths = new Paths(options.mtu, (mtu) => options.narrowed?.(mtu));
    this.#handbacks = new Handbacks(core, this.#peers);
    core.setMode("host-unknown");
    this.migrator = this.#newMigrator();
    this.#census = new Census(options.backends.map((backend) => backend.id));
    const health = (backend: NodeId): Health | undefined => this.#census.healthOf(backend);
    this.dispatch = new Dispatch(options.backends, {
      clock,
      events,
      health,
      poolOf: (name) => pools.idOf(name),
    });
    const pools = new Pools(options.cipher, router, this.dispatch.context, (name) =>
      this.dispatch.idOf(name),
    );
    this.classifier = new Classifier({
      core,
      clock,
      router,
      headLimitUs: options.headLimitUs,
      routingOf: options.routingOf,
      context: this.dispatch.context,
      isRecovering: () => clock.nowUs() < this.#recoveryUs,
      move: (request, done) => {
        this.dispatch.move(this.migrator, this.#forwarderOf(request.handle), request, done);
      },
      rejected: (tuple, reason, head) => events?.rejected?.(tuple, reason, head),
    });
    for (const forwarder of forwarders) {
      this.migrator.addForwarder(forwarder);
      transport.hello(forwarder);
    }
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Nothing is left that would be lost if this process ended now. */
  get isIdle(): boolean {
    return this.classifier.size === 0 && this.migrator.outgoing.size === 0;
  }

  /** Takes no new connection; those that are here go on. */
  drain(): void {
    this.#draining = true;
    this.#heartbeatUs = 0;
    this.#options.wake();
  }

  message(peer: NodeId, epoch: Epoch, bytes: Uint8Array): void {
    const message = this.#postbox.open(bytes, peer);
    if (!message) return;
    if (message.type === "relay") this.#take(peer, message);
    else if (message.type === "verdict") this.#verdict(peer, epoch, message);
    else if (message.type === "heartbeat") {
      this.migrator.heard(peer);
      this.#paths.heard(peer, message.mtu);
    } else if (message.type === "icmp") {
      if (this.#icmp.length < RELAYED_MAX) this.#icmp.push(message.packet);
      else this.counters.overflowed++;
    } else if (message.type === "census") this.#census.hear(message.items);
    else this.migrator.handle(peer, epoch, message);
  }

  peerEpoch(peer: NodeId, epoch: Epoch): void {
    this.#giveAll();
    this.#verdicts.begin(peer);
    this.migrator.handleEpoch(peer, epoch);
    this.#heartbeatUs = 0; // The forwarder should know at once that we are here.
    this.#recoveryUs = this.#options.clock.nowUs() + this.#timers.recoverUs;
  }

  unreachable(): void {
    // A forwarder that restarts says so itself; the lease bounds the rest.
  }

  event(event: CoreEvent): void {
    if (event.kind === "accepted") this.#accepted(event);
    if (event.kind === "released") this.#released(event);
    this.classifier.handleEvent(event);
  }

  pump(): void {
    do {
      this.#postbox.deliver((node, epoch, message: Message) =>
        this.migrator.handle(node, epoch, message),
      );
      this.#giveAll();
    } while (this.#relayed.length > 0 || this.#postbox.isWaiting);
    this.#handbacks.flush((node, message) => this.#postbox.send(node, message));
    for (const packet of this.#icmp.splice(0)) {
      this.counters.icmp++;
      if (this.#options.core.rx.place(0, packet)) this.#options.inject();
    }
  }

  handback(batch: PacketBatch, index: number): void {
    this.#handbacks.add(batch, index);
  }

  /** Nothing here knows the connection: the forwarder asks the next classifier, or resets the client. */
  unmapped(): void {
    if (this.#now) this.#giveBack(this.#now.forwarder, this.#now.message);
    else this.counters.stray++; // It came past the forwarder: nobody routes it here.
  }

  icmp(): void {
    // Errors about connections of other nodes arrive at the forwarder.
  }

  nextTimeoutUs(): number {
    if (this.#relayed.length > 0) return 0;
    const next = Math.min(this.#heartbeatUs, this.classifier.nextTimeoutUs());
    return Math.min(next, this.migrator.nextTimeoutUs());
  }

  handleTimeout(): void {
    const now = this.#options.clock.nowUs();
    if (this.migrator.nextTimeoutUs() <= now) this.migrator.handleTimeout();
    if (this.classifier.nextTimeoutUs() <= now) this.classifier.handleTimeout();
    if (this.#heartbeatUs > now) return;
    this.#heartbeatUs = now + this.#timers.heartbeatUs;
    this.#standstill.beat(now);
    const beat = this.#heartbeat();
    for (const forwarder of this.#options.forwarders) this.#postbox.send(forwarder, beat);
  }

  #newMigrator(): Migrator {
    const { id, core, clock, transport } = this.#options;
    return new Migrator(
      {
        clock,
        stack: new CoreStack(core, clock, this.#peers),
        records: new CoreRecords(core, clock, this.#peers),
        unnamed: {
          mark: (tuple, state) => {
            if (state === "frozen") this.waiting.freeze(tuple);
            else if (state === "active") this.#takeAgain(this.waiting.thaw(tuple));
            else this.#giveAllBack(this.waiting.leave(tuple));
          },
          pass: (tuple) => this.#giveAllBack(this.waiting.pass(tuple)),
        },
        // A blob goes by way of its forwarder, which knows the target.
        send: (node, message, how) =>
          this.#postbox.send(message.type === "blob" ? message.forwarder : node, message, how),
        refusal: () => this.#refusal(),
        arrived: (handle) => this.#arrived(handle),
        restart: () => this.#end(),
      },
      { self: id, epoch: transport.epoch, timers: this.#timers },
    );
  }

  /**
   * A forwarder that has not heard this node for so long gives new connections to others. A SYN that waited here
   * meanwhile is of a client that has tried again since, or has another connection on these ports by now: what would be
   * opened for it stood between that one's packets and its owner.
   */
  #take(forwarder: NodeId, message: RelayMessage): void {
    const isBehind = this.#standstill.isBehind(this.#options.clock.nowUs());
    this.counters.relayed++;
    if (!hasTcpHeader(message.packet)) this.counters.malformed++;
    else if (isBehind && isSyn(message.packet)) this.counters.late++;
    else if (this.#verdicts.haveOvertaken(forwarder, message.order)) {
      this.counters.overtaken++;
      this.#giveBack(forwarder, message, true);
    } else if (this.#relayed.length >= RELAYED_MAX) this.counters.overflowed++;
    else this.#relayed.push({ forwarder, message, packet: message.packet });
  }

  /** Segments that were held: on the next turn they are as if they had just come. */
  #takeAgain(held: readonly Relayed[]): void {
    if (held.length === 0) return;
    this.#relayed.push(...held);
    this.#options.wake();
  }

  /** What came before a verdict is given to the stack before it: what it can have overtaken is on its way still. */
  #verdict(forwarder: NodeId, epoch: Epoch, message: VerdictMessage): void {
    this.#giveAll();
    // Of others nothing here is let go: a number out of nowhere would send every packet back for ever.
    const ours = this.migrator.outgoing.ofFlow(forwarder, message.flow);
    if (ours) this.#verdicts.heard(forwarder, message.relayed);
    this.migrator.handle(forwarder, epoch, message);
  }

  #giveAll(): void {
    for (const relayed of this.#relayed.splice(0)) this.#give(relayed);
  }

  #give(relayed: Relayed): void {
    const { forwarder, message, packet } = relayed;
    const { core, inject, forwarders } = this.#options;
    const { hint } = message;
    if (!this.waiting.isEmpty) {
      const tuple = clientTuple(packet);
      if (this.waiting.hold(tuple, relayed)) return;
      if (this.waiting.isPassing(tuple)) return this.#giveBack(forwarder, message);
    }
    if (!core.rx.place(0, packet)) {
      this.counters.overflowed++;
      return;
    }
    if (hint) core.setSynHint(0, hint.sndNxt, hint.tsVal);
    this.#now = relayed;
    inject();
    if (forwarders.length > 1) this.#drainEvents();
    this.#now = undefined;
  }

  /**
   * With several forwarders, while it is known whose packet this was: a connection that it opened is of the forwarder
   * that relayed it. Nothing is remembered of handshakes, of which a flood could bring any number.
   */
  #drainEvents(): void {
    const { core } = this.#options;
    for (let event = core.pollEvent(); event; event = core.pollEvent()) this.event(event);
  }

  /** What waited for a connection that left; this stack would take a SYN among it for a new one of its own. */
  #giveAllBack(held: readonly Relayed[]): void {
    for (const { forwarder, message } of held) this.#giveBack(forwarder, message, true);
  }

  #giveBack(forwarder: NodeId, message: RelayMessage, isOvertaken = false): void {
    this.counters.returned++;
    this.#postbox.send(forwarder, { ...message, isOvertaken });
  }

  #accepted(event: CoreEvent): void {
    setPatience(this.#options.core, event.handle, this.#options.patience);
    if (this.#now) {
      this.#options.core.setOwner(event.handle, this.#peers.indexOf(this.#now.forwarder));
    }
  }

  #released(event: CoreEvent): void {
    const { handle, ownerPeer, ownerFlow, tuple } = event;
    this.#handbacks.released(event);
    const forwarder = this.#peers.nodeOf(ownerPeer) ?? this.#firstForwarder();
    this.migrator.ended(handle, forwarder, ownerFlow, tuple, "closed");
  }

  /** The forwarder that judges a connection: the one its flow is of, or else that relayed its handshake. */
  #forwarderOf(handle: number): NodeId {
    const { core } = this.#options;
    const peer = core.isConnection(handle) ? core.connectionOwner(handle).ownerPeer : 0;
    return this.#peers.nodeOf(peer) ?? this.#firstForwarder();
  }

  #firstForwarder(): NodeId {
    return this.#options.forwarders[0] ?? "";
  }

  #refusal(): "full" | "draining" | undefined {
    if (this.#draining) return "draining";
    return this.classifier.size >= this.#options.connectionsMax ? "full" : undefined;
  }

  #arrived(handle: number): void {
    const { tuple, isEnded } = this.#options.core.connectionInfo(handle);
    this.#options.events?.cameBack?.(tuple);
    this.classifier.arrive(handle, tuple, isEnded);
  }

  /** R14: the forwarder has given these connections up, or may have. Not one segment more. */
  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#options.events?.restart();
  }

  #heartbeat(): HeartbeatMessage {
    const { connectionsMax } = this.#options;
    const free = Math.max(0, connectionsMax - this.classifier.size);
    return this.#pulse.beat({
      draining: this.#draining,
      serving: !this.#draining,
      load: this.classifier.size,
      credits: this.#draining ? 0 : free,
    });
  }
}
