/**
 * A Duplex over a Connection that behaves like a `net.Socket` which accepted the client itself. Knows
 * streams and the contract of host/node/connection.ts; must not know packets, servers or migration.
 *
 * Closing follows close(2) of Linux and invariant I2: `end` sends a FIN, `destroy` sends a FIN after
 * everything written, or a RST when a byte is lost by it (written and not yet taken by the send buffer,
 * or received and not read). `resetAndDestroy` sends a RST whatever is open.
 */
import { Duplex } from "node:stream";
import type { AddressInfo } from "node:net";
import type { Connection, MoveOutcome, Readiness } from "../node/connection.ts";
import { Departure, type MigrateOptions } from "./departure.ts";
import { alreadyClosed, connectionError, streamDestroyed } from "./failure.ts";

export interface BatonSocketOptions {
  /** Keep the writable side open after the peer's FIN; as with `net.Socket`, not unless asked for. */
  readonly allowHalfOpen?: boolean | undefined;
  /** Bytes for each direction; Node's own default without it. */
  readonly highWaterMark?: number | undefined;
}

/** One read takes no more than this, so that a burst becomes chunks a consumer can pause between. */
const READ_MAX = 65_536;
/** Corked writes up to this size in total are joined: one crossing instead of many. */
const GATHER_MAX = 65_536;
/** Linux' own idle time before keep-alive probes, for callers that name none. */
const KEEP_ALIVE_DEFAULT_MS = 7_200_000;
/** Node's timers count in 31 bits. */
const TIMER_MAX_MS = 2_147_483_647;

type WriteCallback = (error?: Error | null) => void;

/** What `_write` was given and the send buffer has not taken yet. */
interface Outgoing {
  readonly chunks: readonly Uint8Array[];
  readonly callback: WriteCallback;
  index: number;
  offset: number;
  /** Bytes of `chunks` that the send buffer has taken. */
  taken: number;
}

export class BatonSocket extends Duplex {
  readonly connecting = false;
  readonly pending = false;
  /** What `setTimeout` was last given. */
  timeout: number | undefined = undefined;
  /** The server that serves it, as on a `net.Socket`. */
  server: unknown = undefined;

  readonly #connection: Connection;
  #wanted = false;
  #outgoing: Outgoing | undefined = undefined;
  #peerEnded = false;
  #endPushed = false;
  #over = false;
  /** Why the connection ended; kept back until the bytes received before it were read. */
  #failure: Error | undefined = undefined;
  #resetting = false;
  #bytesRead = 0;
  #bytesTaken = 0;
  #moved = false;
  readonly #departure: Departure;
  #idleTimer: NodeJS.Timeout | undefined = undefined;
  #unacknowledged = 0;

