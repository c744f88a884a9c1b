/**
 * The demo's network without a lab: the simulator's cluster with Node's own servers attached to its backends,
 * and a client whose sockets stand on the strict client. Knows how these are put together; must not know
 * what is asked, nor what ought to come of it.
 */
import { readFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { ApplicationBackend } from "../app/backend.ts";
import { CORE_WASM } from "../daemon/wasm.ts";
import { answer } from "../lab/answer.ts";
import type { KeyAndCertificate } from "../lab/certificate.ts";
import type { NodePlan, Plan } from "../lab/topology.ts";
import { createNodeCipher } from "../link/nodecipher.ts";
import type { Acceptor } from "../node/backend.ts";
import { createRouter, parseRouting } from "../routing/router.ts";
import { StrictClient } from "../sim/client.ts";
import { Cluster } from "../sim/cluster.ts";
import { SeededRandom } from "../sim/random.ts";
import type { Ledger } from "./ledger.ts";
import { ClientSocket, type End } from "./socket.ts";

const HTTP = 80;
const HTTPS = 443;
const PORTS = [HTTP, HTTPS] as const;
/** Of the client, as in the lab; of the forwarder, as the simulator's cluster calls it. */
export const CLIENT = "client";
export const FORWARDER = "lb";
const FIRST_PORT = 40_000;
const RECEIVE_BUFFER_BYTES = 256 << 10;
const MSS4 = 1460;
const MSS6 = 1440;
/** Without a byte for so long a connection is given up: longer than the stack's own patience. */
const STALL_US = 120_000_000;

export interface StageOptions {
  readonly plan: Plan;
  readonly rules: readonly string[];
  readonly secrets: KeyAndCertificate;
  readonly seed: number;
  readonly ledger: Ledger;
}

export class Stage {
  readonly cluster: Cluster;
  readonly #plan: Plan;
  readonly #ledger: Ledger;
  readonly #random: SeededRandom;
  readonly #tsOffset: number;
  readonly #applications: ApplicationBackend[] = [];
  readonly #clients = new Map<number, StrictClient>();
  readonly #sockets = new Set<ClientSocket>();
  #nextPort = FIRST_PORT;
  #progressUs = 0;

  constructor(options: StageOptions) {
    const { plan, ledger, rules } = options;
    this.#plan = plan;
    this.#ledger = ledger;
    this.#random = new SeededRandom(options.seed);
    this.#tsOffset = this.#random.u32();
    const backends = plan.nodes.filter(isBackend).map(({ name }) => name);
    const addresses = [plan.service4, plan.service6];
    this.cluster = new Cluster({
      wasm: readFileSync(CORE_WASM),
      cipher: createNodeCipher(),
      random: this.#random.fork(),
      log: { write: () => undefined },
      services: addresses.flatMap((address) => PORTS.map((port) => ({ address, port }))),
      router: createRouter(parseRouting({ backends, pools: [], routes: rules })),
      backends,
      acceptor: (name) => this.#serve(name, options.secrets),
      forwarderEvents: ledger.forwarderEvents,
      backendEvents: (name) => ledger.backendEvents(name),
    });
    const { network, scheduler } = this.cluster;
    network.watch = (from, to, bytes) => ledger.watch(from, to, bytes, scheduler.nowUs());
    const { address4, address6 } = this.#client;
    for (const address of [address4, address6]) {
      this.cluster.client(CLIENT, address, (bytes) => this.#receive(bytes));
    }
  }

  get nowUs(): number {
    return this.cluster.scheduler.nowUs();
  }

  /** A connection of the client's to a service address. */
  readonly dial = (to: End): Promise<ClientSocket> => {
    const { scheduler, network } = this.cluster;
    const isV6 = to.address.includes(":");
    const { address4, address6 } = this.#client;
    const local = { address: isV6 ? address6 : address4, port: this.#nextPort++ };
    this.#progressUs = this.nowUs;
    return new Promise((resolve, reject) => {
      let socket: ClientSocket | undefined;
      const client = new StrictClient({
        scheduler,
        random: this.#random,
        ...local,
        service: to.address,
        servicePort: to.port,
        mss: isV6 ? MSS6 : MSS4,
        rcvBuf: RECEIVE_BUFFER_BYTES,
        iss: this.#random.u32(),
        tsOffset: this.#tsOffset,
        send: (bytes) => network.sendTo(CLIENT, to.address, bytes),
        events: {
          connected: () => {
            socket = new ClientSocket(client, local);
            this.#enter(socket);
            resolve(socket);
          },
          data: (bytes) => {
            this.#progressUs = this.nowUs;
            socket?.data(bytes);
          },
          ended: () => socket?.ended(),
          finished: (how) => {
            const error = how === "closed" ? undefined : failure(how);
            if (socket !== undefined) socket.finished(error);
            else reject(error ?? failure("reset"));
          },
          violation: (what) => this.#ledger.complain(what),
        },
      });
      this.#clients.set(local.port, client);
      client.open();
    });
  };

  sleep(us: number): Promise<void> {
    return new Promise((resolve) => this.cluster.scheduler.after(us, resolve));
  }

  /** After every turn: a trap or a bug of a node ends all; what hangs is given up. */
  check(): void {
    const [error] = this.cluster.failures;
    if (error !== undefined) throw error;
    for (const socket of this.#sockets) socket.progress();
    if (this.nowUs - this.#progressUs < STALL_US) return;
    for (const socket of this.#sockets) socket.destroy(failure("timeout"));
  }

  /** Servers take nothing more; what is still open is reset. */
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(this.#applications.map((application) => application.close({ graceMs: 0 })));
  }

  get #client(): NodePlan {
    const node = this.#plan.nodes.find(({ name }) => name === CLIENT);
    if (node === undefined) throw new Error("the plan has no client");
    return node;
  }

  #enter(socket: ClientSocket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
  }

  #receive(bytes: Uint8Array): void {
    // A packet that was corrupted on its way may name any port: the client's checksum tells.
    const isV4 = (bytes[0] ?? 0) >> 4 === 4;
    const tcp = isV4 ? 20 : 40;
    const port = ((bytes[tcp + 2] ?? 0) << 8) | (bytes[tcp + 3] ?? 0);
    this.#clients.get(port)?.receive(bytes);
  }

  #serve(name: string, { key, certificate }: KeyAndCertificate): Acceptor {
    const application = new ApplicationBackend({
      drain: () => undefined,
      reloadKeys: () => undefined,
      stop: () => Promise.resolve(),
    });
    application.attach(createHttpServer(answer(name)), { ports: [HTTP] });
    const https = createHttpsServer({ key, cert: certificate }, answer(name));
    application.attach(https, { ports: [HTTPS] });
    this.#applications.push(application);
    return application.applications;
  }
}

export function isBackend({ name }: NodePlan): boolean {
  return /^b\d+$/.test(name);
}

function failure(how: "reset" | "timeout"): Error {
  const [code, message] =
    how === "reset"
      ? ["ECONNRESET", "connection reset by peer"]
      : ["ETIMEDOUT", "connection timed out"];
  return Object.assign(new Error(message), { code });
}
