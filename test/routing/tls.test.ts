import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { TLS_HEAD_MAX } from "../../host/routing/tls.ts";
import {
  alpn,
  counted,
  decidedAfter,
  extension,
  hello,
  newReader,
  nodeHello,
  readInPieces,
  readWhole,
  records,
  serverName,
  vector,
} from "./support.ts";

const tls = suite("ClientHello");

const NAMED = [...serverName("api.example"), ...alpn("h2", "http/1.1")];
/** Key shares of X25519MLKEM768 (0x11ec) and X25519, as browsers send them. */
const KEY_SHARES = extension(
  51,
  vector(2, [
    ...[0x11, 0xec, ...vector(2, new Array<number>(1216).fill(0xab))],
    ...[0x00, 0x1d, ...vector(2, new Array<number>(32).fill(0xcd))],
  ]),
);
const GREASE = [...extension(0x0a0a, []), ...extension(0xfafa, [0])];
const ECH = extension(0xfe0d, new Array<number>(281).fill(1));
const BROWSER = hello([...GREASE, ...ECH, ...NAMED, ...KEY_SHARES, ...extension(21, [0, 0])]);

/** "api.example h2,http/1.1", "alert 50", "close", "other", "more". */
function outcome(bytes: Uint8Array | readonly number[]): string {
  const result = readWhole(Uint8Array.from(bytes));
  if (result.kind === "more") return "more";
  if (result.kind === "head") {
    const { head } = result;
    return head.protocol === "tls" ? `${head.serverName} ${head.alpn.join(",")}` : head.protocol;
  }
  assert.is(result.reset, false);
  if (result.reply.length === 0) return "close";
  assert.equal([...result.reply.subarray(0, 6)], [21, 3, 3, 0, 2, 2]);
  return `alert ${result.reply[6]}`;
}

const whole = (message: readonly number[]): Uint8Array => records(message, 16_384);
const withExtensions = (...extensions: number[][]): Uint8Array => whole(hello(extensions.flat()));

/** Row: what, bytes, outcome. */
const ROWS: readonly (readonly [string, Uint8Array | readonly number[], string])[] = [
  [
    "a browser's hello with GREASE, ECH and a post-quantum key share",
    whole(BROWSER),
    "api.example h2,http/1.1",
  ],
  ["the same in records of 100 bytes", records(BROWSER, 100), "api.example h2,http/1.1"],
  ["the same in records of one byte", records(BROWSER, 1), "api.example h2,http/1.1"],
  ["no extensions at all", whole(hello(undefined)), " "],
  ["an empty extension block", withExtensions(), " "],
  ["upper case and a trailing dot", withExtensions(serverName("API.Example.")), "api.example "],
  ["an unknown name type", withExtensions(extension(0, vector(2, [7, ...vector(2, [1])]))), " "],
  [
    "data behind the hello",
    [...withExtensions(NAMED), 20, 3, 3, 0, 1, 1],
    "api.example h2,http/1.1",
  ],
  ["an incomplete hello", whole(BROWSER).subarray(0, 700), "more"],
  ["an incomplete record header", [22, 3, 1, 0], "more"],
  ["a record version of SSL 2", [22, 2, 0, 0, 5, 1], "other"],

  ["two host names", withExtensions(serverName("a", "b")), "alert 47"],
  ["a repeated extension", withExtensions(extension(10, []), extension(10, [])), "alert 47"],
  ["a name with a NUL", withExtensions(serverName("a\0.example")), "alert 47"],
  ["a name with a blank", withExtensions(serverName("a b")), "alert 47"],
  ["a name of 300 bytes", withExtensions(serverName("a".repeat(300))), "alert 47"],
  ["an empty name", withExtensions(serverName("")), "alert 50"],
  ["an empty name list", withExtensions(extension(0, [0, 0])), "alert 50"],
  ["an empty server_name", withExtensions(extension(0, [])), "alert 50"],
  [
    "bytes behind the name list",
    withExtensions([...extension(0, [0, 4, 0, 0, 1, 97, 9])]),
    "alert 50",
  ],
  ["an empty ALPN list", withExtensions(extension(16, [0, 0])), "alert 50"],
  ["an empty ALPN name", withExtensions(alpn("")), "alert 50"],
  ["a truncated ALPN name", withExtensions(extension(16, vector(2, [9, 1]))), "alert 50"],
  ["a truncated extension", whole(hello([0, 10, 0, 9, 1])), "alert 50"],
  [
    "bytes behind the extensions",
    whole([...[1, ...vector(3, [...hello([]).slice(4), 1])]]),
    "alert 50",
  ],
  ["a message of nothing", whole([1, 0, 0, 0]), "alert 50"],
  ["a message that ends in the random", whole([1, ...vector(3, [3, 3, 1, 2])]), "alert 50"],
  ["an empty record", [22, 3, 1, 0, 0], "alert 50"],
  ["an empty record in the middle", [...records([1], 1), 22, 3, 3, 0, 0], "alert 50"],
  ["a version of 4 in a later record", [...records([1], 1), 22, 4], "alert 50"],
  ["a record above 2^14", [22, 3, 1, 0x40, 0x01], "alert 22"],
  ["another handshake message", whole([2, 0, 0, 1, 0]), "alert 10"],
  ["application data in between", [...records([1], 1), 23], "alert 10"],
  ["an alert in between", [...records([1], 1), 21], "close"],
  ["a length above the limit", whole([1, 1, 0, 0]), "alert 47"],
];

