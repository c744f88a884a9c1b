/**
 * A thousand handoffs over paths between the nodes that lose, duplicate, reorder and corrupt datagrams: each
 * completes or is refused cleanly, and what the nodes counted adds up. Real nodes and transport, virtual time.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { NO_FAULTS } from "../../host/sim/network.ts";
import { udpPlace } from "../../host/sim/node.ts";
import { END, request, Scene, type Visitor } from "../claims/scene.ts";

const adverse = suite("adverse paths");

const SECOND = 1_000_000;
const HANDOFFS = 1000;
/** Asked for at one moment. */
const BURST = 50;
const SEED = Number(process.env["BATON_SEED"] ?? 1);
const BACKENDS = ["b1", "b2"];
const BAD = {
  ...NO_FAULTS,
  ...{ delayUs: 1000, jitterUs: 500, reorderUs: 4000 },
  ...{ lossPercent: 10, duplicatePercent: 10, reorderPercent: 10, corruptPercent: 1 },
};

function spoil(scene: Scene): void {
  const { network } = scene.cluster;
  for (const name of BACKENDS) {
    network.setFaults(udpPlace("lb"), udpPlace(name), BAD);
    network.setFaults(udpPlace(name), udpPlace("lb"), BAD);
  }
}

function sum(counters: Readonly<Record<string, number>>, pattern: RegExp): number {
  const names = Object.keys(counters).filter((name) => pattern.test(name));
  return names.reduce((total, name) => total + (counters[name] ?? 0), 0);
}

adverse(`${HANDOFFS} handoffs: each completes or is refused cleanly; counters add up`, () => {
  // Every seventh connection that a backend is offered, it does not take, and of every fifth burst none: a
  // forwarder asks again for a second and a half, then answers 503.
  let offered = 0;
  let isClosed = false;
  const scene = new Scene(BACKENDS, SEED, { accepts: () => !isClosed && ++offered % 7 !== 0 });
  spoil(scene);
  const visitors: Visitor[] = [];
  for (let at = 0; at < HANDOFFS; at += BURST) {
    isClosed = (at / BURST) % 5 === 4;
    const burst = Array.from({ length: BURST }, (_, index) => scene.connect(index % 2 ? 6 : 4));
    for (const [index, visitor] of burst.entries()) {
      visitor.say(request(`b${1 + (index % 2)}.example`) + "x".repeat((index % 10) * 400) + END);
    }
    visitors.push(...burst);
    scene.until("answers", () => burst.every(({ received, finished }) => received + finished));
  }
  scene.pass(5 * SECOND);
  const served = visitors.filter(({ received }) => /^b[12] read/.test(received)).length;
  const refused = visitors.filter(({ received }) => /^HTTP\/1.1 503 /.test(received)).length;
  const { judge, migrator, classifier, counters: own } = scene.lb.role;
  const backends = scene.cluster.backends.map(({ role }) => role.migrator.counters);
  const text = JSON.stringify({
    seed: SEED,
    served,
    refused,
    own,
    judge: judge.counters,
    backends,
  });
  assert.is(served + refused, HANDOFFS, text);
  for (const { violations } of visitors) assert.equal(violations, [], text);
  assert.ok(refused > 0 && served > HANDOFFS / 2, text);
  // Clients, classifier, migrator, judge and backends tell the same story.
  const { unavailable } = classifier.counters;
  assert.equal([own.handedOff, unavailable, own.lost], [served, refused, 0], text);
  const { departed = 0 } = migrator.counters;
  assert.is(judge.counters["grants"], departed, text);
  assert.is(sum(judge.counters, /^verdict-/), departed, text);
  assert.is(judge.counters["verdict-done"], served, text);
  assert.is(judge.counters["verdict-resume"], departed - served, text);
  const [arrived, turned] = [/^arrived$/, /^refused-/].map((pattern) =>
    backends.reduce((total, counters) => total + sum(counters, pattern), 0),
  );
  assert.equal([arrived, turned], [served, departed - served], text);
  assert.is(scene.infused.length, served, "no blob was infused twice");
  for (const peer of judge.peers.all()) assert.is(peer.granted, 0, "every credit came back");
  assert.is(judge.openCount, 0, text);
  // The paths were bad, and each datagram was counted in one way.
  const { lost, duplicated, corrupted } = scene.cluster.network.counters;
  assert.ok(lost > 100 && duplicated > 100 && corrupted > 10, text);
  for (const { transport } of [scene.lb, ...scene.cluster.backends]) {
    const { counters } = transport;
    const ways = ["opened", "hellos", "malformed", "unknownSession", "replayed", "forged"] as const;
    const counted = ways.reduce((total, way) => total + counters[way], 0);
    const { datagramsIn, helloStray, helloOlder, messagesOut } = counters;
    assert.is(counted + helloStray + helloOlder, datagramsIn, JSON.stringify(counters));
    assert.is(counters.messagesDelivered, messagesOut, JSON.stringify(counters));
    assert.is(counters.messagesUnknown, 0, JSON.stringify(counters));
    assert.ok(counters.replayed > 0 && counters.forged + counters.malformed > 0);
  }
});

adverse.run();
