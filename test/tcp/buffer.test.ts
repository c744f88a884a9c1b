/** Byte queues against a plain model: any writes, reads and discards, also across the wrap of positions. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { initCore } from "../support/batch.ts";
import { onBothBuilds, u32 } from "../support/core.ts";
import { pattern } from "./pair.ts";

const buffer = suite("buffer");

/** No bound on what a queue may hold. */
const ANY = 0xffffffff;

const step = fc.oneof(
  fc.record({
    kind: fc.constant("write"),
    at: fc.nat(90_000),
    len: fc.integer({ min: 1, max: 20_000 }),
  }),
  fc.record({ kind: fc.constant("discard"), at: fc.nat(30_000), len: fc.constant(0) }),
  fc.record({ kind: fc.constant("trim"), at: fc.nat(90_000), len: fc.constant(0) }),
  fc.record({ kind: fc.constant("clear"), at: fc.nat(10), len: fc.constant(0) }),
);

onBothBuilds(buffer, (test) => {
  test("a queue keeps what was written and gives every chunk back", (core) => {
    assert.is(initCore(core, { bufferBytes: 64 * 4096 }), 0);
    const queue = core.scratch(65536);
    const data = queue + 1024;
    const start = fc.constantFrom(0, 4095, 5_000_000, 2 ** 32 - 10_000, 2 ** 32 - 4096 * 1024 - 77);
    fc.assert(
      fc.property(start, fc.array(step, { maxLength: 30 }), (start, steps) => {
        core.f.queueInit!(queue, start);
        const before = core.f.chunksUsed!();
        const model = new Map<number, number>();
        let head = 0;
        const position = (offset: number) => (start + offset) >>> 0;
        const forget = (keep: (offset: number) => boolean) => {
          for (const offset of [...model.keys()]) if (!keep(offset)) model.delete(offset);
        };
        for (const { kind, at, len } of steps) {
          if (kind === "write") {
            // What lies at a position never changes, as in a stream.
            core.write(data, pattern(len, head + at));
            const wrote = core.f.queueWrite!(queue, position(head + at), data, len, ANY);
            for (let i = 0; i < wrote; i += 97) model.set(head + at + i, core.bytes[data + i]!);
            assert.ok(wrote <= len);
          } else if (kind === "discard") {
            head += at;
            core.f.queueDiscard!(queue, position(head));
            forget((offset) => offset >= head);
          } else if (kind === "trim") {
            core.f.queueTrim!(queue, position(head + at));
            forget((offset) => offset < head + at);
          } else {
            core.f.queueClear!(queue, position(head + at));
            head += at;
            model.clear();
            assert.is(core.f.chunksUsed!(), before);
          }
          for (const [offset, value] of model) {
            const ptr = core.f.queueAt!(queue, position(offset));
            assert.ok(ptr !== 0, "a written byte has a chunk");
            assert.is(core.bytes[u32(ptr)], value);
          }
        }
        core.f.queueClear!(queue, position(head));
        assert.is(core.f.chunksUsed!(), before);
      }),
      { numRuns: 150 },
    );
  });

  test("what is written in one go lies in few pieces, also in chunks used before", (core) => {
    assert.is(initCore(core, { bufferBytes: 64 * 4096 }), 0);
    const queue = core.scratch(200_000);
    const data = queue + 1024;
    core.write(data, pattern(120_000, 1));
    for (const [start, len] of [
      [77, 100_000],
      [2 ** 32 - 50_000, 120_000],
      [5, 20_000],
    ] as const) {
      core.f.queueInit!(queue, start);
      for (let round = 0, at = start; round < 20; round += 1, at = (at + len) >>> 0) {
        assert.is(core.f.queueWrite!(queue, at, data, len, ANY), len);
        let spans = 0;
        for (let done = 0, span = 0; done < len; done += span, spans += 1) {
          span = core.f.queueTogether!(queue, (at + done) >>> 0, len - done);
          const ptr = u32(core.f.queueAt!(queue, (at + done) >>> 0));
          assert.equal(
            core.bytes.slice(ptr, ptr + span),
            core.bytes.slice(data + done, data + done + span),
          );
        }
        // An index chunk comes out of the middle of a run, and goes back on top of all.
        assert.ok(spans <= 10, `${spans} spans in round ${round} from ${start}`);
        core.f.queueClear!(queue, (at + len) >>> 0);
        assert.is(core.f.chunksUsed!(), 0);
      }
    }
  });

  test("a span ends where the next chunk lies elsewhere", (core) => {
    assert.is(initCore(core, { bufferBytes: 64 * 4096 }), 0);
    const one = core.scratch(65536);
    const other = one + 1024;
    core.f.queueInit!(one, 0);
    core.f.queueInit!(other, 0);
    for (let at = 0; at < 4 * 4096; at += 4096) {
      assert.is(core.f.queueWrite!(one, at, one + 8192, 4096, ANY), 4096);
      assert.is(core.f.queueWrite!(other, at, one + 8192, 4096, ANY), 4096);
    }
    assert.is(core.f.queueTogether!(one, 10, 16_000), 4086);
    core.f.queueClear!(one, 0);
    core.f.queueClear!(other, 0);
  });

  test("a queue refuses what is too far ahead, and survives an empty pool", (core) => {
    assert.is(initCore(core, { bufferBytes: 8 * 4096 }), 0);
    const queue = core.scratch(65536);
    core.f.queueInit!(queue, 100);
    assert.is(core.f.queueMake!(queue, 100 + core.constant("QUEUE_BYTES_MAX"), ANY), 0);
    const wrote = core.f.queueWrite!(queue, 100, queue + 4096, 60_000, ANY);
    assert.ok(wrote > 0 && wrote < 60_000);
    assert.is(core.f.chunksFree!(), 0);
    core.f.queueClear!(queue, 0);
    assert.is(core.f.chunksUsed!(), 0);
  });
});

buffer.run();
