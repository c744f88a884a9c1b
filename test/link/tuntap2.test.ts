import { createSocket } from "node:dgram";
import { once } from "node:events";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Tap, Tun } from "../../host/link/tuntap2.ts";
import { sockaddr } from "../../host/linux/address.ts";
import { AF_INET, libc, SOCK_DGRAM } from "../../host/linux/libc.ts";
import { ipJson } from "../../host/linux/ip.ts";
import { ip, privileged, until } from "../support/namespace.ts";

const tuntap = suite("tuntap2");
const check = await privileged(import.meta.url, tuntap);

const opened: (Tun | Tap)[] = [];
tuntap.after.each(async () => {
  for (const device of opened.splice(0)) {
    if (!device.closed) await new Promise<void>((resolve) => device.release(resolve));
  }
});

function keep<T extends Tun | Tap>(device: T): T {
  opened.push(device);
  return device;
}

function isUdp(packet: Buffer): boolean {
  return packet[0]! >> 4 === 4 && packet[9] === 17;
}

check("has the properties of tuntap2, read from the device itself", () => {
  const tun = keep(new Tun());
  assert.match(tun.name, /^tun\d+$/);
  assert.equal([tun.isTun, tun.isTap, tun.isUp], [true, false, false]);
  assert.equal([tun.ipv4, tun.ipv6], ["", ""]);
  tun.mtu = 1400;
  tun.ipv4 = "10.99.0.1/24";
  tun.ipv6 = "abcd:1:2:3::/64";
  tun.isUp = true;
  assert.equal(
    [tun.mtu, tun.ipv4, tun.ipv6, tun.isUp],
    [1400, "10.99.0.1/24", "abcd:1:2:3::/64", true],
  );
  const [seen] = ipJson(["address", "show", "dev", tun.name]);
  assert.is(seen?.mtu, 1400);
  assert.ok((seen?.flags as string[]).includes("UP"));
  tun.ipv4 = "10.99.1.1/30";
  tun.ipv6 = "fd00:0::7/127";
  assert.equal([tun.ipv4, tun.ipv6], ["10.99.1.1/30", "fd00::7/127"]);
  tun.isUp = false;
  assert.is(tun.isUp, false);
  const second = keep(new Tun());
  assert.is.not(second.name, tun.name);
});

check("has a hardware address to set on a Tap, and none on a Tun", () => {
  const tap = keep(new Tap({ name: "batontap" }));
  assert.equal([tap.name, tap.isTun, tap.isTap], ["batontap", false, true]);
  tap.mac = "00:11:22:33:44:55";
  assert.is(tap.mac, "00:11:22:33:44:55");
  assert.throws(() => (tap.mac = "00:11:22:33:44"), /expected six bytes/);
  assert.throws(() => (tap.mac = "01:00:00:00:00:00"), /EADDRNOTAVAIL/); // a group's
  const tun = keep(new Tun());
  assert.throws(() => (tun.mac = "00:11:22:33:44:55"), /expected a Tap/);
});

check("refuses addresses that are none", () => {
  const tun = keep(new Tun());
  assert.throws(() => (tun.ipv4 = "10.0.0.256/24"), /expected ADDRESS/);
  assert.throws(() => (tun.ipv4 = "10.0.0.1/33"), /expected ADDRESS/);
  assert.throws(() => (tun.ipv4 = "fd00::1/64"), /expected a.b.c.d\/len/);
  assert.throws(() => (tun.ipv6 = "10.0.0.1/24"), /expected ADDRESS\/LENGTH/);
  for (const length of [0, 1, 8, 31, 32]) {
    tun.ipv4 = `10.99.5.1/${length}`;
    assert.is(tun.ipv4, `10.99.5.1/${length}`);
  }
});

check("reads and writes one IP packet a chunk", async () => {
  const tun = keep(new Tun());
  tun.ipv4 = "10.99.0.1/24";
  tun.isUp = true;
  tun.on("data", (packet: Buffer) => {
    if (!isUdp(packet)) return;
    const reply = Buffer.from(packet);
    packet.copy(reply, 12, 16, 20); // the sums do not change with the order
    packet.copy(reply, 16, 12, 16);
    packet.copy(reply, 20, 22, 24);
    packet.copy(reply, 22, 20, 22);
    tun.write(reply);
  });
  const socket = createSocket("udp4").bind(0, "10.99.0.1");
  await once(socket, "listening");
  for (const text of ["one", "two", "x".repeat(1472)]) {
    socket.send(text, 7, "10.99.0.2");
    const [message] = (await once(socket, "message")) as [Buffer];
    assert.is(message.toString(), text);
  }
  socket.close();
});

