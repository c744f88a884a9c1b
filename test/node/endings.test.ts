/**
 * How connections end, from the core of a backend to the judge of the forwarder; and how long nodes bear silence. The
 * real nodes on a simulated network, under virtual time.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Scene, type Visitor } from "../claims/scene.ts";
import type { ReleaseCause } from "../../host/node/messages.ts";

const endings = suite("endings");
const SECOND = 1_000_000;
const PATIENCE = { keepAliveUs: 10 * SECOND, userTimeoutUs: 30 * SECOND };

/** A served connection, the causes of every RELEASE that the judge is told, and how many it believed. */
function served(patience?: typeof PATIENCE) {
  const scene = new Scene(["b1"], 1, patience ? { patience } : {});
  const causes: ReleaseCause[] = [];
  const { judge } = scene.lb.role;
  const handle = judge.handle.bind(judge);
  judge.handle = (node, epoch, message) => {
    if (message.type === "release") causes.push(...message.items.map(({ cause }) => cause));
    handle(node, epoch, message);
  };
  const visitor = scene.visit("b1.example");
  assert.is(scene.backend().role.connections, 1);
  return { scene, visitor, causes };
}

const CASES: readonly (readonly [
  ReleaseCause,
  string,
  (scene: Scene, visitor: Visitor) => void,
])[] = [
  ["reset", "the client resets it", (_, visitor) => visitor.tcp.abort()],
  ["closed", "both sides close it", (_, visitor) => visitor.tcp.end()],
  ["timeout", "the client vanishes", (_, visitor) => visitor.tcp.vanish()],
  ["aborted", "the application aborts it", (scene) => scene.served[0]!.connection.abort()],
];

for (const [cause, what, act] of CASES) {
  endings(`tell the judge "${cause}" when ${what}`, () => {
    const { scene, visitor, causes } = served(PATIENCE);
    act(scene, visitor);
    scene.until(`a release (${causes.join()})`, () => causes.length > 0);
    assert.equal([...new Set(causes)], [cause]);
    const { released } = scene.lb.role.judge.counters as Readonly<Record<string, number>>;
    assert.is(released, 1);
  });
}

endings("come by keep-alive when a client vanishes from an idle connection, else never", () => {
  for (const patience of [PATIENCE, undefined]) {
    const { scene, visitor, causes } = served(patience);
    scene.pass(SECOND);
    visitor.tcp.vanish();
    scene.pass(35 * SECOND);
    assert.is(scene.backend().role.connections, 1, "idle time and user timeout are not over");
    scene.pass(15 * SECOND);
    assert.is(scene.backend().role.connections, patience ? 0 : 1);
    assert.equal(causes, patience ? ["timeout"] : []);
  }
});

endings("come by keep-alive to a client that vanishes while its request is read", () => {
  for (const patience of [PATIENCE, undefined]) {
    for (const classifiers of [[], ["c1"]]) {
      const headLimitUs = 3600 * SECOND;
      const options = { headLimitUs, classifiers, ...(patience ? { patience } : {}) };
      const scene = new Scene(["b1"], 1, options);
      const visitor = scene.connect();
      visitor.say("GET / HTTP/1.1\r\n");
      scene.pass(SECOND);
      const role = scene.cluster.classifiers[0]?.role ?? scene.lb.role;
      assert.is(role.classifier.size, 1);
      visitor.tcp.vanish();
      scene.pass(160 * SECOND);
      assert.is(role.classifier.size, patience ? 0 : 1, `classifier: ${classifiers.join()}`);
    }
  }
});

endings.run();
