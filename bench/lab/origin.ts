/**
 * A server on the kernel's stack: what Baton's is measured against, and what stands behind
 * `baton backend --upstream`. Usage: origin PORT; listens on every address, says "ready".
 */
import { createServer, Socket } from "node:net";
import { AF_UNIX, libc, SOCK_NONBLOCK, SOCK_STREAM } from "../../host/linux/libc.ts";
import { fdOf, HeadReader, PAYLOAD, useCubic } from "./talk.ts";

/** All that is received goes here, one read over the other. */
const SINK = Buffer.allocUnsafeSlow(PAYLOAD.length);

const server = createServer({ pauseOnConnect: true }, (accepted) => {
  const socket = withBuffer(accepted);
  const head = new HeadReader();
  let direction: string | undefined;
  socket.on("error", () => undefined); // The client resets the connection when it has measured.

  function withBuffer(from: Socket): Socket {
    const onread = {
      buffer: SINK,
      callback: (length: number, buffer: Uint8Array): boolean => {
        if (direction !== undefined) return true;
        direction = head.take(buffer.subarray(0, length));
        if (head.isCubic) useCubic(socket);
        if (direction === "down") send(socket);
        return true;
      },
    };
    const taken = new Socket({ fd: duplicate(from), onread } as ConstructorParameters<
      typeof Socket
    >[0]);
    from.destroy();
    return taken;
  }
});

/** Accepted sockets of Node have no buffer of their own: another name of the same connection gets one. */
function duplicate(socket: Socket): number {
  const [place, other] = libc().socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  libc().close(other);
  libc().dup3(fdOf(socket), place);
  return place;
}

/** Two writes under way, so that the kernel never waits for this loop. */
function send(socket: Socket): void {
  const next = (error?: Error | null): void => {
    if (!error && !socket.destroyed) socket.write(PAYLOAD, next);
  };
  next();
  next();
}

server.listen(Number(process.argv[2]), "::", () => process.stdout.write("ready\n"));
