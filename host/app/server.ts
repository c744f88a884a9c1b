/**
 * What there is to know about Node's own servers so that one of them serves a connection which it did
 * not accept: its kinds, what accept() would have done, where TLS and HTTP/2 lose the client's address.
 * Everything here that Node does not document is in this file, and tested on Node 20, 22 and 24.
 */
import * as http from "node:http";
import * as net from "node:net";
import * as tls from "node:tls";
import type { Http2Session } from "node:http2";
import { BatonError } from "../errors.ts";
import type { BatonSocket } from "./socket.ts";

/** `http` has requests on the socket itself; `layered` puts TLS or HTTP/2 on top; `plain` is net. */
export type ServerKind = "plain" | "http" | "layered";

/** The parts of net.Server that are set by its options; `_connections` counts, also for close(). */
export interface ServerInternals {
  readonly allowHalfOpen?: boolean;
  readonly pauseOnConnect?: boolean;
  readonly noDelay?: boolean;
  readonly keepAlive?: boolean;
  /** In seconds. */
  readonly keepAliveInitialDelay?: number;
  readonly highWaterMark?: number;
  readonly blockList?: net.BlockList;
  _connections?: number;
  _emitCloseIfDrained?: () => void;
}

/** What happens above one connection while a server serves it. */
export interface Layers {
  /** TLS is established; this is the socket that the application sees. */
  secured(socket: tls.TLSSocket): void;
  session(session: Http2Session): void;
  /** An HTTP/1 request was read. */
  request(response: http.ServerResponse): void;
}

export function serverKind(server: unknown): ServerKind {
  if (!(server instanceof net.Server)) {
    const got = server === null ? "null" : typeof server;
    throw new BatonError(
      "ERR_BATON_ATTACH",
      `attach: expected a net, http, https, tls or http2 server, got ${got}`,
    );
  }
  if (server instanceof http.Server) return "http";
  // http2 servers without TLS have no class to be asked for.
  if (server instanceof tls.Server || "updateSettings" in server) return "layered";
  return "plain";
}

/** Are HTTP/1 requests of this server reported? Not so for tls.Server and http2 alone. */
export function speaksHttp(server: net.Server, kind: ServerKind): boolean {
  return kind === "http" || (kind === "layered" && "requestTimeout" in server);
}

/**
 * Starts what Node starts on 'listening': the list of connections, without which closeIdleConnections
 * does nothing, and the check of headersTimeout and requestTimeout. Node's own listener is called, not
 * the event emitted: the application's listeners would look for a port that is not there.
 */
export function armTimeouts(server: net.Server): void {
  if (server.listening || !("requestTimeout" in server)) return;
  const own = server.listeners("listening").find((it) => it.name === "setupConnectionsTracking");
  if (own) {
    Reflect.apply(own, server, []);
    return;
  }
  process.emitWarning(
    `Node ${process.version} arms HTTP time-outs in an unknown way: until this server listens, ` +
      "headersTimeout and requestTimeout do not apply to migrated connections",
    { code: "BATON_TIMEOUTS" },
  );
}

/** The responses of the server's own HTTP/1 sockets; undo with the function that is returned. */
export function watchRequests(
  server: net.Server,
  watch: (socket: unknown, response: http.ServerResponse) => void,
): () => void {
  const listener = (request: http.IncomingMessage, response: http.ServerResponse) =>
    watch(request.socket, response);
  // Listening for the other two changes what Node does, unless the application listens as well.
  const events = ["request", "checkContinue", "checkExpectation"].filter(
    (event) => event === "request" || server.listenerCount(event) > 0,
  );
  for (const event of events) server.prependListener(event, listener);
  return () => {
    for (const event of events) server.removeListener(event, listener);
  };
}

/** Makes `server` serve `socket` as it serves what it accepted itself. */
export function serve(
  server: net.Server,
  kind: ServerKind,
  socket: BatonSocket,
  layers: Layers,
): void {
  socket.server = server;
  if (kind === "layered") emitLayered(server, socket, layers);
  else server.emit("connection", socket);
}

/**
 * tls, https and http2 build their layers within 'connection' and 'secureConnection' and report them
 * by `this.emit(...)`. For one connection `this` is a stand-in that forwards everything and sees what
 * is emitted: so it is known which TLS socket or session belongs to which connection, and the
 * application's own listener runs after the addresses are in place.
 */
function emitLayered(server: net.Server, raw: BatonSocket, layers: Layers): void {
  const emit = (event: string | symbol, ...args: unknown[]): boolean => {
    let self = server;
    switch (event) {
      case "secureConnection":
        nameAddresses(args[0] as net.Socket, raw);
        layers.secured(args[0] as tls.TLSSocket);
        self = standIn; // http and http2 build on this event in turn.
        break;
      case "tlsClientError":
        nameAddresses(args[1] as net.Socket, raw);
        break;
      case "session":
        nameSession(args[0] as Http2Session, raw);
        layers.session(args[0] as Http2Session);
        break;
      case "request":
      case "checkContinue":
      case "checkExpectation":
        if (args[1] instanceof http.ServerResponse) layers.request(args[1]);
        break;
      default:
        break;
    }
    return Reflect.apply(server.emit, self, [event, ...args]) as boolean;
  };
  const standIn = new Proxy(server, {
    get: (target, key): unknown => (key === "emit" ? emit : Reflect.get(target, key, target)),
    set: (target, key, value) => Reflect.set(target, key, value, target),
  });
  Reflect.apply(server.emit, standIn, ["connection", raw]);
}

/** The socket of a session without TLS is Node's wrapper, which shows the addresses of nothing. */
function nameSession(session: Http2Session, raw: BatonSocket): void {
  if (session.encrypted) return; // A TLS socket, named already.
  // `session.socket` is a guard around the wrapper; a chaining method gives the wrapper itself.
  nameAddresses(session.socket.off("close", nothing), raw);
}

/** Gives a socket on top of `raw` the client's addresses and the switches of the connection. */
function nameAddresses(socket: net.Socket, raw: BatonSocket): void {
  const own = {
    remoteAddress: raw.remoteAddress,
    remotePort: raw.remotePort,
    remoteFamily: raw.remoteFamily,
    localAddress: raw.localAddress,
    localPort: raw.localPort,
    localFamily: raw.localFamily,
    address: () => raw.address(),
    setNoDelay: (on?: boolean) => (raw.setNoDelay(on), socket),
    setKeepAlive: (on?: boolean, delayMs?: number) => (raw.setKeepAlive(on, delayMs), socket),
    resetAndDestroy: () => (raw.resetAndDestroy(), socket.destroy()),
  };
  for (const [key, value] of Object.entries(own)) {
    Object.defineProperty(socket, key, { value, configurable: true, writable: true });
  }
}

function nothing(): void {}
