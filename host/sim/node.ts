/**
 * One life of a simulated node: from its boot epoch to its crash. Knows how the real rooms are put together
 * and how turns come about in virtual time; must not know topology nor scenarios.
 */
import type { Core } from "../core/core.ts";
import { Engine, type Role } from "../node/engine.ts";
import type { Cipher, Endpoint, Log } from "../node/environment.ts";
import { createTransport, nodeId } from "../transport/create.ts";
import type {
  Epoch,
  NodeId,
  OutgoingDatagram,
  Transport,
  TransportEvents,
} from "../transport/transport.ts";
import { SimLink } from "./link.ts";
import type { HostClock } from "./clock.ts";
import type { Network } from "./network.ts";
import type { SeededRandom } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";
import { slab } from "./slab.ts";
import { TurnCount } from "./turns.ts";

/** Address of the transport's socket of each node: "udp:NAME". */
export const udpPlace = (name: string): string => `udp:${name}`;
const UDP_PORT = 4433;
/** Room of a socket's receive buffer (SO_RCVBUFFORCE of the daemons). */
const INBOX_BYTES_MAX = 4 << 20;

/** What a role is made of. */
export interface SimParts {
  readonly id: NodeId;
  readonly core: Core;
  readonly clock: HostClock;
  readonly random: SeededRandom;
  readonly cipher: Cipher;
  readonly transport: Transport;
  readonly engine: Engine;
  readonly log: Log;
  readonly wake: () => void;
}

/** A role that takes messages of its peers. */
export interface SimRole extends Role, Pick<TransportEvents, "passOn"> {
  message(peer: NodeId, epoch: Epoch, bytes: Uint8Array): void;
  peerEpoch(peer: NodeId, epoch: Epoch): void;
}

export interface NodeOptions<R extends SimRole> {
  readonly name: string;
  readonly core: Core;
  readonly key: Uint8Array;
  readonly peers: readonly string[];
  readonly scheduler: Scheduler;
  readonly clock: HostClock;
  readonly network: Network;
  readonly random: SeededRandom;
  readonly cipher: Cipher;
  readonly log: Log;
  readonly make: (parts: SimParts) => R;
  /** A turn threw: a trap of the core, or a bug of ours. */
  readonly failed: (error: unknown) => void;
  readonly afterTurn: () => void;
}

export class SimNode<R extends SimRole> {
  readonly name: string;
  readonly id: NodeId;
  readonly core: Core;
  readonly link: SimLink;
  readonly transport: Transport;
  readonly engine: Engine;
  readonly role: R;
  /** Asks for a turn at the current time. */
  readonly wake: () => void;
  isUp = true;
  readonly #options: NodeOptions<R>;
  #inbox: { from: Endpoint; bytes: Uint8Array }[] = [];
  #inboxBytes = 0;
  readonly #turns: Turns;

  constructor(options: NodeOptions<R>) {
    this.#options = options;
    const { name, core, key, peers, scheduler, clock, network, random, cipher, log } = options;
    this.name = name;
    this.core = core;
    this.id = nodeId(cipher, name);
    this.transport = createTransport({
      id: this.id,
      name,
      keys: [key],
      clock,
      random,
      cipher,
      log,
      events: {
        message: (peer, epoch, bytes) => this.role.message(peer, epoch, bytes),
        passOn: (...beginning) => this.role.passOn?.(...beginning),
        peerEpoch: (peer, epoch) => this.role.peerEpoch(peer, epoch),
      },
    });
    for (const peer of peers) {
      const endpoint = { address: udpPlace(peer), port: UDP_PORT };
      this.transport.addPeer({ id: nodeId(cipher, peer), name: peer, endpoint });
    }
    this.link = new SimLink(network, name);
    this.engine = new Engine({
      core,
      clock,
      link: this.link,
      transport: this.transport,
      receiveDatagrams: (take) => this.#receiveDatagrams(take),
      sendDatagrams: (next) => this.#sendDatagrams(next),
    });
    this.#turns = new Turns(scheduler, clock, this.engine, options.failed, options.afterTurn);
    this.wake = this.#turns.wake;
    const { id, engine, transport, wake } = this;
    const parts = { id, core, clock, random, cipher, transport, engine, log, wake };
    this.role = options.make(parts);
    engine.setRole(this.role);
    this.link.onReadable(wake);
    network.attach(udpPlace(name), (bytes, from) => this.#arrive(bytes, from));
    wake();
  }

  get isPaused(): boolean {
    return this.#turns.isPaused;
  }

  /** Power off: nothing is said, everything it knew is gone. */
  crash(): void {
    if (!this.isUp) return;
    this.isUp = false;
    this.#turns.stop();
    this.link.close();
    this.#options.network.detach(udpPlace(this.name));
  }

  /** SIGSTOP: no turns, while time and packets go on. */
  pause(): void {
    this.#turns.isPaused = true;
  }

  resume(): void {
    if (!this.#turns.isPaused) return;
    this.#turns.isPaused = false;
    if (this.isUp) this.wake();
  }

  #arrive(bytes: Uint8Array, from: string): void {
    if (this.#inboxBytes + bytes.length > INBOX_BYTES_MAX) return;
    this.#inboxBytes += bytes.length;
    this.#inbox.push({ from: { address: from, port: UDP_PORT }, bytes });
    this.wake();
  }

  #sendDatagrams(next: () => OutgoingDatagram | undefined): void {
    const { network } = this.#options;
    for (let out = next(); out; out = next()) {
      network.send(udpPlace(this.name), out.to.address, slab.copy(out.bytes));
    }
  }

  #receiveDatagrams(take: (from: Endpoint, bytes: Uint8Array) => void): boolean {
    if (this.#inbox.length === 0) return false;
    const inbox = this.#inbox;
    this.#inbox = [];
    this.#inboxBytes = 0;
    for (const { from, bytes } of inbox) take(from, bytes);
    return false;
  }
}

/** Turns of one node in virtual time: at most one is scheduled for any moment. */
class Turns {
  isPaused = false;
  #isDue = false;
  #timerUs = Infinity;
  readonly #count = new TurnCount();
  #isStopped = false;

  constructor(
    private readonly scheduler: Scheduler,
    private readonly clock: HostClock,
    private readonly engine: Engine,
    private readonly fail: (error: unknown) => void,
    private readonly after: () => void,
  ) {}

  readonly wake = (): void => {
    if (this.#isDue || this.#isStopped || this.isPaused) return;
    this.#isDue = true;
    this.scheduler.after(0, () => this.#turn());
  };

  stop(): void {
    this.#isStopped = true;
  }

  #turn(): void {
    this.#isDue = false;
    if (this.#isStopped || this.isPaused) return;
    try {
      this.#count.note(this.scheduler.nowUs());
      if (this.engine.turn()) this.wake();
      this.after();
      this.#arm();
    } catch (error) {
      this.#isStopped = true;
      this.fail(error);
    }
  }

  #arm(): void {
    const next = this.clock.realUs(this.engine.nextTimeoutUs());
    if (next === Infinity || next >= this.#timerUs) return;
    this.#timerUs = next;
    this.scheduler.at(next, () => {
      if (this.#timerUs > next) return;
      this.#timerUs = Infinity;
      this.wake();
    });
  }
}
