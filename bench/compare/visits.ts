/**
 * How long one visit takes, from connect() to the answer's last byte: blocking system calls, so that no event
 * loop stands between the clock and the network. Systems take turns, visit by visit. Run as a script on a node
 * by peers.ts: reads one JSON line, prints one line with microseconds for each target.
 */
import { runAsScript, say } from "../../host/lab/script.ts";
import { sockaddr } from "../../host/linux/address.ts";
import { AF_INET, libc, native, SOCK_STREAM } from "../../host/linux/libc.ts";
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

function run({ targets, visits, warm }: VisitsWish): VisitsResult {
  const visitors = targets.map(visitor);
  const us: number[][] = targets.map(() => []);
  for (let visit = -warm; visit < visits; visit += 1) {
    for (const [index, each] of visitors.entries()) {
      const took = each();
      if (visit >= 0) us[index]?.push(took);
    }
  }
  return { us };
}

/** Makes one visit and says how long it took. */
function visitor({ address, port, host }: Target): () => number {
  const { socket, close, address: addressOf, read, write } = libc();
  const connect = native("int connect(int fd, uintptr_t address, unsigned int size)");
  const peer = Uint8Array.from(sockaddr(address, port));
  const request = outside(Buffer.from(`GET /${FILE} HTTP/1.1\r\nHost: ${host}\r\n\r\n`));
  const answer = outside(Buffer.alloc(4096));
  const at = outside(peer);
  return () => {
    const started = performance.now();
    const fd = socket(AF_INET, SOCK_STREAM, 0);
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
