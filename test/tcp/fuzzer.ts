/**
 * The fuzzer of the stack: segments of a corpus (test/fixtures/fuzz.json), varied and broken, against a connection in
 * a given state, one at a time, with what must hold after each: no trap, no byte written outside the packet's slot or
 * into another connection's block, no reset that RFC 5961 forbids, numbers that only move forward, a window that
 * never shrinks, work that is bounded by what the connection holds.
 */
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { SeededRandom } from "../../host/sim/random.ts";
import { type RxPacket, drain, feed } from "../support/batch.ts";
import type { BuildName } from "../support/core.ts";
import {
  ACK,
  FIN,
  PSH,
  RST,
  SYN,
  URG,
  buildTcp,
  concat,
  describePacket,
  option,
  parseTcp,
} from "../support/packet.ts";
import { ADDRESS, PORT_A, PORT_B, Pair, STATES, pattern, transfer } from "./pair.ts";

type Variable = "RCV_NXT" | "SND_UNA" | "SND_NXT" | "EDGE" | "IRS" | "ISS";

interface Template {
  name: string;
  flags: string;
  seq: [Variable, number];
  ack: [Variable, number];
  len: number;
  window?: number;
  urgent?: number;
  /** Payload of each segment that the link has merged. */
  piece?: number;
}

const CORPUS = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/fuzz.json", import.meta.url), "utf8"),
) as Template[];

/** LISTEN has no connection; FROZEN is ESTABLISHED in the middle of a migration. */
export const FUZZ_STATES = [...STATES.filter((name) => name !== "CLOSED"), "FROZEN"] as const;
export type FuzzState = (typeof FUZZ_STATES)[number];

const FLAG_BITS: Readonly<Record<string, number>> = {
  F: FIN,
  S: SYN,
  R: RST,
  P: PSH,
  ".": ACK,
  U: URG,
  E: 64,
  W: 128,
};
const BYSTANDER_PORT = 41_000;
/** Links of lists are the core's own, and change with neighbours: hashNext and the room for links (tcb.ts). */
const LINKS = [
  [36, 40],
  [680, 720],
] as const;
/** Nodes looked at for one segment: some for each block of SACK, and for each node there is. */
const STEPS_MIN = 400;
const STEPS_PER_NODE = 40;
/** Packets that one segment may cause: a window that opens lets a whole one out. */
const ANSWERS_MAX = 64;

/** Brings a fresh pair's b into a state; returns b's handle, 0 where it is not reported. */
function into(pair: Pair, state: FuzzState): number {
  if (state === "LISTEN") return 0;
  if (state === "SYN_SENT") return pair.b.connect(pair.now);
  if (state === "SYN_RECEIVED") {
    pair.a.connect(pair.now);
    pair.wire.pass = (_packet, from) => from === "a";
    pair.run(3_000);
    return 0;
  }
  const handles = pair.open();
  transfer(pair, "a", handles, pattern(3_000));
  pair.b.write(handles.b, pattern(20_000), pair.now);
  pair.run(1_500);
  const shut = (name: "a" | "b") => {
    pair[name].shutdown(handles[name], pair.now);
    pair.run(300_000);
  };
  if (state === "FROZEN") assert.is(pair.b.core.f.freeze!(handles.b), 0);
  if (state === "CLOSE_WAIT" || state === "LAST_ACK") shut("a");
  if (state === "FIN_WAIT_2" || state === "TIME_WAIT") shut("b");
  if (state === "TIME_WAIT") shut("a");
  if (state === "CLOSING" || state === "FIN_WAIT_1" || state === "LAST_ACK") {
    if (state === "CLOSING") pair.wire.pass = (_packet, from) => from === "a";
    else pair.wire.pass = () => false;
    if (state === "CLOSING") pair.a.shutdown(handles.a, pair.now);
    pair.b.shutdown(handles.b, pair.now);
    pair.run(1_200);
  }
  return handles.b;
}

