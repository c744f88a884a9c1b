/** The main job: `npm start`. What it must notice, and the whole of it on real packets. */
import { X509Certificate } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeCertificate } from "../../host/lab/certificate.ts";
import { labDemo, type DemoOptions } from "../../host/lab/demo.ts";
import { LabUnavailable } from "../../host/lab/lab.ts";
import { patternSha256 } from "../../host/lab/pattern.ts";
import { judge, planScenario, type Step } from "../../host/lab/scenario.ts";
import type { Answer, VisitResult } from "../../host/lab/visitor.ts";
import { labOrSkip } from "../support/lab.ts";

const BYTES = 1 << 20;
const demo = suite("lab demo");
const STEPS = planScenario({ service4: "10.0.0.100", service6: "fd00::100", bytes: BYTES });

function stepOf(title: string): Step {
  const step = STEPS.find((each) => each.title === title);
  if (step === undefined) throw new Error(`no step "${title}"`);
  return step;
}

/** What a client gets when everything is as it must be. */
function goodResult(step: Step): VisitResult {
  const answers = step.asks.map(({ host, path }): Answer => {
    const sha256 = patternSha256(BYTES);
    const body =
      step.upload > 0 ? { bytes: BYTES, sha256 } : { host, path, encrypted: step.tls, more: true };
    return {
      status: 200,
      backend: step.backend,
      bytes: step.download,
      sha256,
      text: JSON.stringify(body),
    };
  });
  return { id: step.id, client: "10.1.1.2:40000", answers, ms: 1 };
}

demo("visits by Host, path, SNI, kept alive, down and up, over both families", () => {
  for (const family of [4, 6]) {
    const steps = STEPS.filter((step) => step.family === family);
    assert.ok(new Set(steps.map(({ backend }) => backend)).size === 2);
    assert.ok(steps.some(({ tls }) => tls) && steps.some(({ asks }) => asks.length > 1));
    assert.ok(steps.some(({ download }) => download === BYTES));
    assert.ok(steps.some(({ upload }) => upload === BYTES));
  }
});

demo("finds nothing wrong with what is right", () => {
  for (const step of STEPS) assert.equal(judge(step, goodResult(step)).complaints, []);
});

for (const [title, change, complaint] of [
  ["by Host", { backend: "b2" }, /answered by b2 instead of b1/],
  ["by path", { status: 503 }, /status 503/],
  [
    "by path",
    { text: '{"host":"shop.example","path":"/other"}' },
    /the server read shop\.example\/other/,
  ],
  ["by TLS SNI", { text: '{"host":"secure.example","path":"/account"}' }, /TLS did not end/],
  ["download", { sha256: "0" }, /SHA-256 of the download differs/],
  ["download", { bytes: BYTES - 1 }, /1048575 bytes came down/],
  ["upload", { text: `{"bytes":${BYTES},"sha256":"0"}` }, /SHA-256 of the upload differs/],
  ["upload", { text: "garbage" }, /undefined bytes came up/],
] as const) {
  demo(`complains when ${title} has ${Object.keys(change).join()} wrong`, () => {
    const step = stepOf(title);
    const good = goodResult(step);
    const answers = good.answers.map((answer) => ({ ...answer, ...change }));
    assert.match(judge(step, { ...good, answers }).complaints.join("; "), complaint);
  });
}

demo("complains about a missing answer and a client's error", () => {
  const step = stepOf("kept alive, 5 requests");
  const good = goodResult(step);
  const cut = { ...good, answers: good.answers.slice(0, 4), error: "ECONNRESET" };
  assert.equal(judge(step, cut).complaints, ["the client says ECONNRESET", "4 of 5 answers"]);
});

