/**
 * One visit of the demo's client: requests of Node's HTTP over one connection, what was answered, and the
 * end. It closes first, so that no server keeps the connection in TIME-WAIT. Must not know what ought to be
 * answered.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { Agent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as TlsAgent, request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { patternChunks } from "./pattern.ts";

export interface Ask {
  readonly host: string;
  readonly path: string;
  /** Bytes of the pattern to PUT; otherwise a GET. */
  readonly upload?: number;
}

export interface Visit {
  readonly id: number;
  readonly address: string;
  readonly port: number;
  readonly tls: boolean;
  /** One after the other over one connection. */
  readonly asks: readonly Ask[];
}

export interface VisitorOptions {
  readonly visits: readonly Visit[];
  /** PEM of the certificate to trust. */
  readonly certificate: string;
  readonly timeoutMs: number;
}

export interface Answer {
  readonly status: number;
  /** The x-backend header of the server's answer. */
  readonly backend: string;
  readonly bytes: number;
  readonly sha256: string;
  /** Short bodies only. */
  readonly text: string;
}

export interface VisitResult {
  readonly id: number;
  /** The client's end: "10.1.1.2:40000", "[fd01:1::2]:40000"; empty when it never connected. */
  readonly client: string;
  readonly answers: readonly Answer[];
  readonly ms: number;
  readonly error?: string;
}

const TEXT_MAX = 1000;

/** @param agent dials; it is destroyed in the end. By default the kernel's TCP. */
export async function makeVisit(
  visit: Visit,
  options: VisitorOptions,
  agent: Agent = new (visit.tls ? TlsAgent : Agent)({ keepAlive: true, maxSockets: 1 }),
): Promise<VisitResult> {
  const clients = new Set<string>();
  const sockets = new Set<Socket>();
  const answers: Answer[] = [];
  const started = performance.now();
  const result = (error?: string): VisitResult => {
    const ms = performance.now() - started;
    const client = [...clients].join(" ");
    return { id: visit.id, client, answers, ms, ...(error === undefined ? {} : { error }) };
  };
  try {
    for (const ask of visit.asks) {
      const onSocket = (socket: Socket): void => {
        sockets.add(socket);
        clients.add(endOf(socket));
      };
      answers.push(await makeRequest(visit, ask, agent, options, onSocket));
    }
    await endAll(sockets, options.timeoutMs);
    return result(clients.size === 1 ? undefined : `${clients.size} connections instead of one`);
  } catch (error) {
    return result((error as NodeJS.ErrnoException).code ?? String(error));
  } finally {
    agent.destroy();
  }
}

/** FIN both ways: a socket that is destroyed answers what still comes with a RST. */
async function endAll(sockets: ReadonlySet<Socket>, timeoutMs: number): Promise<void> {
  const signal = AbortSignal.timeout(timeoutMs);
  const closed = [...sockets].map((socket) =>
    socket.closed ? undefined : once(socket, "close", { signal }),
  );
  for (const socket of sockets) socket.ref().end(); // The agent lets go of idle ones.
  await Promise.all(closed);
}

function makeRequest(
  visit: Visit,
  ask: Ask,
  agent: Agent,
  options: VisitorOptions,
  onSocket: (socket: Socket) => void,
): Promise<Answer> {
  const { address: host, port, tls } = visit;
  const method = ask.upload === undefined ? "GET" : "PUT";
  const headers = {
    host: ask.host,
    ...(ask.upload === undefined ? {} : { "content-length": ask.upload }),
  };
  const trust = tls ? { servername: ask.host, ca: options.certificate } : {};
  const signal = AbortSignal.timeout(options.timeoutMs);
  const all = { host, port, agent, method, path: ask.path, headers, signal, ...trust };
  return new Promise((resolve, reject) => {
    const outgoing = (tls ? httpsRequest : httpRequest)(all, (response) => {
      receive(response).then(resolve, reject);
    });
    outgoing.on("error", reject);
    outgoing.on("socket", (socket: Socket) => {
      const tell = (): void => onSocket(socket);
      if (socket.connecting) socket.once("connect", tell);
      else tell();
    });
    pipeline(Readable.from(patternChunks(ask.upload ?? 0)), outgoing).catch(reject);
  });
}

async function receive(response: IncomingMessage): Promise<Answer> {
  const hash = createHash("sha256");
  let bytes = 0;
  let text = "";
  for await (const chunk of response as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
    if (text.length < TEXT_MAX) text += chunk.toString("latin1", 0, TEXT_MAX);
  }
  const backend = String(response.headers["x-backend"] ?? "");
  const status = response.statusCode ?? 0;
  return { status, backend, bytes, sha256: hash.digest("hex"), text: bytes > TEXT_MAX ? "" : text };
}

function endOf({ localAddress = "", localPort = 0 }: Socket): string {
  return localAddress.includes(":")
    ? `[${localAddress}]:${localPort}`
    : `${localAddress}:${localPort}`;
}
