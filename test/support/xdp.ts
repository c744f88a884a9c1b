/** Whether this system can have the xdp link. */
import { BatonError } from "../../host/errors.ts";
import { createMap, MapType } from "../../host/linux/bpf.ts";
import * as errno from "../../host/linux/errno.ts";
import { libc } from "../../host/linux/libc.ts";
import { XskSocket } from "../../host/linux/xsk.ts";

/** Why this system cannot have the link; empty when it can. */
export function reasonAgainstXdp(): string {
  try {
    libc().close(createMap(MapType.HASH, 4, 4, 1));
    new XskSocket().close();
    return "";
  } catch (error) {
    if (error instanceof BatonError && errno.isUnavailable(error)) return error.message;
    throw error;
  }
}
