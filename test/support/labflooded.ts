/**
 * A service under a SYN flood, measured: what becomes of those who are connected and of those who come, what
 * the forwarder's memory and processor do. What the test and the benchmark share.
 */
import { readFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { childOf } from "../../host/lab/process.ts";
import { askRaw, type RawResult } from "./labraw.ts";
import { type Counters, MIB, type TestService } from "./labservice.ts";
import { SPOOFED, synFlood, type FloodResult } from "./labsynflood.ts";
import type { TransferEvent } from "./labtransfers.ts";

export interface Flooded {
  readonly flood: FloodResult;
  /** Of the forwarder's process: before the flood, in its first second or two, at its end, after all. */
  readonly rssBytes: {
    readonly before: number;
    readonly begun: number;
    readonly end: number;
    readonly after: number;
  };
  /** Of the forwarder's process while the flood ran. */
  readonly cpuSeconds: number;
  /** Packets that came while the forwarder's queue was full. */
  readonly deviceDrops: number;
  /** Connections that were begun amid the flood, each with its answer. */
  readonly visits: readonly RawResult[];
  /** Connections that had been there before. */
  readonly transfers: readonly TransferEvent[];
  readonly counters: Counters;
}

/**
 * A SYN that the machine had no time for is repeated after 1, 2 and 4 s by the client's kernel; three in a row
 * are not to be explained by load.
 */
export const VISIT_MS_MAX = 7_000;
/** Once the flood goes on: what a garbage collector leaves lying about. */
const GROWTH_LATER_MAX = 8 * MIB;
/** A visit's verdict is remembered for a minute (T_RECORD); the rest of it is garbage. */
export const VISIT_BYTES_MAX = 16 * 1024;

/** How much the forwarder's memory may grow while the flood goes on. */
export function growthMax({ visits }: Flooded): number {
  return GROWTH_LATER_MAX + visits.length * VISIT_BYTES_MAX;
}

const GROUPS = [
  { kind: "download", host: "api.example", count: 4 },
  { kind: "upload", host: "api.example", count: 4 },
  { kind: "idle", host: "api.example", count: 4 },
] as const;
const FINISH_LIMIT_MS = 90_000;
const CLOCK_TICKS = 100;
/** The first turns of a process grow its heap; the flood is to be compared with a warm one. */
const WARM_VISITS = 50;

/** Floods port 80 of the IPv4 service address for so long; ends the service. */
export async function floodService(
  service: TestService,
  rate: number,
  seconds: number,
  seed: number,
): Promise<Flooded> {
  const { lab, cluster } = service;
  const { client, router } = lab.nodes;
  await router.run("ip", ["route", "add", "blackhole", SPOOFED]);
  const address = service.addressOf(4);
  const pid = childOf(cluster.forwarder.child.pid ?? 0) ?? 0;
  const visits = (count: number) =>
    askRaw(
      client,
      Array.from({ length: count }, () => asked(address)),
    );
  await visits(WARM_VISITS);
  const work = { family: 4, groups: GROUPS, bytes: 4 * MIB, seconds: seconds + 3 } as const;
  const clients = await service.transfers(work);
  const before = { rss: rssOf(pid), cpu: cpuOf(pid), drops: await dropsOf(service) };
  const flooding = synFlood(client, { address, port: 80, rate, seconds, seed });
  let isOver = false;
  void flooding.catch(() => undefined).then(() => (isOver = true));
  await wait(500); // Node's start, and the first SYNs
  const arrived: RawResult[] = [];
  const rss: number[] = [];
  while (!isOver) {
    arrived.push(...(await visits(10)));
    rss.push(rssOf(pid));
  }
  const flood = await flooding;
  const cpuSeconds = cpuOf(pid) - before.cpu;
  const deviceDrops = (await dropsOf(service)) - before.drops;
  const transfers = await clients.finish(FINISH_LIMIT_MS);
  const after = rssOf(pid);
  const counters = (await service.counters()).get("forwarder") ?? {};
  const rssBytes = { before: before.rss, begun: rss[0] ?? NaN, end: rss.at(-1) ?? NaN, after };
  return { flood, rssBytes, cpuSeconds, deviceDrops, visits: arrived, transfers, counters };
}

function asked(address: string) {
  const head = "GET /flooded HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n\r\n";
  return { address, port: 80, parts: [head] };
}

/** Quantile of sorted numbers. */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}

function rssOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

/** User and system time of all its threads. */
function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
}

/** Packets to the forwarder's TUN device that found its queue full. */
async function dropsOf({ lab }: TestService): Promise<number> {
  const { stdout } = await lab.nodes.forwarder.run("cat", ["/proc/self/net/dev"]);
  const line = stdout.split("\n").find((text) => text.trim().startsWith("baton"));
  if (line === undefined) throw new Error(`no device of the forwarder in ${stdout}`);
  return Number(
    line
      .slice(line.indexOf(":") + 1)
      .trim()
      .split(/\s+/)[11],
  );
}
