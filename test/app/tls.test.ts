import { once } from "node:events";
import type * as http from "node:http";
import * as http2 from "node:http2";
import * as https from "node:https";
import * as tls from "node:tls";
import type { Duplex } from "node:stream";
import { generate } from "selfsigned";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { attach } from "../../host/app/attach.ts";
import type { Attachment } from "../../host/app/attach.ts";
import { CLIENT, SERVICE } from "../support/connection.ts";
import { dial, readReply, readText } from "../support/dial.ts";
import { holdLoop, turns, until } from "../support/wait.ts";

const secure = suite("app/attach tls");

let release = () => {};
let keys = { key: "", cert: "" };
let otherKeys = { key: "", cert: "" };
secure.before(async () => {
  release = holdLoop();
  keys = await selfSigned("service.example");
  otherKeys = await selfSigned("other.example");
});
secure.after(() => release());

const ADDRESSES = `${CLIENT.address} ${CLIENT.port} IPv4 ${SERVICE.address} ${SERVICE.port} IPv4`;

secure("https requests show the client's address, on a kept-alive connection", async () => {
  const server = https.createServer(keys, (req, res) => res.end(addresses(req.socket)));
  const seen: string[] = [];
  server.on("secureConnection", (socket) => seen.push(addresses(socket)));
  const { socket, raw } = await tlsDial(attach(server));
  for (const path of ["/1", "/2"]) {
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await once(socket, "readable");
    assert.ok(String(socket.read()).includes(`\r\n\r\n${ADDRESSES}`));
  }
  assert.equal(seen, [ADDRESSES]);
  assert.is(raw.server.noDelay, true);
  socket.end();
  await close(server);
});

secure("node's own https client is served, 5 MiB both ways under back-pressure", async () => {
  const server = https.createServer(keys, (req, res) => void req.pipe(res));
  const { socket } = await tlsDial(attach(server), undefined, {
    sendBuffer: 20_000,
    receiveBuffer: 9000,
  });
  const sent = Buffer.alloc(5 << 20, "0123456789abcdef!");
  const outgoing = https.request({ createConnection: () => socket, method: "POST", host: "x" });
  outgoing.end(sent);
  const [response] = (await once(outgoing, "response")) as [http.IncomingMessage];
  const reply = await readReply(response);
  assert.ok(reply.body.equals(sent));
  socket.destroy();
  await close(server);
});

secure("SNICallback and ALPNProtocols of the server are honoured", async () => {
  const names: string[] = [];
  const server = tls.createServer(
    {
      ...keys,
      ALPNProtocols: ["bee", "ant"],
      SNICallback: (name, done) => {
        names.push(name);
        done(null, name === "other.example" ? tls.createSecureContext(otherKeys) : undefined);
      },
    },
    (socket) => socket.end(`${String(socket.alpnProtocol)} ${addresses(socket)}`),
  );
  const attached = attach(server);
  const options = { servername: "other.example", ALPNProtocols: ["ant"] };
  const { socket } = await tlsDial(attached, options);
  assert.is(socket.getPeerCertificate().subject.CN, "other.example");
  assert.is(socket.alpnProtocol, "ant");
  assert.is(await readText(socket), `ant ${ADDRESSES}`);
  const second = await tlsDial(attached, { servername: "service.example" });
  assert.is(second.socket.getPeerCertificate().subject.CN, "service.example");
  assert.is(await readText(second.socket), `false ${ADDRESSES}`);
  assert.equal(names, ["other.example", "service.example"]);
  await close(server);
});

secure("addContext and client certificates of the server are honoured", async () => {
  const server = https.createServer(
    { ...keys, requestCert: true, rejectUnauthorized: true, ca: [otherKeys.cert] },
    (req, res) => res.end(`authorized ${(req.socket as tls.TLSSocket).authorized}`),
  );
  server.addContext("other.example", { ...otherKeys, ca: [otherKeys.cert] });
  const { socket } = await tlsDial(attach(server), { ...otherKeys, servername: "other.example" });
  assert.is(socket.getPeerCertificate().subject.CN, "other.example");
  socket.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  assert.match(await readText(socket), /authorized true$/);
  await close(server);
});

secure(
  "a failed handshake is reported with the client's address, and the connection ends",
  async () => {
    const server = https.createServer(keys);
    const attached = attach(server);
    const failed = once(server, "tlsClientError") as Promise<[Error, tls.TLSSocket]>;
    const { socket } = dial(attached);
    socket.on("error", () => undefined);
    socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    const [, from] = await failed;
    assert.is(from.remoteAddress, CLIENT.address);
    await until("the connection is gone", () => attached.connections === 0);
    await close(server);
  },
);

