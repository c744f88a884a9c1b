/**
 * An HTTP server on the bare core: packets of a TUN device in, packets out, no socket of the kernel anywhere.
 * docs/tutorial-core.md explains it step by step.
 *
 *   as root:   node build/examples/core-http.js        then:   curl -i http://10.77.0.2/
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Core, coreBuild, parseAddress, SMALL_PARAMETERS, type CoreEvent } from "batonlb/core";
import { Tun } from "batonlb/tuntap2";

const KERNEL_SIDE = "10.77.0.1/24";
const SERVICE = "10.77.0.2";
const PORT = 80;
const HEAD_MAX = 16_384;

// 1. A device. The kernel sends packets for 10.77.0.0/24 to it.
const tun = new Tun();
tun.ipv4 = KERNEL_SIDE;
tun.isUp = true;

// 2. A core. It has no clock and no randomness of its own: both are handed in.
const nowUs = (): number => Math.floor(performance.now() * 1000) + 1;
const wasm = readFileSync(fileURLToPath(import.meta.resolve(`batonlb/${coreBuild()}`)));
const secrets = { hashSecret: randomBytes(16), isnSecret: randomBytes(16), wallMs: Date.now() };
const core = new Core(wasm, { ...SMALL_PARAMETERS, ...secrets, mtu: tun.mtu }, nowUs());
core.addService(parseAddress(SERVICE) ?? new Uint8Array(), PORT, 0, true);

// 3. Packets in. Each wakes the stack; what follows from it is done in one turn.
tun.on("data", (packet: Uint8Array) => {
  if (!core.rx.place(0, packet)) return; // Larger than a slot: none of ours.
  core.handlePackets(1, nowUs());
  turn();
});

let timer: NodeJS.Timeout | undefined;

// 4. A turn: events, timers, packets out, and when to come back.
function turn(): void {
  for (let event = core.pollEvent(); event; event = core.pollEvent()) handle(event);
  if (core.nextTimeoutUs() <= nowUs()) core.handleTimeout(nowUs());
  for (let count = core.pollTransmit(nowUs()); count > 0; count = core.pollTransmit(nowUs())) {
    for (let index = 0; index < count; index++) {
      const ptr = core.tx.ptr(index);
      tun.write(core.memory.slice(ptr, ptr + core.tx.len(index)));
    }
  }
  clearTimeout(timer);
  const nextUs = core.nextTimeoutUs();
  if (nextUs !== Infinity) timer = setTimeout(turn, Math.max(0, (nextUs - nowUs()) / 1000));
}

// 5. Connections. The handle is all that the core needs; the text read so far is ours to keep.
const heads = new Map<number, string>();

function handle({ kind, handle }: CoreEvent): void {
  if (kind === "accepted") heads.set(handle, "");
  if (kind === "readable") read(handle);
  if (kind === "ended") core.shutdown(handle, nowUs());
  if (kind === "closed" && heads.delete(handle)) core.release(handle);
}

function read(handle: number): void {
  let head = heads.get(handle);
  if (head === undefined) return;
  for (let span = core.readable(handle, 0); span.len > 0; span = core.readable(handle, 0)) {
    head += Buffer.from(core.memory.subarray(span.ptr, span.ptr + span.len)).toString("latin1");
    core.consume(handle, span.len, nowUs());
  }
  for (let end = head.indexOf("\r\n\r\n"); end >= 0; end = head.indexOf("\r\n\r\n")) {
    answer(handle, head.slice(0, head.indexOf("\r\n")));
    head = head.slice(end + 4);
  }
  if (head.length > HEAD_MAX) core.abort(handle, nowUs());
  if (head.length > HEAD_MAX) heads.delete(handle);
  else heads.set(handle, head);
}

function answer(handle: number, requestLine: string): void {
  const body = `You said: ${requestLine}\n`;
  const response = Buffer.from(
    `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    "latin1",
  );
  for (let done = 0; done < response.length;) {
    const span = core.reserve(handle);
    if (span.len === 0) return; // A real server would go on at "writable".
    const part = response.subarray(done, done + span.len);
    core.memory.set(part, span.ptr);
    core.commit(handle, part.length, nowUs());
    done += part.length;
  }
}

process.stdout.write(`http://${SERVICE}:${PORT}/ by ${tun.name}\n`);
