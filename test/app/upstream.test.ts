import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import * as http from "node:http";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as tls from "node:tls";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { proxyHeader } from "../../host/app/proxy.ts";
import { BatonSocket } from "../../host/app/socket.ts";
import { splice, UpstreamApplication } from "../../host/app/upstream.ts";
import type { SpliceReport, UpstreamTarget } from "../../host/app/splice.ts";
import type { ConnectionEvents } from "../../host/node/connection.ts";
import { CLIENT, connectionPair, SERVICE } from "../support/connection.ts";
import type { FakeConnection, PairOptions } from "../support/connection.ts";
import { dial, dialAgent, readText, request } from "../support/dial.ts";
import { holdLoop, turns, until } from "../support/wait.ts";

const upstreams = suite("app/upstream");

let release = () => {};
upstreams.before(() => void (release = holdLoop()));
upstreams.after(() => release());

/** An upstream on loopback with one dialled client; `served` gets the upstream's side. */
async function join1(
  served: (socket: net.Socket) => void,
  pair: PairOptions = {},
  options: ConstructorParameters<typeof UpstreamApplication>[1] = {},
) {
  const server = net.createServer({ allowHalfOpen: true }, served);
  const target = await listen(server);
  const reports: SpliceReport[] = [];
  const application = new UpstreamApplication(target, {
    onEnd: (_connection, report) => reports.push(report),
    ...options,
  });
  const dialled = dial(application, pair);
  dialled.socket.on("error", () => undefined);
  const end = async (): Promise<SpliceReport> => {
    await until("the splice is over", () => reports.length === 1);
    server.close();
    assert.is(application.connections, 0);
    return reports[0] as SpliceReport;
  };
  return { ...dialled, application, end };
}

async function listen(server: net.Server, path?: string): Promise<UpstreamTarget> {
  if (path === undefined) server.listen(0, "127.0.0.1");
  else server.listen(path);
  await once(server, "listening");
  if (path !== undefined) return { kind: "unix", path };
  return { kind: "tcp", host: "127.0.0.1", port: (server.address() as net.AddressInfo).port };
}

upstreams("an http server behind answers kept-alive requests and a 10 MiB upload", async () => {
  const server = http.createServer((req, res) => void req.pipe(res));
  const application = new UpstreamApplication(await listen(server));
  const { agent, dialled } = dialAgent(application, { sendBuffer: 50_000, receiveBuffer: 30_000 });
  const sent = Buffer.alloc(10 << 20, "an upload of ten mebibytes ");
  for (const body of [Buffer.from("short"), sent]) {
    const reply = await request({ agent, method: "POST" }, body);
    assert.is(sha256(reply.body), sha256(body));
  }
  assert.is(dialled.length, 1);
  const { bytesToUpstream, bytesToClient } = application.counts();
  assert.ok(bytesToUpstream > sent.length && bytesToClient > sent.length);
  agent.destroy();
  await until("it ended", () => application.connections === 0);
  server.close();
});

upstreams("a client's FIN passes on while the answer is still to come", async () => {
  const { socket, end, server } = await join1((upstream) => {
    let text = "";
    upstream.on("data", (chunk: Buffer) => (text += chunk.toString()));
    upstream.on("end", () => upstream.end(`after your end: ${text}`));
  });
  socket.end("question");
  assert.is(await readText(socket), "after your end: question");
  const report = await end();
  assert.equal(report, { outcome: "ended", bytesToUpstream: 8, bytesToClient: 24 });
  assert.is(server.letGo, "close");
});

upstreams("an upstream's FIN passes on while the client still writes", async () => {
  let heard = "";
  const { socket, end } = await join1((upstream) => {
    upstream.end("I am done");
    upstream.on("data", (chunk: Buffer) => (heard += chunk.toString()));
  });
  socket.resume();
  await once(socket, "end");
  socket.write("but ");
  await turns(5);
  socket.end("I am not");
  assert.is((await end()).outcome, "ended");
  await until("it was heard", () => heard === "but I am not");
});

