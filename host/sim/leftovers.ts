/**
 * What is left in a cluster after every connection has ended and every timer has run out: nothing should be.
 * Knows the tables of the nodes; must not know how anything got there.
 */
import { formatAddress } from "../core/address.ts";
import type { Core } from "../core/core.ts";
import type { Cluster } from "./cluster.ts";

/** TIME-WAIT, records and timers run out meanwhile. */
const SETTLE_US = 200_000_000;

/**
 * Lets time pass until nothing is left, `rounds` times at most.
 * @returns what is left then; nothing where it `isOver` before
 */
export function settle(
  cluster: Cluster,
  clients: Core | undefined,
  rounds: number,
  isOver: () => boolean,
): string[] {
  const { scheduler } = cluster;
  let left: string[] = [];
  for (let round = 0; round < rounds; round++) {
    const untilUs = scheduler.nowUs() + SETTLE_US;
    while (!isOver() && scheduler.step(untilUs));
    left = isOver() ? [] : leftovers(cluster, clients);
    if (left.length === 0) break;
  }
  return left;
}

/** @param clients  the core of the clients that run the product's own stack */
function leftovers(cluster: Cluster, clients?: Core): string[] {
  const found: string[] = clients ? inUse("clients", clients.tables.usage()) : [];
  const expectNone = (count: number, what: string): void => {
    if (count > 0) found.push(`${what}: ${count} are left`);
  };
  const { forwarders, backends, classifiers } = cluster;
  for (const { name, core, role } of forwarders) {
    const mappings: string[] = [];
    core.mapEach(({ remote, remotePort }, { action }) => {
      const [word] = Object.entries(core.mapActions).find(([, value]) => value === action) ?? [];
      mappings.push(`${word ?? action} of ${formatAddress(remote)} ${remotePort}`);
    });
    expectNone(mappings.length, `${name}: mappings (${mappings.slice(0, 3).join(", ")})`);
    expectNone(role.judge.openCount, `${name}: entries of the judge`);
    expectNone(role.judge.flowsInUse, `${name}: flow identifiers in use`);
    expectNone(role.classifier.size, `${name}: connections of the classifier`);
    expectNone(role.migrator.outgoing.size, `${name}: moves of the classifier`);
    expectNone(role.migrator.enteredCount, `${name}: ends that the classifier has to report`);
    found.push(...inUse(name, core.tables.usage()));
  }
  for (const { name, core, role, isUp } of classifiers) {
    if (!isUp) continue;
    let records = 0;
    core.recordEach(() => records++);
    expectNone(records, `${name}: records`);
    expectNone(role.classifier.size, `${name}: connections`);
    expectNone(role.migrator.outgoing.size, `${name}: moves`);
    expectNone(role.migrator.enteredCount, `${name}: ends to be reported`);
    found.push(...inUse(name, core.tables.usage()));
    expectNone(role.waiting.isEmpty ? 0 : 1, `${name}: lines of held segments`);
  }
  for (const { name, core, role, isUp } of backends) {
    if (!isUp) continue;
    let records = 0;
    core.recordEach(() => records++);
    expectNone(records, `${name}: records`);
    expectNone(role.connections, `${name}: connections`);
    expectNone(role.migrator.outgoing.size, `${name}: moves`);
    found.push(...inUse(name, core.tables.usage()), ...unaccounted(name, core.counters()));
  }
  return found;
}

/** Every pool of a core is as full as it was at first. */
function inUse(name: string, usage: Readonly<Record<string, number>>): string[] {
  return Object.entries(usage)
    .filter(([, count]) => count > 0)
    .map(([pool, count]) => `${name}: ${count} of ${pool} are in use`);
}

/** What a backend's core counts for a packet when it comes to its tunnel address: one of these for each. */
const BACKEND_OUTCOMES = [
  "ip_malformed",
  "ip_fragment",
  "ip_checksum",
  "ip_martian",
  "ip_protocol",
  "ip_not_ours",
  "segment_malformed",
  "offload_malformed",
  "tunnel_stranger",
  "tunnel_flow_zero",
  "tunnel_checksum",
  "decapsulated",
  "early_held",
  "early_refused",
  "frozen_held",
  "frozen_refused",
  "icmp_forwarded",
  "icmp_local",
  "icmp_ignored",
  "icmp_malformed",
];

/** Packets that came in and that no counter speaks of; held ones of which nobody says what became of them. */
function unaccounted(name: string, counters: Readonly<Record<string, number>>): string[] {
  const sum = (names: readonly string[]): number =>
    names.reduce((total, counter) => total + (counters[counter] ?? 0), 0);
  const found: string[] = [];
  const handedBack = sum(["handed_back"]);
  const missing = sum(["packets_in"]) - sum(BACKEND_OUTCOMES);
  // What is handed back at once is counted there only, what waited before that twice.
  if (missing < 0 || missing > handedBack)
    found.push(`${name}: ${missing} packets unaccounted for`);
  const waited = sum(["early_held", "frozen_held"]);
  const settled = sum(["early_replayed", "frozen_replayed", "held_discarded"]);
  if (waited > settled + handedBack)
    found.push(`${name}: ${waited - settled} held packets are gone`);
  return found;
}
