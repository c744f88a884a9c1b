/**
 * A packet builder and parser that was written from the RFCs, not from the core: the slow reference that
 * tests compare with. Every field can be set, wrong values too; what is left out gets a sane default.
 */
import { formatAddress, parseAddress } from "../core/address.ts";
import { getU16, getU32, putU16, putU32 } from "./sequence.ts";
import { slab } from "./slab.ts";

/** An address given as text or as bytes in network order. */
export type Address = string | Uint8Array;

/** Addresses that were met, both ways: a run has a few hundred, and each stands in every packet. */
const KNOWN_MAX = 4096;
const bytesOf = new Map<string, Uint8Array>();
const textOf = new Map<number, string>();

/** @throws Error when text is no address. */
export function toAddress(address: Address): Uint8Array {
  if (typeof address !== "string") return address;
  let bytes = bytesOf.get(address);
  if (!bytes) {
    bytes = parseAddress(address);
    if (!bytes) throw new Error(`not an address: ${address}`);
    if (bytesOf.size >= KNOWN_MAX) bytesOf.clear();
    bytesOf.set(address, bytes);
  }
  return bytes;
}

/** Text of the address of 4 or 16 bytes at `at`. */
export function addressText(bytes: Uint8Array, at: number, len: 4 | 16): string {
  const end = at + len;
  const low = word(bytes, end - 4);
  const high = len === 4 ? 0 : word(bytes, at);
  let isShort = true;
  for (let index = at + 4; index < end - 4; index++) isShort &&= bytes[index] === 0;
  // Two halves make a whole number that no other address has: no IPv6 one begins with zeros here.
  const key = 0x1_0000_0000 * (high >>> 11) + low;
  if (!isShort || (high & 0x7ff) !== 0 || (len === 16 && high === 0)) {
    return formatAddress(bytes.subarray(at, end));
  }
  let text = textOf.get(key);
  if (text === undefined) {
    text = formatAddress(bytes.subarray(at, end));
    if (textOf.size >= KNOWN_MAX) textOf.clear();
    textOf.set(key, text);
  }
  return text;
}

