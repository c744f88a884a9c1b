/**
 * Reads the first bytes of a connection: recognises the protocol from as few of them as it takes, then
 * lets that protocol's reader go on. Knows which bytes begin which protocol; must not know rules.
 */
import { CR, isTokenByte } from "./bytes.ts";
import { HttpHeadReader } from "./http.ts";
import type { HttpResult } from "./http.ts";
import { httpReply, silentReply, tlsReply } from "./reply.ts";
import type { ReadResult, RequestReader } from "./route.ts";
import { ClientHelloReader } from "./tls.ts";
import type { TlsResult } from "./tls.ts";

/** What a client that says nothing at all is taken for. */
export type Silence = "http" | "tls" | "other";

const TLS_HANDSHAKE = 22;
const TLS_MAJOR = 3;

const MORE: ReadResult = { kind: "more" };
const OTHER: ReadResult = { kind: "head", head: { protocol: "other" } };

export class FirstBytesReader implements RequestReader {
  private readonly silence: Silence;
  private http: HttpHeadReader | undefined;
  private tls: ClientHelloReader | undefined;
  private result: ReadResult = MORE;

  constructor(silence: Silence) {
    this.silence = silence;
  }

  read(bytes: Uint8Array): ReadResult {
    if (this.result.kind !== "more") return this.result;
    if (!this.http && !this.tls) this.detect(bytes);
    if (this.http) this.result = fromHttp(this.http.read(bytes));
    else if (this.tls) this.result = fromTls(this.tls.read(bytes));
    return this.result;
  }

  expire(): ReadResult {
    if (this.result.kind !== "more") return this.result;
    if (this.tls) this.result = fromTls(this.tls.expire());
    else if (this.http) this.result = fromHttp(this.http.expire());
    else if (this.silence === "http") this.result = fromHttp(new HttpHeadReader().expire());
    else if (this.silence === "tls") this.result = fromTls(new ClientHelloReader().expire());
    else this.result = OTHER;
    return this.result;
  }

  private detect(bytes: Uint8Array): void {
    const [first, second] = bytes;
    if (first === undefined) return;
    if (first === CR || isTokenByte(first)) {
      this.http = new HttpHeadReader();
    } else if (first !== TLS_HANDSHAKE) {
      this.result = OTHER;
    } else if (second === TLS_MAJOR) {
      this.tls = new ClientHelloReader();
    } else if (second !== undefined) {
      this.result = OTHER;
    }
  }
}

function fromHttp(result: HttpResult): ReadResult {
  switch (result.kind) {
    case "more":
      return MORE;
    case "foreign":
      return OTHER;
    case "head": {
      const { method, path, host } = result;
      return { kind: "head", head: { protocol: "http", method, path, host } };
    }
    case "refused": {
      const { status, reason, method } = result;
      return { kind: "reject", reason: `${status}: ${reason}`, ...httpReply(status, method) };
    }
  }
}

function fromTls(result: TlsResult): ReadResult {
  switch (result.kind) {
    case "more":
      return MORE;
    case "hello": {
      const { serverName, alpn } = result;
      return { kind: "head", head: { protocol: "tls", serverName, alpn } };
    }
    case "refused": {
      const reply = result.alert === undefined ? silentReply() : tlsReply(result.alert);
      return { kind: "reject", reason: result.reason, ...reply };
    }
  }
}
