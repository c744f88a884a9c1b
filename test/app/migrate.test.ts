/** socket.migrate() and what a draining backend may take of Node's servers, over connections in memory. */
import * as http from "node:http";
import * as net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { attach } from "../../host/app/attach.ts";
import { BatonSocket } from "../../host/app/socket.ts";
import { BETWEEN_EXCHANGES } from "../../host/app/splice.ts";
import type { MoveOutcome } from "../../host/node/connection.ts";
import { connectionPair, type PairOptions } from "../support/connection.ts";
import { holdLoop, turns, until } from "../support/wait.ts";

const migrate = suite("app/migrate");

let release = () => {};
migrate.before(() => void (release = holdLoop()));
migrate.after(() => release());

function socketPair(options: PairOptions = {}) {
  const { client, server } = connectionPair(options);
  const socket = new BatonSocket(server);
  const events: string[] = [];
  socket.on("error", (error) => events.push(`error ${String(error)}`));
  socket.on("end", () => events.push("end"));
  socket.on("close", (hadError: boolean) => events.push(`close ${hadError}`));
  return { client, server, socket, events };
}

const state = Uint8Array.of(7, 8, 9);

migrate("moved: the state goes along, the socket closes without an error and says so", async () => {
  const { client, server, socket, events } = socketPair();
  const read: string[] = [];
  socket.on("data", (chunk) => read.push(String(chunk)));
  client.write(Buffer.from("one"));
  await until("bytes", () => read.length === 1);
  const outcome = socket.migrate({ target: "b2", state });
  client.write(Buffer.from("two"));
  await turns(20);
  assert.equal(read, ["one"], "what comes from now on is for the other backend");
  assert.is(server.readableLength, 3);
  assert.is(server.moving?.target, "b2");
  assert.equal(server.freeze(), { kind: "ready", state });
  server.settle({ kind: "moved", node: "b2" });
  assert.equal(await outcome, { kind: "moved", node: "b2" });
  await until("an end", () => events.length > 0);
  assert.equal(events, ["close false"]);
  assert.is(socket.moved, true);
  assert.is(socket.destroyed, true);
  assert.is(server.letGo, "moved", "nothing was sent to the client");
  assert.equal(await socket.migrate(), { kind: "ended" });
});

migrate("kept: it goes on, with what came meanwhile", async () => {
  const { client, server, socket, events } = socketPair();
  const read: string[] = [];
  socket.on("data", (chunk) => read.push(String(chunk)));
  const outcome = socket.migrate({ state });
  await turns(5);
  client.write(Buffer.from("two"));
  assert.equal(await socket.migrate(), { kind: "kept", reason: "it is moving already" });
  server.settle({ kind: "kept", reason: "nobody took it" });
  assert.equal(await outcome, { kind: "kept", reason: "nobody took it" });
  await until("bytes", () => read.length === 1);
  socket.write("answer");
  await until("an answer", () => client.readableLength === 6);
  assert.is(socket.moved, false);
  assert.equal(events, []);
});

migrate("lost: the socket fails as by a reset", async () => {
  const { server, socket, events } = socketPair();
  const outcome = socket.migrate({ state });
  await turns(5);
  server.freeze();
  server.fail("ECONNRESET");
  server.settle({ kind: "lost" });
  assert.equal(await outcome, { kind: "lost" });
  await until("an end", () => events.length === 2);
  assert.match(events.join(), /^error .*ECONNRESET.*,close true$/);
  assert.is(socket.moved, false);
});

migrate("waits until what was written is in the stack", async () => {
  const { client, server, socket } = socketPair({ sendBuffer: 1000, receiveBuffer: 1000 });
  socket.write(Buffer.alloc(5000, "x"));
  const outcome = socket.migrate({ state });
  await turns(20);
  assert.is(server.moving, undefined, "3,000 bytes are in JavaScript still");
  let got = 0;
  for (let turn = 0; got < 5000 && turn < 1000; turn++) {
    got += client.readAll().length;
    await turns(1);
    if (server.moving) break;
  }
  await until("a request", () => server.moving !== undefined);
  assert.is(socket.writableLength, 0);
  socket.write(Buffer.alloc(3000, "y")); // Before it stands still: it must not be forgotten.
  assert.equal(server.freeze(), { kind: "busy", reason: "written bytes wait in the socket" });
  server.settle({ kind: "kept", reason: "written bytes wait in the socket" });
  assert.is((await outcome).kind, "kept");
  for (let turn = 0; got < 8000 && turn < 1000; turn++) {
    got += client.readAll().length;
    await turns(1);
  }
  assert.is(got, 8000);
});

migrate(
  "a write while it stands still: sent when it is kept, an error to its callback when it moved",
  async () => {
    for (const isMoved of [false, true]) {
      const { client, server, socket, events } = socketPair();
      const outcome = socket.migrate({ state });
      await turns(5);
      assert.is(server.freeze().kind, "ready");
      let told: Error | null | undefined | "not yet" = "not yet";
      socket.write("late", (error) => (told = error));
      await turns(5);
      assert.is(told, "not yet");
      const end: MoveOutcome = isMoved
        ? { kind: "moved", node: "x" }
        : { kind: "kept", reason: "y" };
      server.settle(end);
      await outcome;
      await until("an answer", () => told !== "not yet");
      if (isMoved) assert.instance(told, Error);
      else await until("it there", () => client.readAll().toString() === "late");
      assert.equal(
        events.filter((event) => event.startsWith("error")),
        [],
      );
    }
  },
);

