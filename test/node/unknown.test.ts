/**
 * The outcome of a handoff stays unknown: the blob arrives, and every answer is lost (DESIGN I3). Real nodes
 * over the simulated network: the client is reset, the target is told to forget, nobody else runs on.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { NO_FAULTS } from "../../host/sim/network.ts";
import { udpPlace } from "../../host/sim/node.ts";
import { RST } from "../../host/sim/packet.ts";
import { END, request, Scene, type Visitor } from "../claims/scene.ts";

const unknown = suite("unknown outcome");

const LB = "lb";
const SECOND = 1_000_000;
const CLIENTS = 20;
const [FROM, TO] = [udpPlace("b1"), udpPlace(LB)];

/** Everything that b1 says to the forwarder is lost from now on. */
function silence(scene: Scene): void {
  scene.cluster.network.setFaults(FROM, TO, { ...NO_FAULTS, lossPercent: 100 });
}

/** Clients whose requests b1 has answered, or is about to, while nobody hears what it says of them. */
function handOver(scene: Scene): Visitor[] {
  const visitors = Array.from({ length: CLIENTS }, (_, at) => scene.connect(at % 2 === 0 ? 4 : 6));
  silence(scene);
  for (const visitor of visitors) visitor.say(request("b1.example") + END);
  scene.until("every blob at b1", () => scene.infused.length === CLIENTS);
  return visitors;
}

/** I1: once b1 has spoken to a client, the forwarder's stack says nothing; only resets and probes come. */
function expectOneOwner(scene: Scene): void {
  for (let client = 1; client <= CLIENTS; client++) {
    const first = scene.packets("b1", `client${client}`)[0];
    assert.ok(first, "b1 ran");
    const later = scene.packets(LB, `client${client}`).filter(({ seen }) => {
      return seen.atUs >= (first?.seen.atUs ?? 0);
    });
    for (const { flags, payload } of later) {
      assert.is(payload.length, 0);
      assert.ok((flags & RST) !== 0 || flags === ACK_ONLY, `flags ${flags}`);
    }
  }
}
const ACK_ONLY = 0x10;

function countersOf(scene: Scene) {
  const { judge, migrator, counters } = scene.lb.role;
  return { judge: { ...judge.counters }, migrator: { ...migrator.counters }, own: { ...counters } };
}

unknown("the client is reset, the target forgets, and the connection has no owner left", () => {
  const scene = new Scene();
  const visitors = handOver(scene);
  scene.pass(SECOND);
  for (const { received } of visitors) assert.match(received, /^b1 read/, "b1 owned it");
  const held = scene.backend().role.connections;
  assert.is(held, CLIENTS);
  scene.until("resets", () => visitors.every(({ finished }) => finished !== ""));
  assert.equal([...new Set(visitors.map(({ finished }) => finished))], ["reset"]);
  assert.ok(scene.nowUs > 4 * SECOND, "T_MOVE and T_RESOLVE passed");
  // The way back heals before b1 is silent for so long that it counts as dead.
  scene.cluster.network.clearFaults(FROM, TO);
  scene.pass(10 * SECOND);
  const { judge, migrator, own } = countersOf(scene);
  const text = JSON.stringify({ judge, migrator, own });
  assert.is(judge["verdict-aborted"], CLIENTS, text);
  assert.is(judge["verdict-done"], undefined, text);
  assert.is(judge["nodes-dead"], undefined, text);
  assert.is(migrator["verdict-aborted"], CLIENTS, text);
  assert.equal([own.handedOff, own.lost], [0, CLIENTS], text);
  const b1 = scene.backend();
  assert.is(b1.role.migrator.counters["forgotten"], CLIENTS);
  assert.is(b1.role.connections, 0);
  for (const { tuple, mapping } of scene.infused) {
    assert.is(scene.lb.role.judge.stateOf(tuple), "none", "no tombstone is left");
    assert.is(b1.core.recordGet(1, mapping.flow), "closed", "R6: it was active");
  }
  assert.is(scene.infused.length, CLIENTS, "no blob was infused twice");
  expectOneOwner(scene);
  for (const { violations } of visitors) assert.equal(violations, []);
  assert.ok(scene.visit("b1.example").received.startsWith("b1 read"), "the service goes on");
});

unknown("a target that never hears again gives its connections up by itself", () => {
  const scene = new Scene();
  const visitors = handOver(scene);
  // Now nothing reaches b1 either: no FORGET, no DEAD.
  scene.cluster.network.setFaults(TO, FROM, { ...NO_FAULTS, lossPercent: 100 });
  const { role } = scene.backend();
  scene.pass(8 * SECOND);
  assert.equal([...new Set(visitors.map(({ finished }) => finished))], ["reset"]);
  for (const { tuple } of scene.infused) {
    assert.is(scene.lb.role.judge.stateOf(tuple), "tomb", "until T_TOMB its 4-tuple is nobody's");
  }
  scene.until("the end of its lease", () => role.isOver);
  assert.equal([scene.nowUs > 30 * SECOND, scene.nowUs < 35 * SECOND], [true, true]);
  scene.backend().crash(); // Its daemon begins a new life here.
  scene.pass(40 * SECOND);
  for (const { tuple } of scene.infused) {
    assert.is(scene.lb.role.judge.stateOf(tuple), "none", "T_TOMB is over");
  }
  expectOneOwner(scene);
});

unknown.run();
