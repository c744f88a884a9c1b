import fc from "fast-check";
import { once } from "node:events";
import { pipeline } from "node:stream/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BatonSocket } from "../../host/app/socket.ts";
import { connectionPair } from "../support/connection.ts";
import type { FakeConnection } from "../support/connection.ts";
import { HeldClock } from "../support/heldclock.ts";
import { turns, until } from "../support/wait.ts";

const sockets = suite("app/socket");

/** Names of the events that a test looks at, in the order they came. */
function journal(socket: BatonSocket): string[] {
  const lines: string[] = [];
  socket.on("data", (chunk: Buffer) => lines.push(`data ${chunk.length}`));
  socket.on("end", () => lines.push("end"));
  socket.on("finish", () => lines.push("finish"));
  socket.on("error", (error: NodeJS.ErrnoException) => lines.push(`error ${error.code}`));
  socket.on("close", (hadError: boolean) => lines.push(`close ${hadError}`));
  return lines;
}

async function settle(socket: BatonSocket): Promise<void> {
  await until("the socket is closed", () => socket.closed);
  await turns(2);
}

sockets("leave received bytes in the connection until somebody wants them", async () => {
  const { client, server } = connectionPair({ receiveBuffer: 1000 });
  const socket = new BatonSocket(server);
  client.write(Buffer.alloc(5000));
  await turns(20);
  assert.is(server.reads, 0);
  assert.is(server.readableLength, 1000);
  assert.is(socket.readableLength, 0);
  let received = 0;
  socket.on("data", (chunk: Buffer) => (received += chunk.length));
  await until("all bytes came", () => received === 5000);
  assert.is(socket.bytesRead, 5000);
  socket.destroy();
});

sockets("stop reading at the high-water mark when nobody consumes", async () => {
  const { client, server } = connectionPair({ receiveBuffer: 1 << 20, sendBuffer: 1 << 20 });
  const socket = new BatonSocket(server, { highWaterMark: 1024 });
  client.write(Buffer.alloc(500_000));
  socket.once("readable", () => undefined);
  await turns(20);
  assert.ok(server.readableLength >= 500_000 - 2 * 65_536, `left ${server.readableLength}`);
  socket.destroy();
  await turns(3);
  assert.ok(server.resetSent);
});

sockets("call back when the send buffer has taken a write, not before", async () => {
  const { client, server } = connectionPair({ sendBuffer: 100, receiveBuffer: 100 });
  const socket = new BatonSocket(server, { highWaterMark: 150 });
  let taken = false;
  assert.is(
    socket.write(Buffer.alloc(250), () => (taken = true)),
    false,
  );
  await turns(20);
  assert.is(taken, false);
  assert.is(socket.writableLength, 250);
  assert.is(socket.bytesWritten, 250);
  const drained = once(socket, "drain");
  client.readAll();
  await drained;
  assert.ok(taken);
  assert.is(socket.bytesWritten, 250);
  socket.destroy();
  assert.is(socket.bytesWritten, 250);
});

sockets("join corked writes into one", async () => {
  const { client, server } = connectionPair();
  const socket = new BatonSocket(server);
  let callbacks = 0;
  socket.cork();
  for (let i = 0; i < 50; i += 1) socket.write(`line ${i}\n`, () => (callbacks += 1));
  socket.uncork();
  await turns(5);
  assert.is(server.writes, 1);
  assert.is(callbacks, 50);
  assert.is(client.readAll().toString().split("\n").length, 51);
  socket.destroy();
});

sockets("send a FIN on end and give 'end' for the peer's FIN", async () => {
  const { client, server } = connectionPair();
  const socket = new BatonSocket(server, { allowHalfOpen: true });
  const lines = journal(socket);
  let clientEnded = false;
  client.listen({ ...deaf(), ended: () => (clientEnded = true) });
  client.write(Buffer.from("question"));
  client.shutdown();
  await until("the peer's FIN came", () => lines.includes("end"));
  assert.is(socket.readyState, "writeOnly");
  await turns(5);
  assert.is(clientEnded, false);
  socket.end("answer");
  await settle(socket);
  assert.is(client.readAll().toString(), "answer");
  assert.is(clientEnded, true);
  assert.equal(lines, ["data 8", "end", "finish", "close false"]);
  assert.is(server.letGo, "close");
  assert.is(server.resetSent, false);
  assert.is(socket.readyState, "closed");
});

