/**
 * One measurement of one system: load for a moment, and what the balancer and the machine spent meanwhile.
 * Knows workloads and the tools that make them; must not know rounds, medians or goals.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { runScript } from "../../host/lab/peers.ts";
import { CLIENT, type ClientResult, type ClientWish } from "./client.ts";
import { FILES } from "./files.ts";
import { cpuSecondsOf, machineSeconds, memoryOf } from "./processes.ts";
import type { System, Systems } from "./systems.ts";
import { VISITS, type VisitsResult, type VisitsWish } from "./visits.ts";

/** By wrk: connections, file, and whether each request gets a connection of its own. */
export const WRK_LOADS = {
  connect: { connections: 32, file: "128", isFresh: true },
  keepalive: { connections: 32, file: "128", isFresh: false },
  "64k": { connections: 16, file: "64k", isFresh: false },
  "1m": { connections: 8, file: "1m", isFresh: false },
} as const;
export type WrkLoad = keyof typeof WRK_LOADS;
export type Load = WrkLoad | "1g" | "upload";

export interface Sample {
  readonly system: System;
  readonly requests: number;
  readonly bytes: number;
  readonly seconds: number;
  /** Of the balancer, NaN where there is none. */
  readonly cpuSeconds: number;
  readonly machineSeconds: number;
  readonly memoryBytes: number;
  /** Answers that did not come, or not with status 200. */
  readonly failed: number;
}

export interface IdleSample {
  readonly system: System;
  readonly connections: number;
  readonly beforeBytes: number;
  readonly afterBytes: number;
  /** Of the balancer, for each second in which nothing happened. */
  readonly cpuPerSecond: number;
}

const UPLOAD_CONNECTIONS = 4;
const IDLE_MS = 3_000;
const WARM_REQUESTS = 15_000;
const WARM_SECONDS_MAX = 10;
/** For each system, before those that count: with 200 a node of Baton's still ran code that was not compiled. */
const WARM_VISITS = 2000;

/** What wrk counted, as JSON: its own words round. */
const WRK_SCRIPT = `
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"requests":%d,"bytes":%d,"us":%d,"failed":%d}\\n', summary.requests,
    summary.bytes, summary.duration, e.connect + e.read + e.write + e.status + e.timeout))
end
`;

export class Bench {
  readonly systems: Systems;
  readonly #folder = mkdtempSync(join(tmpdir(), `baton-wrk-${process.pid}-`));
  readonly #script = join(this.#folder, "done.lua");

  constructor(systems: Systems) {
    this.systems = systems;
    writeFileSync(this.#script, WRK_SCRIPT);
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async load(system: System, load: Load, seconds: number): Promise<Sample> {
    if (load === "connect") await this.systems.changeClient(system.target);
    const before = this.#now(system);
    const result =
      load === "1g"
        ? await this.#client({ kind: "download", target: system.target, file: "1g" })
        : load === "upload"
          ? await this.#client({
              ...{ kind: "upload", target: system.target },
              ...{ connections: UPLOAD_CONNECTIONS, ms: seconds * 1000 },
            })
          : await this.#wrk(system, WRK_LOADS[load], seconds);
    const after = this.#now(system);
    return {
      ...{ failed: 0, ...result, system },
      cpuSeconds: after.cpu - before.cpu,
      machineSeconds: after.machine - before.machine,
      memoryBytes: system.balancer === undefined ? NaN : memoryOf(system.balancer),
    };
  }

  /** Fills caches and pools, and lets V8 compile what is on the way of a connection: that takes thousands. */
  async warm(system: System, load: Load): Promise<void> {
    const isSmall = load === "connect" || load === "keepalive";
    let requests = 0;
    for (let second = 0; second < WARM_SECONDS_MAX && requests < WARM_REQUESTS; second += 1) {
      requests += (await this.load(system, load, 1)).requests;
      if (!isSmall) return;
    }
  }

  /** Connections that have been used once and then rest. */
  async idle(system: System, connections: number): Promise<IdleSample> {
    const { balancer = 0, target } = system;
    const beforeBytes = memoryOf(balancer);
    let taken: Promise<Omit<IdleSample, "system" | "connections" | "beforeBytes">> | undefined;
    const look = async (): Promise<Omit<IdleSample, "system" | "connections" | "beforeBytes">> => {
      await wait(IDLE_MS / 3); // What the last answers left behind is done by then.
      const cpu = cpuSecondsOf(balancer);
      await wait(IDLE_MS / 3);
      const cpuPerSecond = (cpuSecondsOf(balancer) - cpu) / (IDLE_MS / 3000);
      return { cpuPerSecond, afterBytes: memoryOf(balancer) };
    };
    const wish: ClientWish = { kind: "idle", target, connections, ms: IDLE_MS };
    const client = this.systems.lab.nodes.client;
    await runScript<ClientResult>(client, CLIENT.pathname, wish, () => {
      taken = look();
    });
    const found = await taken;
    if (found === undefined)
      throw new Error(`${system.name}: the idle connections were not opened`);
    return { system, connections, beforeBytes, ...found };
  }

  /** Microseconds of each visit, for each system; they take turns. */
  async visits(systems: readonly System[], visits: number): Promise<VisitsResult> {
    const targets = systems.map(({ target }) => target);
    const wish: VisitsWish = { targets, visits, warm: Math.min(WARM_VISITS, visits) };
    let result: VisitsResult | undefined;
    const client = this.systems.lab.nodes.client;
    await runScript<VisitsResult>(client, VISITS.pathname, wish, (line) => (result = line));
    if (result === undefined) throw new Error("visits: the client said nothing");
    return result;
  }

  async #client(wish: ClientWish): Promise<ClientResult> {
    let result: ClientResult | undefined;
    const client = this.systems.lab.nodes.client;
    await runScript<ClientResult>(client, CLIENT.pathname, wish, (line) => (result = line));
    if (result === undefined) throw new Error(`${wish.kind}: the client said nothing`);
    return result;
  }

  async #wrk(
    { target }: System,
    { connections, file, isFresh }: (typeof WRK_LOADS)[WrkLoad],
    seconds: number,
  ): Promise<ClientResult & { failed: number }> {
    const words = [
      // It takes whole seconds only, and says how long it took.
      ...["-t", "1", "-c", String(connections), "-d", `${Math.ceil(seconds)}s`, "-s", this.#script],
      ...["-H", `Host: ${target.host}`, ...(isFresh ? ["-H", "Connection: close"] : [])],
      `http://${target.address}:${target.port}/${file}`,
    ];
    const { stdout, stderr, status } = await this.systems.lab.nodes.client.run("wrk", words);
    const line = stdout.split("\n").find((text) => text.startsWith('{"requests"'));
    if (status !== 0 || line === undefined) throw new Error(`wrk: ${stderr.trim() || stdout}`);
    const { requests, us, failed } = JSON.parse(line) as Record<string, number>;
    const whole = (requests ?? 0) * (FILES[file] ?? NaN);
    return {
      requests: requests ?? 0,
      bytes: whole,
      seconds: (us ?? NaN) / 1e6,
      failed: failed ?? 0,
    };
  }

  #now({ balancer }: System): { cpu: number; machine: number } {
    const cpu = balancer === undefined ? NaN : cpuSecondsOf(balancer);
    return { cpu, machine: machineSeconds() };
  }
}
