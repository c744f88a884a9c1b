import { spawnSync } from "node:child_process";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BatonError } from "../../host/errors.ts";
import { openTun, type TunLink, type TunOptions } from "../../host/link/tun.ts";
import { AF_INET, AF_UNIX, libc, SOCK_DGRAM, SOCK_STREAM } from "../../host/linux/libc.ts";
import { sockaddr } from "../../host/linux/address.ts";
import { writeSysctl } from "../../host/linux/sysctl.ts";
import { ip, privileged, until } from "../support/namespace.ts";
import { Reader } from "../support/reader.ts";

const tun = suite("tun");
const check = await privileged(import.meta.url, tun);

const links: TunLink[] = [];
tun.after.each(() => links.splice(0).forEach((link) => link.close()));

/** A link that is closed after the test, whatever becomes of it. */
async function open(options: TunOptions): Promise<TunLink> {
  const link = await openTun(options);
  links.push(link);
  return link;
}

/** Turns a UDP packet round in place; the sums stay as they are because sums do not know order. */
function turnRound(packet: Uint8Array): void {
  const v4 = packet[0]! >> 4 === 4;
  const [at, size, udp] = v4 ? [12, 4, 20] : [8, 16, 40];
  const swap = (left: number, right: number, length: number) => {
    const kept = packet.slice(left, left + length);
    packet.copyWithin(left, right, right + length);
    packet.set(kept, right);
  };
  swap(at, at + size, size);
  swap(udp, udp + 2, 2);
}

function isUdp(packet: Uint8Array): boolean {
  return packet[0]! >> 4 === 4 ? packet[9] === 17 : packet[6] === 17;
}

/** Echoes every datagram that arrives. */
function echoing(reader: Reader): Reader {
  reader.act = (index) => {
    const packet = reader.batch.packet(index);
    if (!isUdp(packet)) return;
    turnRound(packet);
    reader.link.transmit(reader.batch, index);
  };
  return reader;
}

async function echo(socket: Socket, address: string, text: string): Promise<string> {
  socket.send(text, 7, address);
  const [message] = (await once(socket, "message")) as [Buffer];
  return message.toString();
}

if (process.env.BATON_TEST_NAMESPACE) {
  ip("address add 10.99.9.1/32 dev lo", "address add fd99:9::1/128 dev lo nodad");
}

for (const watch of ["loop", "worker"] as const) {
  for (const offload of [true, false]) {
    check(`echoes datagrams of both families, ${watch} watcher, offload ${offload}`, async () => {
      const routes = [{ to: "10.99.0.50" }, { to: "fd99::50" }];
      const link = await open({ name: "baton1", routes, watch, offload });
      assert.is(link.watcher, watch);
      const reader = new Reader(link);
      const flags = new Set<number>();
      reader.act = (index) => {
        const packet = reader.batch.packet(index);
        if (!isUdp(packet)) return;
        flags.add(reader.batch.flags(index));
        turnRound(packet);
        assert.ok(link.transmit(reader.batch, index));
      };
      const v4 = createSocket("udp4").bind(0, "10.99.9.1");
      const v6 = createSocket("udp6").bind(0, "fd99:9::1");
      await Promise.all([once(v4, "listening"), once(v6, "listening")]);
      for (const text of ["a", "bc", "x".repeat(1400)]) {
        assert.is(await echo(v4, "10.99.0.50", text), text);
        assert.is(await echo(v6, "fd99::50", text), text);
      }
      assert.equal([...flags], [offload ? 1 : 0], "unfinished checksums only with offload");
      v4.close();
      v6.close();
      assert.is(link.counters.txPackets, 6);
      link.close();
      assert.throws(() => ip("link show dev baton1"), /does not exist/);
      assert.is(link.receive(reader.batch), 0);
    });
  }
}

check("ends a batch after many bytes and says whether more may wait", async () => {
  const link = await open({ name: "baton1", mtu: 65_535, routes: [{ to: "10.99.0.50" }] });
  const { batch } = new Reader(link, 64);
  link.onReadable(() => undefined); // What arrives waits in the device.
  const socket = createSocket("udp4").bind(0, "10.99.9.1");
  await once(socket, "listening");
  const bytes = 60_000;
  const datagrams = 12;
  for (let sent = 0; sent < datagrams; sent += 1) {
    await new Promise((resolve) => socket.send(Buffer.alloc(bytes), 7, "10.99.0.50", resolve));
  }
  const batches: number[] = [];
  do {
    const count = link.receive(batch);
    const indexes = Array.from({ length: count }, (_, index) => index);
    batches.push(indexes.filter((index) => batch.len(index) > bytes).length);
  } while (!link.drained);
  assert.is(
    batches.reduce((sum, count) => sum + count, 0),
    datagrams,
  );
  assert.ok(batches.length > 2, `${batches} large packets in a batch of ${batch.length}`);
  assert.is(link.receive(batch), 0);
  assert.ok(link.drained);
  socket.close();
});