secure("handshakeTimeout ends a client that says nothing", async () => {
  const server = https.createServer({ ...keys, handshakeTimeout: 30 });
  const attached = attach(server);
  const failed = once(server, "tlsClientError") as Promise<[NodeJS.ErrnoException]>;
  dial(attached).socket.on("error", () => undefined);
  assert.is((await failed)[0].code, "ERR_TLS_HANDSHAKE_TIMEOUT");
  await until("the connection is gone", () => attached.connections === 0);
  await close(server);
});

secure("https answers 408 to a slow head, on a server that never listened", async () => {
  const server = https.createServer({
    ...keys,
    headersTimeout: 0,
    connectionsCheckingInterval: 10,
  });
  const { socket, raw } = await tlsDial(attach(server));
  const before = raw.client.bytesWritten;
  socket.write("GET / HTTP/1.1\r\nHost");
  await until("it was read", () => {
    const { bytesWritten } = raw.client;
    return bytesWritten > before && raw.server.bytesRead === bytesWritten;
  });
  server.headersTimeout = 40;
  assert.match(await readText(socket), /^HTTP\/1.1 408 /);
  await close(server);
});

secure("https ends an idle connection after keepAliveTimeout, without a reset", async () => {
  const server = https.createServer(keys, (_req, res) => res.end("ok"));
  server.keepAliveTimeout = 30;
  const attached = attach(server);
  const { socket, raw } = await tlsDial(attached);
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  assert.match(await readText(socket), /ok$/);
  await until("the connection is gone", () => attached.connections === 0);
  assert.is(raw.server.resetSent, false);
  await close(server);
});

secure("a reset of the client reaches the https handler", async () => {
  const server = https.createServer(keys, (_req, res) => {
    res.on("close", () => server.emit("gone", res.writableFinished));
  });
  const attached = attach(server);
  const { socket, raw } = await tlsDial(attached);
  socket.on("error", () => undefined);
  const gone = once(server, "gone");
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await turns(20);
  raw.socket.resetAndDestroy();
  assert.equal(await gone, [false]);
  await until("the connection is gone", () => attached.connections === 0);
  await close(server);
});

secure("https drains: idle ends, busy finishes with Connection: close", async () => {
  const held: http.ServerResponse[] = [];
  const server = https.createServer(keys, (req, res) => {
    if (req.url === "/idle") res.end("idle");
    else held.push(res);
  });
  const attached = attach(server);
  const idle = (await tlsDial(attached)).socket;
  const busy = (await tlsDial(attached)).socket;
  idle.write("GET /idle HTTP/1.1\r\nHost: x\r\n\r\n");
  busy.write("GET /busy HTTP/1.1\r\nHost: x\r\n\r\n");
  await until("both were read", () => held.length === 1);
  await once(idle, "readable");
  await turns(20);
  const closing = attached.close(10_000);
  assert.match(await readText(idle), /idle$/);
  held[0]?.end("busy");
  assert.match(await readText(busy), /Connection: close[^]*busy$/);
  assert.equal(await closing, { ended: 2, aborted: 0 });
  await close(server).catch(() => undefined);
});

for (const kind of ["h2c", "h2"] as const) {
  secure(`${kind} streams and requests show the client's address`, async () => {
    const server = kind === "h2" ? http2.createSecureServer(keys) : http2.createServer();
    server.on("request", (req, res) => {
      res.end(`${addresses(req.socket)} ${addresses(req.stream.session?.socket as never)}`);
    });
    const attached = attach(server);
    const client = await http2Dial(attached, kind);
    const bodies = await Promise.all([1, 2, 3].map(() => h2Get(client)));
    for (const body of bodies) assert.is(body, `${ADDRESSES} ${ADDRESSES}`);
    client.close();
    await until("the connection is gone", () => attached.connections === 0);
    await close(server);
  });

  secure(`${kind} carries 3 MiB both ways under back-pressure`, async () => {
    const server = kind === "h2" ? http2.createSecureServer(keys) : http2.createServer();
    server.on("stream", (stream) => {
      // Not an echo: Node's sessions read nothing while a write waits, at both ends of this pair.
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        stream.respond({ ":status": 200 });
        stream.end(Buffer.concat(chunks));
      });
    });
    const attached = attach(server);
    const client = await http2Dial(attached, kind, { sendBuffer: 9000, receiveBuffer: 7000 });
    const sent = Buffer.alloc(3 << 20, "seventeen letters");
    const stream = client.request({ ":method": "POST" });
    stream.end(sent);
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    assert.ok(Buffer.concat(chunks).equals(sent));
    client.close();
    await close(server);
  });

  secure(`${kind} drains: the stream under way is answered, then the session ends`, async () => {
    const server = kind === "h2" ? http2.createSecureServer(keys) : http2.createServer();
    const held: http2.Http2ServerResponse[] = [];
    server.on("request", (_req, res) => held.push(res));
    const attached = attach(server);
    const client = await http2Dial(attached, kind);
    const answer = h2Get(client);
    await until("it was read", () => held.length === 1);
    const closing = attached.close(10_000);
    await once(client, "goaway");
    held[0]?.end("last");
    assert.is(await answer, "last");
    assert.equal(await closing, { ended: 1, aborted: 0 });
    await close(server).catch(() => undefined);
  });
}

