/**
 * One migrated connection while a Node server serves it: what is under way on it, and how to end it
 * without cutting anything off. Knows requests and sessions; must not know how servers are wired.
 */
import type * as http from "node:http";
import type * as tls from "node:tls";
import type { Http2Session } from "node:http2";
import type { Readiness } from "../node/connection.ts";
import type { Layers } from "./server.ts";
import type { BatonSocket } from "./socket.ts";
import { BETWEEN_EXCHANGES } from "./splice.ts";

export class Served implements Layers {
  readonly raw: BatonSocket;
  readonly #speaksHttp: boolean;
  /** What the application sees: the connection's own socket or the TLS socket on top of it. */
  #socket: BatonSocket | tls.TLSSocket;
  #session: Http2Session | undefined = undefined;
  readonly #responses = new Set<http.ServerResponse>();
  /** Bytes read when the last request was done: any more mean that another has begun. */
  #settledAt = 0;
  #draining = false;

  /** `speaksHttp`: requests of HTTP/1 are reported, so that the time between two is known. */
  constructor(raw: BatonSocket, speaksHttp: boolean) {
    this.raw = raw;
    this.#speaksHttp = speaksHttp;
    this.#socket = raw;
  }

  secured(socket: tls.TLSSocket): void {
    this.#socket = socket;
    this.#settledAt = this.raw.bytesRead;
  }

  session(session: Http2Session): void {
    this.#session = session;
    // A session that begins now came with a request: serve that one, then no more.
    if (this.#draining) session.once("stream", () => setImmediate(() => closeSession(session)));
  }

  request(response: http.ServerResponse): void {
    this.#responses.add(response);
    if (this.#draining) response.shouldKeepAlive = false;
    response.once("close", () => {
      this.#responses.delete(response);
      this.#settledAt = this.raw.bytesRead;
      if (this.#draining) this.#endIfIdle();
      else if (!this.raw.destroyed && this.#isSettled()) this.raw.connection.offer();
    });
  }

  /** Of an HTTP/1 connection without TLS: between two requests it may move to another backend. */
  readiness(): Readiness {
    if (this.#draining) return { kind: "busy", reason: "it is ending" };
    if (!this.#isSettled()) return { kind: "busy", reason: "a request is under way" };
    const isFresh = this.raw.bytesRead === 0 && this.raw.state.length === 0;
    return { kind: "ready", state: isFresh ? new Uint8Array(0) : BETWEEN_EXCHANGES };
  }

  /** No further request: idle connections end now, others after the response under way. */
  drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    if (this.#session) {
      closeSession(this.#session);
      return;
    }
    for (const response of this.#responses) response.shouldKeepAlive = false;
    this.#endIfIdle();
  }

  abort(): void {
    this.raw.resetAndDestroy();
    this.#socket.destroy();
  }

  #endIfIdle(): void {
    if (!this.#speaksHttp || this.raw.destroyed) return;
    if (this.#isSettled() && this.raw.connection.readableLength === 0) this.#socket.destroySoon();
  }

  /** Every request that was read has been answered, and no other has begun. */
  #isSettled(): boolean {
    const settled = this.#responses.size === 0 && this.raw.bytesRead === this.#settledAt;
    // Requests that went to 'checkContinue' and the like are seen by Node's own mark only.
    return settled && !(this.#socket as { _httpMessage?: unknown })._httpMessage;
  }
}

function closeSession(session: Http2Session): void {
  if (!session.closed && !session.destroyed) session.close();
}
