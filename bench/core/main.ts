/**
 * Speed of the core alone, no I/O, in one process and thread:
 *
 *   npm run bench:core [-- --json] [-- --only PART,PART] [-- --rounds 5] [-- --small]
 *
 * Every check of the product is in place. Trust ratios within one run more than absolute figures. Tables are in
 * huge pages where a daemon's would be so by default; with --small none are, as with --huge-pages never.
 */
import { BatonError } from "../../host/errors.ts";
import { HUGE_PAGE, adviseHugePages } from "../../host/linux/huge.ts";
import { CoreHandler, type EncapResult, compare } from "./encap.ts";
import { bytesPerIdleConnection, bytesPerMapping, tickRatio } from "./memory.ts";
import { noteOf } from "./notes.ts";
import { HandlerInC, lwip, type LwipResult } from "./peer.ts";
import { AT_ONCE, bulkGbit, connectionsPerSecond, handoffUs, synMpps } from "./stack.ts";

interface Row {
  readonly key: string;
  /** A text: why there is no figure. */
  readonly value: number | string;
  readonly goal: { readonly least?: number; readonly most?: number } | undefined;
  readonly meaning: string;
}

const MILLION = 1_000_000;
const MISSED = "! missed";
/** Rounds of packets are short, 10 ms: so many for one of the others. */
const PACKET_ROUNDS = 4;
const rounds = Number(option("--rounds") ?? 5);
const only = option("--only");
const huge = !process.argv.includes("--small") && givesHugePages();
const isJson = process.argv.includes("--json");
const rows: Row[] = [];

/** Key, flows, family, whether they go back, goal, meaning. */
const PACKETS = [
  ["encapsulate.mpps", MILLION, 4, false, 15, "1 M IPv4 flows"],
  ["encapsulate.mpps4M", 4 * MILLION, 4, false, 14, "4 M IPv4 flows"],
  ["encapsulate.mpps6", MILLION, 6, false, 10, "1 M IPv6 flows"],
  ["decapsulate.mpps", MILLION, 4, true, 15, "1 M IPv4 flows"],
  ["decapsulate.mpps6", MILLION, 6, true, 10, "1 M IPv6 flows"],
] as const;

await main();

async function main(): Promise<void> {
  if (isWanted("encap")) await packets();
  part("handoff", handoff);
  part("bulk", bulk);
  part("connections", connections);
  part("lwip", againstLwip);
  part("memory", memory);
  part("syn", () =>
    row("syn.mpps", synMpps(rounds), { least: 5 }, "million SYNs/s answered by SYN cookies"),
  );
  const notes = rows.flatMap(({ key, value, goal }) =>
    met(value, goal) === MISSED ? [[key, noteOf(key)]] : [],
  );
  if (isJson) {
    const entries = rows.map(({ key, value }) => [key, value] as const);
    const goals = rows.flatMap(({ key, value, goal }) =>
      goal === undefined || typeof value === "string"
        ? []
        : [[key, { ...goal, isMet: met(value, goal) !== MISSED }] as const],
    );
    const figures = {
      ...Object.fromEntries(entries),
      ...{ goals: Object.fromEntries(goals), notes: Object.fromEntries(notes) as unknown },
      seconds: Math.round(performance.now() / 1000),
    };
    process.stdout.write(JSON.stringify(figures) + "\n");
    return;
  }
  for (const [key, note] of notes) process.stdout.write(`! ${key}: ${note}\n`);
  process.stdout.write(`${Math.round(performance.now() / 1000)} s\n`);
}

async function packets(): Promise<void> {
  for (const pages of huge ? [true, false] : [false]) {
    for (const [key, flows, family, decapsulate, least, meaning] of PACKETS) {
      const suffix = huge && !pages ? "Small" : "";
      const text = suffix === "" ? meaning : `in pages of 4 KiB, ${meaning}`;
      const options = { flows, family, decapsulate, huge: pages };
      const c = key === "encapsulate.mpps" ? HandlerInC.open(options) : undefined;
      const inC = typeof c === "object" ? [c] : [];
      const [seen, peer] = await compare(
        [new CoreHandler(options), ...inC],
        rounds * PACKET_ROUNDS,
      );
      await inC[0]?.close();
      const goal = suffix === "" ? { least } : undefined;
      row(
        `${key}${suffix}`,
        1000 / seen!.batched,
        goal,
        `million packets/s, ${text}, random access`,
      );
      if (c !== undefined) besideC(seen!, peer ?? String(c), suffix);
    }
  }
}

