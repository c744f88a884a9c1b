/**
 * A whole cluster in one process: the real code of every node, over a simulated network and virtual time.
 * Knows how nodes are put together, die and come back; must not know scenarios nor judge what it sees.
 */
import { formatAddress, parseAddress } from "../core/address.ts";
import { Core } from "../core/core.ts";
import { SMALL_PARAMETERS, type CoreParameters } from "../core/parameters.ts";
import type { Tuple } from "../core/tuple.ts";
import type { Routing } from "../node/connection.ts";
import { Backend, type Acceptor, type BackendEvents } from "../node/backend.ts";
import { ClassifierNode, type ClassifierNodeEvents } from "../node/classifiernode.ts";
import type { Cipher, Log } from "../node/environment.ts";
import { Forwarder, type ForwarderEvents } from "../node/forwarder.ts";
import type { Patience } from "../node/patience.ts";
import type { Router } from "../routing/route.ts";
import { nodeId } from "../transport/create.ts";
import { HostClock } from "./clock.ts";
import { Network } from "./network.ts";
import { SimNode, type SimParts, type SimRole } from "./node.ts";
import type { SeededRandom } from "./random.ts";
import { Scheduler } from "./scheduler.ts";
import { clientOf, steer } from "./steer.ts";

/** The name of the forwarder, of the first where there are several. */
export const FORWARDER = "lb";

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
  /** How many forwarders share the clients among them; default 1. */
  readonly forwarders?: number;
  /** Names of the backends. */
  readonly backends: readonly string[];
  /** Names of classifiers on nodes of their own; none: the forwarder classifies. */
  readonly classifiers?: readonly string[];
  /** A new application for each life of a backend. */
  readonly acceptor: (backend: string) => Acceptor;
  readonly forwarderEvents?: ForwarderEvents;
  readonly classifierEvents?: (classifier: string) => Partial<ClassifierNodeEvents>;
  readonly backendEvents?: (backend: string) => Partial<BackendEvents>;
  readonly parameters?: Partial<CoreParameters>;
  readonly headLimitUs?: number;
  readonly routingOf?: (tuple: Tuple) => Routing;
  /** Keep-alive and user timeout of every node. */
  readonly patience?: Patience;
  /** Services agree to ECN. */
  readonly ecn?: boolean;
  /** Links of backends that are narrower than the others'. */
  readonly mtus?: Readonly<Record<string, number>>;
  /** How far from real time a node's clock may run, in millionths. */
  readonly clockPpmMax?: number;
}

