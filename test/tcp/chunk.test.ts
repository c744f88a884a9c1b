/** The pool of chunks against a plain list of what is free: the lowest is always the next. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { initCore } from "../support/batch.ts";
import { onBothBuilds } from "../support/core.ts";

const chunk = suite("chunk");

const CHUNK_BYTES = 4096;
/** More than one word of the second level has bits for. */
const COUNT = 4096 + 200;

onBothBuilds(chunk, (test) => {
  test("the lowest free chunk is the next one, and none is given twice", (core) => {
    assert.is(initCore(core, { bufferBytes: COUNT * CHUNK_BYTES }), 0);
    const { chunkTake, chunkGive, chunksUsed, chunksFree } = core.f;
    const count = chunksFree!();
    const take = (): number => chunkTake!();
    for (let index = 1; index <= count; index++) assert.is(take(), index);
    assert.is(take(), 0, "the pool is empty");
    assert.is(chunksFree!(), 0);
    const near = [0, 1, 62, 63, 64, 65, 127, 128, 4095, 4096, 4097, 4160, count - 1];
    const index = fc.oneof(fc.constantFrom(...near), fc.nat(count - 1)).map((at) => at + 1);
    const step = fc.oneof(fc.record({ give: index }), fc.constant("take"));
    const free = new Set<number>();
    const takeLowest = (): void => {
      const lowest = free.size === 0 ? 0 : Math.min(...free);
      assert.is(take(), lowest);
      free.delete(lowest);
    };
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        for (const each of steps) {
          if (each === "take") takeLowest();
          else if (!free.has((each as { give: number }).give)) {
            chunkGive!((each as { give: number }).give);
            free.add((each as { give: number }).give);
          }
          assert.is(chunksUsed!(), count - free.size);
        }
      }),
      { numRuns: 50 },
    );
    while (free.size > 0) takeLowest();
    assert.is(take(), 0);
  });

  test("all of a large pool comes back, in order", (core) => {
    assert.is(initCore(core, { bufferBytes: COUNT * CHUNK_BYTES }), 0);
    const { chunkTake, chunkGive, chunksUsed, chunkAt } = core.f;
    for (let index = 1; index <= COUNT; index++) chunkTake!();
    for (let index = COUNT; index > 0; index -= 2) chunkGive!(index);
    for (let index = COUNT - 1; index > 0; index -= 2) chunkGive!(index);
    assert.is(chunksUsed!(), 0);
    for (let index = 1; index <= COUNT; index++) assert.is(chunkTake!(), index);
    assert.is(chunkAt!(COUNT) - chunkAt!(1), (COUNT - 1) * CHUNK_BYTES, "they lie side by side");
  });

  test("a chunk that is free, and one that never was taken, cannot be given back", (core) => {
    assert.is(initCore(core, { bufferBytes: 64 * CHUNK_BYTES }), 0);
    const { chunkTake, chunkGive } = core.f;
    const first = chunkTake!();
    chunkGive!(first);
    assert.throws(() => chunkGive!(first));
  });
});

chunk.run();
