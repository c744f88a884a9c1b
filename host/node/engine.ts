/**
 * One turn of a node's loop: packets in, events, timers, packets and datagrams out, in the order that
 * docs/architecture.md gives. Knows the core, one link for each direction and the transport; must not
 * know what a role does with an event, nor sockets, nor how the loop is woken.
 */
import type { Core, CoreEvent } from "../core/core.ts";
import type { PacketBatch } from "../core/batch.ts";
import type { Link } from "../link/link.ts";
import type { Transport, OutgoingDatagram } from "../transport/transport.ts";
import type { Clock, Endpoint } from "./environment.ts";

/** Batches read from the link before timers get their turn: 16 * 64 packets, or a few MiB. */
const BATCHES_PER_TURN_MAX = 16;

/**
 * Batches sent before the link is read again. What is sent is answered while it is sent, and where one frame holds
 * one packet a whole window's acknowledgements are more than a link keeps (docs/xdp.md, Lending).
 */
const SENDS_PER_TURN_MAX = 16;

/**
 * So many batches that bulk data ended before they were full are read before what they made due is sent. An ACK wakes
 * who sends that data, and its next packets are made ready within our write(): one for each batch costs more than it
 * hastens. A window that is acknowledged as a whole would stop and go.
 */
const BULK_BATCHES_MAX = 8;

/** Events handled in one turn; what is left makes the turn report more work. */
const EVENTS_PER_TURN_MAX = 4096;

/** What a role (forwarder, backend) does with what the engine finds. */
export interface Role {
  /** This life of the node is over (PROTOCOL R14): from now on it says nothing to anybody. */
  readonly isOver: boolean;
  event(event: CoreEvent): void;
  /** A packet that belongs back at the forwarder, with flow and record in its descriptor. */
  handback(batch: PacketBatch, index: number): void;
  /** A packet for a service address that neither the mapping table nor the stack knows. */
  unmapped(batch: PacketBatch, index: number): void;
  /** An ICMP error about a connection that another node owns. */
  icmp(batch: PacketBatch, index: number): void;
  /** What must not happen amid a batch: local messages, packets that came back, first events. */
  pump(): void;
  handleTimeout(): void;
  nextTimeoutUs(): number;
}

export interface EngineOptions {
  readonly core: Core;
  readonly clock: Clock;
  readonly link: Link;
  /** Where packets leave when it is not `link`. */
  readonly egress?: Link | undefined;
  readonly transport: Transport;
  /** Hands over datagrams that have arrived. True: more of them wait. */
  readonly receiveDatagrams: (take: (from: Endpoint, bytes: Uint8Array) => void) => boolean;
  /** Sends every datagram that `next` gives. */
  readonly sendDatagrams: (next: () => OutgoingDatagram | undefined) => void;
}

