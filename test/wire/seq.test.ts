import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { onBothBuilds, u32 } from "../support/core.ts";

const seq = suite("wire/seq");
const number32 = fc.integer({ min: 0, max: 0xffffffff });
const length = fc.integer({ min: 0, max: 0x7fffffff });

onBothBuilds(seq, (test) => {
  test("orders numbers less than half the space apart, across the wrap", ({ f }) => {
    fc.assert(
      fc.property(number32, fc.integer({ min: 1, max: 0x7fffffff }), (a, distance) => {
        const b = (a + distance) % 2 ** 32;
        assert.is(f.seqLt!(a, b), 1);
        assert.is(f.seqLe!(a, b), 1);
        assert.is(f.seqGt!(a, b), 0);
        assert.is(f.seqGe!(a, b), 0);
        assert.is(f.seqLt!(b, a), 0);
        assert.is(f.seqGt!(b, a), 1);
        assert.is(u32(f.seqMax!(a, b)), b);
        assert.is(u32(f.seqMin!(a, b)), a);
        assert.is(f.seqDiff!(b, a), distance);
        assert.is(f.seqDiff!(a, b), -distance);
      }),
    );
  });

  test("calls equal numbers neither less nor greater", ({ f }) => {
    for (const a of [0, 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
      assert.is(f.seqLt!(a, a), 0);
      assert.is(f.seqGt!(a, a), 0);
      assert.is(f.seqLe!(a, a), 1);
      assert.is(f.seqGe!(a, a), 1);
    }
  });

  test("tells membership of ranges as big integers do", ({ f }) => {
    fc.assert(
      fc.property(number32, length, fc.integer({ min: -2, max: 2 }), (start, len, near) => {
        const end = (start + len) % 2 ** 32;
        const probes = [start + near, end + near, start + Math.floor(len / 2)];
        for (const probe of probes.map((p) => ((p % 2 ** 32) + 2 ** 32) % 2 ** 32)) {
          const offset = (probe - start + 2 ** 32) % 2 ** 32;
          assert.is(f.seqIn!(probe, start, len), offset < len ? 1 : 0);
          assert.is(f.seqBetween!(probe, start, end), offset <= len ? 1 : 0);
          assert.is(f.seqInAfter!(probe, start, end), offset > 0 && offset <= len ? 1 : 0);
        }
      }),
    );
  });
});

seq.run();
