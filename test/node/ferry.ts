/**
 * A simulated cluster whose backends give connections to each other: what the tests of moves between
 * backends look at. The servers check every byte they read, the clients every byte they get.
 */
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { createNodeCipher } from "../../host/link/cipher.ts";
import type { MoveOutcome, Readiness, Routing } from "../../host/node/connection.ts";
import type { LiveConnection } from "../../host/node/live.ts";
import { createRouter, parseRouting } from "../../host/routing/router.ts";
import { StrictClient } from "../../host/sim/client.ts";
import { formatAddress } from "../../host/core/address.ts";
import type { Tuple } from "../../host/core/tuple.ts";
import type { Acceptor } from "../../host/node/backend.ts";
import { Cluster, FORWARDER } from "../../host/sim/cluster.ts";
import { Oracle, type Emitter } from "../../host/sim/oracle.ts";
import { SeededRandom } from "../../host/sim/random.ts";
import { SimServer, downStream, pattern, upStream } from "../../host/sim/workload.ts";

const wasm = readFileSync(new URL("../../core.wasm", import.meta.url));
const SERVICE = "10.0.0.100";
const LIMIT_US = 120_000_000;
const MEETING_US = 2_000_000;

export interface FerryOptions {
  readonly backends?: readonly string[];
  readonly routes?: readonly string[];
  readonly pools?: readonly string[];
  readonly seed?: number;
  readonly classifiers?: readonly string[];
  readonly routing?: Routing;
  /** What serves at a backend; the simulator's own server without it. */
  readonly acceptor?: (backend: string) => Acceptor;
  readonly headLimitUs?: number;
}

/** One client connection and what it got so far. */
export interface Rider {
  readonly tcp: StrictClient;
  readonly port: number;
  connected: boolean;
  received: number;
  /** What it received, of one that was connected to hear text. */
  text: string;
  wrong: number;
  finished: string;
  ended: boolean;
}

export class Ferry {
  readonly cluster: Cluster;
  readonly servers = new Map<string, SimServer>();
  /** Every arrival in order, by backend. */
  readonly arrivals: { backend: string; live: LiveConnection }[] = [];
  /** Classifiers that a connection came back to, in order. */
  readonly returns: string[] = [];
  readonly violations: string[] = [];
  readonly #oracle = new Oracle([SERVICE]);
  readonly #random: SeededRandom;
  #riders = 0;

