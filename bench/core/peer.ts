/** The forwarder's path in C, built and run beside the core: bench/core/forward.c. Knows compilers and pipes. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type EncapOptions, type EncapResult, PACKETS, makeImages } from "./encap.ts";

const IMAGE = 128;
/** The source stands in the sources, not in the build. */
const SOURCE = fileURLToPath(new URL("../../../bench/core/forward.c", import.meta.url));

/** The same packets in C; a text says why not. */
export function forwardInC(options: EncapOptions, rounds: number): EncapResult | string {
  const folder = mkdtempSync(join(tmpdir(), "baton-bench-"));
  try {
    const program = join(folder, "forward");
    const flags = ["-O3", "-march=native", "-o", program, SOURCE];
    const built = spawnSync("gcc", flags, { encoding: "utf8" });
    if (built.error) return "no gcc here";
    if (built.status !== 0) return `gcc: ${built.stderr.split("\n")[0]}`;
    const images = new Uint8Array(PACKETS * IMAGE);
    makeImages(options).forEach((image, index) => images.set(image, index * IMAGE));
    const args = [String(options.flows), String(rounds), options.huge ? "1" : "0"];
    const run = spawnSync(program, args, { input: images });
    if (run.status !== 0) return `the C program ended with ${run.status}: ${run.stderr.toString()}`;
    return JSON.parse(run.stdout.toString()) as EncapResult;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
