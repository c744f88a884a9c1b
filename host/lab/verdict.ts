/**
 * The demo's verdict: of each connection, and of all together. Pure, so that it is the same over the
 * simulator. Knows reports and outcomes; must not know where they come from.
 */
import type { ConnectionReport } from "../observe/report.ts";
import type { Outcome } from "./scenario.ts";
import type { DemoReport } from "./show.ts";

export interface ConnectionEvidence {
  readonly report: ConnectionReport;
  readonly complaints: readonly string[];
}

/** The fields that come from a node, as far as it knows them. */
export type Fields = Partial<Omit<ConnectionReport, "client" | "service">>;

/** What was seen on the forwarder's wire. */
export interface WireEvidence {
  /** Packets from the forwarder to a backend's tunnel address. */
  readonly encapsulatedPackets: number;
  /** Payload of the service's answers that passed the forwarder's device: it should be none. */
  readonly responseBytes: number;
  readonly complaints: readonly string[];
}

/** What the two nodes say of the connection of one visit, held against what was to happen. */
export function judgeConnection(
  { step, result }: Outcome,
  forwarder: Fields | undefined,
  backend: Fields | undefined,
): ConnectionEvidence {
  const service = { address: step.address, port: step.port };
  const report = { client: endpoint(result.client), service, ...forwarder, ...backend };
  const complaints: string[] = [];
  const expect = (isTrue: boolean, complaint: string): void => {
    if (!isTrue) complaints.push(`${step.title}, IPv${step.family}: ${complaint}`);
  };
  expect(forwarder !== undefined, "the forwarder did not report the connection");
  expect(backend !== undefined, "no backend reported the connection's end");
  if (forwarder !== undefined && backend !== undefined) {
    const got = result.answers.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(forwarder.backend === step.backend, `handed to ${forwarder.backend ?? "nobody"}`);
    expect((forwarder.flow ?? 0) > 0, "no flow identifier");
    expect(forwarder.flow === backend.flow, "the ends name different flow identifiers");
    expect((forwarder.blobBytes ?? 0) > 0, "no blob");
    expect((backend.directBytes ?? 0) >= got, "fewer bytes went directly than came");
    expect((backend.forwardedBytes ?? 0) >= step.upload, "fewer bytes came in than were sent");
  }
  expect(report.failure === undefined, report.failure ?? "");
  return { report, complaints };
}

export function summarise(
  outcomes: readonly Outcome[],
  connections: readonly ConnectionEvidence[],
  wire: WireEvidence,
  ends: readonly string[],
  ms: number,
): DemoReport {
  const failures = [
    ...outcomes.flatMap(({ step, complaints }) =>
      complaints.map((complaint) => `${step.title}, IPv${step.family}: ${complaint}`),
    ),
    ...connections.flatMap(({ complaints }) => complaints),
    ...wire.complaints,
    ...ends.map((end) => `did not end in order: ${end}`),
  ];
  const { encapsulatedPackets, responseBytes } = wire;
  const ok = failures.length === 0;
  return { ok, failures, outcomes, connections, encapsulatedPackets, responseBytes, ms };
}

/** "[fd00::1]:80" or "10.0.0.1:80"; empty text is nobody. */
function endpoint(text: string): { address: string; port: number } {
  const colon = text.lastIndexOf(":");
  const address = text.slice(0, Math.max(0, colon)).replace(/^\[|\]$/g, "");
  return { address, port: Number(text.slice(colon + 1)) };
}
