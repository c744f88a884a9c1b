/**
 * What clients ask for and servers answer in a simulated run: streams of bytes that both ends can compute,
 * so that every byte is compared. Knows the application protocol of the simulator, which is HTTP/1.1 as
 * far as a classifier reads it; must not know packets.
 *
 *   POST /STREAM/UP/DOWN/LAST HTTP/1.1, Host: the backend's host, then UP bytes; the answer is DOWN bytes
 */
import type { Acceptor } from "../node/backend.ts";
import type { Connection } from "../node/connection.ts";

export interface Exchange {
  /** Names the bytes of both directions. */
  readonly stream: number;
  readonly up: number;
  readonly down: number;
}

export interface Plan {
  readonly host: string;
  readonly exchanges: readonly Exchange[];
  /** Who sends the first FIN after the last exchange; "half": the client, right after its last request. */
  readonly closer: "client" | "server" | "half";
  /** All requests at once, or each after the answer to the one before. */
  readonly isPipelined: boolean;
  /** Bytes of a request that make one segment; 0: as many as fit. */
  readonly splitBytes: number;
  /** Between an answer and the next request. */
  readonly thinkUs: number;
  /** In how many percent of all arrivals the reader stops, and for how long at most. */
  readonly pausePercent: number;
  readonly pauseUs: number;
  /** "abort": a RST, "vanish": silence, after this time; "none": the connection ends in order. */
  readonly end: { readonly how: "none" | "abort" | "vanish"; readonly afterUs: number };
}

/** Byte `offset` of a stream; the two directions differ. */
export function patternByte(stream: number, offset: number): number {
  const mixed = Math.imul(stream + 1, 0x9e3779b1) ^ Math.imul(offset + 1, 0x85ebca6b);
  return (mixed ^ (mixed >>> 13) ^ (mixed >>> 21)) & 0xff;
}

export function pattern(stream: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let index = 0; index < length; index++) bytes[index] = patternByte(stream, offset + index);
  return bytes;
}

/** Streams towards the client have odd numbers. */
export const upStream = (stream: number): number => 2 * stream;
export const downStream = (stream: number): number => 2 * stream + 1;

/** The head of one request. */
export function requestHead(plan: Plan, index: number): Uint8Array {
  const exchange = plan.exchanges[index] as Exchange;
  const isLast = index === plan.exchanges.length - 1 && plan.closer === "server";
  const path = `/${exchange.stream}/${exchange.up}/${exchange.down}/${isLast ? 1 : 0}`;
  return new TextEncoder().encode(`POST ${path} HTTP/1.1\r\nHost: ${plan.host}\r\n\r\n`);
}

const HEAD_MAX = 1024;
/** A client that is gone without a word is found out. */
const KEEP_ALIVE_MS = 20_000;
const CHUNK = 16_384;

/** The server application of one backend: answers every exchange, checks every byte. */
export class SimServer implements Acceptor {
  readonly isServing = true;
  /** Takes nothing for a while. */
  isRefusing = false;
  readonly faults: string[] = [];
  served = 0;
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
  }

  accepts(): boolean {
    return !this.isRefusing;
  }

  accept(connection: Connection): void {
    const fault = (what: string): void => void this.faults.push(`${this.#name}: ${what}`);
    const session = new Session(connection, fault);
    connection.setKeepAlive(KEEP_ALIVE_MS);
    connection.listen({
      readable: () => session.pump(),
      writable: () => session.pump(),
      ended: () => session.ended(),
      closed: () => connection.close(),
      readiness: () => ({ kind: "ready", state: session.save() }),
    });
    this.served++;
    // Nothing may be there to be read: it is the server's turn then.
    if (connection.state.length > 0) session.pump();
  }
}

interface Saved {
  readonly head: string;
  readonly exchange?: Exchange & { readonly last: boolean };
  readonly read: number;
  readonly written: number;
}

class Session {
  #head = "";
  #exchange: (Exchange & { last: boolean }) | undefined;
  #read = 0;
  #written = 0;
  #isDone = false;
  #hasEnded = false;
  readonly #chunk = new Uint8Array(CHUNK);

  constructor(
    private readonly connection: Connection,
    private readonly fault: (what: string) => void,
  ) {
    if (connection.state.length > 0) this.#restore(connection.state);
  }

  /** What another server needs to go on from here, in the middle of whatever it is. */
  save(): Uint8Array {
    const [head, exchange, read, written] = [this.#head, this.#exchange, this.#read, this.#written];
    const saved: Saved = { head, read, written, ...(exchange ? { exchange } : {}) };
    return new TextEncoder().encode(JSON.stringify(saved));
  }

  #restore(state: Uint8Array): void {
    const saved = JSON.parse(new TextDecoder().decode(state)) as Saved;
    this.#head = saved.head;
    this.#exchange = saved.exchange;
    this.#read = saved.read;
    this.#written = saved.written;
  }

  ended(): void {
    this.#hasEnded = true;
    this.pump();
  }

  pump(): void {
    while (!this.#isDone && this.#step());
    const isIdle = !this.#exchange && this.connection.readableLength === 0;
    if (this.#isDone || (this.#hasEnded && isIdle)) this.#finish();
  }

  /** True: something was done, and there may be more. */
  #step(): boolean {
    if (!this.#exchange) return this.#readHead();
    if (this.#read < this.#exchange.up) return this.#readBody(this.#exchange);
    return this.#answer(this.#exchange);
  }

  #readHead(): boolean {
    const byte = new Uint8Array(1);
    while (this.connection.read(byte) === 1) {
      this.#head += String.fromCharCode(byte[0] ?? 0);
      if (this.#head.length > HEAD_MAX) {
        this.fault(`no end of a head: ${JSON.stringify(this.#head.slice(0, 80))}`);
        this.connection.abort();
        this.#isDone = true;
        return false;
      }
      if (!this.#head.endsWith("\r\n\r\n")) continue;
      const fields = /^POST \/(\d+)\/(\d+)\/(\d+)\/([01]) /.exec(this.#head);
      if (!fields) this.fault(`a head that nobody sent: ${JSON.stringify(this.#head)}`);
      const [stream = 0, up = 0, down = 0, last = 0] = (fields ?? []).slice(1).map(Number);
      this.#exchange = { stream, up, down, last: last === 1 };
      this.#head = "";
      this.#read = 0;
      this.#written = 0;
      return true;
    }
    return false;
  }

  #readBody(exchange: Exchange): boolean {
    const wanted = Math.min(CHUNK, exchange.up - this.#read);
    const count = this.connection.read(this.#chunk.subarray(0, wanted));
    for (let index = 0; index < count; index++) {
      if (this.#chunk[index] === patternByte(upStream(exchange.stream), this.#read + index))
        continue;
      this.fault(`stream ${exchange.stream}: wrong byte at ${this.#read + index} of the upload`);
      break;
    }
    this.#read += count;
    return count > 0;
  }

  #answer(exchange: Exchange & { last: boolean }): boolean {
    while (this.#written < exchange.down) {
      const len = Math.min(CHUNK, exchange.down - this.#written);
      const bytes = pattern(downStream(exchange.stream), this.#written, len);
      const taken = this.connection.write(bytes);
      this.#written += taken;
      if (taken < len) return false;
    }
    this.#exchange = undefined;
    if (exchange.last) {
      this.connection.shutdown();
      if (this.#hasEnded) this.#isDone = true;
    }
    return true;
  }

  #finish(): void {
    this.#isDone = true;
    this.connection.close();
  }
}
