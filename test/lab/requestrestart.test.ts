/**
 * The forwarder is killed and started again amid requests that are routed one by one: at any moment some connections
 * are on their way to a classifier or to a backend. With classifiers apart nobody may notice more than a pause. Where
 * the forwarder classifies itself, the connections that it had or that were on their way to it are lost (PROTOCOL
 * section 7, row "another boot epoch", and section 10, accepted 3), and no other.
 */
import { setTimeout as wait } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { RULES } from "../../host/lab/scenario.ts";
import { startRouted } from "../support/labrouted.ts";
import { IS_FULL, withService, type Counters } from "../support/labservice.ts";

const restart = suite("restart amid routed requests");

const BACKENDS = ["b1", "b2"];
const PATHS = [
  ["/a/", "b1"],
  ["/b/", "b2"],
] as const;
const ROUTES = [...PATHS.map(([prefix, backend]) => `path=${prefix}* -> ${backend}`), ...RULES];
const CONNECTIONS = IS_FULL ? 200 : 60;
const REQUESTS = IS_FULL ? 60 : 30;
const APART = ["c1", "c2"];
/** Where requests are read, and how long the forwarder is away. */
const ALL = [
  [[], 0],
  [APART, 1_700],
  [[], 1_700],
  [APART, 0],
] as const;
/** Half of T_FROZEN: recovery and its messages want time, too. */
const AWAY_MS_MAX = 5_000;
const LOAD = {
  port: 80,
  connections: CONNECTIONS,
  requests: REQUESTS,
  paths: PATHS,
  bodyEvery: 5,
  bytes: 100_000,
  thinkMs: 100,
  // A lost connection whose client neither speaks nor asks would stay silent for ever.
  probeMs: 2_000,
  limitMs: 60_000,
};

for (const [more, pauseMs] of IS_FULL ? ALL : ALL.slice(0, 2)) {
  const where = more.length > 0 ? "classifiers apart" : "it classifies itself";
  const name = `kill -9 of the forwarder, back ${pauseMs} ms later (${where})`;
  restart(name, () =>
    withService(
      name,
      { more },
      async (service) => {
        const { cluster } = service;
        const load = startRouted(service.lab.nodes.client, {
          ...LOAD,
          address: service.addressOf(4),
        });
        await load.half;
        const killedMs = performance.now();
        cluster.forwarder.child.kill("SIGKILL");
        await cluster.forwarder.ended;
        await wait(pauseMs);
        await cluster.startForwarder().ready;
        const awayMs = performance.now() - killedMs;
        const { failures, failedPorts, wrong, answered, connects } = await load.end;
        const counters = await service.counters();
        const text = JSON.stringify({ failures, failedPorts, wrong, counters: [...counters] });
        const judge = counters.get("forwarder")?.["judge"] ?? {};
        assert.not.ok(failures.includes("HUNG"), text);
        if (awayMs > AWAY_MS_MAX) return tooSlow(awayMs);
        assert.is(judge["claims-refused"], undefined, text);
        const lost = more.length > 0 ? 0 : CONNECTIONS - (judge["claims-adopted"] ?? 0);
        assert.ok(lost < CONNECTIONS, text);
        assert.equal(failures, new Array<string>(lost).fill("ECONNRESET"), text);
        assert.is(new Set(failedPorts).size, lost, "each of them once");
        assert.is(answered, CONNECTIONS * REQUESTS - lost, text);
        assert.is(connects, CONNECTIONS + lost, text);
        if (more.length > 0) assert.is(judge["verdict-aborted"], undefined, text);
        expectStayed(wrong, counters, text);
      },
      { routes: ROUTES, routing: "request" },
    ),
  );
}

/** Frozen copies are given up after T_FROZEN, rightly: what then is lost says nothing about a restart. */
function tooSlow(awayMs: number): void {
  process.stdout.write(
    `SKIP the forwarder was away for ${Math.round(awayMs)} ms: too busy a machine\n`,
  );
}

/** Whoever waits for a classifier longer than 1.5 s is answered where it is (docs/requests.md). */
function expectStayed(wrong: number, counters: ReadonlyMap<string, Counters>, text: string): void {
  const kept = BACKENDS.map((name) => counters.get(name)?.["moves"]?.["kept"] ?? 0);
  assert.ok(wrong <= kept.reduce((sum, count) => sum + count, 0), text);
}

restart.run();
