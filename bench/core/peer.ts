/**
 * The same work in C, built and run beside the core: the forwarder's path (bench/core/forward.c), and lwIP's stack
 * (bench/core/lwip.c) where Debian's liblwip-dev is installed. Knows compilers and pipes.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { EncapOptions, Handled, Handler } from "./encap.ts";
import { Traffic } from "./traffic.ts";

/** Where liblwip-dev puts its headers. */
const LWIP = "/usr/include/lwip";

/** The forwarder's path in C, in a process of its own that waits between its rounds. */
export class HandlerInC implements Handler {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  #said = "";

  private constructor(program: string, { flows, huge }: EncapOptions, template: Uint8Array) {
    this.#child = spawn(program, [String(flows), huge ? "1" : "0"]);
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    this.#child.stderr.on("data", (text: Buffer) => (this.#said += text.toString()));
    this.#child.stdin.on("error", () => undefined); // It has ended, which the next round finds out.
    this.#child.stdin.write(template);
  }

  /** A text says why not. */
  static open(options: EncapOptions): HandlerInC | string {
    const { template } = new Traffic(options);
    return built("forward", [], (program) => new HandlerInC(program, options, template));
  }

  async round(seed: number, singly: boolean): Promise<Handled> {
    const order = new DataView(new ArrayBuffer(5));
    order.setUint8(0, singly ? 1 : 0);
    order.setUint32(1, seed, true);
    this.#child.stdin.write(new Uint8Array(order.buffer));
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`the C program ended: ${this.#said.trim()}`);
    return JSON.parse(value) as Handled;
  }

  /** Ends it in order. */
  async close(): Promise<void> {
    const ended = once(this.#child, "close");
    this.#child.stdin.end();
    const [status] = await ended;
    if (status !== 0) throw new Error(`the C program ended with ${status}: ${this.#said.trim()}`);
  }
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
  const args = [rounds, connections, atOnce, kept, bytes].map(String);
  return built("lwip", [`-I${LWIP}`, "-llwip"], (program) => {
    const run = spawnSync(program, args, { encoding: "utf8" });
    if (run.status !== 0) return `the C program ended with ${run.status}: ${run.stderr}`;
    return JSON.parse(run.stdout) as LwipResult;
  });
}

/** What `use` makes of the program of `name`.c, which is gone afterwards; a text says why it cannot be built. */
function built<T>(name: string, flags: string[], use: (program: string) => T): T | string {
  const folder = mkdtempSync(join(tmpdir(), "baton-bench-"));
  try {
    const program = join(folder, name);
    // The source stands in the sources, not in the build.
    const source = fileURLToPath(new URL(`../../../bench/core/${name}.c`, import.meta.url));
    const words = ["-O3", "-march=native", "-o", program, source, ...flags];
    const { error, status, stderr } = spawnSync("gcc", words, { encoding: "utf8" });
    if (error) return "no gcc here";
    return status === 0 ? use(program) : `gcc: ${stderr.split("\n")[0]}`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
