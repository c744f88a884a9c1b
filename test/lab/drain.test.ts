/**
 * Acceptance: `baton drain` with 500 kept-alive HTTP connections under load. No request fails, nothing is
 * reset, no client has to connect again, and the backend ends with none.
 */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { RULES } from "../../host/lab/scenario.ts";
import { startLoad } from "../support/labload.ts";
import { withService, type TestService } from "../support/labservice.ts";

const drain = suite("baton drain in the lab");

const CLI = fileURLToPath(new URL("../../host/cli/main.js", import.meta.url));
const HOST = "drain.example";
const CONNECTIONS = 500;
const THINK_MS = 500;

interface Line {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** A command at the forwarder's node: its exit status and what it said. */
async function command(service: TestService, ...words: string[]) {
  const { stdout, stderr, status } = await service.lab.nodes.forwarder.run(process.execPath, [
    CLI,
    ...words,
  ]);
  const lines = stdout.split("\n").filter((line) => line.startsWith("{"));
  return { status, stdout, stderr, lines: lines.map((line) => JSON.parse(line) as Line) };
}

async function withControl(
  body: (service: TestService, control: string) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), `baton-drain-${process.pid}-`));
  const control = join(folder, "forwarder.sock");
  const routes = [`host=${HOST} -> b1,b2`, ...RULES];
  try {
    await withService("drain", {}, (service) => body(service, control), {
      routes,
      forwarderFlags: ["--control", control],
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

drain(
  "500 kept-alive connections under load: 0 failed requests, 0 resets, b1 has none",
  async () => {
    await withControl(async (service, control) => {
      assert.is(statSync(control).mode & 0o777, 0o600, "for its owner only");
      const load = startLoad(service.lab.nodes.client, {
        address: service.addressOf(4),
        port: 80,
        host: HOST,
        connections: CONNECTIONS,
        thinkMs: THINK_MS,
      });
      await load.steady;
      const flags = ["--control", control, "--json"];
      const drained = await command(service, "drain", "b1", ...flags);
      assert.is(drained.status, 0, drained.stderr + drained.stdout);
      const end = drained.lines.at(-1);
      assert.is(end?.event, "drained");
      assert.equal([end?.["open"], end?.["lost"]], [0, 0]);
      assert.is(end?.["moved"], CONNECTIONS / 2, "by turns: b1 had half of them");
      const again = await command(service, "drain", "b1", "--control", control);
      assert.is(again.status, 0);
      assert.match(again.stdout, /^b1: \d+ moved, 0 left\n/);
      const undrained = await command(service, "undrain", "b1", "--control", control);
      assert.equal(
        [undrained.status, undrained.stdout],
        [0, "b1 takes connections again; 0 are there\n"],
      );
      const result = await load.stop();
      const { failures, failed, resets, connects, backends, requests } = result;
      assert.equal(
        { failures, failed, resets, connects },
        {
          failures: [],
          failed: 0,
          resets: 0,
          connects: CONNECTIONS,
        },
      );
      assert.ok(requests > CONNECTIONS, `${requests} requests`);
      assert.equal(backends, { b2: CONNECTIONS });
      const counters = await service.counters();
      const { judge, courier } = counters.get("forwarder") ?? {};
      assert.is(judge?.["verdict-aborted"], undefined);
      assert.ok((courier?.["passed"] ?? 0) >= CONNECTIONS / 2);
      assert.is(counters.get("b1")?.["moves"]?.["lost"], 0);
    });
  },
);

drain("a connection within a request keeps the drain waiting, and is named", async () => {
  await withControl(async (service, control) => {
    const b1 = new Promise<void>((resolve) => {
      service.cluster.forwarder.onEvent(({ event, backend }) => {
        if (event === "connection" && backend === "b1") resolve();
      });
    });
    // Two clients: by turns, one of them is with b1.
    const visits = [1, 2].map(() =>
      service.visit({ family: 4, asks: [{ host: HOST, path: "/bytes/100000/within/4" }] }),
    );
    await b1;
    const flags = ["--control", control, "--timeout", "1s"];
    const { status, stdout } = await command(service, "drain", "b1", ...flags);
    assert.is(status, 1);
    assert.match(stdout, /^b1: 0 moved, 1 left\n  1 of them: a request is under way\n/);
    await Promise.all(visits);
    assert.is((await command(service, "drain", "b1", "--control", control)).status, 0);
    const wrong = await command(service, "drain", "b9", "--control", control);
    assert.is(wrong.status, 2);
    assert.match(wrong.stderr, 'expected the name of a backend, got "b9"');
    const nowhere = await command(service, "drain", "b1", "--control", `${control}.none`);
    assert.is(nowhere.status, 1);
    assert.match(nowhere.stderr, "no forwarder serves it");
  });
});

drain.run();
