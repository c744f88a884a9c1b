import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Congestion } from "../../host/transport/congestion.ts";
import { createCounters } from "../../host/transport/counters.ts";
import {
  CHUNK_BYTES,
  CWND_BYTES_MIN,
  DATAGRAM_BYTES_MAX,
  DEFAULT_LIMITS,
} from "../../host/transport/limits.ts";
import { OutgoingMessage } from "../../host/transport/message.ts";
import { Recovery } from "../../host/transport/recovery.ts";
import { RoundTrip } from "../../host/transport/rtt.ts";
import { numbered, pair, seeded, type Fate, type Network, type Station } from "./network.ts";

const flow = suite("transport flow");

const GIGABIT = 125; // bytes in a microsecond

/** Virtual time of one message, hello done before. */
function transfer(seed: number, fate: Fate, length: number): { us: number; sent: number } {
  const { network, a, b } = pair(seed, fate);
  a.transport.hello(b.id);
  network.run(1_000_000);
  const begin = network.nowUs;
  const before = network.carried.length;
  a.send(b, numbered(1, length));
  assert.ok(
    network.run(60_000_000, () => b.received.length === 1),
    `seed ${seed}`,
  );
  return { us: network.nowUs - begin, sent: network.carried.length - before };
}

flow("1 MiB over 1 Gbit/s takes little more than the path needs", () => {
  const ideal = 1_048_576 / GIGABIT;
  for (const delayUs of [50, 250, 1_000]) {
    const { us } = transfer(1, { rate: GIGABIT, delayUs }, 1_048_576);
    // Slow start from 64 KiB doubles for at most four round trips.
    const most = 1.1 * ideal + 5 * 2 * delayUs + 2_000;
    assert.ok(us < most, `${us} us at ${delayUs} us one way, expected less than ${most}`);
  }
});

flow("a path that queues little is not flooded", () => {
  const { us, sent } = transfer(2, { rate: GIGABIT, delayUs: 250, queueUs: 500 }, 4 * 1_048_576);
  const needed = Math.ceil((4 * 1_048_576) / 1_336);
  assert.ok(sent < 1.35 * needed, `${sent} datagrams for ${needed} chunks`);
  assert.ok(us < 3 * ((4 * 1_048_576) / GIGABIT), `${us} us`);
});

flow("loss of 2 % costs time in proportion", () => {
  const clean = transfer(3, { rate: GIGABIT, delayUs: 100 }, 1_048_576);
  for (let seed = 10; seed < 15; seed += 1) {
    const lossy = transfer(seed, { rate: GIGABIT, delayUs: 100, loss: 0.02 }, 1_048_576);
    assert.ok(lossy.us < 4 * clean.us, `seed ${seed}: ${lossy.us} us, without loss ${clean.us}`);
    assert.ok(lossy.sent < 1.25 * clean.sent, `seed ${seed}: ${lossy.sent} datagrams`);
  }
});

flow("what is sent to a peer is not paced by how slow its answers were a while ago", () => {
  const { network, a, b } = pair(5, { delayUs: 100 });
  a.transport.hello(b.id);
  network.run(1_000_000);
  network.fate.delayUs = 4_000;
  for (let number = 0; number < 20; number += 1) {
    a.send(b, numbered(number, 100));
    network.run(100_000, () => a.outcomes.delivered === number + 1);
  }
  assert.ok(a.transport.peerRttUs(b.id)! > 7_000, `${a.transport.peerRttUs(b.id)} us`);
  network.fate.delayUs = 100;
  const begin = network.nowUs;
  a.send(b, numbered(20, 1_048_576));
  assert.ok(network.run(1_000_000, () => b.received.length === 21));
  // Slow start from 64 KiB doubles for at most four round trips.
  assert.ok(network.nowUs - begin < 2_500, `${network.nowUs - begin} us`);
});

flow("a lost chunk in the middle is sent again after a round trip, not after a timeout", () => {
  const { network, a, b } = pair(20);
  a.transport.hello(b.id);
  network.run(1_000_000);
  const begin = network.nowUs;
  let count = 0;
  network.filter = ({ from }) => from.address !== "a" || count++ !== 3;
  a.send(b, numbered(1, 30_000));
  network.run(1_000_000, () => b.received.length === 1);
  assert.ok(network.nowUs - begin <= 100 + 200 + 10, `${network.nowUs - begin} us`);
  assert.is(a.transport.counters.timeouts, 0);
  assert.is(a.transport.counters.chunksRepeated, 1);
});

