import { once } from "node:events";
import * as http from "node:http";
import * as net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { attach } from "../../host/app/attach.ts";
import { ApplicationBackend } from "../../host/app/backend.ts";
import type { BatonSocket } from "../../host/app/socket.ts";
import { CLIENT, connectionPair, SERVICE } from "../support/connection.ts";
import { dial, readText } from "../support/dial.ts";
import { HeldClock } from "../support/heldclock.ts";
import { holdLoop, turns, until } from "../support/wait.ts";

const backends = suite("app/backend");

let release = () => {};
backends.before(() => void (release = holdLoop()));
backends.after(() => release());

const GET = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

backends("a net server's listener gets sockets with the server's options", async () => {
  const options = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 5000 };
  const server = net.createServer({ ...options, pauseOnConnect: true, highWaterMark: 1234 });
  const attached = attach(server);
  const arrived = once(server, "connection") as Promise<[BatonSocket]>;
  const { server: end } = dial(attached);
  const [socket] = await arrived;
  assert.is(socket.remoteAddress, CLIENT.address);
  assert.equal([end.noDelay, end.keepAliveMs], [true, 5000]);
  assert.is(socket.isPaused(), true);
  assert.is(socket.allowHalfOpen, false);
  assert.is(socket.readableHighWaterMark, 1234);
  assert.is(socket.server, server);
  socket.destroy();
  await close(server);
});

backends("a net server echoes, half-closed clients included", async () => {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  const { socket } = dial(attach(server));
  socket.end("there and back");
  assert.is(await readText(socket), "there and back");
  await close(server);
});

backends("maxConnections counts both kinds, drops the rest and says so", async () => {
  const server = net.createServer((socket) => socket.on("error", () => undefined));
  server.maxConnections = 2;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const attached = attach(server);
  const direct = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1");
  await once(server, "connection");
  const first = dial(attached);
  const dropped = once(server, "drop");
  const second = dial(attached);
  assert.equal(await dropped, [
    {
      localAddress: SERVICE.address,
      localPort: SERVICE.port,
      localFamily: "IPv4",
      remoteAddress: CLIENT.address,
      remotePort: CLIENT.port,
      remoteFamily: "IPv4",
    },
  ]);
  assert.is(second.server.letGo, "close");
  assert.is(first.server.letGo, undefined);
  assert.is(await count(server), 2);
  direct.destroy();
  first.socket.destroy();
  second.socket.destroy();
  await close(server);
});

backends("a blockList refuses a migrated client where Node knows one", async () => {
  const blockList = new net.BlockList();
  blockList.addAddress(CLIENT.address);
  const server = net.createServer();
  Object.assign(server, { blockList }); // An option of its own since Node 22.13.
  const { server: end } = dial(attach(server));
  assert.is(end.letGo, "close");
  await close(server);
});

backends(
  "close() of a server that never listened waits, then calls back without an error",
  async () => {
    const server = net.createServer((socket) => socket.resume());
    const attached = attach(server);
    const { socket } = dial(attached);
    let closed = 0;
    server.on("close", () => (closed += 1));
    const closing = close(server);
    await turns(10);
    assert.is(closed, 0);
    assert.is(attached.accepts(), false);
    assert.is(dial(attached).server.letGo, "abort");
    socket.end();
    await closing;
    await turns(5);
    assert.is(closed, 1);
  },
);

backends("no 'close' of a server that nobody closed, however often it drains", async () => {
  const server = net.createServer((socket) => socket.resume());
  let closed = 0;
  server.on("close", () => (closed += 1));
  const attached = attach(server);
  for (let i = 0; i < 3; i += 1) {
    dial(attached).socket.end();
    await until("it ended", () => attached.connections === 0);
  }
  await turns(5);
  assert.is(closed, 0);
  assert.is(await count(server), 0);
  await close(server);
  assert.is(closed, 1);
});

