/**
 * One simulated run from one seed: a cluster, clients with plans, faults on every path, trouble at the nodes;
 * afterwards a verdict. Knows how a scenario is put together and what must hold at its end; the invariants
 * during it are the oracle's.
 */
import { formatAddress } from "../core/address.ts";
import type { Tuple } from "../core/tuple.ts";
import type { LiveConnection } from "../node/live.ts";
import type { FlowMapping } from "../node/migration.ts";
import { TIMERS } from "../node/timers.ts";
import { parseRouting, createRouter } from "../routing/router.ts";
import { Cluster } from "./cluster.ts";
import { Doubts } from "./doubt.ts";
import { Digest } from "./digest.ts";
import { drawPaths, drawPlan, narrow } from "./draw.ts";
import { settle } from "./leftovers.ts";
import { Oracle, type Emitter } from "./oracle.ts";
import { GIVE_UP_US, Losses } from "./losses.ts";
import { Moves } from "./moves.ts";
import { SeededRandom } from "./random.ts";
import { isDamaged, tooBig } from "./router.ts";
import type { RunOptions, RunResult } from "./result.ts";
import { STREAM, type Scenario } from "./scenario.ts";
import type { Scheduler } from "./scheduler.ts";
import { RUN_SIZES } from "./sizes.ts";
import { StackHost } from "./stack.ts";
import { Trouble } from "./trouble.ts";
import { Visitor } from "./visitor.ts";
import { SimServer, type Leave, type ServerWorld } from "./workload.ts";

export type { RunOptions, RunResult } from "./result.ts";

const SERVICES = [
  { address: "10.0.0.100", port: 80 },
  { address: "fd00::100", port: 80 },
] as const;
const LIMIT_US = 900_000_000;
/** TIME-WAIT and records end after 60 s, tombstones before them: then every table must be empty. */
const SETTLE_ROUNDS = 5;
/** More than any client opens: it keeps their plans apart. */
const CONNECTIONS_MAX = 64;
const PROBLEMS_MAX = 20;
/** What a classifier calls a rejection, and answers nothing to. */
const ENDED = [
  "the client left before its request was complete",
  "the connection ended while it moved",
];
const EVENTS_MAX = 40;

export function run(options: RunOptions): RunResult {
  return new Run(options).result();
}

