/** The cluster key is replaced on all nodes, one after the other, while connections and handoffs go on. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { newKey, type Daemon } from "../../host/lab/cluster.ts";
import { until } from "../support/lab.ts";
import { expectDone } from "../support/labclients.ts";
import { withService, type TestService } from "../support/labservice.ts";

const rotation = suite("rotation");

const EACH = 6;
const LIMIT_MS = 60_000;

/** Gives a daemon other keys; resolves when it has read them. */
async function rotate(daemon: Daemon, keys: string, reading: RegExp): Promise<void> {
  const seen = daemon.stderr.length;
  daemon.setKeys(keys);
  await until(`${daemon.name} reads its keys`, LIMIT_MS, () =>
    reading.test(daemon.stderr.slice(seen)),
  );
}

async function expectAnswer(service: TestService): Promise<void> {
  const asks = [{ host: "api.example", path: "/" }];
  const { answers, error } = await service.visit({ family: 4, asks });
  assert.equal([error, answers[0]?.backend], [undefined, "b1"]);
}

rotation(
  "old; old and new; new and old; new: no connection is lost, and all end with the new key",
  () =>
    withService("rotation", {}, async (service) => {
      const { cluster } = service;
      const groups = (["download", "upload", "idle"] as const).map((kind) => {
        return { kind, host: "unknown.example", count: EACH };
      });
      const clients = await service.transfers({ family: 4, groups, seconds: 12 });
      const [old, fresh] = [cluster.keys, newKey()];
      for (const keys of [old + fresh, fresh + old, fresh]) {
        for (const daemon of cluster.daemons) {
          await rotate(daemon, keys, /cluster keys read again/);
          await expectAnswer(service);
        }
      }
      for (const daemon of cluster.daemons) {
        await rotate(
          daemon,
          "not a key\n",
          /cluster keys not changed: .* line 1: expected 32 bytes/,
        );
      }
      await expectAnswer(service);
      // Whoever begins with the new key alone meets nodes that have nothing else either.
      cluster.keys = fresh;
      cluster.forwarder.child.kill("SIGKILL");
      await cluster.forwarder.ended;
      await cluster.startForwarder().ready;
      await expectDone(clients, 3 * EACH, LIMIT_MS);
      await expectAnswer(service);
      for (const [name, { transport }] of await service.counters()) {
        assert.is(transport?.["forged"], 0, `${name}: ${JSON.stringify(transport)}`);
      }
    }),
);

rotation.run();
