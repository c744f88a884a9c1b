/**
 * The same work in C, built and run beside the core: the forwarder's path (bench/core/forward.c), and lwIP's stack
 * (bench/core/lwip.c) where Debian's liblwip-dev is installed. Knows compilers and pipes.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type EncapOptions, type EncapResult, PACKETS, makeImages } from "./encap.ts";

const IMAGE = 128;
/** Where liblwip-dev puts its headers. */
const LWIP = "/usr/include/lwip";

/** The same packets in C; a text says why not. */
export function forwardInC(options: EncapOptions, rounds: number): EncapResult | string {
  const images = new Uint8Array(PACKETS * IMAGE);
  makeImages(options).forEach((image, index) => images.set(image, index * IMAGE));
  const args = [options.flows, rounds, options.huge ? 1 : 0];
  return runC("forward", [], args, images) as EncapResult | string;
}

export interface LwipOptions {
  readonly connections: number;
  readonly atOnce: number;
  /** With all of these left in TIME-WAIT, which lwIP searches one by one. */
  readonly kept: number;
  readonly bytes: number;
}

export interface LwipResult {
  /** Connections a second, so many at once; one at a time; with TIME-WAIT kept. */
  readonly perSecond: number;
  readonly oneByOne: number;
  readonly kept: number;
  readonly gbit: number;
}

/** Connections and bulk data of two ends in lwIP; a text says why not. */
export function lwip(options: LwipOptions, rounds: number): LwipResult | string {
  const { connections, atOnce, kept, bytes } = options;
  if (!existsSync(LWIP)) return "no liblwip-dev here";
  const flags = [`-I${LWIP}`, "-llwip"];
  return runC("lwip", flags, [rounds, connections, atOnce, kept, bytes]) as LwipResult | string;
}

/** What the program prints, built from `name`.c; a text says why it cannot be. */
function runC(name: string, flags: string[], args: number[], input?: Uint8Array): unknown {
  const folder = mkdtempSync(join(tmpdir(), "baton-bench-"));
  try {
    const program = join(folder, name);
    // The source stands in the sources, not in the build.
    const source = fileURLToPath(new URL(`../../../bench/core/${name}.c`, import.meta.url));
    const words = ["-O3", "-march=native", "-o", program, source, ...flags];
    const built = spawnSync("gcc", words, { encoding: "utf8" });
    if (built.error) return "no gcc here";
    if (built.status !== 0) return `gcc: ${built.stderr.split("\n")[0]}`;
    const run = spawnSync(program, args.map(String), { input: input ?? new Uint8Array(0) });
    if (run.status !== 0) return `the C program ended with ${run.status}: ${run.stderr.toString()}`;
    return JSON.parse(run.stdout.toString());
  } finally {
    rmSync(folder, { recursive: true });
  }
}
