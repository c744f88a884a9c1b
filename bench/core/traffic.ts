/**
 * Packets of random flows, drawn as they are needed: good ones, each of a flow that nobody could have guessed from the
 * one before, so that its place in a table is in no cache but by chance. bench/core/forward.c draws the same from the
 * same seed. Knows packets; must not know what becomes of them.
 */
import { ACK, buildTcp, option } from "../../test/support/packet.ts";

export const OWN = { 4: "10.9.0.1", 6: "fd09::1" };
export const PEER = { 4: "10.9.0.2", 6: "fd09::2" };
export const SERVICE = { 4: "10.0.0.100", 6: "fd00::100" };
export const SERVICE_PORT = 80;

const NOBODY = { 4: "0.0.0.0", 6: "2001:db8::" };
const FLOW_BASE = 0x00010001;

export interface TrafficOptions {
  readonly family: 4 | 6;
  /** From clients to a service, or from the peer with a flow's identifier. */
  readonly decapsulate: boolean;
  readonly flows: number;
}

/** Client `index`: addresses and ports scattered like a hash's, different for every index. */
export function client(index: number): { word: number; port: number } {
  const word = Math.imul(index + 1, 0x9e3779b1) >>> 0;
  const first = (20 + (word >>> 26)) << 24;
  return { word: (first | (word & 0xffffff)) >>> 0, port: 1024 + (index % 60000) };
}

/** The address of that client: `word` is its end. */
export function clientAddress(index: number, family: 4 | 6): Uint8Array {
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  if (family === 6) bytes.set([0x20, 0x01, 0x0d, 0xb8], 0);
  new DataView(bytes.buffer).setUint32(bytes.length - 4, client(index).word);
  return bytes;
}

/** Consecutive, as a connection counter gives them, without zero halves. */
export function flowOf(index: number): number {
  return FLOW_BASE + Math.floor(index / 65535) * 65536 + (index % 65535);
}

export class Traffic {
  /** A packet without what differs from one to the next. */
  readonly template: Uint8Array;
  readonly #flows: number;
  readonly #decapsulate: boolean;
  readonly #isV4: boolean;
  /** Of the TCP header; what differs of the source address ends 4 or 16 bytes before it. */
  readonly #tcp: number;
  readonly #wordOff: number;
  readonly #sums: { readonly ip: number; readonly tcp: number };
  #state = 0;

  constructor({ family, decapsulate, flows }: TrafficOptions) {
    this.#flows = flows;
    this.#decapsulate = decapsulate;
    this.#isV4 = family === 4;
    this.#tcp = family === 4 ? 20 : 40;
    this.#wordOff = family === 4 ? 12 : 20;
    this.template = buildTcp({
      source: decapsulate ? PEER[family] : NOBODY[family],
      destination: decapsulate ? OWN[family] : SERVICE[family],
      ...{ sourcePort: 0, destinationPort: 0, seq: 0, ack: 0, flags: ACK },
      options: option.timestamps(0, 0),
    });
    const view = new DataView(this.template.buffer, this.template.byteOffset);
    const notOf = (at: number): number => ~view.getUint16(at) & 0xffff;
    this.#sums = { ip: notOf(10), tcp: notOf(this.#tcp + 16) };
  }

  /** What comes next is decided by this number alone. */
  begin(seed: number): void {
    this.#state = seed | 0;
  }

  /** Writes the next packet, `template.length` bytes, where `bytes` has `at` and `view` sees the same memory. */
  next(bytes: Uint8Array, view: DataView, at: number): void {
    const random = this.#draw();
    const index = Math.floor((random / 2 ** 32) * this.#flows);
    const { word, port } = client(index);
    const ports = this.#decapsulate ? flowOf(index) : (port << 16) | SERVICE_PORT;
    bytes.set(this.template, at);
    let added = halves(ports) + halves(random) + halves(index);
    added += halves(random ^ index) + halves(~random);
    if (!this.#decapsulate) {
      view.setUint32(at + this.#wordOff, word);
      added += halves(word);
      if (this.#isV4) view.setUint16(at + 10, ~fold(this.#sums.ip + halves(word)));
    }
    const tcp = at + this.#tcp;
    view.setUint32(tcp, ports);
    view.setUint32(tcp + 4, random);
    view.setUint32(tcp + 8, index);
    view.setUint32(tcp + 24, random ^ index);
    view.setUint32(tcp + 28, ~random);
    view.setUint16(tcp + 16, ~fold(this.#sums.tcp + added));
  }

  /** 32 bits: a counter, mixed (murmur3's finaliser). */
  #draw(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return (x ^ (x >>> 16)) >>> 0;
  }
}

/** The sum of the two words of 16 bits. */
function halves(word: number): number {
  return (word >>> 16) + (word & 0xffff);
}

function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}
