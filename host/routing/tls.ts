/**
 * Reads the first flight of a TLS client, incrementally: collects the ClientHello from handshake
 * fragments in records of any size, cut anywhere. Knows records and the handshake header; must not
 * know keys: nothing is decrypted, nothing but alerts is ever sent. RFC 8446 4, 5.1.
 */
import { parseHello } from "./hello.ts";
import { Alert } from "./reply.ts";
import type { AlertCode } from "./reply.ts";

/** Bytes of everything read for one ClientHello, record headers included. */
export const TLS_HEAD_MAX = 65_536;
const FRAGMENT_MAX = 16_384;
const RECORD_HEADER_LEN = 5;
const MESSAGE_HEADER_LEN = 4;
const CONTENT_ALERT = 21;
const CONTENT_HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const VERSION_MAJOR = 3;
const FIRST_CAPACITY = 2_048;

export type TlsResult =
  | { readonly kind: "more" }
  | { readonly kind: "hello"; readonly serverName: string; readonly alpn: readonly string[] }
  /** Without an alert: close without a word. */
  | { readonly kind: "refused"; readonly alert: AlertCode | undefined; readonly reason: string };

const MORE: TlsResult = { kind: "more" };

export class ClientHelloReader {
  private result: TlsResult | undefined;
  /** Everything before it has been taken over. */
  private at = 0;
  /** Bytes of the record header so far, then of the fragment still to come. */
  private headerLen = 0;
  private fragmentLeft = 0;
  /** The handshake message so far; it grows by doubling, up to the limit. */
  private message = new Uint8Array(FIRST_CAPACITY);
  private messageLen = 0;

  /** @param bytes everything received so far, from the first byte on */
  read(bytes: Uint8Array): TlsResult {
    const end = Math.min(bytes.length, TLS_HEAD_MAX);
    while (this.result === undefined && this.at < end) {
      if (this.headerLen < RECORD_HEADER_LEN) this.recordHeader(bytes[this.at++] ?? 0);
      else this.fragment(bytes.subarray(this.at, end));
    }
    if (this.result === undefined && this.at >= TLS_HEAD_MAX) this.tooLarge();
    return this.result ?? MORE;
  }

  expire(): TlsResult {
    if (this.result === undefined) this.refuse(undefined, "the ClientHello did not arrive in time");
    return this.result ?? MORE;
  }

  private recordHeader(byte: number): void {
    const index = this.headerLen++;
    if (index === 0 && byte === CONTENT_ALERT) {
      this.refuse(undefined, "the client sent an alert");
    } else if (index === 0 && byte !== CONTENT_HANDSHAKE) {
      this.refuse(Alert.unexpectedMessage, `record of type ${byte} before the ClientHello ended`);
    } else if (index === 1 && byte !== VERSION_MAJOR) {
      this.refuse(Alert.decodeError, `record version ${byte}.x`);
    } else if (index === 3) {
      this.fragmentLeft = byte * 256;
    } else if (index === 4) {
      this.fragmentLeft += byte;
      // RFC 8446 5.1: no zero-length fragments of handshake types, at most 2^14 bytes.
      if (this.fragmentLeft === 0) this.refuse(Alert.decodeError, "empty handshake record");
      if (this.fragmentLeft > FRAGMENT_MAX) {
        this.refuse(Alert.recordOverflow, `record of ${this.fragmentLeft} bytes`);
      }
    }
  }

  private fragment(available: Uint8Array): void {
    const wanted = Math.min(available.length, this.fragmentLeft, this.messageMissing());
    this.append(available.subarray(0, wanted));
    this.at += wanted;
    this.fragmentLeft -= wanted;
    if (this.fragmentLeft === 0) this.headerLen = 0;
    this.checkMessage();
  }

  /** Bytes up to the end of the message header, then up to the end of the message. */
  private messageMissing(): number {
    const header = this.messageLen < MESSAGE_HEADER_LEN;
    return (header ? MESSAGE_HEADER_LEN : this.messageEnd()) - this.messageLen;
  }

  private messageEnd(): number {
    const [, high = 0, middle = 0, low = 0] = this.message;
    return MESSAGE_HEADER_LEN + high * 65_536 + middle * 256 + low;
  }

  private append(bytes: Uint8Array): void {
    const length = this.messageLen + bytes.length;
    if (length > this.message.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.message.length));
      larger.set(this.message.subarray(0, this.messageLen));
      this.message = larger;
    }
    this.message.set(bytes, this.messageLen);
    this.messageLen = length;
  }

  private checkMessage(): void {
    const type = this.message[0] ?? 0;
    if (type !== CLIENT_HELLO) {
      return this.refuse(Alert.unexpectedMessage, `handshake message of type ${type}`);
    }
    if (this.messageLen < MESSAGE_HEADER_LEN) return;
    const end = this.messageEnd();
    if (end + RECORD_HEADER_LEN > TLS_HEAD_MAX) return this.tooLarge();
    if (this.messageLen < end) return;
    this.result = parseHello(this.message.subarray(MESSAGE_HEADER_LEN, end));
  }

  private tooLarge(): void {
    this.refuse(Alert.illegalParameter, `ClientHello exceeds ${TLS_HEAD_MAX} bytes`);
  }

  private refuse(alert: AlertCode | undefined, reason: string): void {
    this.result ??= { kind: "refused", alert, reason };
  }
}