demo("makes a certificate that verifies itself and names its hosts", () => {
  const { certificate, key } = makeCertificate(["secure.example", "other.example"]);
  const parsed = new X509Certificate(certificate);
  assert.ok(parsed.verify(parsed.publicKey));
  assert.is(parsed.checkHost("other.example"), "other.example");
  assert.is(parsed.checkHost("third.example"), undefined);
  assert.ok(Date.parse(parsed.validTo) > Date.now() && Date.parse(parsed.validFrom) < Date.now());
  assert.match(key, /BEGIN PRIVATE KEY/);
});

demo("runs the simulator with the reason where there are no namespaces", async () => {
  const reasons: string[] = [];
  const unshare = "/nonexistent/unshare";
  const options: DemoOptions = {
    unshare,
    simulate: (reason) => Promise.resolve(reasons.push(reason) + 4),
  };
  assert.is(await labDemo(options, () => undefined), 5, "the status is the simulator's");
  assert.equal(reasons, ["expected the program /nonexistent/unshare, got none in PATH"]);
  const error = await labDemo({ unshare }, () => undefined).catch((reason: unknown) => reason);
  assert.instance(error, LabUnavailable);
});

async function canRun(name: string): Promise<boolean> {
  const probe = await labOrSkip(name, { backends: 0, needTun: true });
  await probe?.close();
  return probe !== undefined;
}

interface JsonReport {
  ok: boolean;
  failures: string[];
  connections: Record<string, unknown>[];
  encapsulatedPackets: number;
  responseBytesAtForwarder: number;
}

for (const [name, options] of [
  ["as it is", {}],
  ["in a user namespace", { userNamespace: true }],
  ["over a lossy path", { impair: [{ path: "client", lossPercent: 1, delayMs: 1, seed: 3 }] }],
] as const) {
  demo(`hands every connection over and proves it, ${name}`, async () => {
    if (!(await canRun(name))) return;
    let text = "";
    const all = { ...options, json: true, bytes: 4 * BYTES };
    const status = await labDemo(all, (more) => (text += more));
    const report = JSON.parse(text) as JsonReport;
    assert.equal([status, report.ok, report.failures], [0, true, []]);
    assert.is(report.connections.length, 14);
    for (const connection of report.connections) {
      const { flow, blobBytes, handoffUs, directBytes, rule, backend, head, requests } = connection;
      for (const number of [flow, blobBytes, handoffUs, directBytes, requests]) {
        assert.ok(Number(number) > 0, JSON.stringify(connection));
      }
      assert.ok(rule !== undefined && backend !== undefined && head !== undefined);
    }
    assert.is(new Set(report.connections.map(({ flow }) => flow)).size, 14);
    assert.ok(report.encapsulatedPackets > 100);
    assert.is(report.responseBytesAtForwarder, 0);
  });
}

demo("shows a person every connection and a summary", async () => {
  if (!(await canRun("text"))) return;
  let text = "";
  assert.is(await labDemo({ bytes: BYTES }, (more) => (text += more)), 0, text);
  assert.match(text, /^client +read +backend +why +blob +flow +handoff +forwarded +direct$/m);
  assert.match(text, /TLS secure\.example +b2 +sni=secure\.example/);
  assert.match(text, /22 requests on 14 connections, 14 handed over/);
  assert.match(text, /all as it must be, in /);
  assert.ok(text.split("\n").every((line) => line.length <= 160));
});

demo("says what is wrong in one line, and fails, when no packet gets through", async () => {
  if (!(await canRun("dead path"))) return;
  const options = { bytes: BYTES, json: true, impair: [{ path: "client", lossPercent: 100 }] };
  const error = await labDemo(options, () => undefined).catch(String);
  assert.match(String(error), /service: expected it to answer, got: the client says \w+ after/);
});

demo("ends at once, in order, when it is told to stop", async () => {
  if (!(await canRun("stop"))) return;
  const stop = new AbortController();
  const running = labDemo({ bytes: BYTES, stop: stop.signal }, (text) => {
    if (/by path/.test(text)) stop.abort("SIGINT");
  });
  assert.match(String(await running.catch(String)), /demo: stopped by SIGINT/);
});

demo.run();
