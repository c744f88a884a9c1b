/**
 * What clients ask for and servers answer in a simulated run: streams of bytes that both ends can compute,
 * so that every byte is compared. Knows the application protocol of the simulator, which is HTTP/1.1 as
 * far as a classifier reads it; must not know packets.
 *
 *   POST /STREAM/UP/DOWN/LAST HTTP/1.1, Host: the backend's host, then UP bytes; the answer is DOWN bytes
 *
 * Letters after LAST say what the server does besides: d answers while it still reads, s reads slowly, a aborts in the
 * middle of its answer, w waits before it answers.
 */
import type { Acceptor } from "../node/backend.ts";
import type { Connection, ConnectionAddress } from "../node/connection.ts";
import type { SeededRandom } from "./random.ts";

export interface Exchange {
  /** Names the bytes of both directions. */
  readonly stream: number;
  readonly up: number;
  readonly down: number;
  /** What the server does besides. */
  readonly manner?: Manner;
}

/** Some of the letters d, s, a and w. */
export type Manner = string;

export interface Plan {
  readonly host: string;
  readonly exchanges: readonly Exchange[];
  /** Each request is routed: a classifier may answer any of them. */
  readonly isByRequest?: boolean;
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

const STREAM_STEP = 0x9e3779b1;
const OFFSET_STEP = 0x85ebca6b;

/** A byte, by what names its stream and what places it there. */
function mixed(named: number, placed: number): number {
  const bits = named ^ placed;
  return (bits ^ (bits >>> 13) ^ (bits >>> 21)) & 0xff;
}

/** Bytes of a stream from `offset` on; the two directions differ. */
export function pattern(stream: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  writePattern(bytes, stream, offset);
  return bytes;
}

/** Fills `bytes` with what stands at `offset` of a stream. */
function writePattern(bytes: Uint8Array, stream: number, offset: number): void {
  const named = Math.imul(stream + 1, STREAM_STEP);
  let placed = Math.imul(offset + 1, OFFSET_STEP);
  for (let index = 0; index < bytes.length; index++) {
    bytes[index] = mixed(named, placed);
    placed = (placed + OFFSET_STEP) | 0;
  }
}

/** How many of the bytes `from` .. `to` are those at `offset` of a stream, before the first that is not. */
export function patternLength(
  bytes: Uint8Array,
  from: number,
  to: number,
  stream: number,
  offset: number,
): number {
  const named = Math.imul(stream + 1, STREAM_STEP);
  let placed = Math.imul(offset + 1, OFFSET_STEP);
  for (let at = from; at < to; at++) {
    if (bytes[at] !== mixed(named, placed)) return at - from;
    placed = (placed + OFFSET_STEP) | 0;
  }
  return to - from;
}

/** Streams towards the client have odd numbers. */
export const upStream = (stream: number): number => 2 * stream;
export const downStream = (stream: number): number => 2 * stream + 1;

/** The head of one request. */
export function requestHead(plan: Plan, index: number): Uint8Array {
  const exchange = plan.exchanges[index] as Exchange;
  const isLast = index === plan.exchanges.length - 1 && plan.closer === "server";
  const path = `/${exchange.stream}/${exchange.up}/${exchange.down}/${isLast ? 1 : 0}${exchange.manner ?? ""}`;
  return new TextEncoder().encode(`POST ${path} HTTP/1.1\r\nHost: ${plan.host}\r\n\r\n`);
}

const HEAD_MAX = 1024;
/** A client that is gone without a word is found out. */
const KEEP_ALIVE_MS = 20_000;
const CHUNK = 16_384;
/** What a slow reader takes at a time, and how long it rests after it. */
const SIP = 2_000;
const RESTS_US = [0, 0, 1000, 20_000, 20_000, 1_000_000] as const;
/** What an answer takes that is long in coming. */
const WAITS_US = [20_000, 1_000_000, 5_000_000, 12_000_000] as const;

/** What happens around a server. */
export interface ServerWorld {
  after(delayUs: number, action: () => void): void;
  /** The same for every server: a connection that has moved rests as it would have. */
  readonly random: SeededRandom;
  /** It has aborted this client's connection. */
  readonly aborted: (client: ConnectionAddress) => void;
  /** With the first byte of each further request the connection goes to a classifier. */
  readonly leave?: Leave | undefined;
}

/** Gives a connection to a classifier, when `ready` still says so; tells whether it stays. */
export type Leave = (
  connection: Connection,
  ready: () => boolean,
  stays: (doesIt: boolean) => void,
) => void;

/** The server application of one backend: answers every exchange, checks every byte. */
export class SimServer implements Acceptor {
  readonly isServing = true;
  /** Takes nothing for a while. */
  isRefusing = false;
  readonly faults: string[] = [];
  served = 0;
  readonly #name: string;
  readonly #world: ServerWorld | undefined;

