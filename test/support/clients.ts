/**
 * Very many IPv4 clients of one core: each packet is a copy of a ready-made header with a few fields written
 * into it, given to the core with a verified checksum, so that the core is what takes the time. Knows
 * descriptors and headers; must not know what is measured.
 */
import { setTuple, withAddress } from "./batch.ts";
import type { TestCore } from "./core.ts";
import { ACK, SYN, buildTcp, option } from "./packet.ts";

const SERVICE = "10.0.0.100";
const PORT = 80;
const PORT_FIRST = 1024;
const PORTS = 60_000;
const CSUM_VERIFIED = 2;

interface Template {
  readonly bytes: Uint8Array;
  /** Sum of the IP header's words but for source address, length and checksum. */
  readonly sum: number;
  /** Sum of TCP's words and pseudo header but for source address, port, numbers and payload. */
  readonly tcpSum: number;
}

/** One client's variables, by its number. */
export class Clients {
  readonly core: TestCore;
  readonly count: number;
  /** What the next segment of a client says. */
  readonly seq: Uint32Array;
  readonly ack: Uint32Array;
  /** Handle of the connection, as ACCEPTED gave it. */
  readonly handle: Int32Array;
  readonly #batch: number;
  readonly #size: number;
  readonly #rx: number;
  readonly #tx: number;
  readonly #syn: Template;
  readonly #ack: Template;

  constructor(core: TestCore, count: number) {
    this.core = core;
    this.count = count;
    this.seq = new Uint32Array(count).map((_, index) => Math.imul(index, 2654435761));
    this.ack = new Uint32Array(count);
    this.handle = new Int32Array(count);
    this.#batch = core.constant("BATCH_MAX");
    this.#size = core.constant("DESCRIPTOR_SIZE");
    this.#rx = core.f.rxBatchPtr!();
    this.#tx = core.f.txBatchPtr!();
    const options = Buffer.concat([
      option.mss(1460),
      option.sackPermitted(),
      option.timestamps(1, 0),
      Uint8Array.of(1),
      option.windowScale(7),
    ]);
    this.#syn = template(SYN, options);
    this.#ack = template(ACK, new Uint8Array(0));
    const added = withAddress(core, SERVICE, (family, ptr) =>
      core.f.serviceAdd!(family, ptr, PORT, 0, 1),
    );
    if (added < 0) throw new Error(`serviceAdd returned ${added}`);
  }

  /** Handshakes of all of them, without options that need state in the client. */
  open(nowUs: number): void {
    this.#all(SYN, nowUs);
    for (let index = 0; index < this.count; index++) this.seq[index]! += 1;
    this.#all(ACK, nowUs);
    this.#accepted();
  }

