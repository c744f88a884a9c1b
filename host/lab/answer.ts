/**
 * What the servers of the demo answer, over whatever connections. Must not know how those came.
 *
 *   GET /bytes/N   N bytes of the pattern               PUT /any    length and SHA-256 of what came
 *   GET /any       who answers, what was asked for      POST /any   what came, as it comes
 */
import { createHash } from "node:crypto";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { patternChunks } from "./pattern.ts";

/** @param name of the backend, which every answer carries */
export function answer(name: string): RequestListener {
  return (request, response) => {
    handle(name, request, response).catch((error: unknown) => response.destroy(error as Error));
  };
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
