import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { FlowIds } from "../../host/node/flowid.ts";
import { isFlowId } from "../../host/node/messages.ts";
import { Deadlines, TIMERS, timersFault } from "../../host/node/timers.ts";

const flowids = suite("flow identifiers");
const QUARANTINE_US = 60_000_000;

class Time {
  us = 1;
  nowUs() {
    return this.us;
  }
  wallMs() {
    return this.us / 1000;
  }
}

function supply(clock: Time, counterBits = 24, start = 0, worker = 3, slice = 9) {
  return new FlowIds({ worker, slice, start, quarantineUs: QUARANTINE_US, clock, counterBits });
}

flowids("hold worker, slice and a counter that goes up by one", () => {
  const ids = supply(new Time(), 24, 0x123456);
  assert.is(ids.allocate(), 0x39123456);
  assert.is(ids.allocate(), 0x39123457);
  const last = supply(new Time(), 24, 0xffffff, 15, 15);
  assert.is(last.allocate(), 0xffffffff);
});

flowids("never have a zero half, for any worker, slice and start", () => {
  const nibble = fc.integer({ min: 0, max: 15 });
  const near = fc.constantFrom(0, 0xfffc, 0xfffffc, 0x10fffe);
  fc.assert(
    fc.property(nibble, nibble, near, (worker, slice, start) => {
      const ids = supply(new Time(), 24, start, worker, slice);
      for (let n = 0; n < 40; n++) assert.ok(isFlowId(ids.allocate() ?? 0));
    }),
    { numRuns: 40 },
  );
});

flowids("come back only when the quarantine is over", () => {
  const clock = new Time();
  const ids = supply(clock, 6, 0);
  const all: number[] = [];
  for (let flow = ids.allocate(); flow !== undefined; flow = ids.allocate()) all.push(flow);
  assert.is(all.length, 63, "all but the one whose low half is zero");
  const first = all[5] ?? 0;
  assert.ok(ids.release(first));
  clock.us += QUARANTINE_US - 2000;
  assert.is(ids.allocate(), undefined);
  clock.us += 4000;
  assert.is(ids.allocate(), first);
  assert.is(ids.allocate(), undefined);
});

flowids("rest from their release until they are out again, and only those that were out", () => {
  const clock = new Time();
  const ids = supply(clock, 6, 0);
  const first = ids.allocate() ?? 0;
  assert.equal(
    [first, first + 1, 0, first ^ 0x0100_0000].map((flow) => ids.isResting(flow)),
    [false, false, false, false],
  );
  ids.release(first);
  assert.ok(ids.isResting(first));
  while (ids.allocate() !== undefined);
  clock.us += QUARANTINE_US + 2_000;
  assert.is(ids.allocate(), first);
  assert.not.ok(ids.isResting(first));
});

flowids("are given out again by any sequence of events only after they rested (R23, I4)", () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.constant("take" as const) },
    { weight: 3, arbitrary: fc.nat({ max: 200 }) },
    { weight: 1, arbitrary: fc.constant("wait" as const) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), fc.nat({ max: 255 }), (steps, start) => {
      const clock = new Time();
      const ids = supply(clock, 7, start);
      const live: number[] = [];
      const released = new Map<number, number>();
      for (const event of steps) {
        if (event === "wait") clock.us += 9_700_000;
        else if (event === "take") {
          const flow = ids.allocate();
          if (flow === undefined) continue;
          assert.not.ok(live.includes(flow));
          const at = released.get(flow);
          assert.ok(at === undefined || clock.us - at >= QUARANTINE_US);
          live.push(flow);
        } else if (live.length > 0) {
          const [flow = 0] = live.splice(event % live.length, 1);
          assert.ok(ids.release(flow));
          released.set(flow, clock.us);
        }
        assert.is(ids.inUse, live.length);
      }
    }),
    { numRuns: 300 },
  );
});

flowids(
  "do not starve when every connection is short: a full lap is used, not one of a block",
  () => {
    const clock = new Time();
    const ids = supply(clock, 10, 0);
    let given = 0;
    for (let flow = ids.allocate(); flow !== undefined; flow = ids.allocate()) {
      given++;
      ids.release(flow);
    }
    assert.is(given, 1023);
  },
);

flowids("ignore a release of another slice, of one that is not out, and a second release", () => {
  const ids = supply(new Time(), 24, 0x20001);
  const flow = ids.allocate() ?? 0;
  assert.not.ok(ids.release(flow + 1));
  assert.not.ok(ids.release(flow - 2 ** 24));
  assert.ok(ids.release(flow));
  assert.not.ok(ids.release(flow));
  assert.is(ids.inUse, 0);
});

flowids("adopted from an earlier epoch are not given out", () => {
  const ids = supply(new Time(), 24, 0x20001);
  ids.adopt(0x39020001);
  ids.adopt(0x39020001);
  ids.adopt(0x12020002);
  assert.is(ids.allocate(), 0x39020002);
  assert.is(ids.inUse, 2);
  assert.ok(ids.release(0x39020001));
});

flowids("count the calls that found none", () => {
  const ids = supply(new Time(), 5, 0);
  for (let n = 0; n < 31; n++) assert.ok(ids.allocate());
  assert.is(ids.allocate(), undefined);
  assert.is(ids.exhausted, 1);
});

flowids("have timers that keep the bold constraints of the protocol", () => {
  assert.is(timersFault(TIMERS), undefined);
  assert.ok(timersFault({ ...TIMERS, frozenUs: TIMERS.recordUs }));
  assert.ok(timersFault({ ...TIMERS, leaseUs: TIMERS.tombUs }));
  assert.ok(timersFault({ ...TIMERS, earlyUs: TIMERS.quarantineUs }));
  assert.ok(timersFault({ ...TIMERS, moveUs: TIMERS.frozenUs }));
});

flowids("have deadlines that come due in order, changed ones at their last time only", () => {
  const change = fc.tuple(fc.nat({ max: 9 }), fc.oneof(fc.nat({ max: 99 }), fc.constant(Infinity)));
  fc.assert(
    fc.property(fc.array(change, { maxLength: 60 }), (changes) => {
      const items = Array.from({ length: 10 }, () => ({ deadlineUs: Infinity }));
      const queue = new Deadlines();
      const want = new Map<number, number>();
      for (const [index, at] of changes) {
        queue.set(items[index] ?? { deadlineUs: 0 }, at);
        want.set(index, at);
      }
      const times = [...want.values()].filter((at) => at < Infinity).sort((a, b) => a - b);
      for (const at of times) {
        assert.is(queue.nextUs(), at);
        assert.is(queue.takeDue(at - 1), undefined);
        assert.ok(queue.takeDue(at));
      }
      assert.is(queue.nextUs(), Infinity);
    }),
  );
});

flowids("keep no more of deadlines that did not come than of others", () => {
  const queue = new Deadlines();
  const kept = Array.from({ length: 100 }, () => ({ deadlineUs: Infinity }));
  for (const [index, item] of kept.entries()) queue.set(item, 5_000 + ((index * 37) % 100));
  for (let round = 0; round < 10_000; round++) {
    const item = { deadlineUs: Infinity };
    queue.set(item, 1_000 + (round % 7_000));
    queue.set(item, Infinity);
  }
  assert.ok(queue.places <= 2 * kept.length + 65, `${queue.places} places`);
  for (let at = 5_000; at < 5_100; at++) {
    assert.is(queue.nextUs(), at);
    assert.ok(queue.takeDue(at));
  }
  assert.is(queue.nextUs(), Infinity);
});

flowids.run();
