import { suite } from "uvu";
import * as assert from "uvu/assert";
import { putU64 } from "../../host/transport/bytes.ts";
import { HELLO_BYTES } from "../../host/transport/hello.ts";
import { insider } from "./insider.ts";
import { Network, numbered, numberOf, pair, seeded, type Station } from "./network.ts";

const hostile = suite("transport under attack");

/** Every datagram is counted in exactly one way. */
function addUp(station: Station): void {
  const c = station.transport.counters as Record<string, number>;
  const sum =
    c.opened! +
    c.hellos! +
    c.malformed! +
    c.unknownSession! +
    c.replayed! +
    c.forged! +
    c.helloStray! +
    c.helloOlder!;
  assert.is(sum, c.datagramsIn, JSON.stringify(c));
}

/** What an outsider must not be able to change. */
function state(station: Station, peers: readonly Station[]): unknown {
  const { transport } = station;
  return {
    epochs: peers.map((peer) => transport.peerEpoch(peer.id)),
    rtt: peers.map((peer) => transport.peerRttUs(peer.id)),
    received: station.received.length,
    outcomes: { ...station.outcomes },
    memory: transport.counters.reassemblyBytes,
    chunks: transport.counters.chunksIn,
  };
}

/** A pair with traffic behind it, a blob half arrived, and one of each kind of datagram to b. */
function halfway() {
  const { network, a, b } = pair(1);
  a.send(b, numbered(1, 500));
  b.send(a, numbered(2, 5_000));
  network.run(1_000_000);
  let count = 0;
  network.filter = ({ from }) => from.address !== "a" || count++ < 5;
  a.send(b, numbered(3, 30_000));
  network.run(500);
  network.filter = () => false;
  const toB = network.carried.filter(({ to }) => to.address === "b");
  const hello = toB.find(({ bytes }) => bytes.length === HELLO_BYTES)!;
  const sealed = toB.at(-1)!;
  return { network, a, b, hello, sealed };
}

hostile("a datagram with any one bit flipped changes nothing", () => {
  const { network, a, b, hello, sealed } = halfway();
  const before = state(b, [a]);
  for (const { from, bytes } of [hello, sealed]) {
    for (let bit = 0; bit < Math.min(bytes.length, 150) * 8; bit += 1) {
      const flipped = bytes.slice();
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      b.transport.handleDatagram(from, flipped);
    }
  }
  network.run(10_000);
  assert.equal(state(b, [a]), before);
  assert.ok(b.transport.counters.forged! > 1_000);
  addUp(b);
  // The real one still opens: forgeries used up none of its counters.
  const opened = b.transport.counters.opened!;
  b.transport.handleDatagram(sealed.from, sealed.bytes);
  assert.is(b.transport.counters.opened, opened + 1);
});

hostile("a datagram cut or stretched to any length changes nothing", () => {
  const { a, b, hello, sealed } = halfway();
  const before = state(b, [a]);
  for (const { from, bytes } of [hello, sealed]) {
    for (let length = 0; length < bytes.length; length += 1) {
      b.transport.handleDatagram(from, bytes.subarray(0, length));
    }
    for (const extra of [1, 16, 2_000, 60_000]) {
      const longer = new Uint8Array(bytes.length + extra);
      longer.set(bytes);
      b.transport.handleDatagram(from, longer);
    }
  }
  assert.equal(state(b, [a]), before);
  addUp(b);
});

hostile("replay of all that was ever sent delivers nothing twice", () => {
  const { network, a, b } = pair(2, { loss: 0.1, reorder: 0.2 });
  for (let i = 0; i < 100; i += 1) {
    a.send(b, numbered(i, (i * 97) % 6_000));
    b.send(a, numbered(i, (i * 31) % 3_000));
    a.transport.sendUnreliable(b.id, numbered(1_000 + i, 2_000));
    network.run(2_000);
  }
  network.run(5_000_000);
  const reliable = () =>
    [a, b].map(({ received }) => received.filter(({ bytes }) => numberOf(bytes) < 1_000).length);
  assert.equal(reliable(), [100, 100]);
  const memory = b.transport.counters.reassemblyBytes;
  for (const order of [network.carried.slice(), network.carried.slice().reverse()]) {
    for (const { from, to, bytes } of order) {
      (to.address === "a" ? a : b).transport.handleDatagram(from, bytes);
    }
    network.run(1_000_000);
  }
  assert.equal(reliable(), [100, 100]);
  // An unreliable one that was lost may arrive this late, but never a second time.
  const numbers = b.received.map(({ bytes }) => numberOf(bytes));
  assert.is(new Set(numbers).size, numbers.length);
  assert.is(b.transport.counters.reassemblyBytes, memory);
  assert.ok(b.transport.counters.replayed! > 100);
  assert.is(a.transport.peerEpoch(b.id), b.transport.epoch);
  addUp(a);
  addUp(b);
});

