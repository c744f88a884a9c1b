import { suite } from "uvu";
import * as assert from "uvu/assert";
import { numbered, numberOf, pair, seeded, type Station } from "./network.ts";

const window = suite("transport limits");

const sorted = (station: Station) =>
  station.received.map(({ bytes }) => numberOf(bytes)).sort((x, y) => x - y);

window("reassembly memory is bounded, and a shut window loses nothing", () => {
  for (let seed = 1; seed <= 6; seed += 1) {
    const limits = { windowBytes: 200_000, reassemblyBytesMax: 200_000 };
    const { network, a, b } = pair(seed, { loss: 0.05, reorder: 0.2 }, limits);
    const draw = seeded(seed);
    for (let i = 0; i < 60; i += 1) a.send(b, numbered(i, 2_000 + Math.floor(draw() * 150_000)));
    const isDone = () => {
      assert.ok(b.transport.counters.reassemblyBytes! <= 200_000, `seed ${seed}`);
      return a.outcomes.delivered === 60;
    };
    assert.ok(network.run(120_000_000, isDone), `seed ${seed}`);
    assert.equal(sorted(b), [...Array(60).keys()]);
    assert.is(b.transport.counters.reassemblyBytes, 0);
    assert.is(b.transport.counters.reassemblyRefused, 0, "the window was obeyed");
  }
});

window("senders that share too little memory are refused, counted, and get through", () => {
  const limits = { windowBytes: 100_000, reassemblyBytesMax: 120_000 };
  const { network, a, b } = pair(20, {}, limits);
  const c = network.station("c", { limits });
  c.knows(b);
  b.knows(c);
  for (const node of [a, c]) node.transport.hello(b.id);
  network.run(1_000_000);
  for (let i = 0; i < 30; i += 1) {
    a.send(b, numbered(i, 90_000));
    c.send(b, numbered(100 + i, 90_000));
  }
  const isDone = () => {
    assert.ok(b.transport.counters.reassemblyBytes! <= 120_000);
    return a.outcomes.delivered === 30 && c.outcomes.delivered === 30;
  };
  assert.ok(network.run(60_000_000, isDone));
  assert.ok(b.transport.counters.reassemblyRefused! > 0, "two at once do not fit");
  assert.is(b.received.length, 60);
});

window("a message longer than the receiver ever takes waits until its limit, others pass", () => {
  const { network, a, b } = pair(21, {}, { windowBytes: 50_000 });
  a.send(b, numbered(1, 60_000), { limitUs: 2_000_000 });
  a.send(b, numbered(2, 40_000));
  a.send(b, numbered(3, 100));
  network.run(1_000_000);
  assert.equal(sorted(b), [2, 3]);
  network.run(5_000_000);
  assert.equal(a.outcomes, { delivered: 2, unknown: 1 });
  assert.is(b.transport.counters.reassemblyBytes, 0);
});

window("a message in trouble delays no other", () => {
  const { network, a, b } = pair(22);
  a.transport.hello(b.id);
  network.run(1_000_000);
  // Every datagram that is full is lost: the blob never gets through, small messages do at once.
  network.filter = ({ bytes }) => bytes.length < 1_300;
  a.send(b, numbered(1, 500_000));
  network.run(2_000_000);
  for (let i = 2; i < 50; i += 1) {
    const sentUs = network.nowUs;
    a.send(b, numbered(i, 200));
    network.run(50_000);
    assert.is(b.received.at(-1)!.atUs - sentUs, 100, `message ${i}`);
  }
  network.filter = () => true;
  assert.ok(network.run(10_000_000, () => a.outcomes.delivered === 49));
});

window("a small message does not wait behind a large one", () => {
  const { network, a, b } = pair(23, { rate: 125, delayUs: 100 });
  a.transport.hello(b.id);
  network.run(1_000_000);
  a.send(b, numbered(1, 8_000_000));
  network.run(20_000);
  const sentUs = network.nowUs;
  a.send(b, numbered(2, 100));
  network.run(20_000, () => b.received.length > 0);
  assert.is(numberOf(b.received[0]!.bytes), 2);
  assert.ok(b.received[0]!.atUs - sentUs < 6_000, "no more than the queue of the path");
});

window("a limit ends a message as unknown, and the receiver forgets its part", () => {
  const { network, a, b } = pair(24);
  a.transport.hello(b.id);
  network.run(1_000_000);
  let count = 0;
  network.filter = ({ from }) => from.address !== "a" || count++ % 2 === 0;
  a.send(b, numbered(1, 30_000), { limitUs: 3_000 });
  network.run(2_000);
  assert.ok(b.transport.counters.reassemblyBytes! > 0);
  network.run(2_000);
  assert.is(a.outcomes.unknown, 1);
  network.filter = () => true;
  network.run(5_000_000);
  assert.is(b.transport.counters.reassemblyBytes, 0);
  assert.is(b.transport.counters.messagesDropped, 1);
  assert.is(b.received.length, 0);
  assert.equal(a.outcomes, { delivered: 0, unknown: 1 });
  a.send(b, numbered(2, 30_000));
  network.run(1_000_000);
  assert.is(a.outcomes.delivered, 1);
});

