/**
 * The answers that the balancer itself gives: HTTP errors, TLS alerts, or a reset. Knows their bytes;
 * must not know when they are due. The same input gives the same bytes: no date, no identifier.
 * RFC 9110 15, RFC 9112 9.6; RFC 8446 6.
 */
import { asciiBytes } from "./bytes.ts";

export const HTTP_REASONS = {
  400: "Bad Request",
  404: "Not Found",
  408: "Request Timeout",
  414: "URI Too Long",
  431: "Request Header Fields Too Large",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
} as const;

export type HttpStatus = keyof typeof HTTP_REASONS;

/** AlertDescription of RFC 8446 6, those in use here. */
export const Alert = {
  unexpectedMessage: 10,
  recordOverflow: 22,
  illegalParameter: 47,
  decodeError: 50,
  internalError: 80,
  unrecognizedName: 112,
} as const;

export type AlertCode = (typeof Alert)[keyof typeof Alert];

export interface Reply {
  readonly reply: Uint8Array;
  readonly reset: boolean;
}

/** @param method of the request, where it is known: an answer to HEAD has no content */
export function httpReply(status: HttpStatus, method: string): Reply {
  const content = `${status} ${HTTP_REASONS[status]}\n`;
  const head =
    `HTTP/1.1 ${status} ${HTTP_REASONS[status]}\r\n` +
    "Content-Type: text/plain\r\n" +
    `Content-Length: ${content.length}\r\n` +
    "Connection: close\r\n\r\n";
  return { reply: asciiBytes(method === "HEAD" ? head : head + content), reset: false };
}

/** A fatal alert in a plaintext record. */
export function tlsReply(alert: AlertCode): Reply {
  return { reply: Uint8Array.of(21, 3, 3, 0, 2, 2, alert), reset: false };
}

/** Nothing but the FIN. */
export function silentReply(): Reply {
  return { reply: new Uint8Array(0), reset: false };
}

export function resetReply(): Reply {
  return { reply: new Uint8Array(0), reset: true };
}
