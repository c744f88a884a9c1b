/**
 * Names the code that simulated runs are of: one digest over the core and every compiled file that the simulator
 * imports, directly or not. What takes no part (documentation, tests, the lab) does not change it.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const IMPORT = /\b(?:from|import)\s*\(?\s*["'](\.{1,2}\/[^"']+)["']/g;
const DIGEST_DIGITS = 16;

/** @param others  files that are read, not imported: the core */
export function codeDigest(entries: readonly URL[], others: readonly URL[]): string {
  const hash = createHash("sha256");
  for (const file of [...imports(entries), ...others].sort(byPath)) {
    const bytes = readFileSync(file);
    // Names count too, but only as far as they are the product's own: the same code in another folder is the same.
    hash.update(`${file.pathname.split("/").slice(-2).join("/")} ${bytes.length}\n`);
    hash.update(bytes);
  }
  return hash.digest("hex").slice(0, DIGEST_DIGITS);
}

/** The entries and what they import, each once. */
export function imports(entries: readonly URL[]): URL[] {
  const found = new Map<string, URL>();
  const open = [...entries];
  for (let file = open.pop(); file; file = open.pop()) {
    if (found.has(file.href)) continue;
    found.set(file.href, file);
    for (const [, path = ""] of readFileSync(file, "utf8").matchAll(IMPORT)) {
      open.push(new URL(path, file));
    }
  }
  return [...found.values()];
}

function byPath(one: URL, two: URL): number {
  return one.href < two.href ? -1 : 1;
}