check("goes on after the device was down and up again", async () => {
  for (const watch of ["loop", "worker"] as const) {
    const link = await open({ name: "baton2", routes: [{ to: "10.99.0.50" }], watch });
    const reader = echoing(new Reader(link));
    const errors: Error[] = [];
    link.onError((error) => errors.push(error));
    const socket = createSocket("udp4").bind(0, "10.99.9.1");
    await once(socket, "listening");
    assert.is(await echo(socket, "10.99.0.50", "before"), "before");
    ip("link set dev baton2 down");
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.not.ok(link.transmit(reader.batch, 0), "a device that is down takes nothing");
    assert.is(link.counters.txDown, 1);
    ip("link set dev baton2 up", "route add 10.99.0.50/32 dev baton2");
    assert.is(await echo(socket, "10.99.0.50", "after"), "after");
    assert.equal(errors, []);
    socket.close();
    link.close();
  }
});

check("reports once that the device was deleted", async () => {
  for (const watch of ["loop", "worker"] as const) {
    const link = await open({ name: "baton3", watch });
    const reader = new Reader(link);
    const errors: Error[] = [];
    link.onError((error) => errors.push(error));
    ip("link del dev baton3");
    await until("an error", () => errors.length > 0);
    assert.is((errors[0] as BatonError).code, "ERR_BATON_DEVICE_GONE");
    assert.not.ok(link.transmit(reader.batch, 0));
    assert.is(link.receive(reader.batch), 0);
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.is(errors.length, 1);
    const late: Error[] = [];
    link.onError((error) => late.push(error));
    assert.is(late.length, 1, "also for who listens later");
    link.close();
    link.close();
  }
});

/** Sends numbered datagrams without a pause, so that nobody reads meanwhile. */
function flood(address: string, count: number): void {
  const fd = libc().socket(AF_INET, SOCK_DGRAM, 0);
  const to = sockaddr(address, 9);
  const data = new Uint8Array(18);
  for (let number = 0; number < count; number += 1) {
    new DataView(data.buffer).setUint32(0, number);
    libc().sendto(fd, data, 0, to);
  }
  libc().close(fd);
}

for (const watch of ["loop", "worker"] as const) {
  check(
    `accounts for every packet of a flood and keeps their order, ${watch} watcher`,
    async () => {
      const options = { name: "baton4", routes: [{ to: "10.99.0.51" }], queueLen: 1000, watch };
      const link = await open(options);
      const reader = new Reader(link);
      const numbers: number[] = [];
      writeSysctl("ipv6/conf/baton4/disable_ipv6", "1"); // or the kernel's own reports are dropped too
      reader.act = (index) => {
        const packet = reader.batch.packet(index);
        if (isUdp(packet)) numbers.push(new DataView(packet.slice().buffer).getUint32(28));
      };
      const before = link.kernelDrops;
      flood("10.99.0.51", 5000);
      await until("all", () => numbers.length + link.kernelDrops - before >= 5000);
      flood("10.99.0.51", 900);
      await until("all", () => numbers.length + link.kernelDrops - before >= 5900);
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.is(numbers.length + link.kernelDrops - before, 5900);
      assert.ok(numbers.length >= 1890, `the queue's content arrived: ${numbers.length}`);
      assert.equal(
        numbers.slice(-900),
        [...Array(900).keys()],
        "a burst within the queue is complete",
      );
      const first = numbers.slice(0, -900);
      assert.ok(first.every((number, at) => at === 0 || number > first[at - 1]!));
      assert.is(link.counters.rxPackets, numbers.length + reader.others);
      assert.is(link.counters.rxMalformed + link.counters.rxTruncated + link.counters.rxErrors, 0);
      link.close();
    },
  );

  check(`loses nothing to a reader that does not read when called, ${watch} watcher`, async () => {
    const link = await open({ name: "baton5", routes: [{ to: "10.99.0.52" }], watch });
    flood("10.99.0.52", 40);
    await new Promise((resolve) => setTimeout(resolve, 20)); // nobody listens yet
    const reader = new Reader(link);
    reader.patience = 3;
    await until("40 datagrams", () => reader.packets.filter(isUdp).length === 40);
    const datagrams = reader.packets.filter(isUdp);
    assert.equal(
      datagrams.map((packet) => new DataView(packet.buffer).getUint32(28)),
      [...Array(40).keys()],
    );
    assert.is(reader.patience, 0);
    link.close();
  });
}