  constructor(connection: Connection, options: BatonSocketOptions = {}) {
    super({
      allowHalfOpen: options.allowHalfOpen ?? false,
      emitClose: false, // 'close' carries hadError; _destroy emits it.
      ...(options.highWaterMark === undefined ? {} : { highWaterMark: options.highWaterMark }),
    });
    this.#connection = connection;
    this.#departure = new Departure({
      connection,
      isLive: () => this.#isLive(),
      isRead: () => this.readableLength === 0,
      isFlushed: () => this.writableLength === 0 && !this.#outgoing,
      resume: () => this.#guard(() => this.#pull()),
    });
    connection.listen({
      readable: () => this.#guard(() => this.#pull()),
      writable: () => this.#guard(() => this.#flush()),
      ended: () => this.#guard(() => this.#onEnded()),
      closed: (error) => this.#guard(() => this.#onClosed(error)),
      readiness: () => this.#departure.mayLeave(),
      kept: () => this.#departure.release(),
      moved: () => this.#guard(() => this.#onMoved()),
    });
  }

  /** Whether it may move when its backend drains: for servers that know when nothing is under way. */
  set readiness(ask: () => Readiness) {
    this.#departure.readiness = ask;
  }

  /** What the application sent along that had the connection before; empty for a new one. */
  get state(): Uint8Array {
    return this.#connection.state;
  }

  /** It lives on at another backend, and 'close' came (or comes) without an error. */
  get moved(): boolean {
    return this.#moved;
  }

  /**
   * Gives the connection to another backend, whatever is under way on it: bytes that the client sent and
   * nobody read, bytes written and not acknowledged, ends of either side. Nothing is read from now on until
   * the outcome is known. "moved": the socket closes without an error, the client notices nothing. "kept":
   * it goes on here, `reason` says why. "lost" and "ended": it is over, as a socket's end tells as well.
   */
  migrate(options: MigrateOptions = {}): Promise<MoveOutcome> {
    return this.#departure.migrate(options);
  }

  /**
   * Gives the connection to a classifier, which reads what the client sends next as the first bytes of a fresh
   * connection and hands it to a backend by the rules. To be called between two messages: bytes that this socket
   * has received already are not routed, and while some wait in it it is kept. No state travels along.
   */
  reroute(): Promise<MoveOutcome> {
    return this.#departure.migrate({ reroute: true });
  }

  /** The connection below, for those who migrate it or look at it. */
  get connection(): Connection {
    return this.#connection;
  }

  get remoteAddress(): string {
    return this.#connection.remote.address;
  }

  get remotePort(): number {
    return this.#connection.remote.port;
  }

  get remoteFamily(): string {
    return `IPv${this.#connection.remote.family}`;
  }

  get localAddress(): string {
    return this.#connection.local.address;
  }

  get localPort(): number {
    return this.#connection.local.port;
  }

  get localFamily(): string {
    return `IPv${this.#connection.local.family}`;
  }

  address(): AddressInfo {
    return { address: this.localAddress, family: this.localFamily, port: this.localPort };
  }

  /** Bytes the application side of this socket received; still there after 'close'. */
  get bytesRead(): number {
    return this.#bytesRead;
  }

  /** Bytes written, those still waiting in the stream included, as `net.Socket` counts. */
  get bytesWritten(): number {
    if (this.destroyed) return this.#bytesTaken;
    return this.#bytesTaken + this.writableLength - (this.#outgoing?.taken ?? 0);
  }

  get readyState(): "open" | "readOnly" | "writeOnly" | "closed" {
    if (this.readable) return this.writable ? "open" : "readOnly";
    return this.writable ? "writeOnly" : "closed";
  }

  setNoDelay(noDelay = true): this {
    if (this.#isLive()) this.#connection.setNoDelay(noDelay);
    return this;
  }

  setKeepAlive(enable = false, initialDelayMs = 0): this {
    if (!this.#isLive()) return this;
    // A delay of 0 means "the system's default", which on Linux is two hours.
    this.#connection.setKeepAlive(enable ? initialDelayMs || KEEP_ALIVE_DEFAULT_MS : 0);
    return this;
  }

  /** The node's link keeps the loop alive, not the single connection: nothing to do. */
  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  /** 'timeout' after `ms` without a byte read, written or acknowledged; 0 turns it off. */
  setTimeout(ms: number, callback?: () => void): this {
    if (this.destroyed) return this;
    if (!(ms >= 0 && ms < Infinity)) {
      throw new RangeError(`setTimeout: expected milliseconds >= 0, got ${String(ms)}`);
    }
    this.timeout = ms;
    clearTimeout(this.#idleTimer);
    this.#idleTimer = undefined;
    if (ms === 0) {
      if (callback) this.removeListener("timeout", callback);
      return this;
    }
    this.#unacknowledged = this.#connection.writableLength;
    this.#idleTimer = setTimeout(() => this.#onIdle(), Math.min(ms, TIMER_MAX_MS)).unref();
    if (callback) this.once("timeout", callback);
    return this;
  }

  /** Ends, and destroys once everything was handed to the stack. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once("finish", () => this.destroy());
  }

  /** RST, whatever was still under way. */
  resetAndDestroy(): this {
    this.#resetting = true;
    return this.destroy();
  }

  override read(size?: number): unknown {
    const chunk: unknown = super.read(size);
    if (this.#failure) process.nextTick(() => this.#failWhenRead());
    if (this.#departure.isHeld) process.nextTick(() => this.#departure.flushed());
    return chunk;
  }

  override _read(): void {
    this.#wanted = true;
    this.#pull();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: WriteCallback): void {
    this.#send([chunk], callback);
  }

  override _writev(items: { chunk: Buffer }[], callback: WriteCallback): void {
    const chunks = items.map((item) => item.chunk);
    const total = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    this.#send(total <= GATHER_MAX ? [Buffer.concat(chunks, total)] : chunks, callback);
  }

  override _final(callback: WriteCallback): void {
    if (!this.#over) this.#connection.shutdown();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    clearTimeout(this.#idleTimer);
    const outgoing = this.#outgoing;
    this.#outgoing = undefined;
    const unsent = outgoing !== undefined || this.writableLength > 0;
    if (!this.#over && (this.#resetting || unsent)) this.#connection.abort();
    else this.#connection.close();
    this.#over = true;
    outgoing?.callback(error ?? streamDestroyed());
    this.#departure.abandon();
    callback(error);
    process.nextTick(() => this.emit("close", error !== null));
  }

  #onMoved(): void {
    this.#moved = true;
    this.#over = true;
    this.destroy();
  }

  #isLive(): boolean {
    return !this.#over && !this.destroyed;
  }

  /** Moves received bytes into the stream for as long as it asks for more. */
  #pull(): void {
    // A listener may ask for a move from within push.
    while (this.#wanted && !this.destroyed && !this.#departure.isHeld) {
      const available = this.#connection.readableLength;
      if (available === 0) break;
      const chunk = Buffer.allocUnsafe(Math.min(available, READ_MAX));
      const length = this.#connection.read(chunk);
      if (length === 0) break;
      this.#bytesRead += length;
      this.#touch();
      // A listener may read from within push: what it asked for then must not be overwritten.
      this.#wanted = false;
      if (this.push(length === chunk.length ? chunk : chunk.subarray(0, length))) {
        this.#wanted = true;
      }
    }
    if (this.destroyed || this.#departure.isHeld || this.#connection.readableLength > 0) return;
    if (this.#failure) this.#failWhenRead();
    else if (this.#peerEnded && !this.#endPushed) {
      this.#endPushed = true;
      this.push(null);
      this.read(0); // 'end' also for a socket that nobody reads from.
    }
  }

  #send(chunks: readonly Uint8Array[], callback: WriteCallback): void {
    if (this.#over) {
      callback(this.#failure ?? alreadyClosed());
      return;
    }
    this.#outgoing = { chunks, callback, index: 0, offset: 0, taken: 0 };
    this.#flush();
  }

  /** Hands over what the send buffer takes; the rest waits for `writable`. */
  #flush(): void {
    const outgoing = this.#outgoing;
    if (!outgoing || this.destroyed) return;
    for (; outgoing.index < outgoing.chunks.length; outgoing.index += 1) {
      const chunk = outgoing.chunks[outgoing.index] as Uint8Array;
      const rest = outgoing.offset === 0 ? chunk : chunk.subarray(outgoing.offset);
      const taken = rest.length === 0 ? 0 : this.#connection.write(rest);
      outgoing.taken += taken;
      this.#bytesTaken += taken;
      if (taken > 0) this.#touch();
      if (taken < rest.length) {
        outgoing.offset += taken;
        return;
      }
      outgoing.offset = 0;
    }
    this.#outgoing = undefined;
    outgoing.callback();
    process.nextTick(() => this.#departure.flushed());
  }

  #onEnded(): void {
    this.#peerEnded = true;
    this.#pull();
  }

  #onClosed(error?: { readonly code: string; readonly message: string }): void {
    if (this.destroyed) return;
    this.#over = true;
    if (error) this.#failure = connectionError(error.code, error.message);
    else this.#peerEnded = true;
    const outgoing = this.#outgoing;
    this.#pull();
    // Read first, then fail: what came before the RST was received. A writer that waits is told at once.
    if (!outgoing || this.destroyed) return;
    this.#outgoing = undefined;
    outgoing.callback(this.#failure ?? alreadyClosed());
  }

  #failWhenRead(): void {
    if (this.destroyed || this.#connection.readableLength > 0 || this.readableLength > 0) return;
    this.destroy(this.#failure);
  }

  #touch(): void {
    if (!this.#idleTimer) return;
    this.#unacknowledged = this.#connection.writableLength;
    this.#idleTimer.refresh();
  }

  #onIdle(): void {
    const unacknowledged = this.#over ? 0 : this.#connection.writableLength;
    const progress = unacknowledged < this.#unacknowledged;
    this.#unacknowledged = unacknowledged;
    if (progress) this.#idleTimer?.refresh();
    else this.emit("timeout");
  }

  /** An application's exception is an uncaught exception of its own, never the node's. */
  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
    }
  }
}
