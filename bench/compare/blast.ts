/**
 * Single packets on connections that were handed over, as fast as one processor sends them: what the
 * forwarder's path takes. Run as a script on the client's node: opens connections; when asked, sends pure ACKs of
 * them by a raw socket, and says how many left.
 */
import { connect, type Socket } from "node:net";
import { sockaddr } from "../../host/linux/address.ts";
import { AF_INET, libc, SOCK_RAW } from "../../host/linux/libc.ts";
import { MessageArray } from "../../host/linux/mmsg.ts";
import { ACK, buildTcp } from "../../host/sim/packet.ts";
import type { Target } from "./client.ts";
import { runAsDialog } from "./dialog.ts";

export interface BlastWish {
  readonly target: Target;
  readonly source: string;
  readonly connections: number;
  readonly ms: number;
}

export interface BlastSays {
  readonly sent: number;
  readonly seconds: number;
  /** Of this process: the kernel delivers what it sends in its name, as far as the forwarder's queue. */
  readonly cpuSeconds: number;
}

export const BLAST = new URL(import.meta.url);
const IPPROTO_RAW = 255;
/** IPv4 and TCP headers without options. */
const PACKET_BYTES = 40;

async function prepare({ target, connections }: BlastWish): Promise<Socket[]> {
  const sockets = Array.from({ length: connections }, () =>
    connect({ host: target.address, port: target.port }),
  );
  await Promise.all(
    sockets.map(
      (socket) =>
        new Promise<void>((resolve, reject) => {
          socket.once("error", reject);
          socket.once("data", (chunk: Buffer) => {
            if (chunk.toString("latin1").startsWith("HTTP/1.1 200")) resolve();
            else reject(new Error(`expected status 200, got ${chunk.toString("latin1")}`));
          });
          socket.write(`GET /128 HTTP/1.1\r\nHost: ${target.host}\r\n\r\n`);
        }),
    ),
  );
  return sockets;
}

/** One message for each connection, all in one sendmmsg; nothing in them changes. */
function blast({ target, source, ms }: BlastWish, sockets: readonly Socket[]): BlastSays {
  const packets = new Uint8Array(new ArrayBuffer(sockets.length * PACKET_BYTES));
  const name = sockaddr(target.address, 0);
  const messages = new MessageArray(sockets.length);
  for (const [index, { localPort }] of sockets.entries()) {
    const packet = buildTcp({
      ...{ source, destination: target.address },
      ...{ sourcePort: localPort ?? 0, destinationPort: target.port },
      ...{ seq: 1, ack: 1, flags: ACK, window: 512 },
    });
    packets.set(packet, index * PACKET_BYTES);
    messages.point(index, packets, index * PACKET_BYTES, packet.length);
    messages.bytes.set(name, messages.name(index, name.length));
  }
  const fd = libc().socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  const started = performance.now();
  const before = process.cpuUsage();
  let sent = 0;
  while (performance.now() - started < ms)
    sent += Math.max(0, messages.send(fd, 0, sockets.length));
  const { user, system } = process.cpuUsage(before);
  return { sent, seconds: (performance.now() - started) / 1000, cpuSeconds: (user + system) / 1e6 };
}

runAsDialog(import.meta.url, async (wish: BlastWish) => {
  const sockets = await prepare(wish);
  return () => blast(wish, sockets);
});
