/** The bytes that peers in the lab send each other: reproducible, different at every 8-byte position. */
import { createHash } from "node:crypto";

const CHUNK = 65536;

export function* patternChunks(bytes: number): Generator<Buffer> {
  for (let offset = 0; offset < bytes; offset += CHUNK) {
    const chunk = Buffer.allocUnsafe(CHUNK);
    for (let at = 0; at < CHUNK; at += 8) chunk.writeDoubleLE(offset + at + 0.5, at);
    yield chunk.subarray(0, Math.min(CHUNK, bytes - offset));
  }
}

/** What a receiver must find. */
export function patternSha256(bytes: number): string {
  const hash = createHash("sha256");
  for (const chunk of patternChunks(bytes)) hash.update(chunk);
  return hash.digest("hex");
}