flow("a lost last datagram is sent again after the timeout, which then doubles", () => {
  const { network, a, b } = pair(21);
  a.transport.hello(b.id);
  network.run(1_000_000);
  network.filter = ({ from }) => from.address !== "a";
  const begin = network.carried.length;
  a.send(b, numbered(1, 100));
  network.run(3_000_000);
  const at = network.carried
    .slice(begin)
    .filter(({ from, bytes }) => from.address === "a" && bytes[1] === 0x12)
    .map(({ sentUs }) => sentUs);
  const gaps = at.slice(1).map((time, index) => time - at[index]!);
  assert.equal(gaps.slice(0, 6), [20_000, 40_000, 80_000, 160_000, 320_000, 640_000]);
});

flow(
  "a peer that stands still is asked with two chunks at a time, and the window stays as it was",
  () => {
    const { network, a, b } = pair(31, { rate: GIGABIT, delayUs: 250 });
    a.send(b, numbered(1, 4 * 1_048_576));
    assert.ok(network.run(1_000_000, () => b.received.length === 1));
    network.run(100_000);
    const { chunksOut, chunksRepeated } = a.transport.counters;
    // For 50 ms nothing that b says arrives: more than one timeout, and no datagram is lost.
    const deafUntilUs = network.nowUs + 50_000;
    network.filter = ({ from, sentUs }) => from.address !== "b" || sentUs >= deafUntilUs;
    a.send(b, numbered(2, 1_000_000));
    assert.ok(network.run(1_000_000, () => a.outcomes.delivered === 2));
    const { counters } = a.transport;
    assert.ok(counters.timeouts > 0);
    assert.ok(counters.chunksRepeated - chunksRepeated <= 4, `${counters.chunksRepeated} repeated`);
    assert.ok(counters.chunksOut - chunksOut <= Math.ceil(1_000_000 / 1_336) + 4);
    const beginUs = network.nowUs;
    a.send(b, numbered(3, 1_000_000));
    assert.ok(network.run(1_000_000, () => b.received.length === 3));
    assert.ok(network.nowUs - beginUs < 1_000_000 / GIGABIT + 2_000, "at the rate of the path");
  },
);

flow("no timeout while acknowledgements come, however long the queue on the path is", () => {
  const { network, a, b } = pair(32, { rate: GIGABIT / 10, delayUs: 100, queueUs: 1_000_000 });
  a.send(b, numbered(1, 4 * 1_048_576));
  assert.ok(network.run(10_000_000, () => b.received.length === 1));
  assert.is(a.transport.counters.timeouts, 0);
  assert.is(a.transport.counters.chunksRepeated, 0);
});

flow("acknowledgements share datagrams: one for eight, or after a millisecond", () => {
  const { network, a, b } = pair(22);
  a.transport.hello(b.id);
  network.run(1_000_000);
  const acks = () => network.carried.filter(({ from }) => from.address === "b").length;
  let before = acks();
  a.send(b, numbered(1, 100));
  network.run(1_000);
  assert.is(acks() - before, 0);
  network.run(200);
  assert.is(acks() - before, 1);
  before = acks();
  for (let i = 0; i < 64; i += 1) {
    a.send(b, numbered(2 + i, 1_000));
    network.run(10);
  }
  network.run(100_000);
  assert.is(acks() - before, 8);
  assert.is(a.outcomes.delivered, 65);
});

flow("an answer carries the acknowledgement with it", () => {
  const { network, a, b } = pair(23);
  a.transport.hello(b.id);
  network.run(1_000_000);
  const before = network.carried.length;
  a.send(b, numbered(1, 100));
  network.run(150);
  b.send(a, numbered(2, 100));
  network.run(100);
  assert.is(a.outcomes.delivered, 1, "by the datagram of the answer");
  network.run(100_000);
  assert.is(network.carried.length - before, 3, "message, answer, acknowledgement of the answer");
});

flow("lost acknowledgements make no message twice and few datagrams more", () => {
  const { network, a, b } = pair(24);
  a.transport.hello(b.id);
  network.run(1_000_000);
  let count = 0;
  network.filter = ({ from }) => from.address !== "b" || count++ % 2 === 0;
  for (let i = 0; i < 500; i += 1) {
    a.send(b, numbered(i, 200));
    network.run(500);
  }
  assert.ok(network.run(5_000_000, () => a.outcomes.delivered === 500));
  assert.is(b.received.length, 500);
  assert.ok(a.transport.counters.chunksRepeated! < 20, `${a.transport.counters.chunksRepeated}`);
});

