/**
 * SIGTERM of a backend on the lab: its connections move away, what cannot move keeps it for as long as
 * --drain-timeout says, and a second signal ends it at once.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { RULES } from "../../host/lab/scenario.ts";
import { startLoad } from "../support/labload.ts";
import { withService, type TestService } from "../support/labservice.ts";

const term = suite("SIGTERM of a backend in the lab");

const HOST = "drain.example";
const CONNECTIONS = 40;
/** Far longer than the answer of /within/2 takes, on any machine; shorter than one of /within/60. */
const DRAIN_MS = 30_000;

async function withBackends(
  body: (service: TestService) => Promise<void>,
  drainTimeout = `${DRAIN_MS}ms`,
): Promise<void> {
  await withService("term", {}, body, {
    routes: [`host=${HOST} -> b1,b2`, ...RULES],
    backendFlags: ["--drain-timeout", drainTimeout],
  });
}

/** Two clients within answers of so many seconds: by turns, one of them is with b1. */
async function answersUnderWay(service: TestService, seconds: number) {
  const { forwarder } = service.cluster;
  const isWithB1 = new Promise<void>((resolve) => {
    forwarder.onEvent(({ event, backend }) => {
      if (event === "connection" && backend === "b1") resolve();
    });
  });
  const visits = [1, 2].map(() =>
    service.visit({ family: 4, asks: [{ host: HOST, path: `/bytes/100000/within/${seconds}` }] }),
  );
  await isWithB1;
  return visits;
}

function b1Of(service: TestService) {
  const daemon = service.cluster.backends.get("b1");
  assert.ok(daemon);
  return daemon;
}

term(
  "kept-alive connections under load move away: 0 failed requests, 0 resets, status 0",
  async () => {
    await withBackends(async (service) => {
      const load = startLoad(service.lab.nodes.client, {
        address: service.addressOf(4),
        port: 80,
        host: HOST,
        connections: CONNECTIONS,
        thinkMs: 100,
      });
      await load.steady;
      const visits = await answersUnderWay(service, 2);
      const b1 = b1Of(service);
      const began = performance.now();
      b1.child.kill("SIGTERM");
      assert.is(await b1.ended, "exit status 0", b1.stderr);
      assert.ok(performance.now() - began < DRAIN_MS, "not longer than it had to");
      for (const visit of visits) {
        const { answers, error } = await visit;
        assert.is(error, undefined, "an answer under way comes to its end");
        assert.is(answers[0]?.bytes, 100_000);
      }
      const { failures, failed, resets, connects, backends } = await load.stop();
      assert.equal(
        { failures, failed, resets, connects, backends },
        {
          failures: [],
          failed: 0,
          resets: 0,
          connects: CONNECTIONS,
          backends: { b2: CONNECTIONS },
        },
      );
      const counters = b1.events.find(({ event }) => event === "counters") as unknown as {
        moves: Record<string, number>;
      };
      assert.ok((counters.moves["moved"] ?? 0) >= CONNECTIONS / 2, JSON.stringify(counters.moves));
      assert.is(counters.moves["lost"], 0);
    });
  },
);

term(
  "what cannot move gets the drain time-out and no more; a second signal waits for nothing",
  async () => {
    await withBackends(async (service) => {
      const b1 = b1Of(service);
      const visits = await answersUnderWay(service, 60);
      const began = performance.now();
      b1.child.kill("SIGTERM");
      assert.is(await b1.ended, "exit status 0", b1.stderr);
      const tookMs = performance.now() - began;
      assert.ok(tookMs > 1_000, `${tookMs} ms: it waited for the time-out`);
      assert.match(b1.stderr, /has drained/);
      const again = service.cluster.startBackend("b1");
      await again.ready;
      for (const visit of visits) void visit.catch(() => undefined);
    }, "1s");
    await withBackends(async (service) => {
      const b1 = b1Of(service);
      const visits = await answersUnderWay(service, 60);
      for (const visit of visits) void visit.catch(() => undefined);
      b1.child.kill("SIGTERM");
      await new Promise<void>((resolve) => {
        const look = (): void => {
          if (/drains before it ends/.test(b1.stderr)) return resolve();
          setTimeout(look, 10);
        };
        look();
      });
      const began = performance.now();
      b1.child.kill("SIGTERM");
      await b1.ended;
      assert.ok(performance.now() - began < DRAIN_MS - 2_000, "at once");
      assert.not.match(b1.stderr, /has drained/);
    });
  },
);

term.run();
