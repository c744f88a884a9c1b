/**
 * Baton's end of the measurement: a backend whose application fills and empties connections as fast as
 * they take it, on the bare connection or through a net.Server. Takes the arguments of `baton backend`;
 * its name (rig.ts) says which.
 */
import { Server } from "node:net";
import { parseArgs } from "node:util";
import type { Application } from "../../host/app/application.ts";
import { ApplicationBackend } from "../../host/app/backend.ts";
import type { BatonSocket } from "../../host/app/socket.ts";
import { applicationConfig } from "../../host/config/config.ts";
import { openBackend } from "../../host/daemon/backend.ts";
import { daemonLog } from "../../host/daemon/lifecycle.ts";
import type { Connection } from "../../host/node/connection.ts";
import { LIBRARY_NODE } from "./rig.ts";
import { HeadReader, PAYLOAD } from "./talk.ts";

const { values } = parseArgs({
  args: process.argv.slice(3), // after the word "backend"
  options: {
    name: { type: "string" },
    tunnel: { type: "string", multiple: true },
    forwarder: { type: "string", multiple: true },
    upstream: { type: "string" },
    "key-file": { type: "string" },
    json: { type: "boolean" },
  },
});
const { name, tunnel, forwarder, "key-file": keyFile } = values;
const { node } = await openBackend({
  config: applicationConfig({ name, tunnel, forwarder, "key-file": keyFile }),
  application: name === LIBRARY_NODE ? library() : core(),
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

/** Every call on the connection itself: no stream in between. */
function core(): Application {
  const open = new Set<Connection>();
  const sink = new Uint8Array(PAYLOAD.length);
  return {
    isServing: true,
    accepts: () => true,
    get connections() {
      return open.size;
    },
    accept(connection) {
      open.add(connection);
      const head = new HeadReader();
      let direction: string | undefined;
      let at = 0;
      const fill = (): void => {
        for (let taken = 1; taken > 0; at = (at + taken) % PAYLOAD.length) {
          taken = connection.write(PAYLOAD.subarray(at));
        }
      };
      const empty = (): void => {
        for (let length = 1; length > 0;) {
          length = connection.read(sink);
          if (direction !== undefined || length === 0) continue;
          direction = head.take(sink.subarray(0, length));
          if (direction === "down") fill();
        }
      };
      connection.listen({
        readable: empty,
        writable: fill,
        ended: () => connection.shutdown(),
        closed: () => {
          open.delete(connection);
          connection.close();
        },
      });
    },
    close: () => Promise.resolve({ ended: 0, aborted: open.size }),
  };
}

/** As an application would: streams of Node. */
function library(): Application {
  const backend = new ApplicationBackend({
    drain: () => undefined,
    reloadKeys: () => undefined,
    stop: () => Promise.resolve(),
  });
  const server = new Server();
  server.on("connection", (socket: unknown) => serve(socket as BatonSocket));
  backend.attach(server);
  return backend.applications;
}

function serve(socket: BatonSocket): void {
  const head = new HeadReader();
  const next = (error?: Error | null): void => {
    if (!error && !socket.destroyed) socket.write(PAYLOAD, next);
  };
  let direction: string | undefined;
  socket.on("error", () => undefined);
  socket.on("data", (bytes: Buffer) => {
    if (direction !== undefined) return;
    direction = head.take(bytes);
    if (direction === "down") next();
  });
}
