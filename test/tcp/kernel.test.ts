/** Our stack as the server of the Linux kernel's TCP, over a TUN device in a namespace of its own. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseAddress } from "../../host/core/address.ts";
import { Core } from "../../host/core/core.ts";
import { SMALL_PARAMETERS } from "../../host/core/parameters.ts";
import { openTun, type TunLink } from "../../host/link/tun.ts";
import { ip, privileged } from "../support/namespace.ts";
import { pattern } from "./pair.ts";

const kernel = suite("kernel");
const check = await privileged(import.meta.url, kernel);

if (process.env["BATON_TEST_NAMESPACE"]) {
  ip("address add 10.99.9.1/32 dev lo", "address add fd99:9::1/128 dev lo nodad");
}

const PORT = 80;
const HEAD_MAX = 100;
const VIP = { 4: "10.99.1.80", 6: "fd99:1::80" } as const;
const WASM = new URL("../../core.wasm", import.meta.url);

interface Connection {
  head: string;
  hash: ReturnType<typeof createHash>;
  toSend: Uint8Array;
  ended: boolean;
  shut: boolean;
}

/**
 * Runs the core on a link as a node does. A connection that begins with "GET n" gets n bytes and is closed;
 * any other is read to its end and gets the digest of what it sent.
 */
class Server {
  readonly core: Core;
  readonly link: TunLink;
  readonly connections = new Map<number, Connection>();
  #timer: NodeJS.Timeout | undefined;
  readonly closed: number[] = [];

  constructor(link: TunLink, segmenting: boolean) {
    this.link = link;
    this.core = new Core(
      readFileSync(WASM),
      {
        ...SMALL_PARAMETERS,
        slotBytes: 65536,
        segmenting,
        bufferBytes: 64 << 20,
        hashSecret: randomBytes(16),
        isnSecret: randomBytes(16),
        wallMs: Date.now(),
      },
      this.now(),
    );
    for (const address of Object.values(VIP)) {
      this.core.addService(parseAddress(address)!, PORT, 0, true);
    }
    link.onReadable(() => this.turn());
  }

  now(): number {
    return performance.now() * 1000 + 1;
  }

  turn(): void {
    const { core, link } = this;
    for (let rounds = 0; rounds < 64; rounds++) {
      const count = link.receive(core.rx);
      if (count === 0) break;
      core.handlePackets(count, this.now());
      this.work();
    }
    this.work();
    clearTimeout(this.#timer);
    const wait = (core.nextTimeoutUs() - this.now()) / 1000;
    if (wait < 1e9) this.#timer = setTimeout(() => this.turn(), Math.max(0, wait));
  }

  work(): void {
    const { core, link } = this;
    for (let event = core.pollEvent(); event; event = core.pollEvent()) this.event(event);
    if (core.nextTimeoutUs() <= this.now()) core.handleTimeout(this.now());
    for (const [handle, connection] of this.connections) this.serve(handle, connection);
    for (;;) {
      const count = core.pollTransmit(this.now());
      if (count === 0) break;
      for (let index = 0; index < count; index++) link.transmit(core.tx, index);
      link.flush();
    }
  }

  event(event: { kind: string; handle: number; code: number }): void {
    const { handle } = event;
    const connection = this.connections.get(handle);
    if (event.kind === "accepted") {
      this.connections.set(handle, {
        head: "",
        hash: createHash("sha256"),
        toSend: new Uint8Array(0),
        ended: false,
        shut: false,
      });
    } else if (event.kind === "ended" && connection) {
      connection.ended = true;
    } else if (event.kind === "closed") {
      this.closed.push(event.code);
      this.connections.delete(handle);
      this.core.release(handle);
    }
  }

  serve(handle: number, connection: Connection): void {
    const { core } = this;
    for (;;) {
      const { ptr, len } = core.readable(handle, 0);
      if (len === 0) break;
      const bytes = core.memory.subarray(ptr, ptr + len);
      // Bytes that follow each other may lie in two chunks: even a short head may come in two parts.
      if (connection.head.length < HEAD_MAX)
        connection.head += Buffer.from(bytes).toString("latin1");
      const request = /^GET (\d+)\n$/.exec(connection.head);
      if (request) {
        connection.toSend = pattern(Number(request[1]));
        connection.ended = true;
      }
      connection.hash.update(bytes);
      core.consume(handle, len, this.now());
    }
    if (connection.ended && !connection.shut && connection.toSend.length === 0) {
      connection.toSend = connection.hash.digest();
    }
    while (connection.toSend.length > 0) {
      const { ptr, len } = core.reserve(handle);
      const part = connection.toSend.subarray(0, len);
      if (part.length === 0) return;
      core.memory.set(part, ptr);
      core.commit(handle, part.length, this.now());
      connection.toSend = connection.toSend.subarray(part.length);
    }
    if (connection.ended && !connection.shut) {
      connection.shut = true;
      core.shutdown(handle, this.now());
    }
  }

  close(): void {
    clearTimeout(this.#timer);
    this.link.close();
  }
}

async function collect(socket: Socket): Promise<Buffer> {
  const parts: Buffer[] = [];
  socket.on("data", (part: Buffer) => parts.push(part));
  await once(socket, "end");
  return Buffer.concat(parts);
}

for (const family of [4, 6] as const) {
  for (const offload of [true, false]) {
    const title = (text: string) => `${text}, IPv${family}, offload ${offload}`;
    const serving = async (body: (server: Server) => Promise<void>): Promise<void> => {
      const routes = Object.values(VIP).map((to) => ({ to }));
      const link = await openTun({ name: "baton1", routes, offload, mtu: 1500 });
      const server = new Server(link, offload);
      try {
        await body(server);
      } finally {
        server.close();
      }
    };

    check(title("takes an upload and answers with its digest"), async () => {
      await serving(async (server) => {
        const data = pattern(8_000_000);
        const socket = connect({ host: VIP[family], port: PORT, allowHalfOpen: true });
        const answer = collect(socket);
        socket.end(data);
        assert.equal(
          (await answer).toString("hex"),
          createHash("sha256").update(data).digest("hex"),
        );
        socket.destroy();
        assert.is(server.connections.size <= 1, true);
      });
    });

    check(title("serves a download and closes first"), async () => {
      await serving(async () => {
        const size = 8_000_000;
        const socket = connect({ host: VIP[family], port: PORT });
        socket.write(`GET ${size}\n`);
        assert.is(Buffer.compare(await collect(socket), Buffer.from(pattern(size))), 0);
        socket.destroy();
      });
    });

    check(title("serves two hundred connections at a time"), async () => {
      await serving(async (server) => {
        await Promise.all(
          Array.from({ length: 200 }, async (_, index) => {
            const socket = connect({ host: VIP[family], port: PORT });
            socket.write(`GET ${100 + index * 100}\n`);
            const got = await collect(socket);
            assert.is(Buffer.compare(got, Buffer.from(pattern(100 + index * 100))), 0);
            socket.destroy();
          }),
        );
        assert.ok(
          server.closed.every((code) => code === 0),
          "none was reset",
        );
      });
    });
  }
}

kernel.run();