  constructor(options: FerryOptions = {}) {
    const { backends = ["b1", "b2"], pools = [], seed = 1, classifiers = [] } = options;
    const { routing, headLimitUs, acceptor } = options;
    const routes = options.routes ?? [`default -> ${backends.join()}`];
    this.#random = new SeededRandom(seed);
    this.cluster = new Cluster({
      wasm,
      cipher: createNodeCipher(),
      random: this.#random.fork(),
      log: { write: () => undefined },
      services: [{ address: SERVICE, port: 80 }],
      router: createRouter(parseRouting({ backends, pools, routes })),
      backends,
      classifiers,
      ...(headLimitUs === undefined ? {} : { headLimitUs }),
      ...(routing === undefined ? {} : { routingOf: () => routing }),
      forwarderEvents: { cameBack: (tuple) => this.#cameBack(FORWARDER, tuple) },
      classifierEvents: (name) => ({ cameBack: (tuple) => this.#cameBack(name, tuple) }),
      acceptor: (name) => {
        if (acceptor) return acceptor(name);
        const server = new SimServer(name);
        this.servers.set(name, server);
        return server;
      },
      backendEvents: (backend) => ({
        arrived: (live) => {
          this.arrivals.push({ backend, live });
          const { address, port } = live.remote;
          this.#oracle.arrived(address, port, { name: backend, life: this.cluster.life(backend) });
        },
      }),
    });
    this.cluster.network.watch = (from, to, bytes, atUs) => {
      if (to.startsWith("udp:")) return;
      const isNode = from === FORWARDER || backends.includes(from) || classifiers.includes(from);
      this.#oracle.watch(isNode ? this.#emitter(from) : undefined, bytes, atUs);
    };
    this.pass(MEETING_US);
  }

  get nowUs(): number {
    return this.cluster.scheduler.nowUs();
  }

  pass(us: number): void {
    const untilUs = this.nowUs + us;
    while (this.cluster.scheduler.step(untilUs));
    this.check();
  }

  until(what: string, condition: () => boolean): void {
    const limitUs = this.nowUs + LIMIT_US;
    while (!condition()) {
      this.check();
      if (this.nowUs > limitUs || !this.cluster.scheduler.step()) {
        throw new Error(`expected ${what}; arrivals: ${this.arrivals.map((a) => a.backend)}`);
      }
    }
  }

  /** No trap, no invariant broken, no wrong byte at any server or client. */
  check(): void {
    for (const failure of this.cluster.failures) throw failure;
    const faults = [...this.servers.values()].flatMap((server) => server.faults);
    const seen = this.#oracle.violations.map(({ invariant, what }) => `${invariant}: ${what}`);
    assert.equal([...this.violations, ...faults, ...seen], []);
  }

  /** A client that has connected; `down` names the stream whose bytes it expects, one after another. */
  connect(down: readonly { stream: number; bytes: number }[] | "text" = []): Rider {
    const index = ++this.#riders;
    const address = `10.1.0.${index}`;
    const place = `client${index}`;
    const { scheduler, network } = this.cluster;
    const rider: Rider = {
      port: 40_000 + index,
      connected: false,
      received: 0,
      text: "",
      wrong: 0,
      finished: "",
      ended: false,
      tcp: new StrictClient({
        scheduler,
        random: this.#random.fork(),
        address,
        port: 40_000 + index,
        service: SERVICE,
        servicePort: 80,
        mss: 1460,
        rcvBuf: 65_535,
        iss: this.#random.u32(),
        tsOffset: this.#random.u32(),
        send: (bytes) => network.sendTo(place, SERVICE, bytes),
        events: {
          connected: () => (rider.connected = true),
          data: (bytes) => {
            if (down === "text") rider.text += Buffer.from(bytes).toString("latin1");
            else this.#take(rider, down, bytes);
          },
          ended: () => (rider.ended = true),
          finished: (how) => (rider.finished = how),
          violation: (what) => this.violations.push(what),
        },
      }),
    };
    this.cluster.client(place, address, (bytes) => rider.tcp.receive(bytes));
    rider.tcp.open();
    this.until("a connection", () => rider.connected);
    return rider;
  }

  /** A RST to this client is in order from now on. */
  allowReset(rider: Rider, cause: string): void {
    this.#oracle.allowReset(`10.1.0.${rider.port - 40_000}`, rider.port, cause);
  }

  /** Sends one exchange of the simulator's protocol: `up` bytes there, `down` bytes back. */
  ask(rider: Rider, stream: number, up: number, down: number, sent = up): void {
    const head = `POST /${stream}/${up}/${down}/0 HTTP/1.1\r\nHost: a.example\r\n\r\n`;
    rider.tcp.write(new TextEncoder().encode(head));
    this.upload(rider, stream, 0, sent);
  }

  upload(rider: Rider, stream: number, from: number, count: number): void {
    rider.tcp.write(pattern(upStream(stream), from, count));
  }

  /** Where it is now. */
  last(): { backend: string; live: LiveConnection } {
    const last = this.arrivals.at(-1);
    if (!last) throw new Error("expected an arrival, got none");
    return last;
  }

  /** Moves the latest arrival away and waits for the outcome. */
  move(target?: string, ready?: () => Readiness): MoveOutcome {
    const { live } = this.last();
    let outcome: MoveOutcome | undefined;
    live.migrate({
      target,
      ready: ready ?? (() => live.readiness()),
      done: (it) => {
        outcome = it;
        // Whoever asked the application whether it is ready tells it that it goes on here.
        if (it.kind === "kept") live.kept();
      },
    });
    this.until("an outcome", () => outcome !== undefined);
    return outcome as MoveOutcome;
  }

  #emitter(name: string): Emitter {
    const opens = this.cluster.isClassifier(name);
    return { name, life: this.cluster.life(name), isForwarder: name === FORWARDER, opens };
  }

  #cameBack(name: string, { remote, remotePort }: Tuple): void {
    this.returns.push(name);
    this.#oracle.arrived(formatAddress(remote), remotePort, this.#emitter(name));
  }

  #take(rider: Rider, down: readonly { stream: number; bytes: number }[], bytes: Uint8Array): void {
    for (const byte of bytes) {
      let at = rider.received++;
      const part = down.find((each) => (at < each.bytes ? true : ((at -= each.bytes), false)));
      if (!part || pattern(downStream(part.stream), at, 1)[0] !== byte) rider.wrong++;
    }
    if (rider.wrong > 0) this.violations.push(`client ${rider.port}: ${rider.wrong} wrong bytes`);
  }
}