/** Where the kernel gives none the product does without, and so do these figures. */
function givesHugePages(): boolean {
  try {
    adviseHugePages(new Uint8Array(HUGE_PAGE));
    return true;
  } catch (error) {
    if (!(error instanceof BatonError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return false;
  }
}

/** A text says why there is no `c`. */
function besideC({ batched, singly }: EncapResult, c: EncapResult | string, suffix: string): void {
  row(`encapsulate.singlyNs${suffix}`, singly, undefined, "ns a packet without batching");
  const ratio = (key: "singly" | "batched"): number | string =>
    typeof c === "string" ? c : c[key] / batched;
  const goal = suffix === "" ? { least: 1.5 } : undefined;
  row(`encapsulate.vsC${suffix}`, ratio("singly"), goal, "speed over that of C, one by one");
  const meaning = "the same, C in the same batches";
  row(`encapsulate.vsCBatched${suffix}`, ratio("batched"), undefined, meaning);
}

function handoff(): void {
  const us = handoffUs(false, rounds, 20_000);
  row("handoff.us", us, { most: 1 }, "us for one connection with 1 KiB: compile, verify, infuse");
  row("handoff.perSecond", MILLION / us, undefined, "the same, in a second");
  const twice = handoffUs(true, rounds, 20_000);
  row("handoff.unbundledUs", twice, undefined, "the same, unbundled first: verified twice");
}

function bulk(): void {
  const small = { mtu: 1500, offload: false, windowBytes: 256 << 10 };
  const slow = bulkGbit(small, rounds, 200 << 20);
  row("bulk.gbit.mss1460", slow, { least: 12 }, "Gbit/s over one connection, both ends, MTU 1,500");
  const large = { ...small, mtu: 65_535 };
  const fast = bulkGbit(large, rounds, 800 << 20);
  row("bulk.gbit.gso64k", fast, { least: 40 }, "the same in segments of 64 KiB");
  const wide = bulkGbit({ ...large, windowBytes: 4 << 20 }, rounds, 800 << 20);
  row("bulk.gbit.gso64kWide", wide, undefined, "the same, windows of 4 MiB instead of 256 KiB");
  const offload = bulkGbit({ ...small, offload: true }, rounds, 800 << 20);
  row(
    "bulk.gbit.offload",
    offload,
    undefined,
    "super-segments whose sums the link makes, as by TUN",
  );
}

function connections(): void {
  const alone = connectionsPerSecond(0, rounds, 50_000);
  const meaning = "handshakes, 64 bytes there and back, closed, both ends, in a second";
  row("connections.perSecond", alone, { least: 300_000 }, meaning);
  const crowded = connectionsPerSecond(10_000, rounds, 50_000);
  const least = Math.round(alone * 0.85);
  row("connections.perSecondAt10k", crowded, { least }, "the same beside 10,000 others");
}

/** Beside what `bulk` and `connections` measured before, if they did. */
function againstLwip(): void {
  const options = { connections: 50_000, atOnce: AT_ONCE, kept: 10_000, bytes: 200 << 20 };
  const peer = lwip(options, rounds);
  const its = (key: keyof LwipResult): number | string =>
    typeof peer === "string" ? peer : peer[key];
  const ratio = (own: string, key: keyof LwipResult): number | string => {
    const value = rows.find((row) => row.key === own)?.value;
    if (typeof value !== "number") return `no ${own} in this run`;
    return typeof peer === "string" ? peer : value / peer[key];
  };
  const same = "the same by lwIP, native, nobody left in TIME-WAIT";
  row("lwip.perSecond", its("perSecond"), undefined, same);
  row(
    "lwip.oneByOne",
    its("oneByOne"),
    undefined,
    `and not ${AT_ONCE} at once, which it searches in turn`,
  );
  row("lwip.perSecondKept", its("kept"), undefined, "and with TIME-WAIT kept: 10,000 of them");
  row("lwip.gbit.mss1460", its("gbit"), undefined, "Gbit/s over one connection, as bulk.gbit");
  const over = "speed over lwIP's";
  row("connections.vsLwip", ratio("connections.perSecond", "perSecond"), undefined, over);
  row("bulk.vsLwip", ratio("bulk.gbit.mss1460", "gbit"), undefined, over);
}

function memory(): void {
  row("memory.bytesPerMapping", bytesPerMapping(4, MILLION), { most: 48 }, "IPv4, empty slots too");
  row("memory.bytesPerMapping6", bytesPerMapping(6, MILLION), { most: 80 }, "IPv6, likewise");
  const idle = bytesPerIdleConnection(100_000);
  row("memory.bytesPerIdleConnection", idle, { most: 1024 }, "without buffered data, tables too");
  const ratio = (keepAlive: boolean): number => tickRatio(1000, 100_000, keepAlive, 41);
  row("idle.tickRatio", ratio(false), { most: 1.5 }, "a tick at 100,000 idle over one at 1,000");
  row("idle.tickRatioKeepAlive", ratio(true), { most: 1.5 }, "the same, keep-alives armed");
}

function isWanted(name: string): boolean {
  return only === undefined || only.split(",").includes(name);
}

function part(name: string, run: () => void): void {
  if (isWanted(name)) run();
}

function row(key: string, value: number | string, goal: Row["goal"], meaning: string): void {
  rows.push({ key, value, goal, meaning });
  if (isJson) return;
  const { least, most } = goal ?? {};
  const wanted = least !== undefined ? `>= ${least}` : most !== undefined ? `<= ${most}` : "";
  const shown = typeof value === "string" ? "skipped" : format(value);
  const text = typeof value === "string" ? `${meaning} (${value})` : meaning;
  const columns = [
    key.padEnd(30),
    shown.padStart(9),
    wanted.padStart(12),
    met(value, goal).padEnd(10),
  ];
  process.stdout.write(`${columns.join("  ")}${text}\n`);
}

function met(value: number | string, goal: Row["goal"]): string {
  if (typeof value === "string" || goal === undefined) return "";
  const isMet = value >= (goal.least ?? -Infinity) && value <= (goal.most ?? Infinity);
  return isMet ? "met" : MISSED;
}

function format(value: number): string {
  if (value >= 1000) return String(Math.round(value));
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
}

function option(name: string): string | undefined {
  const index = process.argv.indexOf(name);
  return index < 0 ? undefined : process.argv[index + 1];
}
