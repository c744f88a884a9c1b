import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openTun, type TunLink } from "../../host/link/tun.ts";
import { ip, privileged } from "../support/namespace.ts";
import { SlotBatch } from "../support/slots.ts";

const tun = suite("tun");
const check = await privileged(import.meta.url, tun);

/** A link, its batch, and what arrived, packets copied. */
class Reader {
  readonly packets: Uint8Array[] = [];
  readonly batch = new SlotBatch(16);
  readonly link: TunLink;
  /** What to do with each packet in its slot. */
  act: (index: number) => void = (index) => this.packets.push(this.batch.packet(index).slice());

  constructor(link: TunLink) {
    this.link = link;
    link.onReadable(() => {
      const count = link.receive(this.batch);
      for (let index = 0; index < count; index += 1) this.act(index);
    });
  }
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
      const link = await openTun({ name: "baton1", routes, watch, offload });
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

tun.run();
