/**
 * The pool that all buffers share, when it is too small for everybody: who may take, who waits, who is turned
 * away, and that no acknowledged byte is lost. RFC 9293 3.8.6.2.2 (no window is taken back), RFC 2018 8.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SeededRandom } from "../../host/sim/random.ts";
import { counter } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { SYN, option } from "../support/packet.ts";
import { Pair, pattern } from "./pair.ts";
import { Peer } from "./peer.ts";

const pressure = suite("pressure");
const SECOND = 1_000_000;
const CHUNK = 4096;

interface Ends {
  a: number;
  b: number;
}

const CLIENT_PORTS = 500;

/** Opens connections from a to b, the `first`th and those after it: each pair of ports once. */
function openMany(pair: Pair, count: number, first = 0): Ends[] {
  const before = pair.b.handles("ACCEPTED").length;
  const byPorts = new Map<string, Partial<Ends>>();
  for (let index = first; index < first + count; index++) {
    const local = 1024 + (index % CLIENT_PORTS);
    const remote = 80 + Math.floor(index / CLIENT_PORTS);
    if (index < CLIENT_PORTS) pair.a.addService(local, false);
    if (index > 0 && index % CLIENT_PORTS === 0) pair.b.addService(remote, true);
    const a = pair.a.connect(pair.now, { local, remote });
    assert.ok(a > 0, `connect returned ${a}`);
    byPorts.set(`${local} ${remote}`, { a });
  }
  pair.runUntil(() => pair.b.handles("ACCEPTED").length === before + count, 30);
  for (const b of pair.b.handles("ACCEPTED").slice(before)) {
    byPorts.get(portsOf(pair, b))!.b = b;
  }
  return [...byPorts.values()] as Ends[];
}

/** The client's and the service's port of a connection at b. */
function portsOf(pair: Pair, handle: number): string {
  const { core } = pair.b;
  assert.is(core.f.connectionInfo!(handle), 0);
  const tuple = core.f.infoPtr!() + core.constant("InfoOff.TUPLE");
  return `${core.view.getUint16(tuple + 4, true)} ${core.view.getUint16(tuple + 6, true)}`;
}

/** Lets connections send what nobody reads until b has only so many chunks left; returns how many did. */
function fillUntil(pair: Pair, all: readonly Ends[], chunks: number): number {
  let used = 0;
  while (pair.b.core.f.chunksFree!() > chunks) {
    assert.ok(used < all.length, "so many connections fill the pool");
    pair.a.write(all[used]!.a, pattern(3000), pair.now);
    pair.run(SECOND / 10);
    used += 1;
  }
  assert.is(pair.b.core.f.chunksFree!(), chunks);
  return used;
}

/** One connection's work: so many bytes up, echoed by b, `rounds` times. */
class Echo {
  done = 0;
  #sent = 0;
  #got = 0;
  #owed: Uint8Array[] = [];
  readonly pair: Pair;
  readonly ends: Ends;
  readonly data: Uint8Array;
  readonly rounds: number;

  constructor(pair: Pair, ends: Ends, bytes: number, rounds: number) {
    this.pair = pair;
    this.ends = ends;
    this.data = pattern(bytes, ends.a * 7);
    this.rounds = rounds;
  }

