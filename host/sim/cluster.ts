/**
 * A whole cluster in one process: the real code of every node, over a simulated network and virtual time.
 * Knows how nodes are put together; must not know scenarios nor judge what it sees.
 */
import { formatAddress, parseAddress } from "../core/address.ts";
import { Core } from "../core/core.ts";
import { SMALL_PARAMETERS, type CoreParameters } from "../core/parameters.ts";
import { Backend, type Acceptor, type BackendEvents } from "../node/backend.ts";
import { Engine, type Role } from "../node/engine.ts";
import type { Cipher, Endpoint, Log } from "../node/environment.ts";
import { Forwarder, type ForwarderEvents } from "../node/forwarder.ts";
import type { Router } from "../routing/route.ts";
import { createTransport, nodeId } from "../transport/create.ts";
import type { NodeId, OutgoingDatagram, Transport } from "../transport/transport.ts";
import { SimLink } from "./link.ts";
import { Network } from "./network.ts";
import type { SeededRandom } from "./random.ts";
import { Scheduler } from "./scheduler.ts";

/** Address of the transport's socket of each node: "udp:NAME". */
const udpPlace = (name: string): string => `udp:${name}`;
const UDP_PORT = 4433;

export interface ServiceSpec {
  readonly address: string;
  readonly port: number;
}

export interface ClusterOptions {
  readonly wasm: Uint8Array;
  readonly cipher: Cipher;
  readonly random: SeededRandom;
  readonly log: Log;
  readonly services: readonly ServiceSpec[];
  readonly router: Router;
  /** Names of the backends. */
  readonly backends: readonly string[];
  readonly acceptor: (backend: string) => Acceptor;
  readonly forwarderEvents?: ForwarderEvents;
  readonly backendEvents?: (backend: string) => Partial<BackendEvents>;
  readonly parameters?: Partial<CoreParameters>;
  readonly headLimitUs?: number;
}

export interface SimNode<R extends Role> {
  readonly name: string;
  readonly id: NodeId;
  readonly core: Core;
  readonly link: SimLink;
  readonly transport: Transport;
  readonly engine: Engine;
  readonly role: R;
  /** Asks for a turn at the current time. */
  readonly wake: () => void;
}

export class Cluster {
  readonly scheduler = new Scheduler();
  readonly network: Network;
  readonly forwarder: SimNode<Forwarder>;
  readonly backends: SimNode<Backend>[];
  /** Called after each turn of any node. */
  afterTurn: (node: string) => void = () => undefined;
  readonly #options: ClusterOptions;
  readonly #key: Uint8Array;
  readonly #failures: unknown[] = [];

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#key = options.random.bytes(32);
    this.network = new Network(this.scheduler, options.random.fork());
    const names = ["lb", ...options.backends];
    this.forwarder = this.#forwarder(names);
    this.backends = options.backends.map((name) => this.#backend(name, names));
    for (const { address } of options.services) this.network.route(address, "lb");
    for (const name of names) {
      for (const tunnel of tunnelsOf(name, names)) this.network.route(tunnel, name);
    }
  }

  /** What a turn threw: a trap of the core, or a bug of ours. */
  get failures(): readonly unknown[] {
    return this.#failures;
  }

  /** A client's address: packets to it go to `receive`. */
  client(place: string, address: string, receive: (bytes: Uint8Array) => void): void {
    this.network.attach(place, receive);
    this.network.route(address, place);
  }

