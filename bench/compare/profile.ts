/**
 * `npm run profile`: what the forwarder spends on a connection, from its SYN to its RELEASE, and on what. One
 * connection for each request, as in bench:lab; V8's profiler tells where the time of the process went, the
 * kernel how much there was. Exit status 77 where no lab can be had.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { Profiler } from "node:inspector";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as wait } from "node:timers/promises";
import { parseArgs } from "node:util";
import { LabUnavailable } from "../../host/lab/lab.ts";
import { Bench } from "./measure.ts";
import { Systems } from "./systems.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "5" },
    functions: { type: "string", default: "25" },
    keep: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
const HELP = `profile [options]
  --seconds N    of load (default 5)
  --functions N  list so many functions (default 25)
  --keep FILE    keep the profile, for Chromium's or an editor's viewer
  --json
`;
const BUDGET_US = 40;
const START_MS = 1_500;

/** The first that fits the path of a function's file names its part. */
const PARTS: readonly (readonly [RegExp, string])[] = [
  [/host\/link\/tun|host\/linux\/watcher/, "packets in and out"],
  [/host\/link\/(udp|datagrams)|dgram|internal\/dgram/, "datagrams in and out"],
  [/host\/link\/(evp|nodecipher|cipher)/, "encryption"],
  [/host\/linux\/libc/, "system calls"],
  [/host\/(linux|link)\//, "other adapters"],
  [/host\/transport\//, "transport"],
  [/host\/routing\//, "reading and routing"],
  [/host\/node\//, "handoff protocol"],
  [/host\/core\//, "façade of the core"],
  [/^wasm:/, "core"],
  [/host\/(daemon|observe)\//, "reports"],
  [/^node:/, "Node"],
];

type Frame = Profiler.Profile["nodes"][number]["callFrame"];

interface Profiled {
  readonly connections: number;
  readonly us: number;
  /** Microseconds for each connection. */
  readonly parts: Readonly<Record<string, number>>;
  readonly functions: readonly (readonly [string, number])[];
}

if (values.help) process.stdout.write(HELP);
else await main();

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), `baton-profile-${process.pid}-`));
  const path = values.keep ?? join(folder, "forwarder.cpuprofile");
  process.env["BATON_PROFILE"] = path;
  try {
    const script = fileURLToPath(new URL("./profiled.js", import.meta.url));
    const systems = await Systems.open(["baton-upstream"], script);
    try {
      print(await measure(systems, path));
    } finally {
      for (const end of await systems.close()) process.stderr.write(`not in order: ${end}\n`);
    }
  } catch (error) {
    if (!(error instanceof LabUnavailable)) throw error;
    process.stderr.write(`profile: ${error.message}\n`);
    process.exitCode = 77;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(systems: Systems, path: string): Promise<Profiled> {
  const bench = new Bench(systems);
  const [system] = systems.systems;
  if (system === undefined) throw new Error("profile: no system");
  const { forwarder } = systems.cluster;
  await bench.warm(system, "connect");
  // The profiler takes time of its own: how much there is in all is measured without it.
  const plain = await bench.load(system, "connect", Number(values.seconds));
  forwarder.child.kill("SIGUSR2");
  await wait(START_MS); // The profiler's start takes long, and belongs to no connection.
  const profiled = await bench.load(system, "connect", Number(values.seconds));
  const written = new Promise<void>((resolve) =>
    forwarder.onEvent(({ event }) => {
      if (event === "profile") resolve();
    }),
  );
  forwarder.child.kill("SIGUSR2");
  await written;
  bench.close();
  const failed = plain.failed + profiled.failed;
  if (failed > 0) throw new Error(`profile: ${failed} connections failed`);
  const us = (plain.cpuSeconds / plain.requests) * 1e6;
  return analyse(JSON.parse(readFileSync(path, "utf8")) as Profiler.Profile, plain.requests, us);
}

/** Shares of the samples in which the process was busy, laid on what the kernel counted. */
function analyse(profile: Profiler.Profile, connections: number, us: number): Profiled {
  const frames = framesOf(profile);
  const parts = new Map<string, number>();
  const functions = new Map<string, number>();
  let busy = 0;
  for (const [index, id] of (profile.samples ?? []).entries()) {
    const frame = frames.get(id);
    const deltaUs = profile.timeDeltas?.[index] ?? 0;
    if (frame === undefined || frame.functionName === "(idle)" || frame.functionName === "post")
      continue;
    busy += deltaUs;
    add(parts, partOf(frame), deltaUs);
    const place = `${frame.url.replace(/^.*\/build\//, "")}:${frame.lineNumber + 1}`;
    add(functions, `${frame.functionName || "(anonymous)"} ${place}`, deltaUs);
  }
  const each = (value: number): number => (value / busy) * us;
  const sorted = (map: Map<string, number>): [string, number][] =>
    [...map].sort((a, b) => b[1] - a[1]).map(([name, value]) => [name, each(value)]);
  const most = sorted(functions).slice(0, Number(values.functions));
  return { connections, us, parts: Object.fromEntries(sorted(parts)), functions: most };
}

/** Each node's frame; a native function is its caller's, whose name says more: system calls above all. */
function framesOf({ nodes }: Profiler.Profile): Map<number, Frame> {
  const frames = new Map<number, Frame>();
  const children = new Map(nodes.map((node) => [node.id, node]));
  const visit = (id: number, caller: Frame | undefined): void => {
    const node = children.get(id);
    if (node === undefined) return;
    const { callFrame } = node;
    const isNative = callFrame.url === "" && !callFrame.functionName.startsWith("(");
    const frame = isNative && caller?.url ? caller : callFrame;
    frames.set(id, frame);
    for (const child of node.children ?? []) visit(child, frame);
  };
  if (nodes[0] !== undefined) visit(nodes[0].id, undefined);
  return frames;
}

function partOf({ url, functionName }: Frame): string {
  if (functionName === "(garbage collector)") return "garbage collection";
  if (functionName === "(program)") return "outside JavaScript";
  return PARTS.find(([pattern]) => pattern.test(url))?.[1] ?? "Node";
}

function add(map: Map<string, number>, key: string, value: number): void {
  map.set(key, (map.get(key) ?? 0) + value);
}

function print({ connections, us, parts, functions }: Profiled): void {
  if (values.json) {
    const goal = { most: BUDGET_US, isMet: us <= BUDGET_US };
    process.stdout.write(JSON.stringify({ connections, us, goal, parts, functions }) + "\n");
    return;
  }
  const line = (value: number, name: string): string =>
    `${value.toFixed(1).padStart(8)} us  ${name}\n`;
  process.stdout.write(`${connections} connections; for each, at the forwarder:\n`);
  for (const [name, value] of Object.entries(parts)) process.stdout.write(line(value, name));
  const verdict = us <= BUDGET_US ? "met" : "MISSED";
  process.stdout.write(`${line(us, `in all; goal <= ${BUDGET_US} us: ${verdict}`)}\n`);
  for (const [name, value] of functions) process.stdout.write(line(value, name));
}
