/**
 * Idle connections and lost RELEASEs, with real nodes in virtual time: the forwarder asks the owner, keeps what
 * it has, and frees what it has not (PROTOCOL section 5).
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { TIMERS } from "../../host/node/timers.ts";
import { END, request, Scene } from "../claims/scene.ts";

const idle = suite("idle");

const SECOND = 1_000_000;

idle("keeps idle connections for ever, and frees a mapping whose RELEASE never came", () => {
  const scene = new Scene();
  const { judge } = scene.lb.role;
  const kept = [4, 6].map((family) => scene.visit("b1.example", "", family as 4 | 6));
  const ended = [4, 6].map((family) => scene.visit("b1.example", "", family as 4 | 6));
  const [keptTuples, endedTuples] = [scene.infused.slice(0, 2), scene.infused.slice(2)];
  // The backend forgets to say it, as if its transport had given the message up.
  const { migrator } = scene.backend().role;
  Object.defineProperty(Reflect.get(migrator, "forwarders"), "release", { value: () => undefined });
  for (const visitor of ended) visitor.tcp.end();
  scene.pass(TIMERS.recordUs + 60 * SECOND);
  for (const { finished } of ended) assert.is(finished, "closed");
  for (const { tuple } of endedTuples) assert.is(judge.stateOf(tuple), "owned", "nobody said it");
  scene.pass(2 * TIMERS.idleUs);
  for (const { tuple } of endedTuples) assert.is(judge.stateOf(tuple), "none");
  for (const { tuple } of keptTuples) assert.is(judge.stateOf(tuple), "owned");
  assert.is(judge.counters["answered-gone"], 2);
  for (const visitor of kept) {
    visitor.received = "";
    visitor.say(request("b1.example") + END);
    scene.until("an answer", () => visitor.received !== "");
    assert.equal([visitor.finished, visitor.violations], ["", []]);
  }
});

/** Nobody takes its connection: the classifier has it under an entry without a flow. */
for (const classifiers of [[], ["c1", "c2"]]) {
  const where = classifiers.length > 0 ? "at a classifier apart" : "in the forwarder";

  idle(
    `frees the mapping of a connection without a flow whose RELEASE never came (${where})`,
    () => {
      const scene = new Scene(["b1"], 1, { classifiers, accepts: () => false });
      const { judge } = scene.lb.role;
      for (const { role } of [scene.lb, ...scene.cluster.classifiers]) {
        const forwarders = Reflect.get(role.migrator, "forwarders") as object;
        Object.defineProperty(forwarders, "release", { value: () => undefined });
      }
      const visitors = [4, 6].map((family) => scene.connect(family as 4 | 6));
      for (const visitor of visitors) visitor.say(request("b1.example") + END);
      scene.until("an end", () => visitors.every(({ finished }) => finished !== ""));
      for (const { received } of visitors) assert.match(received, "503 Service Unavailable");
      const left = (): number => {
        let count = 0;
        scene.lb.core.mapEach(() => count++);
        return count;
      };
      scene.pass(TIMERS.recordUs);
      assert.is(left(), 2, "nobody said it");
      scene.pass(2 * TIMERS.idleUs);
      assert.equal([left(), judge.counters["answered-gone"]], [0, 2]);
    },
  );
}

idle.run();
