/** The stream survives the wire: any loss, duplication, reordering and segmentation, both directions. */
import fc from "fast-check";
import { suite } from "uvu";
import { BUILDS } from "../support/core.ts";
import { play, script } from "./play.ts";

const stream = suite("stream");

for (const build of BUILDS) {
  stream(`delivers the same bytes over any wire and ends (${build})`, () => {
    fc.assert(
      fc.property(script, (one) => {
        play(build, one);
      }),
      { numRuns: Number(process.env["RUNS"] ?? 40) },
    );
  });
}

stream.run();
