/**
 * The flags of the daemons and what they mean together: texts in, checked and typed configuration out,
 * every error one line that names its flag. Plain data, so that it can be sent to a Worker.
 */
import { hostname } from "node:os";
import { BatonError } from "../errors.ts";
import { parseRouting } from "../routing/router.ts";
import type { Rule } from "../routing/rules.ts";
import { many, onOff, one, parseFlags, within, withFile } from "./schema.ts";
import type { FlagInput, Parsed } from "./schema.ts";
import { checkRouting, parseVip, SERVICE_FORM, type Service } from "./service.ts";
import {
  checkTunnels,
  DEFAULT_PORT,
  expected,
  parseCount,
  parseDrainTime,
  parseDuration,
  parseInterface,
  parseLink,
  parseListen,
  parseName,
  parseNetworkAddress,
  parsePath,
  parsePeer,
  parseUpstream,
} from "./values.ts";
import type { LinkSpec, NetworkAddress, PeerSpec, ServiceAddress, Upstream } from "./values.ts";

export type { LinkSpec, NetworkAddress, PeerSpec, ServiceAddress, Upstream } from "./values.ts";
export type { Service } from "./service.ts";

/** Where `baton keygen` writes and the daemons look. */
export const DEFAULT_KEY_FILE = "/etc/baton/cluster.key";
/** Where `baton drain` looks for a forwarder that was given no other place. */
export function controlPath(name: string): string {
  return `/run/baton/${name}.sock`;
}

/** Names in `--limit`, the Parameters of the core they set, and the largest value of each. */
const LIMITS = {
  connections: { parameter: "connectionsMax", max: 2 ** 21 - 1 },
  "time-wait": { parameter: "timeWaitMax", max: 2 ** 24 },
  "half-open": { parameter: "halfOpenMax", max: 2 ** 21 - 1 },
  mappings4: { parameter: "mappings4Max", max: 2 ** 26 },
  mappings6: { parameter: "mappings6Max", max: 2 ** 26 },
  records: { parameter: "recordsMax", max: 2 ** 26 },
  "early-bytes": { parameter: "earlyBytesMax", max: 2 ** 31 },
  "early-flows": { parameter: "earlyFlowsMax", max: 2 ** 24 },
  "buffer-bytes": { parameter: "bufferBytes", max: 2 ** 32 - 1 },
  "receive-bytes": { parameter: "rcvBufferMax", max: 2 ** 24 },
  "send-bytes": { parameter: "sndBufferMax", max: 2 ** 24 },
  "blob-bytes": { parameter: "blobBytes", max: 2 ** 26 },
} as const;

type RoleName = "forwarder" | "classifier" | "backend";
const CLASSIFYING: readonly RoleName[] = ["forwarder", "classifier"];
const EVERYBODY: readonly RoleName[] = [...CLASSIFYING, "backend"];

/** Names in `--timeout`, their range in milliseconds, and the roles that have it. */
const TIMEOUTS = {
  head: { field: "headMs", min: 100, max: 3_600_000, roles: CLASSIFYING },
  connect: { field: "connectMs", min: 10, max: 3_600_000, roles: ["backend"] as RoleName[] },
  "keep-alive": { field: "keepAliveMs", min: 1_000, max: 86_400_000, roles: EVERYBODY },
  user: { field: "userMs", min: 1_000, max: 86_400_000, roles: EVERYBODY },
} as const;

type LimitName = keyof typeof LIMITS;
type TimeoutName = keyof typeof TIMEOUTS;

/** What the user sets of the core's Parameters; the rest keeps the core's defaults. */
export type Limits = Partial<Record<(typeof LIMITS)[LimitName]["parameter"], number>>;
export type Timeouts = Partial<Record<(typeof TIMEOUTS)[TimeoutName]["field"], number>>;

/** Where packets leave: by the link they came in by, or by raw sockets. */
export type Egress = "tun" | "raw";

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

const PEER_FORM = "NAME=ADDRESS[:PORT],tunnel=ADDRESS";

const NODE_FLAGS = {
  name: one("NAME", "this node's name (default: the host's name)", parseName),
  listen: one(
    "ADDRESS:PORT",
    `receive datagrams here (default: any, ${DEFAULT_PORT})`,
    parseListen,
  ),
  tunnel: many("ADDRESS", "this node's tunnel address, one of each family", parseNetworkAddress),
  "key-file": one("FILE", `the cluster key (default: ${DEFAULT_KEY_FILE})`, parsePath),
  link: one(
    "LINK",
    "where packets come in: tun[:DEVICE], xdp:DEVICE (default: tun:baton0)",
    parseLink,
  ),
  egress: one("KIND", "where packets leave: tun or raw (default: tun)", parseEgress),
  mtu: one("BYTES", "largest packet (default: the link's)", (text) =>
    parseCount(text, 576, 65_535),
  ),
  limit: many("NAME=NUMBER", `${Object.keys(LIMITS).join(", ")}`, parseLimit),
  config: one("FILE", "read flags from this JSON file; those given here win", parsePath),
  json: onOff("log in JSON lines"),
  quiet: onOff("report only connections that failed"),
};

