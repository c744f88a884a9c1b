/**
 * Acceptance: a service routed by request. Two pools behind path rules, kept-alive connections that alternate between
 * them: no request fails, each is answered by the right pool, nobody has to connect again.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { RULES } from "../../host/lab/scenario.ts";
import { askRaw } from "../support/labraw.ts";
import { startRouted, type RoutedOptions, type RoutedResult } from "../support/labrouted.ts";
import { IS_FULL, withService, type TestService } from "../support/labservice.ts";

const requests = suite("requests in the lab");

const IS_MEASURED = process.env["BATON_MEASURE"] === "1";
const PATHS = [
  ["/a/", "b1"],
  ["/b/", "b2"],
] as const;
const ROUTES = [...PATHS.map(([prefix, backend]) => `path=${prefix}* -> ${backend}`), ...RULES];
const PLACES = [[], ["c1", "c2"]] as const;
/** The same things happen in both; the larger one gives what is rare more chances. */
const SIZES = IS_FULL
  ? { alone: 40, crowd: 200, turns: 50, lossy: 20, lossyTurns: 20, killed: 60, killedTurns: 40 }
  : { alone: 20, crowd: 60, turns: 5, lossy: 10, lossyTurns: 10, killed: 40, killedTurns: 20 };

function start(service: TestService, options: Partial<RoutedOptions> = {}) {
  return startRouted(service.lab.nodes.client, {
    address: service.addressOf(4),
    port: 80,
    connections: 1,
    requests: 1,
    paths: PATHS,
    bodyEvery: 0,
    bytes: 0,
    thinkMs: 0,
    ...options,
  });
}

function expectClean(result: RoutedResult, connections: number, count: number): void {
  const { failures, wrong, connects, answered } = result;
  const expected = { failures: [], wrong: 0, connects: connections, answered: count };
  assert.equal({ failures, wrong, connects, answered }, expected);
}

for (const more of PLACES) {
  const where = more.length > 0 ? "classifiers apart" : "in the forwarder";
  const name = `by request (${where})`;

  requests(`${name}: one connection, pipelined ones, a crowd, large bodies, 1 % loss`, async () => {
    await withService(
      name,
      { more },
      async (service) => {
        const { alone, crowd, turns, lossy, lossyTurns } = SIZES;
        expectClean(await start(service, { requests: alone }).end, 1, alone);
        await expectPipelined(service);
        const bodies = { requests: 8, bodyEvery: 2, bytes: 1 << 20 };
        expectClean(await start(service, bodies).end, 1, 8);
        const many = { connections: crowd, requests: turns, thinkMs: 20 };
        expectClean(await start(service, many).end, crowd, crowd * turns);
        await service.lab.middlebox("client", { lossPercent: 1, seed: 3 });
        const sized = { connections: lossy, requests: lossyTurns, bodyEvery: 5, bytes: 200_000 };
        expectClean(await start(service, sized).end, lossy, lossy * lossyTurns);
        await expectCounted(service, more.length > 0);
      },
      { routes: ROUTES, routing: "request" },
    );
  });
}

/** Ten requests in one go, to either pool by turns. */
async function expectPipelined(service: TestService): Promise<void> {
  const paths = Array.from({ length: 10 }, (_, at) => `/${at % 2 === 0 ? "a" : "b"}/${at}`);
  const text = paths.map((path, at) => {
    const last = at === paths.length - 1 ? "Connection: close\r\n" : "";
    return `GET ${path} HTTP/1.1\r\nHost: a.example\r\n${last}\r\n`;
  });
  const one = { address: service.addressOf(4), port: 80, parts: [text.join("")] };
  const [result] = await askRaw(service.lab.nodes.client, [one]);
  assert.is(result?.end, "fin");
  const said = [...(result?.received ?? "").matchAll(/"backend":"(b\d)".*?"path":"([^"]+)"/g)];
  assert.equal(
    said.map(([, backend, path]) => [path, backend]),
    paths.map((path) => [path, path.startsWith("/a/") ? "b1" : "b2"]),
  );
}

/** Nothing was lost, nothing was given up, and whoever classifies got connections back. */
async function expectCounted(service: TestService, isApart: boolean): Promise<void> {
  const counters = await service.counters();
  const text = JSON.stringify([...counters]);
  const judge = counters.get("forwarder")?.["judge"];
  assert.is(judge?.["verdict-aborted"], undefined, text);
  const names = isApart ? ["c1", "c2"] : ["forwarder"];
  for (const name of names) {
    assert.ok((counters.get(name)?.["classifier"]?.["arrived"] ?? 0) > 0, text);
  }
  for (const name of ["b1", "b2"]) {
    const { lost, kept } = counters.get(name)?.["moves"] ?? {};
    assert.equal([lost, kept], [0, 0], text);
  }
}

const KILLED = "a classifier that is killed takes only its connections along";
requests(KILLED, () =>
  withService(
    KILLED,
    { more: ["c1", "c2"] },
    async (service) => {
      const { killed: connections, killedTurns: turns } = SIZES;
      const load = start(service, { connections, requests: turns, thinkMs: 100 });
      await load.half;
      service.cluster.classifiers.get("c1")?.child.kill("SIGKILL");
      const { failures, failedPorts, wrong, answered, connects } = await load.end;
      for (const port of failedPorts) {
        assert.is(service.classifierOf(port, ["c1", "c2"]), "c1", `port ${port}`);
      }
      assert.equal(new Set(failedPorts).size, failedPorts.length, "each of them once");
      assert.ok(
        failures.every((code) => code === "ECONNRESET"),
        failures.join(),
      );
      assert.is(wrong, 0);
      assert.equal(
        [answered, connects],
        [connections * turns - failures.length, connections + failures.length],
      );
    },
    { routes: ROUTES, routing: "request" },
  ),
);

/** Four labs, one after the other: for those who want the figures. */
const LATENCY = "a request's time, by request and by connection";
const measured = async (): Promise<void> => {
  const count = IS_MEASURED ? 2_000 : 200;
  for (const more of PLACES) {
    for (const routing of ["connection", "request"] as const) {
      await withService(
        LATENCY,
        { more },
        async (service) => {
          // By connection everybody stays with b1, whatever it is asked.
          const paths = routing === "request" ? PATHS : [["/a/", "b1"] as const];
          const result = await start(service, { requests: count, paths }).end;
          expectClean(result, 1, count);
          const { p50Ms, p99Ms, maxMs } = result;
          const place = more.length > 0 ? "classifiers apart" : "in the forwarder";
          const times = [p50Ms, p99Ms, maxMs].map((ms) => ms.toFixed(2)).join(", ");
          process.stdout.write(`routing=${routing}, ${place}: p50, p99, max ${times} ms\n`);
          assert.ok(p50Ms < (IS_MEASURED ? 20 : 1_000), `p50 ${p50Ms} ms`);
        },
        { routes: ROUTES, routing },
      );
    }
  }
};
if (IS_MEASURED || IS_FULL) requests(LATENCY, measured);

requests.run();
