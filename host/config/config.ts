/**
 * What the flags of the daemons mean together: texts in, checked and typed configuration out, every error
 * one line that names its flag. Plain data, so that it can be sent to a Worker.
 */
import { hostname } from "node:os";
import { BatonError } from "../errors.ts";
import { parseRouting } from "../routing/router.ts";
import type { Rule } from "../routing/rules.ts";
import {
  BACKEND_FLAGS,
  CLASSIFIER_FLAGS,
  DEFAULT_KEY_FILE,
  FORWARDER_FLAGS,
  PEER_FORM,
  type Egress,
  type HugePages,
  type Limits,
  type NODE_FLAGS,
  type ROUTING_FLAGS,
  type timeoutFlag,
  type Timeouts,
} from "./flags.ts";
import { workerEndpoint, workerName, workerTunnel } from "./queues.ts";
import { parseFlags, within, withFile } from "./schema.ts";
import type { FlagInput, Parsed } from "./schema.ts";
import { checkRouting, type Service } from "./service.ts";
import { checkTunnels, DEFAULT_PORT, parseLink, parseName } from "./values.ts";
import type { LinkSpec, NetworkAddress, PeerSpec, ServiceAddress, Upstream } from "./values.ts";

export type { LinkSpec, NetworkAddress, PeerSpec, ServiceAddress, Upstream } from "./values.ts";
export type { Service } from "./service.ts";
export type { Egress, HugePages, Limits, Timeouts } from "./flags.ts";

/** What every node has. */
export interface NodeConfig {
  readonly name: string;
  /** Where datagrams of the transport are received. */
  readonly listen: ServiceAddress;
  /** This node's own, at most one of each family. */
  readonly tunnels: readonly NetworkAddress[];
  readonly keyFile: string;
  readonly link: LinkSpec;
  readonly egress: Egress;
  /** Undefined: the link's own. */
  readonly mtu: number | undefined;
  readonly limits: Limits;
  readonly timeouts: Timeouts;
  /** When to ask the kernel for huge pages for the core's memory. */
  readonly hugePages: HugePages;
  /** Log and report in JSON lines. */
  readonly json: boolean;
  /** Report only connections that failed. */
  readonly quiet: boolean;
}

export interface ForwarderConfig extends NodeConfig {
  readonly services: readonly Service[];
  readonly backends: readonly PeerSpec[];
  /** Nodes that classify; none: the forwarder does. */
  readonly classifiers: readonly PeerSpec[];
  readonly rules: readonly Rule[];
  /** Answer ARP and NDP for the service addresses on this interface. */
  readonly announce: string | undefined;
  /** Where operators' commands are taken; undefined: at the default place, if there can be one. */
  readonly control: string | undefined;
  readonly ecn: boolean;
  /** How many workers there are, each on a queue of the device. */
  readonly queues: number;
}

/** A node that takes connections from forwarders. */
export interface MemberConfig extends NodeConfig {
  readonly forwarders: readonly PeerSpec[];
}

/** A node that reads requests for forwarders. */
export interface ClassifierConfig extends MemberConfig {
  readonly services: readonly Service[];
  /** Names that rules use. */
  readonly backends: readonly string[];
  readonly rules: readonly Rule[];
  readonly ecn: boolean;
}

export interface BackendConfig extends MemberConfig {
  readonly upstream: Upstream;
  readonly drainMs: number | undefined;
  readonly proxyProtocol: boolean;
}

