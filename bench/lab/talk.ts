/**
 * What a client of the benchmark asks of a server, whatever stack serves it: one request head that the
 * forwarder can route by, then bytes in one direction until the client is done. Knows bytes, and what the
 * kernel's sockets need to be comparable.
 */
import { libc } from "../../host/linux/libc.ts";

export type Direction = "down" | "up";

/** Sent over and over; nobody looks at it. */
export const PAYLOAD = Buffer.alloc(1 << 20, "baton ");

/** `host` chooses the backend; `cubic` asks a server on the kernel's stack for CUBIC. */
export function requestHead(direction: Direction, host: string, cubic: boolean): string {
  const method = direction === "down" ? "GET" : "PUT";
  return `${method} /${direction}${cubic ? "?cubic" : ""} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
}

/** Takes the first bytes of a connection; undefined while the head has not come whole. */
export class HeadReader {
  #text = "";

  get isCubic(): boolean {
    return this.#text.includes("?cubic ");
  }

  take(bytes: Uint8Array): Direction | undefined {
    this.#text += Buffer.from(bytes).toString("latin1");
    if (!this.#text.includes("\r\n\r\n")) return undefined;
    return this.#text.startsWith("GET") ? "down" : "up";
  }
}

const IPPROTO_TCP = 6;
const TCP_CONGESTION = 13;

/** The descriptor behind a socket or a server of Node. */
export function fdOf(of: object): number {
  return (of as { readonly _handle: { readonly fd: number } })._handle.fd;
}

/** CUBIC against CUBIC, whatever this machine prefers. A namespace may not be allowed to change its default. */
export function useCubic(of: object): void {
  libc().setsockoptBytes(fdOf(of), IPPROTO_TCP, TCP_CONGESTION, Buffer.from("cubic"));
}