export class Engine {
  readonly #options: EngineOptions;
  readonly #egress: Link;
  #role: Role | undefined;
  /** Since the last time that the core was asked for packets to send. */
  #injected = 0;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#egress = options.egress ?? options.link;
  }

  /** The role is made after the engine, because it calls it. */
  setRole(role: Role): void {
    this.#role = role;
  }

  /** Does everything that can be done now. True: call again soon, there is more. */
  turn(): boolean {
    const role = this.#role;
    if (!role || role.isOver) return false;
    const waits = this.#options.receiveDatagrams(this.#takeDatagram);
    role.pump();
    const more = this.#receive(role);
    const left = this.#drainEvents(role);
    this.#timers(role);
    role.pump();
    this.#drainEvents(role);
    role.pump();
    if (role.isOver) return false;
    const unsent = this.#transmit(role);
    this.#options.sendDatagrams(this.#nextDatagram);
    return waits || more || left || unsent;
  }

  /** When the next turn is due without any input, in monotonic microseconds; Infinity: never. */
  nextTimeoutUs(): number {
    const { core, transport } = this.#options;
    const role = this.#role?.nextTimeoutUs() ?? Infinity;
    return Math.min(core.nextTimeoutUs(), transport.nextTimeoutUs(), role);
  }

  /** When the transport may send on what only its pace holds back; Infinity when there is nothing. */
  pacedUntilUs(): number {
    return this.#options.transport.pacedUntilUs();
  }

  /**
   * Feeds packet 0 of the rx batch to the core as if a link had received it. The core keeps a bounded number of
   * answers (SYN-ACKs, RSTs), and more packets than that may come in messages: so they leave batch by batch.
   */
  inject(): void {
    const role = this.#role;
    if (!role) return;
    if (this.#injected >= this.#options.core.rx.length && !role.isOver) {
      this.#transmit(role, Infinity);
    }
    this.#injected += 1;
    this.#handle(role, 1);
  }

  readonly #takeDatagram = (from: Endpoint, bytes: Uint8Array): void => {
    this.#options.transport.handleDatagram(from, bytes);
  };

  readonly #nextDatagram = (): OutgoingDatagram | undefined =>
    this.#options.transport.pollDatagram();

  #receive(role: Role): boolean {
    const { core, link } = this.#options;
    let bulk = 0;
    for (let round = 0; round < BATCHES_PER_TURN_MAX; round++) {
      const count = link.receive(core.rx);
      if (count > 0) this.#handle(role, count);
      if (link.drained) return false;
      // The application reads what is still in the caches.
      this.#drainEvents(role);
      if (role.isOver) return false;
      bulk += 1;
      // A full batch is of single packets: many requests, or ACKs that let data leave. They are answered at once.
      if (count < core.rx.length && bulk < BULK_BATCHES_MAX) continue;
      this.#transmit(role);
      bulk = 0;
    }
    return true;
  }

  #handle(role: Role, count: number): void {
    const { core, clock } = this.#options;
    const isOpen = core.handlePackets(count, clock.nowUs()) > 0;
    if (isOpen) this.#carryOut(role, count);
    // Also when nothing is to be sent: the link may want its slots back.
    this.#options.link.flush();
    if (this.#egress !== this.#options.link) this.#egress.flush();
  }

  #carryOut(role: Role, count: number): void {
    const { core } = this.#options;
    const { DROPPED, CONSUMED, TRANSMIT, HANDBACK, UNMAPPED, ICMP } = core.verdict;
    for (let index = 0; index < count; index++) {
      const verdict = core.rx.verdict(index);
      if (verdict === TRANSMIT) this.#egress.transmit(core.rx, index);
      else if (verdict === DROPPED || verdict === CONSUMED) continue;
      else if (verdict === HANDBACK) role.handback(core.rx, index);
      else if (verdict === UNMAPPED) role.unmapped(core.rx, index);
      else if (verdict === ICMP) role.icmp(core.rx, index);
    }
  }

  #drainEvents(role: Role): boolean {
    const { core } = this.#options;
    for (let count = 0; count < EVENTS_PER_TURN_MAX; count++) {
      const event = core.pollEvent();
      if (!event) return false;
      role.event(event);
    }
    return true;
  }

  #timers(role: Role): void {
    const { core, clock, transport } = this.#options;
    const now = clock.nowUs();
    if (core.nextTimeoutUs() <= now) core.handleTimeout(now);
    if (transport.nextTimeoutUs() <= now) transport.handleTimeout();
    if (role.nextTimeoutUs() <= now) role.handleTimeout();
  }

  /** True: there may be more than `batchesMax` batches to send. */
  #transmit(role: Role, batchesMax = SENDS_PER_TURN_MAX): boolean {
    const { core, clock } = this.#options;
    const now = clock.nowUs();
    this.#injected = 0;
    let batches = 0;
    for (; batches < batchesMax; batches++) {
      const count = core.pollTransmit(now);
      if (count === 0) break;
      for (let index = 0; index < count; index++) this.#egress.transmit(core.tx, index);
      this.#egress.flush();
    }
    for (let count = core.pollHandback(now); count > 0; count = core.pollHandback(now)) {
      for (let index = 0; index < count; index++) role.handback(core.tx, index);
    }
    return batches === batchesMax;
  }
}