check("reads and writes one Ethernet frame a chunk", async () => {
  const tap = keep(new Tap());
  tap.mac = "02:00:00:00:00:01";
  tap.ipv4 = "10.99.0.1/24";
  tap.isUp = true;
  const socket = createSocket("udp4").bind(0, "10.99.0.1");
  await once(socket, "listening");
  socket.send("hello", 7, "10.99.0.9");
  for await (const frame of tap as AsyncIterable<Buffer>) {
    const type = frame.readUInt16BE(12);
    if (type === 0x0806 && frame.subarray(38, 42).equals(Buffer.from([10, 99, 0, 9]))) {
      const reply = Buffer.from(frame); // ARP: it is us
      Buffer.from("020000000001020000000009", "hex").copy(reply, 0);
      reply[21] = 2;
      Buffer.from("0200000000090a630009", "hex").copy(reply, 22);
      Buffer.from("0200000000010a630001", "hex").copy(reply, 32);
      tap.write(reply);
    }
    if (type !== 0x0800 || frame[23] !== 17) continue;
    assert.is(frame.subarray(0, 6).toString("hex"), "020000000009");
    assert.is(frame.subarray(42).toString(), "hello");
    break; // which releases the device
  }
  socket.close();
  await until("its end", () => tap.closed);
  assert.throws(() => tap.mtu, /ENODEV/);
});

check("keeps packets in the kernel while nobody reads, and their order", async () => {
  const tun = keep(new Tun());
  tun.ipv4 = "10.99.0.1/24";
  tun.isUp = true;
  const fd = libc().socket(AF_INET, SOCK_DGRAM, 0);
  const send = (from: number, to: number) => {
    for (let number = from; number < to; number += 1) {
      const data = Uint8Array.of(number >> 8, number & 0xff);
      libc().sendto(fd, data, 0, sockaddr("10.99.0.2", 9));
    }
  };
  const numbers: number[] = [];
  send(0, 100);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.is(tun.readableLength, 0, "nobody has asked yet");
  tun.on("data", (packet: Buffer) => {
    if (isUdp(packet)) numbers.push(packet.readUInt16BE(28));
  });
  await until("100 packets", () => numbers.length === 100);
  tun.pause();
  send(100, 400);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.is(numbers.length, 100);
  assert.ok(tun.readableLength <= 65, `${tun.readableLength} packets in the stream`);
  tun.resume();
  await until("400 packets", () => numbers.length === 400);
  assert.equal(numbers, [...Array(400).keys()]);
  libc().close(fd);
});

check("fails a write that the kernel refuses, with its reason", async () => {
  const tun = keep(new Tun());
  const failed = once(tun, "error") as Promise<[Error]>;
  tun.write(Buffer.alloc(40, 0x45));
  assert.match((await failed)[0].message, /^write to tun\d+: .*\(EIO\)/); // it is down
  await until("its end", () => tun.closed);
  const large = keep(new Tun());
  const refused = once(large, "error") as Promise<[Error]>;
  large.write(Buffer.alloc(70_000));
  assert.match((await refused)[0].message, /expected a packet of at most/);
});

check("ends with an error when the device is deleted, quietly when released", async () => {
  const tun = keep(new Tun({ name: "batontun" }));
  const failed = once(tun, "error") as Promise<[Error & { code: string }]>;
  tun.resume();
  ip("link del dev batontun");
  assert.is((await failed)[0].code, "ERR_BATON_DEVICE_GONE");
  const quiet = new Tun({ name: "batontun" });
  quiet.on("error", (error) => assert.unreachable(error.message));
  await new Promise<void>((resolve) => quiet.release(resolve));
  await new Promise<void>((resolve) => quiet.release(resolve));
  assert.throws(() => ip("link show dev batontun"), /does not exist/);
  assert.throws(() => new Tun({ name: "a/b" }), /expected a name/);
});

tuntap.run();
