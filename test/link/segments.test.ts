import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openTun } from "../../host/link/tun.ts";
import { addressBytes } from "../../host/linux/address.ts";
import { ip, Peer, privileged, until } from "../support/namespace.ts";
import { Reader } from "../support/reader.ts";

const segments = suite("segments");
const check = await privileged(import.meta.url, segments);

const MIB = 1 << 20;
const FAMILIES = {
  IPv4: { client: "10.99.1.1", server: "10.99.1.2", service: "10.99.0.100", node: "10.99.0.200" },
  IPv6: { client: "fd99:1::1", server: "fd99:1::2", service: "fd99::100", node: "fd99::200" },
};

/** One's complement sum of 16-bit words, not inverted. */
function sum(bytes: Uint8Array, start = 0): number {
  let total = start;
  for (let at = 0; at < bytes.length; at += 2) total += bytes[at]! * 256 + (bytes[at + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 65536);
  return total;
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 0xff;
}

/** Replaces both addresses and makes every checksum anew, unfinished where it came unfinished. */
function rewrite(packet: Uint8Array, partial: boolean, from: Uint8Array, to: Uint8Array): void {
  const v4 = from.length === 4;
  packet.set(from, v4 ? 12 : 8);
  packet.set(to, v4 ? 16 : 24);
  const tcp = v4 ? 20 : 40;
  if (v4) {
    put16(packet, 10, 0);
    put16(packet, 10, ~sum(packet.subarray(0, 20)) & 0xffff);
  }
  const pseudo = sum(from, sum(to, 6 + packet.length - tcp));
  if (partial) return put16(packet, tcp + 16, pseudo);
  put16(packet, tcp + 16, 0);
  put16(packet, tcp + 16, ~sum(packet.subarray(tcp), pseudo) & 0xffff);
}

const SERVER = `
import { createServer } from "node:net";
import { createHash, randomBytes } from "node:crypto";
for (const address of ["10.99.1.2", "fd99:1::2"]) {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const hash = createHash("sha256");
    socket.on("data", (chunk) => hash.update(chunk));
    socket.on("end", () => {
      const data = randomBytes(16 << 20);
      console.log(hash.digest("hex"));
      console.log(createHash("sha256").update(data).digest("hex"));
      socket.end(data);
    });
  });
  server.listen(80, address, () => console.log("listening"));
}`;

for (const offload of [true, false]) {
  for (const [family, addresses] of Object.entries(FAMILIES)) {
    const what = offload ? "64 KiB at a time" : "packet by packet";
    check(`carries the kernel's TCP over ${family} both ways, ${what}`, async () => {
      const link = await openTun({
        name: "baton1",
        offload,
        routes: [{ to: addresses.service }, { to: addresses.node }],
      });
      const peer = await Peer.open("batonv0", "batonv1");
      try {
        ip("address add 10.99.1.1/24 dev batonv0", "address add fd99:1::1/64 dev batonv0 nodad");
        peer.ip(
          "address add 10.99.1.2/24 dev batonv1",
          "address add fd99:1::2/64 dev batonv1 nodad",
        );
        peer.ip("route add default via 10.99.1.1", "route add default via fd99:1::1");
        const server = peer.start(SERVER);
        assert.is(await server.line(), "listening");
        assert.is(await server.line(), "listening");
        const [client, serverAddress, service, node] = [
          addresses.client,
          addresses.server,
          addresses.service,
          addresses.node,
        ].map(addressBytes) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
        const largest = { up: 0, down: 0 };
        const reader = new Reader(link, 64);
        reader.act = (index) => {
          const { batch } = reader;
          const packet = batch.packet(index);
          const v4 = client.length === 4;
          if (packet[0]! >> 4 !== (v4 ? 4 : 6) || packet[v4 ? 9 : 6] !== 6) return;
          const to = packet.subarray(v4 ? 16 : 24, v4 ? 20 : 40);
          const up = Buffer.compare(to, service) === 0;
          const partial = (batch.flags(index) & 1) !== 0;
          if (up) rewrite(packet, partial, node, serverAddress);
          else rewrite(packet, partial, service, client);
          link.transmit(batch, index);
          const way = up ? "up" : "down";
          largest[way] = Math.max(largest[way], packet.length);
          const split = packet.length > 1500;
          assert.is(
            batch.gsoType(index) & ~0x80,
            split ? (v4 ? 1 : 4) : batch.gsoType(index) & ~0x80,
          );
          assert.ok(!split || batch.headerLen(index) === (v4 ? 52 : 72), "options: timestamps");
        };
        const socket: Socket = connect({
          host: addresses.service,
          port: 80,
          localAddress: addresses.client,
          allowHalfOpen: true,
        });
        const sent = randomBytes(16 * MIB);
        const hash = createHash("sha256");
        let received = 0;
        socket.on("data", (chunk: Buffer) => {
          received += chunk.length;
          hash.update(chunk);
        });
        socket.end(sent);
        await once(socket, "end");
        assert.is(await server.line(), createHash("sha256").update(sent).digest("hex"));
        assert.is(received, 16 * MIB);
        assert.is(await server.line(), hash.digest("hex"));
        for (const bytes of [largest.up, largest.down]) {
          assert.ok(offload ? bytes > 32_768 : bytes <= 1500, `largest packet: ${bytes}`);
        }
        assert.is(link.counters.txRefused + link.counters.txErrors + link.counters.rxMalformed, 0);
        socket.destroy();
      } finally {
        link.close();
        peer.close();
        await until("the peer's end", () => !hasDevice("batonv0"));
      }
    });
  }
}

function hasDevice(name: string): boolean {
  try {
    ip(`link show dev ${name}`);
    return true;
  } catch {
    return false;
  }
}

segments.run();
