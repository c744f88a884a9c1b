/**
 * The scripted peer: sends segments by relative numbers, turns the clock, makes the application act, and writes
 * down everything that the stack does, in a form in which two stacks can be compared. Numbers are relative to
 * each side's initial sequence number. The window is written only where it is zero; that its right edge never
 * moves left is checked for every segment. PSH is written for segments without data only.
 *
 *   > S 0 <mss 1460>            the peer sends a SYN
 *   < S. 0 ack 1 <mss 1460>     the stack answers at once
 *   200 < . 1:101 ack 1         .. or about 200 ms after the last thing that happened to it
 *   read: 100 bytes             the application did something
 */
import { ACK, FIN, PSH, SYN, buildIcmp, buildTcp, concat, option } from "../support/packet.ts";
import type { TcpPacket } from "../support/packet.ts";
import type { Sent, Stack } from "./stack.ts";

export interface Segment {
  flags?: number;
  /** Relative to the peer's ISS; what follows what was sent when left out. */
  seq?: number;
  /** Relative to the stack's ISS; all that was seen when left out. */
  ack?: number;
  len?: number;
  /** As it stands in the header. */
  win?: number;
  urgent?: number;
  /** Replaces the options that the connection uses. */
  options?: Uint8Array;
  /** SACK blocks, relative. */
  sack?: readonly (readonly [number, number])[];
  /** TSval relative to the clock of the script. */
  age?: number;
}

/** What the peer offers in its SYN. */
export interface Offer {
  mss?: number;
  sack?: boolean;
  timestamps?: boolean;
  scale?: number;
  /** Bytes in front of and instead of the others. */
  raw?: Uint8Array;
  flags?: number;
  len?: number;
}

export const FULL: Offer = { mss: 1460, sack: true, timestamps: true, scale: 7 };
export const PLAIN: Offer = { mss: 1460 };
export const SACKING: Offer = { mss: 1460, sack: true };

/** Relative to what, while the stack's ISS is not known: what the peer then acknowledges. */
const ISS_UNKNOWN = 5_000_000;
/** Sooner than this is at once: a kernel's timer has ticks of 4 ms. */
const AT_ONCE_MS = 12;
const TS_START = 1000;

export class Talk {
  readonly lines: string[] = [];
  readonly stack: Stack;
  /** The peer's ISS. */
  iss: number;
  /** Relative numbers of the next segment. */
  seq = 0;
  ack = 0;
  win = 65535;
  /** Ms of the script's own clock, the same whatever the stack. */
  clock = 0;
  timestamps = false;
  #theirIss = ISS_UNKNOWN;
  #theirScale = 0;
  #peerScale: number | undefined;
  #tsEcr = 0;
  #tsLast: number | undefined;
  #edge: number | undefined;
  #since = 0;

  constructor(stack: Stack, iss = 100_000) {
    this.stack = stack;
    this.iss = iss;
    this.#since = stack.now();
  }

  // ---- the peer

  /** Sends a segment and notes what the stack answers at once. */
  send(segment: Segment = {}): void {
    const { flags = ACK, seq = this.seq, len = 0, win = this.win, urgent = 0 } = segment;
    const acks = (flags & ACK) !== 0;
    const ack = acks ? (segment.ack ?? this.ack) : 0;
    const options = segment.options ?? this.#options(segment);
    const bytes = buildTcp({
      source: this.stack.peer,
      destination: this.stack.local,
      sourcePort: this.stack.peerPort,
      destinationPort: this.stack.localPort,
      seq: (this.iss + seq) >>> 0,
      ack: acks ? (this.#theirIss + ack) >>> 0 : 0,
      flags,
      window: win,
      urgent,
      options,
      payload: new Uint8Array(len).fill(0x61),
    });
    const end = seq + len + ((flags & SYN) !== 0 ? 1 : 0) + ((flags & FIN) !== 0 ? 1 : 0);
    if (seq <= this.seq && this.seq < end) this.seq = end;
    this.#say(
      `> ${describe(flags, seq, len, acks ? ack : undefined, win, urgent)}${texts(options, this)}`,
    );
    this.#inject(bytes);
  }

