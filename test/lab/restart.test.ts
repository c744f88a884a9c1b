/**
 * The forwarder is killed in the middle of everything and started again (PROTOCOL section 7): its device and
 * routes stay, its table comes back from its nodes, and no connection notices more than a pause. Nor when it
 * stands still.
 */
import { setTimeout as wait } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { RULES } from "../../host/lab/scenario.ts";
import { expectDone } from "../support/labclients.ts";
import { withService } from "../support/labservice.ts";

const restart = suite("restart");

const TRANSFERS = 200;
const IDLE = 20;
const LIMIT_MS = 120_000;
/** Each is steady for so long at least: the forwarder is down and back meanwhile. */
const SECONDS = 8;
/** Longer than a node may be silent before it is dead. */
const STOP_MS = 6_000;
const HOSTS = ["api.example", "two.example"];
const WORK = {
  seconds: SECONDS,
  groups: HOSTS.flatMap((host) => [
    { kind: "download" as const, host, count: TRANSFERS / 4 },
    { kind: "upload" as const, host, count: TRANSFERS / 4 },
    { kind: "idle" as const, host, count: IDLE / 2 },
  ]),
};

const ROUTED = { routes: ["host=two.example -> b2", ...RULES] };

/** Started again at once, and after almost 2 s. */
for (const [family, pauseMs] of [
  [4, 0],
  [6, 1_700],
] as const) {
  const name = `kill -9 of the forwarder during ${TRANSFERS} transfers over IPv${family}`;
  restart(`${name}, back ${pauseMs} ms later: all complete`, () =>
    withService(
      name,
      {},
      async (service) => {
        const { cluster } = service;
        const clients = await service.transfers({ family: family, ...WORK });
        cluster.forwarder.child.kill("SIGKILL");
        await cluster.forwarder.ended;
        await wait(pauseMs);
        assert.equal(clients.ends, [], "all were under way");
        await cluster.startForwarder().ready;
        await expectDone(clients, TRANSFERS + IDLE, LIMIT_MS);
        const { judge } = (await service.counters()).get("forwarder") ?? {};
        const text = JSON.stringify(judge);
        assert.ok((judge?.["claims-adopted"] ?? 0) >= TRANSFERS + IDLE, text);
        assert.is(judge?.["claims-refused"], undefined, text);
      },
      ROUTED,
    ),
  );
}

restart(`SIGSTOP of the forwarder for ${STOP_MS / 1000} s: it declares nobody dead`, () =>
  withService(
    "SIGSTOP of the forwarder",
    {},
    async (service) => {
      const { forwarder } = service.cluster;
      const clients = await service.transfers({ family: 4, ...WORK });
      forwarder.child.kill("SIGSTOP");
      await wait(STOP_MS);
      forwarder.child.kill("SIGCONT");
      await expectDone(clients, TRANSFERS + IDLE, LIMIT_MS);
      const { judge } = (await service.counters()).get("forwarder") ?? {};
      const text = JSON.stringify(judge);
      assert.is(judge?.["nodes-dead"], undefined, text);
      assert.ok((judge?.["stood-still"] ?? 0) > 0, text);
    },
    ROUTED,
  ),
);

restart.run();