upstreams("a client's reset reaches the upstream as a reset", async () => {
  let code = "";
  let heard = "";
  const { socket, end } = await join1((upstream) => {
    upstream.on("error", (error: NodeJS.ErrnoException) => (code = error.code ?? ""));
    upstream.on("data", (chunk: Buffer) => (heard += chunk.toString()));
  });
  socket.write("half a");
  await until("the upstream has heard it", () => heard === "half a");
  socket.resetAndDestroy();
  const report = await end();
  assert.is(report.outcome, "client-reset");
  assert.is(report.error?.code, "ECONNRESET");
  await until("the upstream was told", () => code === "ECONNRESET");
});

upstreams(
  "a client's FIN and reset at once reach the upstream, and leave no descriptor",
  async () => {
    let heard = "";
    let isGone = false;
    const server = net.createServer({ allowHalfOpen: true }, (upstream) => {
      upstream.on("data", (chunk: Buffer) => (heard += chunk.toString()));
      // An end and a RST that arrive together are an end to Node before 24.
      for (const event of ["end", "error"]) upstream.on(event, () => upstream.destroy());
      upstream.on("close", () => (isGone = true));
    });
    const target = await listen(server);
    const { client, server: connection } = connectionPair();
    let events: ConnectionEvents | undefined;
    const listenTo = connection.listen.bind(connection);
    connection.listen = (to) => listenTo((events = to));
    const before = openSockets();
    const ended = splice(connection, target);
    client.write(Buffer.from("all of it"));
    await until("the upstream has heard it", () => heard === "all of it");
    // Within one turn of the loop: the upstream's end is under way, and cannot be done yet.
    events?.ended();
    events?.closed({ code: "ECONNRESET", message: "connection reset by peer" });
    assert.is((await ended).outcome, "client-reset");
    await until("the upstream was told", () => isGone);
    server.close();
    await until("every descriptor is closed", () => openSockets() <= before);
  },
);

/** Descriptors of this process that are sockets, where that can be known. */
function openSockets(): number {
  if (process.platform !== "linux") return 0;
  const isSocket = (fd: string): boolean => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:");
    } catch {
      return false; // The descriptor of the listing itself.
    }
  };
  return readdirSync("/proc/self/fd").filter(isSocket).length;
}

upstreams("a client's reset while connecting leaves nothing behind", async () => {
  const { socket, end } = await join1((upstream) => upstream.on("error", () => undefined));
  socket.resetAndDestroy();
  assert.is((await end()).outcome, "client-reset");
});

upstreams("an upstream's reset reaches the client after what was sent before it", async () => {
  const { socket, end, client } = await join1((upstream) => {
    upstream.once("data", () => upstream.write("the beginning", () => upstream.resetAndDestroy()));
  });
  client.hold(false);
  socket.write("go");
  const text = await readText(socket);
  assert.ok(text === "the beginning!ECONNRESET" || text === "!ECONNRESET", text);
  assert.is((await end()).outcome, "upstream-reset");
});

upstreams("what the upstream sent before its reset is delivered to a slow client", async () => {
  let upstreamSide: net.Socket | undefined;
  const { socket, end, server } = await join1(
    (upstream) => {
      upstreamSide = upstream;
      upstream.write(Buffer.alloc(30_000, "x"));
    },
    { sendBuffer: 40_000, receiveBuffer: 100 },
  );
  await until("it was read from the upstream", () => server.bytesWritten === 30_000);
  upstreamSide?.resetAndDestroy();
  await turns(50);
  const text = await readText(socket);
  assert.is(text, `${"x".repeat(30_000)}!ECONNRESET`);
  assert.is((await end()).outcome, "upstream-reset");
});

upstreams("an early answer survives an upstream that then refuses the rest", async () => {
  const answer = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n";
  let gone = false;
  let refuses: () => void = () => undefined;
  const { socket, end, server } = await join1((upstream) => {
    upstream.on("error", () => undefined);
    upstream.on("close", () => (gone = true));
    upstream.once("data", () => {
      upstream.pause();
      upstream.end(answer);
      refuses = () => upstream.destroy();
    });
  });
  const writer = setInterval(() => socket.write(Buffer.alloc(10_000)), 2);
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
  await once(socket, "end"); // A reset that came together with the answer's end would be all that is known.
  refuses();
  await until("the upstream is gone", () => gone);
  const passed = server.bytesRead;
  await until("more was sent and dropped", () => server.bytesRead > passed + 50_000);
  clearInterval(writer);
  assert.is(text, answer);
  socket.end();
  assert.is((await end()).outcome, "ended");
  assert.is(server.resetSent, false);
});

