/**
 * A forwarder of two workers on the real kernel: both serve, `kill -9` of one loses no connection and disturbs none of
 * the other's, a backend is drained by both, keys are replaced in both, and all end together.
 */
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { newKey, type Daemon, type DaemonEvent } from "../../host/lab/cluster.ts";
import { RULES } from "../../host/lab/scenario.ts";
import { until } from "../support/lab.ts";
import { expectDone } from "../support/labclients.ts";
import { startLoad } from "../support/labload.ts";
import {
  FAMILIES,
  IS_FULL,
  withService,
  type Counters,
  type TestService,
} from "../support/labservice.ts";

const queues = suite("queues in the lab");

const CLI = fileURLToPath(new URL("../../host/cli/main.js", import.meta.url));
const QUEUES = 2;
const CONNECTIONS = 200;
const HOST = "drain.example";
const HOSTS = ["api.example", "two.example"];
const ROUTES = ["host=two.example -> b2", `host=${HOST} -> b1,b2`, ...RULES];
/** Each transfer is steady for so long at least: a worker is down and back meanwhile. */
const SECONDS = 3;
const LIMIT_MS = 120_000;

/** Transfers over several seconds, and some connections that say nothing meanwhile. */
const WORK = {
  seconds: SECONDS,
  groups: HOSTS.flatMap((host) => [
    { kind: "download" as const, host, count: CONNECTIONS / 5 },
    { kind: "upload" as const, host, count: CONNECTIONS / 5 },
    { kind: "idle" as const, host, count: CONNECTIONS / 10 },
  ]),
};

const statusOf = (pid: string): string => read(`/proc/${pid}/status`);
const wordsOf = (pid: string): string[] => read(`/proc/${pid}/cmdline`).split("\0");

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return ""; // It has ended.
  }
}

/** The process of a worker of this forwarder, of which a machine may run more. */
function pidOf(forwarder: Daemon, worker: string): number | undefined {
  const holder = forwarder.child.pid;
  const parentOf = (pid: number): number =>
    Number(/^PPid:\s*(\d+)/m.exec(statusOf(String(pid)))?.[1] ?? 0);
  const isOurs = (pid: number): boolean => {
    for (let at = pid; at > 1; at = parentOf(at)) if (at === holder) return true;
    return false;
  };
  const found = readdirSync("/proc").filter((name) => {
    const words = /^\d+$/.test(name) ? wordsOf(name) : [];
    return words.at(-2) === worker && words.some((word) => word.endsWith("/queueworker.js"));
  });
  return found.map(Number).find(isOurs);
}

/** What each worker counted, by name. */
function workersOf(service: TestService): Map<unknown, DaemonEvent> {
  const events = service.cluster.forwarder.events.filter(({ event }) => event === "worker");
  return new Map(events.map((event) => [event["worker"], event]));
}

type Numbers = Readonly<Record<string, number>>;

function numbersOf(event: DaemonEvent | undefined, group: string): Numbers {
  return (event?.[group] ?? {}) as Numbers;
}

async function withQueues(
  name: string,
  body: (service: TestService) => Promise<void>,
  forwarderFlags: readonly string[] = [],
): Promise<void> {
  await withService(name, {}, body, { routes: ROUTES, queues: QUEUES, forwarderFlags });
}

for (const family of IS_FULL ? FAMILIES : [4 as const]) {
  const name = `kill -9 of one of two workers during ${CONNECTIONS} transfers, IPv${family}`;
  queues(`${name}: all complete, the other one does not notice`, () =>
    withQueues(name, async (service) => {
      const { forwarder } = service.cluster;
      const clients = await service.transfers({ family: family, ...WORK });
      const victim = pidOf(forwarder, "forwarder.1");
      assert.ok(victim, "a worker has a process of its own");
      process.kill(victim, "SIGKILL");
      await until("it is started again", LIMIT_MS, () => {
        const pid = pidOf(forwarder, "forwarder.1");
        return pid !== undefined && pid !== victim;
      });
      await expectDone(clients, CONNECTIONS, LIMIT_MS);
      assert.match(forwarder.stderr, /worker forwarder\.1: .* got SIGKILL: it is started again/);
      const sums = (await service.counters()).get("forwarder");
      assert.is(sums?.["workers"]?.["died"], 1);
      const workers = workersOf(service);
      const zero = numbersOf(workers.get("forwarder"), "judge");
      const one = numbersOf(workers.get("forwarder.1"), "judge");
      const text = JSON.stringify({ zero, one });
      assert.is(zero["claims-adopted"], undefined, `the other one has no claim to adopt: ${text}`);
      // What each counted in its life; the flows of the first one's predecessor came back as claims.
      const done = zero["verdict-done"] ?? 0;
      const adopted = one["claims-adopted"] ?? 0;
      assert.ok(done > CONNECTIONS / 4 && adopted > CONNECTIONS / 4, text);
      assert.ok(done + adopted >= CONNECTIONS, text);
      assert.is(one["claims-refused"], undefined, text);
    }),
  );
}