  /** Every client in turn sends so many bytes, the core's application reads them and answers with as many. */
  exchange(bytes: number, nowUs: number): void {
    const { f } = this.core;
    for (let first = 0; first < this.count; first += this.#batch) {
      const end = Math.min(first + this.#batch, this.count);
      this.#some(first, end, ACK, bytes, nowUs);
      for (let index = first; index < end; index++) {
        const handle = this.handle[index]!;
        const read = f.readable!(handle, 0);
        if (read !== bytes) throw new Error(`${read} bytes to read`);
        f.consume!(handle, read, nowUs);
        if (f.reserve!(handle) < bytes) throw new Error("no room to write");
        f.commit!(handle, bytes, nowUs);
        this.seq[index]! += bytes;
        this.ack[index]! += bytes;
      }
      this.#drain(nowUs, false);
      this.#some(first, end, ACK, 0, nowUs);
    }
    while (f.pollEvent!() === 1);
  }

  /** Fills the rx batch with SYNs of the clients from `first` on, checksums and all, for the caller to hand over. */
  fillSyns(first: number): void {
    const { view } = this.core;
    for (let at = 0; at < this.#batch; at++) {
      const index = first + at;
      this.#put(at, this.#syn, index, SYN, 0);
      const descriptor = this.#rx + at * this.#size;
      const source = sourceWord(index);
      const seq = this.seq[index]!;
      const words = (source >>> 16) + (source & 0xffff) + (seq >>> 16) + (seq & 0xffff);
      const packet = view.getUint32(descriptor, true);
      view.setUint16(packet + 36, complement(this.#syn.tcpSum + words + port(index)));
      view.setUint16(descriptor + 8, 0, true);
    }
  }

  /** Sets the tuple of a client's connection. */
  tuple(index: number): void {
    setTuple(this.core, {
      remote: address(index),
      remotePort: port(index),
      local: SERVICE,
      localPort: PORT,
    });
  }

  #all(flags: number, nowUs: number): void {
    for (let first = 0; first < this.count; first += this.#batch) {
      this.#some(first, Math.min(first + this.#batch, this.count), flags, 0, nowUs);
    }
  }

  /** One segment of each client from `first` to `end` (not included). */
  #some(first: number, end: number, flags: number, bytes: number, nowUs: number): void {
    for (let index = first; index < end; index++) {
      this.#put(index - first, this.#ack, index, flags, bytes);
    }
    this.core.f.handlePackets!(end - first, nowUs);
    this.#drain(nowUs, flags === SYN);
  }

  /** Takes what the core sends; `learn`: SYN-ACKs, whose numbers the clients need. */
  #drain(nowUs: number, learn: boolean): void {
    const { f, view } = this.core;
    for (let sent = f.pollTransmit!(nowUs); sent > 0; sent = f.pollTransmit!(nowUs)) {
      for (let at = 0; learn && at < sent; at++) {
        const packet = view.getUint32(this.#tx + at * this.#size, true);
        const index = number(view.getUint32(packet + 16), view.getUint16(packet + 22));
        this.ack[index] = view.getUint32(packet + 24) + 1;
      }
    }
  }

  #accepted(): void {
    const { f, view, constant } = this.core;
    const event = f.eventPtr!();
    const handle = event + constant("EventOff.HANDLE");
    const tuple = event + constant("EventOff.TUPLE");
    let accepted = 0;
    for (; f.pollEvent!() === 1; accepted++) {
      const index = number(view.getUint32(tuple + 8), view.getUint16(tuple + 4, true));
      this.handle[index] = view.getUint32(handle, true);
    }
    if (accepted !== this.count) throw new Error(`${accepted} of ${this.count} accepted`);
  }

  #put(at: number, from: Template, index: number, flags: number, bytes: number): void {
    const { view } = this.core;
    const descriptor = this.#rx + at * this.#size;
    const packet = view.getUint32(descriptor, true);
    const length = from.bytes.length + bytes;
    this.core.bytes.set(from.bytes, packet);
    const source = sourceWord(index);
    view.setUint32(packet + 12, source);
    view.setUint16(packet + 2, length);
    const sum = from.sum + length + (source >>> 16) + (source & 0xffff);
    view.setUint16(packet + 10, complement(sum));
    view.setUint16(packet + 20, port(index));
    view.setUint32(packet + 24, this.seq[index]!);
    view.setUint32(packet + 28, flags === SYN ? 0 : this.ack[index]!);
    view.setUint8(packet + 33, flags);
    view.setUint32(descriptor + 4, length, true);
    view.setUint16(descriptor + 8, CSUM_VERIFIED, true);
    view.setUint16(descriptor + 14, 0, true);
    view.setUint16(descriptor + 16, 0, true);
  }
}

function template(flags: number, options: Uint8Array): Template {
  const bytes = buildTcp({
    source: "0.0.0.0",
    destination: SERVICE,
    sourcePort: 1,
    destinationPort: PORT,
    seq: 0,
    ack: 0,
    flags,
    window: 65535,
    options,
  });
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  let sum = 0;
  for (const at of [0, 4, 6, 8, 16, 18]) sum += view.getUint16(at);
  return { bytes, sum, tcpSum: (~view.getUint16(36) & 0xffff) - 1 };
}

/** The ones' complement sum's complement, in 16 bits. */
function complement(sum: number): number {
  let rest = (sum & 0xffff) + (sum >>> 16);
  rest = (rest & 0xffff) + (rest >>> 16);
  return ~rest & 0xffff;
}

function sourceWord(index: number): number {
  return (0x14000001 + Math.floor(index / PORTS)) >>> 0;
}

function address(index: number): string {
  const word = sourceWord(index);
  return [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255].join(".");
}

function port(index: number): number {
  return PORT_FIRST + (index % PORTS);
}

function number(word: number, clientPort: number): number {
  return (word - 0x14000001) * PORTS + clientPort - PORT_FIRST;
}
