/**
 * Parses a complete TLS ClientHello message. Knows its structure and the two extensions that routing
 * needs, and skips every other one (GREASE, ECH, key shares of any size); must not know records.
 * RFC 8446 4.1.2, 4.2; RFC 6066 3; RFC 7301 3.1; RFC 8701 (GREASE).
 */
import { text } from "./bytes.ts";
import { NAME_MAX, normalName } from "./name.ts";
import { Alert } from "./reply.ts";
import type { AlertCode } from "./reply.ts";

export type HelloResult =
  | { readonly kind: "hello"; readonly serverName: string; readonly alpn: readonly string[] }
  | { readonly kind: "refused"; readonly alert: AlertCode; readonly reason: string };

const RANDOM_LEN = 32;
const SESSION_ID_MAX = 32;
const EXTENSION_SERVER_NAME = 0;
const EXTENSION_ALPN = 16;
const NAME_TYPE_HOST = 0;

/** @param body of the handshake message, without its 4-byte header */
export function parseHello(body: Uint8Array): HelloResult {
  const cursor = new Cursor(body);
  cursor.skip(2 + RANDOM_LEN); // legacy_version is for the backend to judge
  const sessionId = cursor.vector(1);
  const ciphers = cursor.vector(2);
  const compressions = cursor.vector(1);
  if (!cursor.ok) return malformed("is truncated");
  if (sessionId.length > SESSION_ID_MAX) return malformed("has a session identifier too long");
  if (ciphers.length < 2 || ciphers.length % 2 !== 0) return malformed("has no cipher suites");
  if (compressions.length < 1) return malformed("has no compression methods");
  // TLS 1.2 and older may end here (RFC 5246 7.4.1.2).
  if (cursor.left === 0) return { kind: "hello", serverName: "", alpn: [] };
  const extensions = cursor.vector(2);
  if (!cursor.ok || cursor.left > 0) return malformed("has a wrong length of extensions");
  return parseExtensions(new Cursor(extensions));
}

function parseExtensions(cursor: Cursor): HelloResult {
  const seen = new Set<number>();
  let serverName = "";
  let alpn: readonly string[] = [];
  while (cursor.left > 0) {
    const type = cursor.number(2);
    const data = cursor.vector(2);
    if (!cursor.ok) return malformed("has a truncated extension");
    if (seen.has(type)) return illegal(`repeats extension ${type}`);
    seen.add(type);
    if (type === EXTENSION_SERVER_NAME) {
      const found = parseServerName(data);
      if (typeof found !== "string") return found;
      serverName = found;
    } else if (type === EXTENSION_ALPN) {
      const found = parseAlpn(data);
      if (found === undefined) return malformed("has a malformed ALPN extension");
      alpn = found;
    }
  }
  return { kind: "hello", serverName, alpn };
}

function parseServerName(data: Uint8Array): string | HelloResult {
  const outer = new Cursor(data);
  const list = new Cursor(outer.vector(2));
  if (!outer.ok || outer.left > 0 || list.left === 0)
    return malformed("has a malformed server_name");
  let name: string | undefined;
  while (list.left > 0) {
    const type = list.number(1);
    const value = list.vector(2); // every name type begins with a length (RFC 6066 3)
    if (!list.ok || value.length === 0) return malformed("has a malformed server_name");
    if (type !== NAME_TYPE_HOST) continue;
    if (name !== undefined) return illegal("has two host names");
    name = value.length <= NAME_MAX + 1 ? normalName(text(value)) : undefined;
    if (name === undefined) return illegal("has a server name that is no host name");
  }
  return name ?? "";
}

function parseAlpn(data: Uint8Array): string[] | undefined {
  const outer = new Cursor(data);
  const list = new Cursor(outer.vector(2));
  if (!outer.ok || outer.left > 0 || list.left === 0) return undefined;
  const names: string[] = [];
  while (list.left > 0) {
    const name = list.vector(1);
    if (!list.ok || name.length === 0) return undefined;
    names.push(text(name));
  }
  return names;
}

function malformed(what: string): HelloResult {
  return { kind: "refused", alert: Alert.decodeError, reason: `ClientHello ${what}` };
}

function illegal(what: string): HelloResult {
  return { kind: "refused", alert: Alert.illegalParameter, reason: `ClientHello ${what}` };
}

/** Reads big-endian numbers and vectors; once out of bounds it stays not `ok` and yields nothing. */
class Cursor {
  ok = true;
  private at = 0;
  private readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get left(): number {
    return this.bytes.length - this.at;
  }

  skip(count: number): void {
    this.take(count);
  }

  number(width: number): number {
    return this.take(width).reduce((value, byte) => value * 256 + byte, 0);
  }

  /** Bytes behind a length of `width` bytes. */
  vector(width: number): Uint8Array {
    return this.take(this.number(width));
  }

  private take(count: number): Uint8Array {
    if (!this.ok || count > this.left) {
      this.ok = false;
      return this.bytes.subarray(0, 0);
    }
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
}
