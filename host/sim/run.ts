/**
 * One simulated run from one seed: a cluster, clients with plans, faults on every path; afterwards a
 * verdict. Knows how a scenario is drawn and what must hold at its end; the invariants during it are the
 * oracle's.
 */
import type { Cipher, Log } from "../node/environment.ts";
import { parseRouting, createRouter } from "../routing/router.ts";
import { StrictClient } from "./client.ts";
import { Cluster } from "./cluster.ts";
import { NO_FAULTS, type Faults } from "./network.ts";
import { Oracle } from "./oracle.ts";
import { SeededRandom } from "./random.ts";
import {
  SimServer,
  downStream,
  pattern,
  patternByte,
  requestHead,
  upStream,
  type Plan,
} from "./workload.ts";

export interface RunOptions {
  readonly wasm: Uint8Array;
  readonly cipher: Cipher;
  readonly log: Log;
  readonly seed: number;
  readonly clients?: number;
  readonly backends?: number;
  /** Highest percentage of each fault; 0: a perfect network. */
  readonly faultPercentMax?: number;
  /** Largest body of a request or an answer. */
  readonly bodyMax?: number;
  /** Virtual time after which a run that is not over has hung. */
  readonly limitUs?: number;
}

export interface RunResult {
  readonly seed: number;
  /** Empty: everything held. */
  readonly problems: readonly string[];
  readonly packets: number;
  readonly virtualUs: number;
  readonly handoffs: number;
  /** FNV-1a over every packet, its path and its time: the same seed gives the same one. */
  readonly digest: number;
}

const SERVICES = [
  { address: "10.0.0.100", port: 80 },
  { address: "fd00::100", port: 80 },
] as const;
const LIMIT_US = 600_000_000;
/** TIME-WAIT and records end after 60 s: then every table must be empty. */
const SETTLE_US = 130_000_000;
const PROBLEMS_MAX = 20;

export function run(options: RunOptions): RunResult {
  return new Run(options).result();
}

class Run {
  readonly #problems: string[] = [];
  readonly #random: SeededRandom;
  readonly #oracle = new Oracle(SERVICES.map(({ address }) => address));
  readonly #cluster: Cluster;
  readonly #servers = new Map<string, SimServer>();
  readonly #limitUs: number;
  #handoffs = 0;
  #open = 0;
  #digest = 0x811c9dc5;

