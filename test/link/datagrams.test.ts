/** Datagrams by system calls: batches, lengths, senders, and what the kernel answers when nobody listens. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Datagrams } from "../../host/link/datagrams.ts";
import { isSameEnd, sockaddr } from "../../host/linux/address.ts";
import { ECONNREFUSED } from "../../host/linux/errno.ts";
import { AF_INET, libc, native, SOCK_DGRAM, SOCK_NONBLOCK } from "../../host/linux/libc.ts";
import { until } from "../support/wait.ts";

const datagrams = suite("datagrams");
const fds: number[] = [];
const sockets: Socket[] = [];
datagrams.after.each(() => {
  for (const fd of fds.splice(0)) libc().close(fd);
  for (const socket of sockets.splice(0)) socket.close();
});

const HOST = "127.0.0.1";

async function other(): Promise<{ socket: Socket; port: number }> {
  const socket = createSocket("udp4");
  socket.bind(0, HOST);
  await once(socket, "listening");
  sockets.push(socket);
  return { socket, port: socket.address().port };
}

/** A bound descriptor and its port; connected where a port is given. */
function own(to?: number): { fd: number; port: number } {
  const fd = libc().socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  fds.push(fd);
  libc().bind(fd, sockaddr(HOST, 0));
  if (to !== undefined) {
    const connect = native("int connect(int fd, uintptr_t address, unsigned int size)");
    const peer = new Uint8Array(new ArrayBuffer(4096));
    peer.set(sockaddr(HOST, to));
    assert.is(connect(fd, libc().address(peer), 16), 0);
  }
  const name = new Uint8Array(16);
  libc().getsockname(fd, name);
  return { fd, port: ((name[2] ?? 0) << 8) | (name[3] ?? 0) };
}

datagrams("takes more than a batch in order, each with its length and sender", async () => {
  const io = new Datagrams();
  const { socket, port } = await other();
  const { fd, port: to } = own(port);
  const sizes = Array.from({ length: 70 }, (_, index) => (index * 37) % 1401);
  for (const [index, size] of sizes.entries()) socket.send(Buffer.alloc(size, index), to, HOST);
  const got: Uint8Array[] = [];
  await until("all have come", () => {
    const result = io.receive(fd, (bytes, name) => {
      assert.ok(isSameEnd(name, sockaddr(HOST, port)));
      got.push(bytes);
    });
    assert.is(result, 0);
    return got.length === sizes.length;
  });
  for (const [index, size] of sizes.entries()) {
    assert.equal(got[index], new Uint8Array(size).fill(index)); // none was written over by a later one
  }
});

datagrams("cuts what is longer than any of ours, and tells strangers apart", async () => {
  const io = new Datagrams();
  const [{ socket, port }, stranger] = [await other(), await other()];
  const { fd, port: to } = own();
  socket.send(Buffer.alloc(5_000, 7), to, HOST);
  stranger.socket.send("x", to, HOST);
  const got: [number, boolean][] = [];
  await until("both have come", () => {
    io.receive(fd, (bytes, name) =>
      got.push([bytes.length, isSameEnd(name, sockaddr(HOST, port))]),
    );
    return got.length === 2;
  });
  got.sort((a, b) => b[0] - a[0]);
  assert.equal(got, [
    [2048, true],
    [1, false],
  ]);
});

datagrams("sends, and tells when nobody listened to an earlier one", async () => {
  const io = new Datagrams();
  const { socket, port } = await other();
  const { fd } = own(port);
  const come = once(socket, "message");
  assert.is(io.send(fd, Buffer.from("hello")), 5);
  assert.is(String((await come)[0]), "hello");
  sockets.pop();
  socket.close();
  await once(socket, "close");
  const results: number[] = [];
  await until("it is told", () => {
    results.push(io.send(fd, Buffer.from("anybody?")));
    return results.includes(-ECONNREFUSED);
  });
  const rest = io.receive(fd, () => assert.unreachable("nobody sent anything"));
  assert.ok(rest === 0 || rest === -ECONNREFUSED);
});

datagrams("compares socket addresses of both families by address and port alone", () => {
  const v4 = sockaddr("10.0.0.1", 80);
  const v6 = sockaddr("fd00::1", 80);
  const scoped = v6.slice();
  scoped[24] = 3; // sin6_scope_id
  const labelled = v6.slice();
  labelled[4] = 1; // sin6_flowinfo
  const rows: [Uint8Array, Uint8Array, boolean][] = [
    [v4, sockaddr("10.0.0.1", 80), true],
    [v4, sockaddr("10.0.0.1", 81), false],
    [v4, sockaddr("10.0.0.2", 80), false],
    [v4, sockaddr("10.0.0.1", 80 << 8), false],
    [v6, scoped, true],
    [v6, labelled, true],
    [v6, sockaddr("fd00::1", 81), false],
    [v6, sockaddr("fd00::2", 80), false],
    [v6, v4, false],
    [v4, v6, false],
  ];
  for (const [one, another, isSame] of rows) assert.is(isSameEnd(one, another), isSame);
});

datagrams.run();
