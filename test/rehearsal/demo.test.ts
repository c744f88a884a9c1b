/** The main job where this system has no lab: what it says, what it proves, how it ends. */
import { spawn, spawnSync } from "node:child_process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { labDemo } from "../../host/lab/demo.ts";
import { rehearse, type RehearsalOptions } from "../../host/rehearsal/demo.ts";
import { MAIN, type Ended } from "../support/cli.ts";
import { supportScript } from "../support/lab.ts";

const BYTES = 1 << 20;
const rehearsal = suite("rehearsal");

interface JsonReport {
  event: string;
  ok: boolean;
  failures: string[];
  simulated: string;
  connections: Record<string, unknown>[];
  encapsulatedPackets: number;
  responseBytesAtForwarder: number;
}

interface Rehearsed {
  readonly status: number;
  readonly output: string;
  readonly warnings: string;
}

async function run(options: RehearsalOptions): Promise<Rehearsed> {
  let output = "";
  let warnings = "";
  const status = await rehearse(
    "no reason",
    { bytes: BYTES, ...options },
    (text) => (output += text),
    (text) => (warnings += text),
  );
  return { status, output, warnings };
}

const NOTICE = /^baton: no lab here \((.+)\): the same scenario on a simulated network\n/;

/** Every connection of the scenario, handed over, with what a person wants to see of it. */
function expectWhole(report: JsonReport): void {
  assert.equal([report.event, report.ok, report.failures], ["demo", true, []]);
  assert.is(report.connections.length, 14);
  for (const connection of report.connections) {
    const { flow, blobBytes, handoffUs, directBytes, requests } = connection;
    for (const number of [flow, blobBytes, handoffUs, directBytes, requests]) {
      assert.ok(Number(number) > 0, JSON.stringify(connection));
    }
    const { rule, backend, head, client } = connection;
    assert.ok(rule !== undefined && backend !== undefined && head !== undefined && client);
  }
  assert.is(new Set(report.connections.map(({ flow }) => flow)).size, 14);
  assert.is(new Set(report.connections.map(({ client }) => client)).size, 14);
  const moved = (name: string) => report.connections.filter((it) => it[name] === BYTES);
  assert.equal([moved("downloadBytes").length, moved("uploadBytes").length], [2, 2]);
  assert.ok(report.encapsulatedPackets > 100);
  assert.is(report.responseBytesAtForwarder, 0);
}

rehearsal("hands every connection over and proves it, in one JSON object", async () => {
  const { status, output, warnings } = await run({ json: true });
  assert.is(status, 0, output);
  assert.is(NOTICE.exec(warnings)?.[1], "no reason");
  assert.is(warnings.replace(NOTICE, ""), "", "one line");
  assert.is(output.trim().split("\n").length, 1);
  const report = JSON.parse(output) as JsonReport;
  expectWhole(report);
  assert.is(report.simulated, "no reason");
});

rehearsal("shows a person every connection, the size, and a summary, after one line", async () => {
  const { status, output, warnings } = await run({});
  assert.equal([status, warnings], [0, ""], output);
  assert.match(output, NOTICE);
  assert.match(output, "1.0 MiB down, 1.0 MiB up");
  assert.match(output, /^ok {4}IPv6 {2}by TLS SNI .* b2 /m);
  assert.match(output, /^client +read +backend +why +blob +flow +handoff +forwarded +direct$/m);
  assert.match(output, /22 requests on 14 connections, 14 handed over/);
  assert.match(output, /all as it must be, in /);
  assert.not.match(output, /bit\/s/, "simulated times say nothing of speed");
  assert.ok(output.split("\n").every((line) => line.length <= 160));
});

rehearsal("gives the same on bad paths, whose flags mean what they mean in a lab", async () => {
  const client = { path: "client", lossPercent: 2, delayMs: 2, jitterMs: 1, duplicatePercent: 1 };
  const forwarder = { path: "forwarder", lossPercent: 1, corruptPercent: 1, reorderPercent: 1 };
  const { status, output } = await run({ json: true, impair: [client, forwarder] });
  assert.is(status, 0, output);
  const report = JSON.parse(output) as JsonReport;
  expectWhole(report);
  const ms = report.connections.map((connection) => Number(connection["ms"]));
  assert.ok(Math.min(...ms) > 4, `round trips of 2 ms and more, got ${ms.join()}`);
});

