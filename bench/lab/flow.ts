/**
 * One connection of the kernel's client, measured: bytes that came down, or that the peer acknowledged on
 * the way up, between a warm-up and the end. Usage: flow JSON; prints one line of JSON. The connection
 * ends by a reset, so that nothing waits for what is still buffered.
 */
import { connect } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { libc } from "../../host/linux/libc.ts";
import { fdOf, PAYLOAD, requestHead, useCubic, type Direction } from "./talk.ts";

export interface FlowOptions {
  readonly address: string;
  readonly port: number;
  readonly host: string;
  readonly direction: Direction;
  /** Else what this machine prefers. */
  readonly cubic: boolean;
  /** Before the measurement begins, and the measurement. */
  readonly warmMs: number;
  readonly runMs: number;
  /** Bytes of each interval of this length are reported too. */
  readonly sampleMs?: number;
}

export interface FlowResult {
  readonly bytes: number;
  readonly seconds: number;
  /** Of this process, in the measured time. */
  readonly cpuSeconds: number;
  /** Segments that this end had to send again. */
  readonly retransmitted: number;
  readonly samples: readonly number[];
}

const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const INFO_BYTES = 144;
const TOTAL_RETRANS = 100;
const BYTES_ACKED = 120;
const BYTES_RECEIVED = 128;
const READ_BYTES = 1 << 20;

const options = JSON.parse(process.argv[2] ?? "") as FlowOptions;
const head = requestHead(options.direction, options.host, options.cubic);
const onread = { buffer: Buffer.allocUnsafeSlow(READ_BYTES), callback: () => true };
const socket = connect({ host: options.address, port: options.port, onread });
socket.on("error", (error) => fail(error.message));
socket.on("close", () => fail("the connection was closed"));
await new Promise((resolve) => socket.once("connect", resolve));
if (options.cubic) useCubic(socket);
socket.write(head);
if (options.direction === "up") {
  const next = (): void => void socket.write(PAYLOAD, next);
  next();
  next();
}
process.stdout.write(JSON.stringify(await measure()) + "\n");
process.exit(0); // Unread and unsent bytes make a reset of it.

async function measure(): Promise<FlowResult> {
  while (info().bytes === 0) await wait(5);
  await wait(options.warmMs);
  const samples: number[] = [];
  const cpu = process.cpuUsage();
  const first = info();
  const stepMs = options.sampleMs ?? options.runMs;
  let last = first;
  while (last.atMs - first.atMs < options.runMs) {
    await wait(Math.max(1, stepMs * (samples.length + 1) - (performance.now() - first.atMs)));
    const now = info();
    samples.push(now.bytes - last.bytes);
    last = now;
  }
  const { user, system } = process.cpuUsage(cpu);
  return {
    bytes: last.bytes - first.bytes,
    seconds: (last.atMs - first.atMs) / 1000,
    cpuSeconds: (user + system) / 1e6,
    retransmitted: last.retransmitted - first.retransmitted,
    samples,
  };
}

/** What the kernel counts of this connection: exact, whatever waits in buffers. */
function info(): { bytes: number; retransmitted: number; atMs: number } {
  const view = new DataView(
    libc().getsockoptBytes(fdOf(socket), IPPROTO_TCP, TCP_INFO, INFO_BYTES).buffer,
  );
  const at = options.direction === "down" ? BYTES_RECEIVED : BYTES_ACKED;
  const before = options.direction === "down" ? 0 : head.length + 1; // and the SYN
  return {
    bytes: Math.max(0, Number(view.getBigUint64(at, true)) - before),
    retransmitted: view.getUint32(TOTAL_RETRANS, true),
    atMs: performance.now(),
  };
}

function fail(message: string): never {
  process.stderr.write(`flow: ${message}\n`);
  process.exit(1);
}
