/**
 * Servers whose connections are routed by request: Node's own, and those behind --upstream. They are given one
 * request at a time and let go of the connection in between, whatever they do meanwhile; and socket.reroute().
 */
import { once } from "node:events";
import * as http from "node:http";
import * as net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { attach } from "../../host/app/attach.ts";
import { BatonSocket } from "../../host/app/socket.ts";
import { BETWEEN_EXCHANGES } from "../../host/app/splice.ts";
import { UpstreamApplication } from "../../host/app/upstream.ts";
import { connectionPair, type Pair } from "../support/connection.ts";
import { holdLoop, turns, until } from "../support/wait.ts";

const rerouting = suite("app/rerouting");

let release = () => {};
rerouting.before(() => void (release = holdLoop()));
rerouting.after(() => release());

const GET = Buffer.from("GET /one HTTP/1.1\r\nHost: a\r\n\r\n");
const NEXT = Buffer.from("GET /two HTTP/1.1\r\nHost: a\r\n\r\n");

/** A connection that is routed by request; its client only collects. */
function routedPair(): Pair {
  const pair = connectionPair();
  pair.server.routing = "request";
  const ignore = (): void => undefined;
  pair.client.listen({ readable: ignore, writable: ignore, ended: ignore, closed: ignore });
  return pair;
}

function webServer() {
  const asked: string[] = [];
  const server = http.createServer((request, response) => {
    asked.push(request.url ?? "");
    request.resume();
    request.on("end", () => response.end(`answer to ${request.url}`));
  });
  return { asked, server, attachment: attach(server) };
}

const received = async (pair: Pair, text: string): Promise<void> => {
  let all = "";
  await until(text, () => (all += pair.client.readAll().toString()).includes(text));
};

rerouting(
  "an http server is given one request, and the connection goes before the next",
  async () => {
    const { asked, server, attachment } = webServer();
    const errors: Error[] = [];
    server.on("clientError", (error) => errors.push(error));
    const pair = routedPair();
    attachment.accept(pair.server);
    pair.client.write(Buffer.concat([GET, NEXT]));
    await received(pair, "answer to /one");
    await until("a wish to move", () => pair.server.moving !== undefined);
    assert.is(pair.server.moving?.reroute, true);
    assert.is(pair.server.readableLength, NEXT.length);
    assert.is(pair.server.freeze().kind, "ready");
    pair.server.settle({ kind: "moved", node: "c" });
    await until("nobody there", () => attachment.connections === 0);
    await turns(5);
    assert.equal([asked, errors, pair.server.letGo], [["/one"], [], "moved"]);
  },
);

rerouting("when it is kept, the http server answers the next one, too", async () => {
  const { asked, attachment } = webServer();
  const pair = routedPair();
  attachment.accept(pair.server);
  const body = Buffer.from("POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
  pair.client.write(body);
  await received(pair, "answer to /one");
  pair.client.write(Buffer.concat([NEXT, NEXT]));
  await until("a wish to move", () => pair.server.moving !== undefined);
  // An answer that its server gave at that very moment, as a time limit would: it is heard afterwards.
  const keep = async (count: number): Promise<void> => {
    for (let tries = 0; asked.length < count && tries < 20; tries++) {
      await until("a wish or an answer", () => {
        return pair.server.moving !== undefined || asked.length === count;
      });
      if (pair.server.moving) pair.server.settle({ kind: "kept", reason: "nobody" });
    }
  };
  await keep(2);
  await received(pair, "answer to /two");
  await keep(3);
  await received(pair, "answer to /two");
  assert.equal(asked, ["/one", "/two", "/two"]);
  pair.client.abort();
  await until("nobody there", () => attachment.connections === 0);
});

rerouting("an http server that closes meanwhile loses nothing that moved", async () => {
  const { server, attachment } = webServer();
  const pair = routedPair();
  attachment.accept(pair.server);
  pair.client.write(Buffer.concat([GET, NEXT]));
  await until("a wish to move", () => pair.server.moving !== undefined);
  server.closeAllConnections();
  await turns(10);
  assert.is(pair.server.letGo, undefined, "it is not known whose it is");
  pair.server.settle({ kind: "moved", node: "c" });
  await until("nobody there", () => attachment.connections === 0);
  assert.is(pair.server.resetSent, false);
});

rerouting("a connection that came idle shows nothing before its request was routed", async () => {
  const { asked, attachment } = webServer();
  const pair = routedPair();
  pair.server.state = BETWEEN_EXCHANGES;
  attachment.accept(pair.server);
  pair.client.write(GET);
  await until("a wish to move", () => pair.server.moving !== undefined);
  await turns(5);
  assert.equal(asked, []);
  pair.server.settle({ kind: "moved", node: "c" });
  await until("nobody there", () => attachment.connections === 0);
});

rerouting("an upstream that closes while the connection moves ends nothing", async () => {
  const sockets: net.Socket[] = [];
  const upstream = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => undefined);
    socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  });
  upstream.listen(0, "127.0.0.1");
  await once(upstream, "listening");
  const { port } = upstream.address() as net.AddressInfo;
  for (const how of ["end", "resetAndDestroy"] as const) {
    const application = new UpstreamApplication({ kind: "tcp", host: "127.0.0.1", port });
    const pair = routedPair();
    application.accept(pair.server);
    pair.client.write(Buffer.concat([GET, NEXT]));
    await until("a wish to move", () => pair.server.moving !== undefined);
    sockets.at(-1)?.[how]();
    await turns(50);
    assert.is(pair.server.letGo, undefined, how);
    pair.server.settle({ kind: "moved", node: "c" });
    await until("nobody there", () => application.connections === 0);
    assert.is(
      application.counts().outcomes.moved + application.counts().outcomes["upstream-reset"],
      1,
    );
    assert.is(pair.server.letGo, "moved");
    assert.is(pair.server.resetSent, false);
  }
  upstream.close();
});

rerouting("socket.reroute() asks for a classifier, without a state", async () => {
  const { client, server } = connectionPair();
  const socket = new BatonSocket(server);
  const read: string[] = [];
  socket.on("data", (chunk) => read.push(String(chunk)));
  client.write(GET);
  await until("a request", () => read.length === 1);
  const outcome = socket.reroute();
  client.write(NEXT);
  await turns(10);
  assert.is(read.length, 1);
  assert.is(server.moving?.reroute, true);
  assert.equal(server.freeze(), { kind: "ready", state: new Uint8Array(0) });
  server.settle({ kind: "moved", node: "c" });
  assert.equal(await outcome, { kind: "moved", node: "c" });
  assert.is(socket.moved, true);
});

rerouting("socket.reroute() keeps a socket in which received bytes wait", async () => {
  const { client, server } = connectionPair();
  const socket = new BatonSocket(server);
  client.write(GET);
  await until("bytes", () => socket.readableLength > 0 || socket.read(0) === undefined);
  if (socket.readableLength === 0)
    await until("bytes", () => (socket.read(0), socket.readableLength > 0));
  assert.is((await socket.reroute()).kind, "kept");
  socket.destroy();
});

rerouting.run();
