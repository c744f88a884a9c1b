/**
 * Where HTTP/1 exchanges end: a table of messages, each cut at every place; random exchanges against the
 * lengths that they were made with; node:http as the judge of real ones; and whatever a hostile peer sends.
 */
import * as http from "node:http";
import * as net from "node:net";
import { once } from "node:events";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { HttpBoundary, PIPELINED_MAX } from "../../host/app/boundary.ts";
import { HEAD_MAX } from "../../host/app/framing.ts";

const boundary = suite("app/boundary");

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
const lines = (...all: string[]): string => all.map((line) => `${line}\r\n`).join("");
const GET = lines("GET / HTTP/1.1", "Host: a", "");
const OK = lines("HTTP/1.1 200 OK", "Content-Length: 5", "") + "hello";
const CHUNKED =
  lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "") +
  lines("5;ext=1", "hello", "00000A ", "0123456789", "0", "Trailer: x", "");

/** Request, response: exactly one exchange, after which the connection is idle. */
const EXCHANGES: Record<string, readonly [string, string]> = {
  "a length": [GET, OK],
  chunks: [GET, CHUNKED],
  "an empty body": [GET, lines("HTTP/1.1 200 OK", "content-length:0", "")],
  "no content": [GET, lines("HTTP/1.1 204 No Content", "Content-Length: 7", "")],
  "not modified": [GET, lines("HTTP/1.1 304 Not Modified", "Content-Length: 7", "")],
  HEAD: [
    lines("HEAD / HTTP/1.1", "Host: a", ""),
    lines("HTTP/1.1 200 OK", "Content-Length: 7", ""),
  ],
  "an upload": [lines("PUT / HTTP/1.1", "Host: a", "Content-Length: 4", "") + "\r\n\r\n", OK],
  "an upload in chunks": [
    lines("PUT / HTTP/1.1", "Host: a", "transfer-encoding: Chunked", "", "3", "abc", "0", ""),
    OK,
  ],
  "a continue first": [
    lines("PUT / HTTP/1.1", "Host: a", "Expect: 100-continue", "Content-Length: 2", "") + "ab",
    lines("HTTP/1.1 100 Continue", "") + lines("HTTP/1.1 103 Hints", "Link: x", "") + OK,
  ],
  "HTTP/1.0 kept alive": [
    lines("GET / HTTP/1.0", "Connection: Keep-Alive", ""),
    lines("HTTP/1.0 200 OK", "connection: foo, keep-alive", "Content-Length: 1", "") + "x",
  ],
  "an upgrade that is refused": [
    lines("GET / HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket", ""),
    OK,
  ],
  "empty lines in front": ["\r\n\r\n" + GET, "\r\n" + OK],
  "a status without a phrase": [GET, lines("HTTP/1.1 200", "Content-Length: 0", "")],
  "bytes above ASCII": [lines("GET /\xff HTTP/1.1", "Host: a", "X: \xe4", ""), OK],
};

