/** What the simulator's cluster shows of one node at a time, without clients. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createNodeCipher } from "../../host/link/cipher.ts";
import { createRouter, parseRouting } from "../../host/routing/router.ts";
import { Cluster, FORWARDER, type ClusterOptions } from "../../host/sim/cluster.ts";
import { buildTcp, parseTcp, SYN } from "../../host/sim/packet.ts";
import { SeededRandom } from "../../host/sim/random.ts";
import { SimServer } from "../../host/sim/workload.ts";

const nodes = suite("nodes of a cluster");

const wasm = readFileSync(new URL("../../core.wasm", import.meta.url));

const SERVICES = [
  { address: "10.0.0.100", port: 80 },
  { address: "fd00::100", port: 80 },
];
const CLIENTS = ["198.51.100.1", "2001:db8::1"];

function open(clockPpmMax = 0, more: Partial<ClusterOptions> = {}) {
  const restarts: string[] = [];
  const backends = ["b1", "b2"];
  const cluster: Cluster = new Cluster({
    wasm,
    cipher: createNodeCipher(),
    log: { write: () => undefined },
    random: new SeededRandom(1),
    services: SERVICES,
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
    ...more,
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

nodes("tell the MTU of their links, and clients hear the MSS that the narrowest one takes", () => {
  for (const classifiers of [[], ["c1", "c2"]]) {
    const { cluster, pass } = open(0, { classifiers, mtus: { b2: 1400 } });
    const heard: number[] = [];
    for (const address of CLIENTS) {
      cluster.client(`client ${address}`, address, (bytes) => {
        const mss = parseTcp(bytes).options.find(({ kind }) => kind === 2);
        heard.push(((mss?.bytes[0] ?? 0) << 8) | (mss?.bytes[1] ?? 0));
      });
    }
    let sourcePort = 5000;
    const dial = (): number[] => {
      heard.length = 0;
      sourcePort += 1;
      for (const [index, source] of CLIENTS.entries()) {
        const { address: destination, port: destinationPort } = SERVICES[index]!;
        const packet = buildTcp({ source, destination, sourcePort, destinationPort, flags: SYN });
        cluster.network.sendTo(`client ${source}`, destination, packet);
      }
      pass(100_000);
      return heard.slice();
    };
    pass(10_000_000); // A forwarder that starts takes nobody before every node has reported.
    assert.equal(dial(), [1400 - 40, 1400 - 60], `${classifiers.length} classifiers`);
    cluster.node("b2").crash();
    pass(20_000_000);
    assert.equal(dial(), [1400 - 40, 1400 - 60], "it may be back at any moment");
  }
});

nodes("have the clients that are steered to them, where there are several forwarders", () => {
  const { cluster, restarts, pass } = open(0, { forwarders: 3 });
  const [source] = CLIENTS as [string];
  const [{ address: destination, port: destinationPort }] = SERVICES as [(typeof SERVICES)[0]];
  const answers = new Map<number, string>();
  cluster.network.watch = (from, to, bytes) => {
    if (to === "client") answers.set(parseTcp(bytes).destinationPort, from);
  };
  cluster.client("client", source, () => undefined);
  pass(10_000_000);
  const ports = Array.from({ length: 30 }, (_, index) => 5000 + index);
  for (const sourcePort of ports) {
    const packet = buildTcp({ source, destination, sourcePort, destinationPort, flags: SYN });
    cluster.network.sendTo("client", destination, packet);
  }
  pass(100_000);
  const wanted = ports.map((port) => cluster.forwarderOf(source, port));
  assert.equal(
    ports.map((port) => answers.get(port)),
    wanted,
  );
  assert.equal(new Set(wanted), new Set(["lb", "lb.1", "lb.2"]));
  for (const backend of cluster.backends) {
    for (const { name, role } of cluster.forwarders) {
      const peer = role.judge.peers.get(backend.id);
      assert.ok(peer && role.judge.peers.isUsable(peer), `${name} knows ${backend.name}`);
    }
  }
  assert.equal(restarts, []);
});

nodes.run();
