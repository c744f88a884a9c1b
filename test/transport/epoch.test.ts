import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Network, numbered, numberOf, pair, seeded } from "./network.ts";

const epoch = suite("transport epochs");

epoch("a hello exchange proves both epochs and measures the round trip", () => {
  const { network, a, b } = pair(1);
  a.transport.hello(b.id);
  network.run(1_000_000);
  assert.equal(a.epochs, [{ peer: b.id, epoch: b.transport.epoch, previous: undefined }]);
  assert.equal(b.epochs, [{ peer: a.id, epoch: a.transport.epoch, previous: undefined }]);
  assert.is(a.transport.peerRttUs(b.id), 200);
  assert.is(b.transport.peerRttUs(a.id), 200);
  assert.is(network.carried.length, 3, "challenge, echo with challenge, echo");
});

epoch("a hello that nobody answers is repeated with growing intervals, bounded", () => {
  const { network, a, b } = pair(2);
  network.filter = () => false;
  a.transport.hello(b.id);
  network.run(10_000_000);
  const at = network.carried.map(({ sentUs }) => sentUs);
  const gaps = at.slice(1).map((time, index) => time - at[index]!);
  assert.equal(gaps.slice(0, 5), [100_000, 200_000, 400_000, 800_000, 1_000_000]);
  assert.ok(gaps.every((gap) => gap <= 1_000_000));
  network.filter = () => true;
  assert.ok(network.run(1_100_000, () => b.transport.peerEpoch(a.id) === a.transport.epoch));
});

epoch("the exchange survives the loss of any one of its datagrams", () => {
  for (let lost = 0; lost < 6; lost += 1) {
    const { network, a, b } = pair(3 + lost);
    let count = 0;
    network.filter = () => count++ !== lost;
    a.send(b, numbered(1, 100));
    b.send(a, numbered(2, 100));
    network.run(3_000_000);
    assert.is(a.outcomes.delivered + b.outcomes.delivered, 2, `datagram ${lost} lost`);
    assert.is(a.received.length + b.received.length, 2);
  }
});

epoch("messages to an epoch that ended are unknown, and never reach the next one", () => {
  const { network, a, b } = pair(10);
  a.transport.hello(b.id);
  network.run(1_000_000);
  const old = b.transport.epoch;
  network.filter = ({ to }) => to.address !== "b";
  const order: string[] = [];
  a.send(b, numbered(1, 100), { onOutcome: (outcome) => order.push(`1 ${outcome}`) });
  a.send(b, numbered(2, 50_000), { onOutcome: (outcome) => order.push(`2 ${outcome}`) });
  network.run(2_000_000);
  assert.equal(order, []);
  b.restart([a]);
  network.filter = () => true;
  network.run(5_000_000);
  assert.equal(order, ["1 unknown", "2 unknown"]);
  assert.is(b.received.length, 0);
  assert.equal(a.epochs[1], { peer: b.id, epoch: b.transport.epoch, previous: old });
  a.send(b, numbered(3, 100));
  network.run(1_000_000);
  assert.is(numberOf(b.received[0]!.bytes), 3);
});

epoch("a sender notices a restarted receiver by itself, though the receiver says nothing", () => {
  const { network, a, b } = pair(11);
  a.transport.hello(b.id);
  network.run(1_000_000);
  b.restart([]);
  b.transport.addPeer({ id: a.id, name: "a" });
  a.send(b, numbered(1, 10));
  assert.ok(network.run(1_000_000, () => a.outcomes.unknown === 1));
  assert.is(a.transport.peerEpoch(b.id), b.transport.epoch);
});

epoch("a restarted receiver is not told old messages by replay of all that was sent", () => {
  const { network, a, b } = pair(12);
  for (let i = 0; i < 20; i += 1) a.send(b, numbered(i, 500 * i));
  network.run(2_000_000);
  assert.is(b.received.length, 20);
  const recorded = network.carried.filter(({ to }) => to.address === "b");
  b.restart([a]);
  b.received = [];
  for (const { from, bytes } of recorded) b.transport.handleDatagram(from, bytes);
  network.run(2_000_000);
  for (const { from, bytes } of recorded) b.transport.handleDatagram(from, bytes);
  network.run(2_000_000);
  assert.is(b.received.length, 0);
  assert.is(b.transport.peerEpoch(a.id), a.transport.epoch);
});

