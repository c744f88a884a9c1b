/** The operators' socket: orders and answers, who may use it, and what a hostile or careless client does. */
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { askControl, servedSockets } from "../../host/control/client.ts";
import { LINE_MAX, parseRequest } from "../../host/control/protocol.ts";
import type { ControlAnswer, ControlRequest } from "../../host/control/protocol.ts";
import { openControl } from "../../host/control/server.ts";
import { until } from "../support/wait.ts";

const control = suite("control");

let folder = "";
control.before.each(() => void (folder = mkdtempSync(join(tmpdir(), "baton-control-"))));
control.after.each(() => rmSync(folder, { recursive: true }));

const PROGRESS: ControlAnswer = {
  event: "progress",
  backend: "b1",
  alive: true,
  confirmed: true,
  draining: true,
  open: 3,
  moving: 1,
  moved: 2,
  lost: 0,
  remaining: [{ reason: "a request is under way", count: 3, isFinal: false }],
};

/** A server that notes orders, answers each at once, and notes when its command is gone. */
async function serve(path: string) {
  const orders: ControlRequest[] = [];
  let gone = 0;
  const server = await openControl({
    path,
    order: (request, answer) => {
      orders.push(request);
      answer(PROGRESS);
      return () => void gone++;
    },
  });
  return { server, orders, gone: () => gone };
}

/** Everything the server says to these bytes, until it ends the connection. */
function say(path: string, bytes: string | Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = net.connect(path, () => socket.write(bytes));
    socket.on("data", (chunk) => (text += chunk.toString()));
    socket.on("end", () => resolve(text));
    socket.on("error", reject);
  });
}

async function failure(action: Promise<unknown>): Promise<string> {
  try {
    await action;
  } catch (error) {
    return String((error as Error).message);
  }
  return "no error";
}

control("carries an order there and answers back, for its owner only", async () => {
  const path = join(folder, "deep", "f.sock");
  const { server, orders, gone } = await serve(path);
  assert.is(statSync(path).mode & 0o777, 0o600);
  const answers: ControlAnswer[] = [];
  await askControl(path, { do: "drain", backend: "b1" }, (answer) => answers.push(answer) > 0);
  assert.equal(answers, [PROGRESS]);
  assert.equal(orders, [{ do: "drain", backend: "b1" }]);
  await until("it is told that the command is gone", () => gone() === 1);
  server.close();
  assert.is(existsSync(path), false);
});

control("says what is wrong with a socket, in one line", async () => {
  const path = join(folder, "f.sock");
  const ask = () => askControl(path, { do: "drain", backend: "b1" }, () => true);
  assert.match(await failure(ask()), /f\.sock: no forwarder serves it$/);
  const { server } = await serve(path);
  assert.match(await failure(serve(path)), /expected a free one/);
  server.close();
  writeFileSync(path, "");
  assert.match(await failure(serve(path)), /control socket/, "a file is not replaced");
  assert.is(existsSync(path), true);
  const closed = join(folder, "closed");
  const { server: other } = await serve(join(closed, "f.sock"));
  const closes = (): boolean => (other.close(), false);
  const pending = askControl(other.path, { do: "drain", backend: "b1" }, closes);
  assert.match(await failure(pending), /the daemon closed it/);
  if (process.getuid?.() === 0) return; // Nothing is forbidden to root.
  chmodSync(closed, 0o500);
  assert.match(await failure(serve(join(closed, "g.sock"))), /EACCES/);
});