/** An idle connection of b's with somebody else: nothing that others get may change it. */
function bystander(pair: Pair): number {
  const { b } = pair;
  const source = ADDRESS[b.family].a;
  const destination = ADDRESS[b.family].b;
  const ports = { source, destination, sourcePort: BYSTANDER_PORT, destinationPort: PORT_B };
  const now = pair.now + b.startUs;
  feed(b.core, [buildTcp({ ...ports, flags: SYN, seq: 500 })], now);
  const [synAck] = drain(b.core, "pollTransmit", now);
  const view = new DataView(synAck!.bytes.buffer, synAck!.bytes.byteOffset);
  const ack = (view.getUint32((b.family === 4 ? 20 : 40) + 4) + 1) >>> 0;
  feed(b.core, [buildTcp({ ...ports, flags: ACK, seq: 501, ack })], now);
  const accepted = b.pollEvents().filter(({ type }) => type === "ACCEPTED");
  assert.is(accepted.length, 1);
  assert.equal(drain(b.core, "pollTransmit", now), []);
  return accepted[0]!.handle;
}

/** A packet of the connection under test; a broken segment may have been answered for another pair of ports. */
function isFromPair({ bytes }: { bytes: Uint8Array }): boolean {
  const { version, destination, sourcePort, destinationPort } = parseTcp(bytes);
  const isPeer = destination === ADDRESS[version].a;
  return isPeer && sourcePort === PORT_B && destinationPort === PORT_A;
}

export class Fuzzer {
  readonly pair: Pair;
  readonly #random: SeededRandom;
  readonly #state: FuzzState;
  readonly #handle: number;
  readonly #bystander: number;
  #before = { exists: false, state: "", una: 0, rcv: 0, edge: 0, iss: 0, nxt: 0 };

