import { setTimeout as wait } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SystemClock } from "../../host/link/clock.ts";
import { Loop, type Turning } from "../../host/link/loop.ts";

const loop = suite("loop");

/** Turns as a script says; resolves `reached` when it has turned so often. */
function scripted(turn: (count: number) => boolean, nextUs: () => number) {
  const clock = new SystemClock();
  const state = { turns: 0 };
  const target: Turning = {
    turn: () => turn(++state.turns),
    nextTimeoutUs: nextUs,
  };
  const failures: unknown[] = [];
  return { clock, state, failures, loop: new Loop(target, clock, (error) => failures.push(error)) };
}

const soon = (): Promise<void> =>
  new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

loop("makes one turn of any number of wakes", async () => {
  const { loop: one, state } = scripted(
    () => false,
    () => Infinity,
  );
  one.wake();
  one.wake();
  one.wake();
  await soon();
  assert.is(state.turns, 1);
  one.close();
});

loop("comes back at once while there is more, and stops when there is none", async () => {
  const { loop: one, state } = scripted(
    (count) => count < 5,
    () => Infinity,
  );
  one.runNow();
  for (let round = 0; round < 10; round++) await soon();
  assert.is(state.turns, 5);
  one.close();
});

loop("wakes for a timer, and for an earlier one that came later", async () => {
  let due = Infinity;
  let isCalled = false; // By this test: what was due already is the timer's all the same.
  const {
    loop: one,
    state,
    clock,
  } = scripted(
    () => {
      if (!isCalled && clock.nowUs() >= due) due = Infinity;
      return false;
    },
    () => due,
  );
  const runNow = (): void => {
    isCalled = true;
    one.runNow();
    isCalled = false;
  };
  due = clock.nowUs() + 3_600_000_000;
  runNow();
  due = clock.nowUs() + 2_000;
  runNow();
  while (due !== Infinity) await wait(1); // The loop itself is what ends this.
  assert.ok(state.turns >= 3);
  one.close();
});

loop("spends a short wait of what is paced in turns, and ends with it", async () => {
  let nowUs = 0;
  let turns = 0;
  const clock = { nowUs: () => nowUs, refresh: () => void (nowUs += 10) };
  const target = {
    turn: () => {
      turns += 1;
      return false;
    },
    nextTimeoutUs: () => (nowUs < 200 ? 200 : Infinity),
    pacedUntilUs: () => (nowUs < 200 ? 200 : Infinity),
  };
  const one = new Loop(target, clock, (error) => assert.unreachable(String(error)));
  one.runNow();
  for (let round = 0; round < 30; round++) await soon();
  assert.is(turns, 20);
  one.close();
});

loop("stops for good when a turn throws, and hands the error on", async () => {
  const {
    loop: one,
    failures,
    state,
  } = scripted(
    () => {
      throw new Error("trap");
    },
    () => 0,
  );
  one.runNow();
  one.wake();
  await soon();
  assert.is(state.turns, 1);
  assert.match(String(failures[0]), "trap");
});

loop("does nothing after close", async () => {
  const { loop: one, state } = scripted(
    () => false,
    () => 0,
  );
  one.wake();
  one.close();
  await soon();
  assert.is(state.turns, 0);
});

loop.run();
