/**
 * errno numbers and what they mean for a user. Knows Node's own table of system errors; must not know
 * koffi, and not what was being done when the error arose.
 */
import { constants } from "node:os";
import { getSystemErrorMap } from "node:util";
import { BatonError } from "../errors.ts";

export const {
  EAGAIN,
  EBUSY,
  ECONNREFUSED,
  EINTR,
  EINVAL,
  EIO,
  EMSGSIZE,
  ENETUNREACH,
  EHOSTUNREACH,
  ENOBUFS,
  ENODEV,
  ENOENT,
  ENOMEM,
  EPERM,
} = constants.errno;
/** Not in Node's table: the TUN device behind a descriptor was deleted. */
export const EBADFD = 77;

/**
 * Codes that mean "this machine or user cannot", as opposed to "this went wrong": exit status 77.
 * ERR_BATON_PLATFORM: not Linux, or koffi is missing. ERR_BATON_KERNEL: a kernel facility is missing.
 */
const UNAVAILABLE: ReadonlySet<string> = new Set([
  "EPERM",
  "EACCES",
  "ENOSYS",
  "EAFNOSUPPORT",
  "EPROTONOSUPPORT",
  "EOPNOTSUPP",
  "ENOTSUP",
  "ERR_BATON_PLATFORM",
  "ERR_BATON_KERNEL",
]);

/** True when a privilege or a kernel facility is missing: the caller ends with exit status 77. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof BatonError && UNAVAILABLE.has(error.code);
}

/** A BatonError whose code is the errno's name ("EPERM") and whose message says what was tried. */
export function errnoError(what: string, errno: number): BatonError {
  const [code, text] = describe(errno);
  return new BatonError(code, `${what}: ${text} (${code})`);
}

/** The name of an errno: "ENOENT". */
export function errnoName(errno: number): string {
  return describe(errno)[0];
}

function describe(errno: number): [string, string] {
  if (errno === EBADFD) return ["EBADFD", "the device behind the descriptor is gone"];
  return getSystemErrorMap().get(-errno) ?? [`E${errno}`, "unknown system error"];
}
