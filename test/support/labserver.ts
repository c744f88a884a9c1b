/**
 * A kernel HTTP server for the lab: `GET /N` answers N pseudo-random bytes, `PUT` answers length and
 * SHA-256 of what came, `GET /peer` who asks. Usage: labserver PORT; prints a line when it listens.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { patternChunks } from "../../host/lab/pattern.ts";

const server = createServer((request, response) => {
  if (request.method === "PUT") void take(request, response);
  else if (request.url === "/peer") response.end(request.socket.remoteAddress);
  else void give(Number(request.url?.slice(1)), response);
});

server.listen(Number(process.argv[2]), "::", () => process.stdout.write("listening\n"));

async function take(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  response.end(JSON.stringify({ bytes, sha256: hash.digest("hex") }));
}

async function give(bytes: number, response: ServerResponse): Promise<void> {
  response.setHeader("content-length", bytes);
  for (const chunk of patternChunks(bytes)) {
    if (!response.write(chunk)) await new Promise((resolve) => response.once("drain", resolve));
  }
  response.end();
}
