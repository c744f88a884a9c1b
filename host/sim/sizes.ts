/**
 * How large the cores of a run are. Knows sizes only. Zeroed memory by the tens of MiB for each life of each node
 * costs a run more than its packets do, so a run has what it can use and a multiple of it. The counts of tables are
 * those of every small core.
 */
import { SMALL_PARAMETERS } from "../core/parameters.ts";

/** One connection gets a third of the pool for one direction and a third of the rest for the other (tcp/share.ts). */
const BUFFER_BYTES = 3 << 20;
/** More than those two together: every connection fits in a blob. */
const BLOB_BYTES = 2 << 20;

export const RUN_SIZES = {
  ...SMALL_PARAMETERS,
  bufferBytes: BUFFER_BYTES,
  blobBytes: BLOB_BYTES,
  earlyBytesMax: 1 << 20,
} as const;
