/**
 * A backend is killed and started again while blobs on their way to it are being sent again and again: what
 * its predecessor may have taken is never taken a second time (DESIGN I3, I4; PROTOCOL R2, R11).
 */
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Cluster } from "../../host/lab/cluster.ts";
import { firstLine, supportScript, withLab } from "../support/lab.ts";
import { askRaw, type RawRequest, type RawResult } from "../support/labraw.ts";

const twice = suite("twice");

const PORT = 8081;
const CONNECTIONS = 150;
const KILLS = 3;
/** Between the client's start and the first kill, and between kills: blobs take several round trips. */
const PAUSE_MS = 700;
const BAD = { lossPercent: 40, duplicatePercent: 20, reorderPercent: 10, delayMs: 20 };
const WARM_LIMIT_MS = 60_000;
const ENDS = /^HTTP\/1\.1 (200|503) |^$/;

twice("a receiver that restarts while blobs are retransmitted infuses none twice", () =>
  withLab("twice", { needTun: true, backends: 1 }, async (lab) => {
    const seen: string[] = [];
    const ledger = lab.node("b1").exec(process.execPath, [supportScript("labledger"), `${PORT}`]);
    await firstLine(ledger);
    if (ledger.stdout) {
      createInterface({ input: ledger.stdout }).on("line", (line) => {
        if (line.startsWith("{")) seen.push((JSON.parse(line) as { url: string }).url);
      });
    }
    const routes = ["default -> b1"];
    const cluster = new Cluster(lab, { routes, upstream: `127.0.0.1:${PORT}` });
    await cluster.ready();
    const requestOf = (path: string): RawRequest => ({
      ...{ address: lab.plan.service4, port: 80 },
      parts: [`GET ${path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n`],
    });
    const ask = async (path: string): Promise<RawResult | undefined> =>
      (await askRaw(lab.nodes.client, [requestOf(path)]))[0];
    const warmUntil = Date.now() + WARM_LIMIT_MS;
    for (let at = 0; !(await ask(`/warm/${at}`))?.received.includes(" 200 "); at += 1) {
      assert.ok(Date.now() < warmUntil, "the service answers");
    }
    const box = await lab.middlebox("b1", BAD);
    const paths = Array.from({ length: CONNECTIONS }, (_, at) => `/${at}`);
    const asking = askRaw(lab.nodes.client, paths.map(requestOf), "at once");
    const lives = [cluster.backends.get("b1")];
    for (let kill = 0; kill < KILLS; kill += 1) {
      await wait(PAUSE_MS);
      const victim = cluster.backends.get("b1");
      victim?.child.kill("SIGKILL");
      await victim?.ended;
      const next = cluster.startBackend("b1");
      lives.push(next);
      await next.ready;
    }
    const results = await asking;
    await box.close();
    const ends = results.map(({ received, end }) => `${received.slice(0, 13)} ${end}`);
    for (const { received, end } of results) {
      assert.match(received, ENDS, ends.join("; "));
      assert.match(end, /^(fin|ECONNRESET)$/, ends.join("; "));
    }
    assert.equal(await cluster.stop(), []);
    const flows = lives.flatMap((life) =>
      (life?.events ?? []).filter(({ event }) => event === "connection").map(({ flow }) => flow),
    );
    const { transport, judge } = counters(cluster.forwarder.events);
    const text = JSON.stringify({ ends, seen, transport, judge });
    assert.ok(flows.length > 0, text);
    assert.is(new Set(seen).size, seen.length, `a request was served twice: ${text}`);
    assert.is(new Set(flows).size, flows.length, `a flow was infused twice: ${text}`);
    assert.ok((transport?.["chunksRepeated"] ?? 0) > 0, `no blob was sent again: ${text}`);
    assert.ok((transport?.["messagesUnknown"] ?? 0) > 0, `none was cut off: ${text}`);
    assert.ok((transport?.["epochs"] ?? 0) > 1, `no later life was met: ${text}`);
  }),
);

type Groups = Readonly<Record<string, Readonly<Record<string, number>>>>;

function counters(events: readonly { readonly event: string }[]): Groups {
  const last = events.find(({ event }) => event === "counters");
  assert.ok(last, "a daemon tells its counters at its end");
  return last as unknown as Groups;
}

twice.run();
