/**
 * What the demo's daemons and the forwarder's wire say about each connection, held against what was to
 * happen. Knows the JSON lines "connection" (observe/report.ts) and packets; must not know the scenario's
 * reasons.
 */
import { setTimeout as wait } from "node:timers/promises";
import type { Capture, CapturedPacket } from "./capture.ts";
import type { Cluster, DaemonEvent } from "./cluster.ts";
import type { Outcome } from "./scenario.ts";
import { judgeConnection, type ConnectionEvidence, type Fields } from "./verdict.ts";

/** TIME-WAIT and then some: a backend whose FIN was first (TLS answers a close at once) reports after it. */
const REPORT_LIMIT_MS = 65_000;
const POLL_MS = 10;
/** Headers only. */
const SNAP_LEN = 128;

const ENDS: ReadonlySet<string> = new Set(["event", "client", "service"]);

export class Evidence {
  /** Packets from the forwarder to a backend's tunnel address. */
  encapsulatedPackets = 0;
  /** Payload of the service's answers that passed the forwarder's device: it should be none. */
  responseBytes = 0;
  readonly complaints: string[] = [];
  readonly #cluster: Cluster;
  readonly #services: ReadonlySet<string>;
  readonly #sources: ReadonlySet<string>;
  readonly #tunnels: ReadonlySet<string>;
  readonly #byForwarder = new Map<string, Fields>();
  readonly #byBackend = new Map<string, Fields>();
  readonly #stops: (() => void)[] = [];
  #capture: Capture | undefined;

  private constructor(cluster: Cluster) {
    this.#cluster = cluster;
    const { plan, nodes, backends } = cluster.lab;
    this.#services = new Set([plan.service4, plan.service6]);
    const { tunnel4, tunnel6 } = nodes.forwarder.address;
    this.#sources = new Set([tunnel4, tunnel6]);
    this.#tunnels = new Set(backends.flatMap(({ address }) => [address.tunnel4, address.tunnel6]));
  }

  /** From now on; the daemons run already. */
  static async collect(cluster: Cluster): Promise<Evidence> {
    const evidence = new Evidence(cluster);
    evidence.#listen();
    const take = (packet: CapturedPacket): void => evidence.#see(packet);
    evidence.#capture = await cluster.lab.capture("forwarder", take, { snapLen: SNAP_LEN });
    return evidence;
  }

  #listen(): void {
    const keep = (into: Map<string, Fields>) => (event: DaemonEvent) => {
      if (event.event !== "connection") return;
      const client = String(event["client"]);
      const known = Object.entries(event).filter(([name]) => !ENDS.has(name));
      into.set(client, { ...into.get(client), ...(Object.fromEntries(known) as Fields) });
    };
    this.#stops.push(this.#cluster.forwarder.onEvent(keep(this.#byForwarder)));
    for (const daemon of this.#cluster.backends.values()) {
      this.#stops.push(daemon.onEvent(keep(this.#byBackend)));
    }
  }

  #see({ source, destination, direction, tcp }: CapturedPacket): void {
    if (tcp === undefined) return;
    if (this.#services.has(source)) this.responseBytes += tcp.payloadLen;
    if (direction === "out" && this.#sources.has(source) && this.#tunnels.has(destination)) {
      this.encapsulatedPackets += 1;
    }
  }

  /** Waits for the reports of connections that have ended, then judges them in the order of the visits. */
  async close(outcomes: readonly Outcome[]): Promise<ConnectionEvidence[]> {
    const isComplete = (client: string): boolean =>
      client === "" || (this.#byForwarder.has(client) && this.#byBackend.has(client));
    const deadline = Date.now() + REPORT_LIMIT_MS;
    while (!outcomes.every(({ result }) => isComplete(result.client)) && Date.now() < deadline) {
      await wait(POLL_MS);
    }
    for (const stop of this.#stops) stop();
    const summary = await this.#capture?.stop();
    if (summary !== undefined && summary.dropped > 0) {
      this.complaints.push(`the capture at the forwarder missed ${summary.dropped} packets`);
    }
    if (this.responseBytes > 0) {
      this.complaints.push(`${this.responseBytes} bytes of answers passed the forwarder`);
    }
    return outcomes.map((outcome) => {
      const { client } = outcome.result;
      return judgeConnection(outcome, this.#byForwarder.get(client), this.#byBackend.get(client));
    });
  }
}
