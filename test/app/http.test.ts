import { createHash } from "node:crypto";
import { once } from "node:events";
import * as http from "node:http";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { attach } from "../../host/app/attach.ts";
import { CLIENT, SERVICE } from "../support/connection.ts";
import { dial, dialAgent, readText, request } from "../support/dial.ts";
import { HeldClock } from "../support/heldclock.ts";
import { holdLoop, turns, until } from "../support/wait.ts";

const web = suite("app/attach http");

let release = () => {};
web.before(() => void (release = holdLoop()));
web.after(() => release());

web("answers requests of one kept-alive connection with the client's address", async () => {
  const server = http.createServer((req, res) => {
    const { remoteAddress, remotePort, localAddress, localPort } = req.socket;
    res.end(JSON.stringify({ url: req.url, remoteAddress, remotePort, localAddress, localPort }));
  });
  const { agent, dialled } = dialAgent(attach(server));
  for (const path of ["/one", "/two", "/three"]) {
    const reply = await request({ agent, path });
    assert.is(reply.status, 200);
    assert.equal(JSON.parse(reply.body.toString()), {
      url: path,
      remoteAddress: CLIENT.address,
      remotePort: CLIENT.port,
      localAddress: SERVICE.address,
      localPort: SERVICE.port,
    });
  }
  assert.is(dialled.length, 1);
  assert.is(dialled[0]?.server.noDelay, true);
  agent.destroy();
  await close(server);
});

web("answers pipelined requests in order, split at every byte", async () => {
  const server = http.createServer((req, res) => {
    // The first answer is ready last.
    setTimeout(() => res.end(`<${req.url}>`), req.url === "/1" ? 20 : 0);
  });
  const { socket } = dial(attach(server), { carry: () => 1 });
  const request = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;
  socket.write(request("/1") + request("/2") + request("/3", "Connection: close\r\n"));
  const bodies = [...(await readText(socket)).matchAll(/<(.*?)>/g)].map((match) => match[1]);
  assert.equal(bodies, ["/1", "/2", "/3"]);
  await close(server);
});

web("takes a chunked upload of 10 MiB and sends it back, bytes equal", async () => {
  const server = http.createServer((req, res) => void req.pipe(res));
  const { agent } = dialAgent(attach(server), { sendBuffer: 30_000, receiveBuffer: 20_000 });
  const sent = createHash("sha256");
  async function* body() {
    let seed = 7;
    for (let i = 0; i < 160; i += 1) {
      const chunk = Buffer.alloc(65_536);
      for (let j = 0; j < chunk.length; j += 4) {
        seed = (seed * 48_271) % 2_147_483_647;
        chunk.writeUInt32LE(seed, j);
      }
      sent.update(chunk);
      yield await Promise.resolve(chunk);
    }
  }
  const reply = await request({ agent, method: "POST" }, body());
  assert.is(reply.body.length, 10_485_760);
  assert.is(createHash("sha256").update(reply.body).digest("hex"), sent.digest("hex"));
  agent.destroy();
  await close(server);
});

web("waits with 100-continue until the server wants the body", async () => {
  const server = http.createServer();
  const order: string[] = [];
  server.on("checkContinue", (req: http.IncomingMessage, res: http.ServerResponse) => {
    order.push("asked");
    res.writeContinue();
    req.on("data", (chunk: Buffer) => order.push(chunk.toString()));
    req.on("end", () => res.end("thanks"));
  });
  const { agent } = dialAgent(attach(server));
  const outgoing = http.request({ agent, method: "PUT", headers: { expect: "100-continue" } });
  outgoing.flushHeaders();
  await once(outgoing, "continue");
  order.push("continued");
  outgoing.end("body");
  const [response] = (await once(outgoing, "response")) as [http.IncomingMessage];
  assert.is(await readText(response), "thanks");
  assert.equal(order, ["asked", "continued", "body"]);
  agent.destroy();
  await close(server);
});

