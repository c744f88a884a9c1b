import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { formatAddress, knownAddress, parseAddress } from "../../host/core/address.ts";

const address = suite("address");

address("reads and writes IPv4 and canonical IPv6", () => {
  for (const text of [
    "10.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fd00::100",
    "2001:db8::1:0:0:1",
  ]) {
    const bytes = parseAddress(text);
    assert.ok(bytes, text);
    assert.is(formatAddress(bytes), text);
  }
  assert.is(
    formatAddress(parseAddress("2001:DB8:0:0:1:0:0:1") ?? new Uint8Array()),
    "2001:db8::1:0:0:1",
  );
  assert.equal(parseAddress("::ffff:10.0.0.1")?.slice(10), Uint8Array.of(255, 255, 10, 0, 0, 1));
});

address("refuses everything else", () => {
  const wrong = [
    "",
    "1.2.3",
    "1.2.3.256",
    "01.2.3.4",
    "1.2.3.4.5",
    "fe80::1%eth0",
    ":::",
    "1::2::3",
    "12345::",
  ];
  wrong.push("1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::1.2.3", "g::", "1.2.3.4::");
  for (const text of wrong) assert.is(parseAddress(text), undefined, text);
});

address("is the inverse of itself for all 16-byte addresses", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(0, 0, 1, 255), { minLength: 16, maxLength: 16 }),
      (list) => {
        const bytes = Uint8Array.from(list);
        assert.equal(parseAddress(formatAddress(bytes)), bytes);
      },
    ),
  );
});

address("of few addresses each is one array, whichever come between", () => {
  const size = fc.constantFrom(4, 16);
  const some = size.chain((length) =>
    fc.array(fc.array(fc.constantFrom(0, 1, 255), { minLength: length, maxLength: length }), {
      minLength: 1,
      maxLength: 20,
    }),
  );
  fc.assert(
    fc.property(some, fc.nat(7), (addresses, at) => {
      for (const bytes of addresses) {
        const from = Uint8Array.from([...new Array<number>(at).fill(9), ...bytes, 9]);
        const read = knownAddress(from, at, bytes.length);
        assert.equal([...read], bytes);
        assert.is(knownAddress(from, at, bytes.length), read);
        from.fill(7);
        assert.equal([...read], bytes, "it is no part of what it was read from");
      }
    }),
  );
});

address.run();
