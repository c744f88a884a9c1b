/** Cryptographic randomness for the rooms that have none of their own. */
import { randomBytes } from "node:crypto";
import type { Random } from "../node/environment.ts";

export const systemRandom: Random = {
  bytes: (length) => new Uint8Array(randomBytes(length)),
};
