/**
 * A SYN flood of spoofed addresses against a service in a lab of this machine, by the path that clients take:
 *
 *   node build/bench/flood.js [--rate 100000] [--seconds 10] [--json]
 *
 * Prints what the forwarder took, dropped and spent, and how new and old connections fared meanwhile; beside it the
 * goals, and which were missed. Ends with status 1 when one was.
 */
import { floodService, growthMax, quantile, VISIT_MS_MAX } from "../test/support/labflooded.ts";
import { withService } from "../test/support/labservice.ts";

const rate = flag("--rate", 100_000);
const seconds = flag("--seconds", 10);

await withService("SYN flood", {}, async (service) => {
  const flooded = await floodService(service, rate, seconds, 1);
  const { flood, rssBytes, cpuSeconds, deviceDrops, visits, transfers, counters } = flooded;
  const times = visits.map(({ ms }) => ms).sort((a, b) => a - b);
  const row = {
    synPerSecond: Math.round(flood.sent / flood.seconds),
    sent: flood.sent,
    dropped: deviceDrops,
    cookies: counters["core"]?.["tcp_cookies_sent"] ?? 0,
    forwarderUsPerSyn: (cpuSeconds / flood.sent) * 1e6,
    generatorUsPerSyn: (flood.cpuSeconds / flood.sent) * 1e6,
    rssMiB: Object.fromEntries(
      Object.entries(rssBytes).map(([name, bytes]) => [name, Math.round(bytes / 2 ** 20)]),
    ),
    newConnections: visits.length,
    newFailed: visits.filter(({ received }) => !received.startsWith("HTTP/1.1 200")).length,
    newMs: { p50: quantile(times, 0.5), p99: quantile(times, 0.99), max: quantile(times, 1) },
    established: transfers.length,
    establishedFailed: transfers.filter(({ how }) => how !== "done").length,
  };
  const grown = rssBytes.end - rssBytes.begun;
  const goals: readonly (readonly [string, boolean])[] = [
    [`${rate} SYNs a second, within 2 %`, row.synPerSecond >= 0.98 * rate],
    ["at most 1 % of them dropped by the device", deviceDrops <= 0.01 * flood.sent],
    ["every new connection is served", visits.length > 0 && row.newFailed === 0],
    [`none waits longer than ${VISIT_MS_MAX} ms`, row.newMs.max < VISIT_MS_MAX],
    ["every established connection goes on", transfers.length > 0 && row.establishedFailed === 0],
    ["memory does not grow while it goes on", grown < growthMax(flooded)],
  ];
  const missed = goals.filter(([, isMet]) => !isMet).map(([goal]) => goal);
  if (process.argv.includes("--json"))
    process.stdout.write(JSON.stringify({ ...row, missed }) + "\n");
  else {
    for (const [name, value] of Object.entries(row)) write(name, value);
    for (const [goal, isMet] of goals)
      process.stdout.write(`${isMet ? "met   " : "MISSED"} ${goal}\n`);
  }
  if (missed.length > 0) process.exitCode = 1;
});

function write(name: string, value: unknown): void {
  const text = typeof value === "number" ? String(Math.round(value * 100) / 100) : shown(value);
  process.stdout.write(`${name.padEnd(20)} ${text}\n`);
}

function shown(value: unknown): string {
  const entries = Object.entries(value as Record<string, number>);
  return entries.map(([name, each]) => `${name} ${Math.round(each * 10) / 10}`).join("  ");
}

function flag(name: string, otherwise: number): number {
  const index = process.argv.indexOf(name);
  return index < 0 ? otherwise : Number(process.argv[index + 1]);
}