function word(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  return high * 0x10000 + (((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0));
}

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;
export const URG = 32;
export const ECE = 64;
export const CWR = 128;

export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_ICMP6 = 58;

export interface IpFields {
  source: Address;
  destination: Address;
  ttl?: number;
  /** DSCP << 2 | ECN. */
  trafficClass?: number;
  /** IPv4 identification. */
  identification?: number;
  /** IPv4 flags and fragment offset as one word; default: don't fragment. */
  fragment?: number;
  /** IPv4 options, a multiple of 4 bytes. */
  ipOptions?: Uint8Array;
  /** IPv6 extension headers in order: whole headers, whose next-header byte is filled in. */
  extensions?: readonly { type: number; bytes: Uint8Array }[];
  flowLabel?: number;
  protocol?: number;
  /** Overrides of what is otherwise computed. */
  version?: number;
  ihl?: number;
  totalLen?: number;
  ipChecksum?: number;
}

export interface TcpFields {
  sourcePort: number;
  destinationPort: number;
  seq?: number;
  ack?: number;
  flags?: number;
  window?: number;
  urgent?: number;
  options?: Uint8Array;
  payload?: Uint8Array;
  dataOffset?: number;
  tcpChecksum?: number;
  /** The field holds the pseudo-header sum only, as with NEEDS_CSUM. */
  partialChecksum?: boolean;
}

export interface TcpPacket {
  version: 4 | 6;
  source: string;
  destination: string;
  ttl: number;
  trafficClass: number;
  identification: number;
  totalLen: number;
  ipHeaderLen: number;
  ipChecksumOk: boolean;
  protocol: number;
  sourcePort: number;
  destinationPort: number;
  seq: number;
  ack: number;
  flags: number;
  window: number;
  urgent: number;
  tcpChecksum: number;
  tcpChecksumOk: boolean;
  /** The checksum field equals the pseudo-header sum. */
  partialChecksumOk: boolean;
  options: TcpOption[];
  optionBytes: Uint8Array;
  payload: Uint8Array;
}

export interface TcpOption {
  kind: number;
  bytes: Uint8Array;
}

/** One's complement sum of 16-bit big-endian words, folded: RFC 1071 in its plainest form. */
export function internetSum(bytes: Uint8Array, start = 0, from = 0, end = bytes.length): number {
  const even = end - ((end - from) & 1);
  let sum = start;
  for (let i = from; i < even; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  if (even < end) sum += bytes[even]! << 8;
  return fold(sum);
}

/** Carries back in: what a sum modulo 2^16 - 1 is, except that it is 0 only for nothing but zeros. */
function fold(sum: number): number {
  return sum === 0 ? 0 : ((sum - 1) % 0xffff) + 1;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Folded sum of the pseudo header. */
export function pseudoHeaderSum(
  source: Uint8Array,
  destination: Uint8Array,
  protocol: number,
  len: number,
): number {
  return fold(
    internetSum(source) + internetSum(destination) + protocol + (len >>> 16) + (len & 0xffff),
  );
}

export function buildTcp(fields: IpFields & TcpFields): Uint8Array {
  const { options = NONE, payload = NONE } = fields;
  const [source, destination] = [toAddress(fields.source), toAddress(fields.destination)];
  const at = ipHeaderLen(fields, source);
  const len = 20 + options.length + payload.length;
  const out = slab.room(at + len);
  putU16(out, at, fields.sourcePort);
  putU16(out, at + 2, fields.destinationPort);
  putU32(out, at + 4, fields.seq ?? 0);
  putU32(out, at + 8, fields.ack ?? 0);
  out[at + 12] = ((fields.dataOffset ?? (20 + options.length) / 4) & 15) << 4;
  out[at + 13] = fields.flags ?? ACK;
  putU16(out, at + 14, fields.window ?? 65535);
  putU16(out, at + 18, fields.urgent ?? 0);
  if (options.length > 0) out.set(options, at + 20);
  if (payload.length > 0) out.set(payload, at + 20 + options.length);
  const protocol = fields.protocol ?? PROTOCOL_TCP;
  const pseudo = pseudoHeaderSum(source, destination, protocol, len);
  const full = ~internetSum(out, pseudo, at) & 0xffff;
  putU16(out, at + 16, fields.tcpChecksum ?? (fields.partialChecksum ? pseudo : full));
  ipWriter(source)(out, fields, protocol, [source, destination]);
  return out;
}

/** Puts an IP header before a transport message. */
export function buildIp(fields: IpFields & { protocol: number }, message: Uint8Array): Uint8Array {
  const [source, destination] = [toAddress(fields.source), toAddress(fields.destination)];
  const at = ipHeaderLen(fields, source);
  const out = new Uint8Array(at + message.length);
  out.set(message, at);
  ipWriter(source)(out, fields, fields.protocol, [source, destination]);
  return out;
}

function ipHeaderLen({ ipOptions, extensions }: IpFields, source: Uint8Array): number {
  if (source.length === 4) return 20 + (ipOptions?.length ?? 0);
  return (extensions ?? []).reduce((sum, { bytes }) => sum + bytes.length, 40);
}

const ipWriter = (source: Uint8Array): WriteIp => (source.length === 4 ? writeIp4 : writeIp6);

type Ends = readonly [source: Uint8Array, destination: Uint8Array];
type WriteIp = (out: Uint8Array, fields: IpFields, protocol: number, ends: Ends) => void;

const writeIp4: WriteIp = (out, fields, protocol, [source, destination]) => {
  const headerLen = 20 + (fields.ipOptions?.length ?? 0);
  out[0] = ((fields.version ?? 4) << 4) | (fields.ihl ?? headerLen / 4);
  out[1] = fields.trafficClass ?? 0;
  putU16(out, 2, fields.totalLen ?? out.length);
  putU16(out, 4, fields.identification ?? 0);
  putU16(out, 6, fields.fragment ?? 0x4000);
  out[8] = fields.ttl ?? 64;
  out[9] = protocol;
  out.set(source, 12);
  out.set(destination, 16);
  if (fields.ipOptions) out.set(fields.ipOptions, 20);
  putU16(out, 10, fields.ipChecksum ?? ~internetSum(out, 0, 0, headerLen) & 0xffff);
};

const writeIp6: WriteIp = (out, fields, protocol, [source, destination]) => {
  const extensions = fields.extensions ?? [];
  const traffic = fields.trafficClass ?? 0;
  putU32(out, 0, (fields.version ?? 6) * 2 ** 28 + traffic * 2 ** 20 + (fields.flowLabel ?? 0));
  putU16(out, 4, (fields.totalLen ?? out.length) - 40);
  out[6] = extensions[0]?.type ?? protocol;
  out[7] = fields.ttl ?? 64;
  out.set(source, 8);
  out.set(destination, 24);
  let at = 40;
  for (const [index, { bytes }] of extensions.entries()) {
    out.set(bytes, at);
    out[at] = extensions[index + 1]?.type ?? protocol;
    at += bytes.length;
  }
};

export interface IcmpFields {
  type: number;
  code?: number;
  /** Bytes 4 to 7 as one number: the MTU of "too big". */
  rest?: number;
  /** What is quoted, or any other body. */
  body: Uint8Array;
  checksum?: number;
}

/** An ICMP or ICMPv6 message, by the family of the source address. */
export function buildIcmp(fields: IpFields & IcmpFields): Uint8Array {
  const message = new Uint8Array(8 + fields.body.length);
  const view = new DataView(message.buffer);
  const source = toAddress(fields.source);
  message[0] = fields.type;
  message[1] = fields.code ?? 0;
  view.setUint32(4, fields.rest ?? 0);
  message.set(fields.body, 8);
  const protocol = source.length === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMP6;
  const start =
    source.length === 4
      ? 0
      : pseudoHeaderSum(source, toAddress(fields.destination), protocol, message.length);
  view.setUint16(2, fields.checksum ?? ~internetSum(message, start) & 0xffff);
  return buildIp({ ...fields, protocol }, message);
}

const NONE = new Uint8Array(0);
const EXTENSION_TYPES = [0, 43, 44, 60];

/** Parses a whole TCP packet; throws on anything that a test should not have produced. */
export function parseTcp(bytes: Uint8Array): TcpPacket {
  return viewTcp(bytes.slice());
}

/** The same without a copy: the payload is a view of `bytes`. */
export function viewTcp(bytes: Uint8Array): TcpPacket {
  const version = bytes[0]! >> 4;
  if (version !== 4 && version !== 6) throw new Error(`IP version ${version}`);
  const isV4 = version === 4;
  const totalLen = isV4 ? getU16(bytes, 2) : 40 + getU16(bytes, 4);
  if (totalLen > bytes.length) throw new Error(`total length ${totalLen} of ${bytes.length}`);
  let at = isV4 ? (bytes[0]! & 15) * 4 : 40;
  let protocol = isV4 ? bytes[9]! : bytes[6]!;
  while (!isV4 && EXTENSION_TYPES.includes(protocol)) {
    const next = bytes[at]!;
    at += protocol === 44 ? 8 : (bytes[at + 1]! + 1) * 8;
    protocol = next;
  }
  if (protocol !== PROTOCOL_TCP) throw new Error(`protocol ${protocol}`);
  const len = totalLen - at;
  const headerLen = (bytes[at + 12]! >> 4) * 4;
  if (!(headerLen >= 20 && headerLen <= len)) throw new Error(`data offset ${headerLen}`);
  const addresses = isV4 ? internetSum(bytes, 0, 12, 20) : internetSum(bytes, 0, 8, 40);
  const pseudo = fold(addresses + PROTOCOL_TCP + (len >>> 16) + (len & 0xffff));
  const tcpChecksum = getU16(bytes, at + 16);
  const optionBytes = headerLen > 20 ? bytes.slice(at + 20, at + headerLen) : NONE;
  return {
    version,
    source: addressText(bytes, isV4 ? 12 : 8, isV4 ? 4 : 16),
    destination: addressText(bytes, isV4 ? 16 : 24, isV4 ? 4 : 16),
    ttl: isV4 ? bytes[8]! : bytes[7]!,
    trafficClass: isV4 ? bytes[1]! : (getU16(bytes, 0) >> 4) & 255,
    identification: isV4 ? getU16(bytes, 4) : 0,
    totalLen,
    ipHeaderLen: at,
    ipChecksumOk: !isV4 || internetSum(bytes, 0, 0, at) === 0xffff,
    protocol,
    sourcePort: getU16(bytes, at),
    destinationPort: getU16(bytes, at + 2),
    seq: getU32(bytes, at + 4),
    ack: getU32(bytes, at + 8),
    flags: bytes[at + 13]!,
    window: getU16(bytes, at + 14),
    urgent: getU16(bytes, at + 18),
    tcpChecksum,
    tcpChecksumOk: internetSum(bytes, pseudo, at, totalLen) === 0xffff,
    partialChecksumOk: tcpChecksum === pseudo,
    options: parseOptions(optionBytes),
    optionBytes,
    payload: headerLen < len ? bytes.subarray(at + headerLen, totalLen) : NONE,
  };
}

/** Options up to END or the first illegal length; NOPs are left out. */
export function parseOptions(bytes: Uint8Array): TcpOption[] {
  const found: TcpOption[] = [];
  for (let at = 0; at < bytes.length;) {
    const kind = bytes[at]!;
    if (kind === 0) break;
    if (kind === 1) {
      at += 1;
      continue;
    }
    const len = bytes[at + 1] ?? 0;
    if (len < 2 || at + len > bytes.length) break;
    found.push({ kind, bytes: bytes.slice(at + 2, at + len) });
    at += len;
  }
  return found;
}

/** Options one by one, each padded with NOPs to 4 bytes in front. */
export const option = {
  mss: (mss: number) => Uint8Array.of(2, 4, mss >> 8, mss & 255),
  windowScale: (shift: number) => Uint8Array.of(1, 3, 3, shift),
  sackPermitted: () => Uint8Array.of(1, 1, 4, 2),
  timestamps: (tsVal: number, tsEcr: number) => {
    const bytes = new Uint8Array(12);
    putU32(bytes, 0, 0x0101080a);
    putU32(bytes, 4, tsVal);
    putU32(bytes, 8, tsEcr);
    return bytes;
  },
  sack: (...blocks: readonly (readonly [number, number])[]) => {
    const bytes = new Uint8Array(4 + 8 * blocks.length);
    putU32(bytes, 0, 0x01010500 + 2 + 8 * blocks.length);
    for (const [index, [left, right]] of blocks.entries()) {
      putU32(bytes, 4 + 8 * index, left);
      putU32(bytes, 8 + 8 * index, right);
    }
    return bytes;
  },
};

const FLAG_LETTERS = "FSRPAUEC";

export function flagText(flags: number): string {
  return [...FLAG_LETTERS].filter((_, i) => (flags >> i) & 1).join("") || "-";
}

/** One line about a packet, for assertion messages. */
export function describePacket(bytes: Uint8Array): string {
  try {
    const p = parseTcp(bytes);
    const bad = `${p.ipChecksumOk ? "" : " bad IP checksum"}${p.tcpChecksumOk ? "" : " bad TCP checksum"}`;
    const kinds = p.options.map(({ kind }) => kind).join(",");
    return (
      `${p.source}:${p.sourcePort} > ${p.destination}:${p.destinationPort} ${flagText(p.flags)}` +
      ` seq ${p.seq} ack ${p.ack} win ${p.window} len ${p.payload.length} ttl ${p.ttl}` +
      `${kinds ? ` options ${kinds}` : ""}${bad}`
    );
  } catch (error) {
    return `${bytes.length} bytes, ${(error as Error).message}`;
  }
}
