/** The test's side of labtransfers.ts: many lasting connections, and when each became steady and ended. */
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import * as assert from "uvu/assert";
import type { LabNode } from "../../host/lab/lab.ts";
import { supportScript, until } from "./lab.ts";
import type { TransferEvent, TransferOptions } from "./labtransfers.ts";

const STEADY_LIMIT_MS = 60_000;

export class LabClients {
  readonly #child: ChildProcess;
  readonly #total: number;
  readonly #steady = new Map<number, TransferEvent>();
  readonly #ends = new Map<number, TransferEvent>();
  readonly #ended: Promise<void>;
  #stderr = "";

  constructor(node: LabNode, options: TransferOptions) {
    this.#total = options.groups.reduce((sum, { count }) => sum + count, 0);
    const script = supportScript("labtransfers");
    this.#child = node.exec(process.execPath, ["--enable-source-maps", script], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#child.stdin?.on("error", () => undefined); // "close" tells.
    this.#child.stderr?.on("data", (chunk: Buffer) => (this.#stderr += chunk.toString()));
    if (this.#child.stdout) {
      createInterface({ input: this.#child.stdout }).on("line", (line) => {
        const event = JSON.parse(line) as TransferEvent;
        (event.event === "steady" ? this.#steady : this.#ends).set(event.id, event);
      });
    }
    this.#ended = new Promise((resolve) => this.#child.once("close", () => resolve()));
    this.#child.stdin?.write(JSON.stringify(options) + "\n");
  }

  /** Every end so far. */
  get ends(): readonly TransferEvent[] {
    return [...this.#ends.values()];
  }

  /** Every one is in the middle of its work. */
  async steady(): Promise<void> {
    const check = (): boolean => {
      if (this.#ends.size > 0) throw new Error(`ended too early: ${describe(this.ends)}`);
      return this.#steady.size === this.#total;
    };
    await until(`${this.#total} connections are steady`, STEADY_LIMIT_MS, check);
  }

  /** All of those that `wanted` names have ended. */
  async end(
    limitMs: number,
    wanted: (event: TransferEvent) => boolean = () => true,
  ): Promise<readonly TransferEvent[]> {
    const all = [...this.#steady.values()].filter(wanted);
    const isOver = (): boolean => all.every(({ id }) => this.#ends.has(id));
    await until(`${all.length} connections end`, limitMs, isOver).catch((error: Error) => {
      const open = all.filter(({ id }) => !this.#ends.has(id));
      throw new Error(`${error.message}; open: ${describe(open)}; ended: ${describe(this.ends)}`);
    });
    return this.ends.filter(wanted);
  }

  /** The idle ones ask once more and end; the process ends with the last connection. */
  async finish(limitMs: number): Promise<readonly TransferEvent[]> {
    this.#child.stdin?.write("finish\n");
    const ends = await this.end(limitMs);
    await this.#ended;
    if (this.#stderr !== "") throw new Error(this.#stderr);
    return ends;
  }
}

/** So many finish their work as if nothing had been. */
export async function expectDone(
  clients: LabClients,
  count: number,
  limitMs: number,
): Promise<void> {
  const ends = await clients.finish(limitMs);
  assert.is(ends.filter(({ how }) => how === "done").length, count, describe(ends));
}

/** How many ended how, and a few of each. */
export function describe(events: readonly TransferEvent[]): string {
  const groups = new Map<string, TransferEvent[]>();
  for (const event of events) {
    const name = `${event.kind} ${event.host} ${event.how}`;
    groups.set(name, [...(groups.get(name) ?? []), event]);
  }
  const texts = [...groups].map(([name, { length, [0]: first }]) => {
    return `${length} ${name} (first ${first?.client}, ${first?.bytes} bytes)`;
  });
  return texts.join("; ") || "none";
}
