/**
 * A cluster on the simulated network, with every packet, every blob and every call that makes one on
 * record: what the tests of the claims look at.
 */
import { readFileSync } from "node:fs";
import type { ConnectionInfo, CoreMapping } from "../../host/core/structures.ts";
import type { Tuple } from "../../host/core/tuple.ts";
import { createNodeCipher } from "../../host/link/cipher.ts";
import type { Acceptor } from "../../host/node/backend.ts";
import type { Connection, ConnectionAddress } from "../../host/node/connection.ts";
import { createRouter, parseRouting } from "../../host/routing/router.ts";
import { StrictClient } from "../../host/sim/client.ts";
import { Cluster, type ClusterOptions } from "../../host/sim/cluster.ts";
import { NO_FAULTS, type Faults } from "../../host/sim/network.ts";
import { parseTcp, type TcpPacket } from "../../host/sim/packet.ts";
import { SeededRandom } from "../../host/sim/random.ts";

const wasm = readFileSync(new URL("../../core.wasm", import.meta.url));
export const SERVICE = { 4: "10.0.0.100", 6: "fd00::100" } as const;
export const SERVICE_PORT = 80;
const MEETING_US = 2_000_000;
const LIMIT_US = 60_000_000;
/** Ends what a client has to say; the application answers then. */
export const END = "\r\n.";

/** A packet or a datagram as it was sent. */
export interface Seen {
  readonly from: string;
  readonly to: string;
  readonly bytes: Uint8Array;
  readonly atUs: number;
}

export interface Compiled {
  readonly node: string;
  readonly blob: Uint8Array;
  readonly mapping: CoreMapping;
  readonly info: ConnectionInfo;
  readonly atUs: number;
}

export interface Infused {
  readonly node: string;
  readonly blob: Uint8Array;
  readonly mapping: CoreMapping;
  readonly tuple: Tuple;
  readonly handle: number;
  readonly info: ConnectionInfo;
  readonly atUs: number;
}

/** What an application was told of a connection. */
export interface Served {
  readonly backend: string;
  readonly remote: ConnectionAddress;
  readonly local: ConnectionAddress;
  /** Bytes that were there when it was handed over. */
  readonly atFirst: number;
  readonly connection: Connection;
  readonly atUs: number;
  text: string;
  answers: number;
}

export class Visitor {
  received = "";
  connected = false;
  finished = "";
  readonly violations: string[] = [];

  constructor(
    readonly address: string,
    readonly port: number,
    readonly tcp: StrictClient,
  ) {}

  say(text: string): void {
    this.tcp.write(new TextEncoder().encode(text));
  }
}

export class Scene {
  readonly cluster: Cluster;
  readonly seen: Seen[] = [];
  /** "lb migrate", "lb freeze", "lb compile", "b1 infuse", "b1 accept": in order. */
  readonly steps: string[] = [];
  readonly compiled: Compiled[] = [];
  readonly infused: Infused[] = [];
  readonly served: Served[] = [];
  /** Handles of connections that the forwarder's stack accepted. */
  readonly accepted: number[] = [];
  readonly #random: SeededRandom;
  #clients = 0;
  /** Clocks of the clients: one that uses its port again must not fall behind (RFC 7323 5.3). */
  readonly #tsOffsets = new Map<number, number>();

  constructor(
    backends: readonly string[] = ["b1"],
    seed = 1,
    private readonly options: Partial<ClusterOptions> & { readonly accepts?: () => boolean } = {},
  ) {
    this.#random = new SeededRandom(seed);
    const routes = backends.map((name) => `host=${name}.example -> ${name}`);
    this.cluster = new Cluster({
      wasm,
      cipher: createNodeCipher(),
      random: this.#random.fork(),
      log: { write: () => undefined },
      services: [4, 6].map((family) => ({
        address: SERVICE[family as 4 | 6],
        port: SERVICE_PORT,
      })),
      router: createRouter(parseRouting({ backends, pools: [], routes })),
      backends,
      acceptor: (name) => this.#application(name),
      ...options,
    });
    this.cluster.network.watch = (from, to, bytes, atUs) =>
      this.seen.push({ from, to, bytes: bytes.slice(), atUs });
    this.#spy();
    this.pass(MEETING_US);
  }

  get nowUs(): number {
    return this.cluster.scheduler.nowUs();
  }

  get lb() {
    return this.cluster.forwarder;
  }

  backend(name = "b1") {
    const node = this.cluster.backends.find((each) => each.name === name);
    if (!node) throw new Error(`no backend ${name}`);
    return node;
  }

  /** Does everything that happens in the next `us`. */
  pass(us: number): void {
    const untilUs = this.nowUs + us;
    while (this.cluster.scheduler.step(untilUs));
    this.#check();
  }

  /** Goes on until `condition` holds. */
  until(what: string, condition: () => boolean): void {
    const limitUs = this.nowUs + LIMIT_US;
    while (!condition()) {
      this.#check();
      if (this.nowUs > limitUs || !this.cluster.scheduler.step()) {
        throw new Error(`expected ${what}; steps: ${this.steps.join(", ")}`);
      }
    }
  }

