/**
 * What the servers of the demo answer, over whatever connections. Must not know how those came.
 *
 *   GET /bytes/N   N bytes of the pattern               PUT /any    length and SHA-256 of what came
 *   GET /any       who answers, what was asked for      POST /any   what came, as it comes
 *   GET /bytes/N/within/S   the same, spread evenly over S seconds
 */
import { createHash } from "node:crypto";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { setTimeout as wait } from "node:timers/promises";
import { patternChunks } from "./pattern.ts";

/** Pieces of a slow answer. */
const PIECE = 16_384;

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
  const [, count, seconds] = /^\/bytes\/(\d+)(?:\/within\/(\d+))?$/.exec(request.url ?? "") ?? [];
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
    await give(response, Number(count), Number(seconds ?? 0) * 1000);
    response.end();
  } else {
    const { host } = request.headers;
    const encrypted = "encrypted" in request.socket;
    json(response, { backend: name, host, path: request.url, encrypted });
  }
}

async function give(response: ServerResponse, bytes: number, withinMs: number): Promise<void> {
  const started = performance.now();
  let given = 0;
  for (const chunk of patternChunks(bytes)) {
    const pieces = withinMs === 0 ? [chunk] : cut(chunk);
    for (const piece of pieces) {
      if (response.closed) return; // Nobody is left who wants it.
      if (!response.write(piece)) await new Promise((resolve) => response.once("drain", resolve));
      given += piece.length;
      const dueMs = started + (given / bytes) * withinMs;
      if (withinMs > 0) await wait(Math.max(0, dueMs - performance.now()));
    }
  }
}

function cut(chunk: Buffer): Buffer[] {
  const count = Math.ceil(chunk.length / PIECE);
  return Array.from({ length: count }, (_, at) => chunk.subarray(at * PIECE, (at + 1) * PIECE));
}

function json(response: ServerResponse, body: unknown): void {
  const text = JSON.stringify(body) + "\n";
  response.setHeader("content-type", "application/json");
  response.setHeader("content-length", Buffer.byteLength(text));
  response.end(text);
}
