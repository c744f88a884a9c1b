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

idle.run();