  /** A client that has connected; one with the index of an earlier one has its address and port. */
  connect(family: 4 | 6 = 4, index = ++this.#clients): Visitor {
    const address = family === 4 ? `10.1.${index >> 8}.${index & 255}` : `fd01::${index}`;
    const place = `client${index}`;
    const { scheduler, network } = this.cluster;
    const tcp: StrictClient = new StrictClient({
      scheduler,
      random: this.#random.fork(),
      address,
      port: 40_000 + index,
      service: SERVICE[family],
      servicePort: SERVICE_PORT,
      mss: family === 4 ? 1460 : 1440,
      rcvBuf: 65_535,
      iss: this.#random.u32(),
      tsOffset: this.#tsOffsetOf(index),
      send: (bytes) => network.sendTo(place, SERVICE[family], bytes),
      events: {
        connected: () => (visitor.connected = true),
        data: (bytes) => (visitor.received += new TextDecoder().decode(bytes)),
        ended: () => tcp.end(),
        finished: (how) => (visitor.finished = how),
        violation: (what) => visitor.violations.push(what),
      },
    });
    const visitor: Visitor = new Visitor(address, 40_000 + index, tcp);
    this.cluster.client(place, address, (bytes) => tcp.receive(bytes));
    tcp.open();
    this.until("a connection", () => visitor.connected);
    return visitor;
  }

  /** A client whose request the backend has answered. */
  visit(host: string, text = "", family: 4 | 6 = 4): Visitor {
    const visitor = this.connect(family);
    visitor.say(request(host) + text + END);
    this.until("an answer", () => visitor.received !== "");
    return visitor;
  }

  /** TCP packets that were sent from one place to another; datagrams are none. */
  packets(from: string, to: string): (TcpPacket & { readonly seen: Seen })[] {
    return this.seen
      .filter((seen) => seen.from === from && seen.to === to)
      .map((seen) => ({ ...parseTcp(seen.bytes), seen }));
  }

  setFaults(to: string, faults: Partial<Faults>): void {
    this.cluster.network.setFaults("*", to, { ...NO_FAULTS, ...faults });
  }

  #check(): void {
    for (const failure of this.cluster.failures) throw failure;
  }

  #tsOffsetOf(index: number): number {
    const offset = this.#tsOffsets.get(index) ?? this.#random.u32();
    this.#tsOffsets.set(index, offset);
    return offset;
  }

  #application(backend: string): Acceptor {
    return {
      isServing: true,
      accepts: () => this.options.accepts?.() ?? true,
      accept: (connection) => {
        const { remote, local, readableLength: atFirst } = connection;
        const told = { backend, remote, local, atFirst, connection, atUs: this.nowUs };
        const served: Served = { ...told, text: "", answers: 0 };
        this.steps.push(`${backend} accept`);
        this.served.push(served);
        connection.listen({
          readable: () => this.#answer(served),
          writable: () => undefined,
          ended: () => connection.close(),
          closed: () => connection.close(),
        });
      },
    };
  }

  #answer(served: Served): void {
    const { connection, backend } = served;
    const chunk = new Uint8Array(65_536);
    for (let count = connection.read(chunk); count > 0; count = connection.read(chunk)) {
      served.text += new TextDecoder().decode(chunk.subarray(0, count));
    }
    if (served.text.split(END).length - 1 === served.answers) return;
    served.answers++;
    connection.write(new TextEncoder().encode(`${backend} read ${served.text.length}`));
  }

  /** Notes each step of a migration as the nodes make it. */
  #spy(): void {
    const { migrator } = this.lb.role;
    const migrate = migrator.migrate.bind(migrator);
    migrator.migrate = (...args) => {
      this.steps.push("lb migrate");
      return migrate(...args);
    };
    const pollEvent = this.lb.core.pollEvent.bind(this.lb.core);
    this.lb.core.pollEvent = () => {
      const event = pollEvent();
      if (event?.kind === "accepted") this.accepted.push(event.handle);
      return event;
    };
    for (const { name, core } of [this.lb, ...this.cluster.backends]) {
      const freeze = core.freeze.bind(core);
      core.freeze = (handle) => {
        this.steps.push(`${name} freeze`);
        return freeze(handle);
      };
      const compile = core.compile.bind(core);
      core.compile = (handle, mapping, nowUs, application) => {
        const info = core.connectionInfo(handle);
        const blob = compile(handle, mapping, nowUs, application);
        if (typeof blob === "string") throw new Error(`compile: ${blob}`);
        this.steps.push(`${name} compile`);
        this.compiled.push({ node: name, blob: blob.slice(), mapping, info, atUs: nowUs });
        return blob;
      };
      const infuse = core.infuse.bind(core);
      core.infuse = (blob, mapping, tuple, peer, nowUs) => {
        const bytes = blob.slice();
        const handle = infuse(blob, mapping, tuple, peer, nowUs);
        if (typeof handle === "string") return handle;
        const info = core.connectionInfo(handle);
        this.steps.push(`${name} infuse`);
        this.infused.push({ node: name, blob: bytes, mapping, tuple, handle, info, atUs: nowUs });
        return handle;
      };
    }
  }
}

export function request(host: string): string {
  return `POST / HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
}

/** The identifier in the ports of an encapsulated packet: high half, low half. */
export function flowOf({ sourcePort, destinationPort }: TcpPacket): number {
  return sourcePort * 65_536 + destinationPort;
}