  constructor(build: BuildName, state: FuzzState, family: 4 | 6, seed: number) {
    this.#random = new SeededRandom(seed);
    this.#state = state;
    const segmenting = this.#random.below(2);
    const listen = state !== "SYN_SENT";
    const end = { family, segmenting };
    this.pair = new Pair({ build, family, a: end, b: { ...end, listen, connectionsMax: 8 } });
    this.#bystander = listen ? bystander(this.pair) : 0;
    this.#handle = into(this.pair, state);
    this.pair.wire.pass = () => false;
    if (this.#handle !== 0) {
      const reached = this.pair.b.state(this.#handle);
      assert.is(reached, state === "FROZEN" ? "ESTABLISHED" : state);
    }
  }

  /** Hands `count` segments over. */
  run(count: number): void {
    for (let at = 0; at < count; at++) this.#one();
    this.#giveBack();
  }

  #one(): void {
    const { pair } = this;
    const { core } = pair.b;
    if (this.#random.fraction() < 0.3) this.#turnClock();
    this.#look();
    const [packet, reset] = this.#packet();
    const bystander = this.#blockOf(this.#bystander);
    const frozen = this.#state === "FROZEN" ? this.#blockOf(this.#handle) : undefined;
    const nodes = core.f.nodesUsed!();
    const canary = this.#canary();
    core.f.nodeSteps!();
    feed(core, [packet], pair.now + pair.b.startUs);
    const steps = core.f.nodeSteps!();
    assert.ok(steps <= STEPS_MIN + STEPS_PER_NODE * nodes, `${steps} steps, ${nodes} nodes`);
    assert.ok(canary(packet), "nothing is written behind the packet");
    const answers = drain(core, "pollTransmit", pair.now + pair.b.startUs);
    assert.ok(answers.length <= ANSWERS_MAX, `${answers.length} answers`);
    assert.equal(this.#blockOf(this.#bystander), bystander, "a bystander's block");
    if (frozen) {
      const told = answers.filter(isFromPair).map(({ bytes }) => describePacket(bytes));
      assert.equal(told, [], "a frozen connection is silent");
      assert.equal(this.#blockOf(this.#handle), frozen, "a frozen connection does not change");
    }
    pair.b.pollEvents();
    this.#judge(reset);
    if (this.#random.fraction() < 0.2 && this.#exists() && !frozen) {
      pair.b.read(this.#handle, pair.now);
    }
  }

  /** Fills what is free behind the packet in its slot; the result tells whether that is untouched. */
  #canary(): (packet: RxPacket) => boolean {
    const { core } = this.pair.b;
    const at = core.f.rxBatchPtr!() + core.constant("DescriptorOff.PTR");
    const slot = core.view.getUint32(at, true);
    core.bytes.fill(0xa5, slot, slot + 65_536);
    return (packet) => {
      const len = packet instanceof Uint8Array ? packet.length : packet.bytes.length;
      return core.bytes.subarray(slot + len, slot + 65_536).every((byte) => byte === 0xa5);
    };
  }

  #exists(): boolean {
    return this.#handle !== 0 && this.pair.b.core.f.connectionState!(this.#handle) >= 0;
  }

  #turnClock(): void {
    const { pair } = this;
    pair.now += this.#random.below(400_000);
    pair.b.core.f.handleTimeout!(pair.now + pair.b.startUs);
    drain(pair.b.core, "pollTransmit", pair.now + pair.b.startUs);
    pair.b.pollEvents();
  }

  #look(): void {
    const { b } = this.pair;
    const exists = this.#exists() && b.core.f.connectionInfo!(this.#handle) === 0;
    const info = (name: string) => (exists ? b.info(this.#handle, name) : 0);
    const rcv = info("RCV_NXT");
    this.#before = {
      exists,
      state: exists ? b.state(this.#handle) : "",
      una: info("SND_UNA"),
      nxt: info("SND_NXT"),
      iss: info("ISS"),
      rcv,
      edge: (rcv + info("RCV_WND")) >>> 0,
    };
  }

  /** What must hold after a segment; `reset` says whether it was a RST that is to be believed. */
  #judge(reset: boolean): void {
    const before = this.#before;
    const { b } = this.pair;
    if (!before.exists || before.state === "CLOSED" || before.state === "TIME_WAIT") return;
    const last = b.events.findLast(
      ({ type, handle }) => type === "CLOSED" && handle === this.#handle,
    );
    const codes = ["RESET", "REFUSED"].map((name) => b.core.constant(`Err.${name}`));
    if (last && codes.includes(last.code)) assert.ok(reset, `reset in ${before.state}`);
    if (!this.#exists() || b.state(this.#handle) === "CLOSED") return;
    const info = (name: string) => b.info(this.#handle, name);
    const ahead = (from: number, to: number, what: string) =>
      assert.ok(((to - from) | 0) >= 0, `${what}: ${from} to ${to}`);
    ahead(info("SND_UNA"), info("SND_NXT"), "SND.UNA <= SND.NXT");
    if (before.state === "SYN_SENT" || b.state(this.#handle) === "TIME_WAIT") return;
    ahead(before.una, info("SND_UNA"), "SND.UNA never steps back");
    ahead(before.rcv, info("RCV_NXT"), "RCV.NXT never steps back");
    ahead(before.edge, info("RCV_NXT") + info("RCV_WND"), "the window never shrinks");
  }

  /** A segment of the corpus, varied; and whether it is a RST that must be believed. */
  #packet(): [RxPacket, boolean] {
    const random = this.#random;
    const { family } = this.pair.b;
    const template = CORPUS[random.below(CORPUS.length)]!;
    const wild = random.fraction();
    const seq = this.#number(template.seq, wild);
    const ack = this.#number(template.ack, wild);
    let flags = [...template.flags].reduce((bits, letter) => bits | FLAG_BITS[letter]!, 0);
    if (random.fraction() < 0.15) flags ^= 1 << random.below(8);
    const len = random.fraction() < 0.2 ? random.below(3_000) : template.len;
    const fields = {
      source: ADDRESS[family].a,
      destination: ADDRESS[family].b,
      sourcePort: PORT_A,
      destinationPort: PORT_B,
      seq,
      ack,
      flags,
      window: template.window ?? [0, 1, 65_535, random.below(65_536)][random.below(4)]!,
      urgent: template.urgent ?? random.below(65_536),
      options: this.#options(),
      payload: pattern(len),
    };
    const bytes = this.#extended(fields);
    const isRst = (flags & RST) !== 0;
    const acceptable = (flags & ACK) !== 0 && ack === (this.#before.iss + 1) >>> 0;
    let reset =
      isRst && (this.#before.state === "SYN_SENT" ? acceptable : seq === this.#before.rcv);
    let whole = bytes;
    if (random.fraction() < 0.15) {
      // Broken bytes may make anything of it but a wrong checksum keeps most of it out: see CSUM_VERIFIED.
      for (let n = 0; n <= random.below(3); n++) whole[random.below(80)] = random.below(256);
      if (random.fraction() < 0.3) whole = whole.slice(0, random.below(whole.length) + 1);
      reset = true;
    }
    const { core } = this.pair.b;
    const verified = random.fraction() < 0.7 ? core.constant("PacketFlag.CSUM_VERIFIED") : 0;
    if (template.piece === undefined || len <= template.piece) {
      return [{ bytes: whole, flags: verified }, reset];
    }
    const gsoType = core.constant(family === 4 ? "GsoType.TCPV4" : "GsoType.TCPV6");
    const gso = { gsoType, gsoSize: template.piece, headerLen: whole.length - len };
    return [{ bytes: whole, flags: core.constant("PacketFlag.CSUM_VERIFIED"), ...gso }, reset];
  }

  #extended(fields: Parameters<typeof buildTcp>[0]): Uint8Array {
    const random = this.#random;
    if (random.fraction() < 0.9) return buildTcp(fields);
    if (this.pair.b.family === 4) {
      return buildTcp({ ...fields, ipOptions: random.bytes(4 * (1 + random.below(10))) });
    }
    const bytes = new Uint8Array(8);
    return buildTcp({ ...fields, extensions: [{ type: [0, 60][random.below(2)]!, bytes }] });
  }

  #number([name, offset]: [Variable, number], wild: number): number {
    const { rcv, una, nxt, edge, iss } = this.#before;
    const base = { RCV_NXT: rcv, SND_UNA: una, SND_NXT: nxt, EDGE: edge, ISS: iss, IRS: rcv - 1 };
    const random = this.#random;
    if (wild < 0.05) return random.u32();
    const near = wild < 0.25 ? random.below(7) - 3 : 0;
    return (base[name] + offset + near) >>> 0;
  }

  #options(): Uint8Array {
    const random = this.#random;
    const { una, nxt } = this.#before;
    const within = () => (una + random.below(((nxt - una) >>> 0) + 20)) >>> 0;
    const exists = this.#before.exists;
    const info = (name: string) => (exists ? this.pair.b.info(this.#handle, name) : 0);
    const all = [
      () => new Uint8Array(0),
      () => option.timestamps((info("TS_RECENT") + random.below(5)) >>> 0, info("TS_LAST_SENT")),
      () => option.timestamps(random.u32(), random.u32()),
      () => option.sack([within(), within()]),
      () => option.sack([within(), within()], [within(), within()], [within(), within()]),
      () => option.mss(random.below(65_536)),
      () => option.windowScale(random.below(256)),
      () => random.bytes(4 * random.below(4)),
    ];
    const chosen = concat(...[0, 1].map(() => all[random.below(all.length)]!()));
    return chosen.length > 40 ? chosen.subarray(0, 40) : chosen;
  }

  /** The block of a connection without its links; empty where there is none. */
  #blockOf(handle: number): Uint8Array {
    const { core } = this.pair.b;
    if (handle === 0 || core.f.connectionState!(handle) < 0) return new Uint8Array(0);
    const block = core.read(core.f.tcbByHandle!(handle), core.constant("TCB_SIZE"));
    for (const [from, to] of LINKS) block.fill(0, from, to);
    return block;
  }

  /** Whatever happened, everything can be given back. */
  #giveBack(): void {
    const { pair } = this;
    const { core } = pair.b;
    const known = new Set([...pair.b.handles("ACCEPTED"), this.#handle, this.#bystander]);
    for (const handle of known) {
      if (handle > 0 && core.f.connectionState!(handle) >= 0) core.f.discard!(handle);
    }
    pair.now += 1_000_000_000;
    for (let turn = 0; turn < 400 && core.f.tcbCount!() > 0; turn++) {
      pair.now += 10_000_000;
      core.f.handleTimeout!(pair.now + pair.b.startUs);
      drain(core, "pollTransmit", pair.now + pair.b.startUs);
      pair.b.pollEvents();
      for (const handle of pair.b.handles("ACCEPTED")) {
        if (core.f.connectionState!(handle) >= 0) core.f.discard!(handle);
      }
    }
    for (const pool of ["tcbCount", "chunksUsed", "nodesUsed"]) assert.is(core.f[pool]!(), 0, pool);
  }
}

/** `count` segments in each state, on both families. Prints nothing; throws with the seed in the message. */
export function fuzzAll(build: BuildName, seed: number, count: number): void {
  for (const state of FUZZ_STATES) {
    for (const family of [4, 6] as const) fuzzOne(build, state, family, seed, count);
  }
}

export function fuzzOne(
  build: BuildName,
  state: FuzzState,
  family: 4 | 6,
  seed: number,
  count: number,
): void {
  try {
    new Fuzzer(build, state, family, seed).run(count);
  } catch (error) {
    const where = `${state}, IPv${family}, ${build}, npm run fuzz -- --seed ${seed} --count ${count}`;
    throw new Error(`${where}: ${(error as Error).message}`, { cause: error });
  }
}