/** Request, response: the reading ends for good, and why. */
const OPAQUE: Record<string, readonly [string, string, RegExp]> = {
  TLS: ["\x16\x03\x01\x02\x00\x01\n", "", /malformed line/],
  "HTTP/2": ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", /not HTTP\/1/],
  SSH: ["SSH-2.0-x\r\n\r\n", "", /not HTTP\/1/],
  "a tunnel": [lines("CONNECT a:1 HTTP/1.1", "Host: a:1", ""), "", /tunnel/],
  "an upgrade": [
    lines("GET / HTTP/1.1", "Host: a", "Upgrade: websocket", ""),
    lines("HTTP/1.1 101 Switching", ""),
    /upgrade/,
  ],
  "a request that ends it": [lines("GET / HTTP/1.1", "Connection: close", ""), "", /announced/],
  "a response that ends it": [
    GET,
    lines("HTTP/1.1 200 OK", "Connection: x, Close", "Content-Length: 0", ""),
    /announced/,
  ],
  "HTTP/1.0": [lines("GET / HTTP/1.0", ""), "", /announced/],
  "a response without a length": [GET, lines("HTTP/1.1 200 OK", ""), /ends with the connection/],
  "a response to nothing": [
    "",
    lines("HTTP/1.1 408 Timeout", "Content-Length: 0", ""),
    /no request/,
  ],
  "a second response": [GET, OK + OK, /no request/],
  "both lengths": [
    lines("PUT / HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked", ""),
    "",
    /both/,
  ],
  "two lengths": [
    lines("PUT / HTTP/1.1", "Content-Length: 1", "Content-Length: 1", ""),
    "",
    /length/,
  ],
  "a length with a sign": [lines("PUT / HTTP/1.1", "Content-Length: +1", ""), "", /length/],
  "a length that is none": [lines("PUT / HTTP/1.1", "Content-Length: ", ""), "", /length/],
  "a length in a list": [lines("PUT / HTTP/1.1", "Content-Length: 1, 1", ""), "", /length/],
  "a length beyond reason": [
    lines("PUT / HTTP/1.1", `Content-Length: ${"9".repeat(16)}`, ""),
    "",
    /length/,
  ],
  "another coding": [lines("PUT / HTTP/1.1", "Transfer-Encoding: gzip, chunked", ""), "", /coding/],
  "a coding twice": [
    lines("PUT / HTTP/1.1", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", ""),
    "",
    /coding/,
  ],
  "a coding in HTTP/1.0": [
    lines("PUT / HTTP/1.0", "Connection: keep-alive", "Transfer-Encoding: chunked", ""),
    "",
    /coding/,
  ],
  "a folded field": [lines("GET / HTTP/1.1", "A: b", " c", ""), "", /malformed field/],
  "a blank before the colon": [
    lines("GET / HTTP/1.1", "Content-Length : 1", ""),
    "",
    /malformed field/,
  ],
  "a lone LF": ["GET / HTTP/1.1\nHost: a\n\n", "", /malformed line/],
  "a CR within": [lines("GET / HTTP/1.1", "A: b\rc", ""), "", /malformed line/],
  "a NUL": [lines("GET / HTTP/1.1", "A: b\0c", ""), "", /malformed line/],
  "a chunk without a size": [GET, CHUNKED.replace("5;ext=1", ";ext=1"), /malformed chunk/],
  "a chunk of a negative size": [GET, CHUNKED.replace("5;ext=1", "-5"), /malformed chunk/],
  "a chunk beyond reason": [GET, CHUNKED.replace("5;ext=1", "F".repeat(13)), /malformed chunk/],
  "a chunk that is too long": [GET, CHUNKED.replace("hello", "hello!"), /longer|malformed/],
  "a trailer that is none": [GET, CHUNKED.replace("Trailer: x", "Trailer"), /trailer/],
  "no end of a line": ["GET /" + "x".repeat(HEAD_MAX), "", /bytes of head/],
  "no end of a head": [
    lines("GET / HTTP/1.1", ...Array<string>(5000).fill("A: 0123456789")),
    "",
    /bytes of head/,
  ],
  "nothing but empty lines": ["\r\n".repeat(5), "", /empty lines/],
  "many requests and no answer": [GET.repeat(PIPELINED_MAX + 1), "", /too many/],
};

function read(
  request: Buffer,
  response: Buffer,
  at = [request.length, response.length],
): HttpBoundary {
  const seen = new HttpBoundary();
  const [up = 0, down = 0] = at;
  seen.fromClient(request.subarray(0, up));
  seen.fromClient(request.subarray(up));
  seen.fromServer(response.subarray(0, down));
  seen.fromServer(response.subarray(down));
  return seen;
}

boundary("is idle before the first byte", () => {
  const seen = new HttpBoundary();
  assert.is(seen.isIdle, true);
  seen.fromClient(new Uint8Array(0));
  assert.is(seen.isIdle, true);
});

for (const [name, [request, response]] of Object.entries(EXCHANGES)) {
  boundary(`${name}: idle after it, never within, wherever it is cut`, () => {
    const [up, down] = [bytes(request), bytes(response)];
    for (let cut = 0; cut <= up.length; cut++) {
      const seen = new HttpBoundary();
      seen.fromClient(up.subarray(0, cut));
      const isEmptyLine = ["", "\r\n", "\r\n\r\n"].includes(request.slice(0, cut));
      assert.is(seen.isIdle, isEmptyLine, `${cut} bytes of the request`);
      seen.fromClient(up.subarray(cut));
      assert.is(seen.isIdle, false);
      seen.fromServer(down);
      assert.is(seen.opaque, undefined);
      assert.is(seen.isIdle, true);
      assert.is(seen.exchanges, 1);
    }
    for (let cut = 0; cut < down.length; cut++) {
      const seen = new HttpBoundary();
      seen.fromClient(up);
      seen.fromServer(down.subarray(0, cut));
      assert.is(seen.isIdle, false, `${cut} bytes of the response`);
      seen.fromServer(down.subarray(cut));
      assert.is(seen.isIdle, true);
      assert.is(seen.exchanges, 1);
    }
  });
}

for (const [name, [request, response, reason]] of Object.entries(OPAQUE)) {
  boundary(`${name}: opaque for good`, () => {
    const [up, down] = [bytes(request), bytes(response)];
    for (const cut of [0, 1, up.length >> 1, up.length]) {
      const seen = read(up, down, [cut, down.length >> 1]);
      assert.match(seen.opaque ?? "clear", reason);
      seen.fromClient(bytes(GET));
      seen.fromServer(bytes(OK));
      assert.is(seen.isIdle, false, "it stays so");
    }
  });
}

boundary("an answer before the end of the upload: idle after both", () => {
  const seen = new HttpBoundary();
  seen.fromClient(bytes(lines("PUT / HTTP/1.1", "Content-Length: 10", "") + "01234"));
  seen.fromServer(bytes(OK));
  assert.is(seen.isIdle, false);
  seen.fromClient(bytes("56789"));
  assert.is(seen.isIdle, true);
});

/** A message with a body in a random form, and what says so in its head. */
const body = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((data) => {
    return { fields: [`Content-Length: ${data.length}`], wire: Buffer.from(data) };
  }),
  fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 }), { maxLength: 5 }).map((chunks) => {
    const parts = chunks.flatMap((chunk) => [
      bytes(`${chunk.length.toString(16)}\r\n`),
      chunk,
      bytes("\r\n"),
    ]);
    return {
      fields: ["Transfer-Encoding: chunked"],
      wire: Buffer.concat([...parts, bytes("0\r\n\r\n")]),
    };
  }),
);
const exchange = fc.record({
  method: fc.constantFrom("GET", "PUT", "POST", "HEAD", "PATCH"),
  upload: fc.option(body),
  status: fc.constantFrom(200, 200, 404, 204, 304),
  answer: body,
  interim: fc.boolean(),
});

