/**
 * One connection joined to one upstream socket: bytes, half-closes and resets pass in both directions.
 * Knows both ends; must not know whose connection it is.
 *
 *   client             here                      upstream
 *   FIN                end() after the bytes     FIN
 *   RST, time-out      resetAndDestroy()         RST
 *   FIN                shutdown() after them     FIN
 *   RST                abort() after them        RST, or an end in the middle
 *   503, alert, RST    -                         cannot be connected to
 */
import * as net from "node:net";
import type { Connection } from "../node/connection.ts";
import { createRouter } from "../routing/router.ts";
import { FirstBytesReader } from "../routing/reader.ts";
import type { Reply } from "../routing/reply.ts";
import { BUFFER_SIZE, giveBuffer, readBuffer, takeBuffer } from "./buffers.ts";
import { proxyHeader } from "./proxy.ts";

/** A server that knows nothing of Baton. */
export type UpstreamTarget =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

export interface SpliceOptions {
  /** Send a PROXY protocol v2 header first. */
  readonly proxyProtocol?: boolean | undefined;
  /** How long connecting may take. */
  readonly connectTimeoutMs?: number | undefined;
  /** How long a client may take for the last bytes when the upstream is gone. */
  readonly lingerMs?: number | undefined;
}

export type SpliceOutcome =
  /** Both sides ended. */
  | "ended"
  /** Nobody answered at the upstream; the client was told. */
  | "refused"
  | "client-reset"
  | "upstream-reset"
  /** By `abort()`. */
  | "aborted";

export interface SpliceReport {
  readonly outcome: SpliceOutcome;
  readonly bytesToUpstream: number;
  readonly bytesToClient: number;
  readonly error?: Failure;
}

interface Failure {
  readonly code?: string | undefined;
  readonly message: string;
}

const CONNECT_TIMEOUT_MS = 10_000;
const LINGER_MS = 5000;
/** How often a dying splice looks whether the client has everything. */
const FLUSH_CHECK_MS = 20;
/** Writes to the upstream under way at once: one in the kernel's hands, one ready. */
const WRITES_MAX = 2;
const NOTHING = Buffer.alloc(0);

export class Splice {
  bytesToUpstream = 0;
  bytesToClient = 0;

  readonly #connection: Connection;
  readonly #target: UpstreamTarget;
  readonly #lingerMs: number;
  readonly #done: (report: SpliceReport) => void;
  readonly #socket: net.Socket;
  #connectTimer: NodeJS.Timeout | undefined;
  #lingerTimer: NodeJS.Timeout | undefined = undefined;
  #connected = false;
  #clientEnded = false;
  #upstreamEnded = false;
  #writesUnderWay = 0;
  /** Received from the upstream and not yet taken by the connection; reading is paused meanwhile. */
  #rest: Buffer | undefined = undefined;
  /** The client is not listened to any more. */
  #discarding = false;
  /** Set when the outcome is known, though the client may still be reading. */
  #outcome: SpliceOutcome | undefined = undefined;
  #error: Failure | undefined = undefined;
  #connectionOver = false;
  #finished = false;

  /** `done` is called once, when nothing of it is left. */
  constructor(
    connection: Connection,
    target: UpstreamTarget,
    options: SpliceOptions,
    done: (report: SpliceReport) => void,
  ) {
    this.#connection = connection;
    this.#target = target;
    this.#lingerMs = options.lingerMs ?? LINGER_MS;
    this.#done = done;
    const header = options.proxyProtocol && proxyHeader(connection.remote, connection.local);
    this.#socket = this.#connect(target);
    if (header) this.#socket.write(header);
    const limitMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
    this.#connectTimer = setTimeout(() => this.#socket.destroy(timedOut(limitMs)), limitMs).unref();
    connection.listen({
      readable: () => this.#onReadable(),
      writable: () => this.#flushRest(),
      ended: () => this.#onClientEnded(),
      closed: (error) => this.#onClosed(error),
    });
  }

