/** Whatever the reader accepts, a server behind it must understand in the same way. */
import { createServer } from "node:http";
import { Duplex } from "node:stream";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { bytesOf, readWhole } from "./support.ts";

const agreement = suite("agreement with node:http");

interface Understood {
  readonly method: string;
  readonly path: string;
  readonly host: string;
}

/** What node:http makes of these bytes; undefined when it refuses them. */
function nodeReads(bytes: Uint8Array): Promise<Understood | undefined> {
  return new Promise((resolve) => {
    const server = createServer((request, response) => {
      const { method = "", url = "", headers } = request;
      resolve({ method, path: url, host: headers.host ?? "" });
      response.end();
    });
    const socket = new Duplex({
      read() {},
      write(_chunk, _encoding, done) {
        done();
      },
    });
    const done = (): void => {
      resolve(undefined);
      socket.destroy();
    };
    server.on("clientError", done);
    server.on("connect", (request) => {
      resolve({ method: "CONNECT", path: "", host: request.headers.host ?? "" });
    });
    server.emit("connection", socket);
    socket.push(Buffer.from(bytes));
    setImmediate(() => setImmediate(done));
  });
}

const methods = fc.constantFrom("GET", "POST", "HEAD", "OPTIONS", "PROPFIND", "BREW", "get");
const targets = fc.oneof(
  fc.webPath().map((path) => `/${path}`),
  fc.constantFrom("/", "/x?y", "*", "http://a.example/x", "//a/b", "/a|b", "/%zz", "x"),
);
const versions = fc.constantFrom("HTTP/1.1", "HTTP/1.0", "HTTP/1.1 ", "HTTP/2.0", "http/1.1");
const ends = fc.constantFrom("\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n ", "\r\r\n");
const names = fc.constantFrom("Host", "Host ", "X-A", "Accept", "host", "X\0", "X(", "");
const values = fc.constantFrom(
  " a.example",
  "a.example:80",
  " a b",
  "",
  " \x80",
  " \0",
  "\tx\t",
  "@",
);
const fields = fc.array(fc.tuple(names, values, ends), { maxLength: 3 });

const heads = fc
  .tuple(methods, targets, versions, ends, fields)
  .map(([method, target, version, end, rest]) => {
    const host = "Host: api.example\r\n";
    const lines = rest.map(([name, value, lineEnd]) => `${name}:${value}${lineEnd}`).join("");
    return `${method} ${target} ${version}${end}${rest.length > 1 ? "" : host}${lines}\r\n`;
  });

agreement("accepts no head that node:http refuses or reads differently", async () => {
  let accepted = 0;
  await fc.assert(
    fc.asyncProperty(heads, async (head) => {
      const bytes = bytesOf(head);
      const ours = readWhole(bytes);
      if (ours.kind !== "head" || ours.head.protocol !== "http") return;
      // node:http knows a fixed list of methods.
      if (ours.head.method === "BREW" || ours.head.method === "get") return;
      accepted++;
      const theirs = await nodeReads(bytes);
      assert.ok(theirs, "node:http refuses it");
      assert.is(ours.head.method, theirs.method);
      const absolute = theirs.path.startsWith("http:");
      if (absolute) assert.is(ours.head.host, "a.example");
      else assert.is(ours.head.host, theirs.host.replace(/:80$/, ""));
      const path = theirs.path.replace("http://a.example", "").replace(/\?.*/s, "");
      assert.is(ours.head.path, path);
    }),
    { numRuns: 4_000 },
  );
  assert.ok(accepted > 100, `only ${accepted} heads were accepted`);
});

agreement.run();