flow("the same seed gives the same datagrams, at the same times", () => {
  const trace = (): string[] => {
    const { network, a, b } = pair(77, { loss: 0.1, duplicate: 0.1, reorder: 0.3, corrupt: 0.02 });
    const draw = seeded(5);
    for (let i = 0; i < 60; i += 1) {
      a.send(b, numbered(i, Math.floor(draw() * 9_000)));
      b.transport.sendUnreliable(a.id, numbered(i, Math.floor(draw() * 2_000)));
      network.run(Math.floor(draw() * 3_000));
      if (i === 30) b.restart([a]);
    }
    network.run(10_000_000);
    return network.carried.map(
      ({ sentUs, from, bytes }) =>
        `${sentUs} ${from.address} ${Buffer.from(bytes).toString("hex")}`,
    );
  };
  const first = trace();
  assert.ok(first.length > 200);
  assert.equal(trace(), first);
});

flow("nothing is left to do when all is done", () => {
  const { network, a, b } = pair(25, { loss: 0.2 });
  for (let i = 0; i < 50; i += 1) a.send(b, numbered(i, i * 200));
  network.run(30_000_000);
  assert.is(a.outcomes.delivered, 50);
  const before = network.carried.length;
  network.run(60_000_000);
  assert.is(network.carried.length, before);
  for (const { transport } of [a, b]) assert.is(transport.nextTimeoutUs(), Infinity);
});

flow("a thousand blobs at once get through a bad path, all of them", () => {
  const fate = { loss: 0.1, duplicate: 0.1, reorder: 0.1, corrupt: 0.01, delayUs: 100 };
  const { network, a, b } = pair(26, fate);
  for (let i = 0; i < 1_000; i += 1) {
    a.send(b, numbered(i, 2_000 + ((i * 37) % 4_000)), { limitUs: 60_000_000 });
    if (i % 10 === 9) network.run(5_000);
  }
  assert.ok(network.run(60_000_000, () => a.outcomes.delivered === 1_000));
  assert.is(b.received.length, 1_000);
});

/** Latency of single small messages, sorted. */
function latencies(network: Network, a: Station, b: Station, count: number): number[] {
  const all: number[] = [];
  for (let i = 0; i < count; i += 1) {
    const sentUs = network.nowUs;
    a.send(b, numbered(i, 200));
    assert.ok(network.run(30_000_000, () => b.received.length === i + 1));
    all.push(network.nowUs - sentUs);
  }
  return all.sort((x, y) => x - y);
}

flow("at 10 % loss a small message takes half a round trip, or one short timeout more", () => {
  const { network, a, b } = pair(27, { loss: 0.1 });
  a.transport.hello(b.id);
  network.run(1_000_000);
  const all = latencies(network, a, b, 500);
  assert.is(all[250], 100);
  assert.ok(all[445]! <= 20_100, `p89 ${all[445]}`);
  assert.ok(all[490]! <= 60_100, `p98 ${all[490]}`);
});

flow("the round trip follows RFC 6298, and the timeout has its bounds", () => {
  const rtt = new RoundTrip(DEFAULT_LIMITS);
  assert.is(rtt.rtoUs, 100_000);
  rtt.sample(8_000);
  assert.is(rtt.srttUs, 8_000);
  assert.is(rtt.rttvarUs, 4_000);
  rtt.sample(16_000);
  assert.is(rtt.rttvarUs, 4_000 + (8_000 - 4_000) / 4);
  assert.is(rtt.srttUs, 9_000);
  assert.is(rtt.rtoUs, 9_000 + 4 * 5_000 + 1_000);
  for (let i = 0; i < 100; i += 1) rtt.sample(10);
  assert.is(rtt.rtoUs, 20_000);
  for (let i = 0; i < 100; i += 1) rtt.timedOut();
  assert.is(rtt.rtoUs, 1_000_000);
  rtt.progressed();
  assert.is(rtt.rtoUs, 20_000);
});

