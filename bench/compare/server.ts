/**
 * An HTTP server of Node that is reached in two ways: on the kernel's stack, and through a Baton backend in the
 * same process. Takes the arguments of `baton backend`; answers what the origin's files and PUT /up do.
 */
import { createServer, type ServerResponse } from "node:http";
import { attachable, backendFlags, runLabBackend } from "../../test/support/labbackend.ts";
import { FILES } from "./files.ts";
import { ORIGIN_PORT } from "./proxies.ts";

const IDLE_MS = 600_000;
const CHUNK = Buffer.alloc(1 << 20, "baton ");

const server = createServer(
  { keepAliveTimeout: IDLE_MS, requestTimeout: 0 },
  (request, response) => {
    if (request.method === "PUT") {
      request.resume();
      request.once("end", () => response.end("ok\n"));
      return;
    }
    const bytes = FILES[request.url?.slice(1) ?? ""];
    if (bytes === undefined) response.writeHead(404).end();
    else send(response.writeHead(200, { "content-length": bytes }), bytes);
  },
);
await new Promise<void>((resolve) => server.listen({ port: ORIGIN_PORT, backlog: 4096 }, resolve));

const backend = attachable();
backend.attach(server);
await runLabBackend(backendFlags(), backend.applications);

function send(response: ServerResponse, bytes: number): void {
  let left = bytes;
  const next = (): void => {
    while (left > 0) {
      const part = CHUNK.subarray(0, Math.min(left, CHUNK.length));
      left -= part.length;
      if (left === 0) response.end(part);
      else if (!response.write(part)) return;
    }
  };
  response.on("drain", next);
  next();
}
