/**
 * Single packets on connections that were handed over, as fast as one processor sends them: what the
 * forwarder's path takes. Run as a script on the client's node by peers.ts: opens connections, says so, gives
 * its caller a moment, sends pure ACKs of them by a raw socket, prints how many left.
 */
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { AF_INET, libc, SOCK_RAW } from "../../host/linux/libc.ts";
import { ACK, buildTcp } from "../../host/sim/packet.ts";
import type { Target } from "./client.ts";

export interface BlastWish {
  readonly target: Target;
  readonly source: string;
  readonly connections: number;
  readonly ms: number;
}

export type BlastSays =
  { readonly ready: true } | { readonly sent: number; readonly seconds: number };

export const BLAST = new URL(import.meta.url);
/** So long after "ready" the first packet leaves. */
const MOMENT_MS = 500;
const IPPROTO_RAW = 255;
const MMSGHDR_BYTES = 64;
const IOVEC_BYTES = 16;

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
  const { address, sendmmsg, socket } = libc();
  const packets = sockets.map(({ localPort }) =>
    buildTcp({
      ...{ source, destination: target.address },
      ...{ sourcePort: localPort ?? 0, destinationPort: target.port },
      ...{ seq: 1, ack: 1, flags: ACK, window: 512 },
    }),
  );
  const length = packets[0]?.length ?? 0;
  const iovecs = packets.length * MMSGHDR_BYTES;
  const name = iovecs + packets.length * IOVEC_BYTES;
  const data = name + 16;
  const bytes = new Uint8Array(Math.max(65_536, data + packets.length * length));
  const view = new DataView(bytes.buffer);
  const base = address(bytes);
  const put = (at: number, value: number): void => view.setBigUint64(at, BigInt(value), true);
  bytes[name] = AF_INET;
  bytes.set(packets[0]?.subarray(16, 20) ?? [], name + 4);
  for (const [index, packet] of packets.entries()) {
    const header = index * MMSGHDR_BYTES;
    const iovec = iovecs + index * IOVEC_BYTES;
    put(header, base + name);
    put(header + 8, 16);
    put(header + 16, base + iovec);
    put(header + 24, 1);
    put(iovec, base + data + index * length);
    put(iovec + 8, length);
    bytes.set(packet, data + index * length);
  }
  const fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  const started = performance.now();
  let sent = 0;
  while (performance.now() - started < ms)
    sent += Math.max(0, sendmmsg(fd, base, packets.length, 0));
  return { sent, seconds: (performance.now() - started) / 1000 };
}

function say(what: BlastSays): void {
  process.stdout.write(JSON.stringify(what) + "\n");
}

if (process.argv[1] === BLAST.pathname) {
  const lines = createInterface({ input: process.stdin });
  lines.once("line", (line) => {
    const wish = JSON.parse(line) as BlastWish;
    prepare(wish).then(
      async (sockets) => {
        say({ ready: true });
        await wait(MOMENT_MS);
        say(blast(wish, sockets));
        process.exit(0);
      },
      (error: unknown) => {
        process.stderr.write(`${String(error)}\n`);
        process.exit(1);
      },
    );
  });
}
