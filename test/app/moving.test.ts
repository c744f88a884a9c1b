/**
 * Connections of servers behind --upstream that move: only between two exchanges, with nothing read ahead,
 * and the server behind the next node begins where the last one ended.
 */
import { once } from "node:events";
import * as net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { UpstreamTarget } from "../../host/app/splice.ts";
import { BETWEEN_EXCHANGES } from "../../host/app/splice.ts";
import { UpstreamApplication } from "../../host/app/upstream.ts";
import { connectionPair, type Pair } from "../support/connection.ts";
import { holdLoop, until } from "../support/wait.ts";

const moving = suite("app/moving");

let release = () => {};
moving.before(() => void (release = holdLoop()));
moving.after(() => release());

const GET = Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n");

/** A server on loopback; `answer` gets each request's bytes so far and the socket. */
async function serve(answer: (text: string, socket: net.Socket) => void) {
  const sockets: net.Socket[] = [];
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    let text = "";
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => answer((text += chunk.toString("latin1")), socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  const target: UpstreamTarget = { kind: "tcp", host: "127.0.0.1", port };
  const application = new UpstreamApplication(target);
  return { sockets, application, close: () => server.close() };
}

const reply = (body: string): string =>
  `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

/** Asks once and gets an answer: the connection is idle then. */
async function idle(pair: Pair): Promise<void> {
  pair.client.listen({
    readable: () => undefined,
    writable: () => undefined,
    ended: () => undefined,
    closed: () => undefined,
  });
  pair.client.write(GET);
  await until("an answer", () => pair.client.readableLength > 0);
  pair.client.readAll();
}

moving("between two exchanges: it says so, stands still, and lets go of its server", async () => {
  const { application, sockets, close } = await serve((_text, socket) =>
    socket.write(reply("hello")),
  );
  const pair = connectionPair();
  application.accept(pair.server);
  await idle(pair);
  await until("an offer", () => pair.server.offers > 0);
  assert.equal(pair.server.readiness(), { kind: "ready", state: BETWEEN_EXCHANGES });
  pair.client.write(GET);
  await until("a request", () => pair.server.readableLength === GET.length);
  assert.is(pair.server.bytesRead, GET.length, "the next request is not read");
  pair.server.migrate({ ready: () => pair.server.readiness(), done: () => undefined });
  assert.is(pair.server.freeze().kind, "ready");
  pair.server.settle({ kind: "moved", node: "b2" });
  assert.is(application.connections, 0);
  assert.is(application.counts().outcomes.moved, 1);
  await until("an end", () => sockets[0]?.destroyed === true || sockets[0]?.readableEnded === true);
  close();
});

moving("when it is kept: the request that waited is served, as if nothing had been", async () => {
  const { application, close } = await serve((text, socket) => {
    if (text.endsWith("\r\n\r\n")) socket.write(reply("hello"));
  });
  const pair = connectionPair();
  application.accept(pair.server);
  await idle(pair);
  await until("an offer", () => pair.server.offers > 0);
  assert.is(pair.server.readiness().kind, "ready");
  pair.client.write(GET);
  await until("a request", () => pair.server.readableLength === GET.length);
  pair.server.kept();
  await until("an answer", () => pair.client.readableLength > 0);
  assert.match(pair.client.readAll().toString(), "hello");
  pair.client.shutdown();
  await until("the end", () => application.connections === 1 && pair.server.bytesRead > 0);
  pair.client.abort();
  await until("nothing left", () => application.connections === 0);
  close();
});

moving("within an exchange it is busy, and says why", async () => {
  let last: net.Socket | undefined;
  const { application, close } = await serve((_text, socket) => (last = socket));
  const pair = connectionPair();
  application.accept(pair.server);
  pair.client.write(GET.subarray(0, 10));
  await until("bytes", () => last !== undefined);
  assert.equal(pair.server.readiness(), { kind: "busy", reason: "a request is under way" });
  pair.client.write(GET.subarray(10));
  await until("all", () => pair.server.bytesRead === GET.length);
  last?.write(reply("hello").slice(0, -1));
  await until("most of the answer", () => pair.client.readableLength > 0);
  assert.equal(pair.server.readiness(), { kind: "busy", reason: "a request is under way" });
  assert.is(pair.server.offers, 0);
  last?.write("o");
  await until("an offer", () => pair.server.offers > 0);
  assert.is(pair.server.readiness().kind, "ready");
  pair.server.kept();
  pair.client.abort();
  await until("nothing left", () => application.connections === 0);
  close();
});

moving("what is no HTTP, and what will end, never moves", async () => {
  const table: readonly (readonly [string, string, RegExp])[] = [
    ["\x16\x03\x01\x00\x00\n", "", /malformed/],
    ["GET / HTTP/1.0\r\n\r\n", reply("x"), /announced/],
    ["GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n", "HTTP/1.1 101 x\r\n\r\n", /upgrade/],
  ];
  for (const [request, response, reason] of table) {
    const { application, close } = await serve((_text, socket) => socket.write(response));
    const pair = connectionPair();
    application.accept(pair.server);
    pair.client.write(Buffer.from(request, "latin1"));
    await until("an answer", () => pair.client.readableLength >= response.length);
    await until("its bytes", () => pair.server.bytesRead === request.length);
    const answer = pair.server.readiness();
    assert.is(answer.kind, "never");
    assert.match(answer.kind === "never" ? answer.reason : "", reason);
    pair.client.abort();
    await until("nothing left", () => application.connections === 0);
    close();
  }
});

moving("a server that speaks first keeps its client", async () => {
  const server = net.createServer((socket) => {
    socket.on("error", () => undefined);
    socket.write("220 ready\r\n");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  const application = new UpstreamApplication({ kind: "tcp", host: "127.0.0.1", port });
  const pair = connectionPair();
  application.accept(pair.server);
  await until("a greeting", () => pair.client.readableLength > 0);
  assert.is(pair.server.readiness().kind === "ready", false);
  pair.client.abort();
  await until("nothing left", () => application.connections === 0);
  server.close();
});

moving("what comes from the server while it waits for the move keeps it here", async () => {
  const { application, sockets, close } = await serve((_text, socket) => socket.write(reply("x")));
  const pair = connectionPair();
  application.accept(pair.server);
  await idle(pair);
  await until("an offer", () => pair.server.offers > 0);
  assert.is(pair.server.readiness().kind, "ready");
  sockets[0]?.end("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
  await until("it at the client", () => pair.client.readableLength > 0);
  pair.server.migrate({ ready: () => pair.server.readiness(), done: () => undefined });
  assert.is.not(pair.server.freeze().kind, "ready");
  pair.server.settle({ kind: "kept", reason: "it is ending" });
  pair.server.kept();
  pair.client.shutdown();
  await until("nothing left", () => application.connections === 0);
  close();
});

moving(
  "one that arrives between two exchanges finds its server with the next request",
  async () => {
    const { application, sockets, close } = await serve((_text, socket) =>
      socket.write(reply("hi")),
    );
    const pair = connectionPair();
    pair.server.state = BETWEEN_EXCHANGES;
    application.accept(pair.server);
    await new Promise((resolve) => setImmediate(resolve));
    assert.is(sockets.length, 0, "nobody needs a server yet");
    assert.equal(pair.server.readiness(), { kind: "ready", state: BETWEEN_EXCHANGES }, "on again");
    pair.server.kept();
    pair.client.write(GET);
    await until("an answer", () => pair.client.readableLength > 0);
    assert.match(pair.client.readAll().toString(), "hi");
    assert.is(sockets.length, 1);
    const other = connectionPair();
    other.server.state = BETWEEN_EXCHANGES;
    application.accept(other.server);
    other.client.shutdown();
    await until("its end", () => application.connections === 1);
    assert.is(sockets.length, 1, "a client that left needs none");
    pair.client.abort();
    await until("nothing left", () => application.connections === 0);
    close();
  },
);

moving("a state that is not a splice's is refused", async () => {
  const { application, close } = await serve(() => undefined);
  const pair = connectionPair();
  pair.server.state = Uint8Array.of(2, 3);
  application.accept(pair.server);
  assert.is(pair.server.letGo, "abort");
  close();
});

moving.run();
