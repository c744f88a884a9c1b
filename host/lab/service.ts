/**
 * A service in the lab, ready for clients: real servers, Baton's daemons in front of them. What the demo
 * and the tests on the lab share. Must not know what is asked of it.
 */
import { BatonError } from "../errors.ts";
import { makeCertificate } from "./certificate.ts";
import { Cluster, type ClusterOptions } from "./cluster.ts";
import type { Lab } from "./lab.ts";
import { ORIGIN_PORT, startOrigin, visit } from "./peers.ts";
import { judge, planScenario, RULES, TLS_NAME } from "./scenario.ts";

const WARM_LIMIT_MS = 10_000;
const WARM_VISIT_MS = 1_000;

export interface Service {
  readonly cluster: Cluster;
  /** PEM of the servers' certificate, for TLS_NAME. */
  readonly certificate: string;
}

/** Rules and servers are the scenario's. Resolves when every backend has answered. */
export async function startService(
  lab: Lab,
  options: Partial<ClusterOptions> = {},
): Promise<Service> {
  const secrets = makeCertificate([TLS_NAME]);
  await Promise.all(lab.backends.map((node) => startOrigin(node, secrets)));
  const upstream = `127.0.0.1:${ORIGIN_PORT}`;
  const cluster = new Cluster(lab, { routes: RULES, upstream, ...options });
  await cluster.ready();
  await warmUp(lab);
  return { cluster, certificate: secrets.certificate };
}

/** Nodes introduce themselves to each other first; until then the answer is 503. */
async function warmUp(lab: Lab): Promise<void> {
  const steps = planScenario({ ...lab.plan, bytes: 1 }).filter(({ tls }) => !tls);
  const deadline = performance.now() + WARM_LIMIT_MS;
  for (;;) {
    const complaints: string[] = [];
    const options = { visits: steps, certificate: "", timeoutMs: WARM_VISIT_MS };
    await visit(lab.nodes.client, options, (result) => {
      const step = steps.find(({ id }) => id === result.id);
      if (step !== undefined) complaints.push(...judge(step, result).complaints);
    });
    if (complaints.length === 0) return;
    if (performance.now() < deadline) continue;
    const got = `${complaints[0]} after ${WARM_LIMIT_MS / 1000} s`;
    throw new BatonError("ERR_BATON_LAB", `service: expected it to answer, got: ${got}`);
  }
}
