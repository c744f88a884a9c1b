/**
 * One client host of a run: connections one after the other, on the same ports, each with a plan of its
 * own. Knows how a visit ends well; whether a reset was legitimate is the oracle's.
 */
import { StrictClient } from "./client.ts";
import type { ClientOptions, SimClient } from "./segments.ts";
import type { StackHost } from "./stack.ts";
import type { Cluster } from "./cluster.ts";
import type { SeededRandom } from "./random.ts";
import { add } from "./sequence.ts";
import { Talk } from "./talk.ts";
import type { Plan } from "./workload.ts";

export interface VisitorOptions {
  readonly cluster: Cluster;
  readonly random: SeededRandom;
  readonly place: string;
  readonly address: string;
  readonly port: number;
  readonly service: { readonly address: string; readonly port: number };
  readonly connections: number;
  /** Its stack when it is the product's own; each connection has a port of its own then. */
  readonly stack: StackHost | undefined;
  readonly plan: () => Plan;
  readonly events: VisitorEvents;
}

export interface VisitorEvents {
  /** The SYN has been sent. */
  opened(visitor: Visitor): void;
  /** The forwarder itself answered with this HTTP status. */
  refused(visitor: Visitor, status: string): void;
  /** It fell silent; what it is sent from now on reaches nobody. */
  vanished(visitor: Visitor): void;
  /** All connections are over. */
  finished(): void;
  problem(what: string): void;
}

const REOPEN_US = [0, 0, 1000, 100_000, 3_000_000] as const;

export class Visitor {
  readonly address: string;
  port: number;
  readonly #options: VisitorOptions;
  readonly #tsOffset: number;
  readonly #rcvBuf: number;
  #left: number;
  #number = 0;
  #plan: Plan;
  #client: SimClient | undefined;
  /** Where the numbers of the connection before ended. */
  #lastSndNxt: number | undefined;
  #hasVanished = false;
  /** None of its SYNs was answered. */
  #hasGivenUp = false;
  /** A classifier has a cause to answer it in a backend's place. */
  mayBeAnswered = false;
  /** The connection may end without a word, and may be given up. */
  #isLost = false;

  constructor(options: VisitorOptions) {
    const { address, port, random, connections, plan } = options;
    this.address = address;
    this.port = port;
    this.#options = options;
    this.#left = connections;
    this.#tsOffset = random.pick([random.u32(), 0xffffff00 - 2000]);
    this.#rcvBuf = random.pick([8192, 65_535, 262_144]);
    this.#plan = plan();
  }

  /** Which of its connections is open, for people; undefined when all are over. */
  get state(): string | undefined {
    if (!this.#client) return this.#left > 0 ? `${this.#options.place} waits` : undefined;
    return `${this.#options.place} connection ${this.#number} is ${this.#client.state}`;
  }

  get place(): string {
    return this.#options.place;
  }

  /** The backend that its connection is meant for; undefined while there is none. */
  get backend(): string | undefined {
    return this.#client && this.#plan.host.split(".")[0];
  }

  open(): void {
    const { cluster, random, place, address, service, stack, events } = this.#options;
    if (this.#number++ > 0) this.#plan = this.#options.plan();
    // TIME-WAIT would keep the port for a minute; a host that lost its power knows nothing of it.
    const isAgain = this.#hasVanished || this.#hasGivenUp;
    if (stack && this.#number > 1 && !isAgain) this.port++;
    // Tombstones drop a SYN for a minute (R16); a real stack asks ever more seldom, and may give up.
    let mayBeBarred = stack !== undefined && this.#hasVanished;
    this.#hasVanished = false;
    let isUnanswered = true;
    const { port } = this;
    this.#left--;
    this.#isLost = false;
    this.mayBeAnswered = false;
    const plan = this.#plan;
    const isBroken = (): boolean => plan.end.how !== "none" || this.#isLost;
    const problem = (invariant: string, what: string): void =>
      events.problem(`${invariant}: ${place} connection ${this.#number}: ${what}`);
    const talk = new Talk(plan, cluster.scheduler, random, {
      fault: (what) => problem("I2", what),
      refused: (status) => events.refused(this, status),
    });
    const options: ClientOptions = {
      scheduler: cluster.scheduler,
      random,
      address,
      port,
      service: service.address,
      servicePort: service.port,
      mss: service.address.includes(":") ? 1440 : 1460,
      rcvBuf: this.#rcvBuf,
      iss: this.#drawIss(),
      tsOffset: this.#tsOffset,
      isReused: this.#number > 1,
      finWithData: random.chance(50),
      send: (bytes) => cluster.network.sendTo(place, service.address, bytes),
      events: {
        connected: () => {
          mayBeBarred = false;
          isUnanswered = false;
          this.#hasGivenUp = false;
          talk.begin(client);
          if (plan.end.how !== "none") this.#breakLater(client, plan);
        },
        data: (bytes) => talk.data(client, bytes),
        ended: () => talk.ended(client),
        finished: (how) => {
          if (how === "timeout" && !isBroken() && !mayBeBarred) {
            if (isUnanswered && !this.#hasGivenUp) this.#tryAgain();
            else problem("I3", "timed out");
          }
          const isShort = how === "closed" && !talk.isDone && !talk.isRefused;
          if (isShort && !isBroken()) problem("I2", "closed before its end");
          this.#next();
        },
        violation: (what) => events.problem(`I2: ${what}`),
      },
    };
    const client: SimClient = stack ? stack.client(options) : new StrictClient(options);
    this.#client = client;
    cluster.client(place, address, (bytes) => client.receive(bytes));
    client.open();
    events.opened(this);
  }

  /** Accepted (PROTOCOL section 10): nobody may ever tell this client; it gives up by itself. */
  giveUpAfter(delayUs: number): void {
    const client = this.#client;
    if (!client) return;
    this.#isLost = true;
    this.#options.cluster.scheduler.after(delayUs, () => {
      if (this.#client === client) client.abort();
    });
  }

  /** Accepted (4): two classifiers have a connection of its ports each, and only one of them can hand over. */
  meetTwo(giveUpUs: number): void {
    this.mayBeAnswered = true;
    this.giveUpAfter(giveUpUs);
  }

  /**
   * Near the wrap it is most interesting. A host does not use a number again (RFC 9293 3.4.1): an ISS among
   * the numbers of the connection before could be just what its old owner acknowledges.
   */
  #drawIss(): number {
    const { random } = this.#options;
    const last = this.#lastSndNxt;
    if (last === undefined) return random.pick([random.u32(), 0xfffff000, 0xffffff00]);
    return random.pick([random.u32(), add(last, 1 + random.below(64)), add(last, 0x10000)]);
  }

  #breakLater(client: SimClient, plan: Plan): void {
    this.#options.cluster.scheduler.after(plan.end.afterUs, () => {
      if (this.#client !== client) return;
      if (plan.end.how === "abort") return client.abort();
      client.vanish();
      this.#hasVanished = true;
      this.#options.events.vanished(this);
      this.#left = Math.max(this.#left, 1); // Who vanishes comes back, or the server waits for long.
      this.#next();
    });
  }

  /** All of its seven SYNs may have been lost, some with a crash. From the same port: what is stuck would show. */
  #tryAgain(): void {
    this.#hasGivenUp = true;
    this.#left = Math.max(this.#left, 1);
  }

  #next(): void {
    this.#lastSndNxt = this.#client?.sndNxt;
    this.#client = undefined;
    if (this.#left <= 0) return this.#options.events.finished();
    const { cluster, random } = this.#options;
    cluster.scheduler.after(random.pick(REOPEN_US), () => this.open());
  }
}
