/**
 * `baton lab demo`, the main job of `npm start`: a lab, Baton's daemons and real servers in it, a kernel
 * TCP client, and what became of every connection. Knows how these are put together; must not know
 * flags, nor how a node works inside.
 */
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { BatonError } from "../errors.ts";
import { jsonLine } from "../observe/json.ts";
import { makeCertificate, type KeyAndCertificate } from "./certificate.ts";
import { Cluster } from "./cluster.ts";
import type { ImpairedPath, Print } from "./command.ts";
import { Evidence, type ConnectionEvidence } from "./evidence.ts";
import { LabUnavailable, openLab, type LabNode, type OwnLab } from "./lab.ts";
import type { LaunchOptions } from "./launch.ts";
import type { OriginOptions } from "./origin.ts";
import { judge, planScenario, RULES, TLS_NAME, type Outcome, type Step } from "./scenario.ts";
import {
  reportFields,
  showIntroduction,
  showKeep,
  showOutcome,
  showReport,
  type DemoReport,
} from "./show.ts";
import { readState, removeState, writeState } from "./state.ts";
import type { VisitorOptions, VisitResult } from "./visitor.ts";

const ORIGIN = fileURLToPath(new URL("./origin.js", import.meta.url));
const VISITOR = fileURLToPath(new URL("./visitor.js", import.meta.url));
const ORIGIN_PORT = 8080;
const MIB = 1 << 20;
const BYTES = 100 * MIB;
const VISIT_LIMIT_MS = 120_000;
const WARM_LIMIT_MS = 10_000;
const NOTICE_MS = 200;
const WARM_VISIT_MS = 1_000;

export interface DemoOptions extends LaunchOptions {
  /** One JSON object instead of text. */
  readonly json?: boolean;
  /** The lab stays up until a signal; the curl line to try is printed. */
  readonly keep?: boolean;
  /** Of the download and the upload; default 100 MiB. */
  readonly bytes?: number;
  readonly impair?: readonly ImpairedPath[];
  /** SIGINT and the like: everything is taken down in order. */
  readonly stop?: AbortSignal;
  /** The same scenario without namespaces, where this system has none; gets the reason. */
  readonly simulate?: (reason: string) => Promise<number>;
}

/** Resolves to the exit status: 0 when every check held, 1 when not; throws LabUnavailable. */
export async function labDemo(options: DemoOptions, print: Print): Promise<number> {
  const { simulate, stop } = options;
  const started = performance.now();
  let lab: OwnLab;
  try {
    const { userNamespace = false, unshare = "unshare" } = options;
    lab = await openLab({ needTun: true, userNamespace, unshare });
  } catch (error) {
    if (!(error instanceof LabUnavailable) || simulate === undefined) throw error;
    return simulate(error.message.replace(/^lab: /, ""));
  }
  try {
    const report = await untilStopped(lab, stop, runIn(lab, options, print, started));
    if (options.keep === true) await holdOpen(lab, stop, options.json ? () => undefined : print);
    return report.ok ? 0 : 1;
  } finally {
    await lab.close();
  }
}

/** A signal, or the end of the lab, breaks the work off at once and is the reason that is told. */
async function untilStopped<T>(
  lab: OwnLab,
  stop: AbortSignal | undefined,
  work: Promise<T>,
): Promise<T> {
  const close = (): void => void lab.close();
  if (stop?.aborted) close();
  stop?.addEventListener("abort", close, { once: true });
  try {
    return await Promise.race([work, brokenOff(lab, stop)]);
  } catch (error) {
    // What ran in the lab may notice its end before we do.
    await Promise.race([brokenOff(lab, stop), wait(NOTICE_MS)]);
    throw error;
  } finally {
    stop?.removeEventListener("abort", close);
  }
}

/** Rejects when the lab ends under the demo. */
async function brokenOff(lab: OwnLab, stop: AbortSignal | undefined): Promise<never> {
  const why = await lab.ended;
  const got =
    stop?.aborted === true ? `stopped by ${String(stop.reason)}` : `the lab ended, ${why}`;
  throw new BatonError(stop?.aborted ? "ERR_BATON_STOPPED" : "ERR_BATON_LAB", `demo: ${got}`);
}

async function runIn(
  lab: OwnLab,
  options: DemoOptions,
  print: Print,
  started: number,
): Promise<DemoReport> {
  const { json = false, keep = false, bytes = BYTES } = options;
  const say: Print = json ? () => undefined : print;
  for (const { path, ...impairment } of options.impair ?? []) {
    await lab.middlebox(path, impairment);
  }
  const secrets = makeCertificate([TLS_NAME]);
  await Promise.all(lab.backends.map((node) => startOrigin(node, secrets)));
  const upstream = `127.0.0.1:${ORIGIN_PORT}`;
  const cluster = new Cluster(lab, { routes: RULES, upstream });
  await cluster.ready();
  say(showIntroduction(lab.plan, RULES, performance.now() - started));
  await warmUp(lab);
  const evidence = await Evidence.collect(cluster);
  const steps = planScenario({ ...lab.plan, bytes });
  const outcomes = await visitAll(lab, steps, secrets.certificate, (outcome) =>
    say(showOutcome(outcome)),
  );
  const connections = await evidence.close(outcomes);
  const ends = keep ? [] : await cluster.stop();
  const ms = performance.now() - started;
  const report = summarise(outcomes, connections, evidence, ends, ms);
  print(json ? jsonLine(reportFields(report)) : showReport(report));
  return report;
}

