/** The demo for people: text for a terminal. Knows layout; must not know where the facts come from. */
import { relative } from "node:path";
import { formatReports } from "../observe/report.ts";
import {
  printable,
  showBytes,
  showCount,
  showEndpoint,
  showMicroseconds,
} from "../observe/text.ts";
import { TLS_NAME, type Outcome } from "./scenario.ts";
import type { Plan } from "./topology.ts";
import type { ConnectionEvidence } from "./verdict.ts";

export interface DemoReport {
  readonly ok: boolean;
  /** What was not as it must be. */
  readonly failures: readonly string[];
  readonly outcomes: readonly Outcome[];
  readonly connections: readonly ConnectionEvidence[];
  readonly encapsulatedPackets: number;
  readonly responseBytes: number;
  readonly ms: number;
}

const FAILURES_MAX = 20;

export function showIntroduction(plan: Plan, rules: readonly string[], ms: number): string {
  const backends = plan.nodes.map(({ name }) => name).filter((name) => /^b\d+$/.test(name));
  return [
    "baton: a live TCP connection, accepted by the forwarder, handed over to a backend",
    "",
    `  nodes    client, router, forwarder, ${backends.join(", ")}: a network namespace each`,
    `  service  ${plan.service4} and ${plan.service6}, ports 80 and 443`,
    ...rules.map((rule, at) => `  ${at === 0 ? "rules  " : "       "}  ${rule}`),
    `  ready    in ${showMs(ms)}`,
    "",
    "",
  ].join("\n");
}

/** A line as it happens. @param isReal false: times are a simulation's, and say nothing of speed */
export function showOutcome({ step, result, complaints }: Outcome, isReal = true): string {
  const mark = complaints.length === 0 ? "ok  " : "FAIL";
  const { host = "", path = "" } = step.asks[0] ?? {};
  const scheme = step.tls ? "https" : "http";
  const asked = step.asks.length > 1 ? `${scheme}://${host}/item/*` : `${scheme}://${host}${path}`;
  const served = [...new Set(result.answers.map(({ backend }) => backend))].join(", ") || "nobody";
  const moved = step.download + step.upload;
  const speed = isReal ? `${((moved * 8) / result.ms / 1e6).toFixed(2)} Gbit/s, ` : "";
  const good = moved > 0 ? `${speed}SHA-256 equal` : "";
  const why = complaints.length === 0 ? good : printable(complaints.join("; "), 200);
  const words = [
    mark,
    `IPv${step.family}`,
    step.title.padEnd(23),
    printable(asked).padEnd(38),
    served.padEnd(4),
    showMs(result.ms).padStart(9),
    why,
  ];
  return words.join("  ").trimEnd() + "\n";
}

export function showReport(report: DemoReport): string {
  const { connections, outcomes, failures } = report;
  const requests = outcomes.reduce((sum, { result }) => sum + result.answers.length, 0);
  const handed = connections.filter(({ report: { flow } }) => flow !== undefined).length;
  const sum = (pick: (report: ConnectionEvidence["report"]) => number | undefined): number =>
    connections.reduce((total, { report: each }) => total + (pick(each) ?? 0), 0);
  const lines = [
    "",
    formatReports(connections.map(({ report: each }) => each)),
    `${requests} requests on ${connections.length} connections, ${handed} handed over` +
      `${medianHandoff(connections)}`,
    `${showBytes(sum(({ directBytes }) => directBytes))} went from backends directly to the client, ` +
      `${showBytes(report.responseBytes)} of it by the forwarder`,
    `${showBytes(sum(({ forwardedBytes }) => forwardedBytes))} came by the forwarder, ` +
      `${showCount(report.encapsulatedPackets)} encapsulated packets on its wire`,
  ];
  if (failures.length > 0) {
    lines.push(
      "",
      ...failures.slice(0, FAILURES_MAX).map((text) => `FAIL  ${printable(text, 200)}`),
    );
    if (failures.length > FAILURES_MAX)
      lines.push(`... and ${failures.length - FAILURES_MAX} more`);
  }
  const verdict = report.ok ? "all as it must be" : `${failures.length} checks failed`;
  return [...lines, "", `${verdict}, in ${showMs(report.ms)}`, ""].join("\n");
}

/** The report as one flat object for `--json`. */
export function reportFields(report: DemoReport): Record<string, unknown> {
  const { ok, failures, outcomes, connections, encapsulatedPackets, responseBytes, ms } = report;
  const rows = connections.map(({ report: { client, service, ...known }, complaints }, index) => {
    const { step, result } = outcomes[index] ?? {};
    return {
      title: step?.title,
      family: step?.family,
      client: showEndpoint(client),
      service: showEndpoint(service),
      ...known,
      requests: result?.answers.length,
      downloadBytes: step?.download,
      uploadBytes: step?.upload,
      ms: result?.ms,
      complaints: [...(outcomes[index]?.complaints ?? []), ...complaints],
    };
  });
  const wire = { encapsulatedPackets, responseBytesAtForwarder: responseBytes };
  return { event: "demo", ok, failures, connections: rows, ...wire, ms };
}

function medianHandoff(connections: readonly ConnectionEvidence[]): string {
  const times = connections
    .map(({ report }) => report.handoffUs)
    .filter((us) => us !== undefined)
    .sort((a, b) => a - b);
  const median = times[times.length >> 1];
  return median === undefined ? "" : `, half of them within ${showMicroseconds(median)}`;
}

/** Lines to paste into another terminal. */
export function showKeep(plan: Plan): string {
  const cli = relative(process.cwd(), process.argv[1] ?? "baton");
  const inside = `node ${cli} lab exec client -- curl -s`;
  return [
    "",
    "the lab stays up until Ctrl-C; try, from another terminal:",
    `  ${inside} -H 'Host: api.example' http://${plan.service4}/`,
    `  ${inside} -g -H 'Host: shop.example' 'http://[${plan.service6}]/static/app.js'`,
    `  ${inside} -k --resolve ${TLS_NAME}:443:${plan.service4} https://${TLS_NAME}/`,
    "",
  ].join("\n");
}

function showMs(ms: number): string {
  return showMicroseconds(ms * 1000);
}
