/** The errors of a socket, in the shape that Node's own have: code, errno, syscall. */
import { constants } from "node:os";

/** Why a connection is over: ECONNRESET, ETIMEDOUT, ECONNABORTED; `reason` is the stack's own word. */
export function connectionError(code: string, reason: string): NodeJS.ErrnoException {
  return Object.assign(systemError(code, "read"), { reason });
}

/** A write to a connection that is over in both directions. */
export function alreadyClosed(): NodeJS.ErrnoException {
  return systemError("EPIPE", "write");
}

/** What a write is told that was still waiting when its stream was destroyed. */
export function streamDestroyed(): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error("Cannot call write after a stream was destroyed");
  error.code = "ERR_STREAM_DESTROYED";
  return error;
}

function systemError(code: string, syscall: string): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(`${syscall} ${code}`);
  const errno = (constants.errno as Readonly<Record<string, number | undefined>>)[code];
  if (errno !== undefined) error.errno = -errno;
  error.code = code;
  error.syscall = syscall;
  return error;
}