for (const [what, bytes, expected] of ROWS) {
  tls(`reads ${what} as ${JSON.stringify(expected)}`, () => assert.is(outcome(bytes), expected));
}

tls("gives the same result wherever a hello is cut in two, and byte by byte", () => {
  for (const [what, source] of ROWS) {
    const bytes = Uint8Array.from(source);
    const expected = readWhole(bytes);
    const step = bytes.length > 1_000 ? 37 : 1;
    for (let cut = 0; cut <= bytes.length; cut += step) {
      assert.equal(readInPieces(bytes, [cut]), expected, `${what}, cut at ${cut}`);
    }
    assert.equal(readInPieces(bytes, bytes.keys()), expected, `${what}, byte by byte`);
  }
});

tls("reads what node:tls sends, cut at every byte and in records of any size", async () => {
  const options = [
    { servername: "api.example", ALPNProtocols: ["h2", "http/1.1"] },
    { servername: "api.example", ALPNProtocols: ["h2"], maxVersion: "TLSv1.2" as const },
    { servername: "api.example", minVersion: "TLSv1.3" as const },
    { servername: "" },
  ];
  for (const option of options) {
    const bytes = await nodeHello(option);
    const protocols = option.ALPNProtocols?.join(",") ?? "";
    const expected = `${option.servername} ${protocols}`;
    assert.is(outcome(bytes), expected);
    assert.is(decidedAfter(bytes), bytes.length);
    for (let cut = 0; cut <= bytes.length; cut++) {
      assert.equal(readInPieces(bytes, [cut]), readWhole(bytes), `cut at ${cut}`);
    }
    const message = [...bytes.subarray(5)];
    for (const size of [1, 2, 3, 4, 5, 64, 255])
      assert.is(outcome(records(message, size)), expected);
  }
});

tls("gives the same result for mutated hellos in random pieces, and never throws", () => {
  const seeds = ROWS.map(([, bytes]) => bytes).filter((bytes) => bytes.length < 3_000);
  const mutation = fc.record({ at: fc.nat(), byte: fc.nat(255), kind: fc.nat(2) });
  const pieces = fc.array(fc.nat(), { maxLength: 12 });
  fc.assert(
    fc.property(fc.constantFrom(...seeds), fc.array(mutation), pieces, (seed, mutations, cuts) => {
      const bytes = [...seed];
      for (const { at, byte, kind } of mutations) {
        bytes.splice(at % (bytes.length + 1), kind === 0 ? 0 : 1, ...(kind === 2 ? [] : [byte]));
      }
      const mutated = Uint8Array.from(bytes);
      const sorted = cuts.map((cut) => cut % (mutated.length + 1)).sort((a, b) => a - b);
      assert.equal(readInPieces(mutated, sorted), readWhole(mutated));
    }),
    { numRuns: 3_000 },
  );
});

