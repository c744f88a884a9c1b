/**
 * The interoperation matrix as data: which clients do what against which servers on our stack, over which
 * paths. Knows names and numbers; must not know programs, namespaces or how a row is run.
 */
import { coverPairs, type RowOf } from "./pairs.ts";

/** Programs, and the Debian packages that have them. */
export const TOOLS = {
  curl: "curl",
  wget: "wget",
  nc: "netcat-openbsd",
  openssl: "openssl",
  python3: "python3",
  iperf3: "iperf3",
  wrk: "wrk",
} as const;

export type Tool = keyof typeof TOOLS;

/** What serves the connection on the backend. */
export const SERVERS = {
  library: "an http, https or net server of Node, attached by `createBackend`",
  upstream: "the same servers on the kernel's stack, behind `baton backend --upstream`",
  iperf3: "`iperf3 -s` behind `--upstream`, as raw TCP",
  s_server: "`openssl s_server -WWW` behind `--upstream`",
} as const;

export type Server = keyof typeof SERVERS;

export type Act = "download" | "upload" | "echo";

/** One way in which a program uses a connection. */
export interface Talk {
  readonly tool: Tool;
  readonly act: Act;
  /** "raw": bytes without framing behind a request head; the sender's end is its FIN. */
  readonly over: "http" | "https" | "raw" | "iperf3";
  readonly servers: readonly Server[];
}

const BOTH: readonly Server[] = ["library", "upstream"];

export const TALKS = {
  "curl download": { tool: "curl", act: "download", over: "http", servers: BOTH },
  "curl upload": { tool: "curl", act: "upload", over: "http", servers: BOTH },
  "curl TLS download": { tool: "curl", act: "download", over: "https", servers: BOTH },
  "wget download": { tool: "wget", act: "download", over: "http", servers: BOTH },
  "wget upload": { tool: "wget", act: "upload", over: "http", servers: BOTH },
  "nc -N download": { tool: "nc", act: "download", over: "raw", servers: BOTH },
  "nc -N upload": { tool: "nc", act: "upload", over: "raw", servers: BOTH },
  "nc -N echo": { tool: "nc", act: "echo", over: "raw", servers: BOTH },
  "openssl s_client download": {
    tool: "openssl",
    act: "download",
    over: "https",
    servers: [...BOTH, "s_server"],
  },
  "openssl s_client upload": { tool: "openssl", act: "upload", over: "https", servers: BOTH },
  "python http.client download": { tool: "python3", act: "download", over: "http", servers: BOTH },
  "python http.client upload": { tool: "python3", act: "upload", over: "http", servers: BOTH },
  "python socket echo": { tool: "python3", act: "echo", over: "raw", servers: BOTH },
  "iperf3 download": { tool: "iperf3", act: "download", over: "iperf3", servers: ["iperf3"] },
  "iperf3 upload": { tool: "iperf3", act: "upload", over: "iperf3", servers: ["iperf3"] },
  "wrk echo": { tool: "wrk", act: "echo", over: "http", servers: BOTH },
} as const satisfies Readonly<Record<string, Talk>>;

export type TalkName = keyof typeof TALKS;

/** A talk with one of its servers, as one value: not every client can talk to every server. */
export type Meeting = `${TalkName} | ${Server}`;

const MEETINGS = Object.entries<Talk>(TALKS).flatMap(([name, { servers }]) =>
  servers.map((server) => `${name} | ${server}` as Meeting),
);

export const MIB = 1 << 20;

/** Bytes of the smallest window: less than a full segment of most paths, never two. */
export const SEGMENT = 1_460;

export const DIMENSIONS = {
  meeting: MEETINGS,
  family: [4, 6],
  lossPercent: [0, 1, 5],
  /** Each way. */
  delayMs: [0, 10, 100],
  /** 3 % of the packets are overtaken by up to three others, or come twice. */
  disorder: ["none", "reordered", "duplicated"],
  /** Of the client's link; "least": 576, for IPv6 1280. */
  mtu: ["least", 1500, 9000],
  /** What the client's kernel may announce: tcp_rmem, for python SO_RCVBUF. */
  window: ["segment", "default", "16 MiB"],
  /** What our stack may announce, and hold to be sent: --limit receive-bytes, send-bytes. */
  ours: ["default", "segment", "16 MiB"],
} as const;

export type Row = RowOf<typeof DIMENSIONS>;