rehearsal("refuses a path that no node has, in one line", async () => {
  const error = await run({ impair: [{ path: "b7", lossPercent: 1 }] }).catch(String);
  assert.match(String(error), /--on: expected one of client, forwarder, b1, b2, got "b7"$/);
});

rehearsal("says in one line that no packet gets through", async () => {
  const impair = [{ path: "client", lossPercent: 100 }];
  const error = await run({ impair }).catch(String);
  assert.match(
    String(error),
    /demo: expected the service to answer, got: the client says ETIMEDOUT$/,
  );
});

rehearsal("fails, and says why, when a rule sends a connection elsewhere", async () => {
  const rules = ["host=shop.example path=/static/* -> b1", "default -> b1"];
  const { status, output } = await run({ json: true, rules });
  const { ok, failures } = JSON.parse(output) as JsonReport;
  assert.equal([status, ok], [1, false]);
  assert.match(failures.join("; "), /by path, IPv4: answered by b1 instead of b2/);
  assert.match(failures.join("; "), /by TLS SNI, IPv6: handed to b1/);
});

rehearsal("ends at once when it is told to stop", async () => {
  const stop = new AbortController();
  let output = "";
  const print = (text: string): void => {
    output += text;
    if (/by path/.test(text)) stop.abort("SIGINT");
  };
  const running = rehearse("no reason", { bytes: BYTES, stop: stop.signal }, print, print);
  assert.match(String(await running.catch(String)), /demo: stopped by SIGINT/);
  assert.not.match(output, /upload/);
});

rehearsal("is what the demo does where there is no lab", async () => {
  let output = "";
  const print = (text: string): void => void (output += text);
  const simulate = (reason: string) => rehearse(reason, { bytes: BYTES, json: true }, print, print);
  const status = await labDemo({ unshare: "/nonexistent/unshare", simulate }, print);
  assert.is(status, 0, output);
  const reason = "expected the program /nonexistent/unshare, got none in PATH";
  assert.is(NOTICE.exec(output)?.[1], reason);
});

/** `baton lab demo --json` as a process, under another command line, with flags of Node. */
function start(before: readonly string[], flags: readonly string[] = []): Promise<Ended> {
  const words = [...before, process.execPath, ...flags, MAIN, "lab", "demo", "--json"];
  const [program = "", ...args] = [...words, "--size", "1M"];
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (status) => resolve({ status, stdout, stderr }));
  });
}

function expectNotice({ status, stdout, stderr }: Ended, reason: RegExp): void {
  assert.is(status, 0, stderr + stdout);
  assert.match(NOTICE.exec(stderr)?.[1] ?? "", reason);
  assert.is(stderr.replace(NOTICE, ""), "", "one line, no stack");
  assert.is(stdout.trim().split("\n").length, 1);
  expectWhole(JSON.parse(stdout) as JsonReport);
}

/** A user without a privilege, in a system that lets nobody make a namespace. */
const POWERLESS = [
  ...["unshare", "--user", "--map-root-user", "sh", "-c"],
  'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all "$@"',
  "sh",
];

rehearsal("runs for a user who may have no namespace", async () => {
  const [program = "", ...args] = [...POWERLESS, "true"];
  const probe = spawnSync(program, args, { encoding: "utf8" });
  if (probe.status !== 0) {
    const reason = (probe.error?.message ?? probe.stderr).trim().split("\n")[0];
    process.stdout.write(`SKIP a user who may have no namespace: ${reason}\n`);
    return;
  }
  expectNotice(await start(POWERLESS), /unshare/);
});

rehearsal("runs on another system, where there is no native module", async () => {
  const flags = ["--import", supportScript("foreign")];
  expectNotice(await start([], flags), /^expected Linux, got darwin$/);
});

rehearsal.run();
