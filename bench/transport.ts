/**
 * CPU of the transport without sockets: two transports that hand each other their datagrams.
 *
 *   node build/bench/transport.js [--json]
 *
 * small: messages of 300 bytes, one a turn, acknowledged. batch: 16 of them a turn, which share datagrams.
 * blob: messages of 16 KiB; bulk: of 1 MiB. The share of the cipher is measured beside it, alone.
 */
import { createFastCipher, createNodeCipher } from "../host/link/cipher.ts";
import { SystemClock } from "../host/link/clock.ts";
import { systemRandom } from "../host/link/random.ts";
import type { Cipher } from "../host/node/environment.ts";
import { createTransport, nodeId } from "../host/transport/create.ts";
import type { Transport } from "../host/transport/transport.ts";

const WARM_UP = 2_000;

interface Row {
  readonly cipher: string;
  readonly what: string;
  readonly us: number;
  readonly datagrams: number;
}

main();

function main(): void {
  const ciphers: [string, Cipher][] = [["node:crypto", createNodeCipher()]];
  const fast = createFastCipher();
  if (fast) ciphers.push(["EVP", fast]);
  const rows: Row[] = [];
  for (const [name, cipher] of ciphers) {
    rows.push(sealing(name, cipher, 300), sealing(name, cipher, 1_360));
    rows.push(messages(name, cipher, "small: 300 B, one a turn", 300, 1, 100_000));
    rows.push(messages(name, cipher, "batch: 300 B, 16 a turn", 300, 16, 160_000));
    rows.push(messages(name, cipher, "blob: 16 KiB, one a turn", 16_384, 1, 3_000));
    rows.push(messages(name, cipher, "bulk: 1 MiB", 1_048_576, 1, 50));
  }
  if (process.argv.includes("--json")) {
    process.stdout.write(JSON.stringify(rows, null, 2) + "\n");
    return;
  }
  for (const { cipher, what, us, datagrams } of rows) {
    const columns = [cipher.padEnd(12), what.padEnd(34), us.toFixed(2).padStart(9)];
    process.stdout.write(`${columns.join("")} us each, ${datagrams.toFixed(2)} datagrams\n`);
  }
}

/** One seal and one open of so many bytes. */
function sealing(name: string, cipher: Cipher, length: number): Row {
  const aead = cipher.aead(new Uint8Array(32));
  const data = new Uint8Array(24 + length + 16);
  const plain = new Uint8Array(1_400);
  const nonce = new Uint8Array(12);
  const round = () => {
    nonce[11]! += 1;
    aead.seal(nonce, data, 24, 24 + length);
    if (aead.open(nonce, data, 24, plain) !== length) throw new Error("it does not open");
  };
  const us = measure(round, 50_000);
  aead.close();
  return { cipher: name, what: `seal and open of ${length} B`, us, datagrams: 1 };
}

/** Both ends' work for each message, the acknowledgements included. */
function messages(
  name: string,
  cipher: Cipher,
  what: string,
  length: number,
  perTurn: number,
  count: number,
): Row {
  const clock = new SystemClock();
  let received = 0;
  let carried = 0;
  const node = (self: string, peer: string): Transport => {
    const transport = createTransport({
      id: nodeId(cipher, self),
      name: self,
      keys: [new Uint8Array(32)],
      clock,
      random: systemRandom,
      cipher,
      log: { write: () => undefined },
      events: { message: () => (received += 1), peerEpoch: () => undefined },
    });
    transport.addPeer({
      id: nodeId(cipher, peer),
      name: peer,
      endpoint: { address: peer, port: 1 },
    });
    return transport;
  };
  const a = node("a", "b");
  const b = node("b", "a");
  const endpoints = [
    { address: "a", port: 1 },
    { address: "b", port: 1 },
  ] as const;
  const move = (from: Transport, to: Transport, source: (typeof endpoints)[number]) => {
    if (from.nextTimeoutUs() <= clock.nowUs()) from.handleTimeout();
    for (let out = from.pollDatagram(); out; out = from.pollDatagram()) {
      carried += 1;
      to.handleDatagram(source, out.bytes);
    }
  };
  const turn = () => {
    clock.refresh();
    move(a, b, endpoints[0]);
    move(b, a, endpoints[1]);
  };
  const peer = nodeId(cipher, "b");
  const message = systemRandom.bytes(length);
  const send = (total: number) => {
    const target = received + total;
    for (let sent = 0; sent < total; sent += perTurn) {
      for (let i = 0; i < perTurn; i += 1) a.send(peer, message);
      turn();
    }
    while (received < target) turn();
  };
  send(Math.min(WARM_UP, count));
  carried = 0;
  const begin = process.cpuUsage();
  send(count);
  const { user, system } = process.cpuUsage(begin);
  a.close();
  b.close();
  return { cipher: name, what, us: (user + system) / count, datagrams: carried / count };
}

/** CPU microseconds of each call. */
function measure(action: () => void, count: number): number {
  for (let i = 0; i < WARM_UP; i += 1) action();
  const begin = process.cpuUsage();
  for (let i = 0; i < count; i += 1) action();
  const { user, system } = process.cpuUsage(begin);
  return (user + system) / count;
}