  /** @param world  needed where servers have manners, or requests are routed by themselves */
  constructor(name: string, world?: ServerWorld) {
    this.#name = name;
    this.#world = world;
  }

  accepts(): boolean {
    return !this.isRefusing;
  }

  accept(connection: Connection): void {
    const fault = (what: string): void => void this.faults.push(`${this.#name}: ${what}`);
    const session = new Session(connection, fault, this.#world);
    connection.setKeepAlive(KEEP_ALIVE_MS);
    connection.listen({
      readable: () => session.pump(),
      writable: () => session.pump(),
      ended: () => session.ended(),
      closed: () => connection.close(),
      readiness: () => ({ kind: "ready", state: session.save() }),
      kept: () => session.kept(),
    });
    this.served++;
    // Nothing may be there to be read: it is the server's turn then.
    if (connection.state.length > 0) session.pump();
  }
}

type Served = Exchange & { readonly last: boolean };

interface Saved {
  readonly head: string;
  readonly exchange?: Served;
  readonly read: number;
  readonly written: number;
}

/** Bytes of an answer that were made and may not have been written yet: most writes take but a few of them. */
class Ahead {
  readonly #bytes = new Uint8Array(CHUNK);
  #stream = -1;
  #from = 0;
  #end = 0;

  /** At most CHUNK bytes; they stand until the next call. */
  bytes(stream: number, from: number, len: number): Uint8Array {
    const isPart = stream === this.#stream && this.#from <= from && from <= this.#end;
    if (isPart) this.#bytes.copyWithin(0, from - this.#from, this.#end - this.#from);
    const had = isPart ? Math.min(this.#end - from, len) : 0;
    writePattern(this.#bytes.subarray(had, len), downStream(stream), from + had);
    this.#stream = stream;
    this.#from = from;
    this.#end = from + len;
    return this.#bytes.subarray(0, len);
  }
}

class Session {
  #head = "";
  #exchange: Served | undefined;
  #read = 0;
  #written = 0;
  #isDone = false;
  #isLast = false;
  #mayLeave = false;
  #isLeaving = false;
  #hasEnded = false;
  #isResting = false;
  /** The stream of the answer that is waited for, or was: never twice here, but anew by whoever gets it from here. */
  #waitsFor: number | undefined;
  #isWaiting = false;
  /** Its state has been given out: nothing is read or written until it is known where it goes on. */
  #isStill = false;
  readonly #chunk = new Uint8Array(CHUNK);
  readonly #ahead = new Ahead();

  constructor(
    private readonly connection: Connection,
    private readonly fault: (what: string) => void,
    private readonly world: ServerWorld | undefined,
  ) {
    if (connection.state.length > 0) this.#restore(connection.state);
  }

  /** What another server needs to go on from here, in the middle of whatever it is. */
  save(): Uint8Array {
    this.#isStill = true;
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

  /** It did not move: it reads and writes again. */
  kept(): void {
    this.#isStill = false;
    this.pump();
  }

  pump(): void {
    if (this.#isStill || this.#isLeaving) return;
    while (!this.#isDone && !this.#leaves() && this.#step());
    if (this.#isLeaving) return;
    const isIdle = !this.#exchange && this.connection.readableLength === 0;
    if (this.#isDone || (this.#hasEnded && isIdle)) this.#finish();
  }

  /** The first request was its own; the next one, once it begins, is for whoever it is routed to. */
  #leaves(): boolean {
    const isBetween = this.#head === "" && !this.#exchange && !this.#isLast;
    const leave = this.world?.leave;
    if (!leave || !this.#mayLeave || !isBetween || this.connection.readableLength === 0) {
      return false;
    }
    this.#isLeaving = true;
    this.#mayLeave = false;
    leave(
      this.connection,
      () => this.#head === "" && !this.#exchange,
      (doesIt) => {
        this.#isLeaving = !doesIt;
        if (doesIt) this.pump();
      },
    );
    return true;
  }

  /** True: something was done, and there may be more. */
  #step(): boolean {
    const exchange = this.#exchange;
    if (!exchange) return this.#readHead();
    const { up, down, manner = "" } = exchange;
    const hasRead = this.#read < up && this.#readBody(exchange);
    if (this.#read < up && !manner.includes("d")) return hasRead;
    if (manner.includes("w") && this.#waits(exchange)) return hasRead;
    const hasWritten = this.#written < down && this.#answer(exchange);
    if (this.#isDone) return false;
    if (this.#read < up || this.#written < down) return hasRead || hasWritten;
    this.#exchange = undefined;
    this.#mayLeave = true;
    this.#isLast = exchange.last;
    if (exchange.last) {
      this.connection.shutdown();
      if (this.#hasEnded) this.#isDone = true;
    }
    return true;
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
      const fields = /^POST \/(\d+)\/(\d+)\/(\d+)\/([01])([dsaw]*) /.exec(this.#head);
      if (!fields) this.fault(`a head that nobody sent: ${JSON.stringify(this.#head)}`);
      const [stream = 0, up = 0, down = 0, last = 0] = (fields ?? []).slice(1, 5).map(Number);
      const manner = fields?.[5] ?? "";
      this.#exchange = { stream, up, down, last: last === 1, ...(manner && { manner }) };
      this.#head = "";
      this.#read = 0;
      this.#written = 0;
      return true;
    }
    return false;
  }

  #readBody(exchange: Exchange): boolean {
    const isSlow = exchange.manner?.includes("s");
    if (isSlow && this.#isResting) return false;
    const wanted = Math.min(isSlow ? SIP : CHUNK, exchange.up - this.#read);
    const count = this.connection.read(this.#chunk.subarray(0, wanted));
    const { stream } = exchange;
    const right = patternLength(this.#chunk, 0, count, upStream(stream), this.#read);
    if (right < count) {
      this.fault(`stream ${stream}: wrong byte at ${this.#read + right} of the upload`);
    }
    this.#read += count;
    if (isSlow && count > 0) this.#rest(exchange);
    return count > 0;
  }

  /** Reads nothing for a while: the window fills. */
  #rest(exchange: Exchange): void {
    const restUs = this.world?.random.child(exchange.stream).child(this.#read).pick(RESTS_US) ?? 0;
    if (restUs === 0) return;
    this.#isResting = true;
    this.world?.after(restUs, () => {
      this.#isResting = false;
      this.pump();
    });
  }

  /** The client hears nothing for a while, not even that it was handed over. */
  #waits({ stream }: Exchange): boolean {
    if (this.#waitsFor === stream || !this.world) return this.#isWaiting;
    this.#waitsFor = stream;
    this.#isWaiting = true;
    const waitUs = this.world.random.child(stream).child("wait").pick(WAITS_US);
    this.world.after(waitUs, () => {
      this.#isWaiting = false;
      this.pump();
    });
    return true;
  }

  #answer(exchange: Exchange): boolean {
    const abortAt = exchange.manner?.includes("a") ? exchange.down >> 1 : Infinity;
    const before = this.#written;
    while (this.#written < exchange.down) {
      if (this.#written >= abortAt) {
        this.#abort();
        return false;
      }
      const len = Math.min(CHUNK, exchange.down - this.#written, abortAt - this.#written);
      const taken = this.connection.write(this.#ahead.bytes(exchange.stream, this.#written, len));
      this.#written += taken;
      if (taken < len) break;
    }
    return this.#written > before;
  }

  #abort(): void {
    this.#isDone = true;
    this.world?.aborted(this.connection.remote);
    this.connection.abort();
  }

  #finish(): void {
    this.#isDone = true;
    this.connection.close();
  }
}
