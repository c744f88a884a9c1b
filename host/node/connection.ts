/**
 * A live TCP connection of this node's stack, as applications see it. Knows bytes and half-closes; must
 * not know packets. node/ implements it over the core; app/ turns it into a Duplex or splices it.
 */
export interface ConnectionAddress {
  readonly address: string;
  readonly port: number;
  readonly family: 4 | 6;
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
   * an error everything written was acknowledged. Codes: ECONNRESET, ETIMEDOUT, ECONNABORTED.
   */
  closed(error?: { readonly code: string; readonly message: string }): void;
}

export interface Connection {
  /** Unique within the node's life. */
  readonly id: number;
  readonly remote: ConnectionAddress;
  readonly local: ConnectionAddress;
  /** Bytes that can be read now. */
  readonly readableLength: number;
  /** Bytes written and not yet acknowledged by the peer. */
  readonly writableLength: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** At most one listener; events that happened before are delivered on the next turn. */
  listen(events: ConnectionEvents): void;
  /** Copies up to `into.length` unread bytes and consumes them; returns how many, 0 when none. */
  read(into: Uint8Array): number;
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
  setNoDelay(on: boolean): void;
  /** Idle time before probes in milliseconds, 0: off. */
  setKeepAlive(idleMs: number): void;
}
