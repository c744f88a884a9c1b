/**
 * Any bytes as a blob: refused with a code and nothing left behind, or a connection that satisfies the
 * invariants and lives. Never a trap. The sums are made right again after each change, or they would hide
 * every check behind them.
 */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BUILDS } from "../support/core.ts";
import type { BuildName, TestCore } from "../support/core.ts";
import { End, Pair, pattern } from "../tcp/pair.ts";
import { FLOW, compile, freeze, infuse, moveB, setMapping } from "./mover.ts";

const hostile = suite("hostile blob");

/** Blobs of connections in different states, with data in every queue. */
function samples(build: BuildName): Uint8Array[] {
  const blobs: Uint8Array[] = [];
  for (const close of ["none", "client", "server", "both"]) {
    const pair = new Pair({ build });
    const { a, b } = pair.open();
    let count = 0;
    pair.wire.pass = (packet, from) => from === "b" || packet.payload.length === 0 || ++count !== 2;
    pair.a.write(a, pattern(5_000), pair.now);
    pair.b.write(b, pattern(3_000), pair.now);
    pair.run(1_500);
    if (close !== "server" && close !== "none") pair.a.shutdown(a, pair.now);
    if (close !== "client" && close !== "none") pair.b.shutdown(b, pair.now);
    pair.run(1_500);
    pair.b.write(b, pattern(close === "none" ? 30_000 : 0), pair.now);
    freeze(pair.b.core, b);
    setMapping(pair.b.core, 1, pattern(10));
    blobs.push(compile(pair.b.core, b, pair.now + pair.b.startUs));
  }
  return blobs;
}

/** Writes a blob with its lengths and sums made right. */
function reseal(core: TestCore, blob: Uint8Array, length = blob.length): void {
  core.write(core.f.blobPtr!(), blob);
  if (blob.length >= 352 + 96 && blob.length % 8 === 0) core.f.blobSeal!(core.f.blobPtr!(), length);
}

/** The sum of docs/blob.md over the fixed part, its own field as 0. */
function headerSum(blob: Uint8Array): bigint {
  const view = new DataView(blob.buffer);
  let sum = 0xcbf29ce484222325n;
  for (let at = 0; at < 352; at += 8) {
    const word = at === 16 ? 0n : view.getBigUint64(at, true);
    sum = ((sum ^ word) * 0x100000001b3n) & 0xffff_ffff_ffff_ffffn;
  }
  return sum;
}

function use(end: End): { chunks: number; connections: number } {
  return { chunks: end.core.f.chunksUsed!(), connections: end.core.f.tcbCount!() };
}

/** Whatever was infused runs, answers, and compiles to something that is taken again. */
function exercise(end: End, handle: number): void {
  const { core } = end;
  let nowUs = end.startUs;
  for (let turn = 0; turn < 12; turn++) {
    for (let polls = 0; polls < 50 && core.f.pollTransmit!(nowUs) > 0; polls++);
    end.pollEvents();
    nowUs = Math.min(Math.max(nowUs, core.f.nextTimeoutUs!()), nowUs + 5_000_000);
    core.f.handleTimeout!(nowUs);
  }
  end.pollEvents();
  const state = end.state(handle);
  if (state.startsWith("error") || ["CLOSED", "TIME_WAIT"].includes(state)) return;
  freeze(core, handle);
  setMapping(core);
  const blob = compile(core, handle, nowUs);
  const other = new End(core.name, "b", {});
  assert.ok(infuse(other.core, blob, other.startUs) > 0, "what runs can move on");
}

