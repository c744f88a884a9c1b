/**
 * The servers of the interoperation matrix: http and https as the demo answers them, and raw bytes behind a
 * request head that says what is wanted. On the kernel's stack, told apart by their first bytes, or attached
 * to a backend of Baton's. Must not know clients or paths.
 *
 *   peer backend FLAGS        takes the arguments of `baton backend`; ports 80, 443, RAW_PORT
 *   peer listen ADDRESS PORT  says {"event":"ready"}
 *
 * Both say {"event":"certificate","pem":...} before they are ready.
 */
import { createHash } from "node:crypto";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { createServer, type Socket } from "node:net";
import { Readable } from "node:stream";
import { createReporter } from "../../../host/daemon/reporter.ts";
import { answer } from "../../../host/lab/answer.ts";
import { makeCertificate } from "../../../host/lab/certificate.ts";
import { patternChunks } from "../../../host/lab/pattern.ts";
import { say } from "../../../host/lab/script.ts";
import { attachable, backendFlags, runLabBackend } from "../labbackend.ts";
import { RAW_PORT } from "./raw.ts";

/** First byte of a TLS record that carries a handshake. */
const HANDSHAKE = 22;
const HEAD_MAX = 16_384;
const KEEP_ALIVE_MS = 60_000;

/** The first name is its own: a client that trusts all of them must tell them apart. */
const names = [`peer${process.pid}.example`, "library.example", "upstream.example"];
const secrets = makeCertificate(names);
const http = createHttpServer(answer("peer"));
const https = createHttpsServer({ key: secrets.key, cert: secrets.certificate }, answer("peer"));
for (const server of [http, https]) server.keepAliveTimeout = KEEP_ALIVE_MS;
const raw = createServer({ allowHalfOpen: true }, (socket) => void serveRaw(socket));
say({ event: "certificate", pem: secrets.certificate });
if (process.argv[2] === "listen") listen(process.argv[3] ?? "", Number(process.argv[4]));
else await attachAll();

function listen(address: string, port: number): void {
  const server = createServer(
    { allowHalfOpen: true, noDelay: true },
    (socket) => void sort(socket),
  );
  server.listen(port, address, () => say({ event: "ready" }));
}

/** One port for all: `--upstream` names one. */
async function sort(socket: Socket): Promise<void> {
  socket.on("error", () => socket.destroy());
  const head = await readHead(socket, (bytes) => bytes[0] === HANDSHAKE);
  if (head === undefined) return void socket.destroy();
  socket.unshift(head);
  if (head[0] === HANDSHAKE) https.emit("connection", socket);
  else if (/^host: raw\./im.test(head.toString("latin1"))) await serveRaw(socket);
  else http.emit("connection", socket);
}

async function attachAll(): Promise<void> {
  const backend = attachable();
  backend.attach(http, { ports: [80] });
  backend.attach(https, { ports: [443] });
  backend.attach(raw, { ports: [RAW_PORT] });
  const reporter = createReporter({ json: true, quiet: false });
  await runLabBackend(backendFlags(), backend.applications, reporter);
}

/** GET: N bytes of the pattern; PUT: length and SHA-256 of what comes until the end; POST: what comes. */
async function serveRaw(socket: Socket): Promise<void> {
  socket.on("error", () => socket.destroy());
  const bytes = await readHead(socket);
  if (bytes === undefined) return void socket.destroy();
  const end = bytes.indexOf("\r\n\r\n") + 4;
  const head = bytes.toString("latin1", 0, end);
  socket.unshift(bytes.subarray(end));
  if (head.startsWith("POST ")) socket.pipe(socket);
  else if (head.startsWith("PUT ")) digest(socket);
  else {
    socket.resume(); // Its end, when it comes.
    Readable.from(patternChunks(Number(/^GET \/bytes\/(\d+) /.exec(head)?.[1]))).pipe(socket);
  }
}

function digest(socket: Socket): void {
  const hash = createHash("sha256");
  let bytes = 0;
  socket.on("data", (chunk: Buffer) => {
    hash.update(chunk);
    bytes += chunk.length;
  });
  socket.once("end", () => socket.end(JSON.stringify({ bytes, sha256: hash.digest("hex") })));
}

/** The first bytes, up to the end of a request head at least, or until `isEnough`; undefined when there is none. */
async function readHead(
  socket: Socket,
  isEnough: (bytes: Buffer) => boolean = () => false,
): Promise<Buffer | undefined> {
  let head = Buffer.alloc(0);
  for (;;) {
    const more = socket.read() as Buffer | null;
    if (more !== null) head = Buffer.concat([head, more]);
    if (head.length > 0 && (isEnough(head) || head.includes("\r\n\r\n"))) return head;
    if (head.length > HEAD_MAX || socket.readableEnded || socket.destroyed) return undefined;
    await new Promise<void>((resolve) => {
      socket.once("readable", resolve);
      socket.once("close", resolve);
    });
  }
}
