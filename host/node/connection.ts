/**
 * A live TCP connection of this node's stack, as applications see it. Knows bytes and half-closes; must
 * not know packets. node/ implements it over the core; app/ turns it into a Duplex or splices it.
 */
export interface ConnectionAddress {
  readonly address: string;
  readonly port: number;
  readonly family: 4 | 6;
}

/** How the requests of a connection are routed: all as the first one, or each by itself (docs/requests.md). */
export type Routing = "connection" | "request";

/** Whether a connection may move to another node at this moment, as its application sees it. */
export type Readiness =
  /**
   * Nothing of it is in the application's hands, `state` excepted: at most 4,096 bytes that travel along.
   * The application neither reads nor writes until `kept` or `moved`.
   */
  | { readonly kind: "ready"; readonly state: Uint8Array }
  /** Not now: `Connection.offer` tells when. */
  | { readonly kind: "busy"; readonly reason: string }
  | { readonly kind: "never"; readonly reason: string };

export type MoveOutcome =
  /** It lives on at that node (first 8 bytes of the SHA-256 of its name, in hexadecimal). */
  | { readonly kind: "moved"; readonly node: string }
  /** It is here and goes on. */
  | { readonly kind: "kept"; readonly reason: string }
  /** Nobody knows whether it arrived: the client was reset. */
  | { readonly kind: "lost" }
  /** It was over before it could move. */
  | { readonly kind: "ended" };

export interface MoveRequest {
  /** A backend's name; any other one of the connection's pool without it. */
  readonly target?: string | undefined;
  /** To a classifier instead, which routes it afresh by the bytes that nobody has read. */
  readonly reroute?: boolean | undefined;
  /** Asked once more when the target is ready for it, just before it stands still. */
  readonly ready: () => Readiness;
  /** Called once, on a later turn, after `moved` or `closed`. */
  readonly done: (outcome: MoveOutcome) => void;
}

/** Delivered from the node's own turn, never from within a call on the connection. */
export interface ConnectionEvents {
  /** Unread bytes are there. Called again only after new bytes arrived. */
  readable(): void;
  /** The send buffer has space again after `write` took less than it was given. */
  writable(): void;
  /** The peer's FIN came: after the unread bytes there is no more. */
  ended(): void;
  /**
   * Both directions are over and the connection is gone from the application's point of view. Without
   * an error everything written was acknowledged. Codes: ECONNRESET, ETIMEDOUT, EHOSTUNREACH,
   * ECONNABORTED.
   */
  closed(error?: { readonly code: string; readonly message: string }): void;
  /** The node wants to move it elsewhere. Without this it stays until it ends. */
  readiness?(): Readiness;
  /** After "ready": it could not be moved and is the application's again. */
  kept?(): void;
  /** It lives on elsewhere; no event follows, and nothing that is called has an effect any more. */
  moved?(): void;
}

export interface Connection {
  /** Unique within the node's life. */
  readonly id: number;
  readonly remote: ConnectionAddress;
  readonly local: ConnectionAddress;
  /** "request": before its next request it should go to a classifier. */
  readonly routing: Routing;
  /** Bytes that can be read now. */
  readonly readableLength: number;
  /** Bytes written and not yet acknowledged by the peer. */
  readonly writableLength: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** What the application sent along that had it before; empty for a new connection. */
  readonly state: Uint8Array;
  /** At most one listener; events that happened before are delivered on the next turn. */
  listen(events: ConnectionEvents): void;
  /** Copies up to `into.length` unread bytes and consumes them; returns how many, 0 when none. */
  read(into: Uint8Array): number;
  /**
   * Like read, without a copy: `look` is called with each piece of at most `most` unread bytes, in their order. A
   * piece is the stack's own memory: good until `look` returns, not to be written to. Only then are the bytes
   * consumed, those that `look` threw at excepted: meanwhile nothing else can be read, and who lets go resets.
   */
  consume(most: number, look: (piece: Uint8Array) => void): number;
  /** Like read, from `offset` unread bytes on, and consumes nothing. */
  peek(into: Uint8Array, offset: number): number;
  /** Takes as many bytes as the send buffer has space for; returns how many. */
  write(from: Uint8Array): number;
  /** FIN after everything written. */
  shutdown(): void;
  /** RST; no event follows. */
  abort(): void;
  /**
   * The application lets go: unread data at this point means RST (RFC 9293 3.10.4), else a FIN follows
   * what was written. Called exactly once, also after `closed`, unless `abort` was; no event follows.
   */
  close(): void;
  /** Gives it to another node. Until the outcome is told there is no second move. */
  migrate(request: MoveRequest): void;
  /** `readiness` may have changed to "ready": the node asks if it wants to move the connection. */
  offer(): void;
  setNoDelay(on: boolean): void;
  /** Idle time before probes in milliseconds, 0: off. */
  setKeepAlive(idleMs: number): void;
}
