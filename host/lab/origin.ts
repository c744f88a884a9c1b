/**
 * The server behind a backend in the demo: plain HTTP and HTTPS on one port of the loopback, told apart by
 * the first byte, because a backend has one upstream. It alone holds the TLS key. Reads OriginOptions
 * as one JSON line from its standard input, prints a line when it listens, ends with its input.
 */
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { answer } from "./answer.ts";

export interface OriginOptions {
  readonly name: string;
  readonly port: number;
  /** PEM. */
  readonly key: string;
  readonly certificate: string;
}

/** First byte of a TLS record that carries a handshake. */
const HANDSHAKE = 22;

const KEEP_ALIVE_MS = 60_000;

const lines = createInterface({ input: process.stdin });
lines.once("line", (line) => serve(JSON.parse(line) as OriginOptions));
lines.once("close", () => process.exit(0));

function serve(options: OriginOptions): void {
  const { name, port, key, certificate } = options;
  const http = createHttpServer(answer(name));
  const https = createHttpsServer({ key, cert: certificate }, answer(name));
  // Node's 5 s end a connection whose next request meets a lossy path on a busy machine.
  for (const server of [http, https]) server.keepAliveTimeout = KEEP_ALIVE_MS;
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
