/**
 * What a person wants to see of one connection: who connected, what was read, which backend and why,
 * how long it took, how much went past us. Knows the fields; must not know how they come about.
 */
import type { Endpoint } from "../node/environment.ts";
import type { RequestHead } from "../routing/route.ts";
import { jsonLine } from "./json.ts";
import { printable, showBytes, showEndpoint, showFlow, showMicroseconds, table } from "./text.ts";

export interface ConnectionReport {
  readonly client: Endpoint;
  readonly service: Endpoint;
  /** Undefined when nothing could be read. */
  readonly head?: RequestHead | undefined;
  /** The backend that has it, or had it last. */
  readonly backend?: string | undefined;
  /** The rule that chose it. */
  readonly rule?: string | undefined;
  /** Why it was not handed over, or how it ended when not in order. */
  readonly failure?: string | undefined;
  readonly blobBytes?: number | undefined;
  readonly flow?: number | undefined;
  /** From the decision to the verdict. */
  readonly handoffUs?: number | undefined;
  /** Backends that were asked; above 1 after refusals. */
  readonly attempts?: number | undefined;
  /** Payload from the client that the forwarder passed on after the handoff. */
  readonly forwardedBytes?: number | undefined;
  /** Payload that the backend sent to the client directly. */
  readonly directBytes?: number | undefined;
}

/** What was read: "GET api.example/v1/x", "TLS api.example h2,http/1.1", "other", "-". */
export function formatHead(head: RequestHead | undefined): string {
  switch (head?.protocol) {
    case undefined:
      return "-";
    case "http":
      return printable(`${head.method} ${head.host}${head.path}`);
    case "tls":
      return printable(`TLS ${head.serverName || "(no name)"} ${head.alpn.join()}`.trimEnd());
    case "other":
      return "other";
  }
}

/** One line, newline included: for logs as they happen. */
export function formatReport(report: ConnectionReport): string {
  const { client, service, head, backend, rule, failure, attempts = 1 } = report;
  const parts = [`${showEndpoint(client)} -> ${showEndpoint(service)}`, formatHead(head)];
  if (backend !== undefined) parts.push(`${backend}${rule === undefined ? "" : ` by "${rule}"`}`);
  if (attempts > 1) parts.push(`${attempts} attempts`);
  if (report.blobBytes !== undefined) parts.push(`blob ${showBytes(report.blobBytes)}`);
  if (report.flow !== undefined) parts.push(`flow ${showFlow(report.flow)}`);
  if (report.handoffUs !== undefined) parts.push(`handoff ${showMicroseconds(report.handoffUs)}`);
  const { forwardedBytes, directBytes } = report;
  if (forwardedBytes !== undefined) parts.push(`forwarded ${showBytes(forwardedBytes)}`);
  if (directBytes !== undefined) parts.push(`direct ${showBytes(directBytes)}`);
  if (failure !== undefined) parts.push(printable(failure, 200));
  return parts.join("  ") + "\n";
}

/** One JSON object a line with every field that is known, under the same names. */
export function reportJson(report: ConnectionReport): string {
  const { client, service, flow, ...rest } = report;
  const ends = { client: showEndpoint(client), service: showEndpoint(service) };
  return jsonLine({ event: "connection", ...ends, ...rest, flow });
}

/** All reports as one table: for summaries. */
export function formatReports(reports: readonly ConnectionReport[]): string {
  const known = <T>(value: T | undefined, show: (value: T) => string): string =>
    value === undefined ? "-" : show(value);
  const rows = reports.map((report) => [
    showEndpoint(report.client),
    formatHead(report.head),
    report.backend ?? "-",
    printable(report.failure ?? report.rule ?? "-"),
    known(report.blobBytes, showBytes),
    known(report.flow, showFlow),
    known(report.handoffUs, showMicroseconds),
    known(report.forwardedBytes, showBytes),
    known(report.directBytes, showBytes),
  ]);
  const numbers = ["blob", "handoff", "forwarded", "direct"];
  const header = ["client", "read", "backend", "why", "blob", "flow", ...numbers.slice(1)];
  return table(header, rows, numbers);
}
