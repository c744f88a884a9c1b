/**
 * Every program that the core's fuzzer keeps, played in this process: no rule is broken, and what comes out is the same
 * in every build. `npm run fuzz:core` looks for more of them; under BATON_FULL=1 a bounded search runs here, the same one each time.
 */
import { spawnSync } from "node:child_process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ROOT } from "../house/source.ts";
import { FUZZ_BUILDS, play, programs } from "./program.ts";

const core = suite("programs of the core's fuzzer");

/** Half a minute of search on an idle core. */
const SEARCHED = "60000";

core("break no rule, and give the same in every build", () => {
  const known = programs();
  assert.ok(known.length > 100, `${known.length} programs`);
  for (const hex of known) {
    const [first, ...others] = FUZZ_BUILDS.map((build) => {
      try {
        return play(build, hex);
      } catch (error) {
        const again = `node build/test/fuzz/replay.js ${hex}`;
        throw new Error(`${build}: ${again}`, { cause: error });
      }
    });
    for (const other of others) assert.is(other, first, hex);
  }
});

core("reach their steps: one that sends and receives gives another digest than none", () => {
  const digests = new Set(programs().map((hex) => play("release", hex)));
  assert.ok(digests.size > 50, `${digests.size} different digests`);
});

if (process.env["BATON_FULL"] === "1") {
  core("are found by a search that coverage guides, and none of those breaks a rule", () => {
    const args = ["tools/fuzzcore.mjs", "--programs", SEARCHED, "--seed", "1"];
    const { status, stdout } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: "utf8" });
    process.stdout.write(stdout);
    assert.is(status, 0, stdout);
  });
}

core.run();
