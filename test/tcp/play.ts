/**
 * A whole connection played by a script: both sides write, read and close while the wire does its worst, and
 * every step and every segment is checked. Shared by the tests of streams and of migration.
 */
import fc from "fast-check";
import * as assert from "uvu/assert";
import type { BuildName } from "../support/core.ts";
import { RST, SYN, type TcpPacket } from "../support/packet.ts";
import { type EndOptions, Pair, pattern } from "./pair.ts";
import { isStamped, stampOf } from "./stamps.ts";

export interface Script {
  seed: number;
  loss: number;
  duplicate: number;
  jitterUs: number;
  delayUs: number;
  upload: number;
  download: number;
  writeMax: number;
  readMax: number;
  mtu: number;
  segmenting: number;
  family: 4 | 6;
  startUs: number;
  /** How far from its initial number the sequence numbers of each end wrap, about; null: far. */
  wrapIn: { a: number; b: number } | null;
}

const beforeWrap = fc.integer({ min: 0, max: 100_000 });

export const script: fc.Arbitrary<Script> = fc.record({
  seed: fc.integer(),
  loss: fc.constantFrom(0, 0.01, 0.05, 0.2),
  duplicate: fc.constantFrom(0, 0.05, 0.3),
  jitterUs: fc.constantFrom(0, 500, 30_000),
  delayUs: fc.constantFrom(50, 1000, 50_000),
  upload: fc.integer({ min: 0, max: 120_000 }),
  download: fc.integer({ min: 0, max: 120_000 }),
  writeMax: fc.constantFrom(1_000, 20_000, 1_000_000),
  readMax: fc.constantFrom(700, 10_000, 1_000_000),
  mtu: fc.constantFrom(1280, 1500, 9000),
  segmenting: fc.constantFrom(0, 1),
  family: fc.constantFrom(4 as const, 6 as const),
  startUs: fc.constantFrom(1, 1_000_000, 4_294_967_295_000 - 50_000, 4_294_967_295 - 5_000),
  wrapIn: fc.option(fc.record({ a: beforeWrap, b: beforeWrap })),
});

export interface Hook {
  trace?: boolean;
  begin?: (pair: Pair, handles: { a: number; b: number }) => void;
  before?: (pair: Pair, handles: { a: number; b: number }) => void;
  step?: (pair: Pair, handles: { a: number; b: number }) => void;
}

const TIME_WAIT_US = 60_000_000;
const WALL_MS = 1_700_000_000_000;
/** Initial sequence numbers go up by one each 64 ns of wall time. */
const NS_PER_NUMBER = 64;

/** Wall clocks with which the initial numbers of both ends lie so far before the wrap. */
function clocks(build: BuildName, one: Script, end: EndOptions): { a: number; b: number } {
  if (one.wrapIn === null) return { a: WALL_MS, b: WALL_MS };
  const { family, wrapIn } = one;
  const probe = new Pair({ build, family, a: end, b: end, wire: { delayUs: one.delayUs } });
  probe.open();
  const ms = (name: "a" | "b") => {
    const iss = probe.trace.find(({ from }) => from === name)!.packet.seq;
    return WALL_MS + (((-iss - wrapIn[name]) >>> 0) * NS_PER_NUMBER) / 1_000_000;
  };
  return { a: ms("a"), b: ms("b") };
}

/** What one end says, segment by segment: nothing of it is ever taken back. */
class Speech {
  #iss: number | undefined;
  #shift = 0;
  #edge: number | undefined;
  #ack: number | undefined;
  #stamp: number | undefined;
  readonly #stream: Uint8Array;

  constructor(stream: Uint8Array) {
    this.#stream = stream;
  }

