/**
 * A client that uses its port again while its last connection is in TIME-WAIT at a backend, with real nodes in virtual
 * time: the end of the old one is told twice, by HANDBACK and by RELEASE, and the second time changes nothing
 * (PROTOCOL R10, R18, R19).
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { END, request, Scene, type Visitor } from "../claims/scene.ts";

const reuse = suite("reuse");

const TURNS = 5;

/** Asks, is answered, and the server closes first: TIME-WAIT is the backend's. */
function visit(scene: Scene, visitor: Visitor): void {
  visitor.say(request("b1.example") + END);
  scene.until("an answer", () => visitor.received !== "");
  scene.served.at(-1)?.connection.shutdown();
  scene.until("an end", () => visitor.finished !== "");
  assert.equal([visitor.finished, visitor.violations], ["closed", []]);
}

for (const family of [4, 6] as const) {
  reuse(
    `tells a connection's end twice, and the second time is known as that (IPv${family})`,
    () => {
      const scene = new Scene();
      const { judge } = scene.lb.role;
      for (let turn = 0; turn < TURNS; turn++) {
        visit(scene, scene.connect(family, 1));
        scene.pass(1_000_000);
      }
      assert.is(scene.served.length, TURNS);
      const flows = scene.infused.map(({ mapping }) => mapping.flow);
      assert.is(new Set(flows).size, TURNS, "a fresh identifier each time");
      const { counters } = judge;
      const seen = ["handback-again", "release-again", "unmatched-release"].map((name) => {
        return counters[name] ?? 0;
      });
      assert.equal(seen, [TURNS - 1, TURNS - 1, 0], JSON.stringify(counters));
      assert.is(counters["released"], TURNS - 1, "by HANDBACK, whose record comes first");
      const last = scene.infused.at(-1)?.tuple;
      assert.ok(last && judge.stateOf(last) === "owned");
      scene.pass(120_000_000);
      assert.is(judge.stateOf(last), "none");
      assert.is(counters["released"], TURNS);
    },
  );
}

reuse.run();