epoch("restarts at random moments lose nothing silently and repeat nothing", () => {
  for (let seed = 200; seed < 220; seed += 1) {
    const { network, a, b } = pair(seed, { loss: 0.05, duplicate: 0.1, reorder: 0.2 });
    const draw = seeded(seed);
    const outcomes = new Map<number, string[]>();
    let number = 0;
    for (let step = 0; step < 40; step += 1) {
      for (let i = 0; i < 5; i += 1) {
        const id = (number += 1);
        outcomes.set(id, []);
        const length = Math.floor(draw() < 0.5 ? draw() * 500 : draw() * 20_000);
        a.send(b, numbered(id, length), { onOutcome: (result) => outcomes.get(id)!.push(result) });
      }
      network.run(Math.floor(draw() * 20_000));
      if (draw() < 0.15) b.restart([a]);
    }
    network.run(30_000_000);
    const seen = new Map<number, number>();
    for (const { bytes } of b.received) {
      const id = numberOf(bytes);
      seen.set(id, (seen.get(id) ?? 0) + 1);
      assert.equal(bytes, numbered(id, bytes.length));
    }
    for (const [id, results] of outcomes) {
      assert.is(results.length, 1, `seed ${seed}: message ${id} ended ${results.length} times`);
      const times = seen.get(id) ?? 0;
      assert.ok(times <= 1, `seed ${seed}: message ${id} delivered ${times} times`);
      if (results[0] === "delivered") assert.is(times, 1, `seed ${seed}: ${id} not delivered`);
    }
  }
});

epoch("a restarted sender starts anew: its new messages arrive, its old ones do not again", () => {
  const { network, a, b } = pair(13);
  for (let i = 0; i < 5; i += 1) a.send(b, numbered(i, 3_000));
  network.run(1_000_000);
  a.restart([b]);
  for (let i = 5; i < 10; i += 1) a.send(b, numbered(i, 3_000));
  network.run(1_000_000);
  assert.equal(
    b.received.map(({ bytes }) => numberOf(bytes)),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  );
  assert.is(new Set(b.received.map((message) => message.epoch)).size, 2);
});

epoch("an epoch that is over stays over, even while its node still answers", () => {
  const { network, a, b } = pair(14);
  const first = b.transport;
  a.transport.hello(b.id);
  network.run(1_000_000);
  const ended = first.epoch;
  b.transport = b.boot();
  b.knows(a);
  b.transport.hello(a.id);
  network.run(1_000_000);
  assert.is(a.transport.peerEpoch(b.id), b.transport.epoch);
  // The same name runs twice: the one from before speaks again.
  b.transport = first;
  first.hello(a.id);
  network.run(1_000_000);
  assert.is.not(a.transport.peerEpoch(b.id), ended);
  assert.ok(a.transport.counters.helloOlder! > 0);
});

epoch("a replayed hello proves nothing", () => {
  const { network, a, b } = pair(15);
  a.transport.hello(b.id);
  network.run(1_000_000);
  const old = network.carried.filter(({ from }) => from.address === "b");
  const ended = b.transport.epoch;
  a.restart([b]);
  network.filter = ({ from }) => from.address !== "b";
  a.transport.hello(b.id);
  network.run(1_000_000);
  for (const { from, bytes } of old) a.transport.handleDatagram(from, bytes);
  network.run(3_000_000);
  assert.is(a.transport.peerEpoch(b.id), undefined);
  assert.is(a.epochs.filter((event) => event.epoch === ended).length, 1, "before the restart");
  assert.ok(a.transport.counters.helloStale! > 0);
});

epoch("a message that waits keeps the exchange going, whoever began it", () => {
  const { network, a, b } = pair(18);
  b.send(a, numbered(1, 100));
  network.run(1_000_000);
  a.restart([b]);
  network.filter = () => false;
  b.send(a, numbered(2, 100));
  const { bytes } = network.carried.findLast(({ from }) => from.address === "b")!;
  a.transport.handleDatagram(b.endpoint, bytes);
  b.transport.close();
  b.transport = b.boot();
  b.knows(a);
  network.run(1_000);
  a.send(b, numbered(3, 100));
  network.run(20_000_000);
  network.filter = () => true;
  assert.ok(network.run(2_000_000, () => a.outcomes.delivered === 1));
});

epoch("an endpoint that is not configured is learned from the exchange", () => {
  const network = new Network(16);
  const a = network.station("a");
  const b = network.station("b");
  a.knows(b);
  b.transport.addPeer({ id: a.id, name: "a" });
  b.send(a, numbered(1, 5_000));
  network.run(500_000);
  assert.is(network.carried.length, 0, "b does not know where a is");
  a.transport.hello(b.id);
  network.run(500_000);
  assert.is(a.received.length, 1);
});

epoch("three nodes do not disturb each other when one restarts", () => {
  const network = new Network(17, { loss: 0.05, reorder: 0.1 });
  const nodes = ["a", "b", "c"].map((name) => network.station(name));
  for (const node of nodes) for (const other of nodes) if (node !== other) node.knows(other);
  const [a, b, c] = nodes as [(typeof nodes)[0], (typeof nodes)[0], (typeof nodes)[0]];
  for (let i = 0; i < 100; i += 1) {
    for (const node of nodes) {
      for (const other of nodes)
        if (other !== node && other !== c) node.send(other, numbered(i, 2_000));
    }
    if (i === 50) c.restart([a, b]);
    network.run(3_000);
  }
  network.run(10_000_000);
  assert.is(a.outcomes.delivered, 100);
  assert.is(b.outcomes.delivered, 100);
  assert.is(a.received.filter(({ peer }) => peer === b.id).length, 100);
  assert.is(b.received.filter(({ peer }) => peer === a.id).length, 100);
});

epoch.run();
