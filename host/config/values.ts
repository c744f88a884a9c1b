/**
 * Single values as a user writes them: addresses, names, sizes, times. Knows notation; must not know
 * which flag a value belongs to: an error says what was expected and got, the caller says where.
 */
import { formatAddress, parseAddress } from "../core/address.ts";
import { BatonError } from "../errors.ts";
import { NAME_PATTERN } from "../routing/rules.ts";

/** UDP port of the transport between nodes. */
export const DEFAULT_PORT = 4433;

const DRAIN_MS_MAX = 86_400_000;

/** An IP address in canonical text. */
export interface NetworkAddress {
  readonly address: string;
  readonly family: 4 | 6;
}

export interface ServiceAddress extends NetworkAddress {
  readonly port: number;
}

/** Where a backend's connections go. */
export type Upstream =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** Another node, as configured. */
export interface PeerSpec {
  readonly name: string;
  /** Where its datagrams are sent. */
  readonly endpoint: ServiceAddress;
  /** At most one of each family. */
  readonly tunnels: readonly NetworkAddress[];
}

/** Bytes of sun_path without the closing zero (unix(7)). */
const UNIX_PATH_MAX = 107;
/** IFNAMSIZ without the closing zero (netdevice(7)). */
const INTERFACE_MAX = 15;

const MILLISECONDS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;
const MULTIPLES = { "": 1, k: 1024, M: 1024 ** 2, G: 1024 ** 3 } as const;

export function expected(what: string, got: string): BatonError {
  const shown = got === "" ? "nothing" : JSON.stringify(got);
  return new BatonError("ERR_BATON_CONFIG", `expected ${what}, got ${shown}`);
}

/** A unicast address. */
export function parseNetworkAddress(text: string): NetworkAddress {
  const bytes = parseAddress(text);
  if (!bytes) throw expected("an IP address", text);
  if (!isUnicast(bytes)) throw expected("a unicast address", text);
  return { address: formatAddress(bytes), family: bytes.length === 4 ? 4 : 6 };
}

/** `10.0.0.100:80` or `[fd00::100]:80`, unicast. */
export function parseService(text: string): ServiceAddress {
  const { host, port } = splitPort(text, "ADDRESS:PORT");
  return { ...parseNetworkAddress(host), port };
}

/** Where to listen: like parseService, but the unspecified addresses are meant well. */
export function parseListen(text: string): ServiceAddress {
  const { host, port } = splitPort(text, "ADDRESS:PORT");
  if (host === "0.0.0.0") return { address: host, family: 4, port };
  if (host === "::") return { address: host, family: 6, port };
  return { ...parseNetworkAddress(host), port };
}

/** `host:port`, `[address]:port` or `unix:/path`. */
export function parseUpstream(text: string): Upstream {
  const what = "HOST:PORT or unix:/PATH";
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    const isFit = path.startsWith("/") && Buffer.byteLength(path) <= UNIX_PATH_MAX;
    if (!isFit || path.includes("\0")) throw expected(what, text);
    return { kind: "unix", path };
  }
  const { host, port } = splitPort(text, what);
  const isName = /^(?!-)[A-Za-z0-9._-]{1,253}$/.test(host) && !/^[0-9.]+$/.test(host);
  if (!isName && !parseAddress(host)) throw expected(what, text);
  return { kind: "tcp", host, port };
}

/** `NAME=ADDRESS[:PORT][,tunnel=ADDRESS]...` */
export function parsePeer(text: string): PeerSpec {
  const what = "NAME=ADDRESS[:PORT],tunnel=ADDRESS[,tunnel=ADDRESS]";
  const equals = text.indexOf("=");
  if (equals < 0) throw expected(what, text);
  const [where = "", ...rest] = text.slice(equals + 1).split(",");
  const tunnels = rest.map((part) => {
    if (!part.startsWith("tunnel=")) throw expected("tunnel=ADDRESS", part);
    return parseNetworkAddress(part.slice("tunnel=".length));
  });
  if (tunnels.length === 0) throw expected(what, text);
  checkTunnels(tunnels);
  return { name: parseName(text.slice(0, equals)), endpoint: parseEndpoint(where), tunnels };
}

