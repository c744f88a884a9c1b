import { suite } from "uvu";
import * as assert from "uvu/assert";
import { finishChecksum, internetSum } from "../../host/link/checksum.ts";
import { openRaw, type RawLink } from "../../host/link/raw.ts";
import { openTun } from "../../host/link/tun.ts";
import { addressBytes } from "../../host/linux/address.ts";
import { writeSysctl } from "../../host/linux/sysctl.ts";
import { ip, Peer, privileged } from "../support/namespace.ts";
import { Reader } from "../support/reader.ts";
import { SlotBatch } from "../support/slots.ts";

const raw = suite("raw");
const check = await privileged(import.meta.url, raw);

raw("sums like RFC 1071 at every length and offset", () => {
  const bytes = Uint8Array.from({ length: 80 }, (_, index) => (index * 89 + 7) & 0xff);
  for (let start = 0; start < 8; start += 1) {
    for (let end = start; end <= 80; end += 1) {
      let expected = 0;
      for (let at = start; at < end; at += 1) {
        expected += bytes[at]! * ((at - start) % 2 === 0 ? 256 : 1);
        if (expected > 0xffff) expected -= 0xffff;
      }
      assert.is(internetSum(bytes, start, end), expected, `${start} to ${end}`);
    }
  }
  const full = new Uint8Array(65536).fill(0xff);
  assert.is(internetSum(full, 0, full.length), 0xffff);
  const pseudo = bytes[20]! * 256 + bytes[21]!; // what the field holds counts as data, once
  finishChecksum(bytes, 10, 61, 20);
  const sum = internetSum(bytes, 10, 61) + pseudo;
  assert.is(sum > 0xffff ? sum - 0xffff : sum, 0xffff);
});

const PORT = 7000;

/** A UDP packet from an address that no kernel here owns; the checksum unfinished on request. */
function datagram(from: string, to: string, payload: Uint8Array, partial = false): Uint8Array {
  const [source, target] = [addressBytes(from), addressBytes(to)];
  const v4 = source.length === 4;
  const udp = v4 ? 20 : 40;
  const packet = new Uint8Array(udp + 8 + payload.length);
  const view = new DataView(packet.buffer);
  if (v4) {
    packet.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17]);
    view.setUint16(2, packet.length);
  } else {
    packet.set([0x60, 0, 0, 0, 0, 0, 17, 64]);
    view.setUint16(4, packet.length - 40);
  }
  packet.set(source, v4 ? 12 : 8);
  packet.set(target, v4 ? 16 : 24);
  view.setUint16(udp, PORT + 1);
  view.setUint16(udp + 2, PORT);
  view.setUint16(udp + 4, 8 + payload.length);
  packet.set(payload, udp + 8);
  const pseudo = Uint8Array.of(...source, ...target, 0, 17, ...packet.subarray(udp + 4, udp + 6));
  view.setUint16(udp + 6, internetSum(pseudo, 0, pseudo.length));
  if (!partial) finishChecksum(packet, udp, packet.length, udp + 6);
  return packet;
}

/** Prints every datagram as "SOURCE LENGTH FIRST-BYTE"; the kernel has checked its checksum. */
const RECEIVER = `
import { createSocket } from "node:dgram";
for (const type of ["udp4", "udp6"]) {
  const socket = createSocket({ type, ipv6Only: type === "udp6" });
  socket.on("message", (data, from) => console.log(from.address, data.length, data[0]));
  socket.bind(${PORT}, () => console.log("bound"));
}`;

let peer: Peer;
let received: { line(): Promise<string> };
let link: RawLink;

if (process.env.BATON_TEST_NAMESPACE) {
  raw.before(async () => {
    peer = await Peer.open("batonv0", "batonv1");
    ip("address add 10.99.1.1/24 dev batonv0", "address add fd99:1::1/64 dev batonv0 nodad");
    peer.ip("address add 10.99.1.2/24 dev batonv1", "address add fd99:1::2/64 dev batonv1 nodad");
    peer.ip("route add default via 10.99.1.1", "route add default via fd99:1::1");
    received = peer.start(RECEIVER);
    assert.is(await received.line(), "bound");
    assert.is(await received.line(), "bound");
  });
  raw.before.each(() => void (link = openRaw()));
  raw.after.each(() => link.close());
  raw.after(() => peer.close());
}

check("sends packets of both families from addresses that nobody owns", async () => {
  const batch = new SlotBatch(4, 2048);
  batch.put(0, datagram("10.99.0.100", "10.99.1.2", Uint8Array.of(1, 2, 3)));
  batch.put(1, datagram("fd99::100", "fd99:1::2", Uint8Array.of(4, 5)));
  batch.put(2, datagram("10.99.0.101", "10.99.1.2", new Uint8Array(1472).fill(6)));
  for (const index of [0, 1, 2]) assert.ok(link.transmit(batch, index));
  assert.is(link.counters.txPackets, 0, "gathered until flush");
  link.flush();
  assert.is(link.counters.txPackets, 3);
  assert.is(link.counters.txBytes, 31 + 50 + 1500);
  const lines = [await received.line(), await received.line(), await received.line()].sort();
  assert.equal(lines, ["10.99.0.100 3 1", "10.99.0.101 1472 6", "fd99::100 2 4"]);
  assert.is(link.gso, false);
});