web(
  "hands the raw stream over on upgrade, the first bytes of the new protocol included",
  async () => {
    const server = http.createServer();
    server.on("upgrade", (_req, socket, head: Buffer) => {
      socket.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n",
      );
      socket.write(head);
      socket.pipe(socket);
    });
    const { socket } = dial(attach(server));
    socket.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfirst,");
    await turns(10);
    socket.end("second");
    const text = await readText(socket);
    assert.match(text, /^HTTP\/1.1 101 /);
    assert.match(text, /first,second$/);
    await close(server);
  },
);

web("ends an idle connection after keepAliveTimeout, with a FIN", async () => {
  const server = http.createServer((_req, res) => res.end("ok"));
  server.keepAliveTimeout = 30;
  const attached = attach(server);
  const { socket, server: end } = dial(attached);
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const text = await readText(socket);
  assert.match(text, /ok$/);
  assert.is(end.resetSent, false);
  assert.is(attached.connections, 0);
  await close(server);
});

web(
  "answers 408 when the head or the body is too slow, on a server that never listened",
  async () => {
    for (const [limit, text] of [
      ["headersTimeout", "GET / HTTP/1.1\r\nHost: x"],
      ["requestTimeout", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"],
    ] as const) {
      const server = http.createServer(
        { headersTimeout: 0, requestTimeout: 0, connectionsCheckingInterval: 10 },
        () => undefined,
      );
      const { socket, server: end } = dial(attach(server));
      socket.write(text);
      // Before that a limit would meet a connection with bytes unread, which ends by a reset.
      await until("it was read", () => end.bytesRead === text.length);
      server[limit] = 40;
      assert.match(await readText(socket), /^HTTP\/1.1 408 Request Timeout\r\n/);
      assert.is(end.resetSent, false);
      await close(server);
    }
  },
);

web("does not call the application's own 'listening' listeners", async () => {
  const server = http.createServer();
  let called = false;
  server.on("listening", () => (called = true));
  attach(server);
  assert.is(called, false);
  await close(server);
});

web("answers a malformed head with 400", async () => {
  const server = http.createServer();
  const { socket, server: end } = dial(attach(server));
  socket.write("NOT HTTP\r\n\r\n");
  assert.match(await readText(socket), /^HTTP\/1.1 400 /);
  assert.is(end.resetSent, false);
  await close(server);
});

web("tells a handler that its client is gone", async () => {
  const server = http.createServer((req, res) => {
    res.on("close", () => server.emit("gone", res.writableFinished));
    req.on("error", () => undefined);
  });
  const { socket } = dial(attach(server));
  const gone = once(server, "gone");
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await turns(10);
  socket.on("error", () => undefined);
  socket.resetAndDestroy();
  assert.equal(await gone, [false]);
  await close(server);
});

web("resets a client whose response was aborted in the middle", async () => {
  const server = http.createServer((_req, res) => {
    res.write(Buffer.alloc(500_000));
    server.emit("begun", res);
  });
  const { socket, client } = dial(attach(server), { sendBuffer: 1000, receiveBuffer: 1000 });
  const begun = once(server, "begun");
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  client.hold(false);
  const [response] = (await begun) as [http.ServerResponse];
  // Nobody reads yet: most of the body still waits in the server when the client sees its beginning.
  await once(socket, "readable");
  response.destroy();
  const text = await readText(socket);
  assert.match(text, /!ECONNRESET$/);
  assert.ok(text.length < 500_000, `${text.length} characters came`);
  await close(server);
});

web("keeps slow readers from filling memory, and loses nothing", async () => {
  let written = 0;
  let full = 0;
  const server = http.createServer((_req, res) => {
    const more = () => {
      while (written < 2_000_000) {
        written += 10_000;
        if (!res.write(Buffer.alloc(10_000, 97))) {
          full += 1;
          res.once("drain", more);
          return;
        }
      }
      res.end();
    };
    more();
  });
  const { socket, client } = dial(attach(server), { sendBuffer: 5000, receiveBuffer: 5000 });
  socket.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  await turns(50);
  assert.ok(written < 200_000, `${written} bytes written while nobody read`);
  assert.ok(client.readableLength <= 5000);
  const text = await readText(socket);
  assert.is([...text.matchAll(/a/g)].length >= 2_000_000, true);
  assert.ok(full > 10);
  await close(server);
});

web("serves a half-closed client to the end where the server allows it", async () => {
  const server = http.createServer((_req, res) => setTimeout(() => res.end("late"), 10));
  (server as unknown as { httpAllowHalfOpen: boolean }).httpAllowHalfOpen = true;
  const { socket } = dial(attach(server));
  socket.end("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  assert.match(await readText(socket), /late$/);
  await close(server);
});

web("lets close() end idle connections and wait for the response under way", async () => {
  const pending: http.ServerResponse[] = [];
  const server = http.createServer((req, res) => {
    if (req.url === "/slow") pending.push(res);
    else res.end("quick");
  });
  const attached = attach(server);
  const idle = dial(attached).socket;
  const busy = dial(attached).socket;
  idle.write("GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
  busy.write("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
  await until("both were read", () => pending.length === 1);
  await turns(20);
  let closed = false;
  const closing = close(server).then(() => (closed = true));
  assert.match(await readText(idle), /quick$/);
  await turns(10);
  assert.is(closed, false);
  assert.is(attached.accepts(), false);
  pending[0]?.end("slow");
  await turns(10);
  assert.is(closed, false, "kept alive until the client or a time-out ends it, as Node does");
  busy.end();
  await closing;
});

web("drains: idle ends, busy finishes with Connection: close, the rest is reset", async () => {
  const held = new Map<string, http.ServerResponse>();
  const server = http.createServer((req, res) => {
    if (req.url === "/idle") res.end("idle");
    else held.set(req.url ?? "", res);
    if (req.url === "/begun") res.write("begun ");
  });
  const attached = attach(server);
  const sockets = ["/idle", "/busy", "/begun", "/stuck"].map((path) => {
    const { socket } = dial(attached);
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    return socket;
  });
  await until("all were read", () => held.size === 3);
  await turns(20);
  const clock = new HeldClock();
  const closing = attached.close(150);
  const texts = sockets.map((socket) => readText(socket));
  held.get("/busy")?.end("busy");
  held.get("/begun")?.end("end");
  assert.match((await texts[0]) ?? "", /idle$/);
  const busy = (await texts[1]) ?? "";
  assert.match(busy, /busy$/);
  assert.match(busy, /\r\nConnection: close\r\n/);
  assert.match((await texts[2]) ?? "", /begun \r\n3\r\nend\r\n0\r\n\r\n$/);
  await until("only the stuck one is left", () => attached.connections === 1);
  clock.pass(149);
  await turns(20);
  assert.is(attached.connections, 1, "its time is not over");
  clock.pass(1);
  clock.release();
  assert.is(await texts[3], "!ECONNRESET");
  assert.equal(await closing, { ended: 3, aborted: 1 });
  assert.is(attached.connections, 0);
  assert.is(Object.hasOwn(server, "close"), false);
  assert.is(server.listenerCount("request"), 1);
  await close(server).catch(() => undefined);
});

web("drains a connection whose request is half read after it was answered", async () => {
  const server = http.createServer((_req, res) => res.end("served"));
  const attached = attach(server);
  const { socket } = dial(attached);
  socket.write("GET / HTTP/1.1\r\n");
  await turns(10);
  const closing = attached.close(5000);
  await turns(10);
  socket.write("Host: x\r\n\r\n");
  assert.match(await readText(socket), /Connection: close[^]*served$/);
  assert.equal(await closing, { ended: 1, aborted: 0 });
  await close(server).catch(() => undefined);
});

web("serves listeners and migrated connections side by side", async () => {
  const server = http.createServer((req, res) => res.end(req.socket.remoteAddress));
  const attached = attach(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const { agent } = dialAgent(attached);
  assert.is((await request({ agent })).body.toString(), CLIENT.address);
  const direct = await request({ host: "127.0.0.1", port, agent: false });
  assert.is(direct.body.toString(), "127.0.0.1");
  const count = await new Promise((resolve) => server.getConnections((_e, n) => resolve(n)));
  assert.ok((count as number) >= 1);
  await Promise.all([close(server), until("ended", () => attached.connections === 0)]);
  agent.destroy();
});

function close(server: http.Server): Promise<void> {
  return new Promise((resolve, reject) =>
    server.close((error) => (error ? reject(error) : resolve())),
  );
}

web.run();
