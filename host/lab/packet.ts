/**
 * Captured packets, taken apart for people and tests. Knows IPv4, IPv6, TCP and UDP headers (RFC 791,
 * 8200, 9293, 768) in plain, slow TypeScript; must not know the core, whose work it is there to check.
 */
import { formatAddress } from "../core/address.ts";

/**
 * `partial`: the field holds the pseudo-header's sum, to be finished by a device. `unknown`: not
 * everything was captured.
 */
export type ChecksumState = "valid" | "partial" | "invalid" | "unknown";

export interface TcpOptions {
  readonly mss?: number;
  readonly windowShift?: number;
  readonly sackPermitted?: boolean;
  readonly timestamps?: { readonly value: number; readonly echo: number };
}

export interface TcpSegment {
  readonly seq: number;
  readonly ack: number;
  /** In the order of the header, for example "SYN,ACK". */
  readonly flags: string;
  readonly window: number;
  readonly options: TcpOptions;
  readonly checksum: ChecksumState;
  readonly payload: Uint8Array;
  /** Bytes of payload on the wire, more than captured when the capture was cut. */
  readonly payloadLen: number;
}

export interface Packet {
  readonly version: 4 | 6;
  readonly source: string;
  readonly destination: string;
  readonly ttl: number;
  /** IP's own total length. */
  readonly length: number;
  readonly dontFragment: boolean;
  readonly fragment: boolean;
  /** IPv4 only; "valid" for IPv6, which has none. */
  readonly headerChecksum: ChecksumState;
  /** 6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6. */
  readonly protocol: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly tcp?: TcpSegment;
  /** What follows the IP header. */
  readonly body: Uint8Array;
}

const TCP = 6;
const UDP = 17;
/** IPv6 extension headers that are walked: hop-by-hop, routing, destination options (RFC 8200 4). */
const EXTENSIONS: ReadonlySet<number> = new Set([0, 43, 60]);
const EXTENSIONS_MAX = 8;
const FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

/** Undefined for bytes that are no IP packet; never throws. */
export function parsePacket(bytes: Uint8Array): Packet | undefined {
  const version = (bytes[0] ?? 0) >> 4;
  const ip = version === 4 ? parseIpv4(bytes) : version === 6 ? parseIpv6(bytes) : undefined;
  if (ip === undefined) return undefined;
  const { headerLen, ...head } = ip;
  const bodyLen = head.length - headerLen;
  const body = bytes.subarray(headerLen, headerLen + bodyLen);
  const hasPorts = (head.protocol === TCP || head.protocol === UDP) && body.length >= 4;
  const ports = hasPorts && !head.fragment ? view(body) : undefined;
  const base = {
    ...head,
    sourcePort: ports?.getUint16(0) ?? 0,
    destinationPort: ports?.getUint16(2) ?? 0,
    body,
  };
  if (head.protocol !== TCP || head.fragment) return base;
  const tcp = parseTcp(body, bodyLen, pseudoSum(bytes, head.version, bodyLen));
  return tcp === undefined ? base : { ...base, tcp };
}

type IpHead = Omit<Packet, "sourcePort" | "destinationPort" | "tcp" | "body"> & {
  headerLen: number;
};

function parseIpv4(bytes: Uint8Array): IpHead | undefined {
  const headerLen = ((bytes[0] ?? 0) & 15) * 4;
  if (headerLen < 20 || bytes.length < headerLen) return undefined;
  const data = view(bytes);
  const fragment = data.getUint16(6);
  return {
    version: 4,
    source: formatAddress(bytes.subarray(12, 16)),
    destination: formatAddress(bytes.subarray(16, 20)),
    ttl: data.getUint8(8),
    length: Math.max(data.getUint16(2), headerLen),
    dontFragment: (fragment & 0x4000) !== 0,
    fragment: (fragment & 0x3fff) !== 0,
    headerChecksum: fold(sum(bytes.subarray(0, headerLen))) === 0xffff ? "valid" : "invalid",
    protocol: data.getUint8(9),
    headerLen,
  };
}