secure("an http2 server with allowHTTP1 serves both, and arms HTTP/1 time-outs", async () => {
  const server = http2.createSecureServer({ ...keys, allowHTTP1: true }, (req, res) => {
    res.end(`${req.httpVersion} ${addresses(req.socket)}`);
  });
  // Switches of its HTTP/1 half that the types do not know.
  const limits = server as unknown as {
    headersTimeout: number;
    connectionsCheckingInterval: number;
  };
  limits.connectionsCheckingInterval = 10;
  const attached = attach(server);
  const client = await http2Dial(attached, "h2");
  assert.is(await h2Get(client), `2.0 ${ADDRESSES}`);
  client.close();
  const { socket } = await tlsDial(attached, { ALPNProtocols: ["http/1.1"] });
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await once(socket, "readable");
  assert.ok(String(socket.read()).endsWith(`1.1 ${ADDRESSES}`));
  socket.write("GET / HTTP/1.1\r\nHost");
  limits.headersTimeout = 40;
  assert.match(await readText(socket), /^HTTP\/1.1 408 /);
  await close(server);
});

secure("a user's listeners see the real server as `this`, and may keep state on it", async () => {
  const server = https.createServer(keys) as https.Server & { seen?: number };
  server.on("connection", function (this: typeof server) {
    this.seen = (this.seen ?? 0) + 1;
  });
  server.on("request", function (this: unknown, _req, res: http.ServerResponse) {
    res.end(`same ${String(this === server)}`);
  });
  const { socket } = await tlsDial(attach(server));
  socket.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  assert.match(await readText(socket), /same true$/);
  assert.is(server.seen, 1);
  await close(server);
});

function addresses(socket: tls.TLSSocket | Duplex): string {
  const it = socket as tls.TLSSocket;
  const remote = `${it.remoteAddress} ${it.remotePort} ${it.remoteFamily}`;
  return `${remote} ${it.localAddress} ${it.localPort} ${it.localFamily}`;
}

async function selfSigned(name: string) {
  const made = await generate([{ name: "commonName", value: name }], { keyType: "ec" });
  return { key: made.private, cert: made.cert };
}

async function tlsDial(
  attached: Attachment,
  options: tls.ConnectionOptions = {},
  pair: Parameters<typeof dial>[1] = {},
) {
  const raw = dial(attached, pair);
  raw.socket.allowHalfOpen = false; // TLS clients take it over, and end when the server does.
  const socket = tls.connect({ rejectUnauthorized: false, ...options, socket: raw.socket });
  // A server that closes first answers the client's close_notify with a RST, as over a kernel's TCP.
  socket.on("error", () => undefined);
  await once(socket, "secureConnect");
  return { socket, raw };
}

async function http2Dial(
  attached: Attachment,
  kind: "h2" | "h2c",
  pair: Parameters<typeof dial>[1] = {},
): Promise<http2.ClientHttp2Session> {
  const socket =
    kind === "h2"
      ? (await tlsDial(attached, { ALPNProtocols: ["h2"] }, pair)).socket
      : dial(attached, pair).socket;
  const scheme = kind === "h2" ? "https" : "http";
  return http2.connect(`${scheme}://service.example`, { createConnection: () => socket });
}

async function h2Get(client: http2.ClientHttp2Session): Promise<string> {
  const stream = client.request({ ":path": "/" });
  stream.end();
  return readText(stream);
}

function close(server: { close(callback: (error?: Error) => void): unknown }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.close((error) => (error ? reject(error) : resolve()));
  });
}

secure.run();
