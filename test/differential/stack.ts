/**
 * A TCP with an application on top, as a script sees it: packets in and out on one side, the calls of an
 * application on the other. Two things are one: the Linux kernel (linux.ts) and the core (baton.ts). Each
 * stack serves one script and holds one connection at a time.
 */
import type { Address, TcpPacket } from "../support/packet.ts";

export interface Sent {
  /** Milliseconds, on the stack's own clock. */
  at: number;
  packet: TcpPacket;
}

/** Settings of the application's socket, given before the handshake. */
export interface SocketOptions {
  noDelay?: boolean;
  /** Seconds of idle time and between probes, and how many probes. */
  keepAlive?: { idle: number; interval: number; probes: number };
  userTimeoutMs?: number;
  /** Bytes that the application is willing to have waiting, about. */
  receiveBuffer?: number;
}

export interface Stack {
  readonly family: 4 | 6;
  readonly peer: Address;
  readonly peerPort: number;
  readonly local: Address;
  readonly localPort: number;
  /** Milliseconds. */
  now(): number;
  /** Lets time pass; what is sent meanwhile is kept for `take`. */
  pass(ms: number): Promise<void>;
  /** Hands over one packet; what it causes at once is there for `take` when this returns. */
  inject(packet: Uint8Array): void;
  take(): Sent[];

  listen(): void;
  connect(): void;
  /** Takes the connection that waits; false: none does. */
  accept(): boolean;
  /** The connection's state in RFC 9293's words; CLOSED for TIME-WAIT and everything that is over. */
  state(): string;
  /** Bytes of the `count` that were taken, or why none was. The last one may be urgent. */
  write(count: number, urgent: boolean): number | string;
  /** `N bytes`, `end`, `nothing`, or why the connection is no more. */
  read(limit: number): string;
  /** No more from this side. */
  shutdown(): void;
  /** The application lets go. */
  close(): void;
  /** The application lets go and wants the peer reset. */
  abort(): void;
  /** Gives everything back. */
  end(): void;
}
