/**
 * Acceptance: a library application gives its connections to another backend in the middle of a download and
 * of an upload, ten times each. Every byte arrives, in order and once, and nothing is reset.
 */
import { createHash } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { patternChunks, patternSha256 } from "../../host/lab/pattern.ts";
import { IS_FULL, MIB } from "../support/labservice.ts";
import { ask, withMovers, type Movers } from "../support/labmovers.ts";

const moving = suite("moving in the lab");

const BYTES = IS_FULL ? 1024 * MIB : 24 * MIB;
const MOVES = 10;

function expectMoves(said: Movers, count: number): void {
  const outcomes = said.moved.map(({ outcome }) => outcome);
  assert.equal(outcomes, Array<string>(count).fill("moved"));
}

/** SHA-256 of a part of the pattern. */
function partSha256(from: number, to: number): string {
  const hash = createHash("sha256");
  let at = 0;
  for (const chunk of patternChunks(to)) {
    hash.update(chunk.subarray(Math.max(0, Math.min(chunk.length, from - at))));
    at += chunk.length;
  }
  return hash.digest("hex");
}

moving(`${MOVES} moves in the middle of a download of ${BYTES / MIB} MiB`, async () => {
  await withMovers("moving download", async (lab, said) => {
    for (const family of [4, 6] as const) {
      if (family === 6 && IS_FULL) continue; // The size is the point there.
      said.moved.length = 0;
      const path = `/bytes/${BYTES}/moves/${MOVES}`;
      const { answers, error } = await ask(lab, family, { host: "a.example", path });
      assert.is(error, undefined);
      const [answer] = answers;
      assert.equal([answer?.status, answer?.bytes], [200, BYTES]);
      assert.is(answer?.sha256, patternSha256(BYTES));
      expectMoves(said, MOVES);
    }
  });
});

moving(`${MOVES} moves in the middle of an upload of ${BYTES / MIB} MiB`, async () => {
  await withMovers("moving upload", async (lab, said) => {
    const one = { host: "a.example", path: `/moves/${MOVES}`, upload: BYTES };
    const { answers, error } = await ask(lab, 4, one);
    assert.is(error, undefined);
    assert.is(answers[0]?.status, 200);
    expectMoves(said, MOVES);
    const parts = [...said.parts].sort((a, b) => a.from - b.from).filter(({ to }) => to > 0);
    assert.is(parts.length, MOVES + 1);
    let at = 0;
    for (const { from, to, sha256 } of parts) {
      assert.is(from, at, "each part begins where the last one ended");
      assert.is(sha256, partSha256(from, to), `bytes ${from} to ${to}`);
      at = to;
    }
    assert.is(at, BYTES);
  });
});

moving.run();
