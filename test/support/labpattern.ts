/** The bytes that lab peers send each other: reproducible, and different at every 8-byte position. */
const CHUNK = 65536;

export function* patternChunks(bytes: number): Generator<Buffer> {
  for (let offset = 0; offset < bytes; offset += CHUNK) {
    const chunk = Buffer.allocUnsafe(CHUNK);
    for (let at = 0; at < CHUNK; at += 8) chunk.writeDoubleLE(offset + at + 0.5, at);
    yield chunk.subarray(0, Math.min(CHUNK, bytes - offset));
  }
}
