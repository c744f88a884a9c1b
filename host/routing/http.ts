/**
 * Reads the head of an HTTP/1 request, incrementally: each byte is looked at once, however the head is
 * cut. Knows the syntax of RFC 9112 and takes no liberty that a server behind might take differently:
 * no bare CR or LF, no obs-fold, no space before a colon. Must not know rules or backends.
 * RFC 9112 2.2, 3, 5; RFC 9110 4.2, 7.2.
 */
import { CR, COLON, FIELD_CHAR, HTAB, LF, SP, TARGET_CHAR, TCHAR } from "./bytes.ts";
import { isTokenByte, spanEnd, text } from "./bytes.ts";
import { authorityName } from "./name.ts";
import type { HttpStatus } from "./reply.ts";

/** Bytes of the whole head, empty lines before it and the one after it included. */
export const HTTP_HEAD_MAX = 16_384;
/** Bytes of the request line without its end; RFC 9112 3 asks for 8,000 at least. */
export const REQUEST_LINE_MAX = 8_192;
export const FIELDS_MAX = 100;
/** Longest method; the longest registered one has 17 bytes. */
export const METHOD_MAX = 32;
/** RFC 9112 2.2: a server ought to ignore at least one empty line before the request line. */
export const EMPTY_LINES_MAX = 4;

export type HttpResult =
  | { readonly kind: "more" }
  | {
      readonly kind: "head";
      readonly method: string;
      readonly path: string;
      readonly host: string;
    }
  /** Not HTTP/1: the first line is none, and its first word is no common method. */
  | { readonly kind: "foreign" }
  | {
      readonly kind: "refused";
      readonly status: HttpStatus;
      readonly reason: string;
      readonly method: string;
    };

const MORE: HttpResult = { kind: "more" };
const FOREIGN: HttpResult = { kind: "foreign" };

/** A line that starts with one of these and is malformed deserves an answer in HTTP. */
const METHODS = [
  ..."GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH".split(" "),
  ..."PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK REPORT SEARCH".split(" "),
];

/** "d" stands for a digit. */
const VERSION = "HTTP/d.d";

enum Phase {
  Start,
  EmptyLine,
  Method,
  Target,
  Version,
  LineEnd,
  FieldStart,
  Name,
  Value,
  FieldEnd,
  HeadEnd,
}

export class HttpHeadReader {
  private phase = Phase.Start;
  private result: HttpResult | undefined;
  /** Everything before it has been looked at. */
  private at = 0;
  /** Where the current element (method, target, version, name, value) began. */
  private from = 0;
  private emptyLines = 0;
  private lineFrom = 0;
  private method = "";
  private known = false;
  private target = "";
  private version = "";
  private fields = 0;
  private isHost = false;
  private host: string | undefined;

  /** @param bytes everything received so far, from the first byte on */
  read(bytes: Uint8Array): HttpResult {
    const end = Math.min(bytes.length, HTTP_HEAD_MAX);
    while (this.result === undefined) {
      this.at = this.skipSpan(bytes, end);
      if (this.at >= end) break;
      if (this.phase <= Phase.LineEnd) this.requestLine(bytes, bytes[this.at] ?? 0);
      else this.fieldLine(bytes, bytes[this.at] ?? 0);
      this.at++;
    }
    if (this.result === undefined && this.at >= HTTP_HEAD_MAX) {
      this.refuse(431, `head exceeds ${HTTP_HEAD_MAX} bytes`);
    }
    return this.result ?? MORE;
  }

  /** No more bytes will be waited for. */
  expire(): HttpResult {
    if (this.result !== undefined) return this.result;
    const begun = METHODS.some((method) => method.startsWith(this.method));
    this.known ||= this.phase <= Phase.Method && begun;
    if (this.phase <= Phase.LineEnd) this.badLine(408, "the request line did not arrive in time");
    else this.refuse(408, "the head did not arrive in time");
    return this.result ?? MORE;
  }

  /** Passes over what the current element consists of; its end is for the callers to judge. */
  private skipSpan(bytes: Uint8Array, end: number): number {
    switch (this.phase) {
      case Phase.Target: {
        const lineEnd = this.lineFrom + REQUEST_LINE_MAX + 1;
        return spanEnd(bytes, this.at, Math.min(end, lineEnd), TARGET_CHAR);
      }
      case Phase.Name:
        return spanEnd(bytes, this.at, end, TCHAR);
      case Phase.Value:
        return spanEnd(bytes, this.at, end, FIELD_CHAR);
      default:
        return this.at;
    }
  }

  private requestLine(bytes: Uint8Array, byte: number): void {
    const isLong = this.phase > Phase.Method && this.at - this.lineFrom > REQUEST_LINE_MAX;
    if (isLong && this.phase !== Phase.LineEnd)
      return this.badLine(414, "request line is too long");
    switch (this.phase) {
      case Phase.Start:
        return this.start(byte);
      case Phase.EmptyLine:
        if (byte !== LF || ++this.emptyLines > EMPTY_LINES_MAX) return this.badLine(400, "CR");
        this.phase = Phase.Start;
        return;
      case Phase.Method:
        return this.methodByte(byte);
      case Phase.Target:
        if (byte !== SP) return this.badLine(400, "request line is malformed");
        this.target = text(bytes, this.from, this.at);
        if (this.target === "") return this.badLine(400, "request target is empty");
        this.enter(Phase.Version);
        return;
      case Phase.Version:
        return this.versionByte(bytes, byte);
      default:
        if (byte !== LF) return this.badLine(400, "CR without LF in the request line");
        return this.endLine();
    }
  }

