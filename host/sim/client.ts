/**
 * A strict reference client in plain TypeScript: it opens a connection, sends what it is told, and takes
 * nothing that a server may not do (wrong sequence, data beyond the window, bytes that differ, an ACK
 * of what was never sent). Knows RFC 9293; shares no code with the core. It is slow and simple on purpose:
 * a fixed window of segments in flight, go-back on timeout, one fast retransmission.
 */
import { ACK, FIN, PSH, RST, SYN, option, viewTcp, type TcpPacket } from "./packet.ts";
import { Segments, type ClientOptions, type SimClient } from "./segments.ts";
import { add, after, distance, word16, word32 } from "./sequence.ts";

export type { ClientEvents, ClientOptions } from "./segments.ts";

const RTO_US = 300_000;
const RTO_US_MAX = 5_000_000;
/** Longer than T_TOMB: a SYN on the ports of a lost connection may have to wait for that. */
const RETRIES_MAX = 30;
const FLIGHT_SEGMENTS = 20;
const WINDOW_SHIFT = 7;
const TIME_WAIT_US = 1_000_000;

type ClientState = "closed" | "syn-sent" | "open" | "time-wait";

export class StrictClient implements SimClient {
  readonly #options: ClientOptions;
  readonly #segments: Segments;
  #state: ClientState = "closed";
  #sndUna: number;
  #sndNxt: number;
  #sndWnd = 0;
  /** The largest that was offered (MAX.SND.WND of RFC 5961). */
  #sndWndMax = 0;
  #peerShift = 0;
  #peerMss = 536;
  #rcvNxt = 0;
  /** Right edge of what was ever advertised. */
  #rcvAdv = 0;
  #tsRecent = 0;
  #tsHighest: number | undefined;
  #unsent: Uint8Array[] = [];
  #outstanding: { seq: number; bytes: Uint8Array; fin: boolean }[] = [];
  #finQueued = false;
  #finSent = false;
  #finAcked = false;
  #peerEnded = false;
  #ooo = new Map<number, TcpPacket>();
  #unread = 0;
  #paused = false;
  #duplicates = 0;
  #rtoUs = RTO_US;
  #retries = 0;
  #timer = 0;
  #isGone = false;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#segments = new Segments(options);
    this.#sndUna = options.iss >>> 0;
    this.#sndNxt = this.#sndUna;
  }

  get state(): ClientState {
    return this.#state;
  }

  get sndNxt(): number {
    return this.#sndNxt;
  }

  /** Bytes given to `write` and not yet acknowledged. */
  get unacknowledged(): number {
    const size = (list: readonly { length: number }[]) => list.reduce((n, b) => n + b.length, 0);
    return size(this.#unsent) + size(this.#outstanding.map(({ bytes }) => bytes));
  }

  open(): void {
    this.#state = "syn-sent";
    this.#sndNxt = add(this.#sndUna, 1);
    this.#sendSyn();
    this.#arm();
  }

  write(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#unsent.push(bytes);
    this.#pump();
  }

  /** FIN after everything written, `last` included. */
  end(last: Uint8Array = NONE): void {
    if (last.length > 0) this.#unsent.push(last);
    this.#finQueued = true;
    this.#pump();
  }

  abort(): void {
    if (this.#state === "open") this.#segment(this.#sndNxt, RST | ACK, NONE);
    this.#finish("closed");
  }

  /** The host loses its power: nothing is said, and nothing heard. */
  vanish(): void {
    this.#state = "closed";
    this.#isGone = true;
    this.#timer++;
  }

  /** A slow reader: while paused, received bytes fill the window. */
  pause(on: boolean): void {
    this.#paused = on;
    if (on || this.#unread === 0) return;
    this.#unread = 0;
    if (this.#state === "open") this.#acknowledge();
  }

  receive(bytes: Uint8Array): void {
    if (this.#isGone) return;
    let segment: TcpPacket;
    try {
      segment = viewTcp(bytes);
    } catch {
      return; // Corrupted on the way: a real stack drops it too.
    }
    const { options } = this;
    if (!segment.tcpChecksumOk || !segment.ipChecksumOk) return;
    if (segment.destinationPort !== options.port || segment.sourcePort !== options.servicePort)
      return;
    if (this.#state === "syn-sent") this.#synSent(segment);
    else if (this.#state === "open" || this.#state === "time-wait") this.#synchronised(segment);
    else if (!(segment.flags & RST)) this.#refuse(segment);
  }

  private get options(): ClientOptions {
    return this.#options;
  }

  #synSent(segment: TcpPacket): void {
    if (segment.flags & RST) {
      if (segment.flags & ACK && segment.ack === this.#sndNxt) this.#finish("reset");
      return;
    }
    if (segment.flags & ACK && segment.ack !== this.#sndNxt) {
      // RFC 9293 3.10.7.3: an old connection's owner is still there; the RST ends it.
      if (this.options.isReused) this.#refuse(segment);
      else this.#violation(`answer to the SYN acknowledges ${segment.ack}`);
      return;
    }
    if (!(segment.flags & SYN) || !(segment.flags & ACK)) return;
    for (const { kind, bytes } of segment.options) {
      if (kind === 2) this.#peerMss = word16(bytes);
      if (kind === 3) this.#peerShift = bytes[0] ?? 0;
    }
    this.#sndUna = segment.ack;
    this.#rcvNxt = add(segment.seq, 1);
    this.#rcvAdv = add(this.#rcvNxt, this.options.rcvBuf);
    this.#sndWnd = segment.window;
    this.#sndWndMax = segment.window;
    this.#state = "open";
    this.#settle();
    this.#noteTimestamp(segment);
    this.#acknowledge();
    this.options.events.connected();
    this.#pump();
  }

  #synchronised(segment: TcpPacket): void {
    if (segment.flags & RST) {
      if (segment.seq === this.#rcvNxt) this.#finish("reset");
      else if (after(segment.seq, this.#rcvNxt) && !after(segment.seq, this.#rcvAdv)) {
        this.#acknowledge(); // RFC 5961 3.2: a challenge, which makes an exact one.
      }
      return;
    }
    if (segment.flags & SYN) {
      this.#acknowledge(); // A repeated SYN-ACK: our ACK was lost.
      return;
    }
    if (!(segment.flags & ACK)) return this.#violation("segment without ACK");
    if (after(segment.ack, this.#sndNxt)) {
      if (this.options.isReused) return this.#acknowledge(); // Late, of the connection before.
      return this.#violation(`acknowledges ${segment.ack}, beyond SND.NXT ${this.#sndNxt}`);
    }
    // RFC 5961 5.2: an ACK that old is of no segment of this connection.
    if (after(add(this.#sndUna, -this.#sndWndMax), segment.ack)) return this.#acknowledge();
    this.#noteTimestamp(segment);
    if (
      after(this.#rcvNxt, segment.seq) &&
      segment.payload.length === 0 &&
      !(segment.flags & FIN)
    ) {
      return this.#acknowledge(); // RFC 9293 3.10.7.4: not acceptable; this is what a probe asks for.
    }
    this.#acked(segment);
    const occupied = segment.payload.length + (segment.flags & FIN ? 1 : 0);
    if (occupied > 0) this.#data(segment, occupied);
    if (this.#state === "open") this.#pump();
    this.#closeIfDone();
  }

  #acked(segment: TcpPacket): void {
    const window = segment.window << this.#peerShift;
    if (after(segment.ack, this.#sndUna)) {
      this.#sndUna = segment.ack;
      this.#duplicates = 0;
      while (this.#outstanding[0] && !after(endOf(this.#outstanding[0]), this.#sndUna)) {
        if (this.#outstanding.shift()?.fin) this.#finAcked = true;
      }
      this.#settle();
    } else if (segment.ack === this.#sndUna && this.#outstanding.length > 0) {
      if (segment.payload.length === 0 && window === this.#sndWnd && ++this.#duplicates === 3) {
        this.#resendFirst();
      }
    }
    // RFC 9293 3.8.6.1: a window may stay closed for as long as it is acknowledged.
    if (this.#outstanding.length === 0) this.#retries = 0;
    if (!after(this.#sndUna, segment.ack)) this.#sndWnd = window;
    this.#sndWndMax = Math.max(this.#sndWndMax, this.#sndWnd);
  }

  #data(segment: TcpPacket, occupied: number): void {
    const end = add(segment.seq, occupied);
    const probe = occupied === 1 && segment.seq === this.#rcvAdv;
    if (after(end, this.#rcvAdv) && !(segment.flags & FIN) && !probe) {
      return this.#violation(`data up to ${end}, the window ends at ${this.#rcvAdv}`);
    }
    if (!after(end, this.#rcvNxt) || probe) return this.#acknowledge();
    if (after(segment.seq, this.#rcvNxt)) {
      this.#ooo.set(segment.seq, segment);
      return this.#acknowledge();
    }
    this.#take(segment);
    for (let more = true; more;) {
      more = false;
      for (const [seq, held] of this.#ooo) {
        if (after(seq, this.#rcvNxt)) continue;
        this.#ooo.delete(seq);
        this.#take(held);
        more = true;
      }
    }
    this.#acknowledge();
  }

  /** A segment that begins at or before RCV.NXT: its new part is delivered. */
  #take(segment: TcpPacket): void {
    const fresh = segment.payload.subarray(distance(segment.seq, this.#rcvNxt));
    if (distance(segment.seq, this.#rcvNxt) <= segment.payload.length && fresh.length > 0) {
      if (this.#peerEnded) return this.#violation("data after the FIN");
      this.#rcvNxt = add(this.#rcvNxt, fresh.length);
      if (this.#paused) this.#unread += fresh.length;
      this.options.events.data(fresh);
    }
    const finAt = add(segment.seq, segment.payload.length);
    if (segment.flags & FIN && finAt === this.#rcvNxt && !this.#peerEnded) {
      this.#peerEnded = true;
      this.#rcvNxt = add(this.#rcvNxt, 1);
      this.#rcvAdv = add(this.#rcvAdv, 1);
      this.options.events.ended();
    }
  }

  #noteTimestamp(segment: TcpPacket): void {
    const found = segment.options.find(({ kind }) => kind === 8);
    if (!found) {
      if (this.#tsHighest !== undefined) this.#violation("segment without timestamps");
      return;
    }
    const tsVal = word32(found.bytes);
    if (this.#tsHighest === undefined || after(tsVal, this.#tsHighest)) this.#tsHighest = tsVal;
    if (!after(segment.seq, this.#rcvNxt)) this.#tsRecent = this.#tsHighest;
  }

  #pump(): void {
    if (this.#state !== "open") return;
    while (this.#outstanding.length < FLIGHT_SEGMENTS) {
      const room = distance(this.#sndNxt, add(this.#sndUna, this.#sndWnd));
      const first = this.#unsent[0];
      if (!first) break;
      if (room <= 0 || room > 0x7fffffff) break;
      const len = Math.min(first.length, this.#peerMss - 12, room);
      if (len === first.length) this.#unsent.shift();
      else this.#unsent[0] = first.subarray(len);
      const isLast = this.#finQueued && this.#unsent.length === 0 && len < room;
      this.#finSent = isLast && this.options.finWithData === true;
      this.#emit(first.subarray(0, len), this.#finSent);
    }
    if (this.#finQueued && !this.#finSent && this.#unsent.length === 0) {
      this.#finSent = true;
      this.#emit(NONE, true);
    }
    if (this.#outstanding.length > 0 || this.#unsent.length > 0) this.#armIfIdle();
  }

  #emit(bytes: Uint8Array, fin: boolean): void {
    this.#outstanding.push({ seq: this.#sndNxt, bytes, fin });
    this.#segment(this.#sndNxt, flagsOf(bytes, fin), bytes);
    this.#sndNxt = add(this.#sndNxt, bytes.length + (fin ? 1 : 0));
  }

  #resendFirst(): void {
    const first = this.#outstanding[0];
    if (first) this.#segment(first.seq, flagsOf(first.bytes, first.fin), first.bytes);
  }

  #armed = false;

  #armIfIdle(): void {
    if (!this.#armed) this.#arm();
  }

  #arm(): void {
    this.#armed = true;
    const timer = ++this.#timer;
    this.options.scheduler.after(this.#rtoUs, () => {
      if (timer === this.#timer) this.#timeout();
    });
  }

  /** Progress: the timer starts anew, or rests. */
  #settle(): void {
    this.#rtoUs = RTO_US;
    this.#retries = 0;
    this.#timer++;
    this.#armed = false;
    if (this.#outstanding.length > 0 || this.#unsent.length > 0) this.#arm();
  }

  #timeout(): void {
    this.#armed = false;
    if (this.#state === "closed" || this.#state === "time-wait") return;
    if (++this.#retries > RETRIES_MAX) return this.#finish("timeout");
    this.#rtoUs = Math.min(2 * this.#rtoUs, RTO_US_MAX);
    if (this.#state === "syn-sent") this.#sendSyn();
    else if (this.#outstanding.length > 0) this.#resendFirst();
    else if (this.#unsent.length > 0) this.#probe();
    else return;
    this.#arm();
  }

  /** Zero window: an ACK from below the window makes the server repeat what it advertises. */
  #probe(): void {
    this.#segment(add(this.#sndUna, -1), ACK, NONE);
    this.#pump();
  }

  #sendSyn(): void {
    this.#segments.syn(this.#sndUna, WINDOW_SHIFT);
  }

  #acknowledge(): void {
    this.#segment(this.#sndNxt, ACK, NONE);
  }

  #segment(seq: number, flags: number, payload: Uint8Array): void {
    const free = Math.max(0, this.options.rcvBuf - this.#unread);
    const offered = (free >> WINDOW_SHIFT) << WINDOW_SHIFT;
    const edge = add(this.#rcvNxt, offered);
    const window = after(edge, this.#rcvAdv) ? offered : distance(this.#rcvNxt, this.#rcvAdv);
    const scaled = Math.ceil(window / (1 << WINDOW_SHIFT));
    const right = add(this.#rcvNxt, scaled << WINDOW_SHIFT);
    if (after(right, this.#rcvAdv)) this.#rcvAdv = right;
    const options = option.timestamps(this.#segments.tsVal(), this.#tsRecent);
    this.#segments.send(seq, this.#rcvNxt, flags, payload, options, scaled);
  }

  #refuse(segment: TcpPacket): void {
    if (segment.flags & ACK) this.#segments.send(segment.ack, 0, RST, NONE, NONE, 0);
  }

  #closeIfDone(): void {
    if (this.#state !== "open" || !this.#finAcked || !this.#peerEnded) return;
    this.#state = "time-wait";
    this.#timer++;
    this.options.events.finished("closed");
    this.options.scheduler.after(TIME_WAIT_US, () => {
      if (this.#state === "time-wait") this.#state = "closed";
    });
  }

  #finish(how: "closed" | "reset" | "timeout"): void {
    if (this.#state === "closed" || this.#state === "time-wait") return;
    this.#state = "closed";
    this.#timer++;
    this.options.events.finished(how);
  }

  #violation(what: string): void {
    this.options.events.violation(`${this.options.address}:${this.options.port}: ${what}`);
  }
}

const NONE = new Uint8Array(0);

function flagsOf(bytes: Uint8Array, fin: boolean): number {
  return (fin ? FIN : 0) | (bytes.length > 0 ? PSH : 0) | ACK;
}

function endOf(segment: { seq: number; bytes: Uint8Array; fin: boolean }): number {
  return add(segment.seq, segment.bytes.length + (segment.fin ? 1 : 0));
}
