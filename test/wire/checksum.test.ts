import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { onBothBuilds, type TestCore } from "../support/core.ts";
import { ACK, buildTcp, internetSum } from "../support/packet.ts";

const checksum = suite("wire/checksum");
const LEN_MAX = 2048;

/** The core's folded sums are in native order: the reference's, byte-swapped. */
const swapped = (n: number) => ((n & 255) << 8) | (n >> 8);

function pattern(len: number, seed: number): Uint8Array {
  let state = seed | 1;
  return Uint8Array.from({ length: len }, () => {
    state = Math.imul(state, 1664525) + 1013904223;
    return state >>> 24;
  });
}

function folded(core: TestCore, ptr: number, len: number): number {
  return core.f64.sumFold!(core.f64.sumBytes!(ptr, len, 0n)) as unknown as number;
}

onBothBuilds(checksum, (test) => {
  test("equals RFC 1071's plain loop at every length 0..2048 and every alignment", (core) => {
    const base = core.scratch(LEN_MAX + 64);
    for (const data of [pattern(LEN_MAX + 8, 7), new Uint8Array(LEN_MAX + 8).fill(0xff)]) {
      core.write(base, data);
      for (let len = 0; len <= LEN_MAX; len++) {
        const shift = len % 8;
        const want = swapped(internetSum(data.subarray(shift, shift + len)));
        if (folded(core, base + shift, len) !== want) assert.unreachable(`length ${len}`);
      }
      for (let shift = 0; shift < 8; shift++) {
        const want = swapped(internetSum(data.subarray(shift, shift + 1460)));
        assert.is(folded(core, base + shift, 1460), want);
      }
    }
  });

  test("copies and sums at every length and alignment, and writes nothing beyond", (core) => {
    const source = core.scratch(2 * 65536);
    const target = source + 65536;
    const data = pattern(LEN_MAX + 8, 99);
    core.write(source, data);
    for (let len = 0; len <= LEN_MAX; len++) {
      const from = len % 7;
      const to = 8 + (len % 5);
      core.bytes.fill(0xa5, target, target + LEN_MAX + 32);
      const sum = core.f64.sumCopy!(target + to, source + from, len, 5n);
      const want = core.f64.sumBytes!(source + from, len, 5n);
      assert.is(core.f64.sumFold!(sum), core.f64.sumFold!(want));
      const got = core.read(target, LEN_MAX + 32);
      const copied = Buffer.from(got.buffer, to, len);
      if (copied.compare(data, from, from + len) !== 0) assert.unreachable(`length ${len}`);
      got.fill(0xa5, to, to + len);
      if (!got.every((byte) => byte === 0xa5)) assert.unreachable(`wrote outside, length ${len}`);
    }
  });

  test("folds sums near every carry", (core) => {
    const model = (n: bigint) => (n === 0n ? 0 : Number(((n - 1n) % 0xffffn) + 1n));
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (n) => {
        assert.is(Number(core.f64.sumFold!(n)), model(n));
      }),
    );
    for (const n of [0n, 1n, 0xffffn, 0x10000n, 0xffffffffn, 2n ** 64n - 1n, 2n ** 48n - 1n]) {
      assert.is(Number(core.f64.sumFold!(n)), model(n));
    }
  });

  test("appends a range that begins at an odd offset", (core) => {
    const base = core.scratch(LEN_MAX);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2, maxLength: 300 }), fc.nat(299), (data, cutAt) => {
        const cut = cutAt % data.length;
        core.write(base, data);
        const head = core.f64.sumBytes!(base, cut, 0n);
        const tail = core.f64.sumBytes!(base + cut, data.length - cut, 0n);
        const sum = core.f64.sumAppend!(head, tail, cut);
        assert.is(Number(core.f64.sumFold!(sum)), folded(core, base, data.length));
      }),
    );
  });

  test("updates a checksum incrementally as a full one would be (RFC 1624)", (core) => {
    const base = core.scratch(LEN_MAX);
    const word = fc.integer({ min: 0, max: 0xffffffff });
    fc.assert(
      fc.property(word, word, fc.uint8Array({ maxLength: 64 }), (before, after, payload) => {
        const fields = {
          source: "10.0.0.1",
          destination: "10.0.0.2",
          sourcePort: 1,
          destinationPort: 2,
          flags: ACK,
          payload,
        };
        core.write(base, buildTcp({ ...fields, seq: before }));
        const seq = core.view.getUint32(base + 24, true);
        core.view.setUint32(base + 24, after);
        const replaced = core.view.getUint32(base + 24, true);
        const removed = core.f64.sumNot32!(seq);
        core.f64.checksumUpdate!(base + 36, removed, BigInt(replaced));
        const want = buildTcp({ ...fields, seq: after });
        assert.equal(core.read(base, want.length), want);
      }),
    );
  });

  test("brings 0xffff back as 0x0000 and every other field value as it was", (core) => {
    const base = core.scratch(16);
    for (let field = 0; field <= 0xffff; field++) {
      core.view.setUint16(base, field);
      const there = core.f64.sumNot32!(0x0100000a);
      const back = core.f64.sumNot32!(0x02fe640a);
      core.f64.checksumUpdate!(base, there, 0x02fe640an);
      core.f64.checksumUpdate!(base, back, 0x0100000an);
      const want = field === 0xffff ? 0 : field;
      if (core.view.getUint16(base) !== want) assert.unreachable(`field ${field}`);
    }
  });

  test("complements 64-bit words in halves", (core) => {
    const half = fc.bigInt({ min: 0n, max: 0xffffffffn });
    fc.assert(
      fc.property(half, half, (high, low) => {
        const word = (high << 32n) | low;
        assert.is(core.f64.sum64!(word), high + low);
        assert.is(core.f64.sumNot64!(word), (high ^ 0xffffffffn) + (low ^ 0xffffffffn));
      }),
    );
  });
});

checksum.run();
