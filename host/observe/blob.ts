/**
 * Reads a blob for people: `baton inspect FILE`. Written from docs/blob.md alone, so that the two prove each
 * other; must not know assembly/. Takes any bytes: what is no blob comes back as a complaint.
 */
import { formatAddress } from "../core/address.ts";
import { formatHostPort } from "../core/tuple.ts";
import { jsonLine } from "./json.ts";

const FIXED_LEN = 352;
const MAPPING_LEN = 96;
const VERSION_MAX = 2;
const STATES: Readonly<Record<number, string>> = {
  4: "ESTABLISHED",
  5: "FIN-WAIT-1",
  6: "FIN-WAIT-2",
  7: "CLOSE-WAIT",
  8: "CLOSING",
  9: "LAST-ACK",
};
const FLAGS = [
  "TIMESTAMPS",
  "SACK",
  "WINDOW_SCALE",
  "ECN",
  "PASSIVE",
  "FIN_QUEUED",
  "FIN_SENT",
  "FIN_SEEN",
  "FIN_RECEIVED",
  "URGENT_IN",
  "URGENT_OUT",
  "HYSTART_CSS",
  "REORDERED",
  "ECN_ECHO",
  "ECN_CWR",
  "ECN_REDUCED",
];
const CONGESTION: Readonly<Record<number, string>> = { 0: "CUBIC", 1: "NewReno" };

/** Names and widths of the plain fields of each section, in the order of docs/blob.md: [name, offset, bytes]. */
type Field = readonly [name: string, offset: number, bytes: 1 | 2 | 4 | 8];
const SOCKET: readonly Field[] = [
  ["sndBuf", 60, 4],
  ["sndBufMax", 64, 4],
  ["rcvBuf", 68, 4],
  ["rcvBufMax", 72, 4],
  ["rcvSpace", 76, 4],
  ["keepIdleUs", 80, 8],
  ["keepIntervalUs", 88, 8],
  ["userTimeoutUs", 96, 8],
  ["keepProbesMax", 104, 4],
];
const TCP: readonly Field[] = [
  ["iss", 128, 4],
  ["irs", 132, 4],
  ["sndUna", 136, 4],
  ["sndNxt", 140, 4],
  ["sndWnd", 144, 4],
  ["sndWl1", 148, 4],
  ["sndWl2", 152, 4],
  ["sndUp", 156, 4],
  ["sndWndMax", 160, 4],
  ["sndSmall", 164, 4],
  ["rcvNxt", 168, 4],
  ["rcvWnd", 172, 4],
  ["rcvUp", 176, 4],
  ["finSeq", 180, 4],
  ["lastAckSent", 184, 4],
  ["tsRecent", 188, 4],
  ["tsRecentAgeMs", 192, 4],
  ["tsVal", 196, 4],
  ["peerMss", 200, 2],
  ["advMss", 202, 2],
  ["rcvMss", 204, 2],
  ["sndWndShift", 206, 1],
  ["rcvWndShift", 207, 1],
  ["srttUs", 208, 4],
  ["rttvarUs", 212, 4],
  ["rtoUs", 216, 4],
  ["rttMinUs", 220, 4],
  ["cwnd", 224, 4],
  ["ssthresh", 228, 4],
  ["cubicWMax", 236, 4],
  ["bytesReceived", 240, 8],
  ["bytesSent", 248, 8],
  ["rackReoMult", 256, 4],
];

export interface BlobReport {
  readonly version: number;
  readonly bytes: number;
  /** "ok", or which sum does not fit: such a blob is shown all the same. */
  readonly sums: "ok" | "header" | "body";
  readonly connection: string;
  readonly state: string;
  readonly flags: readonly string[];
  readonly nodelay: boolean;
  readonly congestion: string;
  readonly data: {
    readonly unread: number;
    readonly unacknowledged: number;
    readonly unsent: number;
    readonly outOfOrder: readonly (readonly [start: number, end: number])[];
    readonly application: number;
  };
  readonly socket: Readonly<Record<string, number | bigint>>;
  readonly tcp: Readonly<Record<string, number | bigint>>;
  readonly ip: { readonly ttl: number; readonly dscp: number; readonly pathMtu: number };
  readonly mapping: Readonly<Record<string, number | string>>;
}

