/** How the core says that a connection ended, in the words of RELEASE. Knows codes; must not know who asks. */
import type { Core } from "../core/core.ts";
import type { ReleaseCause } from "./messages.ts";

/** @param code of a CLOSED or RELEASED event */
export function causeOf(core: Core, code: number): ReleaseCause {
  const { err } = core;
  if (code === err["RESET"]) return "reset";
  if (code === err["TIMEOUT"] || code === err["UNREACHABLE"]) return "timeout";
  if (code === err["ABORTED"]) return "aborted";
  return "closed";
}
