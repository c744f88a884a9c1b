import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createNodeCipher } from "../../host/link/cipher.ts";
import { SystemClock } from "../../host/link/clock.ts";
import { systemRandom } from "../../host/link/random.ts";
import { openUdp, type UdpSocket } from "../../host/link/udp.ts";
import type { Endpoint } from "../../host/node/environment.ts";
import { createTransport, nodeId } from "../../host/transport/create.ts";
import type { Transport } from "../../host/transport/transport.ts";
import { until } from "../support/wait.ts";

const udp = suite("udp");
const open: UdpSocket[] = [];
udp.after.each(() => {
  for (const socket of open.splice(0)) socket.close();
});

const hasIpv6 = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === "::1"),
);
const FAMILIES = hasIpv6 ? ["127.0.0.1", "::1"] : ["127.0.0.1"];
if (!hasIpv6) console.log("SKIP IPv6: the loopback device has no ::1");

async function listen(address = "127.0.0.1", port = 0): Promise<UdpSocket> {
  const socket = await openUdp({ listen: { address, port } });
  open.push(socket);
  return socket;
}

async function next(socket: UdpSocket): Promise<[Endpoint, string]> {
  const got: [Endpoint, string][] = [];
  await until("a datagram comes", () => {
    socket.receive((from, bytes) => got.push([from, Buffer.from(bytes).toString()]));
    return got.length > 0;
  });
  return got[0]!;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

udp("datagrams arrive with their sender's address, watched or not, both families", async () => {
  for (const address of FAMILIES) {
    const a = await listen(address);
    const b = await listen(address);
    a.send({ to: b.local, bytes: bytes("plain") });
    assert.equal(await next(b), [a.local, "plain"]);
    assert.ok(await a.watch(b.local));
    a.send({ to: b.local, bytes: bytes("watched") });
    assert.equal(await next(b), [a.local, "watched"]);
    b.send({ to: a.local, bytes: bytes("back") });
    assert.equal(await next(a), [b.local, "back"]);
    const c = await listen(address);
    c.send({ to: a.local, bytes: bytes("stranger") });
    assert.equal(await next(a), [c.local, "stranger"]);
  }
});

udp("a socket for both families reaches IPv4 and shows plain addresses", async () => {
  if (!hasIpv6) return;
  const both = await listen("::");
  const v4 = await listen("127.0.0.1");
  v4.send({ to: { address: "127.0.0.1", port: both.local.port }, bytes: bytes("in") });
  assert.equal(await next(both), [v4.local, "in"]);
  both.send({ to: v4.local, bytes: bytes("out") });
  assert.is((await next(v4))[1], "out");
  assert.ok(await both.watch(v4.local));
  both.send({ to: v4.local, bytes: bytes("watched") });
  assert.equal(await next(v4), [{ address: "127.0.0.1", port: both.local.port }, "watched"]);
});

udp("a watched port that nobody listens on is reported, and works once somebody does", async () => {
  const a = await listen();
  const b = await listen();
  const { local } = b;
  assert.ok(await a.watch(local));
  const refused: Endpoint[] = [];
  a.onUnreachable((endpoint) => refused.push(endpoint));
  b.close();
  a.send({ to: local, bytes: bytes("anybody?") });
  await until("the port is unreachable", () => refused.length > 0);
  assert.equal(refused[0], local);
  assert.is(a.counters.unreachable, 1);
  const again = await listen(local.address, local.port);
  a.send({ to: local, bytes: bytes("hello") });
  assert.equal(await next(again), [a.local, "hello"]);
});

udp("a port that is taken is one clear error, also when its owner watches peers", async () => {
  const a = await listen();
  const b = await listen();
  await a.watch(b.local);
  try {
    await listen(a.local.address, a.local.port);
    assert.unreachable("bound twice");
  } catch (error) {
    assert.match((error as Error).message, /expected a free address .*EADDRINUSE/);
  }
});

udp("the receive buffer is as large as the system allows, up to 4 MiB", async () => {
  const a = await listen();
  const allowed = Number(readFileSync("/proc/sys/net/core/rmem_max", "utf8"));
  assert.ok(
    a.receiveBufferBytes >= Math.min(4 * 1_048_576, allowed),
    `got ${a.receiveBufferBytes}`,
  );
});

udp(
  "what waits is taken at once, in order, and all that is to be sent leaves together",
  async () => {
    const [a, b] = [await listen(), await listen()];
    assert.ok(await a.watch(b.local));
    assert.ok(await b.watch(a.local));
    const slab = Uint8Array.from({ length: 300 * 100 }, (_, index) => Math.floor(index / 100));
    const out = Array.from({ length: 300 }, (_, index) => ({
      to: b.local,
      bytes: slab.subarray(100 * index, 100 * index + 100),
    }));
    a.sendAll(() => out.shift());
    assert.is(a.counters.sent, 300);
    let readable = 0;
    b.onReadable(() => (readable += 1));
    await until("all came", () => b.counters.received === 300);
    assert.is(readable, 1);
    const got: number[] = [];
    b.receive((from, bytes) => {
      assert.equal(from, a.local);
      assert.is(bytes.length, 100);
      got.push(bytes[0]!);
    });
    assert.equal(
      got,
      Array.from({ length: 300 }, (_, index) => index % 256),
    );
  },
);

udp("as many as are asked for are handed over, and the rest waits in order", async () => {
  const a = await listen();
  const b = await listen();
  for (let i = 0; i < 5; i += 1) b.send({ to: a.local, bytes: bytes(`${i}`) });
  await until("five datagrams came", () => a.counters.received === 5);
  const got: string[] = [];
  const take = (_: unknown, one: Uint8Array): void => void got.push(Buffer.from(one).toString());
  assert.is(a.receive(take, 2), 2);
  assert.is(a.waiting, 3);
  assert.is(a.receive(take, 3), 3);
  assert.is(a.waiting, 0);
  assert.is(a.receive(take, 3), 0);
  assert.equal(got, ["0", "1", "2", "3", "4"]);
});

udp("what is not taken in time is dropped and counted", async () => {
  const a = await openUdp({ listen: { address: "127.0.0.1", port: 0 }, waitingMax: 3 });
  open.push(a);
  const b = await listen();
  for (let i = 0; i < 5; i += 1) b.send({ to: a.local, bytes: bytes(`${i}`) });
  await until("five datagrams came", () => a.counters.received === 5);
  assert.is(a.counters.receiveDropped, 2);
  assert.is(
    a.receive(() => undefined),
    3,
  );
});

udp("two transports exchange a blob over real sockets", async () => {
  const cipher = createNodeCipher();
  const clock = new SystemClock();
  const sockets = [await listen(), await listen()];
  const received: Uint8Array[] = [];
  const transports = sockets.map((_, index) =>
    createTransport({
      id: nodeId(cipher, `n${index}`),
      name: `n${index}`,
      keys: [new Uint8Array(32)],
      clock,
      random: systemRandom,
      cipher,
      log: { write: () => undefined },
      events: {
        message: (_peer, _epoch, message) => received.push(message),
        peerEpoch: () => undefined,
      },
    }),
  );
  const [a, b] = transports as [Transport, Transport];
  const id = (index: number) => nodeId(cipher, `n${index}`);
  a.addPeer({ id: id(1), name: "n1", endpoint: sockets[1]!.local });
  b.addPeer({ id: id(0), name: "n0" });
  const blob = systemRandom.bytes(1_000_000);
  let outcome = "";
  a.send(id(1), blob, { onOutcome: (result) => (outcome = result) });
  await until("the outcome is known", () => {
    clock.refresh();
    transports.forEach((transport, index) => {
      sockets[index]!.receive((from, datagram) => transport.handleDatagram(from, datagram));
      if (transport.nextTimeoutUs() <= clock.nowUs()) transport.handleTimeout();
      for (let out = transport.pollDatagram(); out; out = transport.pollDatagram()) {
        sockets[index]!.send(out);
      }
    });
    return outcome !== "";
  });
  assert.is(outcome, "delivered");
  assert.is(Buffer.compare(received[0]!, blob), 0);
  assert.ok(b.peerRttUs(id(0))! > 0);
});

udp.run();
