/**
 * A kernel TCP client for the lab that says exactly what it is told, HTTP or not. Reads RawRequest[] as one
 * JSON line from its standard input, does them one after the other or all at once, prints one RawResult a
 * line in their order.
 */
import { createConnection, type Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { fileURLToPath } from "node:url";
import type { LabNode } from "../../host/lab/lab.ts";
import { runAsScript, say } from "../../host/lab/script.ts";

export interface RawRequest {
  readonly address: string;
  readonly port: number;
  /** What is sent, Latin-1, with a pause after each part; nothing more is sent once an end has come. */
  readonly parts: readonly string[];
  readonly pauseMs?: number;
  /** A TLS handshake for this name instead. */
  readonly serverName?: string;
  readonly alpn?: readonly string[];
}

export interface RawResult {
  /** Latin-1. */
  readonly received: string;
  /** "fin", or the code of the error. */
  readonly end: string;
  readonly ms: number;
  /** Its own port. */
  readonly localPort: number;
}

/** Runs the client on a node; the requests stand in one process, in order or at once. */
export async function askRaw(
  node: LabNode,
  requests: readonly RawRequest[],
  how: "in order" | "at once" = "in order",
): Promise<RawResult[]> {
  const { stdout, stderr, status } = await node.run(process.execPath, [SELF, how], {
    input: JSON.stringify(requests) + "\n",
  });
  if (status !== 0) throw new Error(`labraw: status ${status}: ${stderr}`);
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as RawResult);
}

const SELF = fileURLToPath(import.meta.url);
const LIMIT_MS = 30_000;

runAsScript(import.meta.url, run);

async function run(requests: readonly RawRequest[]): Promise<void> {
  const isAtOnce = process.argv[2] === "at once";
  const all = isAtOnce ? requests.map((request) => ask(request)) : [];
  for (const [at, request] of requests.entries()) {
    say(await (all[at] ?? ask(request)));
  }
}

function ask(request: RawRequest): Promise<RawResult> {
  const { address, port, serverName, alpn } = request;
  const started = performance.now();
  return new Promise((resolve) => {
    let received = "";
    let end = "";
    let localPort = 0;
    const socket: Socket =
      serverName === undefined
        ? createConnection({ host: address, port })
        : connectTls({
            ...{ host: address, port, servername: serverName, rejectUnauthorized: false },
            ...(alpn === undefined ? {} : { ALPNProtocols: [...alpn] }),
          });
    const timer = setTimeout(() => socket.destroy(new Error("no end")), LIMIT_MS);
    socket.on("data", (chunk: Buffer) => (received += chunk.toString("latin1")));
    socket.once("connect", () => (localPort = socket.localPort ?? 0));
    socket.once("end", () => (end ||= "fin"));
    socket.once("error", (error: NodeJS.ErrnoException) => (end ||= error.code ?? error.message));
    socket.once("close", () => {
      clearTimeout(timer);
      resolve({ received, end: end || "closed", ms: performance.now() - started, localPort });
    });
    socket.once(serverName === undefined ? "connect" : "secureConnect", () => {
      void speak(socket, request, () => end !== "");
    });
  });
}

async function speak(socket: Socket, request: RawRequest, isOver: () => boolean): Promise<void> {
  for (const part of request.parts) {
    if (isOver()) return;
    socket.write(part, "latin1");
    if (request.pauseMs !== undefined) await wait(request.pauseMs);
  }
}