  /** RST both ways, now. */
  abort(): void {
    if (this.#finished) return;
    this.#outcome ??= "aborted";
    this.#resetUpstream();
    this.#resetClient();
  }

  #connect(target: UpstreamTarget): net.Socket {
    const where =
      target.kind === "unix" ? { path: target.path } : { host: target.host, port: target.port };
    const socket = net.connect({
      ...where,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      onread: { buffer: readBuffer(), callback: (length, buffer) => this.#onRead(length, buffer) },
    });
    socket.on("connect", () => this.#onConnect());
    socket.on("end", () => this.#onUpstreamEnded());
    socket.on("error", (error) => this.#onUpstreamError(error));
    return socket;
  }

  #onConnect(): void {
    clearTimeout(this.#connectTimer);
    this.#connected = true;
    this.#pump();
  }

  /** Client to upstream. */
  #onReadable(): void {
    if (this.#discarding) this.#discard();
    else this.#pump();
  }

  #onClientEnded(): void {
    this.#clientEnded = true;
    this.#onReadable();
  }

  #pump(): void {
    if (!this.#connected || this.#discarding || this.#finished) return;
    while (this.#writesUnderWay < WRITES_MAX && this.#connection.readableLength > 0) {
      const buffer = takeBuffer(Math.min(this.#connection.readableLength, BUFFER_SIZE));
      const length = this.#connection.read(buffer);
      this.bytesToUpstream += length;
      this.#writesUnderWay += 1;
      // An error here is the socket's 'error' as well, and handled there.
      this.#socket.write(buffer.subarray(0, length), () => {
        giveBuffer(buffer);
        this.#writesUnderWay -= 1;
        this.#pump();
      });
    }
    if (!this.#clientEnded || this.#connection.readableLength > 0) return;
    if (!this.#socket.writableEnded) this.#socket.end();
    if (this.#connectionOver) this.#finish("ended");
  }

  /** Upstream to client; false pauses. `buffer` belongs to all upstream sockets. */
  #onRead(length: number, buffer: Uint8Array): boolean {
    if (this.#finished || this.#connectionOver) return true;
    const taken = this.#connection.write(buffer.subarray(0, length));
    this.bytesToClient += taken;
    if (taken === length) return true;
    this.#rest = Buffer.from(buffer.subarray(taken, length));
    return false;
  }

  #flushRest(): void {
    const rest = this.#rest;
    if (!rest) return;
    const taken = this.#connection.write(rest);
    this.bytesToClient += taken;
    this.#rest = taken < rest.length ? rest.subarray(taken) : undefined;
    if (!this.#rest) this.#socket.resume();
  }

  /**
   * libuv, up to Node 22, takes data and a RST that arrive together for data and an end: the kernel
   * knows better, and says so to a write, even of nothing. Writes that wait will be told anyway.
   */
  #onUpstreamEnded(): void {
    const isAskable = !this.#socket.writableEnded && this.#socket.writableLength === 0;
    if (!isAskable) this.#endClient();
    else this.#socket.write(NOTHING, (error) => error ?? this.#endClient());
  }

  #endClient(): void {
    this.#upstreamEnded = true;
    if (!this.#finished && !this.#connectionOver) this.#connection.shutdown();
  }

  #onUpstreamError(error: NodeJS.ErrnoException): void {
    if (this.#finished) return;
    this.#error = error;
    if (!this.#connected) {
      this.#refuse();
    } else if (this.#upstreamEnded) {
      // It answered in full and takes no more: the client may read on, what it sends is dropped.
      this.#outcome ??= "ended";
      this.#linger();
    } else {
      this.#outcome ??= "upstream-reset";
      if (!this.#isFlushed()) this.#linger(() => this.#isFlushed());
      else this.#resetClient();
    }
  }

  /** The client is gone: with an error at once, without one after what it sent has been passed on. */
  #onClosed(error?: { readonly code: string; readonly message: string }): void {
    this.#connectionOver = true;
    if (error) {
      this.#error ??= error;
      this.#resetUpstream();
      this.#finish(this.#outcome ?? "client-reset");
      return;
    }
    this.#clientEnded = true;
    if (this.#discarding) this.#finish(this.#outcome ?? "ended");
    else this.#pump();
  }

  /** Answers in the client's protocol, as far as it can be told from what it sent. */
  #refuse(): void {
    clearTimeout(this.#connectTimer);
    this.#outcome ??= "refused";
    const { reply, reset } = refusal(this.#connection);
    if (this.#connectionOver) this.#finish(this.#outcome);
    else if (reset || this.#connection.write(reply) < reply.length) this.#resetClient();
    else {
      this.bytesToClient += reply.length;
      this.#connection.shutdown();
      this.#linger();
    }
  }

  /** Reads on for a while, so that a RST does not overtake what the client has yet to receive. */
  #linger(isDone: () => boolean = () => false): void {
    this.#discarding = true;
    if (this.#connectionOver) {
      this.#finish(this.#outcome ?? "ended");
      return;
    }
    this.#discard();
    const deadline = performance.now() + this.#lingerMs;
    this.#lingerTimer = setInterval(() => {
      if (isDone() || performance.now() >= deadline) this.#resetClient();
    }, FLUSH_CHECK_MS).unref();
  }

  #discard(): void {
    const scratch = takeBuffer(BUFFER_SIZE);
    while (this.#connection.read(scratch) > 0);
    giveBuffer(scratch);
  }

  #isFlushed(): boolean {
    return this.#connectionOver || (!this.#rest && this.#connection.writableLength === 0);
  }

  #resetClient(): void {
    if (this.#finished) return;
    if (!this.#connectionOver) this.#connection.abort();
    else this.#connection.close();
    this.#settle(this.#outcome ?? "aborted");
  }

  #resetUpstream(): void {
    if (this.#socket.destroyed) return;
    if (this.#connected && this.#target.kind === "tcp") this.#socket.resetAndDestroy();
    else this.#socket.destroy();
  }

  #finish(outcome: SpliceOutcome): void {
    if (this.#finished) return;
    this.#connection.close();
    this.#settle(outcome);
  }

  #settle(outcome: SpliceOutcome): void {
    this.#finished = true;
    this.#rest = undefined;
    clearTimeout(this.#connectTimer);
    clearInterval(this.#lingerTimer);
    const { bytesToUpstream, bytesToClient } = this;
    const error = this.#error && { code: this.#error.code, message: this.#error.message };
    this.#done({ outcome, bytesToUpstream, bytesToClient, ...(error ? { error } : {}) });
  }
}

/** 503 for HTTP, an alert for TLS, a RST for what is neither or has been answered in part. */
function refusal(connection: Connection): Reply {
  const reset: Reply = { reply: new Uint8Array(0), reset: true };
  if (connection.bytesWritten > 0) return reset;
  const head = new Uint8Array(Math.min(connection.readableLength, BUFFER_SIZE));
  const length = connection.peek(head, 0);
  const result = new FirstBytesReader("other").read(head.subarray(0, length));
  if (result.kind === "head") return createRouter([]).unavailable(result.head);
  return result.kind === "reject" ? result : reset;
}

function timedOut(limitMs: number): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(`connect: no answer within ${limitMs} ms`);
  error.code = "ETIMEDOUT";
  return error;
}