/** The blob in `bytes`, or why it is none. */
export function readBlob(bytes: Uint8Array): BlobReport | { readonly fault: string } {
  if (bytes.length < FIXED_LEN + MAPPING_LEN) {
    return { fault: `expected at least ${FIXED_LEN + MAPPING_LEN} bytes, got ${bytes.length}` };
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u32 = (offset: number) => view.getUint32(offset, true);
  const magic = String.fromCharCode(...bytes.subarray(0, 4));
  if (magic !== "BATN") return { fault: "expected the magic number BATN at the start" };
  const version = view.getUint16(4, true);
  if (version < 1 || version > VERSION_MAX) {
    return { fault: `expected format version 1 to ${VERSION_MAX}, got ${version}` };
  }
  const [unread, unacknowledged, unsent, count, outLen, application] = [36, 40, 44, 48, 52, 56].map(
    u32,
  );
  const body = (count ?? 0) * 8 + (unread ?? 0) + (unacknowledged ?? 0) + (unsent ?? 0);
  const used = body + (outLen ?? 0) + (application ?? 0);
  const length = FIXED_LEN + Math.ceil(used / 8) * 8 + MAPPING_LEN;
  if (length !== bytes.length || u32(8) !== length) {
    return {
      fault: `expected ${length} bytes by its counts, got ${bytes.length} (header: ${u32(8)})`,
    };
  }
  const family = u32(304) === 6 ? 6 : 4;
  const addressLen = family === 4 ? 4 : 16;
  const client = bytes.subarray(312, 312 + addressLen);
  const service = bytes.subarray(328, 328 + addressLen);
  const ports = [view.getUint16(308, true), view.getUint16(310, true)] as const;
  const ranges = Array.from({ length: count ?? 0 }, (_, index) => {
    return [u32(FIXED_LEN + 8 * index), u32(FIXED_LEN + 8 * index + 4)] as const;
  });
  return {
    version,
    bytes: length,
    sums: checkSums(view),
    connection: `${formatHostPort(client, ports[0])} -> ${formatHostPort(service, ports[1])}`,
    state: STATES[u32(120)] ?? `unknown (${u32(120)})`,
    flags: FLAGS.filter((_, bit) => (u32(124) >>> bit) & 1),
    nodelay: (u32(32) & 1) !== 0,
    congestion: CONGESTION[u32(232)] ?? `unknown (${u32(232)})`,
    data: {
      unread: unread ?? 0,
      unacknowledged: unacknowledged ?? 0,
      unsent: unsent ?? 0,
      outOfOrder: ranges,
      application: application ?? 0,
    },
    socket: readFields(view, SOCKET),
    tcp: readFields(view, TCP),
    ip: { ttl: view.getUint8(344), dscp: view.getUint8(345), pathMtu: view.getUint16(346, true) },
    mapping: readMapping(bytes.subarray(length - MAPPING_LEN)),
  };
}

function readFields(view: DataView, fields: readonly Field[]): Record<string, number | bigint> {
  const entries = fields.map(([name, offset, width]) => {
    if (width === 8) return [name, view.getBigUint64(offset, true)] as const;
    if (width === 4) return [name, view.getUint32(offset, true)] as const;
    if (width === 2) return [name, view.getUint16(offset, true)] as const;
    return [name, view.getUint8(offset)] as const;
  });
  return Object.fromEntries(entries);
}

function readMapping(bytes: Uint8Array): Record<string, number | string> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const hex = (offset: number, length: number) =>
    [...bytes.subarray(offset, offset + length)]
      .map((byte) => byte.toString(16).padStart(2, "0"))
      .join("");
  const tunnels = view.getUint32(72, true);
  return {
    flow: view.getUint32(0, true),
    generation: view.getUint32(4, true),
    forwarder: hex(8, 8),
    source: hex(16, 8),
    forwarderEpoch: hex(24, 16),
    sourceEpoch: hex(40, 16),
    targetEpoch: hex(56, 16),
    ...(tunnels & 1 ? { tunnel4: formatAddress(bytes.slice(76, 80)) } : {}),
    ...(tunnels & 2 ? { tunnel6: formatAddress(bytes.slice(80, 96)) } : {}),
  };
}

/** FNV-1a over 64-bit words; `skip` is read as 0. */
function fnv(view: DataView, from: number, to: number, skip: number): bigint {
  let sum = 0xcbf29ce484222325n;
  for (let at = from; at < to; at += 8) {
    const word = at === skip ? 0n : view.getBigUint64(at, true);
    sum = BigInt.asUintN(64, (sum ^ word) * 0x100000001b3n);
  }
  return sum;
}

function checkSums(view: DataView): BlobReport["sums"] {
  if (fnv(view, 0, FIXED_LEN, 16) !== view.getBigUint64(16, true)) return "header";
  const body = fnv(view, FIXED_LEN, view.byteLength, -1);
  return body === view.getBigUint64(24, true) ? "ok" : "body";
}

/** One JSON object. */
export function blobJson(report: BlobReport): string {
  return jsonLine({ ...report });
}

/** For a terminal. */
export function formatBlob(report: BlobReport): string {
  const { data } = report;
  const ranges = data.outOfOrder.map(([start, end]) => `[${start}, ${end})`).join(" ") || "none";
  const sections = [
    ["blob", `version ${report.version}, ${report.bytes} bytes, sums ${sumText(report.sums)}`],
    ["connection", `${report.connection}  ${report.state}`],
    ["options", report.flags.join(" ") || "none"],
    ["congestion", `${report.congestion}${report.nodelay ? ", Nagle off" : ""}`],
    ["unread", `${data.unread} bytes`],
    ["unacknowledged", `${data.unacknowledged} bytes`],
    ["unsent", `${data.unsent} bytes`],
    ["out of order", ranges],
    ["application", `${data.application} bytes`],
    ...Object.entries({ ...report.tcp, ...report.socket, ...report.ip, ...report.mapping }),
  ] as const;
  return sections.map(([name, value]) => `${String(name).padEnd(16)} ${String(value)}\n`).join("");
}

function sumText(sums: BlobReport["sums"]): string {
  return sums === "ok" ? "ok" : `WRONG in the ${sums}`;
}