migrate("bytes that wait in the socket keep it here; too much state is a mistake", async () => {
  const { client, socket } = socketPair();
  socket.once("readable", () => undefined);
  client.write(Buffer.from("unread"));
  await until("bytes", () => socket.readableLength === 6);
  assert.equal(await socket.migrate(), {
    kind: "kept",
    reason: "received bytes wait in the socket",
  });
  assert.throws(() => void socket.migrate({ state: new Uint8Array(4097) }), /at most 4096 bytes/);
  assert.is(String(socket.read()), "unread");
});

migrate(
  "a state that is a function is asked when nothing waits in the socket any more",
  async () => {
    const { client, server, socket } = socketPair();
    socket.once("readable", () => undefined);
    client.write(Buffer.from("unread"));
    await until("bytes", () => socket.readableLength === 6);
    let read = "";
    const outcome = socket.migrate({ state: () => Buffer.from(read) });
    client.write(Buffer.from("more"));
    await turns(10);
    assert.is(server.moving, undefined, "it waits for its reader");
    read += String(socket.read());
    await until("a request", () => server.moving !== undefined);
    assert.equal(server.freeze(), { kind: "ready", state: Buffer.from("unread") });
    server.settle({ kind: "moved", node: "b2" });
    assert.is((await outcome).kind, "moved");
    assert.is(server.readableLength, 0);
    const other = socketPair();
    const fails = other.socket.migrate({
      state: () => {
        throw new Error("no state");
      },
    });
    const answer = other.server.freeze();
    assert.equal(answer, { kind: "busy", reason: "its state cannot be had: Error: no state" });
    other.server.settle({ kind: "kept", reason: "x" });
    assert.is((await fails).kind, "kept");
  },
);

migrate("destroyed while it waits: the promise says that it is over", async () => {
  const { socket } = socketPair({ sendBuffer: 10, receiveBuffer: 10 });
  socket.write(Buffer.alloc(100), () => undefined);
  const outcome = socket.migrate({ state });
  await turns(5);
  socket.destroy();
  assert.equal(await outcome, { kind: "ended" });
});

migrate("a socket that nobody offers does not leave by itself", () => {
  const { server } = socketPair();
  assert.equal(server.readiness(), { kind: "never", reason: "its application does not move it" });
});

migrate("an http server's connection may go between two requests, and only then", async () => {
  let answer: (() => void) | undefined;
  const httpServer = http.createServer((_request, response) => {
    answer = () => void response.end("hello");
  });
  const attachment = attach(httpServer);
  const { client, server } = connectionPair();
  attachment.accept(server);
  const request = Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  client.write(request.subarray(0, 5));
  await until("half a head", () => server.bytesRead === 5);
  assert.equal(server.readiness(), { kind: "busy", reason: "a request is under way" });
  client.write(request.subarray(5));
  await until("a request", () => answer !== undefined);
  assert.is(server.readiness().kind, "busy");
  answer?.();
  await until("an offer", () => server.offers > 0);
  assert.equal(server.readiness(), { kind: "ready", state: BETWEEN_EXCHANGES });
  client.write(request);
  await turns(10);
  assert.is(server.bytesRead, request.length, "the next one is for another backend");
  client.readAll();
  answer = undefined;
  server.kept();
  await until("the next one", () => answer !== undefined);
  (answer as unknown as () => void)();
  await until("its answer", () => client.readableLength > 0);
  assert.is(server.readiness().kind, "ready");
  server.migrate({ ready: () => server.readiness(), done: () => undefined });
  assert.is(server.freeze().kind, "ready");
  server.settle({ kind: "moved", node: "b2" });
  await until("it is gone", () => attachment.connections === 0);
  assert.is(server.letGo, "moved");
});

migrate(
  "an http server takes one that comes between two requests, and no other state",
  async () => {
    const httpServer = http.createServer((_request, response) => void response.end("hello"));
    const attachment = attach(httpServer);
    const between = connectionPair();
    between.server.state = BETWEEN_EXCHANGES;
    attachment.accept(between.server);
    between.client.write(Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    await until("an answer", () => between.client.readableLength > 0);
    const strange = connectionPair();
    strange.server.state = state;
    attachment.accept(strange.server);
    assert.is(strange.server.letGo, "abort");
    const quiet = (socket: net.Socket): void => void socket.resume().on("error", () => undefined);
    const plain = attach(net.createServer(quiet));
    const own = connectionPair();
    own.server.state = state;
    plain.accept(own.server);
    assert.is(own.server.letGo, undefined, "a net server may know what it means");
    between.client.abort();
    own.client.abort();
    await until("the end", () => attachment.connections + plain.connections === 0);
  },
);

migrate.run();
