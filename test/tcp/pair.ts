/**
 * Two cores that talk over a wire in memory, under one virtual clock: no sleep, the clock jumps to whatever is
 * due next. The wire loses, duplicates, reorders and delays by seed, or as a test tells it packet by packet.
 */
import { SeededRandom } from "../../host/sim/random.ts";
import {
  type BatchPacket,
  drain,
  feed,
  initCore,
  setTuple,
  withAddress,
} from "../support/batch.ts";
import type { TestParameters } from "../support/batch.ts";
import { type BuildName, type TestCore, openCore, u32 } from "../support/core.ts";
import { type TcpPacket, describePacket, markCongestion, parseTcp } from "../support/packet.ts";

export interface Wire {
  /** One-way delay. */
  delayUs?: number;
  /** Random extra delay, which reorders. */
  jitterUs?: number;
  /** Probabilities. */
  loss?: number;
  duplicate?: number;
  seed?: number;
  /** Called for every packet, in order: false drops it. */
  pass?: (packet: TcpPacket, from: "a" | "b", nth: number) => boolean;
  /** A congested router: true marks a packet that says it is ECN-capable, as RFC 3168 wants it. */
  mark?: (packet: TcpPacket, from: "a" | "b") => boolean;
}

export interface CoreEvent {
  type: string;
  handle: number;
  code: number;
  ownerPeer: number;
  ownerFlow: number;
  sndNxt: number;
  tsVal: number;
}

export const STATES = [
  "CLOSED",
  "LISTEN",
  "SYN_SENT",
  "SYN_RECEIVED",
  "ESTABLISHED",
  "FIN_WAIT_1",
  "FIN_WAIT_2",
  "CLOSE_WAIT",
  "CLOSING",
  "LAST_ACK",
  "TIME_WAIT",
] as const;
const EVENTS = [
  "NONE",
  "ACCEPTED",
  "CONNECTED",
  "READABLE",
  "WRITABLE",
  "ENDED",
  "CLOSED",
  "RELEASED",
  "URGENT",
  "TROUBLE",
];

export const ADDRESS = {
  4: { a: "10.0.0.1", b: "10.0.0.2" },
  6: { a: "fd00::1", b: "fd00::2" },
} as const;
export const PORT_A = 40000;
export const PORT_B = 80;

export interface EndOptions extends TestParameters {
  family?: 4 | 6;
  segmenting?: number;
  sndBufferMax?: number;
  rcvBufferMax?: number;
  listen?: boolean;
  mss?: number;
  /** Its service agrees to ECN. */
  ecn?: boolean;
  startUs?: number;
}

/** One core and the calls of an application, by name instead of by pointer. */
export class End {
  readonly core: TestCore;
  readonly name: "a" | "b";
  readonly family: 4 | 6;
  readonly events: CoreEvent[] = [];
  /** Times of the virtual clock plus this: the two ends' clocks need not agree. */
  readonly startUs: number;

  constructor(build: BuildName, name: "a" | "b", options: EndOptions) {
    this.core = openCore(build);
    this.name = name;
    this.family = options.family ?? 4;
    this.startUs = options.startUs ?? 1_000_000;
    const { listen, mss, ecn } = options;
    const parameters: Record<string, unknown> = { ...options };
    for (const own of ["family", "listen", "mss", "ecn", "startUs"]) delete parameters[own];
    const err = initCore(this.core, parameters, this.startUs);
    if (err !== 0) throw new Error(`init returned ${err}`);
    const port = name === "a" ? PORT_A : PORT_B;
    this.addService(port, listen ?? name === "b", mss ?? 0, ecn ?? false);
  }

  addService(port: number, listen: boolean, mss = 0, ecn = false): number {
    const flags = (listen ? 1 : 0) | (ecn ? 2 : 0);
    return withAddress(this.core, ADDRESS[this.family][this.name], (family, ptr) =>
      this.core.f.serviceAdd!(family, ptr, port, mss, flags),
    );
  }

