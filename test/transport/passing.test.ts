/** Messages that a station passes on while they come: as whole as any other, sooner, and never longer than they are wanted. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { TransportLimits } from "../../host/transport/limits.ts";
import type { Outcome, Passage } from "../../host/transport/transport.ts";
import { Network, numbered, numberOf, type Fate, type Station } from "./network.ts";

const passing = suite("transport passing");

interface Chain {
  readonly network: Network;
  readonly source: Station;
  readonly middle: Station;
  readonly target: Station;
  readonly outcomes: Outcome[];
  /** What the middle is asked, as bytes it sees first and lengths. */
  readonly asked: { first: Uint8Array; total: number }[];
  isWanted: boolean;
}

const GIGABIT = 125; // bytes in a microsecond

/** source -> middle -> target; the middle passes on what is numbered below 1,000. */
function chain(seed: number, fate: Fate = {}, limits: Partial<TransportLimits> = {}): Chain {
  const network = new Network(seed, fate);
  const asked: Chain["asked"] = [];
  const outcomes: Outcome[] = [];
  const source = network.station("source", { limits });
  const target = network.station("target", { limits });
  const passOn = (first: Uint8Array, total: number): Passage | undefined => {
    asked.push({ first: first.slice(), total });
    if (numberOf(first) >= 1_000) return undefined;
    return {
      to: target.id,
      limitUs: 5_000_000,
      isWanted: () => one.isWanted,
      onOutcome: (outcome) => outcomes.push(outcome),
    };
  };
  const middle: Station = network.station("middle", {
    limits,
    events: {
      message: (peer, epoch, bytes) => {
        middle.received.push({ peer, epoch, bytes, atUs: network.nowUs });
      },
      peerEpoch: () => undefined,
      passOn: (_peer, _epoch, first, total) => passOn(first, total),
    },
  });
  for (const end of [source, target]) {
    end.knows(middle);
    middle.knows(end);
    end.transport.hello(middle.id);
  }
  network.run(2_000_000);
  const one: Chain = { network, source, middle, target, outcomes, asked, isWanted: true };
  return one;
}

passing("a message of several chunks goes on whole, and the middle does not see it", () => {
  const { network, source, middle, target, asked, outcomes } = chain(1);
  const bytes = numbered(7, 400_000);
  source.send(middle, bytes);
  assert.ok(network.run(1_000_000, () => target.received.length === 1));
  assert.equal(target.received[0]?.bytes, bytes);
  network.run(100_000);
  assert.is(target.received.length, 1);
  assert.is(middle.received.length, 0);
  assert.equal(asked, [{ first: bytes.slice(0, 1_336), total: 400_000 }]);
  assert.equal(outcomes, ["delivered"]);
  assert.is(source.outcomes.delivered, 1);
  assert.is(middle.transport.counters.messagesPassed, 1);
  assert.is(middle.transport.counters.reassemblyBytes, 0);
});

passing("one chunk alone, and what the middle keeps, are delivered to the middle", () => {
  const { network, source, middle, target, asked } = chain(2);
  source.send(middle, numbered(8, 1_336));
  source.send(middle, numbered(1_000, 100_000));
  assert.ok(network.run(1_000_000, () => middle.received.length === 2));
  assert.is(asked.length, 1);
  assert.is(middle.transport.counters.messagesPassed, 0);
  assert.is(target.received.length, 0);
});

passing("two links take little longer than one", () => {
  const { network, source, middle, target } = chain(3, { rate: GIGABIT, delayUs: 500 });
  const begin = network.nowUs;
  source.send(middle, numbered(1, 1_048_576));
  assert.ok(network.run(10_000_000, () => target.received.length === 1));
  // Slow start from 64 KiB doubles for at most four round trips; then each link carries it at its rate, at once.
  const ideal = 1_048_576 / GIGABIT;
  const most = 1.1 * ideal + 6 * 1_000 + 2_000;
  assert.ok(
    network.nowUs - begin < most,
    `${network.nowUs - begin} us, expected less than ${most}`,
  );
});

