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
 *
 * Between two HTTP/1 exchanges it may move to another node; the upstream there begins with the next one.
 */
import * as net from "node:net";
import type { Connection, Readiness } from "../node/connection.ts";
import { HttpBoundary } from "./boundary.ts";
import { BUFFER_SIZE, giveBuffer, readBuffer, takeBuffer } from "./buffers.ts";
import { proxyHeader } from "./proxy.ts";
import { refusal, timedOut } from "./refusal.ts";

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
  | "aborted"
  /** The client goes on with another node's upstream. */
  | "moved";

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
/** The state of a connection that moved between two exchanges of HTTP/1. */
export const BETWEEN_EXCHANGES = Uint8Array.of(1);

/** Whether a connection comes with a state that is no splice's. */
export function isForeign({ state }: Connection): boolean {
  return state.length > 0 && !(state.length === 1 && state[0] === BETWEEN_EXCHANGES[0]);
}

export class Splice {
  bytesToUpstream = 0;
  bytesToClient = 0;

  readonly #connection: Connection;
  readonly #target: UpstreamTarget;
  readonly #lingerMs: number;
  readonly #done: (report: SpliceReport) => void;
  readonly #options: SpliceOptions;
  readonly #boundary = new HttpBoundary();
  readonly #socket: net.Socket;
  /** Connecting has begun: at once, or with the first byte of a connection that came idle. */
  #isBegun = false;
  /** It may move: nothing is read until it has, or is kept. */
  #isHeld = false;
  #connectTimer: NodeJS.Timeout | undefined = undefined;
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
    this.#options = options;
    this.#socket = this.#newSocket();
    if (connection.state.length === 0) this.#begin();
    connection.listen({
      readable: () => this.#onReadable(),
      writable: () => this.#flushRest(),
      ended: () => this.#onClientEnded(),
      closed: (error) => this.#onClosed(error),
      readiness: () => this.#readiness(),
      kept: () => this.#onKept(),
      moved: () => this.#onMoved(),
    });
  }

  /** RST both ways, now. */
  abort(): void {
    if (this.#finished) return;
    this.#outcome ??= "aborted";
    this.#resetUpstream();
    this.#resetClient();
  }

  #newSocket(): net.Socket {
    const options = {
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      onread: {
        buffer: readBuffer(),
        callback: (length: number, buffer: Uint8Array) => this.#onRead(length, buffer),
      },
    };
    const socket = new net.Socket(options);
    socket.on("connect", () => this.#onConnect());
    socket.on("end", () => this.#onUpstreamEnded());
    socket.on("error", (error) => this.#onUpstreamError(error));
    return socket;
  }

  #begin(): void {
    this.#isBegun = true;
    const target = this.#target;
    const { remote, local } = this.#connection;
    if (target.kind === "unix") this.#socket.connect({ path: target.path });
    else this.#socket.connect({ host: target.host, port: target.port });
    if (this.#options.proxyProtocol) this.#socket.write(proxyHeader(remote, local));
    const limitMs = this.#options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
    this.#connectTimer = setTimeout(() => this.#socket.destroy(timedOut(limitMs)), limitMs).unref();
  }

  /** Whether the client may go on with another server: nothing of a message is here or behind. */
  #readiness(): Readiness {
    const { opaque } = this.#boundary;
    if (opaque !== undefined) return { kind: "never", reason: opaque };
    const isUsed = this.bytesToUpstream + this.bytesToClient > 0;
    const isBetween = this.#boundary.isIdle && !this.#rest && this.#writesUnderWay === 0;
    if (this.#isEnding()) return { kind: "busy", reason: "it is ending" };
    if (!isBetween) return { kind: "busy", reason: "a request is under way" };
    // Bytes passed and no exchange was completed: of a protocol where the server speaks first, perhaps.
    if (isUsed && this.#boundary.exchanges === 0) {
      return { kind: "busy", reason: "no request was answered yet" };
    }
    this.#isHeld = true;
    const isFresh = !isUsed && this.#connection.state.length === 0;
    return { kind: "ready", state: isFresh ? NOTHING : BETWEEN_EXCHANGES };
  }

  #isEnding(): boolean {
    const isOver = this.#finished || this.#discarding || this.#connectionOver;
    return isOver || this.#upstreamEnded || this.#socket.writableEnded || this.#socket.destroyed;
  }

  #onKept(): void {
    this.#isHeld = false;
    this.#onReadable();
  }

  #onMoved(): void {
    if (this.#finished) return;
    this.#connectionOver = true;
    this.#socket.destroy();
    this.#settle("moved");
  }

  /** Nothing is under way: if somebody wants the connection elsewhere, this is the moment. */
  #offer(): void {
    if (!this.#boundary.isIdle || this.#rest || this.#writesUnderWay > 0) return;
    if (!this.#isHeld && !this.#isEnding()) this.#connection.offer();
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
    if (this.#isHeld) return;
    if (!this.#isBegun && this.#connection.readableLength > 0) this.#begin();
    if (!this.#isBegun && this.#clientEnded) return this.#finish("ended");
    if (!this.#connected || this.#discarding || this.#finished) return;
    while (this.#writesUnderWay < WRITES_MAX && this.#connection.readableLength > 0) {
      const buffer = takeBuffer(Math.min(this.#connection.readableLength, BUFFER_SIZE));
      const length = this.#connection.read(buffer);
      this.#boundary.fromClient(buffer.subarray(0, length));
      this.bytesToUpstream += length;
      this.#writesUnderWay += 1;
      // An error here is the socket's 'error' as well, and handled there.
      this.#socket.write(buffer.subarray(0, length), () => {
        giveBuffer(buffer);
        this.#writesUnderWay -= 1;
        this.#pump();
        this.#offer();
      });
    }
    if (!this.#clientEnded || this.#connection.readableLength > 0) return;
    if (!this.#socket.writableEnded) this.#socket.end();
    if (this.#connectionOver) this.#finish("ended");
  }

  /** Upstream to client; false pauses. `buffer` belongs to all upstream sockets. */
  #onRead(length: number, buffer: Uint8Array): boolean {
    if (this.#finished || this.#connectionOver) return true;
    this.#boundary.fromServer(buffer.subarray(0, length));
    const taken = this.#connection.write(buffer.subarray(0, length));
    this.bytesToClient += taken;
    if (taken === length) {
      this.#offer();
      return true;
    }
    this.#rest = Buffer.from(buffer.subarray(taken, length));
    return false;
  }

  #flushRest(): void {
    const rest = this.#rest;
    if (!rest) return;
    const taken = this.#connection.write(rest);
    this.bytesToClient += taken;
    this.#rest = taken < rest.length ? rest.subarray(taken) : undefined;
    if (this.#rest) return;
    this.#socket.resume();
    this.#offer();
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
    this.#connection.consume(Infinity, () => undefined);
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
    if (this.#connected && this.#target.kind === "tcp") resetSocket(this.#socket);
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

/**
 * While the end of a socket is under way, libuv refuses to reset it, and Node then forgets the handle without closing
 * it: the descriptor would be lost, and the process spin when it ends. With nothing to be written before it that end
 * takes a turn of the loop; otherwise it has not begun.
 */
function resetSocket(socket: net.Socket): void {
  const isEnding = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
  if (isEnding) socket.once("finish", () => socket.resetAndDestroy());
  else socket.resetAndDestroy();
}