/** One tunnel address of each family at most: a packet keeps its family. */
export function checkTunnels(tunnels: readonly NetworkAddress[]): void {
  for (const family of [4, 6] as const) {
    const [, second] = tunnels.filter((tunnel) => tunnel.family === family);
    if (second) throw expected(`one IPv${family} tunnel address`, second.address);
  }
}

export function parseName(text: string): string {
  if (NAME_PATTERN.test(text)) return text;
  throw expected('a name of letters, digits, ".", "_", "-"', text);
}

/** Where packets come in. */
export interface LinkSpec {
  readonly kind: "tun" | "xdp";
  readonly device: string;
}

/** tun, tun:DEVICE, xdp:DEVICE */
export function parseLink(text: string): LinkSpec {
  const [kind, ...rest] = text.split(":");
  const hasDevice = rest.length > 0;
  if (kind === "tun")
    return { kind, device: parseInterface(hasDevice ? rest.join(":") : "baton0") };
  if (kind === "xdp" && hasDevice) return { kind, device: parseInterface(rest.join(":")) };
  throw expected("tun, tun:DEVICE or xdp:DEVICE", text);
}

export function parseInterface(text: string): string {
  const isFit = text.length <= INTERFACE_MAX && /^[^\s/:]+$/.test(text);
  if (isFit && text !== "." && text !== "..") return text;
  throw expected("the name of a network interface", text);
}

export function parsePath(text: string): string {
  if (text !== "" && !text.includes("\0")) return text;
  throw expected("a path", text);
}

/** A whole number, `k`, `M` and `G` being powers of 1,024. */
export function parseCount(text: string, min: number, max: number): number {
  const match = /^([0-9]{1,10})([kMG]?)$/.exec(text);
  const multiple = MULTIPLES[(match?.[2] ?? "") as keyof typeof MULTIPLES];
  const value = match ? Number(match[1]) * multiple : NaN;
  if (value >= min && value <= max) return value;
  throw expected(`a whole number from ${min} to ${max}`, text);
}

/** Milliseconds of `500ms`, `10s`, `2m`, `1h`. */
export function parseDuration(text: string, minMs: number, maxMs: number): number {
  const match = /^([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h)$/.exec(text);
  const unit = MILLISECONDS[(match?.[2] ?? "ms") as keyof typeof MILLISECONDS];
  const value = match ? Math.round(Number(match[1]) * unit) : NaN;
  if (value >= minMs && value <= maxMs) return value;
  throw expected(`a time from ${showMs(minMs)} to ${showMs(maxMs)}, as 500ms or 10s`, text);
}

/** What --drain-timeout takes. */
export function parseDrainTime(text: string): number {
  return parseDuration(text, 0, DRAIN_MS_MAX);
}

/** An address with an optional port; IPv6 with a port in brackets. */
function parseEndpoint(text: string): ServiceAddress {
  const bare = parseAddress(text);
  if (bare) return { ...parseNetworkAddress(text), port: DEFAULT_PORT };
  const bracketed = /^\[([^\]]*)\]$/.exec(text);
  if (bracketed) return { ...parseNetworkAddress(bracketed[1] ?? ""), port: DEFAULT_PORT };
  const { host, port } = splitPort(text, "ADDRESS or ADDRESS:PORT");
  return { ...parseNetworkAddress(host), port };
}

function splitPort(text: string, what: string): { host: string; port: number } {
  const match = /^(?:\[([^[\]]*:[^[\]]*)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3] ?? 0);
  if (!match || port < 1 || port > 65_535) throw expected(what, text);
  return { host: match[1] ?? match[2] ?? "", port };
}

function isUnicast(bytes: Uint8Array): boolean {
  if (bytes.every((byte) => byte === 0)) return false;
  const [first = 0] = bytes;
  return bytes.length === 4 ? first < 224 && first !== 0 : first !== 0xff;
}

function showMs(ms: number): string {
  if (ms === 0) return "0s";
  for (const unit of ["h", "m", "s"] as const) {
    if (ms % MILLISECONDS[unit] === 0) return `${ms / MILLISECONDS[unit]}${unit}`;
  }
  return `${ms}ms`;
}
