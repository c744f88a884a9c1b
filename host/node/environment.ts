/**
 * What the sans-IO rooms get from outside instead of importing it. Knows interfaces only; must not
 * know Node, sockets or files. The daemons hand in real ones, the simulator virtual ones.
 */

/** Time. Both clocks stand still within one turn of the loop. */
export interface Clock {
  /** Microseconds of a monotonic clock, >= 1. */
  nowUs(): number;
  /** Milliseconds since 1970, for what must agree across nodes and restarts. */
  wallMs(): number;
}

export interface Random {
  /** `length` bytes from a cryptographic source (seeded in the simulator). */
  bytes(length: number): Uint8Array;
}

export type LogLevel = "error" | "warn" | "info" | "debug";

export interface Log {
  write(level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** An address of either family, text form ("10.0.0.1", "fd00::1"), and a port. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** What the transport needs of a cipher suite; the adapter is in link/, because node:crypto is. */
export interface Cipher {
  /** HKDF-SHA256 (RFC 5869): `length` bytes. */
  hkdf(key: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array;
  /** HMAC-SHA256. */
  hmac(key: Uint8Array, data: Uint8Array): Uint8Array;
  sha256(data: Uint8Array): Uint8Array;
  /** AES-256-GCM under one key of 32 bytes, to be used for many datagrams. */
  aead(key: Uint8Array): Aead;
}

/** Authenticated encryption where the bytes already are: no object for each datagram. */
export interface Aead {
  /**
   * Encrypts data[start, end) in place and writes the 16-byte tag at `end`; data[0, start) is
   * authenticated with it. `nonce` has 12 bytes and is never used twice.
   */
  seal(nonce: Uint8Array, data: Uint8Array, start: number, end: number): void;
  /**
   * Decrypts data[start, length - 16) into `plain`, leaving `data` as it was. Returns the length, or -1
   * when the tag does not fit (`plain` then holds nothing to be read). Never throws on hostile input.
   */
  open(nonce: Uint8Array, data: Uint8Array, start: number, plain: Uint8Array): number;
  /** Gives its memory back; not used afterwards. */
  close(): void;
}
