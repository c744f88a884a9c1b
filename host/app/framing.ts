/**
 * Where the messages of one direction of an HTTP/1 connection begin and end. Knows framing (RFC 9112 6, 7.1)
 * and nothing of connections or what is asked for. Strict on purpose: what two readers could take in two
 * ways ends the reading for good, since a wrong boundary would cut a message in two. Hostile input is no
 * exception and costs at most HEAD_MAX bytes of memory.
 */

/** Bytes of a head, of a trailer section, or of one line of a chunked body. */
export const HEAD_MAX = 65_536;
/** RFC 9112 2.2: empty lines before a message's first line. */
const EMPTY_LINES_MAX = 4;
const LF = 0x0a;

/** What framing needs of a head; names of fields are lower-case. */
export interface Head {
  readonly firstLine: string;
  /** Values of fields that matter, in order; others are not kept. */
  readonly fields: ReadonlyMap<string, readonly string[]>;
}

/** How the body after a head ends: after so many bytes, by its own last chunk, or nobody can tell. */
export type BodyLength = number | "chunked" | { readonly opaque: string };

export interface FramingEvents {
  /** A head is complete; says how its body ends. */
  head(head: Head): BodyLength;
  /** Its body is complete, too. */
  message(): void;
}

const KEPT: ReadonlySet<string> = new Set(["content-length", "transfer-encoding", "connection"]);

type Phase = "start" | "fields" | "body" | "chunk-size" | "chunk-end" | "trailers";

export class Framing {
  readonly #events: FramingEvents;
  #phase: Phase = "start";
  /** The line so far; it may come in pieces. */
  #line = "";
  #headBytes = 0;
  #emptyLines = 0;
  #firstLine = "";
  #fields = new Map<string, string[]>();
  /** Bytes of the body or of the chunk that are still to come. */
  #left = 0;
  #isChunked = false;
  #opaque: string | undefined = undefined;
  #isAtEnd = false;

  constructor(events: FramingEvents) {
    this.#events = events;
  }

  /** Why nothing more can be said of this direction. */
  get opaque(): string | undefined {
    return this.#opaque;
  }

  /** No message has begun that is not complete. */
  get isBetween(): boolean {
    return this.#opaque === undefined && this.#phase === "start" && this.#line === "";
  }

  give(reason: string): void {
    this.#opaque ??= reason;
    this.#line = "";
    this.#fields.clear();
  }

