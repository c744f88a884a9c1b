/**
 * What the demo does and what must come of it: rules, visits, and the check of each. Pure, so that the
 * same scenario runs over the simulator. Must not know processes or namespaces.
 */
import { patternSha256 } from "./pattern.ts";
import type { Answer, Ask, Visit, VisitResult } from "./visit.ts";

export const TLS_NAME = "secure.example";

/** `--route` of the forwarder. */
export const RULES = [
  "host=api.example -> b1",
  "host=shop.example path=/static/* -> b2",
  "host=shop.example -> b1",
  `sni=${TLS_NAME} -> b2`,
  "default -> b1,b2",
] as const;

export interface Step extends Visit {
  /** What a person reads: "by Host". */
  readonly title: string;
  readonly family: 4 | 6;
  /** The backend that a rule prescribes. */
  readonly backend: string;
  /** Of the pattern, expected in each answer to /bytes/... */
  readonly download: number;
  readonly upload: number;
}

export interface Outcome {
  readonly step: Step;
  readonly result: VisitResult;
  /** Empty when everything is as it must be. */
  readonly complaints: readonly string[];
}

export interface ScenarioOptions {
  readonly service4: string;
  readonly service6: string;
  /** Of the download and of the upload. */
  readonly bytes: number;
}

const HTTP = 80;
const HTTPS = 443;
const KEPT_ALIVE = 5;

/** The same steps over IPv4, then over IPv6. */
export function planScenario(options: ScenarioOptions): Step[] {
  const { service4, service6, bytes } = options;
  const families = [
    [4, service4],
    [6, service6],
  ] as const;
  const steps = families.flatMap(([family, address]) =>
    stepsOf(bytes).map((step) => ({ ...step, family, address })),
  );
  return steps.map((step, id) => ({ ...step, id }));
}

function stepsOf(bytes: number): Omit<Step, "id" | "family" | "address">[] {
  const plain = { port: HTTP, tls: false, download: 0, upload: 0 };
  const api = { host: "api.example" };
  const file = { host: "shop.example", path: "/static/app.js" };
  const cart = { host: "shop.example", path: "/cart" };
  const kept = Array.from({ length: KEPT_ALIVE }, (_, at) => ({ ...api, path: `/item/${at}` }));
  const secure = { host: TLS_NAME, path: "/account" };
  const down: Ask = { ...api, path: `/bytes/${bytes}` };
  const up: Ask = { host: "shop.example", path: "/static/upload", upload: bytes };
  return [
    { ...plain, title: "by Host", backend: "b1", asks: [{ ...api, path: "/" }] },
    { ...plain, title: "by path", backend: "b2", asks: [file] },
    { ...plain, title: "by path, other rule", backend: "b1", asks: [cart] },
    { ...plain, title: "by TLS SNI", backend: "b2", asks: [secure], port: HTTPS, tls: true },
    { ...plain, title: `kept alive, ${KEPT_ALIVE} requests`, backend: "b1", asks: kept },
    { ...plain, title: "download", backend: "b1", asks: [down], download: bytes },
    { ...plain, title: "upload", backend: "b2", asks: [up], upload: bytes },
  ];
}

/** Compares what the client got with what it must get. */
export function judge(step: Step, result: VisitResult): Outcome {
  const complaints: string[] = [];
  if (result.error !== undefined) complaints.push(`the client says ${result.error}`);
  const { length } = result.answers;
  if (length !== step.asks.length) complaints.push(`${length} of ${step.asks.length} answers`);
  for (const [index, answer] of result.answers.entries()) {
    complaints.push(...judgeAnswer(step, step.asks[index], answer));
  }
  return { step, result, complaints };
}

function judgeAnswer(step: Step, ask: Ask | undefined, answer: Answer): string[] {
  const complaints: string[] = [];
  if (answer.status !== 200) complaints.push(`status ${answer.status} instead of 200`);
  if (answer.backend !== step.backend) {
    complaints.push(`answered by ${answer.backend || "nobody"} instead of ${step.backend}`);
  }
  if (answer.status !== 200 || ask === undefined) return complaints;
  if (step.download > 0) {
    if (answer.bytes !== step.download) complaints.push(`${answer.bytes} bytes came down`);
    if (answer.sha256 !== digest(step.download)) complaints.push("SHA-256 of the download differs");
    return complaints;
  }
  const body = parse(answer.text);
  if (step.upload > 0) {
    if (body["bytes"] !== step.upload) complaints.push(`${String(body["bytes"])} bytes came up`);
    if (body["sha256"] !== digest(step.upload)) complaints.push("SHA-256 of the upload differs");
    return complaints;
  }
  if (body["host"] !== ask.host || body["path"] !== ask.path) {
    complaints.push(`the server read ${String(body["host"])}${String(body["path"])}`);
  }
  if (body["encrypted"] !== step.tls) complaints.push("TLS did not end at the server");
  return complaints;
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}

const digests = new Map<number, string>();

function digest(bytes: number): string {
  const known = digests.get(bytes) ?? patternSha256(bytes);
  digests.set(bytes, known);
  return known;
}
