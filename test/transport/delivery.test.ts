import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CHUNK_BYTES } from "../../host/transport/limits.ts";
import { numbered, numberOf, pair, seeded, type Fate } from "./network.ts";

const delivery = suite("transport delivery");

const HOSTILE: Fate = { loss: 0.1, duplicate: 0.1, reorder: 0.1, corrupt: 0.01 };

delivery("a message sent before the hello waits for it and arrives", () => {
  const { network, a, b } = pair(1);
  a.send(b, numbered(1, 300));
  assert.ok(network.run(1_000_000, () => a.outcomes.delivered === 1));
  assert.is(b.received.length, 1);
  assert.equal(b.received[0]!.bytes, numbered(1, 300));
  assert.is(b.received[0]!.peer, a.id);
  assert.is(b.received[0]!.epoch, a.transport.epoch);
  assert.is(a.transport.peerEpoch(b.id), b.transport.epoch);
  assert.is(b.transport.peerEpoch(a.id), a.transport.epoch);
});

delivery("a small message costs one datagram and arrives after half a round trip", () => {
  const { network, a, b } = pair(2);
  a.transport.hello(b.id);
  network.run(1_000_000);
  const before = network.carried.length;
  const sentUs = network.nowUs;
  a.send(b, numbered(1, 1_000));
  network.run(500);
  assert.is(network.carried.length - before, 1);
  assert.is(b.received[0]!.atUs - sentUs, 100);
  network.run(1_000_000);
  assert.is(a.outcomes.delivered, 1);
  assert.is(network.carried.length - before, 2, "the message and its acknowledgement");
});

delivery("small messages of one turn share a datagram", () => {
  const { network, a, b } = pair(3);
  a.transport.hello(b.id);
  network.run(1_000_000);
  const before = network.carried.length;
  for (let i = 0; i < 10; i += 1) a.send(b, numbered(i, 100));
  network.run(1_000_000);
  assert.is(network.carried.length - before, 2);
  assert.equal(
    b.received.map(({ bytes }) => numberOf(bytes)),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  );
});

delivery("a blob of 60 KiB leaves whole in the first flight", () => {
  const { network, a, b } = pair(4);
  a.transport.hello(b.id);
  network.run(1_000_000);
  const sentUs = network.nowUs;
  a.send(b, numbered(1, 60 * 1024));
  network.run(1_000_000);
  assert.is(b.received[0]!.atUs - sentUs, 100);
  assert.equal(b.received[0]!.bytes, numbered(1, 60 * 1024));
});

delivery("messages of every length around a chunk arrive unchanged", () => {
  const { network, a, b } = pair(5);
  const lengths = [4, 5, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES];
  lengths.push(2 * CHUNK_BYTES + 1, 100_000);
  lengths.forEach((length, index) => a.send(b, numbered(index, length)));
  a.send(b, new Uint8Array(0));
  network.run(1_000_000);
  assert.is(a.outcomes.delivered, lengths.length + 1);
  for (const { bytes } of b.received) {
    if (bytes.length > 0) assert.equal(bytes, numbered(numberOf(bytes), bytes.length));
  }
  assert.is(b.received.length, lengths.length + 1);
});

delivery("a message of 8 MiB arrives", () => {
  const { network, a, b } = pair(6);
  const bytes = numbered(1, 8 * 1_048_576);
  a.send(b, bytes);
  assert.ok(network.run(10_000_000, () => a.outcomes.delivered === 1));
  assert.ok(Buffer.from(b.received[0]!.bytes).equals(bytes));
});

delivery("every message arrives once through loss, duplication, reordering, corruption", () => {
  for (let seed = 100; seed < 120; seed += 1) {
    const { network, a, b } = pair(seed, HOSTILE);
    const draw = seeded(seed);
    const count = 150;
    for (let i = 0; i < count; i += 1) {
      const length = draw() < 0.7 ? draw() * 1_200 : draw() * 40_000;
      a.send(b, numbered(i, Math.floor(length)));
      b.send(a, numbered(i, Math.floor(draw() * 3_000)));
      network.run(Math.floor(draw() * 2_000));
    }
    const isDone = () => a.outcomes.delivered === count && b.outcomes.delivered === count;
    assert.ok(network.run(60_000_000, isDone), `seed ${seed}: not all were delivered`);
    for (const station of [a, b]) {
      const numbers = station.received.map(({ bytes }) => numberOf(bytes)).sort((x, y) => x - y);
      assert.equal(numbers, [...Array(count).keys()], `seed ${seed}: not each once`);
      for (const { bytes } of station.received) {
        assert.equal(bytes, numbered(numberOf(bytes), bytes.length), `seed ${seed}: changed`);
      }
      assert.is(station.outcomes.unknown, 0);
    }
  }
});

delivery.run();