/** Both workers had their part, and what the holder says is the sum. */
function expectSums(service: TestService, sums: Counters): void {
  const workers = workersOf(service);
  assert.equal([...workers.keys()], ["forwarder", "forwarder.1"]);
  for (const [group, name] of [
    ["forwarder", "handedOff"],
    ["link", "rxPackets"],
    ["transport", "datagramsIn"],
  ] as const) {
    const [zero = 0, one = 0] = [...workers.values()].map((all) => numbersOf(all, group)[name]);
    assert.is(sums[group]?.[name], zero + one, `${group} ${name}`);
    assert.ok(zero > 0 && one > 0, `${group} ${name}: ${zero} and ${one}`);
  }
  assert.equal(sums["workers"], { died: 0 });
  assert.is(sums["unsteered"]?.["fragments"], 0);
}

queues("a backend is drained by both, keys are replaced in both: no request fails", async () => {
  const folder = mkdtempSync(join(tmpdir(), `baton-queues-${process.pid}-`));
  const control = join(folder, "forwarder.sock");
  const body = async (service: TestService): Promise<void> => {
    const { cluster, lab } = service;
    const load = startLoad(lab.nodes.client, {
      ...{ address: service.addressOf(4), port: 80, host: HOST },
      ...{ connections: CONNECTIONS, thinkMs: 200 },
    });
    await load.steady;
    const run = (...words: string[]) =>
      lab.nodes.forwarder.run(process.execPath, [CLI, ...words, "--control", control]);
    const drained = await run("drain", "b1", "--json");
    assert.is(drained.status, 0, drained.stderr + drained.stdout);
    const last = JSON.parse(drained.stdout.trim().split("\n").at(-1) ?? "") as DaemonEvent;
    assert.equal([last.event, last["open"], last["lost"]], ["drained", 0, 0]);
    assert.equal([(await run("drain", "b9")).status, (await run("undrain", "b1")).status], [2, 0]);
    const fresh = newKey();
    for (const keys of [cluster.keys + fresh, fresh + cluster.keys, fresh]) {
      for (const daemon of cluster.daemons) {
        const seen = daemon.stderr.length;
        const times = daemon === cluster.forwarder ? QUEUES : 1;
        daemon.setKeys(keys);
        await until(`${daemon.name} reads its keys`, LIMIT_MS, () => {
          const text = daemon.stderr.slice(seen);
          return (text.match(/cluster keys read again/g) ?? []).length === times;
        });
      }
    }
    const { failures, failed, resets, connects, requests } = await load.stop();
    assert.equal([failures, failed, resets, connects], [[], 0, 0, CONNECTIONS]);
    assert.ok(requests > CONNECTIONS);
    const counters = await service.counters();
    for (const [name, { transport }] of counters) assert.is(transport?.["forged"], 0, name);
    expectSums(service, counters.get("forwarder") ?? {});
  };
  try {
    await withQueues("drain of two workers", body, ["--control", control]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

queues("killed, it takes its workers along; one that dies too often takes the node down", () =>
  withQueues("kill of the holder", async (service) => {
    const clients = await service.transfers({ family: 4, ...WORK });
    const before = ["forwarder", "forwarder.1"].map((worker) =>
      pidOf(service.cluster.forwarder, worker),
    );
    service.cluster.forwarder.child.kill("SIGKILL");
    await service.cluster.forwarder.ended;
    await service.cluster.startForwarder().ready;
    for (const pid of before) assert.is(statusOf(String(pid)), "", "its workers are gone");
    await expectDone(clients, CONNECTIONS, LIMIT_MS);
    await expectGivingUp(service);
    const last = service.cluster.forwarder.events.find(({ event }) => event === "counters");
    const adopted = numbersOf(last, "judge")["claims-adopted"];
    // Of the worker that lived: those of the other one died with it.
    assert.ok((adopted ?? 0) > CONNECTIONS / 4, JSON.stringify(last));
  }),
);

/** Kills a worker until its forwarder ends. */
async function expectGivingUp({ cluster }: TestService): Promise<void> {
  const { forwarder } = cluster;
  let isOver = false;
  void forwarder.ended.then(() => (isOver = true));
  const killed = new Set<number>();
  await until("the node gives up", LIMIT_MS, () => {
    const pid = pidOf(forwarder, "forwarder.1");
    if (pid !== undefined && !killed.has(pid)) {
      killed.add(pid);
      process.kill(pid, "SIGKILL");
    }
    return isOver;
  });
  assert.is(await forwarder.ended, "exit status 1");
  assert.is(killed.size, 4);
  assert.match(forwarder.stderr, /baton: worker forwarder\.1: .*, once too often/);
  assert.is(pidOf(forwarder, "forwarder"), undefined);
}

queues.run();