  /** The next bytes of the direction, in order, however they are cut. */
  take(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length && this.#opaque === undefined) {
      at = this.#phase === "body" ? this.#skip(bytes, at) : this.#readLine(bytes, at);
    }
  }

  /** The same, but no byte behind the end of a message; returns how many were taken, all once it is opaque. */
  takeMessage(bytes: Uint8Array): number {
    let at = 0;
    this.#isAtEnd = false;
    while (at < bytes.length && !this.#isAtEnd && this.#opaque === undefined) {
      at = this.#phase === "body" ? this.#skip(bytes, at) : this.#readLine(bytes, at);
    }
    return this.#opaque === undefined ? at : bytes.length;
  }

  #skip(bytes: Uint8Array, at: number): number {
    const count = Math.min(this.#left, bytes.length - at);
    this.#left -= count;
    if (this.#left === 0) this.#bodyEnd();
    return at + count;
  }

  #bodyEnd(): void {
    if (this.#isChunked) this.#phase = "chunk-end";
    else this.#complete();
  }

  /** A whole line goes to the phase it belongs to; a part of one is kept. */
  #readLine(bytes: Uint8Array, at: number): number {
    const found = bytes.indexOf(LF, at);
    const end = found < 0 ? bytes.length : found + 1;
    this.#headBytes += end - at;
    if (this.#headBytes > HEAD_MAX) {
      this.give(`more than ${HEAD_MAX} bytes of head`);
      return end;
    }
    this.#line += latin1(bytes.subarray(at, end));
    if (found < 0) return end;
    const line = this.#line;
    this.#line = "";
    // A lone LF, a CR elsewhere, or a control character: readers differ about them.
    if (/^[\t\x20-\x7e\x80-\xff]*\r\n$/.test(line)) this.#takeLine(line.slice(0, -2));
    else this.give("a malformed line");
    return end;
  }

  #takeLine(line: string): void {
    switch (this.#phase) {
      case "start":
        return this.#start(line);
      case "fields":
        return line === "" ? this.#headEnd() : this.#field(line);
      case "chunk-size":
        return this.#chunkSize(line);
      case "chunk-end":
        if (line !== "") return this.give("a chunk that is longer than it says");
        this.#headBytes = 0;
        this.#phase = "chunk-size";
        return;
      case "trailers":
        if (line === "") this.#complete();
        else if (!FIELD.test(line)) this.give("a malformed trailer");
        return;
      case "body":
        return;
    }
  }

  #start(line: string): void {
    if (line !== "") {
      this.#firstLine = line;
      this.#phase = "fields";
      return;
    }
    if (++this.#emptyLines > EMPTY_LINES_MAX) this.give("nothing but empty lines");
    this.#headBytes = 0;
  }

  #field(line: string): void {
    const match = FIELD.exec(line);
    if (!match) return this.give("a malformed field");
    const [, name = "", value = ""] = match;
    const key = name.toLowerCase();
    if (!KEPT.has(key)) return;
    const values = this.#fields.get(key) ?? [];
    values.push(value.trim());
    this.#fields.set(key, values);
  }

  #headEnd(): void {
    const length = this.#events.head({ firstLine: this.#firstLine, fields: this.#fields });
    if (this.#opaque !== undefined) return;
    this.#fields = new Map();
    this.#firstLine = "";
    this.#headBytes = 0;
    this.#isChunked = length === "chunked";
    if (typeof length === "object") this.give(length.opaque);
    else if (length === "chunked") this.#phase = "chunk-size";
    else if (length === 0) this.#complete();
    else {
      this.#left = length;
      this.#phase = "body";
    }
  }

  #chunkSize(line: string): void {
    const match = /^([0-9a-f]{1,12})[\t ]*(;.*)?$/i.exec(line);
    if (!match) return this.give("a malformed chunk");
    this.#left = parseInt(match[1] ?? "", 16);
    this.#headBytes = 0;
    this.#phase = this.#left === 0 ? "trailers" : "body";
  }

  #complete(): void {
    this.#phase = "start";
    this.#headBytes = 0;
    this.#emptyLines = 0;
    this.#isAtEnd = true;
    this.#events.message();
  }
}

/** RFC 9112 5: no blank before the colon, none in front of the name. */
const FIELD = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):(.*)$/;

/**
 * RFC 9112 6.3 for what both kinds of messages have in common; undefined: the head says nothing of a body.
 * A message that says two things is a smuggler's, or broken.
 */
export function declaredLength({ fields }: Head): BodyLength | undefined {
  const codings = fields.get("transfer-encoding");
  const lengths = fields.get("content-length");
  if (codings !== undefined) {
    const coding = codings.join().toLowerCase();
    if (lengths !== undefined) return { opaque: "both Transfer-Encoding and Content-Length" };
    return coding === "chunked" ? "chunked" : { opaque: "a transfer coding that is not chunked" };
  }
  if (lengths === undefined) return undefined;
  const [first = ""] = lengths;
  // 15 digits are a safe integer.
  if (lengths.length > 1 || !/^\d{1,15}$/.test(first)) return { opaque: "a malformed length" };
  return Number(first);
}

/** An option of the Connection field, in lower case. */
export function hasConnectionOption({ fields }: Head, option: string): boolean {
  const options = (fields.get("connection") ?? []).join().toLowerCase().split(",");
  return options.some((each) => each.trim() === option);
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}