export function forwarderConfig(input: FlagInput): ForwarderConfig {
  const flags = parseFlags(FORWARDER_FLAGS, withFile(FORWARDER_FLAGS, input));
  const { vip: services, backend: backends, classifier: classifiers } = flags;
  require(services, "vip", "ADDRESS:PORT");
  require(backends, "backend", PEER_FORM);
  const peers = [...backends, ...classifiers];
  const node = nodeConfig(flags, peers, "backend");
  checkServices(services, node, peers);
  if (flags.announce !== undefined && node.link.kind === "xdp") {
    throw fault("announce", "expected --link tun: the kernel answers for what it routes");
  }
  const families = new Set(services.map(({ family }) => family));
  for (const family of families) {
    checkFamily(family, node.tunnels);
    checkPeers(family, backends, "backend");
    checkPeers(family, classifiers, "classifier");
  }
  const names = backends.map(({ name }) => name);
  const rules = parseRules(flags, names);
  checkRouting(services, rules);
  const config = {
    ...node,
    services,
    backends,
    classifiers,
    rules,
    announce: flags.announce,
    control: flags.control,
    ecn: flags.ecn,
    queues: flags.queues ?? 1,
  };
  if (config.queues > 1) checkWorkers(config);
  return config;
}

/** What each worker is, a forwarder of one queue. */
export function workersOf(config: ForwarderConfig): readonly ForwarderConfig[] {
  const { name, listen, tunnels, queues } = config;
  return Array.from({ length: queues }, (_, worker) => ({
    ...config,
    queues: 1,
    name: workerName(name, worker),
    listen: within("--listen", () => workerEndpoint(listen, worker)),
    tunnels: tunnels.map((tunnel) => within("--tunnel", () => workerTunnel(tunnel, worker))),
  }));
}

function checkWorkers(config: ForwarderConfig): void {
  const { link, classifiers, backends, services } = config;
  if (link.kind !== "tun") throw fault("queues", `expected --link tun, got ${link.kind}`);
  if (classifiers.length > 0) throw fault("queues", "expected no --classifier, got one");
  const workers = workersOf(config);
  distinct(
    "backend",
    [...workers, ...backends].map(({ name }) => name),
  );
  const tunnels = [...workers, ...backends].flatMap((node) => node.tunnels);
  distinct("tunnel", tunnels.map(addressOf));
  for (const worker of workers) checkServices(services, worker, backends);
}

export function classifierConfig(input: FlagInput): ClassifierConfig {
  const flags = parseFlags(CLASSIFIER_FLAGS, withFile(CLASSIFIER_FLAGS, input));
  const { vip: services, backend: backends } = flags;
  require(services, "vip", "ADDRESS:PORT");
  const member = memberConfig(flags, flags.forwarder);
  checkServices(services, member, member.forwarders);
  require(backends, "backend", "NAME");
  distinct("backend", [member.name, ...backends]);
  for (const { family } of services) checkFamily(family, member.tunnels);
  const rules = parseRules(flags, backends);
  checkRouting(services, rules);
  return { ...member, services, backends, rules, ecn: flags.ecn };
}

export function backendConfig(input: FlagInput): BackendConfig {
  const flags = parseFlags(BACKEND_FLAGS, withFile(BACKEND_FLAGS, input));
  const { upstream, "proxy-protocol": proxyProtocol, "drain-timeout": drainMs } = flags;
  if (!upstream) throw fault("upstream", "expected HOST:PORT or unix:/PATH, got nothing");
  const member = memberConfig(flags, flags.forwarder.flat());
  return { ...member, upstream, drainMs, proxyProtocol };
}

/** The backend of an application, which is its own server. */
export function applicationConfig(input: FlagInput): MemberConfig {
  const flags = parseFlags(BACKEND_FLAGS, input);
  return memberConfig(flags, flags.forwarder.flat());
}

function memberConfig(flags: NodeFlags, forwarders: readonly PeerSpec[]): MemberConfig {
  require(forwarders, "forwarder", PEER_FORM);
  const node = nodeConfig(flags, forwarders, "forwarder");
  for (const { name, tunnels } of forwarders) {
    const isShared = tunnels.some(({ family }) =>
      node.tunnels.some((own) => own.family === family),
    );
    if (!isShared) throw fault("tunnel", `expected an address of a family that ${name} has too`);
  }
  return { ...node, forwarders };
}

type NodeFlags = Parsed<typeof NODE_FLAGS & { timeout: ReturnType<typeof timeoutFlag> }>;

