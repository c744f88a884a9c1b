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
  /** AES-256-GCM: ciphertext followed by the 16-byte tag. `nonce` has 12 bytes. */
  seal(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plain: Uint8Array): Uint8Array;
  /** The plaintext, or undefined when the tag does not fit. Never throws on hostile input. */
  open(
    key: Uint8Array,
    nonce: Uint8Array,
    aad: Uint8Array,
    sealed: Uint8Array,
  ): Uint8Array | undefined;
}
