/**
 * The demo where this system has no lab: the same visits, the same checks and the same report, on the
 * simulated network, in this process. Knows the scenario and the stage; must not know flags. Nothing below it
 * needs Linux.
 */
import { BatonError } from "../errors.ts";
import { makeCertificate } from "../lab/certificate.ts";
import type { ImpairedPath, Print } from "../lab/command.ts";
import { judge, planScenario, RULES, TLS_NAME, type Outcome, type Step } from "../lab/scenario.ts";
import { reportFields, showOutcome, showReport, type DemoReport } from "../lab/show.ts";
import { planLab, type Plan } from "../lab/topology.ts";
import { judgeConnection, summarise } from "../lab/verdict.ts";
import { makeVisit } from "../lab/visit.ts";
import { jsonLine } from "../observe/json.ts";
import { showBytes } from "../observe/text.ts";
import { Ledger } from "./ledger.ts";
import { impair } from "./paths.ts";
import { dialAgent } from "./socket.ts";
import { CLIENT, FORWARDER, isBackend, Stage } from "./stage.ts";
import { passTime } from "./time.ts";

const MIB = 1 << 20;
/** Less than in a lab: one process does the work of all nodes and of the wires. */
const BYTES = 16 * MIB;
const SEED = 1;
const WARM_LIMIT_US = 10_000_000;
const WARM_PAUSE_US = 100_000;
/** TIME-WAIT, when the server's FIN was first, and then some: virtual time costs next to nothing. */
const REPORT_LIMIT_US = 70_000_000;
/** Real time, against bugs only: what hangs in virtual time is noticed there. */
const VISIT_LIMIT_MS = 600_000;

export interface RehearsalOptions {
  /** One JSON object instead of text. */
  readonly json?: boolean;
  readonly keep?: boolean;
  /** Of the download and the upload; default 16 MiB. */
  readonly bytes?: number;
  readonly impair?: readonly ImpairedPath[];
  /** Default: the demo's. */
  readonly rules?: readonly string[];
  readonly stop?: AbortSignal;
}

/**
 * @param reason why there is no lab
 * @param warn takes lines that are not part of the output
 * @returns the exit status: 0 when every check held, 1 when not
 */
export async function rehearse(
  reason: string,
  options: RehearsalOptions,
  print: Print,
  warn: Print,
): Promise<number> {
  const { json = false, keep = false } = options;
  (json ? warn : print)(
    `baton: no lab here (${reason}): the same scenario on a simulated network\n`,
  );
  if (keep) warn("baton: --keep: a simulated network ends with the demo\n");
  const report = await perform(options, json ? () => undefined : print);
  print(json ? jsonLine({ ...reportFields(report), simulated: reason }) : showReport(report));
  return report.ok ? 0 : 1;
}

async function perform(options: RehearsalOptions, say: Print): Promise<DemoReport> {
  const { bytes = BYTES, rules = RULES, stop } = options;
  const started = performance.now();
  const plan = planLab();
  const secrets = makeCertificate([TLS_NAME]);
  const backends = plan.nodes.filter(isBackend).map(({ name }) => name);
  const services = [plan.service4, plan.service6];
  const ledger = new Ledger({ services, forwarder: FORWARDER, backends });
  const paths = options.impair ?? [];
  const seed = paths.find((path) => path.seed !== undefined)?.seed ?? SEED;
  const stage = new Stage({ plan, rules, secrets, seed, ledger });
  impair(stage.cluster.network, placesOf(backends), paths);
  const check = (): void => {
    if (stop?.aborted === true) {
      throw new BatonError("ERR_BATON_STOPPED", `demo: stopped by ${String(stop.reason)}`);
    }
    stage.check();
  };
  const play = async (): Promise<DemoReport> => {
    await warmUp(stage, plan);
    say(showIntroduction(plan, backends, rules, bytes));
    ledger.begin();
    const outcomes: Outcome[] = [];
    for (const step of planScenario({ ...plan, bytes })) {
      const outcome = await visit(stage, step, secrets.certificate);
      outcomes.push(outcome);
      say(showOutcome(outcome, false));
    }
    await reported(stage, ledger, outcomes);
    const connections = outcomes.map((outcome) => {
      const { client } = outcome.result;
      return judgeConnection(outcome, ledger.forwarder(client), ledger.backend(client));
    });
    return summarise(outcomes, connections, ledger, [], performance.now() - started);
  };
  try {
    return await passTime(stage.cluster.scheduler, play(), check);
  } finally {
    await stage.close();
  }
}

/** Where each node's packets and datagrams go on the simulated network, by its name in a lab. */
function placesOf(backends: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const node = (name: string): readonly string[] => [name, `udp:${name}`];
  return new Map([
    ["client", [CLIENT]],
    ["forwarder", node(FORWARDER)],
    ...backends.map((name) => [name, node(name)] as const),
  ]);
}

/** One connection; its time is the simulation's. */
async function visit(stage: Stage, step: Step, certificate: string): Promise<Outcome> {
  const startedUs = stage.nowUs;
  const options = { visits: [step], certificate, timeoutMs: VISIT_LIMIT_MS };
  const result = await makeVisit(step, options, dialAgent(stage.dial, step.tls));
  return judge(step, { ...result, ms: (stage.nowUs - startedUs) / 1000 });
}

/** Nodes introduce themselves to each other first; until then the answer is 503. */
async function warmUp(stage: Stage, plan: Plan): Promise<void> {
  const steps = planScenario({ ...plan, bytes: 1 }).filter(({ tls }) => !tls);
  for (const step of steps) {
    for (;;) {
      const { error, answers } = (await visit(stage, step, "")).result;
      if (error === undefined && answers.every(({ status }) => status === 200)) break;
      if (stage.nowUs > WARM_LIMIT_US) {
        const got = error === undefined ? "another status than 200" : `the client says ${error}`;
        const message = `demo: expected the service to answer, got: ${got}`;
        throw new BatonError("ERR_BATON_SIM", message);
      }
      await stage.sleep(WARM_PAUSE_US);
    }
  }
}

/** Nodes report a connection when it is over, which its client does not see. */
async function reported(stage: Stage, ledger: Ledger, outcomes: readonly Outcome[]): Promise<void> {
  const limitUs = stage.nowUs + REPORT_LIMIT_US;
  const isDone = (): boolean => outcomes.every(({ result }) => ledger.isComplete(result.client));
  while (!isDone() && stage.nowUs < limitUs) await stage.sleep(WARM_PAUSE_US);
}

function showIntroduction(
  plan: Plan,
  backends: readonly string[],
  rules: readonly string[],
  bytes: number,
): string {
  return [
    "baton: a live TCP connection, accepted by the forwarder, handed over to a backend",
    "",
    `  nodes    client, forwarder, ${backends.join(", ")}: in this process, times are the simulation's`,
    `  service  ${plan.service4} and ${plan.service6}, ports 80 and 443`,
    ...rules.map((rule, at) => `  ${at === 0 ? "rules  " : "       "}  ${rule}`),
    `  size     ${showBytes(bytes)} down, ${showBytes(bytes)} up`,
    "",
    "",
  ].join("\n");
}
