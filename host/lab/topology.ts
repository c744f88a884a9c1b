/**
 * The map of the lab: which nodes there are, their addresses, and the commands for iproute2 that make
 * it. Pure: text in, text out; must not know processes or namespaces.
 *
 *            client        forwarder        b1          b2 ...
 *               | eth0         | eth0        | eth0      | eth0
 *   10.1.N.0/24 |              |             |           |        fd01:N::/64
 *               +--------------+--- router --+-----------+
 *
 * The router's end of each pair carries the node's name. It routes 10.0.0.0/24 and fd00::/64 (service
 * addresses) to the forwarder, 10.2.N.0/24 and fd02:N::/64 (tunnel addresses) to their node; no kernel
 * owns an address of these. A backend's answer goes by its default route: router, client.
 */
import { BatonError } from "../errors.ts";

export const BACKENDS_MAX = 100;
const FIRST_BACKEND = 11;
const UNREACHABLE_METRIC = 4096;

export interface NodePlan {
  readonly name: string;
  /** N of its subnets; also the order in which nodes are made. */
  readonly index: number;
  readonly device: string;
  readonly address4: string;
  readonly address6: string;
  readonly gateway4: string;
  readonly gateway6: string;
  /** Routed to this node, owned by nobody's kernel. */
  readonly tunnel4: string;
  readonly tunnel6: string;
  /** Every prefix that the router sends to this node. */
  readonly prefixes: readonly string[];
}

export interface Plan {
  readonly nodes: readonly NodePlan[];
  readonly service4: string;
  readonly service6: string;
  readonly mtu: number;
}

export interface PlanOptions {
  /** b1, b2, ...; default 2. */
  readonly backends?: number;
  /** Further nodes by name, for example a classifier. */
  readonly more?: readonly string[];
  /** Of every link; default 1500. */
  readonly mtu?: number;
}

export function planLab(options: PlanOptions = {}): Plan {
  const { backends = 2, more = [], mtu = 1500 } = options;
  if (!Number.isInteger(backends) || backends < 0 || backends > BACKENDS_MAX) {
    throw usage("backends", `0 to ${BACKENDS_MAX}`, backends);
  }
  if (!Number.isInteger(mtu) || mtu < 1280 || mtu > 65535) throw usage("mtu", "1280 to 65535", mtu);
  const few = ["client", "forwarder", ...more];
  if (few.length >= FIRST_BACKEND) throw usage("more", "at most 8 names", more.length);
  const many = Array.from({ length: backends }, (_, index) => `b${index + 1}`);
  const names = new Set([...few, ...many, "router", "lo"]);
  if (names.size !== few.length + many.length + 2)
    throw usage("more", "distinct names", more.join());
  for (const name of few) {
    if (!/^[a-z][a-z0-9-]{0,12}$/.test(name)) throw usage("more", "short lower-case names", name);
  }
  const nodes = [
    ...few.map((name, index) => planNode(name, index + 1)),
    ...many.map((name, index) => planNode(name, index + FIRST_BACKEND)),
  ];
  return { nodes, service4: "10.0.0.100", service6: "fd00::100", mtu };
}

function planNode(name: string, index: number): NodePlan {
  const services = name === "forwarder" ? ["10.0.0.0/24", "fd00::/64"] : [];
  const links = [`10.1.${index}.0/24`, `fd01:${index}::/64`];
  const tunnels = [`10.2.${index}.0/24`, `fd02:${index}::/64`];
  return {
    name,
    index,
    device: "eth0",
    address4: `10.1.${index}.2`,
    address6: `fd01:${index}::2`,
    gateway4: `10.1.${index}.1`,
    gateway6: `fd01:${index}::1`,
    tunnel4: `10.2.${index}.1`,
    tunnel6: `fd02:${index}::1`,
    prefixes: [...links, ...tunnels, ...services],
  };
}

/**
 * Lines for `ip -batch` in the router's namespace.
 * @param fdOf the path of a node's namespace, as `ip link ... netns` takes it
 */
export function routerCommands(plan: Plan, fdOf: (node: string) => string): string[] {
  const lines = ["link set lo up"];
  for (const node of plan.nodes) {
    const far = `name ${node.device} mtu ${plan.mtu} netns ${fdOf(node.name)}`;
    lines.push(
      `link add name ${node.name} mtu ${plan.mtu} type veth peer ${far}`,
      `address add ${node.gateway4}/24 dev ${node.name}`,
      `address add ${node.gateway6}/64 dev ${node.name} nodad`,
      `link set ${node.name} up`,
    );
  }
  return lines;
}

/** Routes of the router; they need the far ends to be up. */
export function routerRoutes(plan: Plan): string[] {
  return plan.nodes.flatMap((node) =>
    node.prefixes
      .slice(2)
      .map((prefix) => `route add ${prefix} via ${gatewayFor(prefix, node)} dev ${node.name}`),
  );
}

function gatewayFor(prefix: string, node: NodePlan): string {
  return prefix.includes(":") ? node.address6 : node.address4;
}

/** Lines for `ip -batch` in a node's namespace. */
export function nodeCommands(node: NodePlan): string[] {
  return [
    "link set lo up",
    `address add ${node.address4}/24 dev ${node.device}`,
    `address add ${node.address6}/64 dev ${node.device} nodad`,
    `link set ${node.device} up`,
    `route add default via ${node.gateway4}`,
    `route add default via ${node.gateway6}`,
    // Until a daemon takes them these prefixes end here, or they would bounce back to the router.
    ...node.prefixes
      .slice(2)
      .map((prefix) => `route add unreachable ${prefix} metric ${UNREACHABLE_METRIC}`),
  ];
}

/** Kernel settings of every namespace: path below /proc/sys/net and value. Before any device exists. */
export const EARLY_SYSCTLS: readonly (readonly [string, string])[] = [
  ["ipv4/ip_forward", "1"],
  ["ipv4/conf/all/rp_filter", "0"],
  ["ipv4/conf/default/rp_filter", "0"],
  ["ipv4/conf/all/send_redirects", "0"],
  ["ipv4/conf/default/send_redirects", "0"],
  ["ipv6/conf/all/forwarding", "1"],
  ["ipv6/conf/default/forwarding", "1"],
  ["ipv6/conf/default/accept_dad", "0"],
  ["ipv6/conf/default/accept_ra", "0"],
];

function usage(what: string, expected: string, got: unknown): BatonError {
  return new BatonError(
    "ERR_BATON_CONFIG",
    `lab ${what}: expected ${expected}, got ${String(got)}`,
  );
}
