/** The heartbeats of one node: counts them, and says what is the same in all. Must not know roles. */
import type { HeartbeatMessage } from "./messages.ts";

/** Versions of the blob format that this build reads. */
const BLOB_VERSIONS = { min: 1, max: 2 };

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
      blobVersionMin: BLOB_VERSIONS.min,
      blobVersionMax: BLOB_VERSIONS.max,
      mtu: this.mtu,
    };
  }
}
