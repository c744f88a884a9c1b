/**
 * Baton's end of the measurement: a backend whose application fills and empties connections as fast as
 * they take it, on the bare connection or through a net.Server. Takes the arguments of `baton backend`;
 * its name (rig.ts) says which.
 */
import { Server } from "node:net";
import type { Application } from "../../host/app/application.ts";
import type { BatonSocket } from "../../host/app/socket.ts";
import type { Connection } from "../../host/node/connection.ts";
import { attachable, backendFlags, runLabBackend } from "../../test/support/labbackend.ts";
import { LIBRARY_NODE } from "./rig.ts";
import { HeadReader, PAYLOAD } from "./talk.ts";

const flags = backendFlags();
await runLabBackend(flags, flags.name === LIBRARY_NODE ? library() : core());

/** Every call on the connection itself: no stream in between. */
function core(): Application {
  const open = new Set<Connection>();
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
      const look = (piece: Uint8Array): void => {
        direction ??= head.take(piece);
      };
      const empty = (): void => {
        const isBegun = direction !== undefined;
        connection.consume(Infinity, look);
        if (!isBegun && direction === "down") fill();
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
  const backend = attachable();
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
