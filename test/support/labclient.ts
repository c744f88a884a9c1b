/**
 * A kernel HTTP client for the lab. Usage: labclient URL [UPLOAD_BYTES]; prints one JSON line with
 * status, bytes, SHA-256 and time; a short body as text too. Exit status 1 and the code on failure.
 */
import { createHash } from "node:crypto";
import { request } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { patternChunks } from "../../host/lab/pattern.ts";

const TEXT_MAX = 1000;
const [url = "", upload = "0"] = process.argv.slice(2);

const started = performance.now();
const outgoing = request(url, { method: Number(upload) > 0 ? "PUT" : "GET" }, (response) => {
  const hash = createHash("sha256");
  let bytes = 0;
  let text = "";
  response.on("data", (chunk: Buffer) => {
    hash.update(chunk);
    bytes += chunk.length;
    if (text.length < TEXT_MAX) text += chunk.toString("latin1", 0, TEXT_MAX);
  });
  response.on("end", () => {
    const ms = performance.now() - started;
    const sha256 = hash.digest("hex");
    process.stdout.write(
      JSON.stringify({ status: response.statusCode, bytes, sha256, text, ms }) + "\n",
    );
  });
  response.on("error", fail);
});
outgoing.on("error", fail);
await pipeline(Readable.from(patternChunks(Number(upload))), outgoing).catch(fail);

function fail(error: unknown): void {
  process.stderr.write(`${String((error as NodeJS.ErrnoException).code ?? error)}\n`);
  process.exit(1);
}