hostile("a stale epoch is answered by hellos at a bounded rate, never by more bytes", () => {
  const { network, a, b } = pair(3);
  for (let i = 0; i < 30; i += 1) a.send(b, numbered(i, 300));
  network.run(1_000_000);
  const stale = network.carried.filter(
    ({ to, bytes }) => to.address === "b" && bytes.length > HELLO_BYTES,
  );
  b.restart([a]);
  a.transport.close();
  network.stations = [b];
  const { bytesIn: inBefore = 0, bytesOut: outBefore = 0 } = b.transport.counters;
  const beginUs = network.nowUs;
  for (let round = 0; round < 1_000; round += 1) {
    const { from, bytes } = stale[round % stale.length]!;
    b.transport.handleDatagram(from, bytes);
    network.run(1_000);
  }
  const { bytesIn = 0, bytesOut = 0, hellosOut = 0, unknownSession } = b.transport.counters;
  assert.is(unknownSession, 1_000);
  assert.ok(bytesOut - outBefore <= bytesIn - inBefore);
  assert.ok(hellosOut >= 3 && hellosOut <= (network.nowUs - beginUs) / 20_000 + 1, `${hellosOut}`);
  addUp(b);
});

hostile("hellos are answered at a bounded rate, to a stranger's address too", () => {
  const { network, a, b } = pair(4);
  a.transport.hello(b.id);
  network.run(1_000_000);
  const { bytes } = network.carried.find(({ to }) => to.address === "b")!;
  const stranger = { address: "stranger", port: 9 };
  const before = network.carried.length;
  for (let i = 0; i < 5_000; i += 1) {
    b.transport.handleDatagram(stranger, bytes);
    network.run(200);
  }
  assert.ok(
    network.carried.length - before <= 100 + 100,
    "a hundred a second, and the first burst",
  );
  assert.ok(b.transport.counters.helloLimited! > 4_000);
  assert.is(b.transport.peerEpoch(a.id), a.transport.epoch);
  // The stranger's address is used for nothing else.
  network.carried.length = 0;
  b.send(a, numbered(1, 100));
  network.run(1_000);
  assert.ok(network.carried.every(({ to }) => to.address !== "stranger"));
});

hostile("nodes with another cluster key are not heard", () => {
  const network = new Network(5);
  const a = network.station("a");
  const b = network.station("b", { keys: [new Uint8Array(32).fill(1)] });
  a.knows(b);
  b.knows(a);
  a.send(b, numbered(1, 10));
  b.transport.hello(a.id);
  network.run(3_000_000);
  assert.is(a.transport.peerEpoch(b.id), undefined);
  assert.is(b.transport.peerEpoch(a.id), undefined);
  assert.is(a.transport.counters.forged, a.transport.counters.datagramsIn);
});

hostile(
  "a hello of a node that is no peer, for another one, or of another worker is counted",
  () => {
    const network = new Network(6);
    const a = network.station("a");
    const b = network.station("b");
    const c = network.station("c");
    const w = network.station("w", { worker: 1 });
    for (const other of [b, c, w]) other.knows(a);
    a.knows(b);
    a.knows(w);
    for (const other of [c, w]) other.transport.hello(a.id);
    network.run(50_000);
    assert.is(a.transport.counters.helloStray, 2);
    // What was meant for c, sent to a.
    b.knows(c);
    b.transport.hello(c.id);
    network.run(50_000);
    const { bytes } = network.carried.find(({ to }) => to.address === "c")!;
    a.transport.handleDatagram(b.endpoint, bytes);
    assert.is(a.transport.counters.helloStray, 3);
    assert.is(a.transport.peerEpoch(c.id), undefined);
    addUp(a);
  },
);

hostile("a datagram does not open in the other direction, nor in another session", () => {
  const network = new Network(7);
  const [a, b, c] = ["a", "b", "c"].map((name) => network.station(name)) as [
    Station,
    Station,
    Station,
  ];
  for (const node of [a, b, c])
    for (const other of [a, b, c]) if (node !== other) node.knows(other);
  a.send(b, numbered(1, 100));
  a.send(c, numbered(2, 100));
  network.run(1_000_000);
  const sealed = (to: Station) =>
    network.carried.filter((d) => d.to.address === to.name && d.bytes[1] === 0x12);
  for (const { from, bytes } of sealed(b)) {
    a.transport.handleDatagram(from, bytes);
    c.transport.handleDatagram(from, bytes);
  }
  assert.is(a.transport.counters.unknownSession, sealed(b).length);
  assert.is(c.transport.counters.unknownSession, sealed(b).length);
  // With the tag of the other session written over, the key still does not fit.
  const forged = sealed(b)[0]!.bytes.slice();
  forged.set(sealed(c)[0]!.bytes.subarray(2, 8), 2);
  putU64(forged, 16, 1_000);
  c.transport.handleDatagram(a.endpoint, forged);
  assert.is(c.transport.counters.forged, 1);
});