/** Behind BATON_FULL=1: any two values meet. */
export const FULL_ROWS: readonly Row[] = coverPairs(DIMENSIONS);

function row(meeting: Meeting, more: Partial<Row> = {}): Row {
  const plain = { family: 4, lossPercent: 0, delayMs: 0, disorder: "none", mtu: 1500 } as const;
  return { ...plain, window: "default", ours: "default", meeting, ...more };
}

/** In every `npm test`: each program, each direction, each value of a path once, in seconds. */
export const QUICK_ROWS: readonly Row[] = [
  row("curl download | library", { family: 6, lossPercent: 5, delayMs: 10 }),
  row("curl upload | upstream", { mtu: 9000, disorder: "reordered" }),
  row("curl TLS download | upstream", { mtu: "least", family: 6, disorder: "duplicated" }),
  row("wget download | upstream", { mtu: "least", lossPercent: 1 }),
  row("wget upload | library", { family: 6, mtu: 9000 }),
  row("nc -N download | library", { window: "segment" }),
  row("nc -N upload | library", { lossPercent: 1, delayMs: 10 }),
  row("nc -N echo | upstream", { family: 6, disorder: "reordered" }),
  row("openssl s_client download | s_server", { disorder: "duplicated" }),
  row("openssl s_client upload | library", { family: 6, lossPercent: 1 }),
  row("python http.client download | library", { delayMs: 100, window: "16 MiB" }),
  row("python http.client upload | upstream", { lossPercent: 5, mtu: "least" }),
  row("python socket echo | library", { family: 6, disorder: "reordered", window: "segment" }),
  row("iperf3 download | iperf3", { mtu: 9000, window: "16 MiB" }),
  row("iperf3 upload | iperf3", { family: 6, lossPercent: 1 }),
  row("wrk echo | library", { disorder: "duplicated" }),
];

export function talkOf({ meeting }: Row): { name: TalkName; talk: Talk; server: Server } {
  const [name, server] = meeting.split(" | ") as [TalkName, Server];
  return { name, talk: TALKS[name], server };
}

export function mtuOf({ mtu, family }: Row): number {
  if (mtu !== "least") return mtu;
  return family === 4 ? 576 : 1280;
}

/** What a person reads: the meeting, and what is not plain about its path. */
export function nameOf(row: Row): string {
  const { meeting, family, lossPercent, delayMs, disorder, window, ours } = row;
  const parts = [meeting.replace(" | ", " from "), `IPv${family}`, `MTU ${mtuOf(row)}`];
  if (lossPercent > 0) parts.push(`${lossPercent} % lost`);
  if (delayMs > 0) parts.push(`${delayMs} ms`);
  if (disorder !== "none") parts.push(disorder);
  if (window !== "default") parts.push(`window of ${window === "segment" ? "a segment" : window}`);
  if (ours !== "default") parts.push(`ours of ${ours === "segment" ? "a segment" : ours}`);
  return parts.join(", ");
}

const BUDGET_SECONDS = 2;
/** A receiver that waits for a second segment before it acknowledges. */
const DELAYED_ACK_SECONDS = 0.04;
const LEAST_BYTES = 16_384;
const MOST_BYTES = 8 * MIB;
/** Over which slow start has no say. */
const ROUNDS_TO_SPEED = 6;

/** So much that the row takes about two seconds with any good TCP: RFC 3819 8.3 for what loss allows. */
export function bytesOf(row: Row): number {
  const segment = mtuOf(row) - 40;
  const rttSeconds = (2 * row.delayMs) / 1000;
  const rates = [MOST_BYTES / BUDGET_SECONDS];
  if (row.window === "segment" || row.ours === "segment") {
    rates.push(Math.min(SEGMENT, segment) / (rttSeconds + DELAYED_ACK_SECONDS));
  }
  const bad = row.lossPercent + (row.disorder === "reordered" ? 0.1 : 0);
  if (bad > 0) rates.push(((1.2 / Math.sqrt(bad / 100)) * segment) / (rttSeconds + 0.01));
  if (rttSeconds > 0) {
    const rounds = BUDGET_SECONDS / rttSeconds;
    rates.push((10 * segment * 2 ** Math.min(rounds, ROUNDS_TO_SPEED)) / BUDGET_SECONDS);
  }
  const bytes = Math.min(...rates) * BUDGET_SECONDS;
  return Math.round(Math.min(MOST_BYTES, Math.max(LEAST_BYTES, bytes)));
}
