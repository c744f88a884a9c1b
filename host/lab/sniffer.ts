/**
 * Runs inside a namespace: writes what passes its devices as pcapng to the standard output or a file,
 * until its standard input closes. Usage: sniffer JSON. Must not know what the packets say.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { libc, POLLIN } from "../linux/libc.ts";
import { deviceName, PacketRing, RING_DELAY_MS, type RingPacket } from "../linux/ring.ts";
import { interfaceBlock, packetBlock, sectionBlock, statisticsBlock } from "../observe/pcapng.ts";

export interface SnifferOptions {
  readonly device?: string;
  readonly snapLen: number;
  readonly ringBytes: number;
  /** Written to instead of the standard output. */
  readonly file?: string;
}

const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
const STDIN = 0;
const STDOUT = 1;
const CHUNK_BYTES = 1 << 18;
const POLL_MS = 100;

const options = JSON.parse(process.argv[2] ?? "{}") as SnifferOptions;
const { device, snapLen, ringBytes } = options;
const ring = new PacketRing({ device, snapLen, ringBytes });
const file = options.file === undefined ? STDOUT : openSync(options.file, "w", 0o644);
const interfaces = new Map<number, number>();
let pending: Uint8Array[] = [];
let pendingBytes = 0;
let written = 0;

writeAll(file, sectionBlock());
// The caller waits for this block before it lets packets flow.
if (file !== STDOUT) writeAll(STDOUT, sectionBlock());
run();

/** A process of its own: it may block. */
function run(): void {
  const waited = [
    [ring.fd, POLLIN],
    [STDIN, POLLIN],
  ] as const;
  for (let open = true; open;) {
    const [, closed = 0] = libc().poll(waited, POLL_MS);
    ring.drain(take);
    flush();
    open = closed === 0; // Nothing is ever sent to us: an event is the end.
  }
  // What is still in an open block shows up when its time is over.
  const end = performance.now() + 4 * RING_DELAY_MS;
  while (performance.now() < end) {
    libc().poll([[ring.fd, POLLIN]], RING_DELAY_MS);
    ring.drain(take);
  }
  const statistics = statisticsBlock(written, ring.statistics().dropped);
  append(statistics);
  flush();
  if (file !== STDOUT) {
    writeAll(STDOUT, statistics);
    closeSync(file);
  }
}

function take(packet: RingPacket): void {
  if (packet.protocol !== ETH_P_IP && packet.protocol !== ETH_P_IPV6) return;
  let index = interfaces.get(packet.deviceIndex);
  if (index === undefined) {
    index = interfaces.size;
    interfaces.set(packet.deviceIndex, index);
    append(interfaceBlock(deviceName(packet.deviceIndex), snapLen));
  }
  const direction = packet.outgoing ? "out" : "in";
  append(packetBlock({ ...packet, interface: index, direction }));
  written += 1;
}

function append(block: Uint8Array): void {
  pending.push(block);
  pendingBytes += block.length;
  if (pendingBytes >= CHUNK_BYTES) flush();
}

function flush(): void {
  if (pendingBytes > 0) writeAll(file, Buffer.concat(pending, pendingBytes));
  pending = [];
  pendingBytes = 0;
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
}
