/**
 * Huge pages on request, for memory that is read at random places: a page of 2 MiB needs one translation where 512
 * small ones need one each. Knows madvise(2) and the kernel's setting; must not know what the memory holds.
 */
import { readFileSync } from "node:fs";
import { BatonError } from "../errors.ts";
import { libc } from "./libc.ts";

/** "always [madvise] never": what holds stands in brackets. */
const SETTING = "/sys/kernel/mm/transparent_hugepage/enabled";
const MADV_HUGEPAGE = 14;
/** A multiple of every page size there is; linear memory begins and ends at one. */
const ALIGN = 65_536;

/**
 * Asks for huge pages where `memory` has none yet; what has been touched before follows when the kernel finds time.
 * @throws BatonError when this kernel gives none
 */
export function adviseHugePages(memory: Uint8Array): void {
  const setting = readSetting();
  const chosen = /\[(\w+)\]/.exec(setting ?? "")?.[1];
  if (chosen !== "madvise" && chosen !== "always") {
    const got = chosen ?? "no such file";
    const message = `huge pages: expected madvise or always in ${SETTING}, got ${got}`;
    throw new BatonError("ERR_BATON_PLATFORM", message);
  }
  const address = libc().address(memory);
  const first = Math.ceil(address / ALIGN) * ALIGN;
  const end = Math.floor((address + memory.length) / ALIGN) * ALIGN;
  if (first < end) libc().madvise(first, end - first, MADV_HUGEPAGE);
}

function readSetting(): string | undefined {
  try {
    return readFileSync(SETTING, "latin1");
  } catch {
    return undefined; // A kernel without them, or a container without /sys.
  }
}