class Run {
  readonly #problems: string[] = [];
  #events: string[] = [];
  readonly #scenario: Scenario;
  readonly #root: SeededRandom;
  readonly #oracle = new Oracle(
    SERVICES.map(({ address }) => address),
    () => this.#trouble.unreported.map((name) => `${name}#${this.#cluster.life(name)}`),
    () => this.#clockSlackMs(),
    (address, port) =>
      this.#doubts.isUnknown(address, port) ||
      this.#trouble.isForgotten(this.#moves.whereIs(address, port)),
    (address, port) => this.#visitorOf(address, port)?.meetTwo(GIVE_UP_US),
  );
  readonly #digest = new Digest();
  /** By the name of each node: its life of now. */
  readonly #emitters = new Map<string, Emitter>();
  readonly #cluster: Cluster;
  readonly #trouble: Trouble;
  readonly #losses: Losses;
  readonly #doubts: Doubts;
  readonly #servers: SimServer[] = [];
  readonly #latest = new Map<string, SimServer>();
  readonly #visitors: Visitor[] = [];
  readonly #moves: Moves;
  /** When each flow identifier of a forwarder was infused last. */
  readonly #arrivals = new Map<string, number>();
  #handoffs = 0;
  #moved = 0;
  #open = 0;
  #ownStack: StackHost | undefined;

  constructor(private readonly options: RunOptions) {
    const { scenario } = options;
    this.#scenario = scenario;
    this.#root = new SeededRandom(scenario.seed);
    const backends = Array.from({ length: scenario.backends }, (_, index) => `b${index + 1}`);
    const readers = Array.from({ length: scenario.classifiers }, (_, index) => `c${index + 1}`);
    this.#cluster = this.#newCluster(backends, readers);
    const random = this.#root.child(STREAM.moves);
    const { scheduler } = this.#cluster;
    this.#moves = new Moves(scheduler, random, scenario.movePercent, backends, {
      moved: () => this.#moved++,
      lost: (address, port, source) => {
        // Also of one told to forget it as it was to leave. Who stood still never hears how it ended (R14).
        const isDue = this.#doubts.isUnknown(address, port) || this.#oracle.hasCause(address, port);
        const isPast = source !== undefined && this.#trouble.maySeemDead(source);
        if (isDue) this.#oracle.allowReset(address, port, "its move was lost");
        else if (!isPast) this.#problem(`I3: the move of ${address} ${port} was lost for nothing`);
      },
    });
    const places = scenario.clients.map(placeOf);
    this.#trouble = new Trouble(this.#cluster, (name) => this.#latest.get(name), places, {
      lost: (backend, cause) => this.#losses.backend(backend, cause),
      classifierLost: (name, cause) => this.#losses.classifier(name, cause),
      forwarderLost: (name) => this.#losses.forwarder(name),
      clientCut: (place, forUs) => this.#losses.cut(place, forUs),
      note: (what) => this.#note(what),
    });
    this.#doubts = new Doubts(this.#cluster, this.#trouble);
    this.#cluster.afterTurn = (name) => this.#doubts.afterTurn(name);
    this.#losses = new Losses({
      ...{ cluster: this.#cluster, oracle: this.#oracle, moves: this.#moves, doubts: this.#doubts },
      ...{ trouble: this.#trouble, visitors: this.#visitors },
    });
    this.#watch();
    const paths = this.#root.child(STREAM.faults);
    const forwarders = this.#cluster.forwarders.map(({ name }) => name);
    drawPaths(paths, this.#cluster.network, scenario, { forwarders, backends });
    for (const index of scenario.clients) this.#addVisitor(index, backends);
    const troubles = this.#root.child(STREAM.troubles);
    for (const [index, kind] of scenario.troubles.entries()) {
      if (kind !== "none") this.#trouble.plan(kind, backends, troubles.child(index));
    }
  }

  result(): RunResult {
    const { scheduler } = this.#cluster;
    while (this.#open > 0 && !this.#isOver() && scheduler.nowUs() < LIMIT_US) {
      if (!scheduler.step()) break;
    }
    if (!this.#isOver()) {
      const open = this.#visitors.flatMap(({ state }) => state ?? []);
      if (this.#open > 0) this.#problem(`I3: hangs: ${open.join(", ")}`);
      else this.#settle();
    }
    for (const { invariant, what } of this.#oracle.violations)
      this.#problem(`${invariant}: ${what}`);
    for (const failure of this.#cluster.failures) this.#problem(`I6: ${String(failure)}`);
    for (const { faults } of this.#servers) faults.forEach((what) => this.#problem(`I2: ${what}`));
    return {
      scenario: this.#scenario,
      problems: this.#problems.slice(0, PROBLEMS_MAX),
      events: this.#events,
      packets: this.#oracle.packets,
      virtualUs: scheduler.nowUs(),
      handoffs: this.#handoffs,
      moves: this.#moved,
      digest: this.#digest.value,
    };
  }

  #newCluster(backends: readonly string[], classifiers: readonly string[]): Cluster {
    const { wasm, cipher, log } = this.options;
    const routes = backends.map((name) => `host=${name}.example -> ${name}`);
    return new Cluster({
      wasm,
      cipher,
      log,
      random: this.#root.child(STREAM.cluster),
      clockPpmMax: this.#scenario.clockPpmMax,
      parameters: RUN_SIZES,
      services: SERVICES,
      router: createRouter(parseRouting({ backends: [...backends], pools: [], routes })),
      forwarders: this.#scenario.forwarders,
      backends,
      classifiers,
      acceptor: (name) => {
        const server = new SimServer(name, this.#serverWorld());
        this.#servers.push(server);
        this.#latest.set(name, server);
        return server;
      },
      forwarderEvents: {
        handedOff: () => this.#handoffs++,
        cameBack: (tuple) => this.#cameBack(undefined, tuple),
        rejected: (tuple, reason) => this.#rejected(tuple, reason),
      },
      classifierEvents: (name) => ({
        cameBack: (tuple) => this.#cameBack(name, tuple),
        restart: () => this.#gaveUp(name),
      }),
      backendEvents: (name) => ({
        arrived: (live, mapping) => this.#arrived(name, mapping, live),
        restart: () => this.#gaveUp(name),
      }),
    });
  }

  #gaveUp(name: string): void {
    if (!this.#trouble.maySeemDead(name)) this.#problem(`I3: ${name} gave up without a cause`);
    this.#trouble.gaveUp(name);
  }

  #serverWorld(): ServerWorld {
    const random = this.#root.child(STREAM.servers);
    const aborted = ({ address, port }: { address: string; port: number }): void => {
      this.#oracle.allowReset(address, port, "the server aborted");
      // A RST may be lost, and nobody says it again to a client that is silent.
      this.#visitorOf(address, port)?.giveUpAfter(GIVE_UP_US);
    };
    const after = (us: number, action: () => void): void =>
      this.#cluster.scheduler.after(us, action);
    const leave: Leave = (connection, ready, stays) =>
      this.#moves.reroute(connection, ready, stays);
    return { after, random, aborted, leave: this.#scenario.isByRequest ? leave : undefined };
  }

  /** A classifier, undefined for the forwarder's own, has a connection for its next request. */
  #cameBack(classifier: string | undefined, { remote, remotePort }: Tuple): void {
    const address = formatAddress(remote);
    const name = classifier ?? this.#cluster.forwarderOf(address, remotePort);
    const life = this.#cluster.life(name);
    this.#moves.at(address, remotePort, name);
    const kind = { isForwarder: classifier === undefined, opens: true };
    this.#oracle.arrived(address, remotePort, { name, life, ...kind });
  }

  /** I4: a flow identifier names one connection until its quarantine ends, and a blob is infused once. */
  #arrived(backend: string, { forwarder, flow }: FlowMapping, live: LiveConnection): void {
    const { address, port } = live.remote;
    this.#oracle.arrived(address, port, { name: backend, life: this.#cluster.life(backend) });
    this.#moves.arrived(backend, live);
    const nowUs = this.#cluster.scheduler.nowUs();
    const id = `${forwarder} ${flow}`;
    const before = this.#arrivals.get(id);
    if (before !== undefined && nowUs - before < TIMERS.quarantineUs) {
      const agoMs = Math.round((nowUs - before) / 1000);
      this.#problem(`I4: ${backend}: flow ${flow} was infused ${agoMs} ms ago already`);
    }
    this.#arrivals.set(id, nowUs);
  }

  #isOver(): boolean {
    const { failures } = this.#cluster;
    return this.#problems.length + failures.length + this.#oracle.violations.length > 0;
  }

  #clockSlackMs(): number {
    const { clockPpmMax } = this.#scenario;
    const apart = (2 * clockPpmMax * this.#cluster.scheduler.nowUs()) / 1_000_000;
    return clockPpmMax === 0 ? 0 : 1 + Math.ceil(apart / 1000);
  }

  #note(what: string): void {
    this.#events.push(`${at(this.#cluster.scheduler)}: ${what}`);
    if (this.#events.length > EVENTS_MAX) this.#events = this.#events.slice(-EVENTS_MAX);
  }

  #problem(what: string): void {
    this.#problems.push(`${at(this.#cluster.scheduler)}: ${what}`);
  }

  #watch(): void {
    const { network, scheduler } = this.#cluster;
    network.watch = (from, to, bytes, atUs) => {
      if (!to.startsWith("udp:")) {
        const isReset = this.#oracle.watch(this.#emitter(from), bytes, atUs);
        if (isReset && this.#losses.isDeaf(to)) this.#losses.untold(to);
        if (this.#latest.has(from) && this.#trouble.mustBeSilent(from)) {
          this.#problem(`I1: ${from} speaks after it was declared dead (R14)`);
        }
      }
      this.#digest.number(atUs);
      this.#digest.text(from);
      this.#digest.text(to);
      this.#digest.bytes(bytes);
    };
    const { trace } = this.options;
    if (trace) {
      network.trace = (from, to, bytes, _atUs, fate) => {
        trace(from, to, bytes, scheduler.wallUs(), fate);
      };
    }
    network.arrived = (to, bytes) => {
      if (this.#cluster.isForwarder(to)) this.#oracle.heard(bytes);
    };
    network.damaged = (to, bytes) => {
      if (this.#cluster.isForwarder(to)) this.#oracle.damaged(bytes);
    };
    network.tooBig = tooBig;
    network.isDamaged = isDamaged;
  }

  #visitorOf(address: string, port: number): Visitor | undefined {
    return this.#visitors.find((who) => who.address === address && who.port === port);
  }

  /** Who speaks from this place; undefined for a client. */
  #emitter(name: string): Emitter | undefined {
    const life = this.#cluster.life(name);
    const known = this.#emitters.get(name);
    if (life === 0 || known?.life === life) return known;
    const opens = this.#cluster.isClassifier(name);
    const emitter = { name, life, isForwarder: this.#cluster.isForwarder(name), opens };
    this.#emitters.set(name, emitter);
    return emitter;
  }

  #addVisitor(index: number, backends: readonly string[]): void {
    const { isPlain, bodyMax, connectionsMax, faultKinds } = this.#scenario;
    const { mannerPercent, waitPercent, stackPercent, isByRequest } = this.#scenario;
    const random = this.#root.child(STREAM.clients).child(index);
    const service = random.pick(SERVICES);
    const isV6 = service.address.includes(":");
    const place = placeOf(index);
    const mtu = random.pick([1500, 1500, 1500, 1400, 1280]);
    if (mtu < 1500 && !isPlain && faultKinds.includes("mtu")) {
      narrow(random.child("path"), this.#cluster.network, this.#scenario, place, mtu);
    }
    let number = index * CONNECTIONS_MAX;
    const range = { backends, bodyMax, isPlain, mannerPercent, waitPercent };
    this.#open++;
    const visitor = new Visitor({
      cluster: this.#cluster,
      random,
      place,
      address: isV6 ? `fd01::${(index + 1).toString(16)}` : `10.1.0.${index + 1}`,
      port: 10_000 + random.below(50_000),
      service,
      connections: 1 + random.below(connectionsMax),
      stack: random.child("stack").chance(stackPercent) ? this.#stack() : undefined,
      plan: () => ({ ...drawPlan(random.child(`plan ${number}`), number++, range), isByRequest }),
      events: {
        opened: (who) => this.#opened(who),
        refused: (who, status) => this.#refused(who, status),
        vanished: ({ address, port }) => this.#oracle.allowReset(address, port, "it vanished"),
        finished: () => this.#open--,
        problem: (what) => this.#problem(what),
      },
    });
    this.#visitors.push(visitor);
    // After the nodes have met: a backend that nobody knows yet is no use.
    const atUs = 2_000_000 + random.below(4_000_000);
    this.#cluster.scheduler.at(atUs, () => visitor.open());
  }

  /** One for all clients that have it. */
  #stack(): StackHost {
    const { wasm } = this.options;
    const failed = (error: unknown): void => this.#problem(`I6: own stack: ${String(error)}`);
    const random = this.#root.child(STREAM.stack);
    this.#ownStack ??= new StackHost(wasm, this.#cluster.scheduler, random, failed);
    return this.#ownStack;
  }

  #opened(visitor: Visitor): void {
    const { backend = "", address, port } = visitor;
    this.#moves.begin(address, port);
    if (this.#trouble.maySeemDead(backend))
      this.#oracle.allowReset(address, port, `${backend} is not well`);
  }

  #refused(visitor: Visitor, status: string): void {
    const { backend, address, port } = visitor;
    this.#oracle.allowReset(address, port, "the classifier answered");
    this.#note(`${address} was answered ${status}`);
    if (visitor.mayBeAnswered) return;
    this.#problem(`I3: ${address} got ${status}, and nothing is wrong with ${backend ?? "nobody"}`);
  }

  /** 503: its backend was not to be had. 408: its request may have been late. Nobody asks for what is answered else. */
  #mayAnswer(status: string, { backend, place, mayBeAnswered }: Visitor): boolean {
    if (mayBeAnswered) return true;
    if (status !== "503" && status !== "408") return false;
    if (this.#trouble.isTroubled(backend)) return true;
    const isLossy = this.#scenario.faultPercentMax > 0;
    return status === "408" && (isLossy || this.#losses.wasCut(place));
  }

  #rejected(tuple: Tuple, reason: string): void {
    const [address, port] = [formatAddress(tuple.remote), tuple.remotePort];
    this.#note(`${address}: ${reason}`);
    if (ENDED.includes(reason)) {
      // What ended by itself did so by the client's RST or silence. Its end may also be one that nobody knows.
      if (this.#doubts.isUnknown(address, port)) this.#oracle.allowReset(address, port, reason);
      return;
    }
    const visitor = this.#visitorOf(address, port);
    const [status = "503"] = /^\d{3}(?=: )/.exec(reason) ?? [];
    // The classifier's answer may wait for a slow reader until its time is over.
    if (!visitor || !this.#mayAnswer(status, visitor)) return;
    visitor.mayBeAnswered = true;
    this.#oracle.allowReset(address, port, reason);
  }

  #settle(): void {
    // Where a RST was lost, keep-alive finds it out, a minute later for each probe that is lost too.
    const rounds = this.#scenario.faultPercentMax > 0 ? SETTLE_ROUNDS : 1;
    const left = settle(this.#cluster, this.#ownStack?.core, rounds, () => this.#isOver());
    for (const what of left) this.#problem(`I5: ${what}`);
  }
}

const at = (scheduler: Scheduler): string => `${(scheduler.nowUs() / 1000).toFixed(3)} ms`;
const placeOf = (index: number): string => `client${index}`;