sockets("answer a FIN with a FIN unless half-open is allowed", async () => {
  const { client, server } = connectionPair();
  const socket = new BatonSocket(server);
  const lines = journal(socket);
  client.shutdown();
  await settle(socket);
  assert.equal(lines, ["end", "finish", "close false"]);
  assert.ok(client.isOver);
});

sockets("go on reading after their own end", async () => {
  const { client, server } = connectionPair();
  const socket = new BatonSocket(server);
  const lines = journal(socket);
  socket.end();
  await turns(5);
  assert.is(socket.readyState, "readOnly");
  client.write(Buffer.alloc(7));
  client.shutdown();
  await settle(socket);
  assert.equal(lines, ["finish", "data 7", "end", "close false"]);
});

sockets("close by themselves when both sides ended and nobody ever read", async () => {
  const { client, server } = connectionPair();
  const socket = new BatonSocket(server);
  client.shutdown();
  await settle(socket);
  assert.is(server.letGo, "close");
});

sockets("deliver what came before a FIN and a close to a reader that starts late", async () => {
  const { client, server } = connectionPair();
  const socket = new BatonSocket(server);
  client.write(Buffer.from("late"));
  client.shutdown();
  socket.end();
  await turns(20);
  assert.ok(server.isOver);
  const lines = journal(socket);
  await settle(socket);
  assert.equal(lines, ["data 4", "end", "close false"]);
});

sockets("deliver what came before a reset, then the error", async () => {
  const { client, server } = connectionPair();
  const socket = new BatonSocket(server);
  client.write(Buffer.from("before"));
  await turns(5);
  client.abort();
  await turns(5);
  assert.is(socket.destroyed, false);
  const lines = journal(socket);
  await settle(socket);
  assert.equal(lines, ["data 6", "error ECONNRESET", "close true"]);
  assert.is(server.letGo, "close");
});

sockets("give an async iterator every byte before it throws", async () => {
  const { client, server } = connectionPair({ receiveBuffer: 300_000, sendBuffer: 300_000 });
  const socket = new BatonSocket(server);
  client.write(Buffer.alloc(200_000));
  await turns(5);
  client.abort();
  let received = 0;
  let code = "";
  try {
    for await (const chunk of socket) {
      received += (chunk as Buffer).length;
      await turns(1);
    }
  } catch (error) {
    code = (error as NodeJS.ErrnoException).code ?? "";
  }
  assert.is(received, 200_000);
  assert.is(code, "ECONNRESET");
});

sockets("report a reset and a time-out at once when nothing is unread", async () => {
  for (const code of ["ECONNRESET", "ETIMEDOUT"]) {
    const { server } = connectionPair();
    const socket = new BatonSocket(server);
    const failed = once(socket, "error") as Promise<[NodeJS.ErrnoException]>;
    server.fail(code);
    const [error] = await failed;
    assert.is(error.code, code);
    assert.is(error.syscall, "read");
    assert.is(error.message, `read ${code}`);
    assert.ok((error.errno ?? 0) < 0);
    await settle(socket);
  }
});

sockets("tell a waiting writer of a reset, even with bytes unread", async () => {
  const { client, server } = connectionPair({ sendBuffer: 10, receiveBuffer: 10 });
  const socket = new BatonSocket(server);
  socket.on("error", () => undefined);
  client.write(Buffer.from("unread"));
  await turns(3);
  const told = new Promise<string>((resolve) => {
    socket.write(Buffer.alloc(100), (error) =>
      resolve((error as NodeJS.ErrnoException).code ?? ""),
    );
  });
  client.abort();
  assert.is(await told, "ECONNRESET");
  await settle(socket);
});

sockets("refuse a write after a reset", async () => {
  const { client, server } = connectionPair();
  const socket = new BatonSocket(server);
  client.write(Buffer.from("unread"));
  await turns(3);
  client.abort();
  await turns(3);
  const lines: string[] = [];
  socket.on("error", (error: NodeJS.ErrnoException) => lines.push(error.code ?? ""));
  socket.write("too late", (error) => lines.push(`write ${(error as { code?: string }).code}`));
  await settle(socket);
  assert.equal(lines, ["write ECONNRESET", "ECONNRESET"]);
});