hostile("random bytes, with and without a plausible start, change nothing", () => {
  const { network, a, b, hello, sealed } = halfway();
  const before = state(b, [a]);
  for (let seed = 0; seed < 4_000; seed += 1) {
    const draw = seeded(seed);
    const bytes = Uint8Array.from({ length: Math.floor(draw() * 300) }, () => draw() * 256);
    if (seed % 2 === 0) {
      const source = seed % 4 === 0 ? hello.bytes : sealed.bytes;
      bytes.set(source.subarray(0, Math.min(bytes.length, Math.floor(draw() * 60))));
    }
    b.transport.handleDatagram(a.endpoint, bytes);
    if (seed % 50 === 0) network.run(1_000);
  }
  assert.equal(state(b, [a]), before);
  addUp(b);
});

hostile(
  "a peer that seals nonsense cannot make it throw, or take more memory than its window",
  () => {
    const limits = { windowBytes: 300_000, messageBytesMax: 200_000, unreliablePartialMax: 8 };
    for (let seed = 1; seed <= 30; seed += 1) {
      const { network, a, b } = pair(seed, {}, limits);
      a.send(b, numbered(1, 100));
      b.send(a, numbered(2, 20_000));
      network.run(1_000_000);
      network.filter = () => false;
      b.send(a, numbered(3, 100_000));
      b.send(a, numbered(4, 10));
      network.run(1_000);
      const seal = insider(a, b);
      const draw = seeded(seed);
      for (let i = 0; i < 400; i += 1) {
        b.transport.handleDatagram(a.endpoint, seal(nonsense(draw)));
        if (i % 20 === 0) network.run(2_000);
        assert.ok(b.transport.counters.reassemblyBytes! <= 300_000, `seed ${seed}`);
      }
      network.run(3_000_000);
      addUp(b);
      assert.ok(b.transport.counters.opened! > 50, "some of it was well formed");
    }
  },
);

/** Frames with likely types, small numbers and any lengths. */
function nonsense(draw: () => number): Uint8Array {
  const bytes = Uint8Array.from({ length: Math.floor(draw() * 400) }, () =>
    draw() < 0.6 ? 0 : draw() < 0.5 ? draw() * 8 : draw() * 256,
  );
  if (bytes.length > 20) bytes[0] = 1 + Math.floor(draw() * 7);
  switch (bytes[0]) {
    case 1:
    case 7:
      return bytes.subarray(0, 7);
    case 2:
      return bytes.subarray(0, 15);
    case 3:
      bytes[7] = Math.min(32, Math.max(0, bytes.length - 8));
      return bytes.subarray(0, 8 + bytes[7]);
    case 4:
      bytes[9] = Math.min(128, Math.max(0, bytes.length - 10));
      return bytes.subarray(0, 10 + bytes[9]);
    case 5: {
      const whole = new Uint8Array(13 + 1_336);
      whole.set(bytes.subarray(0, 13));
      whole[7] = 0;
      whole[8]! &= 3;
      whole[9] = 100;
      whole[11] = 0;
      return whole;
    }
    default:
      return bytes;
  }
}

hostile("acknowledgements of what was never sent, and windows of any size, do no harm", () => {
  const { network, a, b } = pair(40);
  a.send(b, numbered(1, 100));
  network.run(1_000_000);
  const seal = insider(b, a);
  const ack = (windowBytes: number) => {
    const frame = new Uint8Array(15).fill(255);
    frame[0] = 2;
    new DataView(frame.buffer).setUint32(1, windowBytes);
    return frame;
  };
  a.transport.handleDatagram(b.endpoint, seal(ack(0)));
  for (let i = 0; i < 5; i += 1) a.send(b, numbered(10 + i, 50_000));
  network.run(100_000);
  const done = new Uint8Array(8 + 32).fill(255);
  done.set([3, 0, 0, 0, 0, 0, 5, 32]);
  a.transport.handleDatagram(b.endpoint, seal(done));
  a.transport.handleDatagram(b.endpoint, seal(ack(0xffff_ffff)));
  assert.ok(network.run(10_000_000, () => a.outcomes.delivered === 6));
  assert.equal(
    b.received.map(({ bytes }) => numberOf(bytes)).sort((x, y) => x - y),
    [1, 10, 11, 12, 13, 14],
  );
});

hostile.run();
