/**
 * A peer that holds the key and talks nonsense: random well-formed messages, many with flow identifiers, epochs,
 * 4-tuples and blobs that are real, at any moment of real connections. No role traps or throws, what a connection has
 * to do with other nodes goes on, and afterwards nothing is left. BATON_SEED begins elsewhere.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { TIMERS } from "../../host/node/timers.ts";
import { FORWARDER } from "../../host/sim/cluster.ts";
import { SeededRandom } from "../../host/sim/random.ts";
import { END, request, Scene, type Visitor } from "../claims/scene.ts";
import { Nonsense } from "../support/nonsense.ts";

const nonsense = suite("nonsense of a peer that holds the key");

const SEED = Number(process.env["BATON_SEED"] ?? 1);
const SEEDS = process.env["BATON_FULL"] === "1" ? 12 : 2;
const MESSAGES = 400;
const SECOND = 1_000_000;
/** Longer than every record, tombstone, quarantine and TIME-WAIT. */
const SETTLE = 200 * SECOND;
const BACKENDS = ["b1", "b2", "b3"];

class Madhouse {
  readonly scene: Scene;
  readonly random: SeededRandom;
  readonly nonsense: Nonsense;
  said = 0;
  readonly #heard = new Set<object>();

  constructor(
    seed: number,
    private readonly classifiers: readonly string[],
  ) {
    this.random = new SeededRandom(seed);
    this.nonsense = new Nonsense(this.random.child("nonsense"));
    this.scene = new Scene(BACKENDS, seed, { classifiers });
    // For as long a forwarder believes that there were blobs before it (R21).
    this.scene.pass(TIMERS.recoverUs + TIMERS.recordUs);
    this.listen();
  }

