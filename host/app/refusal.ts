/**
 * What a client gets whose upstream cannot be reached. Knows protocols by their first bytes; must not know
 * upstreams.
 */
import type { Connection } from "../node/connection.ts";
import { createRouter } from "../routing/router.ts";
import { FirstBytesReader } from "../routing/reader.ts";
import type { Reply } from "../routing/reply.ts";
import { BUFFER_SIZE } from "./buffers.ts";

/** 503 for HTTP, an alert for TLS, a RST for what is neither or has been answered in part. */
export function refusal(connection: Connection): Reply {
  const reset: Reply = { reply: new Uint8Array(0), reset: true };
  if (connection.bytesWritten > 0) return reset;
  const head = new Uint8Array(Math.min(connection.readableLength, BUFFER_SIZE));
  const length = connection.peek(head, 0);
  const result = new FirstBytesReader("other").read(head.subarray(0, length));
  if (result.kind === "head") return createRouter([]).unavailable(result.head);
  return result.kind === "reject" ? result : reset;
}

/** The error of an upstream that did not answer. */
export function timedOut(limitMs: number): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(`connect: no answer within ${limitMs} ms`);
  error.code = "ETIMEDOUT";
  return error;
}