window("a limit that passes while the receiver is away is told on time", () => {
  const { network, a, b } = pair(25);
  let toldUs = 0;
  a.send(b, numbered(1, 100), { limitUs: 500_000, onOutcome: () => (toldUs = network.nowUs) });
  network.filter = () => false;
  const sentUs = network.nowUs;
  network.run(5_000_000);
  assert.is(toldUs - sentUs, 500_000);
  assert.is(a.outcomes.unknown, 1);
});

window("a full queue refuses, counts and tells it; what it held still arrives", () => {
  const { network, a, b } = pair(26, {}, { queueBytesMax: 100_000, queueMessagesMax: 30 });
  for (let i = 0; i < 3; i += 1) a.send(b, numbered(i, 40_000));
  assert.is(a.transport.counters.messagesRefused, 1);
  assert.is(a.outcomes.unknown, 0, "never from within send");
  for (let i = 0; i < 40; i += 1) a.send(b, numbered(10 + i, 10));
  network.run(2_000_000);
  assert.is(a.transport.counters.messagesRefused, 1 + 12);
  assert.equal(a.outcomes, { delivered: 30, unknown: 13 });
  assert.is(b.received.length, 30);
});

window("a message above the limit is the caller's error", () => {
  const { a, b } = pair(27, {}, { messageBytesMax: 1_000 });
  assert.throws(
    () => a.send(b, new Uint8Array(1_001)),
    /message: expected at most 1000 bytes, got 1001/,
  );
  assert.throws(
    () => a.transport.send("0000000000000000", new Uint8Array(1)),
    /one that was added/,
  );
});

window("a peer that stays away costs one small flight for each timeout", () => {
  const { network, a, b } = pair(28);
  a.transport.hello(b.id);
  network.run(1_000_000);
  network.filter = () => false;
  for (let i = 0; i < 2_000; i += 1) a.send(b, numbered(i, 300));
  a.send(b, numbered(5_000, 4_000_000));
  network.run(10_000_000);
  const before = network.carried.length;
  network.run(10_000_000);
  assert.ok(
    network.carried.length - before < 10 * 80,
    `${network.carried.length - before} in 10 s`,
  );
  network.filter = () => true;
  assert.ok(network.run(20_000_000, () => a.outcomes.delivered === 2_001));
  assert.is(b.received.length, 2_001);
});

window("more messages than the span of identifiers pass in order of their turn", () => {
  const { network, a, b } = pair(29, { loss: 0.02 }, { queueMessagesMax: 100_000 });
  for (let round = 0; round < 14; round += 1) {
    for (let i = 0; i < 5_000; i += 1) a.send(b, numbered(round * 5_000 + i, 8));
    network.run(20_000);
  }
  assert.ok(network.run(60_000_000, () => a.outcomes.delivered === 70_000));
  assert.is(new Set(sorted(b)).size, 70_000);
  assert.is(b.received.length, 70_000);
});

window("unreliable messages arrive at most once, in parts when they must", () => {
  const { network, a, b } = pair(30, { duplicate: 0.3, reorder: 0.3, loss: 0.1 });
  a.transport.hello(b.id);
  network.run(1_000_000);
  for (let i = 0; i < 300; i += 1) {
    a.transport.sendUnreliable(b.id, numbered(i, i % 3 === 0 ? 1_500 : 100));
    network.run(1_000);
  }
  network.run(5_000_000);
  const numbers = sorted(b);
  assert.is(new Set(numbers).size, numbers.length, "none twice");
  assert.ok(numbers.length > 200 && numbers.length < 300);
  for (const { bytes } of b.received) {
    assert.equal(bytes, numbered(numberOf(bytes), bytes.length));
    assert.is(bytes.length, numberOf(bytes) % 3 === 0 ? 1_500 : 100);
  }
});

window("an unreliable message of one datagram costs one, and no acknowledgement", () => {
  const { network, a, b } = pair(31);
  a.transport.hello(b.id);
  network.run(1_000_000);
  const before = network.carried.length;
  a.transport.sendUnreliable(b.id, numbered(1, 1_344));
  network.run(1_000_000);
  assert.is(network.carried.length - before, 1);
  a.transport.sendUnreliable(b.id, numbered(2, 1_345));
  network.run(1_000_000);
  assert.is(network.carried.length - before, 3);
  assert.is(b.received.length, 2);
});

window("unreliable messages too long, or too many, are dropped and counted", () => {
  const limits = { unreliableBytesMax: 10_000, unreliablePartialMax: 4 };
  const { network, a, b } = pair(32, {}, limits);
  a.transport.sendUnreliable(b.id, new Uint8Array(8 * 1_344 + 1));
  assert.is(a.transport.counters.unreliableTooLong, 1);
  for (let i = 0; i < 20; i += 1) a.transport.sendUnreliable(b.id, numbered(i, 1_000));
  assert.is(a.transport.counters.unreliableRefused, 10);
  network.run(1_000_000);
  assert.is(b.received.length, 10, "those before the hello waited for it");
  let count = 0;
  network.filter = ({ from }) => from.address !== "a" || count++ % 2 === 0;
  for (let i = 0; i < 20; i += 1) {
    a.transport.sendUnreliable(b.id, numbered(i, 1_500));
    network.run(1_000);
  }
  assert.is(b.received.length, 10);
  assert.is(b.transport.counters.unreliableExpired, 16, "four wait, the oldest made room");
});

window.run();