boundary(
  "random exchanges in random pieces: idle exactly where all of both directions has passed",
  () => {
    const property = fc.property(
      fc.array(exchange, { minLength: 1, maxLength: 6 }),
      fc.array(fc.nat({ max: 60 }), { minLength: 1, maxLength: 40 }),
      fc.boolean(),
      (exchanges, cuts, isPipelined) => {
        const seen = new HttpBoundary();
        let turn = 0;
        const feed = (wire: Buffer, take: (part: Buffer) => void, isWhole: boolean): void => {
          for (let at = 0; at < wire.length;) {
            const count = 1 + (cuts[turn++ % cuts.length] ?? 0);
            take(wire.subarray(at, at + count));
            at += count;
            if (at < wire.length || !isWhole) assert.is(seen.isIdle, false);
          }
        };
        const requests = exchanges.map(({ method, upload }) => {
          const head = lines(`${method} /x HTTP/1.1`, "Host: a", ...(upload?.fields ?? []), "");
          return Buffer.concat([bytes(head), upload?.wire ?? Buffer.alloc(0)]);
        });
        const responses = exchanges.map(({ method, status, answer, interim }) => {
          const head = lines(`HTTP/1.1 ${status} X`, ...answer.fields, "");
          const first = interim ? lines("HTTP/1.1 102 Processing", "") : "";
          const isEmpty = method === "HEAD" || status === 204 || status === 304;
          return Buffer.concat([bytes(first + head), isEmpty ? Buffer.alloc(0) : answer.wire]);
        });
        if (isPipelined)
          requests.forEach((wire) => feed(wire, (part) => seen.fromClient(part), false));
        responses.forEach((wire, index) => {
          if (!isPipelined) feed(requests[index] as Buffer, (part) => seen.fromClient(part), false);
          const isWhole = !isPipelined || index === responses.length - 1;
          feed(wire, (part) => seen.fromServer(part), isWhole);
          assert.is(seen.exchanges, index + 1);
        });
        assert.is(seen.opaque, undefined);
        assert.is(seen.isIdle, true);
      },
    );
    fc.assert(property, { numRuns: 300 });
  },
);