check("finishes unfinished checksums", async () => {
  const batch = new SlotBatch(2, 2048);
  for (const [from, to, start] of [
    ["10.99.0.100", "10.99.1.2", 20],
    ["fd99::100", "fd99:1::2", 40],
  ] as const) {
    batch.put(0, datagram(from, to, Uint8Array.of(7, 8, 9), true));
    batch.setOffload(0, 1, start, 6, 0, 0, 0);
    assert.ok(link.transmit(batch, 0));
    link.flush();
    assert.is(await received.line(), `${from} 3 7`);
  }
});

check("sends many in order, 32 at a time", async () => {
  const batch = new SlotBatch(64, 2048);
  for (let index = 0; index < 64; index += 1) {
    batch.put(index, datagram("10.99.0.100", "10.99.1.2", Uint8Array.of(index)));
  }
  for (let round = 0; round < 3; round += 1) {
    for (let index = 0; index < 40 + round; index += 1) assert.ok(link.transmit(batch, index));
    link.flush();
  }
  for (let round = 0; round < 3; round += 1) {
    for (let index = 0; index < 40 + round; index += 1) {
      assert.is(await received.line(), `10.99.0.100 1 ${index}`);
    }
  }
  assert.is(link.counters.txPackets, 123);
  link.flush();
  assert.is(link.counters.txPackets, 123);
});

check("counts each packet that the kernel refuses, and sends its neighbours", async () => {
  const batch = new SlotBatch(8, 4096);
  const good = (byte: number) => datagram("10.99.0.100", "10.99.1.2", Uint8Array.of(byte));
  batch.put(0, good(1));
  batch.put(1, datagram("10.99.0.100", "10.200.0.1", Uint8Array.of(0))); // no route
  batch.put(2, good(2));
  batch.put(3, datagram("10.99.0.100", "10.99.1.2", new Uint8Array(1473))); // one byte too long
  batch.put(4, good(3));
  batch.put(5, good(4));
  batch.setOffload(5, 1, 20, 6, 1, 1000, 28); // to be split
  batch.put(6, new Uint8Array(60).fill(0x55)); // IP version 5
  batch.put(7, good(5).subarray(0, 19)); // shorter than its header
  const taken = [0, 1, 2, 3, 4, 5, 6, 7].map((index) => link.transmit(batch, index));
  assert.equal(taken, [true, true, true, true, true, false, false, false]);
  link.flush();
  for (const byte of [1, 2, 3]) assert.is(await received.line(), `10.99.0.100 1 ${byte}`);
  const { txPackets, txUnroutable, txTooLong, txRefused, txFull, txErrors } = link.counters;
  assert.equal(
    [txPackets, txUnroutable, txTooLong, txRefused, txFull, txErrors],
    [3, 1, 2, 2, 0, 0],
  );
});

/** Turns a SYN over IPv4 into its SYN-ACK, in place, as a plain packet. */
function answerSyn(batch: SlotBatch, index: number): void {
  const packet = batch.packet(index);
  const view = new DataView(batch.memory.buffer, batch.ptr(index));
  const [source, target] = [packet.slice(12, 16), packet.slice(16, 20)];
  const ports = [view.getUint16(20), view.getUint16(22)] as const;
  const acknowledged = view.getUint32(24) + 1;
  view.setUint16(2, 40);
  packet.set(target, 12);
  packet.set(source, 16);
  view.setUint16(10, 0);
  view.setUint16(20, ports[1]);
  view.setUint16(22, ports[0]);
  view.setUint32(24, 1000);
  view.setUint32(28, acknowledged);
  view.setUint16(32, 0x5012); // 20 bytes, SYN and ACK
  const pseudo = Uint8Array.of(...source, ...target, 0, 6, 0, 20);
  view.setUint16(36, internetSum(pseudo, 0, pseudo.length));
  batch.setLen(index, 40);
  batch.setOffload(index, 1, 20, 16, 0, 0, 0);
}

check("completes a kernel's TCP handshake: in by tun, out raw, nothing forwarded", async () => {
  const tun = await openTun({ name: "baton1", routes: [{ to: "10.99.0.100" }], forward: false });
  try {
    writeSysctl("ipv4/conf/batonv0/forwarding", "1"); // from the wire to the device, not back
    const reader = new Reader(tun);
    reader.act = (index) => {
      if (reader.batch.packet(index)[9] !== 6 || reader.batch.packet(index)[33] !== 2) return;
      answerSyn(reader.batch, index);
      link.transmit(reader.batch, index);
      link.flush();
    };
    const client = peer.start(`
      import { connect } from "node:net";
      const socket = connect(80, "10.99.0.100", () => console.log("connected"));
      socket.on("error", (error) => console.log(error.code));`);
    assert.is(await client.line(), "connected");
    assert.is(tun.counters.txPackets, 0);
    assert.is(link.counters.txPackets, 1);
  } finally {
    tun.close();
  }
});

raw.run();