sockets("send what was written and a FIN when destroyed without a loss", async () => {
  const { client, server } = connectionPair();
  const socket = new BatonSocket(server);
  socket.write("HTTP/1.1 408 Request Timeout\r\n\r\n");
  socket.destroy(new Error("the application gives up"));
  socket.on("error", () => undefined);
  let ended = false;
  client.listen({ ...deaf(), ended: () => (ended = true) });
  await settle(socket);
  await turns(5);
  assert.is(client.readAll().toString(), "HTTP/1.1 408 Request Timeout\r\n\r\n");
  assert.ok(ended);
  assert.is(server.resetSent, false);
});

sockets("reset when destroyed with writes that were never taken", async () => {
  const { client, server } = connectionPair({ sendBuffer: 10, receiveBuffer: 10 });
  const socket = new BatonSocket(server);
  let code = "";
  socket.write(Buffer.alloc(100), (error) => (code = (error as { code?: string }).code ?? ""));
  const reset = closedWith(client);
  socket.destroy();
  assert.is(await reset, "ECONNRESET");
  assert.is(server.letGo, "abort");
  await settle(socket);
  assert.is(code, "ERR_STREAM_DESTROYED");
});

sockets("reset when destroyed with bytes unread", async () => {
  const { client, server } = connectionPair();
  const socket = new BatonSocket(server);
  client.write(Buffer.from("unread"));
  await turns(3);
  const reset = closedWith(client);
  socket.destroy();
  assert.is(await reset, "ECONNRESET");
});

sockets("reset when told to", async () => {
  const { client, server } = connectionPair();
  const socket = new BatonSocket(server);
  const reset = closedWith(client);
  socket.resetAndDestroy();
  assert.is(await reset, "ECONNRESET");
  await settle(socket);
  assert.is(server.letGo, "abort");
});

sockets("finish a slow download before destroySoon closes it", async () => {
  const { client, server } = connectionPair({ sendBuffer: 1000, receiveBuffer: 1000 });
  const socket = new BatonSocket(server);
  socket.write(Buffer.alloc(20_000));
  socket.destroySoon();
  let received = 0;
  client.listen({ ...deaf(), readable: () => (received += client.readAll().length) });
  await settle(socket);
  await until("the rest arrived", () => received === 20_000);
  assert.is(server.resetSent, false);
});

sockets("know both addresses, before and after the end", async () => {
  const { server } = connectionPair({
    client: { address: "2001:db8::7", port: 50_000, family: 6 },
    server: { address: "fd00::100", port: 443, family: 6 },
  });
  const socket = new BatonSocket(server);
  const look = () => {
    assert.equal(
      [socket.remoteAddress, socket.remotePort, socket.remoteFamily],
      ["2001:db8::7", 50_000, "IPv6"],
    );
    assert.equal(
      [socket.localAddress, socket.localPort, socket.localFamily],
      ["fd00::100", 443, "IPv6"],
    );
    assert.equal(socket.address(), { address: "fd00::100", family: "IPv6", port: 443 });
  };
  look();
  socket.destroy();
  await settle(socket);
  look();
});

sockets("pass socket options on, and none after the end", async () => {
  const { server } = connectionPair();
  const socket = new BatonSocket(server);
  assert.is(socket.setNoDelay().setKeepAlive(true, 30_000).ref().unref(), socket);
  assert.equal([server.noDelay, server.keepAliveMs], [true, 30_000]);
  socket.setKeepAlive(true);
  assert.is(server.keepAliveMs, 7_200_000);
  socket.setKeepAlive(false);
  assert.is(server.keepAliveMs, 0);
  socket.destroy();
  socket.setNoDelay().setKeepAlive(true, 1).setTimeout(5);
  assert.is(server.keepAliveMs, 0);
  await settle(socket);
});