export class Cluster {
  readonly scheduler = new Scheduler();
  readonly network: Network;
  /** Called after each turn of any node. */
  afterTurn: (node: string) => void = () => undefined;
  readonly #options: ClusterOptions;
  readonly #names: readonly string[];
  readonly #forwarderNames: readonly string[];
  readonly #key: Uint8Array;
  readonly #failures: unknown[] = [];
  readonly #lives = new Map<string, number>();
  readonly #clocks = new Map<string, HostClock>();
  readonly #backends = new Map<string, SimNode<Backend>>();
  readonly #classifiers = new Map<string, SimNode<ClassifierNode>>();
  readonly #forwarders = new Map<string, SimNode<Forwarder>>();

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#key = options.random.child("key").bytes(32);
    this.network = new Network(this.scheduler, options.random.child("network"));
    const { backends, classifiers = [], forwarders = 1 } = options;
    const more = Array.from({ length: forwarders - 1 }, (_, index) => `${FORWARDER}.${index + 1}`);
    this.#forwarderNames = [FORWARDER, ...more];
    this.#names = [FORWARDER, ...backends, ...classifiers, ...more];
    for (const name of this.#forwarderNames) this.#forwarders.set(name, this.#newForwarder(name));
    for (const name of backends) this.#backends.set(name, this.#newBackend(name));
    for (const name of classifiers) this.#classifiers.set(name, this.#newClassifier(name));
    const steered = (bytes: Uint8Array): string => {
      const { address, port } = clientOf(bytes);
      return this.forwarderOf(address, port);
    };
    const route = more.length === 0 ? FORWARDER : steered;
    for (const { address } of options.services) this.network.route(address, route);
    for (const name of this.#names) {
      for (const tunnel of this.#tunnelsOf(name)) this.network.route(tunnel, name);
    }
  }

  /** What a turn threw: a trap of the core, or a bug of ours. */
  get failures(): readonly unknown[] {
    return this.#failures;
  }

  /** The latest life of the forwarder, of the first where there are several. */
  get forwarder(): SimNode<Forwarder> {
    return this.forwarders[0] as SimNode<Forwarder>;
  }

  /** The latest life of each forwarder. */
  get forwarders(): SimNode<Forwarder>[] {
    return [...this.#forwarders.values()];
  }

  isForwarder(name: string): boolean {
    return this.#forwarders.has(name);
  }

  /** Whose the connections of a client's port are. */
  forwarderOf(address: string, port: number): string {
    const names = this.#forwarderNames;
    return names[steer(address, port, names.length)] ?? FORWARDER;
  }

  /** The latest life of each backend. */
  get backends(): SimNode<Backend>[] {
    return [...this.#backends.values()];
  }

  /** The latest life of each classifier on a node of its own. */
  get classifiers(): SimNode<ClassifierNode>[] {
    return [...this.#classifiers.values()];
  }

  backend(name: string): SimNode<Backend> {
    const node = this.#backends.get(name);
    if (!node) throw new Error(`no backend ${name}`);
    return node;
  }

  node(name: string): SimNode<Forwarder> | SimNode<Backend> | SimNode<ClassifierNode> {
    return this.#forwarders.get(name) ?? this.#classifiers.get(name) ?? this.backend(name);
  }

  /** Whether this node's stack accepts connections. */
  isClassifier(name: string): boolean {
    const { classifiers = [] } = this.#options;
    return classifiers.length === 0 ? this.isForwarder(name) : classifiers.includes(name);
  }

  /** How often a node has been started. */
  life(name: string): number {
    return this.#lives.get(name) ?? 0;
  }

  /** Begins a new life of a node that crashed: nothing is left but its name, addresses and keys. */
  restart(name: string): void {
    if (this.node(name).isUp) throw new Error(`${name} is up`);
    if (this.isForwarder(name)) this.#forwarders.set(name, this.#newForwarder(name));
    else if (this.#classifiers.has(name)) this.#classifiers.set(name, this.#newClassifier(name));
    else this.#backends.set(name, this.#newBackend(name));
  }

  /** A client's address: packets to it go to `receive`. */
  client(place: string, address: string, receive: (bytes: Uint8Array) => void): void {
    this.network.attach(place, receive);
    this.network.route(address, place);
  }

  #newForwarder(name: string): SimNode<Forwarder> {
    const { router, forwarderEvents, headLimitUs, cipher, classifiers = [] } = this.#options;
    return this.#node(name, (parts) => {
      const narrowed = this.#addServices(parts.core, classifiers.length === 0);
      return new Forwarder({
        ...parts,
        narrowed,
        inject: () => parts.engine.inject(),
        router,
        backends: this.#options.backends.map((name) => ({ name, id: nodeId(cipher, name) })),
        classifiers: classifiers.map((name) => nodeId(cipher, name)),
        headLimitUs,
        routingOf: this.#options.routingOf,
        connectionsMax: SMALL_PARAMETERS.connectionsMax,
        mtu: SMALL_PARAMETERS.mtu,
        patience: this.#options.patience,
        ...(forwarderEvents ? { events: forwarderEvents } : {}),
      });
    });
  }

  #newBackend(name: string): SimNode<Backend> {
    const { acceptor, backendEvents, cipher } = this.#options;
    return this.#node(name, (parts) => {
      return new Backend({
        ...parts,
        inject: () => parts.engine.inject(),
        acceptor: acceptor(name),
        forwarders: this.#forwarderNames.map((forwarder) => nodeId(cipher, forwarder)),
        connectionsMax: SMALL_PARAMETERS.connectionsMax,
        mtu: this.#mtuOf(name),
        patience: this.#options.patience,
        events: { restart: () => undefined, ...backendEvents?.(name) },
      });
    });
  }

  #newClassifier(name: string): SimNode<ClassifierNode> {
    const { router, forwarderEvents, classifierEvents, headLimitUs, cipher } = this.#options;
    return this.#node(name, (parts) => {
      const narrowed = this.#addServices(parts.core, true);
      return new ClassifierNode({
        ...parts,
        narrowed,
        inject: () => parts.engine.inject(),
        router,
        forwarders: this.#forwarderNames.map((forwarder) => nodeId(cipher, forwarder)),
        backends: this.#options.backends.map((backend) => {
          return { name: backend, id: nodeId(cipher, backend) };
        }),
        connectionsMax: SMALL_PARAMETERS.connectionsMax,
        headLimitUs,
        routingOf: this.#options.routingOf,
        patience: this.#options.patience,
        mtu: SMALL_PARAMETERS.mtu,
        events: { restart: () => undefined, ...forwarderEvents, ...classifierEvents?.(name) },
      });
    });
  }

  /** Returns how to announce what links of so many bytes take. */
  #addServices(core: Core, listen: boolean): (mtu: number) => void {
    const added = this.#options.services.map(({ address, port }) => {
      const headers = bytesOf(address).length === 4 ? 40 : 60;
      const index = core.addService(bytesOf(address), port, 0, listen, this.#options.ecn);
      return { index, headers };
    });
    return (mtu) => {
      for (const { index, headers } of added) core.setServiceMss(index, mtu - headers);
    };
  }

  #mtuOf(name: string): number {
    return this.#options.mtus?.[name] ?? SMALL_PARAMETERS.mtu;
  }

  #node<R extends SimRole>(name: string, make: (parts: SimParts) => R): SimNode<R> {
    const { wasm, cipher, log, parameters, backends, classifiers = [] } = this.#options;
    const { scheduler, network } = this;
    this.#lives.set(name, this.life(name) + 1);
    const random = this.#options.random.child(`${name}#${this.life(name)}`);
    const clock = this.#clockOf(name);
    const sizes = { ...SMALL_PARAMETERS, ...parameters };
    const secrets = { hashSecret: random.bytes(16), isnSecret: this.#key.slice(0, 16) };
    const wallMs = clock.wallMs();
    const core = new Core(wasm, { ...sizes, ...secrets, wallMs }, clock.nowUs());
    const isForwarder = this.#forwarderNames.includes(name);
    const peers = isForwarder ? [...backends, ...classifiers] : this.#forwarderNames;
    for (const address of this.#tunnelsOf(name)) core.setTunnel(bytesOf(address));
    for (const [index, peer] of peers.entries()) {
      for (const address of this.#tunnelsOf(peer)) core.setPeer(index + 1, bytesOf(address));
    }
    return new SimNode<R>({
      name,
      core,
      key: this.#key,
      peers,
      scheduler,
      clock,
      network,
      random,
      cipher,
      log,
      make,
      failed: (error) => this.#failures.push(error),
      afterTurn: () => this.afterTurn(name),
    });
  }

  /** A node's clock is its machine's: one for all its lives. */
  #clockOf(name: string): HostClock {
    let clock = this.#clocks.get(name);
    if (!clock) {
      const max = this.#options.clockPpmMax ?? 0;
      const random = this.#options.random.child(`clock of ${name}`);
      const ppm = max === 0 ? 0 : random.below(2 * max + 1) - max;
      clock = new HostClock(this.scheduler, ppm);
      this.#clocks.set(name, clock);
    }
    return clock;
  }

  /** Tunnel addresses of a node, by its place in the list. */
  #tunnelsOf(name: string): string[] {
    const number = this.#names.indexOf(name) + 1;
    return [`10.9.0.${number}`, formatAddress(bytesOf(`fd09::${number}`))];
  }
}

function bytesOf(address: string): Uint8Array {
  const bytes = parseAddress(address);
  if (!bytes) throw new Error(`not an address: ${address}`);
  return bytes;
}