  constructor(private readonly options: RunOptions) {
    this.#random = new SeededRandom(options.seed);
    this.#limitUs = options.limitUs ?? LIMIT_US;
    const backends = Array.from({ length: options.backends ?? 2 }, (_, index) => `b${index + 1}`);
    const routes = backends.map((name) => `host=${name}.example -> ${name}`);
    const rules = parseRouting({ backends, pools: [], routes });
    this.#cluster = new Cluster({
      wasm: options.wasm,
      cipher: options.cipher,
      random: this.#random.fork(),
      log: options.log,
      services: SERVICES,
      router: createRouter(rules),
      backends,
      acceptor: (name) => {
        const server = new SimServer(name);
        this.#servers.set(name, server);
        return server;
      },
      forwarderEvents: {
        handedOff: () => this.#handoffs++,
        rejected: (_tuple, reason) => this.#problem(`rejected: ${reason}`),
      },
    });
    this.#watch();
    this.#drawFaults(backends);
    const clients = options.clients ?? 1 + this.#random.below(20);
    for (let index = 0; index < clients; index++) this.#addClient(index, backends);
  }

  result(): RunResult {
    const { scheduler } = this.#cluster;
    const isOver = (): boolean => this.#problems.length > 0 || this.#cluster.failures.length > 0;
    while (this.#open > 0 && !isOver() && scheduler.nowUs() < this.#limitUs) {
      if (!scheduler.step()) break;
      this.#collect();
    }
    if (!isOver()) {
      if (this.#open > 0) this.#problem(`${this.#open} clients hang`);
      else this.#settle();
    }
    for (const failure of this.#cluster.failures) this.#problem(String(failure));
    for (const { faults } of this.#servers.values()) faults.forEach((what) => this.#problem(what));
    return {
      seed: this.options.seed,
      problems: this.#problems.slice(0, PROBLEMS_MAX),
      packets: this.#oracle.packets,
      virtualUs: scheduler.nowUs(),
      handoffs: this.#handoffs,
      digest: this.#digest >>> 0,
    };
  }

  #problem(what: string): void {
    const ms = (this.#cluster.scheduler.nowUs() / 1000).toFixed(3);
    this.#problems.push(`${ms} ms: ${what}`);
  }

  #watch(): void {
    this.#cluster.network.watch = (from, to, bytes, atUs) => {
      if (!to.startsWith("udp:")) this.#oracle.watch(from, bytes, atUs);
      this.#mix(atUs);
      for (const character of from + to) this.#mix(character.charCodeAt(0));
      for (const byte of bytes) this.#mix(byte);
    };
  }

  #mix(value: number): void {
    this.#digest = Math.imul(this.#digest ^ value, 0x01000193);
  }

  #collect(): void {
    for (const { invariant, what } of this.#oracle.violations)
      this.#problem(`${invariant}: ${what}`);
  }

  #drawFaults(backends: readonly string[]): void {
    const max = this.options.faultPercentMax ?? this.#random.pick([0, 1, 3, 10]);
    const draw = (): Faults => ({
      delayUs: this.#random.pick([50, 200, 1000, 10_000]),
      jitterUs: this.#random.pick([0, 0, 100, 2000]),
      lossPercent: this.#random.fraction() * max,
      duplicatePercent: this.#random.fraction() * max,
      reorderPercent: this.#random.fraction() * max,
      reorderUs: this.#random.pick([100, 1000, 5000]),
      corruptPercent: (this.#random.fraction() * max) / 3,
    });
    const { network } = this.#cluster;
    network.setFaults("*", "*", max === 0 ? NO_FAULTS : draw());
    for (const name of ["lb", ...backends]) {
      if (max > 0) network.setFaults("*", name, draw());
      if (max > 0) network.setFaults("*", `udp:${name}`, draw());
    }
  }

  #addClient(index: number, backends: readonly string[]): void {
    const random = this.#random.fork();
    const service = random.pick(SERVICES);
    const address = service.address.includes(":") ? `fd01::${index + 1}` : `10.1.0.${index + 1}`;
    const plan = this.#drawPlan(random, index, backends);
    const { scheduler, network } = this.#cluster;
    const place = `client${index}`;
    this.#open++;
    const talk = new Talk(plan, (what) => this.#problem(`${place}: ${what}`));
    const client = new StrictClient({
      scheduler,
      random,
      address,
      port: 10_000 + random.below(50_000),
      service: service.address,
      servicePort: service.port,
      mss: service.address.includes(":") ? 1440 : 1460,
      rcvBuf: random.pick([8192, 65_535, 262_144]),
      iss: random.pick([random.u32(), 0xffffff00, 0xfffff000]),
      send: (bytes) => network.sendTo(place, service.address, bytes),
      events: {
        connected: () => talk.begin(client),
        data: (bytes) => talk.data(client, bytes),
        ended: () => talk.ended(client),
        finished: (how) => {
          this.#open--;
          if (how !== "closed") this.#problem(`${place}: ended by ${how}`);
          else talk.finished();
        },
        violation: (what) => this.#problem(`I2: ${what}`),
      },
    });
    this.#cluster.client(place, address, (bytes) => client.receive(bytes));
    // After the nodes have met: a backend that nobody knows yet is no use.
    scheduler.at(2_000_000 + random.below(1_000_000), () => client.open());
  }

  #drawPlan(random: SeededRandom, index: number, backends: readonly string[]): Plan {
    const max = this.options.bodyMax ?? random.pick([100, 5000, 300_000]);
    const exchanges = Array.from({ length: 1 + random.below(3) }, (_, turn) => ({
      stream: index * 8 + turn,
      up: random.below(max),
      down: random.below(max),
    }));
    return {
      host: `${random.pick(backends)}.example`,
      exchanges,
      closer: random.pick(["client", "server"] as const),
    };
  }

  /** Lets TIME-WAIT, records and timers run out, then looks whether anything leaked. */
  #settle(): void {
    const { scheduler, forwarder, backends } = this.#cluster;
    const untilUs = scheduler.nowUs() + SETTLE_US;
    while (scheduler.step(untilUs) && this.#cluster.failures.length === 0) this.#collect();
    let mappings = 0;
    forwarder.core.mapEach(() => mappings++);
    if (mappings > 0) this.#problem(`${mappings} mappings are left`);
    if (forwarder.role.judge.openCount > 0) this.#problem("the judge has open entries");
    if (forwarder.role.classifier.size > 0) this.#problem("the classifier has connections");
    for (const { name, role } of backends) {
      if (role.connections > 0) this.#problem(`${name}: ${role.connections} connections are left`);
    }
  }
}

/** One client's side of the application protocol. */
class Talk {
  #turn = 0;
  #received = 0;

  constructor(
    private readonly plan: Plan,
    private readonly fault: (what: string) => void,
  ) {}

  begin(client: StrictClient): void {
    const exchange = this.plan.exchanges[this.#turn];
    if (!exchange) return;
    this.#received = 0;
    client.write(requestHead(this.plan, this.#turn));
    client.write(pattern(upStream(exchange.stream), 0, exchange.up));
    if (exchange.down === 0) this.#next(client);
  }

  data(client: StrictClient, bytes: Uint8Array): void {
    for (const byte of bytes) {
      const exchange = this.plan.exchanges[this.#turn];
      if (!exchange) return this.fault("bytes after the last answer");
      if (byte !== patternByte(downStream(exchange.stream), this.#received)) {
        return this.fault(`stream ${exchange.stream}: wrong byte at ${this.#received}`);
      }
      this.#received++;
      if (this.#received === exchange.down) this.#next(client);
    }
  }

  ended(client: StrictClient): void {
    client.end();
  }

  finished(): void {
    if (this.#turn < this.plan.exchanges.length) this.fault(`closed in exchange ${this.#turn}`);
  }

  #next(client: StrictClient): void {
    this.#turn++;
    if (this.#turn < this.plan.exchanges.length) this.begin(client);
    else if (this.plan.closer === "client") client.end();
  }
}