async function startOrigin(node: LabNode, secrets: KeyAndCertificate): Promise<void> {
  const child = node.exec(process.execPath, ["--enable-source-maps", ORIGIN], {
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  let stderr = "";
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdin?.on("error", () => undefined); // "close" tells.
  const origin: OriginOptions = { name: node.name, port: ORIGIN_PORT, ...secrets };
  child.stdin?.write(JSON.stringify(origin) + "\n");
  await new Promise<void>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (status) => {
      const got = /^\w*Error: .*$/m.exec(stderr)?.[0] ?? `exit status ${status}`;
      reject(
        new BatonError("ERR_BATON_LAB", `server on ${node.name}: expected it to run, got ${got}`),
      );
    });
    child.stdout?.once("data", () => resolve());
  });
}

/** Nodes introduce themselves to each other first; until then the answer is 503. */
async function warmUp(lab: OwnLab): Promise<void> {
  const steps = planScenario({ ...lab.plan, bytes: 1 }).filter(({ tls }) => !tls);
  const deadline = performance.now() + WARM_LIMIT_MS;
  for (;;) {
    const complaints: string[] = [];
    await visit(lab, { visits: steps, certificate: "", timeoutMs: WARM_VISIT_MS }, (result) => {
      const step = steps.find(({ id }) => id === result.id);
      if (step !== undefined) complaints.push(...judge(step, result).complaints);
    });
    if (complaints.length === 0) return;
    if (performance.now() < deadline) continue;
    const got = `${complaints[0]} after ${WARM_LIMIT_MS / 1000} s`;
    throw new BatonError("ERR_BATON_LAB", `demo: expected the service to answer, got: ${got}`);
  }
}

async function visitAll(
  lab: OwnLab,
  steps: readonly Step[],
  certificate: string,
  onOutcome: (outcome: Outcome) => void,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  await visit(lab, { visits: steps, certificate, timeoutMs: VISIT_LIMIT_MS }, (result) => {
    const step = steps.find(({ id }) => id === result.id);
    if (step === undefined) return;
    const outcome = judge(step, result);
    outcomes.push(outcome);
    onOutcome(outcome);
  });
  return outcomes;
}

/** A client process; ends when it has made its visits. */
async function visit(
  lab: OwnLab,
  options: VisitorOptions,
  onResult: (result: VisitResult) => void,
): Promise<void> {
  const child = lab.nodes.client.exec(process.execPath, ["--enable-source-maps", VISITOR], {
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  let stderr = "";
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdin?.on("error", () => undefined); // "close" tells.
  child.stdin?.end(JSON.stringify(options) + "\n");
  if (child.stdout === null) return;
  createInterface({ input: child.stdout }).on("line", (line) => {
    onResult(JSON.parse(line) as VisitResult);
  });
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  if (status === 0) return;
  const got = /^\w*Error: .*$/m.exec(stderr)?.[0] ?? `exit status ${status}`;
  throw new BatonError("ERR_BATON_LAB", `client: expected it to make its visits, got ${got}`);
}

/** Until a signal (`baton lab down` sends one), or the end of the lab. */
async function holdOpen(lab: OwnLab, stop: AbortSignal | undefined, say: Print): Promise<void> {
  if (readState(undefined) !== undefined) {
    throw new BatonError(
      "ERR_BATON_LAB",
      "demo: expected no lab to be up, got one; baton lab down",
    );
  }
  writeState(undefined, lab.address);
  try {
    say(showKeep(lab.plan));
    await new Promise<void>((resolve) => {
      if (stop?.aborted) resolve();
      stop?.addEventListener("abort", () => resolve(), { once: true });
      void lab.ended.then(() => resolve());
    });
  } finally {
    removeState(undefined);
  }
}

function summarise(
  outcomes: readonly Outcome[],
  connections: readonly ConnectionEvidence[],
  evidence: Evidence,
  ends: readonly string[],
  ms: number,
): DemoReport {
  const failures = [
    ...outcomes.flatMap(({ step, complaints }) =>
      complaints.map((complaint) => `${step.title}, IPv${step.family}: ${complaint}`),
    ),
    ...connections.flatMap(({ complaints }) => complaints),
    ...evidence.complaints,
    ...ends.map((end) => `did not end in order: ${end}`),
  ];
  const { encapsulatedPackets, responseBytes } = evidence;
  const ok = failures.length === 0;
  return { ok, failures, outcomes, connections, encapsulatedPackets, responseBytes, ms };
}
