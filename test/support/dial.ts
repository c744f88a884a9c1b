/** Clients of an application: each dial is a migrated connection, the returned socket its far end. */
import * as http from "node:http";
import { Duplex } from "node:stream";
import type { Readable } from "node:stream";
import type { Application } from "../../host/app/application.ts";
import { BatonSocket } from "../../host/app/socket.ts";
import { connectionPair } from "./connection.ts";
import type { Pair, PairOptions } from "./connection.ts";

export interface Dialled extends Pair {
  /** The client's end as a stream. */
  readonly socket: BatonSocket;
}

export function dial(application: Application, options: PairOptions = {}): Dialled {
  const pair = connectionPair(options);
  const socket = new BatonSocket(pair.client, { allowHalfOpen: true });
  socket.on("error", () => undefined); // Tests that expect one wait for it by other means.
  application.accept(pair.server);
  return { ...pair, socket };
}

/** An agent of Node's own client whose connections are migrated ones; `dialled` counts them. */
export function dialAgent(application: Application, options: PairOptions = {}) {
  const dialled: Dialled[] = [];
  const agent = new http.Agent({ keepAlive: true, maxSockets: 100 });
  agent.createConnection = (): Duplex => {
    const next = dial(application, options);
    dialled.push(next);
    return next.socket;
  };
  return { agent, dialled };
}

export interface Reply {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

export function request(
  options: http.RequestOptions,
  body?: Uint8Array | AsyncIterable<Uint8Array>,
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const outgoing = http.request({ host: "service.example", ...options }, (response) => {
      readReply(response).then(resolve, reject);
    });
    outgoing.on("error", reject);
    if (body === undefined || body instanceof Uint8Array) outgoing.end(body);
    else writeAll(outgoing, body).catch(reject);
  });
}

export async function readReply(response: http.IncomingMessage): Promise<Reply> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: Buffer.concat(chunks),
  };
}

/** Everything a socket receives, as text, until its end; an error's code stands at the end as `!CODE`. */
export async function readText(socket: Readable): Promise<string> {
  let text = "";
  try {
    for await (const chunk of socket) text += (chunk as Buffer).toString("latin1");
  } catch (error) {
    text += `!${(error as NodeJS.ErrnoException).code ?? "?"}`;
  }
  // Iterating destroys a half-open stream on Node 20 and leaves it alone on Node 24.
  if (socket instanceof Duplex && !socket.writableEnded && !socket.destroyed) socket.end();
  return text;
}

async function writeAll(to: http.ClientRequest, body: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of body) {
    if (!to.write(chunk)) await new Promise((resolve) => to.once("drain", resolve));
  }
  to.end();
}