  /** Sends a SYN. */
  syn(offer: Offer = FULL): void {
    this.seq = 0;
    const { flags = SYN, len = 0 } = offer;
    this.#peerScale = offer.scale;
    this.send({ flags, len, options: this.synOptions(offer), seq: 0 });
    this.seq = 1;
  }

  /** A SYN's options in the order Linux has them. */
  synOptions(offer: Offer): Uint8Array {
    const { mss, sack, timestamps, scale, raw } = offer;
    this.timestamps = timestamps ?? false;
    const parts: Uint8Array[] = raw ? [raw] : [];
    if (mss !== undefined) parts.push(option.mss(mss));
    if (timestamps) {
      const stamp = option.timestamps(this.#tsVal(0), this.#tsEcr);
      parts.push(sack ? concat(Uint8Array.of(4, 2), stamp.subarray(2)) : stamp);
    } else if (sack) parts.push(option.sackPermitted());
    if (scale !== undefined) parts.push(option.windowScale(scale));
    return concat(...parts);
  }

  /** An ICMP error from a router, about a segment of the stack that begins at `seq`. */
  icmp([type, code]: readonly [number, number], seq: number, rest = 0): void {
    const v4 = this.stack.family === 4;
    const body = buildTcp({
      source: this.stack.local,
      destination: this.stack.peer,
      sourcePort: this.stack.localPort,
      destinationPort: this.stack.peerPort,
      seq: (this.#theirIss + seq) >>> 0,
      payload: new Uint8Array(100),
    });
    this.#say(`> icmp ${type}/${code} about ${seq}${rest ? ` mtu ${rest}` : ""}`);
    this.#inject(
      buildIcmp({
        source: v4 ? "10.77.255.1" : "fd77::ffff",
        destination: this.stack.local,
        type,
        code,
        rest,
        body,
      }),
    );
  }

  // ---- the handshake, in one go

  /** The stack listens, the peer opens, the application accepts. `rtt`: ms until the peer answers. */
  async accepted(offer: Offer = FULL, rtt = 0): Promise<void> {
    this.listen();
    this.syn(offer);
    if (rtt > 0) await this.pass(rtt);
    this.send();
    this.accept();
  }

  /** The application opens, the peer answers. */
  async connected(offer: Offer = FULL, rtt = 0): Promise<void> {
    this.connect();
    if (rtt > 0) await this.pass(rtt);
    this.syn({ ...offer, flags: SYN | ACK });
    this.state();
  }

  // ---- time

  /** Lets `ms` pass; what the stack sends meanwhile is noted with its time. */
  async pass(ms: number): Promise<void> {
    this.clock += ms;
    await this.stack.pass(ms);
    this.#note();
    this.#since = this.stack.now();
    this.#say(`-- ${ms} ms`);
  }

  // ---- the application

  listen(): void {
    this.stack.listen();
  }

  connect(): void {
    this.#act("connect", () => this.stack.connect());
  }

  accept(): void {
    this.#act("accept", () => (this.stack.accept() ? "yes" : "no"));
  }

  state(): void {
    this.#act("state", () => this.stack.state());
  }

  write(count: number, urgent = false): void {
    this.#act(urgent ? "write urgent" : "write", () => this.stack.write(count, urgent));
  }

  read(limit = 1 << 20): void {
    this.#act("read", () => this.stack.read(limit));
  }

  shutdown(): void {
    this.#act("shutdown", () => this.stack.shutdown());
  }

  close(): void {
    this.#act("close", () => this.stack.close());
  }

  abort(): void {
    this.#act("abort", () => this.stack.abort());
  }

  /**
   * The peer sends segments of `len` until the stack takes no more. How many that are is each stack's own affair
   * and not written down: numbers count from here anew, the next byte has number 1.
   */
  async fill(len: number): Promise<void> {
    const kept = this.lines.length;
    for (let at = 0; at < 4000 && this.room > 0; at++) {
      this.send({ len: Math.min(len, this.room) });
      if (this.room < len) await this.pass(60);
    }
    this.lines.splice(kept);
    this.#say(`the peer fills the window: ${this.room === 0 ? "shut" : "open"}`);
    const moved = this.seq - 1;
    this.iss = (this.iss + moved) >>> 0;
    this.seq = 1;
    if (this.#edge !== undefined) this.#edge -= moved;
  }

  /** The stack's ISS, or what stands for it until it is known. */
  get theirIss(): number {
    return this.#theirIss;
  }

  /** Bytes that the stack would take now. */
  get room(): number {
    return this.#edge === undefined ? 0 : this.#edge - this.seq;
  }

  /** The stack's last TSval, to be echoed again later. */
  remembered(): number {
    return this.#tsEcr;
  }

  echo(tsVal: number): void {
    this.#tsEcr = tsVal;
  }

  /** The same pair of ports begins anew: the peer's SYN had this number. */
  restart(seq: number): void {
    this.iss = (this.iss + seq) >>> 0;
    this.seq = 1;
    this.ack = 1;
  }

  comment(text: string): void {
    this.#say(`# ${text}`);
  }

  // ----

  #act(what: string, action: () => string | number | void): void {
    this.#since = this.stack.now();
    const result = action();
    this.#say(result === undefined ? what : `${what}: ${result}`);
    this.#note();
  }

  #inject(packet: Uint8Array): void {
    this.#since = this.stack.now();
    this.stack.inject(packet);
    this.#note();
  }

