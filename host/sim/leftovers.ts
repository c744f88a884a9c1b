/**
 * What is left in a cluster after every connection has ended and every timer has run out: nothing should be.
 * Knows the tables of the nodes; must not know how anything got there.
 */
import { formatAddress } from "../core/address.ts";
import type { Cluster } from "./cluster.ts";

export function leftovers(cluster: Cluster): string[] {
  const found: string[] = [];
  const expectNone = (count: number, what: string): void => {
    if (count > 0) found.push(`${what}: ${count} are left`);
  };
  const { forwarder, backends, classifiers } = cluster;
  const { core, role } = forwarder;
  const mappings: string[] = [];
  core.mapEach(({ remote, remotePort }, { action }) => {
    const [name] = Object.entries(core.mapActions).find(([, value]) => value === action) ?? [];
    mappings.push(`${name ?? action} of ${formatAddress(remote)} ${remotePort}`);
  });
  expectNone(mappings.length, `mappings (${mappings.slice(0, 3).join(", ")})`);
  expectNone(role.judge.openCount, "entries of the judge");
  expectNone(role.classifier.size, "connections of the classifier");
  expectNone(role.migrator.outgoingCount, "moves of the classifier");
  for (const { name, core, role, isUp } of classifiers) {
    if (!isUp) continue;
    let records = 0;
    core.recordEach(() => records++);
    expectNone(records, `${name}: records`);
    expectNone(role.classifier.size, `${name}: connections`);
    expectNone(role.migrator.outgoingCount, `${name}: moves`);
    expectNone(role.waiting.isEmpty ? 0 : 1, `${name}: lines of held segments`);
  }
  for (const { name, core, role, isUp } of backends) {
    if (!isUp) continue;
    let records = 0;
    core.recordEach(() => records++);
    expectNone(records, `${name}: records`);
    expectNone(role.connections, `${name}: connections`);
    expectNone(role.migrator.outgoingCount, `${name}: moves`);
  }
  return found;
}