passing("whatever becomes of datagrams, each message arrives once and is right", () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const fate = { loss: 0.1, duplicate: 0.1, reorder: 0.1, corrupt: 0.02 };
    const { network, source, middle, target, outcomes } = chain(seed, fate);
    for (let number = 0; number < 20; number += 1) {
      source.send(middle, numbered(number, 1_337 + number * 7_919));
    }
    const isDone = (): boolean => target.received.length === 20 && outcomes.length === 20;
    assert.ok(network.run(60_000_000, isDone), `seed ${seed}: ${target.received.length} arrived`);
    network.run(2_000_000);
    const numbers = target.received.map(({ bytes }) => numberOf(bytes)).sort((a, b) => a - b);
    assert.equal(
      numbers,
      Array.from({ length: 20 }, (_, number) => number),
      `seed ${seed}`,
    );
    for (const { bytes } of target.received) {
      assert.equal(bytes, numbered(numberOf(bytes), bytes.length), `seed ${seed}`);
    }
    assert.equal(new Set(outcomes), new Set(["delivered"]), `seed ${seed}`);
    assert.is(middle.received.length, 0);
    assert.is(middle.transport.counters.reassemblyBytes, 0, `seed ${seed}`);
    assert.is(target.transport.counters.reassemblyBytes, 0, `seed ${seed}`);
  }
});

/** Runs until the target holds some of a message and the source has more to send. */
function half(one: Chain, options: { limitUs?: number } = {}): void {
  const { network, source, middle, target } = one;
  let chunks = 0;
  network.filter = ({ from, bytes }) =>
    from !== source.endpoint || bytes.length < 1_300 || chunks++ < 10;
  source.send(middle, numbered(5, 60_000), options);
  network.run(1_000_000, () => target.transport.counters.reassemblyBytes! > 0);
  network.run(2_000);
  assert.is(target.transport.counters.reassemblyBytes, 60_000);
  assert.is(target.received.length, 0);
}

/** The target forgets what it has, and another message goes through. */
function expectForgotten(one: Chain): void {
  const { network, source, middle, target, outcomes } = one;
  network.filter = () => true;
  network.run(3_000_000);
  assert.is(target.transport.counters.reassemblyBytes, 0);
  assert.is(target.transport.counters.messagesDropped, 1);
  assert.is(middle.transport.counters.reassemblyBytes, 0);
  assert.is(target.received.length, 0);
  assert.is(middle.received.length, 0);
  assert.equal(outcomes, ["unknown"]);
  one.isWanted = true;
  source.send(middle, numbered(6, 60_000));
  assert.ok(network.run(1_000_000, () => target.received.length === 1));
}

passing("what its source gives up is given up by the middle", () => {
  const one = chain(4);
  half(one, { limitUs: 100_000 });
  one.network.run(200_000);
  expectForgotten(one);
  assert.is(one.source.outcomes.unknown, 1);
});

passing("what is not wanted any more is dropped at the next chunk", () => {
  const one = chain(5);
  half(one);
  one.isWanted = false;
  expectForgotten(one);
  assert.is(one.source.outcomes.delivered, 2, "its source cannot know");
});

passing("a source that restarts leaves no half message behind", () => {
  const one = chain(6);
  half(one);
  one.source.restart([one.middle]);
  one.source.transport.hello(one.middle.id);
  expectForgotten(one);
});

passing("a target that restarts has the message's outcome unknown, and the rest ends here", () => {
  const one = chain(7);
  const { network, source, middle, target, outcomes } = one;
  half(one);
  target.restart([middle]);
  target.transport.hello(middle.id);
  network.run(1_000_000);
  assert.equal(outcomes, ["unknown"]);
  network.filter = () => true;
  network.run(3_000_000);
  assert.is(target.received.length, 0);
  assert.is(middle.received.length, 0);
  assert.is(middle.transport.counters.reassemblyBytes, 0);
  assert.is(source.outcomes.delivered, 1);
});

passing("what finds the queue to its target full has the outcome unknown, once", () => {
  const { network, source, middle, target, outcomes } = chain(8, {}, { queueBytesMax: 90_000 });
  // The target's answers are lost: what was sent first stays in the queue.
  network.filter = ({ from }) => from !== target.endpoint;
  source.send(middle, numbered(1, 60_000));
  network.run(500_000, () => source.outcomes.delivered === 1);
  source.send(middle, numbered(2, 60_000));
  network.run(500_000, () => source.outcomes.delivered === 2);
  assert.equal(outcomes, ["unknown"]);
  network.filter = () => true;
  assert.ok(network.run(3_000_000, () => target.received.length === 1));
  network.run(1_000_000);
  assert.equal(outcomes, ["unknown", "delivered"]);
  assert.equal(
    target.received.map(({ bytes }) => numberOf(bytes)),
    [1],
  );
});

passing("a middle that closes tells no outcome", () => {
  const one = chain(9);
  half(one);
  one.middle.transport.close();
  assert.equal(one.outcomes, []);
});

passing.run();