  #forwarder(names: readonly string[]): SimNode<Forwarder> {
    const { services, router, forwarderEvents, headLimitUs, cipher } = this.#options;
    return this.#node("lb", names, (parts) => {
      for (const { address, port } of services)
        parts.core.addService(bytesOf(address), port, 0, true);
      return new Forwarder({
        ...parts,
        inject: () => parts.engine.inject(),
        router,
        backends: this.#options.backends.map((name) => ({ name, id: nodeId(cipher, name) })),
        headLimitUs,
        mtu: SMALL_PARAMETERS.mtu,
        ...(forwarderEvents ? { events: forwarderEvents } : {}),
      });
    });
  }

  #backend(name: string, names: readonly string[]): SimNode<Backend> {
    const { acceptor, backendEvents, cipher } = this.#options;
    return this.#node(name, names, (parts) => {
      return new Backend({
        ...parts,
        inject: () => parts.engine.inject(),
        acceptor: acceptor(name),
        forwarders: [nodeId(cipher, "lb")],
        connectionsMax: SMALL_PARAMETERS.connectionsMax,
        mtu: SMALL_PARAMETERS.mtu,
        events: { restart: () => undefined, ...backendEvents?.(name) },
      });
    });
  }

  #node<R extends Forwarder | Backend>(
    name: string,
    names: readonly string[],
    make: (parts: SimParts) => R,
  ): SimNode<R> {
    const { wasm, cipher, log, random, parameters } = this.#options;
    const { scheduler, network } = this;
    const id = nodeId(cipher, name);
    const own = random.fork();
    const sizes = { ...SMALL_PARAMETERS, ...parameters };
    const secrets = { hashSecret: own.bytes(16), isnSecret: this.#key.slice(0, 16) };
    const core = new Core(
      wasm,
      { ...sizes, ...secrets, wallMs: scheduler.wallMs() },
      scheduler.nowUs(),
    );
    const peers = name === "lb" ? this.#options.backends : ["lb"];
    for (const address of tunnelsOf(name, names)) core.setTunnel(bytesOf(address));
    for (const [index, peer] of peers.entries()) {
      for (const address of tunnelsOf(peer, names)) core.setPeer(index + 1, bytesOf(address));
    }
    const transport = createTransport({
      id,
      name,
      keys: [this.#key],
      clock: scheduler,
      random: own,
      cipher,
      log,
      events: {
        message: (peer, epoch, bytes) => role.message(peer, epoch, bytes),
        peerEpoch: (peer, epoch) => role.peerEpoch(peer, epoch),
      },
    });
    for (const peer of peers) {
      const endpoint = { address: udpPlace(peer), port: UDP_PORT };
      transport.addPeer({ id: nodeId(cipher, peer), name: peer, endpoint });
    }
    const link = new SimLink(network, name);
    const inbox: { from: Endpoint; bytes: Uint8Array }[] = [];
    const engine = new Engine({
      core,
      clock: scheduler,
      link,
      transport,
      receiveDatagrams: (take) => {
        for (const { from, bytes } of inbox.splice(0)) take(from, bytes);
      },
      sendDatagram: ({ to, bytes }: OutgoingDatagram) =>
        network.send(udpPlace(name), to.address, bytes.slice()),
    });
    const turns = new Turns(
      scheduler,
      engine,
      (error) => this.#failures.push(error),
      () => this.afterTurn(name),
    );
    const role = make({
      id,
      core,
      clock: scheduler,
      random: own,
      cipher,
      transport,
      engine,
      log,
      wake: turns.wake,
    });
    engine.setRole(role);
    link.onReadable(turns.wake);
    network.attach(udpPlace(name), (bytes, from) => {
      inbox.push({ from: { address: from, port: UDP_PORT }, bytes });
      turns.wake();
    });
    turns.wake();
    return { name, id, core, link, transport, engine, role, wake: turns.wake };
  }
}

interface SimParts {
  readonly id: NodeId;
  readonly core: Core;
  readonly clock: Scheduler;
  readonly random: SeededRandom;
  readonly cipher: Cipher;
  readonly transport: Transport;
  readonly engine: Engine;
  readonly log: Log;
  readonly wake: () => void;
}

/** Turns of one node in virtual time: at most one is scheduled for any moment. */
class Turns {
  #isDue = false;
  #timerUs = Infinity;
  #isBroken = false;

  constructor(
    private readonly scheduler: Scheduler,
    private readonly engine: Engine,
    private readonly fail: (error: unknown) => void,
    private readonly after: () => void,
  ) {}

  readonly wake = (): void => {
    if (this.#isDue || this.#isBroken) return;
    this.#isDue = true;
    this.scheduler.after(0, () => this.#turn());
  };

  #turn(): void {
    this.#isDue = false;
    if (this.#isBroken) return;
    try {
      if (this.engine.turn()) this.wake();
      this.after();
      this.#arm();
    } catch (error) {
      this.#isBroken = true;
      this.fail(error);
    }
  }

  #arm(): void {
    const next = Math.max(this.engine.nextTimeoutUs(), this.scheduler.nowUs());
    if (next === Infinity || next >= this.#timerUs) return;
    this.#timerUs = next;
    this.scheduler.at(next, () => {
      if (this.#timerUs > next) return;
      this.#timerUs = Infinity;
      this.wake();
    });
  }
}

/** Tunnel addresses of a node, by its place in the list. */
function tunnelsOf(name: string, names: readonly string[]): string[] {
  const number = names.indexOf(name) + 1;
  return [`10.9.0.${number}`, formatAddress(bytesOf(`fd09::${number}`))];
}

function bytesOf(address: string): Uint8Array {
  const bytes = parseAddress(address);
  if (!bytes) throw new Error(`not an address: ${address}`);
  return bytes;
}