  #say(line: string): void {
    this.lines.push(line);
  }

  #tsVal(age: number): number {
    return (TS_START + this.clock - age) >>> 0;
  }

  #options({ sack, age = 0 }: Segment): Uint8Array {
    const parts: Uint8Array[] = [];
    if (this.timestamps) parts.push(option.timestamps(this.#tsVal(age), this.#tsEcr));
    if (sack) {
      const absolute = (at: number) => (this.#theirIss + at) >>> 0;
      parts.push(option.sack(...sack.map(([l, r]) => [absolute(l), absolute(r)] as const)));
    }
    return concat(...parts);
  }

  #note(): void {
    for (const sent of this.stack.take()) this.#noteOne(sent);
  }

  #noteOne({ at, packet }: Sent): void {
    const syn = (packet.flags & SYN) !== 0;
    if (syn) this.#meet(packet);
    const stamp = packet.options.find(({ kind }) => kind === 8);
    const values = stamp && new DataView(stamp.bytes.buffer, stamp.bytes.byteOffset);
    const complaints: string[] = [];
    if (values) {
      const tsVal = values.getUint32(0);
      if (this.#tsLast !== undefined && ((tsVal - this.#tsLast) | 0) < 0)
        complaints.push("TSval stepped back");
      this.#tsLast = tsVal;
      this.#tsEcr = tsVal;
    }
    const seq = (packet.seq - this.#theirIss) | 0;
    const ackIsSet = (packet.flags & ACK) !== 0;
    const ack = ackIsSet ? (packet.ack - this.iss) | 0 : undefined;
    const fin = (packet.flags & FIN) !== 0 ? 1 : 0;
    const reset = (packet.flags & 4) !== 0;
    const end = seq + packet.payload.length + fin + (syn ? 1 : 0);
    if (!reset) this.ack = Math.max(this.ack, end);
    if (ack !== undefined && !reset) this.#window(packet, ack, syn, complaints);
    const after = Math.round(at - this.#since);
    const time = after < AT_ONCE_MS ? "" : `${after} `;
    const win = packet.window === 0 && !reset ? 0 : undefined;
    // A RST that answers what has no ACK has no number of its own (RFC 9293 3.10.7.1).
    const from = reset && ackIsSet && packet.seq === 0 ? "zero" : seq;
    const head = describe(packet.flags, from, packet.payload.length, ack, win, packet.urgent);
    this.#say(`${time}< ${head}${texts(packet.optionBytes, this, this.iss)}`);
    for (const complaint of complaints) this.#say(`! ${complaint}`);
  }

  #meet(packet: TcpPacket): void {
    this.#theirIss = packet.seq;
    const scale = packet.options.find(({ kind }) => kind === 3)?.bytes[0];
    this.#theirScale = scale ?? 0;
    this.#edge = undefined;
  }

  #window(packet: TcpPacket, ack: number, syn: boolean, complaints: string[]): void {
    // A scale counts once both have offered one.
    const shift = syn || this.#peerScale === undefined ? 0 : this.#theirScale;
    const edge = ack + packet.window * 2 ** shift;
    const slack = 2 ** shift - 1;
    if (this.#edge !== undefined && edge + slack < this.#edge) {
      complaints.push("the window shrank");
    }
    this.#edge = Math.max(this.#edge ?? edge, edge);
  }
}