upstreams("a slow client holds the upstream back, and gets every byte", async () => {
  const total = 8 << 20;
  let upstreamSide: net.Socket | undefined;
  const { socket, end, client } = await join1(
    (upstream) => {
      upstreamSide = upstream;
      upstream.end(Buffer.alloc(total, "0123456789"));
    },
    { sendBuffer: 20_000, receiveBuffer: 20_000 },
  );
  await until("the client's buffer is full", () => client.readableLength === 20_000);
  await turns(100);
  assert.is(client.readableLength, 20_000);
  assert.is((upstreamSide as net.Socket).writableFinished, false);
  const hash = createHash("sha256");
  for await (const chunk of socket) hash.update(chunk as Buffer);
  assert.is(hash.digest("hex"), sha256(Buffer.alloc(total, "0123456789")));
  socket.end();
  assert.is((await end()).bytesToClient, total);
});

upstreams("a slow upstream holds the client back, and gets every byte", async () => {
  const total = 8 << 20;
  let upstreamSide: net.Socket | undefined;
  const { socket, end, server } = await join1((upstream) => {
    upstream.pause();
    upstreamSide = upstream;
  });
  const sent = Buffer.alloc(total, "abcdefg");
  socket.end(sent);
  await until("the upstream connected", () => upstreamSide !== undefined);
  let before = -1;
  let quiet = 0;
  await until("the flow has stopped", () => {
    quiet = server.bytesRead === before ? quiet + 1 : 0;
    before = server.bytesRead;
    return quiet === 500 && before > 0;
  });
  assert.ok(server.bytesRead < total, `${server.bytesRead} taken`);
  const hash = createHash("sha256");
  for await (const chunk of upstreamSide as net.Socket) hash.update(chunk as Buffer);
  assert.is(hash.digest("hex"), sha256(sent));
  upstreamSide?.end();
  socket.resume();
  assert.is((await end()).bytesToUpstream, total);
});

upstreams("several at once, each with bytes of its own, all of them held back", async () => {
  const server = net.createServer({ allowHalfOpen: true }, (upstream) => {
    // Late, so that writes wait; all at once, so that buffers would be mixed up if they could be.
    setTimeout(() => upstream.pipe(upstream), 100);
  });
  const application = new UpstreamApplication(await listen(server));
  const echoes = [1, 2, 3, 4].map(async (fill) => {
    const { socket } = dial(application, { sendBuffer: 30_000, receiveBuffer: 100_000 });
    const sent = Buffer.alloc(6 << 20, fill);
    socket.end(sent);
    const hash = createHash("sha256");
    for await (const chunk of socket) hash.update(chunk as Buffer);
    assert.is(hash.digest("hex"), sha256(sent));
  });
  await Promise.all(echoes);
  await until("they ended", () => application.connections === 0);
  server.close();
});

upstreams("a refused HTTP request is answered with 503 and Connection: close", async () => {
  const target = await unusedTarget();
  for (const [request, isShort] of [
    ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", false],
    ["HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", true],
    [`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n${"y".repeat(20_000)}`, false],
  ] as const) {
    const pair = connectionPair();
    pair.client.write(Buffer.from(request));
    await turns(5);
    const over = splice(pair.server, target);
    const read = readsAndEnds(pair.client);
    const report = await over;
    const text = read();
    assert.match(text, /^HTTP\/1.1 503 Service Unavailable\r\n[^]*Connection: close\r\n/);
    assert.is(text.endsWith("\r\n\r\n"), isShort);
    assert.ok(pair.client.isOver, "both ended");
    assert.is(report.outcome, "refused");
    assert.is(report.error?.code, "ECONNREFUSED");
    assert.is(pair.server.resetSent, false);
  }
});

upstreams("a refused TLS client gets an alert", async () => {
  const pair = connectionPair();
  const socket = new BatonSocket(pair.client);
  const secure = tls.connect({ socket, servername: "service.example" });
  const failed = once(secure, "error") as Promise<[NodeJS.ErrnoException]>;
  await until("the ClientHello is there", () => pair.server.readableLength > 0);
  const over = splice(pair.server, await unusedTarget());
  assert.is((await failed)[0].code, "ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR");
  assert.is((await over).outcome, "refused");
});

