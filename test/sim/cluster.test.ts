/** What the simulator's cluster shows of one node at a time, without clients. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createNodeCipher } from "../../host/link/cipher.ts";
import { createRouter, parseRouting } from "../../host/routing/router.ts";
import { Cluster, FORWARDER } from "../../host/sim/cluster.ts";
import { SeededRandom } from "../../host/sim/random.ts";
import { SimServer } from "../../host/sim/workload.ts";

const nodes = suite("nodes of a cluster");

const wasm = readFileSync(new URL("../../core.wasm", import.meta.url));

function open(clockPpmMax = 0) {
  const restarts: string[] = [];
  const backends = ["b1", "b2"];
  const cluster: Cluster = new Cluster({
    wasm,
    cipher: createNodeCipher(),
    log: { write: () => undefined },
    random: new SeededRandom(1),
    services: [{ address: "10.0.0.100", port: 80 }],
    router: createRouter(parseRouting({ backends, pools: [], routes: ["host=b1 -> b1"] })),
    backends,
    acceptor: (name) => new SimServer(name),
    backendEvents: (name) => ({
      restart: () => {
        restarts.push(name);
        cluster.scheduler.after(0, () => cluster.node(name).crash());
      },
    }),
    clockPpmMax,
  });
  const pass = (us: number): void => {
    const { scheduler } = cluster;
    for (const end = scheduler.nowUs() + us; scheduler.step(end););
  };
  return { cluster, restarts, pass };
}

nodes("meet over clocks that run at different rates", () => {
  const { cluster, restarts, pass } = open(500);
  pass(60_000_000);
  assert.equal(restarts, []);
  for (const { id, name } of cluster.backends) {
    const peer = cluster.forwarder.role.judge.peers.get(id);
    assert.ok(peer && cluster.forwarder.role.judge.peers.isUsable(peer), `${name} is usable`);
  }
  assert.is(cluster.node(FORWARDER).isUp, true);
});

nodes.run();
