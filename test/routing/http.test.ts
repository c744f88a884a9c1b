import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { FIELDS_MAX, HTTP_HEAD_MAX, REQUEST_LINE_MAX } from "../../host/routing/http.ts";
import {
  bytesOf,
  counted,
  decidedAfter,
  newReader,
  readInPieces,
  readWhole,
  textOf,
} from "./support.ts";

const http = suite("http head");

const HOST = "Host: api.example\r\n";

/** What the reader made of it, in short: "GET api.example /x", "400", "other", "more". */
function outcome(source: string): string {
  const result = readWhole(source);
  if (result.kind === "more") return "more";
  if (result.kind === "reject") return textOf(result.reply).slice(9, 12);
  const { head } = result;
  return head.protocol === "http" ? `${head.method} ${head.host} ${head.path}` : head.protocol;
}

/** Row: what, head, outcome. */
const ROWS: readonly (readonly [string, string, string])[] = [
  ["a plain request", `GET /x HTTP/1.1\r\n${HOST}\r\n`, "GET api.example /x"],
  ["a body behind the head", `POST / HTTP/1.1\r\n${HOST}\r\n\0\x01`, "POST api.example /"],
  ["a query, left out", `GET /x?a=/y/ HTTP/1.1\r\n${HOST}\r\n`, "GET api.example /x"],
  ["upper case", "GET / HTTP/1.1\r\nHOST: API.Example\r\n\r\n", "GET api.example /"],
  ["a port", "GET / HTTP/1.1\r\nhost:api.example:8080\r\n\r\n", "GET api.example /"],
  ["an empty port", "GET / HTTP/1.1\r\nhost:api.example:\r\n\r\n", "GET api.example /"],
  ["a trailing dot", "GET / HTTP/1.1\r\nHost: api.example.\r\n\r\n", "GET api.example /"],
  ["blanks around", "GET / HTTP/1.1\r\nHost: \t api.example\t \r\n\r\n", "GET api.example /"],
  ["an IPv6 host", "GET / HTTP/1.1\r\nHost: [FD00::1]:80\r\n\r\n", "GET [fd00::1] /"],
  ["HTTP/1.0 without Host", "GET /x HTTP/1.0\r\n\r\n", "GET  /x"],
  ["HTTP/1.0 with an empty Host", "GET /x HTTP/1.0\r\nHost:\r\n\r\n", "GET  /x"],
  ["a later minor version", `GET / HTTP/1.7\r\n${HOST}\r\n`, "GET api.example /"],
  ["an empty line before", `\r\nGET / HTTP/1.1\r\n${HOST}\r\n`, "GET api.example /"],
  ["obs-text in a value", `GET / HTTP/1.1\r\n${HOST}X: \xff\x80\r\n\r\n`, "GET api.example /"],
  ["an empty value", `GET / HTTP/1.1\r\n${HOST}X:\r\n\r\n`, "GET api.example /"],
  ["an unknown method", `BREW /pot HTTP/1.1\r\n${HOST}\r\n`, "BREW api.example /pot"],
  [
    "an absolute target, which wins",
    `GET http://Other.example:81/x?y HTTP/1.1\r\n${HOST}\r\n`,
    "GET other.example /x",
  ],
  ["an absolute target, no path", `GET http://a HTTP/1.1\r\n${HOST}\r\n`, "GET a /"],
  ["an absolute target, query", `GET HTTPS://a?b HTTP/1.1\r\n${HOST}\r\n`, "GET a /"],
  ["the asterisk", `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`, "OPTIONS api.example *"],
  ["CONNECT", `CONNECT a.example:443 HTTP/1.1\r\n${HOST}\r\n`, "CONNECT api.example "],

  ["no Host", "GET / HTTP/1.1\r\nAccept: */*\r\n\r\n", "400"],
  ["no Host but an absolute target", "GET http://a/ HTTP/1.1\r\n\r\n", "400"],
  ["two Hosts", `GET / HTTP/1.1\r\n${HOST}${HOST}\r\n`, "400"],
  ["two Hosts in 1.0", `GET / HTTP/1.0\r\n${HOST}${HOST}\r\n`, "400"],
  ["an empty Host", "GET / HTTP/1.1\r\nHost: \r\n\r\n", "400"],
  ["a Host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400"],
  ["userinfo in Host", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400"],
  ["a slash in Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"],
  ["a bad port", "GET / HTTP/1.1\r\nHost: a:80a\r\n\r\n", "400"],
  ["an open bracket", "GET / HTTP/1.1\r\nHost: [fd00::1\r\n\r\n", "400"],
  ["only a dot", "GET / HTTP/1.1\r\nHost: .\r\n\r\n", "400"],
  ["an empty label", "GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", "400"],
  ["a name of 300 bytes", `GET / HTTP/1.1\r\nHost: ${"a".repeat(300)}\r\n\r\n`, "400"],
  ["userinfo in the target", `GET http://u:p@a/ HTTP/1.1\r\n${HOST}\r\n`, "400"],
  ["another scheme", `GET ftp://a/ HTTP/1.1\r\n${HOST}\r\n`, "400"],
  ["an absolute target, no host", `GET http:///x HTTP/1.1\r\n${HOST}\r\n`, "400"],
  ["the asterisk of GET", `GET * HTTP/1.1\r\n${HOST}\r\n`, "400"],
  ["a relative target", `GET x HTTP/1.1\r\n${HOST}\r\n`, "400"],
  ["CONNECT to a path", `CONNECT /x HTTP/1.1\r\n${HOST}\r\n`, "400"],
  ["a fragment", `GET /x#y HTTP/1.1\r\n${HOST}\r\n`, "400"],
  ["a raw byte in the target", `GET /\xe9 HTTP/1.1\r\n${HOST}\r\n`, "400"],
  ["a tab in the request line", `GET\t/ HTTP/1.1\r\n${HOST}\r\n`, "400"],
  ["a method and nothing else", "GET\r\n\r\n", "400"],
  ["a tab behind the target", `GET /\tHTTP/1.1\r\n${HOST}\r\n`, "400"],
  ["two blanks", `GET  / HTTP/1.1\r\n${HOST}\r\n`, "400"],
  ["a blank behind the version", `GET / HTTP/1.1 \r\n${HOST}\r\n`, "400"],
  ["no version", "GET /\r\n\r\n", "400"],
  ["a two-digit version", `GET / HTTP/1.10\r\n${HOST}\r\n`, "400"],
  ["lower-case http", `GET / http/1.1\r\n${HOST}\r\n`, "400"],
  ["HTTP/2.0 in a request line", `GET / HTTP/2.0\r\n${HOST}\r\n`, "505"],
  ["HTTP/0.9 in a request line", `GET / HTTP/0.9\r\n${HOST}\r\n`, "505"],
  ["LF alone after the line", `GET / HTTP/1.1\n${HOST}\r\n`, "400"],
  ["LF alone after a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", "400"],
  ["CR alone in the line", `GET / HTTP/1.1\rX${HOST}\r\n`, "400"],
  ["CR alone in a value", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", "400"],
  ["CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "400"],
  ["LF alone at the end", `GET / HTTP/1.1\r\n${HOST}\n`, "400"],
  ["CR and another byte at the end", `GET / HTTP/1.1\r\n${HOST}\rX`, "400"],
  ["a folded line", `GET / HTTP/1.1\r\n${HOST}X: a\r\n b\r\n\r\n`, "400"],
  ["a blank before the first field", `GET / HTTP/1.1\r\n ${HOST}\r\n`, "400"],
  ["a blank before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"],
  ["a field without colon", `GET / HTTP/1.1\r\n${HOST}X\r\n\r\n`, "400"],
  ["a field without name", `GET / HTTP/1.1\r\n${HOST}: x\r\n\r\n`, "400"],
  ["NUL in a value", `GET / HTTP/1.1\r\n${HOST}X: a\0b\r\n\r\n`, "400"],
  ["DEL in a value", `GET / HTTP/1.1\r\n${HOST}X: \x7f\r\n\r\n`, "400"],
  ["a raw byte in a name", `GET / HTTP/1.1\r\n${HOST}\xe9: a\r\n\r\n`, "400"],

  ["HTTP/2 with prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "other"],
  ["an SSH banner", "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "other"],
  ["SMTP", "EHLO client.example\r\n", "other"],
  ["memcached", "get key\r\n", "other"],
  ["Redis", "*1\r\n$4\r\nPING\r\n", "other"],
  ["PostgreSQL", "\0\0\0\x08\x04\xd2\x16\x2f", "other"],
  ["SSLv2", "\x80\x2e\x01\x03\x01", "other"],
  ["a long first word", "A".repeat(33), "other"],
  ["many empty lines", "\r\n".repeat(5), "other"],
  ["CR and no LF", "\rG", "other"],
];

for (const [what, head, expected] of ROWS) {
  http(`reads ${what} as ${JSON.stringify(expected)}`, () => assert.is(outcome(head), expected));
}

http("gives the same result wherever a head is cut in two, and byte by byte", () => {
  for (const [what, head] of ROWS) {
    const bytes = bytesOf(head);
    const expected = readWhole(bytes);
    for (let cut = 0; cut <= bytes.length; cut++) {
      assert.equal(readInPieces(bytes, [cut]), expected, `${what}, cut at ${cut}`);
    }
    assert.equal(readInPieces(bytes, bytes.keys()), expected, `${what}, byte by byte`);
  }
});

http("gives the same result for mutated heads in random pieces, and never throws", () => {
  const heads = ROWS.map(([, head]) => head);
  const mutation = fc.record({ at: fc.nat(400), byte: fc.nat(255), insert: fc.boolean() });
  const pieces = fc.array(fc.nat(400), { maxLength: 12 });
  fc.assert(
    fc.property(fc.constantFrom(...heads), fc.array(mutation), pieces, (head, mutations, cuts) => {
      const bytes = [...bytesOf(head)];
      for (const { at, byte, insert } of mutations) {
        bytes.splice(at % bytes.length, insert ? 0 : 1, byte);
      }
      const mutated = Uint8Array.from(bytes);
      const sorted = cuts.map((cut) => cut % (mutated.length + 1)).sort((a, b) => a - b);
      assert.equal(readInPieces(mutated, sorted), readWhole(mutated));
    }),
    { numRuns: 3_000 },
  );
});

http("decides with the last byte of the head and not before", () => {
  const head = bytesOf(`GET / HTTP/1.1\r\n${HOST}\r\n`);
  assert.is(decidedAfter(Uint8Array.from([...head, ...head])), head.length);
});

http("says no as soon as it is certain", () => {
  assert.is(decidedAfter(bytesOf("GET / FTP")), "GET / F".length);
  assert.is(decidedAfter(bytesOf("GET / HTTP/1.1\r\n folded")), "GET / HTTP/1.1\r\n ".length);
  assert.is(decidedAfter(bytesOf("SSH-2.0-x\r\n")), "SSH-2.0-x\r".length);
  assert.is(decidedAfter(bytesOf("PRI * HTTP/2.0\r\n\r\nSM")), "PRI * HTTP/2.0\r\n".length);
  assert.is(decidedAfter(Uint8Array.of(0xff, 1)), 1);
});

http("takes a head of exactly the limit and refuses one byte more with 431", () => {
  const start = `GET / HTTP/1.1\r\n${HOST}X: `;
  const fill = "x".repeat(HTTP_HEAD_MAX - start.length - 4);
  assert.is(outcome(`${start}${fill}\r\n\r\n`), "GET api.example /");
  assert.is(outcome(`${start}${fill}x\r\n\r\n`), "431");
  assert.is(outcome(`${start}${"x".repeat(20_000)}`), "431");
  assert.is(decidedAfter(bytesOf(`${start}${"x".repeat(20_000)}`)), HTTP_HEAD_MAX);
});

http("takes the most fields and refuses one more with 431", () => {
  const more = "X: y\r\n".repeat(FIELDS_MAX - 1);
  assert.is(outcome(`GET / HTTP/1.1\r\n${HOST}${more}\r\n`), "GET api.example /");
  assert.is(outcome(`GET / HTTP/1.1\r\n${HOST}${more}X: y\r\n\r\n`), "431");
});

http("takes the longest request line and refuses a longer one with 414", () => {
  const path = "/" + "x".repeat(REQUEST_LINE_MAX - "GET / HTTP/1.1".length);
  assert.is(outcome(`GET ${path} HTTP/1.1\r\n${HOST}\r\n`), `GET api.example ${path}`);
  assert.is(outcome(`GET ${path}x HTTP/1.1\r\n${HOST}\r\n`), "414");
  assert.is(outcome(`GET ${path}${path}`), "414");
  assert.is(outcome(`BREW ${path}${path}`), "other");
});

http("answers 408 when the time is over, and hands over what is not HTTP", () => {
  const late = (head: string): string => {
    const reader = newReader();
    reader.read(bytesOf(head));
    const result = reader.expire();
    assert.equal(reader.read(bytesOf(`${head} more`)), result, "the result stands");
    if (result.kind === "reject") return textOf(result.reply).slice(9, 12);
    return result.kind === "head" ? result.head.protocol : result.kind;
  };
  for (const head of ["", "\r", "G", "GE", "GET", "GET ", "GET /", "GET / HTTP/1.1\r"]) {
    assert.is(late(head), "408", head);
  }
  for (const head of [`GET / HTTP/1.1\r\n${HOST}`, "BREW / HTTP/1.1\r\nHo"]) {
    assert.is(late(head), "408", head);
  }
  for (const head of ["HELP", "HELO there", "get key"]) assert.is(late(head), "other", head);
});

http("takes a silent client for what the rules speak of", () => {
  const silent = (route: string) => {
    const result = newReader(route).expire();
    return result.kind === "reject" ? textOf(result.reply).slice(0, 12) : result.kind;
  };
  assert.is(silent("default -> b1"), "HTTP/1.1 408");
  assert.is(silent("host=a -> b1"), "HTTP/1.1 408");
  assert.is(silent("sni=a -> b1"), "");
  assert.is(silent("protocol=other -> b1"), "head");
});

http("looks at each byte a bounded number of times when they come one by one", () => {
  const blanks = " ".repeat(5_000);
  const heads = [
    `GET /${"x".repeat(8_000)} HTTP/1.1\r\n${HOST}X: ${"x".repeat(8_000)}`,
    `GET / HTTP/1.1\r\nHost: ${blanks}a${blanks}b${blanks}`,
    `${"y".repeat(32)} /${"x".repeat(16_000)}`,
    `GET / HTTP/1.1\r\n${"x".repeat(16_000)}`,
  ];
  for (const head of heads) {
    const bytes = bytesOf(head);
    const tally = { reads: 0 };
    const reader = newReader();
    for (let length = 1; length <= bytes.length; length++) {
      reader.read(counted(bytes.subarray(0, length), tally));
    }
    // Detection looks at the first two once; then each byte once, and once more as text.
    assert.ok(tally.reads <= 3 * bytes.length + 8, `${tally.reads} reads of ${bytes.length} bytes`);
  }
});

http("answers with a complete response that is the same each time", () => {
  const result = readWhole("GET / HTTP/1.1\r\n\r\n");
  if (result.kind !== "reject") throw new Error("not refused");
  const expected =
    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 16\r\n" +
    "Connection: close\r\n\r\n400 Bad Request\n";
  assert.is(textOf(result.reply), expected);
  assert.is(result.reset, false);
  assert.match(result.reason, "Host field is missing");
});

http("answers HEAD without content", () => {
  const result = readWhole("HEAD / HTTP/1.1\r\n\r\n");
  if (result.kind !== "reject") throw new Error("not refused");
  assert.ok(textOf(result.reply).endsWith("Connection: close\r\n\r\n"));
  assert.match(textOf(result.reply), "Content-Length: 16");
});

http.run();
