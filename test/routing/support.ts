/** Helpers of the routing tests: heads as text, ClientHellos by hand and by node:tls, reads counted. */
import { Duplex } from "node:stream";
import { connect } from "node:tls";
import type { ConnectionOptions } from "node:tls";
import type { ReadResult, RequestReader } from "../../host/routing/route.ts";
import { createRouter, parseRouting } from "../../host/routing/router.ts";

export function bytesOf(source: string): Uint8Array {
  return Uint8Array.from(Buffer.from(source, "latin1"));
}

export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

export function newReader(...routes: string[]): RequestReader {
  return createRouter(parseRouting({ backends: ["b1"], pools: [], routes })).newReader();
}

/** Feeds growing prefixes, cut at `cuts` (ascending), and then everything; returns the last result. */
export function readInPieces(bytes: Uint8Array, cuts: Iterable<number>): ReadResult {
  const reader = newReader();
  for (const cut of cuts) reader.read(bytes.slice(0, cut));
  return reader.read(bytes);
}

export function readWhole(source: Uint8Array | string): ReadResult {
  return readInPieces(typeof source === "string" ? bytesOf(source) : source, []);
}

/** Length of the shortest prefix after which the reader has decided. */
export function decidedAfter(bytes: Uint8Array): number {
  const reader = newReader();
  for (let length = 1; length <= bytes.length; length++) {
    if (reader.read(bytes.subarray(0, length)).kind !== "more") return length;
  }
  return Infinity;
}

export function number(value: number, width: number): number[] {
  return Array.from(
    { length: width },
    (_, index) => Math.floor(value / 256 ** (width - 1 - index)) % 256,
  );
}

/** `data` behind its length in `width` bytes. */
export function vector(width: number, data: readonly number[]): number[] {
  return [...number(data.length, width), ...data];
}

export function extension(type: number, data: readonly number[]): number[] {
  return [...number(type, 2), ...vector(2, data)];
}

export function serverName(...names: string[]): number[] {
  const entries = names.flatMap((name) => [0, ...vector(2, [...Buffer.from(name, "latin1")])]);
  return extension(0, vector(2, entries));
}

export function alpn(...names: string[]): number[] {
  return extension(
    16,
    vector(
      2,
      names.flatMap((name) => vector(1, [...Buffer.from(name)])),
    ),
  );
}

/** A whole ClientHello message, with the given extensions (undefined: no extension block at all). */
export function hello(extensions: readonly number[] | undefined): number[] {
  const body = [
    3,
    3,
    ...new Array<number>(32).fill(7),
    ...vector(1, new Array<number>(32).fill(9)),
  ];
  body.push(...vector(2, [0x0a, 0x0a, 0x13, 0x01]), ...vector(1, [0]));
  if (extensions) body.push(...vector(2, extensions));
  return [1, ...vector(3, body)];
}

/** Handshake records that carry `message` in fragments of `size` bytes. */
export function records(message: readonly number[], size: number): Uint8Array {
  const out: number[] = [];
  for (let at = 0; at < message.length; at += size) {
    out.push(22, 3, 1, ...vector(2, message.slice(at, at + size)));
  }
  return Uint8Array.from(out);
}

/** What node:tls writes first. */
export function nodeHello(options: ConnectionOptions): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const socket = new Duplex({
      read() {},
      write(chunk: Buffer, _encoding, done) {
        done();
        resolve(Uint8Array.from(chunk));
        setImmediate(() => client.destroy());
      },
    });
    const client = connect({ ...options, socket });
    client.on("error", reject);
  });
}

/** The same bytes, counting how many of them are looked at one by one or copied. */
export function counted(bytes: Uint8Array, tally: { reads: number }): Uint8Array {
  return new Proxy(bytes, {
    get(target, key) {
      if (typeof key === "string" && /^\d+$/.test(key)) tally.reads++;
      if (key === Symbol.iterator) tally.reads += target.length;
      if (key === "subarray") {
        return (start?: number, end?: number) => counted(target.subarray(start, end), tally);
      }
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}
