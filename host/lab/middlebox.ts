/**
 * A path of the lab made bad: the caller's end of the relay process (relay.ts). Knows the relay's JSON
 * lines and what the caller may ask for; must not know devices.
 */
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { BatonError } from "../errors.ts";
import { checkImpairment, onlyDelays, type Impairment } from "./impair.ts";
import type { Lab, LabNode } from "./lab.ts";
import type {
  RelayCounters,
  RelayOptions,
  RelayReply,
  RelayRequest,
  RelaySetting,
} from "./relay.ts";

const RELAY = fileURLToPath(new URL("./relay.js", import.meta.url));
const SEED_MAX = 2 ** 30;

/** What stands outside `up` and `down` holds for both directions. */
export interface MiddleboxOptions extends Impairment {
  /** From the node to the router. */
  readonly up?: Impairment;
  /** From the router to the node. */
  readonly down?: Impairment;
  /** Of the random choices; each direction has a sequence of its own. Default 1. */
  readonly seed?: number;
  /**
   * Let 64 KiB segments pass whole. Default: only while the path merely delays. With anything that
   * happens to single packets a segment of 45 packets would be lost, or spared, as one.
   */
  readonly offload?: boolean;
}

export interface Middlebox {
  readonly seed: number;
  /** For packets from now on; the seed stays. */
  change(options: MiddleboxOptions): Promise<void>;
  counters(): Promise<RelayCounters>;
  /** The path is good again; packets that still wait in the box are lost. Returns the last counters. */
  close(): Promise<RelayCounters>;
}

/** Resolves when packets of the path between `node` and the router pass the box. */
export async function startMiddlebox(
  lab: Lab,
  node: LabNode,
  options: MiddleboxOptions,
): Promise<Middlebox> {
  const { seed = 1 } = options;
  if (!Number.isInteger(seed) || seed < 0 || seed > SEED_MAX) {
    throw new BatonError("ERR_BATON_CONFIG", `middlebox seed: expected 0 to 2^30, got ${seed}`);
  }
  const { name: device, index, prefixes } = node.address;
  const { mtu } = lab.plan;
  const setting = settingOf(options);
  const relay: RelayOptions = { device, index, prefixes, mtu, seed, setting };
  const args = ["--enable-source-maps", RELAY, JSON.stringify(relay)];
  const stdio = ["pipe", "pipe", "pipe"] as const;
  const child = lab.nodes.router.exec(process.execPath, args, { stdio: [...stdio] });
  const talk = new Talk(device, child);
  await talk.started;
  return {
    seed,
    change: async (changed) => void (await talk.ask({ setting: settingOf(changed) })),
    counters: () => talk.ask({}),
    close: async () => {
      const last = await talk.ask({});
      await talk.end();
      return last;
    },
  };
}

function settingOf(options: MiddleboxOptions): RelaySetting {
  const { up, down, offload } = options;
  const both = Object.fromEntries(
    Object.entries(options).filter(([name]) => /Percent$|Ms$/.test(name)),
  ) as Impairment;
  const setting = { up: { ...both, ...up }, down: { ...both, ...down } };
  checkImpairment(setting.up);
  checkImpairment(setting.down);
  const isGentle = onlyDelays(setting.up) && onlyDelays(setting.down);
  return { ...setting, offload: offload ?? isGentle };
}

/** Requests and replies over the relay's standard input and output. */
class Talk {
  readonly started: Promise<RelayCounters>;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<
    number,
    { resolve(counters: RelayCounters): void; reject(error: Error): void }
  >();
  readonly #ended: Promise<void>;
  #nextId = 1;
  #error: Error | undefined;

  constructor(device: string, child: ChildProcess) {
    this.#child = child;
    this.started = new Promise((resolve, reject) => this.#waiting.set(0, { resolve, reject }));
    let stderr = "";
    child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    child.stdin?.on("error", () => undefined); // EPIPE: "close" tells.
    this.#ended = new Promise((resolve) => {
      const onEnd = (got: string): void => {
        const reason = /^\w*Error: (.*)$/m.exec(stderr)?.[1] ?? got;
        this.#error = new BatonError("ERR_BATON_LAB", `middlebox ${device}: ended, ${reason}`);
        for (const waiting of this.#waiting.values()) waiting.reject(this.#error);
        this.#waiting.clear();
        resolve();
      };
      child.once("error", (error) => onEnd(error.message));
      child.once("close", (status, signal) => onEnd(`exit status ${status ?? signal}`));
    });
    if (child.stdout === null) return;
    createInterface({ input: child.stdout }).on("line", (line) => {
      const { id, counters } = JSON.parse(line) as RelayReply;
      this.#waiting.get(id)?.resolve(counters);
      this.#waiting.delete(id);
    });
  }

  ask(request: Omit<RelayRequest, "id">): Promise<RelayCounters> {
    return new Promise((resolve, reject) => {
      if (this.#error !== undefined) return reject(this.#error);
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve, reject });
      this.#child.stdin?.write(JSON.stringify({ id, ...request }) + "\n");
    });
  }

  async end(): Promise<void> {
    this.#child.stdin?.end();
    await this.#ended;
  }
}
