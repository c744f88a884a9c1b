/**
 * A server of Node as the application of migrated connections: each is counted, limited, served and
 * closed as if the server had accepted it, whether it listens or not. Knows servers; must not know
 * how a connection came here.
 */
import type * as http from "node:http";
import type * as net from "node:net";
import type { Connection } from "../node/connection.ts";
import type { Application, CloseReport } from "./application.ts";
import { byRequest } from "./requests.ts";
import { Roster } from "./roster.ts";
import { Served } from "./served.ts";
import { armTimeouts, serve, serverKind, speaksHttp, watchRequests } from "./server.ts";
import type { ServerInternals, ServerKind } from "./server.ts";
import { BatonSocket } from "./socket.ts";
import { isForeign } from "./splice.ts";

/** Attaches `server`; undone by `detach()` of what is returned. */
export function attach(server: net.Server): Attachment {
  return new Attachment(server);
}

type CloseCallback = (error?: Error) => void;

export class Attachment implements Application {
  readonly server: net.Server;
  readonly #kind: ServerKind;
  readonly #roster = new Roster<Served>();
  readonly #bySocket = new WeakMap<object, Served>();
  readonly #undo: (() => void)[] = [];
  #detached = false;
  /** `server.close()` was called; forgotten when it listens again. */
  #closeCalled = false;
  #wasListening: boolean;

  constructor(server: net.Server) {
    this.#kind = serverKind(server);
    this.server = server;
    this.#wasListening = server.listening;
    armTimeouts(server);
    this.#hookClose();
    if (this.#kind === "http") {
      this.#undo.push(
        watchRequests(server, (socket, response) => this.#onRequest(socket, response)),
      );
    }
  }

  get connections(): number {
    return this.#roster.size;
  }

  get isServing(): boolean {
    return this.accepts();
  }

  accepts(): boolean {
    return !this.#detached && !this.#isClosed();
  }

  accept(connection: Connection): void {
    if (!this.accepts()) {
      connection.abort();
      return;
    }
    if (this.#isRefused(connection)) return;
    // A state of another application's means nothing to a parser that begins anew.
    const isStrange = this.#kind === "http" ? isForeign(connection) : connection.state.length > 0;
    if (this.#kind !== "plain" && isStrange) {
      connection.abort();
      return;
    }
    const { allowHalfOpen, highWaterMark } = this.server as ServerInternals;
    const socket = new BatonSocket(byRequest(connection), { allowHalfOpen, highWaterMark });
    this.#setOptions(socket);
    const served = new Served(socket, speaksHttp(this.server, this.#kind));
    if (this.#kind === "http") socket.readiness = () => served.readiness();
    this.#enter(served);
    try {
      serve(this.server, this.#kind, socket, served);
    } catch (error) {
      // Thrown by a listener of the application: an uncaught exception of its own.
      process.nextTick(() => {
        throw error;
      });
    }
  }

  /** The server gets no further connection; those it has stay as they are. */
  detach(): void {
    this.#detached = true;
    this.#undoWhenEmpty();
  }

  /** Idle connections end, responses under way are the last; what is left after `limitMs` is reset. */
  close(limitMs: number): Promise<CloseReport> {
    this.detach();
    const emptied = this.#roster.emptied(limitMs, (served) => served.abort());
    for (const served of [...this.#roster]) served.drain();
    return emptied;
  }

  #undoWhenEmpty(): void {
    if (!this.#detached || this.#roster.size > 0) return;
    for (const undo of this.#undo.splice(0)) undo();
  }

  #onRequest(socket: unknown, response: http.ServerResponse): void {
    this.#bySocket.get(socket as object)?.request(response);
  }

  /** What the kernel's accept() is followed by in net: the limit and the list of refused clients. */
  #isRefused(connection: Connection): boolean {
    const { remote, local } = connection;
    const { blockList, _connections: count = this.#roster.size } = this.server as ServerInternals;
    // The types say number, but it is undefined until somebody sets it.
    const limit = this.server.maxConnections as number | undefined;
    if (limit !== undefined && limit !== null && count >= limit) {
      connection.close();
      this.server.emit("drop", {
        localAddress: local.address,
        localPort: local.port,
        localFamily: `IPv${local.family}`,
        remoteAddress: remote.address,
        remotePort: remote.port,
        remoteFamily: `IPv${remote.family}`,
      });
      return true;
    }
    if (!blockList?.check(remote.address, `ipv${remote.family}`)) return false;
    connection.close();
    return true;
  }

  #setOptions(socket: BatonSocket): void {
    const options = this.server as ServerInternals;
    if (options.noDelay) socket.setNoDelay(true);
    if (options.keepAlive) {
      socket.setKeepAlive(true, (options.keepAliveInitialDelay ?? 0) * 1000);
    }
    if (options.pauseOnConnect) socket.pause();
  }

  /** Counts the connection for maxConnections, getConnections and close(). */
  #enter(served: Served): void {
    const counted = this.server as ServerInternals;
    this.#roster.add(served);
    this.#bySocket.set(served.raw, served);
    if (typeof counted._connections === "number") counted._connections += 1;
    served.raw.once("close", () => {
      this.#roster.delete(served);
      if (typeof counted._connections === "number") counted._connections -= 1;
      if (this.#isClosed()) counted._emitCloseIfDrained?.();
      this.#undoWhenEmpty();
    });
  }

  #isClosed(): boolean {
    if (this.server.listening) {
      this.#wasListening = true;
      this.#closeCalled = false;
      return false;
    }
    return this.#closeCalled || this.#wasListening;
  }

  /**
   * A server that never listened counts as running while it is attached: its close() must wait for
   * migrated connections and must not fail with ERR_SERVER_NOT_RUNNING.
   */
  #hookClose(): void {
    const server = this.server;
    const original = server.close;
    const wasOwn = Object.hasOwn(server, "close");
    const hook = (callback?: CloseCallback): net.Server => {
      const running = !this.#isClosed();
      this.#closeCalled = true;
      if (server.listening || !running) {
        Reflect.apply(original, server, callback ? [callback] : []);
        return server;
      }
      if (callback) server.once("close", () => callback());
      Reflect.apply(original, server, []);
      return server;
    };
    Object.defineProperty(server, "close", { value: hook, configurable: true, writable: true });
    this.#undo.push(() => {
      if (server.close !== hook) return; // Somebody hooked it after us, and calls us.
      if (wasOwn) server.close = original;
      else Reflect.deleteProperty(server, "close");
    });
  }
}
