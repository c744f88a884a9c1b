/**
 * `baton lab demo`, the main job of `npm start`: a lab, Baton's daemons and real servers in it, a kernel
 * TCP client, and what became of every connection. Knows how these are put together; must not know
 * flags, nor how a node works inside.
 */
import { setTimeout as wait } from "node:timers/promises";
import { BatonError } from "../errors.ts";
import { jsonLine } from "../observe/json.ts";
import type { Cluster } from "./cluster.ts";
import type { ImpairedPath, Print } from "./command.ts";
import { Evidence } from "./evidence.ts";
import { LabUnavailable, openLab, type OwnLab } from "./lab.ts";
import type { LaunchOptions } from "./launch.ts";
import { visit } from "./peers.ts";
import { judge, planScenario, RULES, type Outcome, type Step } from "./scenario.ts";
import { startService } from "./service.ts";
import {
  reportFields,
  showIntroduction,
  showKeep,
  showOutcome,
  showReport,
  type DemoReport,
} from "./show.ts";
import { readState, removeState, writeState } from "./state.ts";
import { summarise } from "./verdict.ts";

const MIB = 1 << 20;
const BYTES = 100 * MIB;
const VISIT_LIMIT_MS = 120_000;
const NOTICE_MS = 200;

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
    const { report, cluster } = await untilStopped(lab, stop, runIn(lab, options, print, started));
    if (options.keep !== true) return report.ok ? 0 : 1;
    try {
      await holdOpen(lab, stop, options.json ? () => undefined : print);
    } finally {
      await cluster.stop(); // A daemon that is killed with its namespace leaves its control socket.
    }
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
): Promise<{ report: DemoReport; cluster: Cluster }> {
  const { json = false, keep = false, bytes = BYTES } = options;
  const say: Print = json ? () => undefined : print;
  for (const { path, ...impairment } of options.impair ?? []) {
    await lab.middlebox(path, impairment);
  }
  const { certificate, cluster } = await startService(lab);
  say(showIntroduction(lab.plan, RULES, performance.now() - started));
  const evidence = await Evidence.collect(cluster);
  const steps = planScenario({ ...lab.plan, bytes });
  const outcomes = await visitAll(lab, steps, certificate, (outcome) => say(showOutcome(outcome)));
  const connections = await evidence.close(outcomes);
  const ends = keep ? [] : await cluster.stop();
  const ms = performance.now() - started;
  const report = summarise(outcomes, connections, evidence, ends, ms);
  print(json ? jsonLine(reportFields(report)) : showReport(report));
  return { report, cluster };
}

async function visitAll(
  lab: OwnLab,
  steps: readonly Step[],
  certificate: string,
  onOutcome: (outcome: Outcome) => void,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  await visit(
    lab.nodes.client,
    { visits: steps, certificate, timeoutMs: VISIT_LIMIT_MS },
    (result) => {
      const step = steps.find(({ id }) => id === result.id);
      if (step === undefined) return;
      const outcome = judge(step, result);
      outcomes.push(outcome);
      onOutcome(outcome);
    },
  );
  return outcomes;
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