tls("finds name and protocols among any extensions, in records of any sizes", () => {
  const other = fc.record({ type: fc.integer({ min: 17, max: 65_535 }), data: fc.uint8Array() });
  const others = fc.uniqueArray(other, { selector: ({ type }) => type, maxLength: 30 });
  const label = fc.stringMatching(/^[a-z0-9_-]{1,20}$/);
  const name = fc.option(
    fc.array(label, { minLength: 1, maxLength: 4 }).map((list) => list.join(".")),
  );
  const protocols = fc.array(fc.stringMatching(/^[\x21-\x7e]{1,255}$/), { maxLength: 4 });
  const sizes = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 });
  const property = fc.property(
    others,
    name,
    protocols,
    sizes,
    fc.nat(),
    (list, sni, names, cut, at) => {
      const blocks = list.map(({ type, data }) => extension(type, [...data]));
      const own = [...(sni === null ? [] : [serverName(sni)])];
      if (names.length > 0) own.push(alpn(...names));
      blocks.splice(at % (blocks.length + 1), 0, ...own);
      const message = hello(blocks.flat());
      const bytes: number[] = [];
      for (let from = 0, turn = 0; from < message.length; turn++) {
        const size = cut[turn % cut.length] ?? 1;
        bytes.push(...records(message.slice(from, from + size), size));
        from += size;
      }
      const expected = { protocol: "tls", serverName: sni ?? "", alpn: names };
      assert.equal(readWhole(Uint8Array.from(bytes)), { kind: "head", head: expected });
    },
  );
  fc.assert(property, { numRuns: 300 });
});

tls("takes a hello up to the limit and refuses what is larger without waiting for it", () => {
  const padded = (length: number) =>
    whole(hello([...extension(21, new Array<number>(length).fill(0)), ...NAMED]));
  const overhead = padded(60_000).length - 60_000;
  assert.is(outcome(padded(TLS_HEAD_MAX - overhead)), "api.example h2,http/1.1");
  assert.is(outcome(padded(TLS_HEAD_MAX - overhead + 1)), "alert 47");
  const announced = whole([1, 1, 0, 0]);
  assert.is(decidedAfter(announced), announced.length);
  const tiny = records(hello([...extension(21, new Array<number>(20_000).fill(0)), ...NAMED]), 1);
  assert.is(decidedAfter(tiny), TLS_HEAD_MAX);
});

tls("needs two bytes to know TLS from another protocol", () => {
  assert.is(decidedAfter(Uint8Array.of(22, 9, 9)), 2);
  assert.is(decidedAfter(Uint8Array.of(21, 3, 3)), 1);
});

tls("closes without a word when the time is over", () => {
  const reader = newReader();
  reader.read(whole(BROWSER).subarray(0, 100));
  const result = reader.expire();
  if (result.kind !== "reject") throw new Error("not refused");
  assert.is(result.reply.length, 0);
  assert.is(result.reset, false);
  assert.match(result.reason, "in time");
});

tls("looks at each byte a bounded number of times when they come one by one", () => {
  const bytes = records(
    hello([...extension(21, new Array<number>(30_000).fill(0)), ...NAMED]),
    16_000,
  );
  const tally = { reads: 0 };
  const reader = newReader();
  for (let length = 1; length < bytes.length; length++) {
    assert.is(reader.read(counted(bytes.subarray(0, length), tally)).kind, "more");
  }
  assert.ok(tally.reads <= 3 * bytes.length + 8, `${tally.reads} reads of ${bytes.length} bytes`);
});

tls.run();
