/**
 * An HTTP server of Node that is reached in two ways: on the kernel's stack, and through a Baton backend in the
 * same process. Takes the arguments of `baton backend`; answers what the origin's files and PUT /up do.
 */
import { createServer, type ServerResponse } from "node:http";
import { parseArgs } from "node:util";
import { ApplicationBackend } from "../../host/app/backend.ts";
import { applicationConfig } from "../../host/config/config.ts";
import { openBackend } from "../../host/daemon/backend.ts";
import { daemonLog } from "../../host/daemon/lifecycle.ts";
import { FILES } from "./files.ts";
import { ORIGIN_PORT } from "./proxies.ts";

const IDLE_MS = 600_000;
const CHUNK = Buffer.alloc(1 << 20, "baton ");

const { values } = parseArgs({
  args: process.argv.slice(3), // after the word "backend"
  options: {
    name: { type: "string" },
    tunnel: { type: "string", multiple: true },
    forwarder: { type: "string", multiple: true },
    upstream: { type: "string" },
    quiet: { type: "boolean" },
    "key-file": { type: "string" },
    json: { type: "boolean" },
  },
});
const { name, tunnel, forwarder, "key-file": keyFile } = values;

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

const backend = new ApplicationBackend({
  drain: () => undefined,
  reloadKeys: () => undefined,
  stop: () => Promise.resolve(),
});
backend.attach(server);
const { node } = await openBackend({
  config: applicationConfig({ name, tunnel, forwarder, "key-file": keyFile }),
  application: backend.applications,
  log: daemonLog(false),
  restart: () => process.exit(1),
});
node.failed.catch((error: unknown) => {
  process.stderr.write(`${String(error)}\n`);
  process.exit(1);
});
process.once("SIGINT", () => {
  process.stdout.write(JSON.stringify({ event: "counters", ...node.counters() }) + "\n");
  node.close();
  process.exit(0);
});
process.stdout.write('{"event":"ready"}\n');

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
