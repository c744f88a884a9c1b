/**
 * Huge pages, for memory that is read at random places: a page of 2 MiB needs one translation where 512 small ones
 * need one each. Knows madvise(2) and the kernel's setting; must not know what the memory holds.
 */
import { readFileSync } from "node:fs";
import { BatonError } from "../errors.ts";
import { libc } from "./libc.ts";

/** "always [madvise] never": what holds stands in brackets. */
const SETTING = "/sys/kernel/mm/transparent_hugepage/enabled";
const MADV_HUGEPAGE = 14;
const MADV_NOHUGEPAGE = 15;
/** Linux 6.1 and later. */
const MADV_COLLAPSE = 25;
/** Bytes of a huge page of x86-64 and of ARM64 with small pages of 4 KiB. */
export const HUGE_PAGE = 2 << 20;
/** Bytes of a small one there; where they are larger a table is resident sooner. */
export const SMALL_PAGE = 4096;
/** A multiple of every small page there is; linear memory begins and ends at one. */
const ALIGN = 65_536;

/**
 * Asks for huge pages where `memory` has none yet; what has been touched before follows when the kernel finds time.
 * @throws BatonError when this kernel gives none
 */
export function adviseHugePages(memory: Uint8Array): void {
  const chosen = readSetting();
  if (chosen !== "madvise" && chosen !== "always") {
    const got = chosen ?? "no such file";
    const message = `huge pages: expected madvise or always in ${SETTING}, got ${got}`;
    throw new BatonError("ERR_BATON_PLATFORM", message);
  }
  advise(memory, MADV_HUGEPAGE);
}

/** Small pages for all of `memory`, also where the kernel would give everybody huge ones. */
export function refuseHugePages(memory: Uint8Array): void {
  if (readSetting() === "always") advise(memory, MADV_NOHUGEPAGE);
}

/**
 * Gathers the small pages of `memory` into huge ones at once, in the caller's time: most of a millisecond for each.
 * False when this kernel cannot, or has no room: adviseHugePages then leaves it to the kernel's own thread.
 */
export function gatherHugePages(memory: Uint8Array): boolean {
  try {
    advise(memory, MADV_COLLAPSE);
    return true;
  } catch (error) {
    if (!(error instanceof BatonError)) throw error;
    return false;
  }
}

/** The part of `whole` that all huge pages cover in which a byte of `inner` lies: whose neighbours share its fate. */
export function coveredByHugePages(whole: Uint8Array, inner: Uint8Array): Uint8Array {
  const address = libc().address(whole);
  const start = address + inner.byteOffset - whole.byteOffset;
  const first = Math.floor(start / HUGE_PAGE) * HUGE_PAGE - address;
  const end = Math.ceil((start + inner.length) / HUGE_PAGE) * HUGE_PAGE - address;
  return whole.subarray(Math.max(0, first), end);
}

/** The whole huge pages in `memory`, one by one. */
export function hugePagesOf(memory: Uint8Array): Uint8Array[] {
  const address = libc().address(memory);
  const pages: Uint8Array[] = [];
  let at = Math.ceil(address / HUGE_PAGE) * HUGE_PAGE - address;
  for (; at + HUGE_PAGE <= memory.length; at += HUGE_PAGE) {
    pages.push(memory.subarray(at, at + HUGE_PAGE));
  }
  return pages;
}

function advise(memory: Uint8Array, advice: number): void {
  const address = libc().address(memory);
  const first = Math.ceil(address / ALIGN) * ALIGN;
  const end = Math.floor((address + memory.length) / ALIGN) * ALIGN;
  if (first < end) libc().madvise(first, end - first, advice);
}

/** Undefined: a kernel without them, or a container without /sys. */
function readSetting(): string | undefined {
  try {
    return /\[(\w+)\]/.exec(readFileSync(SETTING, "latin1"))?.[1];
  } catch {
    return undefined;
  }
}
