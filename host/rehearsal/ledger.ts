/**
 * What the simulated nodes and the network say of each connection: the counterpart of lab/evidence.ts.
 * Knows events of roles and packets as they are sent; must not know what was to happen.
 */
import { handoffReport, rejectReport, releaseReport } from "../daemon/report.ts";
import { parsePacket } from "../lab/packet.ts";
import type { Fields, WireEvidence } from "../lab/verdict.ts";
import type { BackendEvents } from "../node/backend.ts";
import type { ForwarderEvents } from "../node/forwarder.ts";
import type { LiveConnection } from "../node/live.ts";
import { NO_FLOW } from "../node/messages.ts";
import type { ConnectionReport } from "../observe/report.ts";
import { showEndpoint } from "../observe/text.ts";
import { Oracle } from "../sim/oracle.ts";

const TCP = 6;
const ENDS: ReadonlySet<string> = new Set(["client", "service"]);
/** Headers only. */
const SNAP_LEN = 128;

export interface LedgerOptions {
  /** Service addresses. */
  readonly services: readonly string[];
  /** Places on the network: sim/cluster.ts. */
  readonly forwarder: string;
  readonly backends: readonly string[];
}

export class Ledger implements WireEvidence {
  encapsulatedPackets = 0;
  responseBytes = 0;
  readonly forwarderEvents: ForwarderEvents;
  readonly #options: LedgerOptions;
  readonly #services: ReadonlySet<string>;
  readonly #backends: ReadonlySet<string>;
  readonly #oracle: Oracle;
  readonly #byForwarder = new Map<string, Fields>();
  readonly #byBackend = new Map<string, Fields>();
  readonly #flows = new WeakMap<LiveConnection, number>();
  readonly #violations: string[] = [];

  constructor(options: LedgerOptions) {
    this.#options = options;
    this.#services = new Set(options.services);
    this.#backends = new Set(options.backends);
    this.#oracle = new Oracle(options.services);
    this.forwarderEvents = {
      handedOff: (handoff) => keep(this.#byForwarder, handoffReport(handoff)),
      rejected: (tuple, reason, head) => {
        keep(this.#byForwarder, rejectReport(tuple, reason, head));
      },
    };
  }

  backendEvents(backend: string): BackendEvents {
    return {
      arrived: (connection, { flow }) => this.#flows.set(connection, flow),
      finished: (connection, cause) => {
        const flow = this.#flows.get(connection) ?? NO_FLOW;
        keep(this.#byBackend, releaseReport(connection, flow, cause));
      },
      restart: () => this.complain(`${backend} lost contact with the forwarder`),
    };
  }

  /** A packet, or a datagram between nodes, as it is sent. */
  watch(from: string, to: string, bytes: Uint8Array, atUs: number): void {
    if (from.startsWith("udp:")) return;
    const { forwarder } = this.#options;
    const isForwarder = from === forwarder;
    const isNode = isForwarder || this.#backends.has(from);
    const emitter = { name: from, life: 1, isForwarder, opens: isForwarder };
    this.#oracle.watch(isNode ? emitter : undefined, bytes, atUs);
    if (from !== forwarder && to !== forwarder) return;
    const packet = parsePacket(bytes.subarray(0, SNAP_LEN));
    if (packet?.protocol !== TCP) return;
    if (this.#services.has(packet.source)) this.responseBytes += packet.tcp?.payloadLen ?? 0;
    if (from === forwarder && this.#backends.has(to)) this.encapsulatedPackets += 1;
  }

  /** Something that must not happen, whoever did it. */
  complain(what: string): void {
    this.#violations.push(what);
  }

  /** From now on; what was seen before is forgotten, faults are not. */
  begin(): void {
    this.encapsulatedPackets = 0;
    this.responseBytes = 0;
  }

  get complaints(): readonly string[] {
    const { violations } = this.#oracle;
    const found = violations.map(({ invariant, what }) => `${invariant}: ${what}`);
    if (this.responseBytes > 0) {
      found.push(`${this.responseBytes} bytes of answers passed the forwarder`);
    }
    return [...this.#violations, ...found];
  }

  forwarder(client: string): Fields | undefined {
    return this.#byForwarder.get(client);
  }

  backend(client: string): Fields | undefined {
    return this.#byBackend.get(client);
  }

  /** Both nodes have said what they will say of this connection. */
  isComplete(client: string): boolean {
    return client === "" || (this.#byForwarder.has(client) && this.#byBackend.has(client));
  }
}

function keep(into: Map<string, Fields>, report: ConnectionReport): void {
  const client = showEndpoint(report.client);
  const known = Object.entries(report).filter(([name]) => !ENDS.has(name));
  into.set(client, { ...into.get(client), ...(Object.fromEntries(known) as Fields) });
}