backends("a server that listens again is attached again", async () => {
  const server = net.createServer((socket) => socket.end("hello"));
  const attached = attach(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  await close(server);
  assert.is(attached.accepts(), false);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  assert.is(await readText(dial(attached).socket), "hello");
  await close(server);
});

backends(
  "an exception of a 'connection' listener is the application's, not the node's",
  async () => {
    const server = net.createServer(() => {
      throw new Error("from the application");
    });
    const caught = new Promise<Error>((resolve) => process.once("uncaughtException", resolve));
    const { socket } = dial(attach(server));
    assert.is((await caught).message, "from the application");
    socket.destroy();
  },
);

backends("anything that is no server is refused with a clear message", () => {
  for (const it of [undefined, null, () => undefined, {}, new http.Agent()]) {
    assert.throws(() => attach(it as never), /attach: expected a net, http, https, tls or http2/);
  }
});

function makeBackend() {
  const calls: string[] = [];
  const backend = new ApplicationBackend({
    drain: () => void calls.push("drain"),
    reloadKeys: () => void calls.push("reloadKeys"),
    stop: () => Promise.resolve(void calls.push("stop")),
  });
  backend.on("close", () => calls.push("close"));
  return { backend, calls };
}

backends("keys are read again when the application says so, and only then", () => {
  const { backend, calls } = makeBackend();
  assert.equal(calls, []);
  backend.reloadKeys();
  assert.equal(calls, ["reloadKeys"]);
});

backends(
  "a connection goes to the server of its port, else to any, else to listeners",
  async () => {
    const { backend } = makeBackend();
    const named = net.createServer((socket) => socket.end("named"));
    const any = net.createServer((socket) => socket.end("any"));
    const at = (port: number) =>
      readText(dial(backend.applications, { server: { ...SERVICE, port } }).socket);
    const local = (port: number) => backend.applications.accepts({ ...SERVICE, port });
    assert.is(local(80), false);
    backend.on("connection", (socket) => socket.end("listener"));
    assert.is(await at(443), "listener");
    backend.attach(any);
    backend.attach(named, { ports: [443, 8443] });
    assert.is(await at(443), "named");
    assert.is(await at(80), "any");
    backend.detach(named);
    assert.is(await at(443), "any");
    backend.detach(any);
    assert.is(await at(80), "listener");
    backend.removeAllListeners("connection");
    assert.is(local(80), false);
    assert.is(await at(80), "!ECONNRESET");
  },
);

backends("attaching twice, bad ports and a closed backend are refused", async () => {
  const { backend } = makeBackend();
  const server = net.createServer();
  assert.throws(() => backend.attach(server, { ports: [0] }), /ports: expected 1 to 65535, got 0/);
  assert.is(Object.hasOwn(server, "close"), false);
  backend.attach(server);
  assert.throws(() => backend.attach(server), /attached already/);
  await backend.close();
  assert.throws(() => backend.attach(net.createServer()), /closed/);
});

backends("close() drains the node, lets requests finish, resets the rest, then stops", async () => {
  const { backend, calls } = makeBackend();
  const held: http.ServerResponse[] = [];
  const web = http.createServer((_req, res) => held.push(res));
  backend.attach(web, { ports: [80] });
  backend.on("connection", () => calls.push("raw"));
  const busy = dial(backend.applications).socket;
  const raw = dial(backend.applications, { server: { ...SERVICE, port: 9 } }).socket;
  busy.write(GET);
  await until("it was read", () => held.length === 1);
  assert.is(backend.connections, 2);
  const clock = new HeldClock();
  const closing = backend.close({ graceMs: 60 });
  assert.is(backend.close(), closing);
  assert.is(backend.applications.accepts(SERVICE), false);
  held[0]?.end("done");
  assert.match(await readText(busy), /Connection: close[^]*done$/);
  await until("the other one is left", () => backend.connections === 1);
  clock.pass(60);
  clock.release();
  assert.is(await readText(raw), "!ECONNRESET");
  assert.equal(await closing, { ended: 1, aborted: 1 });
  assert.equal(calls, ["raw", "drain", "stop", "close"]);
});

backends("close() waits also for what a detached server still serves", async () => {
  const { backend } = makeBackend();
  const held: http.ServerResponse[] = [];
  const web = http.createServer((_req, res) => held.push(res));
  backend.attach(web);
  const { socket } = dial(backend.applications);
  socket.write(GET);
  await until("it was read", () => held.length === 1);
  backend.detach(web);
  assert.is(backend.connections, 1);
  const closing = backend.close();
  held[0]?.end("done");
  assert.match(await readText(socket), /done$/);
  assert.equal(await closing, { ended: 1, aborted: 0 });
  assert.is(web.listenerCount("request"), 1);
});

backends("a thousand connections come and go without a trace", async () => {
  const { backend } = makeBackend();
  const web = http.createServer((_req, res) => res.end("ok"));
  backend.attach(web);
  for (let round = 0; round < 10; round += 1) {
    const texts = Array.from({ length: 100 }, () => {
      const { socket } = dial(backend.applications);
      socket.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
      return readText(socket);
    });
    for (const text of await Promise.all(texts)) assert.match(text, /ok$/);
  }
  await until("all are gone", () => backend.connections === 0);
  assert.is(await count(web), 0);
  assert.is(web.listenerCount("close"), 0);
});

backends("a connection without an application in the end is reset", async () => {
  const { backend } = makeBackend();
  const { server } = connectionPair();
  backend.applications.accept(server);
  await turns(3);
  assert.ok(server.resetSent);
});

function count(server: net.Server): Promise<number> {
  return new Promise((resolve, reject) =>
    server.getConnections((error, number) => (error ? reject(error) : resolve(number))),
  );
}

function close(server: net.Server): Promise<void> {
  return new Promise((resolve, reject) =>
    server.close((error) => (error ? reject(error) : resolve())),
  );
}

backends.run();
