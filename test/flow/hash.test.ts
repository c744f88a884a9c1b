import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { type TestCore, onBothBuilds, openCore, u32 } from "../support/core.ts";

const hash = suite("flow/hash");
const KEYS = 1 << 16;
const BUCKETS = 1 << 12;

function seed(core: TestCore, byte: number): void {
  const ptr = core.scratch(64);
  core.write(
    ptr,
    Uint8Array.from({ length: 16 }, (_, i) => (i + 1) * byte),
  );
  core.f.hashInit!(ptr);
}

/** Chi-square over buckets by fastrange, in standard deviations from its mean: about 0 for a random function. */
function unevenness(hashOf: (index: number) => number): number {
  const counts = new Uint32Array(BUCKETS);
  for (let i = 0; i < KEYS; i++) counts[Math.floor((u32(hashOf(i)) * BUCKETS) / 2 ** 32)]! += 1;
  const mean = KEYS / BUCKETS;
  const chi = counts.reduce((sum, n) => sum + (n - mean) ** 2 / mean, 0);
  return (chi - (BUCKETS - 1)) / Math.sqrt(2 * (BUCKETS - 1));
}

onBothBuilds(hash, (test, name) => {
  test("spreads what clients really look like: runs of ports, of addresses, of flows", (core) => {
    for (const byte of [1, 37, 201]) {
      seed(core, byte);
      const families: Record<string, (i: number) => number> = {
        "ports of one client": (i) => core.f.hash4!(0x0100a8c0, 0, i),
        "addresses, high byte last": (i) => core.f.hash4!(i << 16, 3, 40000),
        "addresses and ports": (i) => core.f.hash4!(i & 255, 0, i >> 8),
        "flow identifiers": (i) => core.f.hashPair!(0x10001 + i, 1),
        "peers and flows": (i) => core.f.hashPair!(0x10001 + (i >> 4), i & 15),
        "multiples of 4096": (i) => core.f.hash4!(i << 12, 0, 0),
      };
      for (const [what, of] of Object.entries(families)) {
        const score = unevenness(of);
        assert.ok(Math.abs(score) < 8, `${what}: ${score.toFixed(1)} deviations`);
      }
      const six = (i: number) => Number(core.f64.hash6!(BigInt(i) << 48n, 1n, 2n, 3n, 80));
      assert.ok(Math.abs(unevenness(six)) < 8, "IPv6 subnets");
    }
  });

  test("depends on every bit of every word", (core) => {
    seed(core, 11);
    for (let bit = 0; bit < 32; bit++) {
      const one = 1 << bit;
      const base = core.f.hash4!(0x12345678, 0x9abcdef0, 0x55667788);
      assert.is.not(core.f.hash4!(0x12345678 ^ one, 0x9abcdef0, 0x55667788), base);
      assert.is.not(core.f.hash4!(0x12345678, 0x9abcdef0 ^ one, 0x55667788), base);
      assert.is.not(core.f.hash4!(0x12345678, 0x9abcdef0, 0x55667788 ^ one), base);
    }
  });

  test("gives other answers under another secret, and the same under the same", (core) => {
    const other = openCore(name);
    const twin = openCore(name);
    seed(core, 5);
    seed(twin, 5);
    seed(other, 6);
    let equal = 0;
    fc.assert(
      fc.property(fc.integer(), fc.integer(), fc.integer(), (a, b, c) => {
        assert.is(core.f.hash4!(a, b, c), twin.f.hash4!(a, b, c));
        if (core.f.hash4!(a, b, c) === other.f.hash4!(a, b, c)) equal += 1;
      }),
    );
    assert.ok(equal <= 1);
  });

  test("hashes a Tuple as its words", (core) => {
    seed(core, 9);
    const ptr = core.scratch(64);
    core.view.setUint32(ptr, 4, true);
    core.view.setUint16(ptr + 4, 1000, true);
    core.view.setUint16(ptr + 6, 80, true);
    core.view.setUint32(ptr + 8, 0x0a0b0c0d, true);
    core.view.setUint32(ptr + 24, 0x01020304, true);
    const want = core.f.hash4!(0x0a0b0c0d, 0x01020304, (1000 << 16) | 80);
    assert.is(core.f.hashTuple!(ptr), want);
  });
});

hash.run();