check("drops what does not fit a slot, and counts it", async () => {
  const link = await open({ name: "baton6", mtu: 9000, routes: [{ to: "10.99.0.53" }] });
  const reader = new Reader(link, 4, 2048);
  const socket = createSocket("udp4").bind(0, "10.99.9.1");
  await once(socket, "listening");
  for (const size of [100, 2019, 2020, 8000, 200]) socket.send(Buffer.alloc(size), 9, "10.99.0.53");
  await until("three datagrams", () => reader.packets.filter(isUdp).length === 3);
  await until("two drops", () => link.counters.rxTruncated === 2);
  assert.equal(
    reader.packets.filter(isUdp).map((packet) => packet.length - 28),
    [100, 2019, 200],
  );
  socket.close();
  link.close();
});

check("counts what the kernel does not accept", async () => {
  const link = await open({ name: "baton7" });
  const reader = new Reader(link);
  reader.batch.put(0, new Uint8Array(40).fill(0x45));
  reader.batch.setOffload(0, 1, 60_000, 16, 0, 0, 0);
  assert.not.ok(link.transmit(reader.batch, 0));
  assert.is(link.counters.txRefused, 1);
  reader.batch.put(0, new Uint8Array(40)); // IP version 0
  assert.not.ok(link.transmit(reader.batch, 0));
  assert.is(link.counters.txRefused, 2);
  link.close();
  assert.not.ok(link.transmit(reader.batch, 0));
});

/** Ways in which the loop could fail to watch a device, by what takes the device's place in it. */
const BROKEN = {
  "ends at once": () => {},
  "stays silent": (to: number, dup3: (from: number, to: number) => void) => {
    const [silent, other] = libc().socketpair(AF_UNIX, SOCK_STREAM, 0);
    dup3(silent, to);
    libc().close(silent);
    setTimeout(() => libc().close(other), 1000).unref(); // outlives the test of the watcher
  },
} as const;

for (const [how, act] of Object.entries(BROKEN)) {
  check(`finds out that the loop ${how}, and watches by a thread instead`, async () => {
    const calls = libc();
    const { dup3 } = calls;
    calls.dup3 = (_from, to) => act(to, dup3);
    try {
      const link = await open({ name: "baton8", routes: [{ to: "10.99.0.50" }] });
      calls.dup3 = dup3;
      assert.is(link.watcher, "worker");
      const reader = echoing(new Reader(link));
      const errors: Error[] = [];
      link.onError((error) => errors.push(error));
      const socket = createSocket("udp4").bind(0, "10.99.9.1");
      await once(socket, "listening");
      assert.is(await echo(socket, "10.99.0.50", "still"), "still");
      socket.close();
      assert.equal(errors, []);
      assert.not.ok(
        reader.packets.some((packet) => packet[9] === 253),
        "the probe stays inside",
      );
      link.close();
      calls.dup3 = (_from, to) => act(to, dup3);
      await rejects(
        open({ name: "baton8", watch: "loop" }),
        /expected the loop to report a packet/,
      );
      assert.throws(() => ip("link show dev baton8"), /does not exist/);
    } finally {
      calls.dup3 = dup3;
    }
  });
}

async function rejects(action: Promise<unknown>, message: RegExp): Promise<void> {
  try {
    await action;
  } catch (error) {
    return assert.match((error as Error).message, message);
  }
  assert.unreachable("expected an error");
}

check("says which privilege is missing, so that the command can end with 77", () => {
  const at = (file: string) => JSON.stringify(new URL(`../../host/${file}`, import.meta.url).href);
  const script = `
    const { isUnavailable } = await import(${at("linux/errno.js")});
    const { openTun } = await import(${at("link/tun.js")});
    const { openRaw } = await import(${at("link/raw.js")});
    for (const open of [() => openTun({ name: "baton9" }), async () => openRaw()]) {
      await open().then(() => console.log("open"), (error) =>
        console.log(error.message, isUnavailable(error)));
    }`;
  const node = [process.execPath, "--input-type=module", "-e", script];
  const result = spawnSync("setpriv", ["--bounding-set", "-net_admin,-net_raw", ...node], {
    encoding: "utf8",
  });
  assert.is(
    result.stdout,
    "tun baton9: expected the privilege CAP_NET_ADMIN, got EPERM true\n" +
      "raw: expected the privilege CAP_NET_RAW, got EPERM true\n",
    result.stderr,
  );
});

tun.run();