control("takes the place of a process that was killed", async () => {
  const path = join(folder, "f.sock");
  const script = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`;
  const { spawnSync } = await import("node:child_process");
  spawnSync(process.execPath, ["-e", script]);
  assert.is(existsSync(path), true, "it left its socket behind");
  const { server, orders } = await serve(path);
  await askControl(path, { do: "status", backend: "b1" }, () => true);
  assert.is(orders.length, 1);
  server.close();
});

control("a request is one object of a known form, or none", () => {
  assert.equal(parseRequest('{"do":"undrain","backend":"b1","more":1}'), {
    do: "undrain",
    backend: "b1",
  });
  const wrong = ["", "{", "1", "null", "[]", '"drain"', "{}", '{"do":"drain"}'];
  wrong.push(
    '{"do":"stop","backend":"b1"}',
    '{"do":"drain","backend":1}',
    '{"do":"drain","backend":""}',
  );
  wrong.push('{"do":["drain"],"backend":"b1"}', `{"do":"drain","backend":"${"x".repeat(256)}"}`);
  wrong.push('{"do":"toString","backend":"b1"}', '{"__proto__":{"do":"drain","backend":"b1"}}');
  for (const line of wrong) assert.is(parseRequest(line), undefined, line);
});

control("whatever is sent: an error and an end, and the next command is served", async () => {
  const path = join(folder, "f.sock");
  const { server, orders } = await serve(path);
  const noise = [
    "\n",
    "GET / HTTP/1.1\r\n\r\n",
    "x".repeat(LINE_MAX + 1),
    `{"do":"drain","backend":"${" ".repeat(LINE_MAX)}"}\n`,
    Buffer.from([0xff, 0xfe, 0x00, 0x0a]),
    "[".repeat(5000) + "\n",
  ];
  for (const bytes of noise) {
    const { event, message } = JSON.parse(await say(path, bytes)) as Record<string, string>;
    assert.equal([event, message], ["error", "expected a request in JSON, got something else"]);
  }
  assert.is(orders.length, 0);
  await askControl(path, { do: "drain", backend: "b1" }, () => true);
  assert.is(orders.length, 1);
  const silent = Array.from({ length: 40 }, () => net.connect(path).on("error", () => undefined));
  await Promise.all(
    silent.map((socket) => new Promise((resolve) => socket.once("connect", resolve))),
  );
  for (const socket of silent) socket.destroy();
  for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
  await askControl(path, { do: "drain", backend: "b1" }, () => true);
  assert.is(orders.length, 2);
  server.close();
});

control("an answer that is none is a fault of the socket, not of the program", async () => {
  for (const answer of [
    "HTTP/1.1 400 Bad Request\r\n",
    "null\n",
    "[]\n",
    "{}\n",
    '{"event":1}\n',
  ]) {
    const path = join(folder, "other.sock");
    const server = net.createServer((socket) => {
      socket.on("error", () => undefined);
      socket.resume().end(answer);
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const asked = askControl(
      path,
      { do: "status", backend: "b1" },
      ({ event }) => event === "error",
    );
    assert.match(
      await failure(asked),
      /^control socket .*other\.sock: expected an answer, got /,
      answer,
    );
    await new Promise((resolve) => server.close(resolve));
  }
});

control("an answer without an end is a fault too, and nobody reads on for it", async () => {
  const path = join(folder, "endless.sock");
  const server = net.createServer((socket) => {
    const write = (): void => {
      while (!socket.destroyed && socket.write('{"event":'.padEnd(1000, " ")));
    };
    socket.on("error", () => undefined).on("drain", write);
    write();
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const asked = askControl(path, { do: "status", backend: "b1" }, () => true);
  assert.match(await failure(asked), /: expected an answer, got a line of more than 8192 bytes$/);
  await new Promise((resolve) => server.close(resolve));
});

control("finds the sockets that somebody serves among what killed daemons left", async () => {
  assert.equal(await servedSockets(join(folder, "none")), []);
  const [live, killed] = [join(folder, "live.sock"), join(folder, "killed.sock")];
  const { server } = await serve(live);
  const left = await serve(killed);
  renameSync(killed, join(folder, "moved")); // So that its end does not remove it.
  left.server.close();
  renameSync(join(folder, "moved"), killed);
  writeFileSync(join(folder, "README"), "");
  symlinkSync(join(folder, "nowhere"), join(folder, "gone.sock")); // As one that ends between two looks.
  const other = await serve(join(folder, "other")); // Somebody's, but no forwarder's.
  assert.equal(await servedSockets(folder), [live]);
  server.close();
  assert.equal(await servedSockets(folder), []);
  other.server.close();
  assert.ok(existsSync(killed));
});

control.run();