const ROUTING_FLAGS = {
  route: many("RULE", "'host=api.example path=/v1/* -> b1,b2', the first match decides", String),
  pool: many("POOL", "'name=b1,b2 policy=least-connections'", String),
  ecn: onOff("agree to ECN (RFC 3168) with clients that ask for it"),
};

export const FORWARDER_FLAGS = {
  vip: many(SERVICE_FORM, "a service address", parseVip),
  backend: many(PEER_FORM, "a backend", parsePeer),
  control: one("PATH", `socket for commands (default: ${controlPath("NAME")})`, parsePath),
  classifier: many(PEER_FORM, "a classifier on a node of its own (default: none)", parsePeer),
  ...ROUTING_FLAGS,
  announce: one("IFACE", "answer ARP and NDP for service addresses here", parseInterface),
  timeout: timeoutFlag("forwarder"),
  ...NODE_FLAGS,
};

export const CLASSIFIER_FLAGS = {
  vip: many(SERVICE_FORM, "a service address, as at the forwarder", parseVip),
  forwarder: many(PEER_FORM, "a forwarder", parsePeer),
  backend: many("NAME", "a backend that rules name, as at the forwarder", parseBackendName),
  ...ROUTING_FLAGS,
  timeout: timeoutFlag("classifier"),
  ...NODE_FLAGS,
};

export const BACKEND_FLAGS = {
  forwarder: many(PEER_FORM, "a forwarder", parsePeer),
  upstream: one("HOST:PORT", "the server behind, or unix:/PATH", parseUpstream),
  "drain-timeout": one("TIME", "what SIGTERM gives to leave (default: 25s)", parseDrainTime),
  "proxy-protocol": onOff("tell the server the client's address by PROXY protocol v2"),
  timeout: timeoutFlag("backend"),
  ...NODE_FLAGS,
};

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
  return {
    ...node,
    services,
    backends,
    classifiers,
    rules,
    announce: flags.announce,
    control: flags.control,
    ecn: flags.ecn,
  };
}

export function classifierConfig(input: FlagInput): ClassifierConfig {
  const flags = parseFlags(CLASSIFIER_FLAGS, withFile(CLASSIFIER_FLAGS, input));
  const { vip: services, backend: backends } = flags;
  require(services, "vip", "ADDRESS:PORT");
  const member = memberConfig(flags);
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
  return { ...memberConfig(flags), upstream, drainMs, proxyProtocol };
}

/** The backend of an application, which is its own server. */
export function applicationConfig(input: FlagInput): MemberConfig {
  return memberConfig(parseFlags(BACKEND_FLAGS, input));
}

function memberConfig(flags: NodeFlags & { forwarder: readonly PeerSpec[] }): MemberConfig {
  const { forwarder: forwarders } = flags;
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
  const { tunnel: tunnels, mtu, json, quiet } = flags;
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

/** A name alone, or a backend as the forwarder has it: one file may serve both. */
function parseBackendName(text: string): string {
  return text.includes("=") ? parsePeer(text).name : parseName(text);
}

function parseEgress(text: string): Egress {
  if (text !== "tun" && text !== "raw") throw expected("tun or raw", text);
  return text;
}

function parseLimit(text: string): [string, number] {
  const { key, value } = pair(text, "NAME=NUMBER", LIMITS);
  const { parameter, max } = LIMITS[key];
  return [parameter, within(key, () => parseCount(value, 1, max))];
}

function timeoutFlag(role: RoleName) {
  const own = Object.entries(TIMEOUTS).filter(([, { roles }]) => roles.includes(role));
  const table: Readonly<Record<string, (typeof TIMEOUTS)[TimeoutName]>> = Object.fromEntries(own);
  const help = `${Object.keys(table).join(", ")}; as 500ms, 10s`;
  return many("NAME=TIME", help, (text): [string, number] => {
    const { key, value } = pair(text, "NAME=TIME", table);
    const { field, min, max } = TIMEOUTS[key as TimeoutName];
    return [field, within(key, () => parseDuration(value, min, max))];
  });
}

function pair<T extends object>(
  text: string,
  form: string,
  table: T,
): { key: keyof T & string; value: string } {
  const equals = text.indexOf("=");
  const key = text.slice(0, Math.max(equals, 0));
  if (equals < 0) throw expected(form, text);
  if (!Object.hasOwn(table, key)) throw expected(`one of ${Object.keys(table).join(", ")}`, key);
  return { key: key as keyof T & string, value: text.slice(equals + 1) };
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
