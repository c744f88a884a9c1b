/**
 * Datagrams that nobody honest sent, at the door of real nodes in the middle of their work: forged, replayed,
 * truncated, with flipped bits, of an epoch that is over. Each is dropped and counted, and no state changes:
 * the core's whole memory, and all that the roles count, are the same before and after.
 */
import { createHash } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { udpPlace } from "../../host/sim/node.ts";
import { SeededRandom } from "../../host/sim/random.ts";
import { END, request, Scene, type Seen, type Visitor } from "../claims/scene.ts";

const hostile = suite("hostile datagrams");

const SECOND = 1_000_000;
const PORT = 4433;
const SEED = Number(process.env["BATON_SEED"] ?? 1);
const MUTANTS = 3_000;
/** Every way in which a datagram is counted that is not taken; hellos are answered, and change nothing. */
const DROPS = [
  ...["malformed", "unknownSession", "replayed", "forged", "helloStray", "helloOlder", "hellos"],
] as const;

/** Connections at rest, in the middle of a request, and one whose blob waits for its second half. */
function busy(seed = 1): { scene: Scene; visitors: Visitor[] } {
  const scene = new Scene(["b1", "b2"], seed);
  const visitors = ["b1", "b2"].flatMap((name) =>
    ([4, 6] as const).map((family) => scene.visit(`${name}.example`, "", family)),
  );
  const late = scene.connect();
  late.say(request("b1.example") + "x".repeat(3000));
  scene.pass(SECOND);
  return { scene, visitors: [...visitors, late] };
}

function nodes(scene: Scene) {
  return [scene.lb, ...scene.cluster.backends];
}

/** Datagrams that one of the nodes was sent, in order. */
function datagrams(scene: Scene): Seen[] {
  return scene.seen.filter(({ to }) => to.startsWith(udpPlace("")));
}

/** Everything that a datagram may not change, of all nodes. */
function state(scene: Scene): Record<string, unknown> {
  return Object.fromEntries(
    nodes(scene).map(({ name, core, role, transport }) => {
      const memory = createHash("sha256").update(core.memory).digest("hex");
      const { opened, epochs, messagesIn, chunksIn, unreliableIn } = transport.counters;
      const { reassemblyBytes, messagesDelivered, messagesUnknown } = transport.counters;
      const judge = "judge" in role ? [{ ...role.judge.counters }, role.judge.openCount] : [];
      const roles = { ...role.counters, ...role.migrator.counters };
      const told = { opened, epochs, messagesIn, chunksIn, unreliableIn };
      const kept = { reassemblyBytes, messagesDelivered, messagesUnknown };
      return [name, { memory, judge, roles, ...told, ...kept }];
    }),
  );
}

function dropped(scene: Scene): number {
  const counts = nodes(scene).flatMap(({ transport: { counters } }) =>
    DROPS.map((name) => (counters as Readonly<Record<string, number>>)[name] ?? 0),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Hands each datagram to its node; nothing may come of it, and the nodes go on as before. */
function attack({ scene, visitors }: ReturnType<typeof busy>, attacks: readonly Seen[]): void {
  const [before, droppedBefore] = [state(scene), dropped(scene)];
  for (const { from, to, bytes } of attacks) {
    const node = nodes(scene).find(({ name }) => udpPlace(name) === to);
    node?.transport.handleDatagram({ address: from, port: PORT }, bytes);
  }
  assert.equal(state(scene), before, `seed ${SEED}`);
  assert.is(dropped(scene) - droppedBefore, attacks.length, `each is counted once, seed ${SEED}`);
  for (const visitor of visitors) {
    visitor.received = "";
    visitor.say(END);
    scene.until("an answer", () => visitor.received !== "");
    assert.equal([visitor.finished, visitor.violations], ["", []]);
  }
}

hostile("any bits flipped", () => {
  const busyScene = busy();
  const random = new SeededRandom(SEED);
  const sent = datagrams(busyScene.scene);
  const mutants = Array.from({ length: MUTANTS }, () => {
    const seen = sent[random.below(sent.length)] as Seen;
    const bytes = seen.bytes.slice();
    // Different bits, or two flips of one would undo each other.
    const bits = new Set(
      Array.from({ length: 1 + random.below(4) }, () => random.below(bytes.length * 8)),
    );
    for (const bit of bits) bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    return { ...seen, bytes };
  });
  attack(busyScene, mutants);
});

hostile("cut, stretched, and put together from two", () => {
  const busyScene = busy();
  const random = new SeededRandom(SEED);
  const sent = datagrams(busyScene.scene);
  const pick = (): Seen => sent[random.below(sent.length)] as Seen;
  const mutants = Array.from({ length: MUTANTS }, () => {
    const [one, two] = [pick(), pick()];
    const head = one.bytes.subarray(0, random.below(one.bytes.length));
    const tail = two.bytes.subarray(1 + random.below(two.bytes.length));
    const whole = [...one.bytes, ...random.bytes(1 + random.below(40))];
    const how = random.below(3);
    const bytes = Uint8Array.from(how === 0 ? head : how === 1 ? whole : [...head, ...tail]);
    return { ...one, bytes };
  });
  // What happens to be the same as something real is a replay, and counted as one.
  attack(busyScene, mutants);
});

hostile("replayed, in order and backwards, to the right node and to the others", () => {
  const busyScene = busy();
  const sent = datagrams(busyScene.scene);
  attack(busyScene, [...sent, ...sent.slice().reverse()]);
  const others = sent.flatMap((seen) =>
    ["lb", "b1", "b2"]
      .map(udpPlace)
      .filter((to) => to !== seen.to && to !== seen.from)
      .map((to) => ({ ...seen, to })),
  );
  assert.ok(others.length > 20);
  attack(busyScene, others);
});

hostile("forged by somebody with another key, and random bytes", () => {
  const busyScene = busy();
  const random = new SeededRandom(SEED);
  const theirs = datagrams(busy(2).scene);
  attack(busyScene, theirs);
  const noise = Array.from({ length: MUTANTS }, () => {
    const seen = theirs[random.below(theirs.length)] as Seen;
    const bytes = random.bytes(random.below(1500));
    // Half of them begin as a real one does.
    bytes.set(seen.bytes.subarray(0, Math.min(bytes.length, random.below(48))));
    return { ...seen, bytes };
  });
  attack(busyScene, noise);
});

hostile("of epochs that are over: the receiver's, and the sender's", () => {
  const { scene, visitors } = busy();
  const stale = datagrams(scene).filter(({ from, to }) => [from, to].includes(udpPlace("b1")));
  scene.backend("b1").crash();
  scene.cluster.restart("b1");
  scene.pass(10 * SECOND);
  const left = visitors.filter(({ finished }) => finished === "");
  assert.is(left.length, 2, "b2's go on");
  assert.ok(stale.length > 10);
  attack({ scene, visitors: left }, stale);
  assert.ok(scene.backend("b1").transport.counters.unknownSession > 0);
});

hostile.run();
