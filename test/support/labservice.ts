/** What the acceptance tests on the lab share: a running service, its reports, and what to say on failure. */
import type * as uvu from "uvu";
import * as assert from "uvu/assert";
import type { Cluster, ClusterOptions, DaemonEvent } from "../../host/lab/cluster.ts";
import type { LabOptions, OwnLab } from "../../host/lab/lab.ts";
import { visit } from "../../host/lab/peers.ts";
import { startService, type Service } from "../../host/lab/service.ts";
import type { Ask, VisitResult } from "../../host/lab/visitor.ts";
import { tupleKey } from "../../host/core/tuple.ts";
import { createNodeCipher } from "../../host/link/nodecipher.ts";
import { addressBytes } from "../../host/linux/address.ts";
import { rendezvousRank } from "../../host/routing/policy.ts";
import { nodeId } from "../../host/transport/create.ts";
import { labOrSkip } from "./lab.ts";
import { LabClients } from "./labclients.ts";
import type { TransferOptions } from "./labtransfers.ts";

/** The sizes of the real requirement, for machines with time: .ci/run sets it. */
export const IS_FULL = process.env["BATON_FULL"] === "1";

export const MIB = 1 << 20;
export const FAMILIES = [4, 6] as const;
export type Family = (typeof FAMILIES)[number];

const VISIT_LIMIT_MS = 240_000;
const STDERR_SHOWN = 2_000;

export interface Visited {
  readonly family: Family;
  readonly tls?: boolean;
  readonly asks: readonly Ask[];
}

export interface Transfers extends Pick<TransferOptions, "groups" | "seconds"> {
  readonly family: Family;
  /** Of each transfer; a MiB unless told. */
  readonly bytes?: number;
}

/** A service that runs, and what its daemons say of connections. */
export class TestService {
  readonly lab: OwnLab;
  readonly cluster: Cluster;
  readonly #certificate: string;

  constructor(lab: OwnLab, { cluster, certificate }: Service) {
    this.lab = lab;
    this.cluster = cluster;
    this.#certificate = certificate;
  }

  addressOf(family: Family): string {
    const { service4, service6 } = this.lab.plan;
    return family === 4 ? service4 : service6;
  }

  /** Connections that are all in the middle of their work, for `seconds` more at least. */
  async transfers({ family, bytes = MIB, ...work }: Transfers): Promise<LabClients> {
    const at = { address: this.addressOf(family), port: 80 };
    const clients = new LabClients(this.lab.nodes.client, { ...at, bytes, ...work });
    await clients.steady();
    return clients;
  }

  /** The classifier that the forwarder asks first for the connection of a client's port, when all are well. */
  classifierOf(port: number, names: readonly string[]): string {
    const { plan, nodes } = this.lab;
    const key = tupleKey({
      family: 4,
      remote: addressBytes(nodes.client.address.address4),
      remotePort: port,
      local: addressBytes(plan.service4),
      localPort: 80,
    });
    const cipher = createNodeCipher();
    const ranked = names.map((name) => ({ name, rank: rendezvousRank(key, nodeId(cipher, name)) }));
    ranked.sort((a, b) => b.rank - a.rank);
    return ranked[0]?.name ?? "";
  }

  /** One connection of the kernel's client. */
  async visit({ family, tls = false, asks }: Visited): Promise<VisitResult> {
    const address = this.addressOf(family);
    const one = { id: 0, address, port: tls ? 443 : 80, tls, asks };
    const certificate = this.#certificate;
    const options = { visits: [one], certificate, timeoutMs: VISIT_LIMIT_MS };
    const results: VisitResult[] = [];
    await visit(this.lab.nodes.client, options, (result) => results.push(result));
    assert.is(results.length, 1, "the client made its visit");
    return results[0] as VisitResult;
  }

  /** Reports of the forwarder about the connections of one client's end. */
  decisions(client: string): DaemonEvent[] {
    const { events } = this.cluster.forwarder;
    return events.filter(({ event, client: end }) => event === "connection" && end === client);
  }

  /** Backend and flow identifier of every handoff so far, by the client's end. */
  handoffs(): Map<string, { backend: string; flow: number }> {
    const { events } = this.cluster.forwarder;
    const handed = events.filter(({ event, flow }) => event === "connection" && Number(flow) > 0);
    return new Map(
      handed.map(({ client, backend, flow }) => [
        String(client),
        { backend: String(backend), flow: Number(flow) },
      ]),
    );
  }

  /** Ends the daemons and gives what each counted; every one must end in order. */
  async counters(): Promise<Map<string, Counters>> {
    assert.equal(await this.cluster.stop(), [], "every daemon ends with status 0");
    return new Map(this.cluster.daemons.map((daemon) => [daemon.name, countersOf(daemon.events)]));
  }
}

/** Group, name, number: what a daemon says at its end. */
export type Counters = Readonly<Record<string, Readonly<Record<string, number>>>>;

function countersOf(events: readonly DaemonEvent[]): Counters {
  const last = events.find(({ event }) => event === "counters");
  assert.ok(last, "a daemon tells its counters at its end");
  return Object.fromEntries(Object.entries(last).filter(([name]) => name !== "event")) as Counters;
}

/** A service in a lab of its own; undefined, with a named skip, where this system cannot have one. */
async function openService(
  name: string,
  options: LabOptions,
  flags: Partial<ClusterOptions> = {},
): Promise<TestService | undefined> {
  const lab = await labOrSkip(name, { needTun: true, ...options });
  if (lab === undefined) return undefined;
  try {
    return new TestService(lab, await startService(lab, flags));
  } catch (error) {
    await lab.close();
    throw error;
  }
}

/** Runs `body` with a service of its own, and says what the daemons know when it fails. */
export async function withService(
  name: string,
  options: LabOptions,
  body: (service: TestService) => Promise<void>,
  flags: Partial<ClusterOptions> = {},
): Promise<void> {
  const service = await openService(name, options, flags);
  if (service === undefined) return;
  try {
    await body(service);
  } catch (error) {
    await explain(service.cluster);
    throw error;
  } finally {
    await service.lab.close();
  }
}

/**
 * One service for all tests of a suite, made before the first and ended after the last.
 * @returns makes a test's body of one that takes the service
 */
export function shareService(
  tests: uvu.Test,
  name: string,
  options: LabOptions = {},
): (body: (service: TestService) => Promise<void>) => () => Promise<void> {
  let service: TestService | undefined;
  let isFailed = false;
  tests.before(async () => {
    service = await openService(name, options);
  });
  tests.after(async () => {
    if (service === undefined) return;
    if (isFailed) await explain(service.cluster);
    await service.lab.close();
  });
  return (body) => async () => {
    if (service === undefined) return; // The named skip has been printed.
    try {
      await body(service);
    } catch (error) {
      isFailed = true;
      throw error;
    }
  };
}

/** What the daemons know, for whoever reads the failure. */
async function explain(cluster: Cluster): Promise<void> {
  const ends = await cluster.stop();
  for (const end of ends) process.stdout.write(`did not end in order: ${end}\n`);
  for (const { name, events, stderr } of cluster.daemons) {
    const counters = events.find(({ event }) => event === "counters");
    const text = counters === undefined ? "none" : JSON.stringify(withoutZeros(counters));
    process.stdout.write(`${name}: counters ${text}\n${stderr.slice(-STDERR_SHOWN)}\n`);
  }
}

function withoutZeros(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, each]) => each !== 0);
  return Object.fromEntries(entries.map(([name, each]) => [name, withoutZeros(each)]));
}
