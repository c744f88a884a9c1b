/**
 * The flags of the daemons: name, form, help and reader of each, with the tables of `--limit` and `--timeout`. Knows
 * single values; must not know what several flags mean together.
 */
import { many, onOff, one, within } from "./schema.ts";
import { FORWARDER_FORM, parseForwarder, parseQueues, QUEUES_MAX } from "./queues.ts";
import { parseVip, SERVICE_FORM } from "./service.ts";
import {
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

/** Huge pages for tables whose small pages are resident anyway, for all of the core's memory, for nothing. */
export type HugePages = "auto" | "always" | "never";

export const PEER_FORM = "NAME=ADDRESS[:PORT],tunnel=ADDRESS";

export const NODE_FLAGS = {
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
  "huge-pages": one(
    "WHEN",
    "ask the kernel for huge pages: auto, always or never (default: auto, for tables that are full enough)",
    parseHugePages,
  ),
  json: onOff("log in JSON lines"),
  quiet: onOff("report only connections that failed"),
};

export const ROUTING_FLAGS = {
  route: many("RULE", "'host=api.example path=/v1/* -> b1,b2', the first match decides", String),
  pool: many("POOL", "'name=b1,b2 policy=least-connections'", String),
  ecn: onOff("agree to ECN (RFC 3168) with clients that ask for it"),
};

export const FORWARDER_FLAGS = {
  vip: many(SERVICE_FORM, "a service address", parseVip),
  backend: many(PEER_FORM, "a backend", parsePeer),
  control: one("PATH", `socket for commands (default: ${controlPath("NAME")})`, parsePath),
  queues: one(
    "NUMBER",
    `workers, each on a queue of the device, at most ${QUEUES_MAX} (default: 1)`,
    parseQueues,
  ),
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
  forwarder: many(FORWARDER_FORM, "a forwarder and its workers", parseForwarder),
  upstream: one("HOST:PORT", "the server behind, or unix:/PATH", parseUpstream),
  "drain-timeout": one("TIME", "what SIGTERM gives to leave (default: 25s)", parseDrainTime),
  "proxy-protocol": onOff("tell the server the client's address by PROXY protocol v2"),
  timeout: timeoutFlag("backend"),
  ...NODE_FLAGS,
};

/** A name alone, or a backend as the forwarder has it: one file may serve both. */
function parseBackendName(text: string): string {
  return text.includes("=") ? parsePeer(text).name : parseName(text);
}

function parseHugePages(text: string): HugePages {
  if (text !== "auto" && text !== "always" && text !== "never") {
    throw expected("auto, always or never", text);
  }
  return text;
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

export function timeoutFlag(role: RoleName) {
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