  connect(clockUs: number, ports: { local?: number; remote?: number } = {}): number {
    const other = this.name === "a" ? "b" : "a";
    setTuple(this.core, {
      remote: ADDRESS[this.family][other],
      remotePort: ports.remote ?? (this.name === "a" ? PORT_B : PORT_A),
      local: ADDRESS[this.family][this.name],
      localPort: ports.local ?? (this.name === "a" ? PORT_A : PORT_B),
    });
    return this.core.f.connect!(clockUs + this.startUs);
  }

  /** Writes what fits; returns how many bytes that was. */
  write(handle: number, data: Uint8Array, clockUs: number): number {
    let done = 0;
    while (done < data.length) {
      const len = this.core.f.reserve!(handle);
      if (len < 0) throw new Error(`reserve returned ${len}`);
      if (len === 0) break;
      const part = data.subarray(done, done + len);
      this.core.write(this.#span().ptr, part);
      const err = this.core.f.commit!(handle, part.length, clockUs + this.startUs);
      if (err !== 0) throw new Error(`commit returned ${err}`);
      done += part.length;
    }
    return done;
  }

  /** Reads and consumes everything that is there, at most `limit` bytes. */
  read(handle: number, clockUs: number, limit = Infinity): Uint8Array {
    const parts: Uint8Array[] = [];
    let total = 0;
    for (;;) {
      const len = this.core.f.readable!(handle, 0);
      if (len < 0) throw new Error(`readable returned ${len}`);
      const take = Math.min(len, limit - total);
      if (take <= 0) break;
      parts.push(this.core.read(this.#span().ptr, take));
      total += take;
      const err = this.core.f.consume!(handle, take, clockUs + this.startUs);
      if (err !== 0) throw new Error(`consume returned ${err}`);
    }
    const out = new Uint8Array(total);
    let at = 0;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }

  #span(): { ptr: number; len: number } {
    const ptr = this.core.f.spanPtr!();
    const { view } = this.core;
    return { ptr: view.getUint32(ptr, true), len: view.getUint32(ptr + 4, true) };
  }

  shutdown(handle: number, clockUs: number): number {
    return this.core.f.shutdown!(handle, clockUs + this.startUs);
  }

  abort(handle: number, clockUs: number): number {
    return this.core.f.abort!(handle, clockUs + this.startUs);
  }

  release(handle: number): number {
    return this.core.f.release!(handle);
  }

  option(handle: number, name: string, value: number): number {
    return this.core.f.setOption!(handle, this.core.constant(`Option.${name}`), value);
  }

  state(handle: number): string {
    const state = this.core.f.connectionState!(handle);
    return state < 0 ? `error ${state}` : STATES[state]!;
  }

  /** One u32 variable of Info, by its constant's name: "SND_UNA". */
  info(handle: number, name: string): number {
    if (this.core.f.connectionInfo!(handle) !== 0) throw new Error("no such connection");
    const at = this.core.f.infoPtr!() + this.core.constant(`InfoOff.${name}`);
    return u32(this.core.view.getUint32(at, true));
  }

  pollEvents(): CoreEvent[] {
    const found: CoreEvent[] = [];
    while (this.core.f.pollEvent!() === 1) {
      const base = this.core.f.eventPtr!();
      const word = (name: string) =>
        this.core.view.getUint32(base + this.core.constant(`EventOff.${name}`), true);
      found.push({
        type: EVENTS[word("TYPE")]!,
        handle: word("HANDLE"),
        code: word("CODE") | 0,
        ownerPeer: word("OWNER_PEER"),
        ownerFlow: word("OWNER_FLOW"),
        sndNxt: word("SND_NXT"),
        tsVal: word("TSVAL"),
      });
    }
    this.events.push(...found);
    return found;
  }

  /** Handles of the events of one kind seen so far. */
  handles(type: string): number[] {
    return this.events.filter((event) => event.type === type).map((event) => event.handle);
  }
}

interface InFlight {
  at: number;
  order: number;
  to: End;
  packet: BatchPacket;
}

export interface PairOptions {
  build?: BuildName;
  a?: EndOptions;
  b?: EndOptions;
  wire?: Wire;
  family?: 4 | 6;
}

export class Pair {
  readonly a: End;
  readonly b: End;
  readonly wire: Wire;
  /** Microseconds since the test began. */
  now = 0;
  /** Every packet that was sent, dropped ones included. */
  readonly trace: { at: number; from: "a" | "b"; packet: TcpPacket; dropped: boolean }[] = [];
  /** Called after every step: where an application runs, and where invariants are checked. */
  onStep: (() => void) | undefined;
  keepTrace = true;
  /** A step happens then in any case: for a test that must wake up while both cores sleep. */
  alarm = Infinity;
  #inFlight: InFlight[] = [];
  #order = 0;
  #sent = { a: 0, b: 0 };
  readonly #random: SeededRandom;

  constructor(options: PairOptions = {}) {
    const family = options.family ?? 4;
    const build = options.build ?? "release";
    this.a = new End(build, "a", { family, ...options.a });
    this.b = new End(build, "b", { family, startUs: 77_000_123, ...options.b });
    this.wire = { delayUs: 1000, ...options.wire };
    this.#random = new SeededRandom(this.wire.seed ?? 1);
  }

  /** Opens a connection from a to b and runs until both know; returns both handles. */
  open(ecn = false): { a: number; b: number } {
    const a = this.a.connect(this.now);
    if (a <= 0) throw new Error(`connect returned ${a}`);
    if (ecn) this.a.option(a, "ECN", 1);
    const before = this.b.handles("ACCEPTED").length;
    this.runUntil(
      () => this.b.handles("ACCEPTED").length > before && this.a.state(a) !== "SYN_SENT",
    );
    return { a, b: this.b.handles("ACCEPTED").at(-1)! };
  }

  /** Puts a packet of a test's own making on the wire. */
  inject(to: "a" | "b", bytes: Uint8Array): void {
    const packet: BatchPacket = {
      bytes,
      flags: 0,
      csumStart: 0,
      csumOffset: 0,
      gsoType: 0,
      gsoSize: 0,
      headerLen: 0,
      verdict: 2,
      peer: 0,
      flow: 0,
      record: 0,
      handle: 0,
    };
    this.#inFlight.push({ at: this.now, order: this.#order++, to: this[to], packet });
  }

  /** Takes what both ends want to send. */
  flush(): void {
    for (const end of [this.a, this.b]) {
      for (const packet of drain(end.core, "pollTransmit", this.now + end.startUs)) {
        this.#send(end, packet);
      }
    }
  }

  #send(from: End, packet: BatchPacket): void {
    const parsed = parseTcp(packet.bytes);
    const checksumOk = packet.flags === 0 ? parsed.tcpChecksumOk : parsed.partialChecksumOk;
    if (!checksumOk || !parsed.ipChecksumOk) throw new Error(`bad checksum from ${from.name}`);
    const nth = this.#sent[from.name]++;
    const { loss = 0, duplicate = 0, jitterUs = 0, delayUs = 0, pass } = this.wire;
    const lost = this.#random.fraction() < loss;
    const dropped = lost || (pass !== undefined && !pass(parsed, from.name, nth));
    if (this.keepTrace) this.trace.push({ at: this.now, from: from.name, packet: parsed, dropped });
    if (dropped) return;
    if ((parsed.trafficClass & 3) % 3 !== 0 && this.wire.mark?.(parsed, from.name)) {
      markCongestion(packet.bytes);
    }
    const to = from === this.a ? this.b : this.a;
    const copies = this.#random.fraction() < duplicate ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const at = this.now + delayUs + Math.floor(this.#random.fraction() * jitterUs);
      this.#inFlight.push({ at, order: this.#order++, to, packet });
    }
  }