flow("the last flight of a message widens the window too, to twice of what it was", () => {
  const congestion = new Congestion(1_000_000);
  congestion.acked(20_000, false, 40_000);
  assert.is(congestion.cwnd, 85_536, "two thirds of the window were in flight");
  congestion.acked(20_000, false, 40_000);
  assert.is(congestion.cwnd, 85_536, "more than twice of it is not proved");
  congestion.lost(10, 50);
  const cut = congestion.cwnd;
  congestion.acked(20_000, false, cut);
  assert.is(congestion.cwnd, cut, "in congestion avoidance only what holds the sender back counts");
});

flow("a flight counts for the window until its answer is here, and no longer", () => {
  const recovery = new Recovery(DEFAULT_LIMITS, createCounters(), () => undefined);
  let counter = 0;
  const send = (chunks: number): OutgoingMessage => {
    const message = new OutgoingMessage(new Uint8Array(chunks * CHUNK_BYTES), Infinity, undefined);
    for (let index = 0; index < chunks; index += 1) {
      message.places[index] = recovery.chunkSent(message, index, CHUNK_BYTES, counter);
      recovery.datagramSent(counter, counter);
      counter += 1;
    }
    return message;
  };
  const first = send(48);
  for (let index = 0; index < 8; index += 1) recovery.chunkAcked(first, index);
  assert.is(recovery.congestion.cwnd, 65_536 + 8 * CHUNK_BYTES, "nothing is left to be sent");
  recovery.forget(first);
  recovery.acked(counter - 1, 0, counter);
  const later = send(2);
  recovery.chunkAcked(later, 0);
  assert.is(recovery.congestion.cwnd, 65_536 + 8 * CHUNK_BYTES, "two chunks prove nothing");
});

flow("the congestion window doubles, is cut once for each flight, and has a floor", () => {
  const congestion = new Congestion(1_000_000);
  assert.is(congestion.cwnd, 65_536);
  congestion.acked(65_536, true, 0);
  assert.is(congestion.cwnd, 131_072);
  congestion.acked(100_000, false, 65_536);
  assert.is(congestion.cwnd, 131_072, "what it did not need proves nothing");
  congestion.lost(10, 50);
  const cut = congestion.cwnd;
  assert.ok(Math.abs(cut - 0.7 * 131_072) < 1);
  congestion.lost(49, 60);
  assert.is(congestion.cwnd, cut, "of the same flight");
  congestion.acked(cut, true, 0);
  assert.ok(Math.abs(congestion.cwnd - cut - DATAGRAM_BYTES_MAX) < 1, "one datagram a round trip");
  for (let i = 1; i < 50; i += 1) congestion.lost(1_000 * i, 1_000 * i + 1);
  assert.is(congestion.cwnd, CWND_BYTES_MIN);
  congestion.timedOut(1_000_000);
  assert.is(congestion.cwnd, CWND_BYTES_MIN);
});

flow("pacing lets 64 KiB go at once, then what the window gives in a round trip", () => {
  const congestion = new Congestion(1_000_000);
  let now = 1_000_000;
  let sent = 0;
  const burst = () => {
    for (; congestion.mayLeave(now, 10_000); sent += 1_400) congestion.left(1_400);
  };
  burst();
  assert.ok(sent >= 65_536 && sent < 65_536 + 1_400);
  const first = sent;
  while (now < 1_010_000) {
    now = congestion.nextUs(10_000);
    burst();
  }
  const rate = sent - first;
  assert.ok(rate > 1.8 * 65_536 && rate < 2.3 * 65_536, `${rate} in a round trip of slow start`);
});

flow(
  "a timer that comes late costs the path's rate nothing; idle time earns one burst only",
  () => {
    const congestion = new Congestion(1_000_000);
    congestion.cwnd = 1_000_000;
    let now = 1_000_000;
    const burst = () => {
      let sent = 0;
      for (; congestion.mayLeave(now, 10_000); sent += 1_400) congestion.left(1_400);
      return sent;
    };
    burst();
    now += 1_800;
    const late = burst();
    const owed = (1_800 * 2 * 1_000_000) / 10_000;
    assert.ok(late > owed - 1_400 && late < owed + 1_400, `${late} bytes, owed ${owed}`);
    now += 50_000;
    const afterAll = burst();
    assert.ok(afterAll <= 400_000 + 1_400, `${afterAll} bytes: no more than a late timer's`);
    congestion.mayLeave(now + 1_000, 10_000);
    now += 1_000_000;
    const idle = burst();
    assert.ok(idle >= 65_536 && idle < 65_536 + 1_400, `${idle} bytes after a second of silence`);
  },
);

flow.run();