upstreams("a refused client of any other protocol gets a reset", async () => {
  for (const first of ["\x01\x02 unknown", "", "GET / HT"]) {
    const pair = connectionPair();
    pair.client.write(Buffer.from(first));
    await turns(5);
    await splice(pair.server, await unusedTarget());
    assert.ok(pair.server.resetSent);
    assert.is(pair.server.bytesWritten, 0);
  }
});

upstreams("no 503 in the middle of an answer that another node began", async () => {
  const pair = connectionPair();
  pair.client.write(Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  pair.server.write(Buffer.from("HTTP/1.1 200 OK\r\n"));
  await turns(5);
  assert.is((await splice(pair.server, await unusedTarget())).outcome, "refused");
  assert.ok(pair.server.resetSent);
  assert.is(pair.client.readAll().toString(), "HTTP/1.1 200 OK\r\n");
});

upstreams("a client that never takes its 503 is let go after the limit", async () => {
  const pair = connectionPair();
  pair.client.write(Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  await turns(5);
  const report = await splice(pair.server, await unusedTarget(), { lingerMs: 50 });
  assert.is(report.outcome, "refused");
  assert.is(pair.server.letGo, "abort");
});

upstreams("an upstream that does not answer in time counts as refused", async () => {
  const { target, stop } = await silentTarget();
  try {
    const pair = connectionPair();
    pair.client.write(Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    await turns(5);
    const over = splice(pair.server, target, { connectTimeoutMs: 60 });
    const text = readsAndEnds(pair.client);
    const report = await over;
    assert.is(report.outcome, "refused");
    assert.is(report.error?.code, "ETIMEDOUT");
    assert.match(text(), /^HTTP\/1.1 503 /);
  } finally {
    await stop();
  }
});

upstreams("a unix socket works as well, a name that resolves too", async () => {
  const folder = mkdtempSync(join(tmpdir(), `baton-${process.pid}-`));
  try {
    const byPath = http.createServer((_req, res) => res.end("by path"));
    const byName = http.createServer((_req, res) => res.end("by name"));
    const unix = await listen(byPath, join(folder, "upstream.sock"));
    const { port } = (await listen(byName)) as { port: number };
    for (const [target, expected] of [
      [unix, "by path"],
      [{ kind: "tcp", host: "localhost", port }, "by name"],
    ] as const) {
      const { agent } = dialAgent(new UpstreamApplication(target));
      assert.is((await request({ agent })).body.toString(), expected);
      agent.destroy();
    }
    byPath.close();
    byName.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

upstreams("a reset reaches a unix upstream as a close", async () => {
  const folder = mkdtempSync(join(tmpdir(), `baton-${process.pid}-`));
  try {
    let closed = false;
    let heard = "";
    const server = net.createServer((upstream) => {
      upstream.on("error", () => undefined);
      upstream.on("close", () => (closed = true));
      upstream.on("data", (chunk: Buffer) => (heard += chunk.toString()));
    });
    const application = new UpstreamApplication(await listen(server, join(folder, "s")));
    const { socket } = dial(application);
    socket.write("half a");
    await until("the upstream has heard it", () => heard === "half a");
    socket.resetAndDestroy();
    await until("the upstream was told", () => closed);
    assert.is(application.counts().outcomes["client-reset"], 1);
    server.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

upstreams("a PROXY protocol header stands in front, once, with the client's address", async () => {
  const { socket, end } = await join1(
    (upstream) => upstream.pipe(upstream),
    {},
    { proxyProtocol: true },
  );
  socket.end("body");
  const echoed = Buffer.from(await readText(socket), "latin1");
  const header =
    "0d0a0d0a000d0a515549540a" + "2111" + "000c" + "cb007107" + "0a000064" + "9cbb" + "0050";
  assert.is(echoed.toString("hex"), header + Buffer.from("body").toString("hex"));
  assert.is((await end()).bytesToUpstream, 4);
});

upstreams("a PROXY protocol header carries IPv6 and refuses a mixture", () => {
  const source = { address: "2001:db8::7", port: 50_000, family: 6 } as const;
  const destination = { address: "fd00::100", port: 443, family: 6 } as const;
  assert.is(
    proxyHeader(source, destination).toString("hex"),
    "0d0a0d0a000d0a515549540a" +
      "2121" +
      "0024" +
      "20010db8000000000000000000000007" +
      "fd000000000000000000000000000100" +
      "c350" +
      "01bb",
  );
  assert.throws(() => proxyHeader(source, SERVICE), /one family/);
  assert.throws(() => proxyHeader({ ...CLIENT, address: "example" }, SERVICE), /IPv4 address/);
});

upstreams("close() waits for splices, then resets both ways", async () => {
  const codes: string[] = [];
  let heard = "";
  const { socket, application, server, end } = await join1((upstream) => {
    upstream.on("error", (error: NodeJS.ErrnoException) => codes.push(error.code ?? ""));
    upstream.on("data", (chunk: Buffer) => (heard += chunk.toString()));
  });
  socket.write("idle");
  // Data and a RST that arrive together are data and an end to Node before 24.
  await until("the upstream has heard it", () => heard === "idle");
  assert.equal(await application.close(50), { ended: 0, aborted: 1 });
  assert.is(application.accepts(), false);
  assert.ok(server.resetSent);
  assert.is((await end()).outcome, "aborted");
  await until("the upstream was told", () => codes[0] === "ECONNRESET");
});

upstreams("bytes stay equal for any buffers, both ways at once", async () => {
  const server = net.createServer({ allowHalfOpen: true }, (upstream) => {
    upstream.pipe(upstream);
  });
  const target = await listen(server);
  const number = (min: number, max: number) => fc.integer({ min, max });
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        sendBuffer: number(100, 70_000),
        receiveBuffer: number(100, 70_000),
        carry: fc.array(number(100, 20_000), { minLength: 1, maxLength: 8 }),
        length: number(0, 400_000),
        fill: number(1, 250),
      }),
      async ({ carry, length, fill, ...buffers }) => {
        let step = 0;
        const application = new UpstreamApplication(target);
        const { socket } = dial(application, {
          ...buffers,
          carry: () => carry[step++ % carry.length] as number,
        });
        const sent = Buffer.alloc(length);
        for (let i = 0; i < length; i += 1) sent[i] = (i * fill) ^ (i >> 8);
        socket.end(sent);
        const chunks: Buffer[] = [];
        for await (const chunk of socket) chunks.push(chunk as Buffer);
        assert.ok(Buffer.concat(chunks).equals(sent));
        await until("it ended", () => application.connections === 0);
        assert.is(application.counts().outcomes.ended, 1);
      },
    ),
    { numRuns: 40 },
  );
  server.close();
});

/** A client that reads whatever comes and ends when the other side does; returns what it read so far. */
function readsAndEnds(client: FakeConnection): () => string {
  let text = "";
  client.listen({
    readable: () => void (text += client.readAll().toString()),
    writable: () => undefined,
    ended: () => client.shutdown(),
    closed: () => undefined,
  });
  return () => text;
}

/** A port of loopback that drops SYNs: its backlog is full and nobody accepts. */
async function silentTarget(): Promise<{ target: UpstreamTarget; stop: () => Promise<void> }> {
  const worker = new Worker(
    `const { parentPort } = require("node:worker_threads");
     const server = require("node:net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 });
     server.on("listening", () => {
       parentPort.postMessage(server.address().port);
       Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
     });`,
    { eval: true },
  );
  const [port] = (await once(worker, "message")) as [number];
  const fillers = Array.from({ length: 4 }, () => {
    return net.connect({ port, host: "127.0.0.1" }).on("error", () => undefined);
  });
  const isOpen = ({ readyState }: net.Socket): boolean => readyState === "open";
  await until("its backlog is full", () => fillers.filter(isOpen).length === 2);
  return {
    target: { kind: "tcp", host: "127.0.0.1", port },
    stop: async () => {
      for (const filler of fillers) filler.destroy();
      await worker.terminate();
    },
  };
}

/** A port of loopback where nobody listens. */
async function unusedTarget(): Promise<UpstreamTarget> {
  const server = net.createServer();
  const target = await listen(server);
  server.close();
  await once(server, "close");
  return target;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

upstreams.run();
