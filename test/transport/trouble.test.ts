import { suite } from "uvu";
import * as assert from "uvu/assert";
import { insider } from "./insider.ts";
import { Network, numbered, numberOf, pair, type Station } from "./network.ts";

const trouble = suite("transport trouble");

const SHARED = { windowBytes: 100_000, reassemblyBytesMax: 120_000 };

/** Two senders whose windows together are more than the receiver has; c holds most of it. */
function shared(): { network: Network; a: Station; b: Station; c: Station; free: () => void } {
  const network = new Network(1);
  const [a, b, c] = ["a", "b", "c"].map((name) => network.station(name, { limits: SHARED })) as [
    Station,
    Station,
    Station,
  ];
  for (const one of [a, c]) {
    one.knows(b);
    b.knows(one);
    one.transport.hello(b.id);
  }
  network.run(1_000_000);
  // The last chunk of what c sends is lost as long as it is told so.
  let isHeld = true;
  network.filter = ({ from, bytes }) => !isHeld || from.address !== "c" || bytes.length > 1_300;
  c.send(b, numbered(1, 90_000));
  network.run(500);
  assert.is(b.transport.counters.reassemblyBytes, 90_000);
  return { network, a, b, c, free: () => (isHeld = false) };
}

trouble("a refused blob waits in silence, and leaves as soon as there is room", () => {
  const { network, a, b, free } = shared();
  a.send(b, numbered(2, 90_000));
  network.run(3_000_000);
  assert.is(a.outcomes.delivered, 0);
  const tries = a.transport.counters.chunksOut!;
  assert.ok(tries < 68 + 20, `${tries} chunks though nothing is taken`);
  free();
  assert.ok(network.run(2_000_000, () => b.received.length === 1));
  const freedUs = network.nowUs;
  assert.ok(
    network.run(10_000, () => b.received.length === 2),
    "told at once, not found by asking",
  );
  assert.ok(network.nowUs - freedUs < 2_000);
});

trouble("a window whose opening was not heard is asked for", () => {
  const { network, a, b, free } = shared();
  a.send(b, numbered(2, 90_000));
  network.run(3_000_000);
  free();
  const { filter } = network;
  network.filter = (datagram) => datagram.to.address !== "a" && filter(datagram);
  assert.ok(network.run(2_000_000, () => b.received.length === 1));
  network.run(5_000);
  network.filter = filter;
  assert.ok(network.run(5_000_000, () => b.received.length === 2));
  assert.ok(a.transport.counters.windowProbes! > 0);
});

trouble("an old word about the window does not undo a newer one", () => {
  const { network, a, b } = pair(2);
  a.send(b, numbered(1, 100));
  network.run(1_000_000);
  const seal = insider(b, a);
  const ack = (windowBytes: number): Uint8Array => {
    const frame = new Uint8Array(15).fill(255);
    frame[0] = 2;
    new DataView(frame.buffer).setUint32(1, windowBytes);
    return seal(frame);
  };
  const old = ack(0);
  a.transport.handleDatagram(b.endpoint, ack(1_000_000));
  a.transport.handleDatagram(b.endpoint, old);
  network.carried.length = 0;
  a.send(b, numbered(2, 30_000));
  network.run(10);
  assert.is(network.carried.length, 23);
});

trouble("a blob does not wait until a longer one before it is through", () => {
  const { network, a, b } = pair(3, { rate: 125 });
  a.transport.hello(b.id);
  network.run(1_000_000);
  a.send(b, numbered(1, 8_000_000));
  network.run(10_000);
  const sentUs = network.nowUs;
  a.send(b, numbered(2, 30_000));
  assert.ok(network.run(60_000_000, () => b.received.length === 1));
  assert.is(numberOf(b.received[0]!.bytes), 2);
  assert.ok(network.nowUs - sentUs < 10_000, `${network.nowUs - sentUs} us`);
});

trouble("a chunk that never gets through stops its message after a thousand others", () => {
  const { network, a, b } = pair(4, {}, { cwndBytesMax: 8_000_000 });
  a.transport.hello(b.id);
  network.run(1_000_000);
  // The first full datagram is lost, and everything that is sent again.
  const { counters } = a.transport;
  let repeated = 0;
  let isFirst = true;
  network.filter = ({ from, bytes }) => {
    if (from.address !== "a" || bytes.length < 1_300) return true;
    const isNew = counters.chunksRepeated === repeated && !isFirst;
    repeated = counters.chunksRepeated!;
    isFirst = false;
    return isNew;
  };
  a.send(b, numbered(1, 4_000_000));
  network.run(10_000_000);
  assert.is(counters.chunksOut! - counters.chunksRepeated!, 1_024);
  assert.is(b.transport.counters.chunksIn, 1_023);
  network.filter = () => true;
  assert.ok(network.run(60_000_000, () => a.outcomes.delivered === 1));
});

trouble(
  "a message that never gets through stops none until the span of identifiers is used",
  () => {
    const { network, a, b } = pair(5, {}, { queueMessagesMax: 200_000 });
    a.transport.hello(b.id);
    network.run(1_000_000);
    let isStuck = true;
    network.filter = ({ from, bytes }) => !isStuck || from.address !== "a" || bytes.length !== 777;
    // Alone in its datagram: 24 + 7 + 13 + 16 bytes around it.
    a.send(b, numbered(1_000_000, 777 - 60));
    network.run(10);
    let number = 0;
    for (let round = 0; round < 70; round += 1) {
      for (let i = 0; i < 1_000; i += 1) a.send(b, numbered((number += 1), 4));
      network.run(5_000);
    }
    assert.is(a.outcomes.delivered, 65_535, "one less than the span");
    assert.is(b.transport.counters.spanRefused, 0);
    isStuck = false;
    assert.ok(network.run(10_000_000, () => a.outcomes.delivered === 70_001));
    assert.is(b.received.length, 70_001);
    assert.is(b.transport.counters.spanRefused, 0);
  },
);

trouble.run();