  /** Notes what the nodes say in earnest, those that began anew too. */
  listen(): void {
    for (const name of [FORWARDER, ...BACKENDS, ...this.classifiers]) {
      const { role } = this.scene.cluster.node(name);
      if (this.#heard.has(role)) continue;
      this.#heard.add(role);
      const message = role.message.bind(role);
      role.message = (peer, epoch, bytes) => {
        this.nonsense.hear(bytes);
        message(peer, epoch, bytes);
      };
      Object.assign(role, { nonsense: message });
    }
  }

  /** One message of `from`, as its transport would have proved it. */
  say(from: string, to: string): void {
    const [sender, receiver] = [this.scene.cluster.node(from), this.scene.cluster.node(to)];
    if (!sender.isUp || !receiver.isUp) return;
    const { type, bytes } = this.nonsense.next();
    const { role } = receiver as unknown as { role: { nonsense: typeof receiver.role.message } };
    this.said++;
    try {
      role.nonsense(sender.id, sender.transport.epoch, bytes);
    } catch (error) {
      throw new Error(`${type} of ${from} to ${to}`, { cause: error });
    }
    receiver.wake();
  }

  /** Some things happen, or a little time passes. */
  step(): void {
    for (let count = this.random.below(40); count > 0; count--) this.scene.cluster.scheduler.step();
    if (this.random.chance(5)) this.scene.pass(this.random.below(SECOND));
    for (const failure of this.scene.cluster.failures) throw failure;
  }

  /** A connection that is served moves on to another of these backends. */
  move(among: readonly string[]): void {
    const open = this.scene.served.filter(({ backend }) => among.includes(backend));
    if (open.length === 0) return;
    const { connection, backend } = this.random.pick(open);
    connection.migrate({
      target: among.find((other) => other !== backend),
      ready: () => ({ kind: "ready", state: new Uint8Array(0) }),
      done: () => undefined,
    });
  }

  /** Whoever was declared dead begins anew, as its service manager would see to. */
  restart(): void {
    for (const name of [...BACKENDS, ...this.classifiers]) {
      const node = this.scene.cluster.node(name);
      if (!node.role.isOver) continue;
      node.crash();
      this.scene.cluster.restart(name);
    }
    this.listen();
  }
}

/** It has an answer to what it says now. */
function isServed(scene: Scene, visitor: Visitor): void {
  const before = visitor.received;
  visitor.say(END);
  scene.until(`an answer for ${visitor.port}`, () => visitor.received !== before);
  assert.equal([visitor.finished, visitor.violations], ["", []], `client ${visitor.port}`);
}

function leftovers(scene: Scene): Record<string, number> {
  const { judge, classifier, migrator } = scene.lb.role;
  const found: Record<string, number> = {
    entries: judge.openCount,
    flows: judge.flowsInUse,
    reading: classifier.size,
    moving: migrator.outgoing.size,
    entered: migrator.enteredCount,
  };
  for (const { name, role } of [...scene.cluster.backends, ...scene.cluster.classifiers]) {
    found[`${name} moving`] = role.migrator.outgoing.size;
    found[`${name} entered`] = role.migrator.enteredCount;
  }
  return Object.fromEntries(Object.entries(found).filter(([, count]) => count > 0));
}

/** Each seed by itself: its number stands in what fails. */
function each(check: (seed: number) => void): void {
  for (let seed = SEED; seed < SEED + SEEDS; seed++) {
    try {
      check(seed);
    } catch (error) {
      const { message, cause } = error as Error;
      const why = cause instanceof Error ? `: ${cause.message}` : "";
      throw new Error(`BATON_SEED=${seed}: ${message}${why}`, { cause: error });
    }
  }
}

for (const classifiers of [[], ["c1", "c2"]]) {
  const where = classifiers.length === 0 ? "the forwarder" : "classifiers apart";

  nonsense(`a backend's harms no connection of another backend: ${where} reads requests`, () => {
    each((seed) => {
      const house = new Madhouse(seed, classifiers);
      const { scene, random } = house;
      const others = [scene.visit("b2.example"), scene.visit("b3.example")];
      const own = [scene.visit("b1.example")];
      for (let count = 0; count < MESSAGES; count++) {
        house.say("b1", FORWARDER);
        house.step();
        if (random.chance(3)) house.move(["b2", "b3"]);
        if (random.chance(3)) random.pick([...others, ...own]).say(END);
        if (random.chance(4) && others.length < 12) {
          const visitor = scene.connect();
          visitor.say(request(`${random.pick(["b2", "b3"])}.example`) + END);
          others.push(visitor);
        }
      }
      scene.pass(20 * SECOND);
      house.restart();
      for (const visitor of others) isServed(scene, visitor);
      for (const { tcp } of [...others, ...own]) tcp.abort();
      scene.pass(SETTLE);
      assert.equal(leftovers(scene), {});
      assert.is(scene.lb.role.mail.postbox.malformed, 0);
      assert.ok((scene.lb.role.judge.counters["unexpected-message"] ?? 0) > 0, "it is counted");
    });
  });
}

nonsense("a classifier's harms no connection that a backend has", () => {
  each((seed) => {
    const house = new Madhouse(seed, ["c1", "c2"]);
    const { scene, random } = house;
    const others = ["b1", "b2", "b3", "b2"].map((name) => scene.visit(`${name}.example`));
    for (let count = 0; count < MESSAGES; count++) {
      house.say("c1", FORWARDER);
      house.step();
      if (random.chance(3)) house.move(["b2", "b3"]);
      if (random.chance(3)) random.pick(others).say(END);
    }
    scene.pass(20 * SECOND);
    for (const visitor of others) isServed(scene, visitor);
    for (const { tcp } of others) tcp.abort();
    scene.pass(SETTLE);
    assert.equal(leftovers(scene), {});
  });
});

nonsense("a forwarder's, who is the judge, makes no node trap, and leaves nothing behind", () => {
  each((seed) => {
    const house = new Madhouse(seed, seed % 2 === 0 ? [] : ["c1"]);
    const { scene, random } = house;
    const listeners = [...BACKENDS, ...(seed % 2 === 0 ? [] : ["c1"])];
    const visitors = ["b1", "b2", "b3"].map((name) => scene.visit(`${name}.example`));
    for (let count = 0; count < MESSAGES; count++) {
      house.say(FORWARDER, random.pick(listeners));
      house.step();
      house.restart();
      if (random.chance(3)) house.move(["b1", "b2", "b3"]);
      random.pick(visitors).say(END);
    }
    for (const { tcp } of visitors) tcp.abort();
    scene.pass(SETTLE);
    house.restart();
    scene.pass(10 * SECOND);
    assert.equal(leftovers(scene), {});
    const visitor = scene.visit("b2.example");
    assert.equal([visitor.finished, visitor.violations], ["", []], "it serves as before");
  });
});

nonsense.run();
