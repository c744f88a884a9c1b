/**
 * How long one visit takes, from connect() to the answer's last byte: blocking system calls, so that no event
 * loop stands between the clock and the network. Systems take turns, visit by visit. Run as a script on a node
 * by peers.ts: reads one JSON line, prints one line with microseconds for each target.
 */
import { runAsScript, say } from "../../host/lab/script.ts";
import { sockaddr } from "../../host/linux/address.ts";
import { AF_INET, libc, native, SOCK_STREAM, SOL_SOCKET } from "../../host/linux/libc.ts";
import type { Target } from "./client.ts";
import { FILES } from "./files.ts";

export interface VisitsWish {
  readonly targets: readonly Target[];
  readonly visits: number;
  /** Before them, uncounted. */
  readonly warm: number;
}

export interface VisitsResult {
  /** For each target, in order of time. */
  readonly us: readonly (readonly number[])[];
}

export const VISITS = new URL(import.meta.url);
const FILE = "128";
const SO_REUSEADDR = 2;
/**
 * Below those that the kernel hands out. A port that a load has used may be in TIME-WAIT at its backend, which
 * releases it first (docs/protocol.md, R18): two datagrams more, and no part of a handoff.
 */
const PORTS = { first: 1024, last: 32_767 } as const;

let ownPort: number = PORTS.first;

function run({ targets, visits, warm }: VisitsWish): VisitsResult {
  const visitors = targets.map(visitor);
  const us: number[][] = targets.map(() => []);
  for (let visit = -warm; visit < visits; visit += 1) {
    for (const [index, each] of visitors.entries()) {
      const took = each();
      if (visit >= 0) us[index]?.push(Math.round(took * 10) / 10);
    }
  }
  return { us };
}

/** Makes one visit and says how long it took. */
function visitor({ address, port, host }: Target): () => number {
  const { socket, bind, setsockopt, close, address: addressOf, read, write } = libc();
  const connect = native("int connect(int fd, uintptr_t address, unsigned int size)");
  const peer = Uint8Array.from(sockaddr(address, port));
  const request = outside(Buffer.from(`GET /${FILE} HTTP/1.1\r\nHost: ${host}\r\n\r\n`));
  const answer = outside(Buffer.alloc(4096));
  const at = outside(peer);
  return () => {
    const own = sockaddr("0.0.0.0", ownPort);
    ownPort = ownPort === PORTS.last ? PORTS.first : ownPort + 1;
    const started = performance.now();
    const fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    bind(fd, own);
    if (connect(fd, addressOf(at), peer.length) < 0) throw new Error(`${host}: no connection`);
    const sent = write(fd, addressOf(request), request.length);
    if (sent !== request.length) throw new Error(`${host}: sent ${sent} of ${request.length}`);
    let got = 0;
    while (!isWhole(answer.subarray(0, got))) {
      const count = read(fd, addressOf(answer) + got, answer.length - got);
      if (count <= 0) throw new Error(`${host}: read ${count} after ${got} bytes`);
      got += count;
    }
    const us = (performance.now() - started) * 1000;
    close(fd);
    return us;
  };
}

/** An answer with status 200 and its whole body. */
function isWhole(bytes: Uint8Array): boolean {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return false;
  if (!text.startsWith("HTTP/1.1 200")) throw new Error(`expected 200, got ${text.slice(0, 60)}`);
  return text.length - end - 4 === FILES[FILE];
}

/** Bytes that do not move: small arrays live inside V8's heap. */
function outside(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new ArrayBuffer(65_536), 0, bytes.length);
  copy.set(bytes);
  return copy;
}

runAsScript(import.meta.url, (wish: VisitsWish) => say(run(wish)));