for (const build of BUILDS) {
  const blobs = samples(build);

  hostile(`samples are taken as they are (${build})`, () => {
    for (const blob of blobs) {
      const end = new End(build, "b", {});
      const handle = infuse(end.core, blob, end.startUs);
      assert.ok(handle > 0, `infuse returned ${handle}`);
      exercise(end, handle);
    }
  });

  hostile(`changed bytes refuse with a code or make a connection that lives (${build})`, () => {
    const change = fc.tuple(
      fc.nat(),
      fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0, 1, 127, 128, 255)),
    );
    let taken = 0;
    let refused = 0;
    const end = new End(build, "b", {});
    fc.assert(
      fc.property(
        fc.constantFrom(...blobs),
        fc.boolean(),
        fc.array(change, { minLength: 1, maxLength: 3 }),
        (sample, inHeader, changes) => {
          const blob = Uint8Array.from(sample);
          // The fixed part has the meaning: half of the changes go there.
          for (const [at, value] of changes) {
            blob[inHeader ? 32 + (at % 320) : at % blob.length] = value;
          }
          const before = use(end);
          reseal(end.core, blob);
          const handle = end.core.f.infuse!(blob.length, 0, end.startUs);
          if (handle <= 0) {
            refused++;
            assert.ok(handle <= -1 && handle >= -40, `code ${handle}`);
            assert.equal(use(end), before, "nothing is left behind");
            return;
          }
          taken++;
          const fresh = new End(build, "b", {});
          reseal(fresh.core, blob);
          exercise(fresh, fresh.core.f.infuse!(blob.length, 0, fresh.startUs));
          end.core.f.freeze!(handle);
          end.core.f.discard!(handle);
          end.pollEvents();
          assert.equal(use(end), before, "a discarded connection leaves nothing");
        },
      ),
      { numRuns: build === "release" ? 600 : 150 },
    );
    assert.ok(taken > 10 && refused > 10, `${taken} taken, ${refused} refused`);
  });

  hostile(`extreme values of each word of the fixed part never trap (${build})`, () => {
    const end = new End(build, "b", {});
    const extremes = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 1 << 24, 353];
    for (const sample of blobs.slice(0, 2)) {
      for (let at = 32; at < 352; at += 4) {
        for (const value of extremes) {
          const blob = Uint8Array.from(sample);
          new DataView(blob.buffer).setUint32(at, value, true);
          reseal(end.core, blob);
          const before = use(end);
          const handle = end.core.f.infuse!(blob.length, 0, end.startUs);
          if (handle > 0) {
            end.core.f.handleTimeout!(end.startUs);
            end.core.f.pollTransmit!(end.startUs);
            end.core.f.freeze!(handle);
            end.core.f.discard!(handle);
            end.pollEvents();
          }
          assert.equal(use(end), before, `word ${at} = ${value}`);
        }
      }
    }
  });

  hostile(
    `any change without new sums is seen: every bit of the header, some of the body (${build})`,
    () => {
      const end = new End(build, "b", {});
      const [sample = new Uint8Array(0)] = blobs;
      for (let bit = 0; bit < 352 * 8; bit++) {
        const blob = Uint8Array.from(sample);
        blob[bit >> 3] = (blob[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        assert.ok(infuse(end.core, blob, end.startUs) < 0, `bit ${bit}`);
      }
      for (let at = 352; at < sample.length; at += 97) {
        const blob = Uint8Array.from(sample);
        blob[at] = (blob[at] ?? 0) ^ 0x10;
        assert.is(infuse(end.core, blob, end.startUs), end.core.constant("Err.BLOB_CHECKSUM"));
      }
    },
  );

  hostile(`truncated and lengthened blobs are malformed (${build})`, () => {
    const end = new End(build, "b", {});
    const [sample = new Uint8Array(0)] = blobs;
    const malformed = end.core.constant("Err.BLOB_MALFORMED");
    for (let length = 0; length < sample.length; length += 41) {
      assert.is(infuse(end.core, sample.subarray(0, length), end.startUs), malformed);
    }
    assert.is(infuse(end.core, Uint8Array.of(...sample, 0), end.startUs), malformed);
    assert.is(infuse(end.core, new Uint8Array(2000).fill(255), end.startUs), malformed);
  });

  hostile(`refuses another version, and a second copy of a connection (${build})`, () => {
    const end = new End(build, "b", {});
    const [sample = new Uint8Array(0)] = blobs;
    const other = Uint8Array.from(sample);
    for (const version of [0, end.core.constant("BLOB_VERSION") + 1]) {
      other[4] = version;
      assert.is(infuse(end.core, other, end.startUs), end.core.constant("Err.BLOB_VERSION"));
    }
    const handle = infuse(end.core, sample, end.startUs);
    assert.ok(handle > 0);
    assert.is(infuse(end.core, sample, end.startUs), end.core.constant("Err.BLOB_DUPLICATE"));
    assert.is(end.state(handle), "ESTABLISHED");
  });

  hostile(`refuses flags of version 2 in version 1, and marks where ECN is off (${build})`, () => {
    const end = new End(build, "b", {});
    const [sample = new Uint8Array(0)] = blobs;
    const broken = end.core.constant("Err.BLOB_INVARIANT");
    for (const [flags, isTaken] of [
      [0x08, true],
      [0x2008, false],
      [0x2000, false],
      [0x4000, false],
      [0x8000, false],
      [0x1_0008, false],
    ] as const) {
      const blob = Uint8Array.from(sample);
      const view = new DataView(blob.buffer);
      view.setUint32(124, view.getUint32(124, true) | flags, true);
      reseal(end.core, blob);
      // Sealing writes the version that the flags need: only the first of these is 1 by right.
      const sealed = end.core.read(end.core.f.blobPtr!(), blob.length);
      if (flags === 0x2008) {
        assert.is(sealed[4], 2);
        sealed[4] = 1;
        new DataView(sealed.buffer).setBigUint64(16, headerSum(sealed), true);
      }
      const handle = infuse(end.core, sealed, end.startUs);
      if (!isTaken) assert.is(handle, broken, `flags ${flags.toString(16)}`);
      else assert.ok(handle > 0);
      if (handle > 0) {
        freeze(end.core, handle);
        end.core.f.discard!(handle);
      }
    }
  });

  hostile(`refuses what does not fit, and leaves the pools as they were (${build})`, () => {
    const end = new End(build, "b", { bufferBytes: 64 << 10 });
    const [sample = new Uint8Array(0)] = blobs;
    const before = use(end);
    assert.is(infuse(end.core, sample, end.startUs), end.core.constant("Err.FULL"));
    assert.equal(use(end), before);
    const small = new End(build, "b", { blobBytes: 1024 });
    assert.is(small.core.f.infuse!(1025, 0, 1), small.core.constant("Err.ARGUMENT"));
  });

  hostile(`a taken blob makes its flow active and knows its owner (${build})`, () => {
    const end = new End(build, "b", {});
    const [sample = new Uint8Array(0)] = blobs;
    assert.is(end.core.f.recordGet!(3, FLOW), end.core.constant("RecordState.NONE"));
    const handle = infuse(end.core, sample, end.startUs, 3);
    assert.ok(handle > 0);
    assert.is(end.core.f.recordGet!(3, FLOW), end.core.constant("RecordState.ACTIVE"));
    assert.equal([end.info(handle, "OWNER_PEER"), end.info(handle, "OWNER_FLOW")], [3, FLOW]);
    end.core.f.discard!(handle);
    // I4: the identifier is held, so no second blob lands on it.
    assert.is(infuse(end.core, sample, end.startUs, 3), end.core.constant("Err.EXISTS"));
  });

  hostile(`only a frozen connection is compiled, and only into what holds it (${build})`, () => {
    const pair = new Pair({ build, b: { blobBytes: 2048 } });
    const { b } = pair.open();
    const { core } = pair.b;
    setMapping(core);
    const nowUs = pair.now + pair.b.startUs;
    assert.is(core.f.compile!(b, nowUs), core.constant("Err.TCP_STATE"));
    assert.is(core.f.compile!(b + 1, nowUs), core.constant("Err.HANDLE"));
    pair.b.write(b, pattern(4000), pair.now);
    freeze(core, b);
    assert.is(core.f.compile!(b, nowUs), core.constant("Err.FULL"));
    setMapping(core, 0);
    core.f.thaw!(b, nowUs);
    pair.run(10_000);
    freeze(core, b);
    assert.is(core.f.compile!(b, nowUs + 10_000), core.constant("Err.BLOB_INVARIANT"));
    assert.throws(() => moveB(pair, b), /FROZEN|freeze returned/);
  });
}

hostile.run();
