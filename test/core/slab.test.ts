/** Pieces of large arrays: nobody's bytes are anybody else's. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Slab } from "../../host/core/slab.ts";

const slabs = suite("room for packets");
const slab = new Slab(1 << 18);

const LENGTHS = [0, 1, 7, 63, 64, 65, 66, 1400, 1500, 9000, 262_143, 262_144, 262_145, 300_000];

slabs("is zero, as long as it was asked for, and nobody else's", () => {
  const given: Uint8Array[] = [];
  for (let round = 0; round < 40; round++) {
    for (const length of LENGTHS) {
      const bytes = slab.room(length);
      assert.is(bytes.length, length);
      assert.ok(bytes.every((byte) => byte === 0));
      bytes.fill(1 + (given.length % 255));
      given.push(bytes);
    }
  }
  for (const [index, bytes] of given.entries()) {
    assert.ok(
      bytes.every((byte) => byte === 1 + (index % 255)),
      `piece ${index}`,
    );
  }
});

slabs("holds copies, which do not change with what they are of", () => {
  const bytes = Uint8Array.from({ length: 3000 }, (_, index) => index & 255);
  for (const [from, to] of [
    [0, 3000],
    [10, 10],
    [10, 74],
    [10, 75],
    [1500, 3000],
  ] as const) {
    const expected = bytes.slice(from, to);
    const made = slab.copy(bytes, from, to);
    assert.equal(made, expected);
    bytes.fill(9, from, to);
    assert.equal(made, expected);
    bytes.set(expected, from);
  }
  assert.equal(slab.copy(bytes), bytes);
});

slabs.run();
