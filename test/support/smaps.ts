/** What the kernel notes of this process's memory. */
import { readFileSync } from "node:fs";

/** Whether the kernel was asked for huge pages at an address: "hg" among the flags of its mapping. */
export function isAdvised(address: number): boolean {
  return /^VmFlags:.* hg\b/m.test(mappingAt(address));
}

/** MiB of huge pages in the mapping of an address. */
export function hugeMib(address: number): number {
  return Number(/^AnonHugePages: +(\d+) kB/m.exec(mappingAt(address))?.[1]) / 1024;
}

/** The kernel's account of the mapping at an address. */
function mappingAt(address: number): string {
  const maps = readFileSync("/proc/self/smaps", "latin1").matchAll(
    /^([0-9a-f]+)-([0-9a-f]+) [^]*?^VmFlags:.*$/gm,
  );
  for (const [account, first, end] of maps) {
    if (address >= parseInt(first ?? "", 16) && address < parseInt(end ?? "", 16)) return account;
  }
  throw new Error(`no mapping at ${address}`);
}