sockets("time out once when idle, and not while bytes are acknowledged", async () => {
  const clock = new HeldClock();
  try {
    const { client, server } = connectionPair({ receiveBuffer: 10 });
    const socket = new BatonSocket(server);
    let timeouts = 0;
    socket.on("timeout", () => (timeouts += 1));
    socket.setTimeout(60);
    assert.is(socket.timeout, 60);
    socket.write(Buffer.alloc(100));
    await until("the peer's buffer is full", () => client.readableLength === 10);
    for (let ms = 0; server.writableLength > 0; ms += 45) {
      assert.is(timeouts, 0, `after ${ms} ms, 45 after the last acknowledgement`);
      const before = server.writableLength;
      client.read(new Uint8Array(4));
      await until("it is acknowledged", () => server.writableLength < before);
      clock.pass(45);
    }
    assert.is(timeouts, 0);
    clock.pass(120);
    assert.is(timeouts, 1);
    clock.pass(600);
    assert.is(timeouts, 1);
    socket.setTimeout(0);
    assert.throws(() => socket.setTimeout(-1), RangeError);
    assert.throws(() => socket.setTimeout(NaN), RangeError);
    socket.setTimeout(60);
    socket.write(Buffer.alloc(1));
    clock.pass(59);
    assert.is(timeouts, 1);
    clock.pass(60);
    assert.is(timeouts, 2, "armed again");
    socket.destroy();
    await settle(socket);
  } finally {
    clock.release();
  }
});

sockets("keep an application's exception out of the node", async () => {
  const { client, server } = connectionPair();
  const socket = new BatonSocket(server);
  socket.on("data", () => {
    throw new Error("from the application");
  });
  await turns(2);
  const caught = new Promise<Error>((resolve) => process.once("uncaughtException", resolve));
  client.write(Buffer.from("x"));
  assert.is((await caught).message, "from the application");
  socket.destroy();
  await settle(socket);
});

sockets("carry the same bytes through any chunking and back-pressure", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        sendBuffer: fc.integer({ min: 1, max: 70_000 }),
        receiveBuffer: fc.integer({ min: 1, max: 70_000 }),
        carry: fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 1, maxLength: 20 }),
        highWaterMark: fc.integer({ min: 1, max: 40_000 }),
        chunks: fc.array(fc.integer({ min: 0, max: 30_000 }), { maxLength: 12 }),
        corked: fc.boolean(),
        halfOpen: fc.boolean(),
      }),
      echoesEveryByte,
    ),
    { numRuns: 60 },
  );
});

interface Weather {
  sendBuffer: number;
  receiveBuffer: number;
  carry: number[];
  highWaterMark: number;
  chunks: number[];
  corked: boolean;
  halfOpen: boolean;
}

/** A client writes, an echo answers through a pipeline, the client reads it all back. */
async function echoesEveryByte(weather: Weather): Promise<void> {
  // Small buffers with long streams need too many turns: keep the product bounded.
  const scale = Math.min(weather.sendBuffer, weather.receiveBuffer, ...weather.carry);
  const chunks = weather.chunks.map((length) => Math.min(length, scale * 200));
  let step = 0;
  const { client, server } = connectionPair({
    ...weather,
    carry: () => weather.carry[step++ % weather.carry.length] as number,
  });
  const options = { highWaterMark: weather.highWaterMark };
  const echo = new BatonSocket(server, { ...options, allowHalfOpen: true });
  const caller = new BatonSocket(client, { ...options, allowHalfOpen: weather.halfOpen });
  const echoed = pipeline(echo, echo);
  const sent: Buffer[] = [];
  let seed = 1;
  if (weather.corked) caller.cork();
  for (const length of chunks) {
    const chunk = Buffer.alloc(length);
    for (let i = 0; i < length; i += 1) chunk[i] = (seed = (seed * 16_807) % 2_147_483_647) & 0xff;
    sent.push(chunk);
    caller.write(chunk);
  }
  caller.end();
  const received: Buffer[] = [];
  caller.on("data", (chunk: Buffer) => received.push(chunk));
  await Promise.all([echoed, once(caller, "close")]);
  assert.ok(Buffer.concat(sent).equals(Buffer.concat(received)));
  assert.is(caller.bytesRead, Buffer.concat(sent).length);
  assert.is(caller.bytesWritten, caller.bytesRead);
  assert.equal([client.resetSent, server.resetSent], [false, false]);
}

function deaf() {
  const nothing = () => undefined;
  return { readable: nothing, writable: nothing, ended: nothing, closed: nothing };
}

function closedWith(connection: FakeConnection): Promise<string> {
  return new Promise((resolve) =>
    connection.listen({ ...deaf(), closed: (error) => resolve(error?.code ?? "") }),
  );
}

sockets.run();