  private start(byte: number): void {
    if (byte === CR) {
      this.phase = Phase.EmptyLine;
      return;
    }
    this.lineFrom = this.at;
    this.phase = Phase.Method;
    this.methodByte(byte);
  }

  private methodByte(byte: number): void {
    if (isTokenByte(byte) && this.method.length < METHOD_MAX) {
      this.method += String.fromCharCode(byte);
      return;
    }
    this.known = METHODS.includes(this.method);
    if (byte !== SP || this.method === "") return this.badLine(400, "method is malformed");
    this.enter(Phase.Target);
  }

  private versionByte(bytes: Uint8Array, byte: number): void {
    const index = this.at - this.from;
    if (index === VERSION.length) {
      if (byte !== CR) return this.badLine(400, "HTTP version is malformed");
      this.version = text(bytes, this.from, this.at);
      this.phase = Phase.LineEnd;
      return;
    }
    const wanted = VERSION[index] ?? "";
    const isDigit = byte >= 0x30 && byte <= 0x39;
    const fits = wanted === "d" ? isDigit : byte === wanted.charCodeAt(0);
    if (!fits) this.badLine(400, "HTTP version is malformed");
  }

  private endLine(): void {
    // The preface of HTTP/2 with prior knowledge (RFC 9113 3.4) is another protocol's first line.
    if (this.method === "PRI" && this.target === "*" && this.version === "HTTP/2.0") {
      this.result = FOREIGN;
    } else if (!this.version.startsWith("HTTP/1.")) {
      this.badLine(505, `expected HTTP/1.x, got ${this.version}`);
    } else {
      this.phase = Phase.FieldStart;
    }
  }

  private fieldLine(bytes: Uint8Array, byte: number): void {
    switch (this.phase) {
      case Phase.FieldStart:
        if (byte === CR) {
          this.phase = Phase.HeadEnd;
          return;
        }
        if (byte === SP || byte === HTAB) return this.refuse(400, "folded header line");
        if (++this.fields > FIELDS_MAX) return this.refuse(431, `more than ${FIELDS_MAX} fields`);
        this.from = this.at;
        this.phase = Phase.Name;
        if (!isTokenByte(byte)) this.refuse(400, "field name is malformed");
        return;
      case Phase.Name:
        if (byte !== COLON) return this.refuse(400, "field name is malformed");
        this.isHost = this.at - this.from === 4 && isHostName(text(bytes, this.from, this.at));
        this.enter(Phase.Value);
        return;
      case Phase.Value:
        if (byte !== CR) return this.refuse(400, "field value holds a forbidden character");
        this.phase = Phase.FieldEnd;
        if (this.isHost) this.hostField(fieldValue(bytes, this.from, this.at));
        return;
      case Phase.FieldEnd:
        if (byte !== LF) return this.refuse(400, "CR without LF in a field");
        this.phase = Phase.FieldStart;
        return;
      default:
        if (byte !== LF) return this.refuse(400, "CR without LF after the fields");
        return this.finish();
    }
  }

  private hostField(value: string): void {
    if (this.host !== undefined) return this.refuse(400, "more than one Host field");
    this.host = authorityName(value);
    if (this.host === undefined) this.refuse(400, "Host field is malformed");
  }

  /** RFC 9112 3.2: what the request is for. */
  private finish(): void {
    if (this.version !== "HTTP/1.0" && !this.host) {
      return this.refuse(400, this.host === "" ? "Host field is empty" : "Host field is missing");
    }
    const found = readTarget(this.method, this.target);
    if (found === undefined) return this.refuse(400, "request target is malformed");
    const host = found.host ?? this.host ?? "";
    this.result = { kind: "head", method: this.method, path: found.path, host };
  }

  private enter(phase: Phase): void {
    this.phase = phase;
    this.from = this.at + 1;
  }

  /** An error before the line has shown that this is HTTP at all. */
  private badLine(status: HttpStatus, reason: string): void {
    if (this.known) this.refuse(status, reason);
    else this.result = FOREIGN;
  }

  private refuse(status: HttpStatus, reason: string): void {
    this.result = { kind: "refused", status, reason, method: this.method };
  }
}

function isHostName(name: string): boolean {
  return name.toLowerCase() === "host";
}

/** The value without the blanks around it. */
function fieldValue(bytes: Uint8Array, start: number, end: number): string {
  const isBlank = (index: number): boolean => bytes[index] === SP || bytes[index] === HTAB;
  while (start < end && isBlank(start)) start++;
  while (start < end && isBlank(end - 1)) end--;
  return text(bytes, start, end);
}

/** The path without query, and the host of an absolute target, which wins over the Host field. */
function readTarget(method: string, target: string): { path: string; host?: string } | undefined {
  if (method === "CONNECT") return authorityName(target) ? { path: "" } : undefined;
  if (target.startsWith("/")) return { path: withoutQuery(target) };
  if (target === "*") return method === "OPTIONS" ? { path: "*" } : undefined;
  const absolute = /^https?:\/\/([^/?]*)(.*)$/i.exec(target);
  const host = absolute ? authorityName(absolute[1] ?? "") : undefined;
  if (!absolute || !host) return undefined;
  const path = withoutQuery(absolute[2] ?? "");
  return { path: path === "" ? "/" : path, host };
}

function withoutQuery(target: string): string {
  const query = target.indexOf("?");
  return query < 0 ? target : target.slice(0, query);
}
