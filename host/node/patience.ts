/**
 * How long a node bears a silent client, as its configuration says. Knows two settings of the core's connections; must
 * not know where they come from. RFC 9293 3.8.4 (keep-alive), RFC 5482 (user timeout).
 */
import type { Core } from "../core/core.ts";

/** What is undefined stays as it is: off on a new connection, as it was on one that was moved here. */
export interface Patience {
  /** Idle time before the first keep-alive probe. */
  readonly keepAliveUs?: number | undefined;
  /** How long what was sent may stay unacknowledged. */
  readonly userTimeoutUs?: number | undefined;
}

/** Time between keep-alive probes: as Linux, unless the user timeout is short. */
const INTERVAL_US = 75_000_000;
const INTERVAL_US_MIN = 1_000_000;

/** Applies it to a connection that was accepted or has arrived. */
export function setPatience(core: Core, handle: number, patience: Patience | undefined): void {
  if (patience?.keepAliveUs !== undefined) {
    core.setOption(handle, "KEEPALIVE_US", patience.keepAliveUs);
  }
  if (patience?.userTimeoutUs !== undefined) {
    core.setOption(handle, "USER_TIMEOUT_US", patience.userTimeoutUs);
    // Several probes within the limit, or one that is lost ends the connection.
    const interval = Math.max(INTERVAL_US_MIN, Math.min(INTERVAL_US, patience.userTimeoutUs / 4));
    core.setOption(handle, "KEEPALIVE_INTERVAL_US", interval);
  }
}
