/**
 * A client that uses its ports again and again, the server closing first: each SYN meets a mapped flow
 * whose old connection is in TIME-WAIT at a backend (DESIGN section 4; PROTOCOL R15, R18). No connect may
 * take 100 ms; time in which the machine ran other processes than these does not count.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Cluster, type DaemonEvent } from "../../host/lab/cluster.ts";
import type { OwnLab } from "../../host/lab/lab.ts";
import { withLab } from "../support/lab.ts";
import { burst, startBurstServer, type BurstResult } from "../support/labburst.ts";

const reuse = suite("reuse");

const IS_FULL = process.env["BATON_FULL"] === "1";
const COUNT = IS_FULL ? 50_000 : 3_000;
const CONCURRENCY = 4;
const FIRST_PORT = 40_000;
const PORTS = 256;
const UPSTREAM_PORT = 8080;
/** The kernel may choose a port whose last connection is still closing at the backend: no TIME-WAIT yet. */
const WARM_MAX = 64;

type Groups = Record<string, Record<string, number>>;

function countersOf(events: readonly DaemonEvent[]): Groups {
  return events.find(({ event }) => event === "counters") as unknown as Groups;
}

async function openCluster(lab: OwnLab): Promise<Cluster> {
  for (const backend of lab.backends) await startBurstServer(backend, UPSTREAM_PORT);
  const cluster = new Cluster(lab, { upstream: `127.0.0.1:${UPSTREAM_PORT}` });
  await cluster.ready();
  return cluster;
}

/** Nodes introduce themselves first: until then the answer is 503. */
async function warm(lab: OwnLab): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (const address of [lab.plan.service4, lab.plan.service6]) {
    for (;;) {
      const { failures, resets } = await burst(lab.nodes.client, address, 4, 1);
      if (resets === 0 && Object.keys(failures).length === 0) break;
      if (Date.now() > deadline)
        throw new Error(`warm-up: ${JSON.stringify({ resets, failures })}`);
    }
  }
}

async function limitPorts(lab: OwnLab): Promise<void> {
  const range = `${FIRST_PORT} ${FIRST_PORT + PORTS - 1}`;
  const script = `echo ${range} > /proc/sys/net/ipv4/ip_local_port_range`;
  const { status, stderr } = await lab.nodes.client.run("sh", ["-c", script]);
  assert.is(status, 0, stderr);
}

for (const family of [4, 6] as const) {
  const count = family === 4 ? COUNT : COUNT / 10;
  const name = `takes ${count} short connections over IPv${family} from ${PORTS} ports of one client`;
  reuse(name, () =>
    withLab(name, { needTun: true }, async (lab) => {
      const cluster = await openCluster(lab);
      await warm(lab);
      await limitPorts(lab);
      const address = family === 4 ? lab.plan.service4 : lab.plan.service6;
      const result = await burst(lab.nodes.client, address, count, CONCURRENCY);
      const ends = await cluster.stop();
      assert.equal(ends, []);
      const { events } = cluster.forwarder;
      const backends = [...cluster.backends.values()].map((each) => countersOf(each.events));
      judge(result, count, countersOf(events), backends);
    }),
  );
}

function judge(result: BurstResult, count: number, forwarder: Groups, backends: Groups[]): void {
  const text = JSON.stringify({ result, forwarder, backends });
  assert.is(result.resets, 0, text);
  assert.equal(result.failures, {}, text);
  assert.is(result.synRetransmissions, 0, text);
  assert.is(result.slowByItself, 0, text);
  // All but the first use of each port met TIME-WAIT at a backend, which let the SYN go.
  const again = count - result.ports;
  assert.ok(again > 5 * result.ports || count < COUNT, text);
  assert.ok((forwarder["forwarder"]?.["reinjected"] ?? 0) >= again - WARM_MAX, text);
  const released = sum(backends, "core", "handed_back");
  assert.ok(released >= again - WARM_MAX, text);
  assert.is(sum(backends, "core", "tcp_reset"), 0, text);
}

function sum(all: readonly Groups[], group: string, name: string): number {
  return all.reduce((total, groups) => total + (groups[group]?.[name] ?? 0), 0);
}

reuse.run();