function nodeConfig(flags: NodeFlags, peers: readonly PeerSpec[], peerFlag: string): NodeConfig {
  const { tunnel: tunnels, mtu, "huge-pages": hugePages = "auto", json, quiet } = flags;
  const name = flags.name ?? within("--name", () => parseName(hostname().split(".")[0] ?? ""));
  require(tunnels, "tunnel", "ADDRESS");
  within("--tunnel", () => checkTunnels(tunnels));
  distinct(peerFlag, [name, ...peers.map((peer) => peer.name)]);
  distinct("tunnel", [...tunnels, ...peers.flatMap((peer) => peer.tunnels)].map(addressOf));
  if (mtu !== undefined && mtu < 1280 && tunnels.some(({ family }) => family === 6)) {
    throw fault("mtu", `expected at least 1280 for IPv6 (RFC 8200 5), got ${mtu}`);
  }
  if (flags.egress === "raw" && flags.link?.kind === "xdp") {
    throw fault("egress", "expected none with --link xdp, got raw");
  }
  const isDual = peers.some((peer) => peer.endpoint.family === 6);
  const any: ServiceAddress = isDual
    ? { address: "::", family: 6, port: DEFAULT_PORT }
    : { address: "0.0.0.0", family: 4, port: DEFAULT_PORT };
  return {
    name,
    listen: flags.listen ?? any,
    tunnels,
    keyFile: flags["key-file"] ?? DEFAULT_KEY_FILE,
    link: flags.link ?? parseLink("tun"),
    egress: flags.egress ?? "tun",
    mtu,
    limits: Object.fromEntries(flags.limit) as Limits,
    timeouts: Object.fromEntries(flags.timeout) as Timeouts,
    hugePages,
    json,
    quiet,
  };
}

/** Without a rule every connection goes to all backends in turn. */
function parseRules(
  flags: Parsed<typeof ROUTING_FLAGS>,
  names: readonly string[],
): readonly Rule[] {
  const routes = flags.route.length > 0 ? flags.route : [`default -> ${names.join()}`];
  let where = "";
  const note = (kind: string, text: string): void => {
    where = `--${kind} ${JSON.stringify(text)}`;
  };
  try {
    return parseRouting({ backends: names, pools: flags.pool, routes }, note);
  } catch (error) {
    return within(where, () => {
      throw error;
    });
  }
}

function checkServices(
  services: readonly ServiceAddress[],
  { tunnels }: NodeConfig,
  peers: readonly PeerSpec[],
): void {
  distinct(
    "vip",
    services.map(({ address, port }) => `${address} port ${port}`),
  );
  const all = [...tunnels, ...peers.flatMap((peer) => peer.tunnels)];
  const used = new Set(all.map(addressOf));
  for (const { address } of services) {
    if (used.has(address)) throw fault("vip", `${address} is a tunnel address too`);
  }
}

/** A packet keeps its family, so both ends need a tunnel address of each service's family. */
function checkFamily(family: 4 | 6, own: readonly NetworkAddress[]): void {
  if (own.some((tunnel) => tunnel.family === family)) return;
  throw fault("tunnel", `expected an IPv${family} address for the IPv${family} --vip`);
}

function checkPeers(family: 4 | 6, peers: readonly PeerSpec[], flag: string): void {
  for (const { name, tunnels } of peers) {
    if (tunnels.some((tunnel) => tunnel.family === family)) continue;
    const wanted = `an IPv${family} tunnel address for the IPv${family} --vip`;
    throw fault(flag, `${name}: expected ${wanted}`);
  }
}

function require(values: readonly unknown[], flag: string, form: string): void {
  if (values.length === 0) throw fault(flag, `expected ${form} at least once, got nothing`);
}

function distinct(flag: string, values: readonly string[]): void {
  const second = values.find((value, index) => values.indexOf(value) < index);
  if (second !== undefined) throw fault(flag, `expected different ones, got ${second} twice`);
}

function addressOf({ address }: NetworkAddress): string {
  return address;
}

function fault(flag: string, what: string): BatonError {
  return new BatonError("ERR_BATON_CONFIG", `--${flag}: ${what}`);
}