  hear(packet: TcpPacket): void {
    const { flags, seq, ack, window, payload } = packet;
    if ((flags & RST) !== 0) return;
    const syn = (flags & SYN) !== 0;
    if (syn) {
      this.#iss = seq;
      this.#shift = packet.options.find(({ kind }) => kind === 3)?.bytes[0] ?? 0;
    }
    assert.ok(this.#iss !== undefined, "a SYN comes first");
    const at = (seq - this.#iss - 1) >>> 0;
    const wanted = this.#stream.subarray(at, at + payload.length);
    assert.is(Buffer.compare(payload, wanted), 0, `other bytes at ${at}`);
    if (isStamped(packet)) {
      const { value } = stampOf(packet);
      this.#stamp ??= value;
      assert.ok(((value - this.#stamp) | 0) >= 0, "TSval stepped back");
      this.#stamp = value;
    }
    if (ack === 0 && syn) return;
    this.#ack ??= ack;
    assert.ok(((ack - this.#ack) | 0) >= 0, "an acknowledgement was taken back");
    this.#ack = ack;
    const edge = (ack + (syn ? window : window << this.#shift)) >>> 0;
    this.#edge ??= edge;
    assert.ok(((edge - this.#edge) | 0) >= 0, `the window shrank by ${this.#edge - edge}`);
    this.#edge = edge;
  }
}

/** Runs a whole connection and checks what no step may break. */
export function play(build: BuildName, script: Script, hook?: Hook): Pair {
  const { seed, loss, duplicate, jitterUs, delayUs, mtu, segmenting, family, startUs } = script;
  const end = { mtu, segmenting, startUs };
  const wire = { seed, loss, duplicate, jitterUs, delayUs };
  const wallMs = clocks(build, script, end);
  const a = { ...end, wallMs: wallMs.a };
  const b = { ...end, wallMs: wallMs.b };
  const pair = new Pair({ build, family, a, b, wire });
  pair.keepTrace = hook?.trace ?? false;
  const handles = { a: pair.a.connect(pair.now), b: 0 };
  const sent = { a: pattern(script.upload), b: pattern(script.download, 7) };
  const speech = { a: new Speech(sent.a), b: new Speech(sent.b) };
  pair.wire.pass = (packet, from) => {
    speech[from].hear(packet);
    return true;
  };
  const got = { a: [] as Uint8Array[], b: [] as Uint8Array[] };
  const progress = { a: { wrote: 0, shut: false }, b: { wrote: 0, shut: false } };
  const work = (name: "a" | "b") => {
    const end = pair[name];
    const handle = handles[name];
    if (handle === 0 || end.core.f.connectionState!(handle) < 0) return;
    const mine = progress[name];
    if (mine.wrote < sent[name].length) {
      const part = sent[name].subarray(mine.wrote, mine.wrote + script.writeMax);
      mine.wrote += end.write(handle, part, pair.now);
    } else if (!mine.shut && end.state(handle) !== "SYN_SENT") {
      mine.shut = end.shutdown(handle, pair.now) === 0;
    }
    got[name].push(end.read(handle, pair.now, script.readMax));
    const una = end.info(handle, "SND_UNA");
    const nxt = end.info(handle, "SND_NXT");
    assert.ok(((nxt - una) | 0) >= 0, "SND.UNA <= SND.NXT");
  };
  hook?.begin?.(pair, handles);
  pair.onStep = () => {
    hook?.before?.(pair, handles);
    if (handles.b === 0) handles.b = pair.b.handles("ACCEPTED")[0] ?? 0;
    work("a");
    work("b");
    hook?.step?.(pair, handles);
  };
  const closedAt = { a: Infinity, b: Infinity };
  const closed = (name: "a" | "b") => {
    const done = pair[name].handles("CLOSED").length === 1;
    if (done) closedAt[name] = Math.min(closedAt[name], pair.now);
    return done;
  };
  pair.runUntil(() => [closed("a"), closed("b")].every(Boolean), 3600);
  for (let i = 0; i < 1000; i++) pair.onStep();
  for (const name of ["a", "b"] as const) {
    const other = name === "a" ? "b" : "a";
    assert.is(Buffer.compare(Buffer.concat(got[name]), Buffer.from(sent[other])), 0, "same bytes");
    // Who hears of the other's last ACK only when its TIME-WAIT is over finds nobody there, and is told so: the bytes
    // have arrived all the same.
    const late = closedAt[name] - closedAt[other] > TIME_WAIT_US;
    const code = pair[name].events.find(({ type }) => type === "CLOSED")?.code;
    const wanted = late && code !== 0 ? pair[name].core.constant("Err.RESET") : 0;
    assert.is(code, wanted, `closed at ${closedAt[name]}, the other at ${closedAt[other]}`);
    pair[name].release(handles[name]);
    pair[name].pollEvents();
    assert.is(pair[name].core.f.tcbCount!(), 0);
    assert.is(pair[name].core.f.chunksUsed!(), 0);
    assert.is(pair[name].core.f.nodesUsed!(), 0);
  }
  return pair;
}
