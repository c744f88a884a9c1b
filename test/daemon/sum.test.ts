/** What several workers say, as one: answers to an order, and counters. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ControlProgress } from "../../host/control/protocol.ts";
import { addCounters, combineAnswers } from "../../host/daemon/sum.ts";

const sum = suite("sum");

const REMAINING = [{ reason: "a request is under way", count: 2, isFinal: false }];
const PROGRESS: ControlProgress = {
  ...{ event: "progress", backend: "b1", alive: true, confirmed: true, draining: true },
  ...{ open: 3, moving: 1, moved: 7, lost: 0, remaining: REMAINING },
};

sum("waits for every answer", () => {
  assert.is(combineAnswers([PROGRESS, undefined]), undefined);
  assert.equal(combineAnswers([PROGRESS, PROGRESS]), PROGRESS);
});

sum("tells the largest of each number, for all speak of the same connections", () => {
  const later = { ...PROGRESS, open: 1, moving: 2, moved: 9, remaining: [] };
  const want = { ...PROGRESS, open: 3, moving: 2, moved: 9 };
  assert.equal(combineAnswers([PROGRESS, later]), want);
  assert.equal(combineAnswers([later, PROGRESS]), want);
});

sum("confirms when all do and agree, and calls alive what is so for all", () => {
  const together = (change: Partial<ControlProgress>): unknown[] => {
    const answer = combineAnswers([PROGRESS, { ...PROGRESS, ...change }]) as ControlProgress;
    return [answer.confirmed, answer.alive];
  };
  assert.equal(together({ confirmed: false }), [false, true]);
  assert.equal(together({ draining: false }), [false, true]);
  assert.equal(together({ alive: false }), [true, false]);
});

sum("an error of one is the answer", () => {
  const error = { event: "error", message: "no such backend" } as const;
  assert.equal(combineAnswers([undefined, error]), error);
});

sum("adds counters by group and name", () => {
  const all = [{ link: { rx: 1, tx: 2 } }, { link: { rx: 4 }, judge: { done: 5 } }];
  assert.equal(addCounters(all), { link: { rx: 5, tx: 2 }, judge: { done: 5 } });
  assert.equal(addCounters([]), {});
});

sum.run();
