/**
 * The pcapng file format, both directions: what Wireshark opens. Knows blocks; must not know what a
 * packet says. IETF draft-ietf-opsawg-pcapng. Little-endian. Frames are IP packets; in the file an empty
 * Ethernet header stands before each, because libpcap (1.10) takes RAW from one interface of a file only.
 */
import { BatonError } from "../errors.ts";

const SECTION = 0x0a0d0d0a;
const INTERFACE = 1;
const STATISTICS = 5;
const PACKET = 6;
const BYTE_ORDER = 0x1a2b3c4d;
const LINKTYPE_ETHERNET = 1;
const ETHERNET_BYTES = 14;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const NANOSECONDS = 9;
/** Larger than any block we write; a longer one is no capture of ours. */
const BLOCK_MAX = 1 << 20;

export interface Frame {
  /** Seconds and nanoseconds since 1970. */
  readonly seconds: number;
  readonly nanoseconds: number;
  /** Index of its interface block, from 0. */
  readonly interface: number;
  readonly direction: "in" | "out" | "unknown";
  /** Before it was cut. */
  readonly length: number;
  /** For people; undefined: none. */
  readonly comment?: string | undefined;
  readonly bytes: Uint8Array;
}

export function sectionBlock(): Uint8Array {
  return block(SECTION, 16, (_, view) => {
    view.setUint32(0, BYTE_ORDER, true);
    view.setUint16(4, 1, true);
    view.setBigInt64(8, -1n, true);
  });
}

export function interfaceBlock(name: string, snapLen: number): Uint8Array {
  const text = new TextEncoder().encode(name);
  return block(INTERFACE, 8 + 4 + pad(text.length) + 8 + 4, (body, view) => {
    view.setUint16(0, LINKTYPE_ETHERNET, true);
    view.setUint32(4, snapLen + ETHERNET_BYTES, true);
    option(view, 8, 2, text.length);
    body.set(text, 12);
    option(view, 12 + pad(text.length), 9, 1);
    body[16 + pad(text.length)] = NANOSECONDS;
  });
}

