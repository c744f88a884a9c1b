/**
 * Tells when an HTTP/1 connection is between two exchanges: every request was answered in full, and neither
 * side has begun another message. Only then can it be given to another server, which knows nothing of what
 * went before. Knows requests and responses (RFC 9110, RFC 9112); must not know connections, servers or who
 * wants to know. It only watches: what it cannot follow it calls opaque, for good, and passes nothing on.
 */
import { declaredLength, Framing, hasConnectionOption } from "./framing.ts";
import type { BodyLength, Head } from "./framing.ts";

/** Requests that may wait for their responses. */
export const PIPELINED_MAX = 1024;

export class HttpBoundary {
  readonly #requests: Framing;
  readonly #responses: Framing;
  /** Requests without a final response; true: HEAD, whose response has no body. */
  readonly #waiting: boolean[] = [];
  #isInterim = false;
  #exchanges = 0;
  #requestCount = 0;

  constructor() {
    this.#requests = new Framing({
      head: (head) => this.#request(head),
      message: () => void this.#requestCount++,
    });
    this.#responses = new Framing({
      head: (head) => this.#response(head),
      message: () => this.#answered(),
    });
  }

  /** Exchanges that are complete. */
  get exchanges(): number {
    return this.#exchanges;
  }

  /** Requests that the client has sent in full. */
  get requests(): number {
    return this.#requestCount;
  }

  /** Why it will never be idle again: another protocol, an end that is announced, framing that is unclear. */
  get opaque(): string | undefined {
    return this.#requests.opaque ?? this.#responses.opaque;
  }

  /** Nothing is under way in either direction, from where the caller looks. */
  get isIdle(): boolean {
    const isBetween = this.#requests.isBetween && this.#responses.isBetween;
    return isBetween && this.#waiting.length === 0;
  }

  /** The next bytes from the client, in order. */
  fromClient(bytes: Uint8Array): void {
    if (this.opaque === undefined) this.#requests.take(bytes);
  }

  /** The same up to the end of a request; returns how many bytes that are, all once it is opaque. */
  requestFromClient(bytes: Uint8Array): number {
    return this.opaque === undefined ? this.#requests.takeMessage(bytes) : bytes.length;
  }

  /** The next bytes from the server, in order; after those of the client that they answer. */
  fromServer(bytes: Uint8Array): void {
    if (this.opaque === undefined) this.#responses.take(bytes);
  }

  #request(head: Head): BodyLength {
    const match = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) \S+ HTTP\/1\.([01])$/.exec(head.firstLine);
    if (!match) return { opaque: "not HTTP/1" };
    const [, method = "", minor = ""] = match;
    if (method === "CONNECT") return { opaque: "a tunnel" };
    if (minor === "0" && head.fields.has("transfer-encoding")) {
      return { opaque: "a transfer coding in HTTP/1.0" };
    }
    if (isLast(head, minor)) return { opaque: "its end was announced" };
    if (this.#waiting.length >= PIPELINED_MAX) return { opaque: "too many requests at once" };
    this.#waiting.push(method === "HEAD");
    return declaredLength(head) ?? 0;
  }

  #response(head: Head): BodyLength {
    const match = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: .*)?$/.exec(head.firstLine);
    if (!match) return { opaque: "not HTTP/1" };
    const [, minor = "", code = ""] = match;
    const status = Number(code);
    const isHead = this.#waiting[0];
    if (isHead === undefined) return { opaque: "a response to no request" };
    if (status === 101) return { opaque: "an upgrade" };
    this.#isInterim = status < 200;
    if (this.#isInterim) return 0;
    if (isLast(head, minor)) return { opaque: "its end was announced" };
    if (isHead || status === 204 || status === 304) return 0;
    return declaredLength(head) ?? { opaque: "a response that ends with the connection" };
  }

  #answered(): void {
    if (this.#isInterim) return;
    this.#waiting.shift();
    this.#exchanges++;
  }
}

/** RFC 9112 9.3: the connection will not outlive this exchange. */
function isLast(head: Head, minor: string): boolean {
  if (hasConnectionOption(head, "close")) return true;
  return minor === "0" && !hasConnectionOption(head, "keep-alive");
}
