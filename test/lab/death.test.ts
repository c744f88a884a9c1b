/**
 * A backend dies, falls silent or stands still in the middle of everything (DESIGN section 8, PROTOCOL R14
 * and R20): its clients learn it in time, downloading and idle ones too; nobody else notices anything.
 */
import { setTimeout as wait } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { RULES } from "../../host/lab/scenario.ts";
import { describe, expectDone, type LabClients } from "../support/labclients.ts";
import { withService } from "../support/labservice.ts";
import type { TransferEvent } from "../support/labtransfers.ts";

const death = suite("death");

const LIMIT_MS = 60_000;
/** Heartbeats tell of a closed port every 250 ms; three missed ones make it death (DESIGN section 8). */
const PORT_UNREACHABLE_MS = 250;
const RESET_MS = 1_500;
const SILENCE_MS = 6_000;
const EACH = 8;
const [VICTIM, OTHER] = ["api.example", "two.example"] as const;
const KINDS = ["download", "upload", "idle"] as const;
const GROUPS = [VICTIM, OTHER].flatMap((host) =>
  KINDS.map((kind) => ({ kind, host, count: EACH })),
);
const TOTAL = GROUPS.length * EACH;
const ROUTES = { routes: ["host=two.example -> b2", ...RULES] };

const isVictims = ({ host }: TransferEvent): boolean => host === VICTIM;

/** Clients of b1 are reset within `limitMs` of `sinceMs`; those of b2 finish as if nothing had been. */
async function expectResets(
  clients: LabClients,
  sinceMs: number,
  limitMs: number,
): Promise<readonly TransferEvent[]> {
  const reset = await clients.end(LIMIT_MS, isVictims);
  assert.is(reset.filter(({ how }) => how === "ECONNRESET").length, 3 * EACH, describe(reset));
  const late = reset.map(({ kind, atMs }) => `${kind} ${atMs - sinceMs}`).join(", ");
  assert.ok(
    reset.every(({ atMs }) => atMs - sinceMs < limitMs),
    `after ${late} ms`,
  );
  const others = (await clients.finish(LIMIT_MS)).filter((event) => !isVictims(event));
  assert.is(others.filter(({ how }) => how === "done").length, 3 * EACH, describe(others));
  return reset;
}

for (const family of [4, 6] as const) {
  const name = `kill -9 of a backend over IPv${family}`;
  death(`${name}: its clients are reset within 1.5 s of its kernel's port unreachable`, () =>
    withService(
      name,
      {},
      async (service) => {
        const clients = await service.transfers({ family: family, groups: GROUPS, seconds: 6 });
        const victim = service.cluster.backends.get("b1");
        const killedMs = Date.now();
        victim?.child.kill("SIGKILL");
        await victim?.ended;
        await expectResets(clients, killedMs + PORT_UNREACHABLE_MS, RESET_MS);
        await service.cluster.startBackend("b1").ready;
      },
      ROUTES,
    ),
  );
}

death("kill -9 of a backend that is back at once: reset within 1.5 s of its restart", () =>
  withService(
    "restart of a backend",
    {},
    async (service) => {
      const clients = await service.transfers({ family: 4, groups: GROUPS, seconds: 6 });
      const victim = service.cluster.backends.get("b1");
      victim?.child.kill("SIGKILL");
      await victim?.ended;
      await service.cluster.startBackend("b1").ready;
      await expectResets(clients, Date.now(), RESET_MS);
      const asks = [{ host: VICTIM, path: "/" }];
      const { answers, error } = await service.visit({ family: 4, asks });
      assert.equal([error, answers[0]?.backend], [undefined, "b1"], "it takes connections again");
    },
    ROUTES,
  ),
);

death("a backend that is cut off: reset after 6 s of silence, and it returns by itself", () =>
  withService(
    "silence",
    {},
    async (service) => {
      const clients = await service.transfers({ family: 4, groups: GROUPS, seconds: 10 });
      const box = await service.lab.middlebox("b1", { lossPercent: 100 });
      await expectResets(clients, Date.now(), SILENCE_MS);
      await box.close();
      const asks = [{ host: VICTIM, path: "/" }];
      const isBack = async (): Promise<boolean> => {
        const { answers } = await service.visit({ family: 4, asks });
        return answers[0]?.backend === "b1";
      };
      const deadline = Date.now() + LIMIT_MS;
      while (!(await isBack())) assert.ok(Date.now() < deadline, "it never came back");
    },
    ROUTES,
  ),
);

death("SIGSTOP of a backend for 2 s: no connection is lost", () =>
  withService(
    "SIGSTOP",
    {},
    async (service) => {
      const clients = await service.transfers({ family: 4, groups: GROUPS, seconds: 6 });
      const stopped = service.cluster.backends.get("b1");
      stopped?.child.kill("SIGSTOP");
      await wait(2_000);
      assert.equal(clients.ends, [], "all were under way");
      stopped?.child.kill("SIGCONT");
      await expectDone(clients, TOTAL, LIMIT_MS);
      const counters = await service.counters();
      const { judge } = counters.get("forwarder") ?? {};
      assert.is(judge?.["nodes-dead"], undefined, "it was suspect, and no more");
    },
    ROUTES,
  ),
);

death.run();