export function packetBlock(frame: Frame): Uint8Array {
  const captured = ETHERNET_BYTES + frame.bytes.length;
  const isV4 = (frame.bytes[0] ?? 0) >> 4 === 4;
  const comment = new TextEncoder().encode(frame.comment ?? "");
  const noted = comment.length === 0 ? 0 : 4 + pad(comment.length);
  const room = pad(captured);
  return block(PACKET, 20 + room + noted + 8 + 4, (body, view) => {
    const time = BigInt(frame.seconds) * 1_000_000_000n + BigInt(frame.nanoseconds);
    view.setUint32(0, frame.interface, true);
    view.setUint32(4, Number(time >> 32n), true);
    view.setUint32(8, Number(time & 0xffff_ffffn), true);
    view.setUint32(12, captured, true);
    view.setUint32(16, ETHERNET_BYTES + frame.length, true);
    view.setUint16(20 + ETHERNET_BYTES - 2, isV4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
    body.set(frame.bytes, 20 + ETHERNET_BYTES);
    if (noted > 0) option(view, 20 + room, 1, comment.length);
    body.set(comment, 20 + room + Math.min(noted, 4));
    const at = 20 + room + noted;
    option(view, at, 2, 4);
    view.setUint32(at + 4, ["unknown", "in", "out"].indexOf(frame.direction), true);
  });
}

/** Says how many packets were received, and how many of these the kernel had no room for. */
export function statisticsBlock(received: number, dropped: number): Uint8Array {
  return block(STATISTICS, 12 + 12 + 12 + 4, (_, view) => {
    option(view, 12, 4, 8);
    view.setBigUint64(16, BigInt(received), true);
    option(view, 24, 5, 8);
    view.setBigUint64(28, BigInt(dropped), true);
  });
}

/** What a reader is told, in the order of the file. */
export interface Handler {
  onStart?(): void;
  onInterface?(index: number, name: string): void;
  onFrame?(frame: Frame): void;
  onStatistics?(received: number, dropped: number): void;
}

/** Takes a capture in pieces of any size. Throws ERR_BATON_CAPTURE on what is none. */
export class PcapngReader {
  readonly #handler: Handler;
  #rest: Uint8Array = new Uint8Array(0);
  #interfaces = 0;

  constructor(handler: Handler) {
    this.#handler = handler;
  }

  push(chunk: Uint8Array): void {
    let bytes = chunk;
    if (this.#rest.length > 0) {
      bytes = new Uint8Array(this.#rest.length + chunk.length);
      bytes.set(this.#rest);
      bytes.set(chunk, this.#rest.length);
    }
    let at = 0;
    while (bytes.length - at >= 12) {
      const view = new DataView(bytes.buffer, bytes.byteOffset + at);
      const length = view.getUint32(4, true);
      if (length < 12 || length > BLOCK_MAX || length % 4 !== 0) {
        throw malformed("a block length", length);
      }
      if (bytes.length - at < length) break;
      if (view.getUint32(length - 4, true) !== length) throw malformed("equal lengths", length);
      this.#take(view.getUint32(0, true), new Uint8Array(bytes.subarray(at + 8, at + length - 4)));
      at += length;
    }
    // Copied: a Buffer's own slice would share memory that the caller reuses.
    this.#rest = new Uint8Array(bytes.subarray(at));
  }

  /** Bytes of a block that has not ended: 0 at the end of a whole file. */
  get pending(): number {
    return this.#rest.length;
  }

  #take(type: number, body: Uint8Array): void {
    const view = new DataView(body.buffer);
    if (type === SECTION) {
      const order = body.length < 16 ? 0 : view.getUint32(0, true);
      if (order !== BYTE_ORDER) throw malformed("little-endian byte order", order);
      this.#interfaces = 0;
      this.#handler.onStart?.();
    } else if (type === INTERFACE && body.length >= 8) {
      const name = new TextDecoder().decode(options(body, 8).get(2) ?? new Uint8Array(0));
      this.#handler.onInterface?.(this.#interfaces, name);
      this.#interfaces += 1;
    } else if (type === PACKET && body.length >= 20) {
      this.#handler.onFrame?.(readFrame(body, view));
    } else if (type === STATISTICS && body.length >= 12) {
      const found = options(body, 12);
      this.#handler.onStatistics?.(counter(found.get(4)), counter(found.get(5)));
    }
  }
}

function readFrame(body: Uint8Array, view: DataView): Frame {
  const captured = view.getUint32(12, true);
  if (captured < ETHERNET_BYTES || 20 + captured > body.length) {
    throw malformed(`${captured} bytes of packet`, body.length);
  }
  const time = (BigInt(view.getUint32(4, true)) << 32n) | BigInt(view.getUint32(8, true));
  const found = options(body, 20 + pad(captured));
  const flags = found.get(2);
  const comment = found.get(1);
  return {
    seconds: Number(time / 1_000_000_000n),
    nanoseconds: Number(time % 1_000_000_000n),
    interface: view.getUint32(0, true),
    direction: (["unknown", "in", "out"] as const)[(flags?.[0] ?? 0) & 3] ?? "unknown",
    length: view.getUint32(16, true) - ETHERNET_BYTES,
    ...(comment ? { comment: new TextDecoder().decode(comment) } : {}),
    bytes: body.subarray(20 + ETHERNET_BYTES, 20 + captured),
  };
}

function options(body: Uint8Array, from: number): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  for (let at = from; at + 4 <= body.length;) {
    const code = view.getUint16(at, true);
    const length = view.getUint16(at + 2, true);
    if (code === 0 || at + 4 + length > body.length) break;
    found.set(code, body.subarray(at + 4, at + 4 + length));
    at += 4 + pad(length);
  }
  return found;
}

function counter(bytes: Uint8Array | undefined): number {
  if (bytes?.length !== 8) return 0;
  return Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
}

function block(
  type: number,
  bodyLen: number,
  fill: (body: Uint8Array, view: DataView) => unknown,
): Uint8Array {
  const bytes = new Uint8Array(bodyLen + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, bytes.length, true);
  view.setUint32(bytes.length - 4, bytes.length, true);
  fill(bytes.subarray(8, 8 + bodyLen), new DataView(bytes.buffer, 8, bodyLen));
  return bytes;
}

function option(view: DataView, at: number, code: number, length: number): void {
  view.setUint16(at, code, true);
  view.setUint16(at + 2, length, true);
}

function pad(length: number): number {
  return (length + 3) & ~3;
}

function malformed(expected: string, got: number): BatonError {
  return new BatonError("ERR_BATON_CAPTURE", `pcapng: expected ${expected}, got ${got}`);
}
