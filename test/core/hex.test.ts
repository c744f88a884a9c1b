/** Hexadecimal text and tuple keys, against the obvious way. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { hexBytes, hexText } from "../../host/core/hex.ts";
import { tupleKey, type Tuple } from "../../host/core/tuple.ts";

const hex = suite("hex");

hex("is what Buffer makes of it, both ways, known or not", () => {
  const bytes = fc.uint8Array({ maxLength: 40 });
  fc.assert(
    fc.property(bytes, fc.nat(8), fc.nat(8), (data, before, after) => {
      const text = Buffer.from(data).toString("hex");
      const around = Uint8Array.of(...new Uint8Array(before), ...data, ...new Uint8Array(after));
      assert.is(hexText(around, before, data.length), text);
      assert.equal(hexBytes(text), data);
      assert.equal(hexBytes(text), data);
    }),
  );
});

hex("keeps no more texts than it says, and forgets none that is in use", () => {
  const texts = Array.from({ length: 3_000 }, (_, index) => index.toString(16).padStart(16, "0"));
  const first = hexBytes("00ff");
  for (const text of texts) assert.is(Buffer.from(hexBytes(text)).toString("hex"), text);
  assert.equal(hexBytes("00ff"), first);
});

hex("tells names apart that begin alike, whichever was read before", () => {
  const names = fc.array(fc.uint8Array({ minLength: 4, maxLength: 8, max: 1 }), { maxLength: 40 });
  fc.assert(
    fc.property(names, (all) => {
      for (const name of all) {
        assert.is(hexText(name, 0, name.length), Buffer.from(name).toString("hex"));
      }
    }),
  );
});

hex("gives two tuples one key only when they are the same", () => {
  const end = (family: 4 | 6): fc.Arbitrary<Uint8Array> =>
    fc.uint8Array({ minLength: family === 4 ? 4 : 16, maxLength: family === 4 ? 4 : 16, max: 2 });
  const port = fc.nat(3);
  const tuples = fc.constantFrom<4 | 6>(4, 6).chain((family): fc.Arbitrary<Tuple> =>
    fc.record({
      family: fc.constant(family),
      ...{ remote: end(family), local: end(family), remotePort: port, localPort: port },
    }),
  );
  const plain = ({ remote, local, remotePort, localPort }: Tuple): string =>
    [remote.join(), local.join(), remotePort, localPort].join(" ");
  fc.assert(
    fc.property(tuples, tuples, (one, other) => {
      assert.is(tupleKey(one) === tupleKey(other), plain(one) === plain(other));
      assert.is(tupleKey({ ...one, remote: one.remote.slice() }), tupleKey(one));
    }),
  );
});

hex.run();
