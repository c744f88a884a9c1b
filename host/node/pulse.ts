/** The heartbeats of one node: counts them, and says what is the same in all. Must not know roles. */
import type { HeartbeatMessage } from "./messages.ts";

/** Versions of the blob format that this build reads. */
const BLOB_VERSIONS = { min: 1, max: 2 };

/** Nobody gets more at once: others may ask too before the next heartbeat. */
const CREDITS_MAX = 1024;

/** What a role says of itself at this moment. */
export type Condition = Pick<HeartbeatMessage, "draining" | "serving" | "load" | "credits">;

export class Pulse {
  #sequence = 0;

  /** `mtu`: of the narrowest link on this side. */
  constructor(public mtu: number) {}

  beat(condition: Condition): HeartbeatMessage {
    this.#sequence = (this.#sequence + 1) % 0x1_0000_0000;
    return {
      type: "heartbeat",
      sequence: this.#sequence,
      ...condition,
      credits: Math.min(condition.credits, CREDITS_MAX),
      blobVersionMin: BLOB_VERSIONS.min,
      blobVersionMax: BLOB_VERSIONS.max,
      mtu: this.mtu,
    };
  }
}