/** `. 1:101 ack 1 win 0`, in the letters of tcpdump. */
function describe(
  flags: number,
  seq: number | "zero",
  len: number,
  ack: number | undefined,
  win: number | undefined,
  urgent: number,
): string {
  // Linux pushes at the end of each of its own buffers: of data, PSH is not compared.
  const shown = len === 0 ? flags : flags & ~PSH;
  const letters = ["F", "S", "R", "P", ".", "U", "E", "W"].filter((_, bit) => (shown >> bit) & 1);
  const range = len === 0 || seq === "zero" ? `${seq}` : `${seq}:${seq + len}`;
  const rest = [
    ack === undefined ? "" : ` ack ${ack}`,
    win === undefined || win === 65535 ? "" : ` win ${win}`,
    (flags & 32) !== 0 ? ` urg ${urgent}` : "",
  ];
  return `${letters.join("") || "none"} ${range}${rest.join("")}`;
}

/** Options in their order, NOPs too: ` <mss 1460,nop,wscale>`. Scales and TSvals are each stack's own affair. */
function texts(bytes: Uint8Array, talk: Talk, sackBase?: number): string {
  const found: string[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length;) {
    const kind = bytes[at]!;
    if (kind < 2) {
      found.push(kind === 0 ? "end" : "nop");
      at += 1;
      continue;
    }
    const len = bytes[at + 1] ?? 0;
    if (len < 2 || bytes.length < at + len) {
      found.push("broken");
      break;
    }
    found.push(text(kind, view, at + 2, len - 2, talk, sackBase));
    at += len;
  }
  return found.length === 0 ? "" : ` <${found.join(",")}>`;
}

function text(
  kind: number,
  view: DataView,
  at: number,
  len: number,
  talk: Talk,
  sackBase: number | undefined,
): string {
  const fromStack = sackBase !== undefined;
  if (kind === 2 && len === 2) return `mss ${view.getUint16(at)}`;
  if (kind === 3 && len === 1) return fromStack ? "wscale" : `wscale ${view.getUint8(at)}`;
  if (kind === 4) return "sackOK";
  if (kind === 8 && len === 8) {
    return fromStack ? `ts ecr ${view.getUint32(at + 4)}` : `ts ${view.getUint32(at)}`;
  }
  if (kind !== 5) return `kind ${kind}`;
  const base = sackBase ?? talk.theirIss;
  const blocks = Array.from({ length: len / 8 }, (_, index) => {
    const edge = (off: number) => (view.getUint32(at + index * 8 + off) - base) | 0;
    return `${edge(0)}:${edge(4)}`;
  });
  return `sack ${blocks.join(" ")}`;
}

export { ACK, FIN, PSH, SYN };
