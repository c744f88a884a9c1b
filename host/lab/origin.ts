/**
 * The server behind a backend in the demo: plain HTTP and HTTPS on one port of the loopback, told apart by
 * the first byte, because a backend has one upstream. It alone holds the TLS key. Reads OriginOptions
 * as one JSON line from its standard input, prints a line when it listens, ends with its input.
 *
 *   GET /bytes/N   N bytes of the pattern        PUT /any   length and SHA-256 of what came
 *   GET /any       who answers, and what was asked for   POST /any  what came, as it comes
 */
import { createHash } from "node:crypto";
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { pipeline } from "node:stream/promises";
import { patternChunks } from "./pattern.ts";

export interface OriginOptions {
  readonly name: string;
  readonly port: number;
  /** PEM. */
  readonly key: string;
  readonly certificate: string;
}

/** First byte of a TLS record that carries a handshake. */
const HANDSHAKE = 22;

const lines = createInterface({ input: process.stdin });
lines.once("line", (line) => serve(JSON.parse(line) as OriginOptions));
lines.once("close", () => process.exit(0));

function serve(options: OriginOptions): void {
  const { name, port, key, certificate } = options;
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    handle(name, request, response).catch((error: unknown) => response.destroy(error as Error));
  };
  const http = createHttpServer(answer);
  const https = createHttpsServer({ key, cert: certificate }, answer);
  const listener = createServer({ noDelay: true }, (socket: Socket) => {
    socket.on("error", () => socket.destroy());
    socket.once("readable", () => {
      const first = socket.read(1) as Buffer | null;
      if (first === null) return;
      socket.unshift(first);
      (first[0] === HANDSHAKE ? https : http).emit("connection", socket);
    });
  });
  listener.listen(port, "127.0.0.1", () => process.stdout.write("listening\n"));
}

async function handle(
  name: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  response.setHeader("x-backend", name);
  const count = /^\/bytes\/(\d+)$/.exec(request.url ?? "")?.[1];
  if (request.method === "PUT") {
    const hash = createHash("sha256");
    let bytes = 0;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
    }
    json(response, { backend: name, bytes, sha256: hash.digest("hex") });
  } else if (request.method === "POST") {
    response.setHeader("content-length", request.headers["content-length"] ?? 0);
    await pipeline(request, response);
  } else if (count !== undefined) {
    response.setHeader("content-length", count);
    for (const chunk of patternChunks(Number(count))) {
      if (!response.write(chunk)) await new Promise((resolve) => response.once("drain", resolve));
    }
    response.end();
  } else {
    const { host } = request.headers;
    const encrypted = "encrypted" in request.socket;
    json(response, { backend: name, host, path: request.url, encrypted });
  }
}

function json(response: ServerResponse, body: unknown): void {
  const text = JSON.stringify(body) + "\n";
  response.setHeader("content-type", "application/json");
  response.setHeader("content-length", Buffer.byteLength(text));
  response.end(text);
}