  /** One step of the clock: whatever is due next happens. False when nothing will ever happen. */
  step(limitUs = Infinity): boolean {
    this.flush();
    const timeout = Math.min(
      ...[this.a, this.b].map((end) => end.core.f.nextTimeoutUs!() - end.startUs),
    );
    const arrival = Math.min(...this.#inFlight.map(({ at }) => at));
    const next = Math.min(timeout, arrival, this.alarm);
    if (next === Infinity || next > limitUs) return false;
    this.now = Math.max(this.now, next);
    if (this.alarm <= this.now) this.alarm = Infinity;
    const due = this.#inFlight
      .filter(({ at }) => at <= this.now)
      .sort((x, y) => x.at - y.at || x.order - y.order);
    this.#inFlight = this.#inFlight.filter(({ at }) => at > this.now);
    for (const end of [this.a, this.b]) {
      const packets = due.filter(({ to }) => to === end).map(({ packet }) => packet);
      for (let at = 0; at < packets.length; at += 64) {
        feed(end.core, packets.slice(at, at + 64), this.now + end.startUs);
      }
      end.core.f.handleTimeout!(this.now + end.startUs);
      end.pollEvents();
    }
    this.onStep?.();
    return true;
  }

  /** Runs until `done`, for at most `seconds` of virtual time; fails with a trace when it does not come. */
  runUntil(done: () => boolean, seconds = 600): void {
    const limit = this.now + seconds * 1_000_000;
    for (let steps = 0; !done(); steps++) {
      if (steps > 200_000) throw new Error(`no end after ${steps} steps\n${this.describe(40)}`);
      if (!this.step(limit)) {
        if (done()) return;
        throw new Error(`did not happen by ${this.now} us\n${this.describe(40)}`);
      }
    }
  }

  /** Runs for `us` of virtual time. */
  run(us: number): void {
    const limit = this.now + us;
    while (this.step(limit));
    this.now = limit;
  }

  describe(last = 40): string {
    return this.trace
      .slice(-last)
      .map(({ at, from, packet, dropped }) => {
        const blocks = packet.options
          .filter(({ kind }) => kind === 5)
          .map(({ bytes }) => ` sack:${bytes.length / 8}`)
          .join("");
        const text = `${"FSRPAUEC"
          .split("")
          .filter((_, bit) => (packet.flags >> bit) & 1)
          .join(
            "",
          )} seq=${packet.seq} ack=${packet.ack} win=${packet.window} len=${packet.payload.length}${blocks}`;
        return `${String(at).padStart(10)} ${from} ${dropped ? "LOST " : ""}${text}`;
      })
      .join("\n");
  }
}

export { describePacket };

/** Bytes whose value tells their position: a shift or a gap cannot go unseen. */
export function pattern(length: number, start = 0): Uint8Array {
  const out = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    const at = start + i;
    out[i] = (at ^ (at >>> 8) ^ (at >>> 16) ^ ((at * 2654435761) >>> 24)) & 255;
  }
  return out;
}

/** Moves `data` from one end to the other while the clock runs; returns what came out. */
export function transfer(
  pair: Pair,
  from: "a" | "b",
  handles: { a: number; b: number },
  data: Uint8Array,
  seconds = 600,
): Uint8Array {
  const to = from === "a" ? "b" : "a";
  const out = new Uint8Array(data.length);
  let written = 0;
  let read = 0;
  const work = () => {
    if (written < data.length) {
      written += pair[from].write(handles[from], data.subarray(written), pair.now);
    }
    const part = pair[to].read(handles[to], pair.now);
    out.set(part, read);
    read += part.length;
  };
  const before = pair.onStep;
  pair.onStep = () => {
    before?.();
    work();
  };
  work();
  pair.runUntil(() => read === data.length, seconds);
  pair.onStep = before;
  return out;
}