  work(): void {
    const { pair, ends, data } = this;
    if (this.done === this.rounds) return;
    if (this.#sent < data.length) {
      this.#sent += pair.a.write(ends.a, data.subarray(this.#sent), pair.now);
    }
    const read = pair.b.read(ends.b, pair.now);
    if (read.length > 0) this.#owed.push(read);
    while (this.#owed.length > 0) {
      const first = this.#owed[0]!;
      const wrote = pair.b.write(ends.b, first, pair.now);
      if (wrote < first.length) {
        this.#owed[0] = first.subarray(wrote);
        break;
      }
      this.#owed.shift();
    }
    const back = pair.a.read(ends.a, pair.now);
    assert.equal(back, data.slice(this.#got, this.#got + back.length), "what comes back is right");
    this.#got += back.length;
    if (this.#got < data.length) return;
    this.done += 1;
    this.#sent = this.#got = 0;
  }
}

pressure("a thousand connections that nobody reads leave room for all others to go on", () => {
  const SLOW = 1000;
  const CHUNKS = 2048;
  const BYTES = 60_000;
  const pair = new Pair({
    a: { connectionsMax: 2000, bufferBytes: 256 << 20 },
    b: { connectionsMax: 2000, halfOpenMax: 2000, bufferBytes: CHUNKS * CHUNK },
  });
  pair.keepTrace = false;
  const slow = openMany(pair, SLOW);
  const others = openMany(pair, 24, SLOW);
  const data = pattern(BYTES);
  for (const { a } of slow) assert.is(pair.a.write(a, data, pair.now), BYTES);
  pair.run(2 * SECOND);
  const { core } = pair.b;
  const started = pair.now;
  // Small questions, and one who sends and gets much, beside what fills the pool.
  const echoes = others.map(
    (ends, at) => new Echo(pair, ends, at === 0 ? 200_000 : 2_000, at === 0 ? 1 : 25),
  );
  pair.onStep = () => {
    for (const echo of echoes) echo.work();
  };
  pair.onStep();
  pair.runUntil(() => echoes.every(({ done, rounds }) => done === rounds), 120);
  assert.ok(pair.now - started < 60 * SECOND, `took ${(pair.now - started) / SECOND} s`);
  pair.onStep = undefined;
  assert.ok(counter(core, "TCP_POOL_DROPPED") > 0, "the pool is too small for what was promised");
  for (const { a, b } of [...slow, ...others]) {
    assert.is(pair.a.state(a), "ESTABLISHED");
    assert.is(pair.b.state(b), "ESTABLISHED");
  }

  // What was acknowledged is there, the rest comes as soon as somebody reads.
  const got = slow.map(() => 0);
  pair.onStep = () => {
    slow.forEach(({ b }, at) => {
      const part = pair.b.read(b, pair.now);
      if (part.length === 0) return;
      assert.equal(part, data.slice(got[at], got[at]! + part.length));
      got[at]! += part.length;
    });
  };
  pair.onStep();
  pair.runUntil(() => got.every((bytes) => bytes === BYTES), 600);
  pair.onStep = undefined;
  pair.run(SECOND);
  assert.is(core.f.chunksUsed!(), 0, "and all of it came back to the pool");
  assert.is(core.f.nodesUsed!(), 0);
});

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;

  pressure(title("a connection holds memory only while it holds data"), () => {
    const pair = new Pair({ build });
    const ends = pair.open();
    const held = () => [pair.a, pair.b].map(({ core }) => core.f.chunksUsed!());
    assert.equal(held(), [0, 0]);
    pair.a.write(ends.a, pattern(100), pair.now);
    assert.equal(held(), [1, 0]);
    pair.run(SECOND);
    assert.equal(held(), [0, 1], "acknowledged here, unread there");
    pair.b.read(ends.b, pair.now, 50);
    assert.equal(held(), [0, 1]);
    pair.b.read(ends.b, pair.now);
    assert.equal(held(), [0, 0]);
  });

  pressure(title("keeps the chunk of a span that is being written while ACKs arrive"), () => {
    const pair = new Pair({ build });
    const ends = pair.open();
    pair.a.write(ends.a, pattern(100), pair.now);
    pair.flush();
    const { core } = pair.a;
    assert.ok(core.f.reserve!(ends.a) > 1000);
    const span = core.view.getUint32(core.f.spanPtr!(), true);
    pair.run(SECOND); // everything before the span is acknowledged
    core.write(span, pattern(1000, 100));
    assert.is(core.f.commit!(ends.a, 1000, pair.now + pair.a.startUs), 0);
    pair.run(SECOND);
    assert.equal(pair.b.read(ends.b, pair.now), pattern(1100));
    assert.is(core.f.chunksUsed!(), 0);
  });

  pressure(title("turns new connections away when the pool runs dry, not those that exist"), () => {
    const pair = new Pair({ build, b: { connectionsMax: 128, bufferBytes: 64 * CHUNK } });
    const all = openMany(pair, 63);
    const { core } = pair.b;
    fillUntil(pair, all, 3);
    pair.a.addService(2000, false);
    const late = pair.a.connect(pair.now, { local: 2000 });
    pair.run(SECOND / 2);
    assert.is(pair.a.state(late), "SYN_SENT");
    assert.is(counter(core, "TCP_SYN_DROPPED"), 1);
    // Those that exist go on, also where nobody reads.
    assert.is(pair.b.write(all[1]!.b, pattern(500), pair.now), 500);
    pair.run(SECOND / 2);
    assert.equal(pair.a.read(all[1]!.a, pair.now), pattern(500));
    for (const { b } of all) pair.b.read(b, pair.now);
    pair.runUntil(() => pair.a.state(late) === "ESTABLISHED", 10);
  });

  pressure(title("tells a writer without memory when there is some"), () => {
    const pair = new Pair({ build, b: { bufferBytes: 16 * CHUNK } });
    const full = openMany(pair, 16);
    fillUntil(pair, full, 0);
    const [first, second] = full;
    assert.is(pair.b.write(first!.b, pattern(100), pair.now), 0, "no memory to write into");
    pair.run(SECOND);
    pair.b.read(second!.b, pair.now);
    const before = pair.b.handles("WRITABLE").length;
    pair.run(SECOND / 10);
    assert.equal(pair.b.handles("WRITABLE").slice(before), [first!.b]);
    assert.is(before, 0, "and not before");
    assert.is(pair.b.write(first!.b, pattern(100), pair.now), 100);
  });

  pressure(title("opens a window that memory had closed as soon as there is memory"), () => {
    const pair = new Pair({ build, b: { bufferBytes: 16 * CHUNK } });
    const [reader, ...full] = openMany(pair, 16);
    fillUntil(pair, full, 1);
    // It reads what comes, and has no room but one chunk: the first promise is used up.
    for (let turns = 0; pair.b.info(reader!.b, "RCV_WND") > CHUNK + 128; turns++) {
      assert.ok(turns < 50, "the window follows the pool");
      pair.a.write(reader!.a, pattern(1000), pair.now);
      pair.run(SECOND / 10);
      pair.b.read(reader!.b, pair.now);
    }
    const window = pair.b.info(reader!.b, "RCV_WND");
    const unread = window - 600;
    pair.a.write(reader!.a, pattern(unread), pair.now);
    pair.run(SECOND);
    assert.ok(pair.b.info(reader!.b, "RCV_WND") < 1000);
    assert.is(pair.b.core.f.chunksFree!(), 0);
    for (const { b } of full) pair.b.read(b, pair.now);
    pair.run(SECOND / 10);
    assert.ok(pair.b.info(reader!.b, "RCV_WND") > 8000, "told without having read");
    const [told] = pair.trace.filter(({ from }) => from === "b").slice(-1);
    assert.is(told?.packet.payload.length, 0);
  });

  pressure(title("gives up what one connection holds out of order for another's next byte"), () => {
    const hoarder = new Peer(build, { bufferBytes: 32 * CHUNK });
    hoarder.open(Buffer.concat([option.mss(1460), option.sackPermitted()]));
    const { core } = hoarder.end;
    for (let at = 1; at < 40; at++) {
      hoarder.send({ seq: hoarder.seq + at * 1460, payload: pattern(1460, at * 1460) });
    }
    const held = core.f.chunksUsed!();
    assert.ok(held >= 8, `${held} chunks lie beyond the hole`);
    // Others take the rest, one chunk each.
    const others = Array.from({ length: 31 }, (_, at) => {
      const port = 50_000 + at;
      const [synAck] = hoarder.send({ flags: SYN, sourcePort: port, seq: 1, ack: 0 });
      if (synAck === undefined) return undefined;
      const ack = synAck.seq + 1;
      hoarder.send({ sourcePort: port, seq: 2, ack });
      const [answer] = hoarder.send({ sourcePort: port, seq: 2, ack, payload: pattern(1000) });
      return answer?.ack;
    }).filter((ack) => ack !== undefined);
    assert.ok(others.length > 10);
    assert.equal(
      others,
      others.map(() => 1002),
      "each was stored",
    );
    // The pool runs dry only if nothing out of order is left.
    assert.ok(core.f.chunksFree!() > 0 || counter(core, "TCP_PRUNED") > 0);
    // The hoarder's own stream is whole in the end.
    const stream: number[] = [];
    for (let turn = 0; stream.length < 40 * 1460 && turn < 200; turn++) {
      const at = stream.length;
      hoarder.send({ seq: hoarder.seq + at, payload: pattern(1460, at) });
      stream.push(...hoarder.end.read(hoarder.handle, hoarder.now));
    }
    assert.equal(Uint8Array.from(stream.slice(0, 40 * 1460)), pattern(40 * 1460));
  });

  pressure(title("lets nobody's holes take the nodes that senders need"), () => {
    const peer = new Peer(build, { bufferBytes: 256 * CHUNK });
    peer.open();
    const { core } = peer.end;
    for (let port = 50_000; port < 50_025; port++) {
      const [synAck] = peer.send({ flags: SYN, sourcePort: port, seq: 1, ack: 0 });
      assert.ok(synAck);
      const ack = synAck.seq + 1;
      peer.send({ sourcePort: port, seq: 2, ack });
      for (let at = 1; at < 256; at++) {
        peer.send({ sourcePort: port, seq: 2 + 2 * at, ack, payload: pattern(1) });
      }
    }
    const nodes = core.f.nodesUsed!();
    const limit = 256 * 2 + 4096;
    assert.ok(nodes > limit * 0.7 && nodes < limit * 0.8, `${nodes} of ${limit} hold holes`);
    peer.end.option(peer.handle, "NODELAY", 1);
    for (let at = 0; at < 8; at++) assert.is(peer.write(pattern(10, at)).length, 1);
  });
}

pressure("random pressure: no acknowledged byte is lost, no right edge moves left", () => {
  const seed = Number(process.env["BATON_SEED"] ?? 1);
  const random = new SeededRandom(seed);
  const COUNT = 40;
  const BYTES = 50_000;
  const pair = new Pair({
    a: { connectionsMax: 64, bufferBytes: 64 << 20 },
    b: { connectionsMax: 64, bufferBytes: 64 * CHUNK },
    wire: { loss: 0.02, jitterUs: 3000, seed },
  });
  pair.keepTrace = false;
  const edges = new Map<number, number>();
  const all = openMany(pair, COUNT);
  const got = all.map(() => 0);
  const written = all.map(() => 0);
  const data = all.map((_, at) => pattern(BYTES, at * 1_000_003));
  pair.onStep = () => {
    all.forEach(({ a, b }, at) => {
      if (written[at]! < BYTES) {
        written[at]! += pair.a.write(a, data[at]!.subarray(written[at]), pair.now);
      }
      const edge = pair.b.info(b, "RCV_NXT") + pair.b.info(b, "RCV_WND");
      const last = edges.get(b) ?? edge;
      assert.ok(((edge - last) | 0) >= 0, `seed ${seed}: an edge moved left`);
      edges.set(b, edge);
      if (random.fraction() > 0.05) return;
      const part = pair.b.read(b, pair.now, 1 + Math.floor(random.fraction() * 20_000));
      assert.equal(part, data[at]!.slice(got[at], got[at]! + part.length), `seed ${seed}`);
      got[at]! += part.length;
    });
    pair.alarm = pair.now + 20_000;
  };
  pair.onStep();
  pair.runUntil(() => got.every((bytes) => bytes === BYTES), 1200);
  assert.ok(counter(pair.b.core, "TCP_POOL_DROPPED") > 0, "it was too little memory indeed");
  assert.is(pair.b.core.f.chunksUsed!(), 0);
});

pressure.run();
