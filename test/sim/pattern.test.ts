/** The bytes that clients and servers of a run compare, and what a client says about wrong ones. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SeededRandom } from "../../host/sim/random.ts";
import { Scheduler } from "../../host/sim/scheduler.ts";
import type { SimClient } from "../../host/sim/segments.ts";
import { Talk } from "../../host/sim/talk.ts";
import { downStream, pattern, patternLength, type Plan } from "../../host/sim/workload.ts";

const streams = suite("bytes of a stream");
const answers = suite("answers to a client");

const PLAN: Plan = {
  host: "b1.example",
  exchanges: [
    { stream: 3, up: 1, down: 40 },
    { stream: 4, up: 1, down: 60 },
  ],
  closer: "client",
  isPipelined: true,
  splitBytes: 0,
  thinkUs: 0,
  pausePercent: 0,
  pauseUs: 0,
  end: { how: "none", afterUs: 0 },
};

const CLIENT: SimClient = {
  state: "open",
  sndNxt: 0,
  open: () => undefined,
  write: () => undefined,
  end: () => undefined,
  abort: () => undefined,
  vanish: () => undefined,
  pause: () => undefined,
  receive: () => undefined,
};

function talk() {
  const faults: string[] = [];
  const refused: string[] = [];
  const side = new Talk(PLAN, new Scheduler(), new SeededRandom(1), {
    fault: (what) => faults.push(what),
    refused: (status) => refused.push(status),
  });
  side.begin(CLIENT);
  return { side, faults, refused };
}

const ANSWERS = Uint8Array.of(...pattern(downStream(3), 0, 40), ...pattern(downStream(4), 0, 60));

streams("are the same from wherever they are made", () => {
  const whole = pattern(downStream(7), 0, 500);
  for (const [from, length] of [
    [0, 1],
    [1, 7],
    [13, 300],
    [499, 1],
  ] as const) {
    assert.equal(pattern(downStream(7), from, length), whole.slice(from, from + length));
  }
});

streams("differ by stream, direction and place", () => {
  const one = pattern(6, 0, 64).join();
  for (const [stream, offset] of [
    [7, 0],
    [8, 0],
    [6, 1],
  ] as const) {
    assert.is.not(pattern(stream, offset, 64).join(), one);
  }
});

streams("are compared up to the first byte that differs", () => {
  const bytes = pattern(9, 100, 200);
  assert.is(patternLength(bytes, 0, 200, 9, 100), 200);
  assert.is(patternLength(bytes, 50, 70, 9, 150), 20);
  for (const at of [0, 1, 99, 199]) {
    const wrong = bytes.slice();
    wrong[at] = (wrong[at] ?? 0) ^ 0x10;
    assert.is(patternLength(wrong, 0, 200, 9, 100), at);
  }
});

answers("may come in any pieces", () => {
  for (const piece of [1, 7, 39, 40, 41, 100]) {
    const { side, faults } = talk();
    for (let at = 0; at < 100; at += piece) side.data(CLIENT, ANSWERS.slice(at, at + piece));
    assert.equal([side.isDone, faults], [true, []], `pieces of ${piece}`);
  }
});

answers("are wrong by one byte anywhere, and too long by one", () => {
  for (let at = 0; at < 100; at++) {
    const wrong = ANSWERS.slice();
    wrong[at] = (wrong[at] ?? 0) ^ 1;
    const { side, faults } = talk();
    side.data(CLIENT, wrong);
    const where = at < 40 ? `stream 3: wrong byte at ${at}` : `stream 4: wrong byte at ${at - 40}`;
    assert.equal(faults, [where]);
  }
  const { side, faults } = talk();
  side.data(CLIENT, Uint8Array.of(...ANSWERS, 0));
  assert.equal(faults, ["bytes after the last answer"]);
});

answers("of a classifier are told from wrong ones, in whatever pieces", () => {
  const text = new TextEncoder().encode("HTTP/1.1 503 Service Unavailable\r\n\r\n");
  const { side, faults, refused } = talk();
  side.data(CLIENT, text);
  assert.equal([faults, refused, side.isRefused], [[], ["503"], true]);
  const late = talk();
  late.side.data(CLIENT, Uint8Array.of(...ANSWERS.subarray(0, 20), ...text));
  assert.equal(late.faults, ["stream 3: wrong byte at 20"]);
  assert.equal(late.refused, []);
});

streams.run();
answers.run();