function parseIpv6(bytes: Uint8Array): IpHead | undefined {
  if (bytes.length < 40) return undefined;
  const data = view(bytes);
  let protocol = data.getUint8(6);
  let headerLen = 40;
  for (let count = 0; count < EXTENSIONS_MAX && EXTENSIONS.has(protocol); count += 1) {
    if (bytes.length < headerLen + 8) return undefined;
    protocol = data.getUint8(headerLen);
    headerLen += (data.getUint8(headerLen + 1) + 1) * 8;
  }
  return {
    version: 6,
    source: formatAddress(bytes.subarray(8, 24)),
    destination: formatAddress(bytes.subarray(24, 40)),
    ttl: data.getUint8(7),
    length: Math.max(40 + data.getUint16(4), headerLen),
    dontFragment: true,
    fragment: protocol === 44,
    headerChecksum: "valid",
    protocol,
    headerLen,
  };
}

function parseTcp(body: Uint8Array, bodyLen: number, pseudo: number): TcpSegment | undefined {
  if (body.length < 20) return undefined;
  const data = view(body);
  const headerLen = (data.getUint8(12) >> 4) * 4;
  if (headerLen < 20 || headerLen > bodyLen) return undefined;
  const bits = data.getUint8(13);
  return {
    seq: data.getUint32(4),
    ack: data.getUint32(8),
    flags: FLAGS.filter((_, index) => (bits & (1 << index)) !== 0).join(),
    window: data.getUint16(14),
    options: parseOptions(body.subarray(20, headerLen)),
    checksum: body.length < bodyLen ? "unknown" : checksumState(body, pseudo),
    payload: body.subarray(headerLen),
    payloadLen: bodyLen - headerLen,
  };
}

/** Options that do not fit end the list, as a receiver would end it. */
function parseOptions(bytes: Uint8Array): TcpOptions {
  const options: { -readonly [K in keyof TcpOptions]: TcpOptions[K] } = {};
  const data = view(bytes);
  for (let at = 0; at < bytes.length;) {
    const kind = data.getUint8(at);
    if (kind === 0) break;
    const length = kind === 1 ? 1 : at + 1 < bytes.length ? data.getUint8(at + 1) : 0;
    if (length < 1 || (kind !== 1 && length < 2) || at + length > bytes.length) break;
    if (kind === 2 && length === 4) options.mss = data.getUint16(at + 2);
    if (kind === 3 && length === 3) options.windowShift = data.getUint8(at + 2);
    if (kind === 4 && length === 2) options.sackPermitted = true;
    if (kind === 8 && length === 10) {
      options.timestamps = { value: data.getUint32(at + 2), echo: data.getUint32(at + 6) };
    }
    at += length;
  }
  return options;
}

function checksumState(body: Uint8Array, pseudo: number): ChecksumState {
  if (fold(pseudo + sum(body)) === 0xffff) return "valid";
  return view(body).getUint16(16) === fold(pseudo) ? "partial" : "invalid";
}

/** RFC 9293 3.1 and RFC 8200 8.1: addresses, protocol and length. */
function pseudoSum(bytes: Uint8Array, version: 4 | 6, bodyLen: number): number {
  const addresses = version === 4 ? bytes.subarray(12, 20) : bytes.subarray(8, 40);
  return sum(addresses) + TCP + (bodyLen >>> 16) + (bodyLen & 0xffff);
}

/** Big-endian 16-bit words; at most 32,768 of them, so the total is an exact number. */
function sum(bytes: Uint8Array): number {
  let total = 0;
  for (let at = 0; at + 1 < bytes.length; at += 2) total += (bytes[at]! << 8) | bytes[at + 1]!;
  return bytes.length % 2 === 0 ? total : total + (bytes[bytes.length - 1]! << 8);
}

function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return folded;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