boundary("whatever comes: no exception, bounded memory, and opaque stays opaque", () => {
  const token = fc.constantFrom(
    ...["\r\n", "\n", "\r", " ", ":", "\0", "GET / HTTP/1.1", "HTTP/1.1 200 OK", "0", "a", "\xff"],
    ...["Content-Length: 3", "Transfer-Encoding: chunked", "Connection: close", "\r\n\r\n", "5;x"],
  );
  const noise = fc.oneof(
    fc.array(token, { maxLength: 60 }).map((parts) => bytes(parts.join(""))),
    fc.uint8Array({ maxLength: 300 }).map((data) => Buffer.from(data)),
  );
  const property = fc.property(
    fc.array(fc.tuple(fc.boolean(), noise), { maxLength: 30 }),
    (parts) => {
      const seen = new HttpBoundary();
      let opaque: string | undefined;
      for (const [isClient, part] of parts) {
        if (isClient) seen.fromClient(part);
        else seen.fromServer(part);
        if (opaque !== undefined) assert.is(seen.opaque, opaque);
        opaque = seen.opaque;
        if (opaque !== undefined) assert.is(seen.isIdle, false);
      }
    },
  );
  fc.assert(property, { numRuns: 1000 });
});

boundary("agrees with node:http about real clients and servers", async () => {
  const sizes = [0, 1, 1000, 100_000];
  const server = http.createServer((request, response) => {
    const size = Number(request.headers["x-size"]);
    request.resume().on("end", () => {
      if (size % 2 === 0) response.setHeader("content-length", size);
      response.write("");
      response.end("x".repeat(size));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const seen = new HttpBoundary();
  const { port } = server.address() as net.AddressInfo;
  const proxy = net.createServer((client) => {
    const upstream = net.connect(port, "127.0.0.1");
    client.on("data", (part) => (seen.fromClient(part as Buffer), upstream.write(part)));
    upstream.on("data", (part) => (seen.fromServer(part as Buffer), client.write(part)));
    client.on("close", () => upstream.destroy());
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const at = (proxy.address() as net.AddressInfo).port;
  for (const method of ["GET", "HEAD", "POST", "PUT"]) {
    for (const size of sizes) {
      const request = http.request({ agent, port: at, method, headers: { "x-size": size } });
      if (method === "PUT") request.write("y".repeat(size));
      request.end(method === "POST" ? "z".repeat(size) : "");
      const [response] = (await once(request, "response")) as [http.IncomingMessage];
      for await (const part of response) void part;
      assert.is(seen.opaque, undefined);
      assert.is(seen.isIdle, true);
    }
  }
  assert.is(seen.exchanges, 4 * sizes.length);
  agent.destroy();
  proxy.close();
  server.close();
});

boundary.run();
