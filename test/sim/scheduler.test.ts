/** The queue of virtual time against a slow one: a list that is sorted anew before each step. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SeededRandom } from "../../host/sim/random.ts";
import { Scheduler } from "../../host/sim/scheduler.ts";

const order = suite("order of virtual time");

const RUNS = 200;
const ACTIONS = 300;
/** From before now to later; many of them meet in one moment. */
const DELAYS_US = [-5, 0, 0, 0, 1, 1, 2, 7, 100] as const;

interface Waiting {
  readonly atUs: number;
  readonly name: number;
}

/** Sorts by time; `sort` keeps the order of making within one. */
class SlowQueue {
  nowUs = 1;
  waiting: Waiting[] = [];

  at(atUs: number, name: number): void {
    this.waiting.push({ atUs: Math.max(atUs, this.nowUs), name });
  }

  step(untilUs: number): number | undefined {
    this.waiting.sort((one, two) => one.atUs - two.atUs);
    const next = this.waiting[0];
    if (!next || next.atUs > untilUs) return undefined;
    this.waiting.shift();
    this.nowUs = next.atUs;
    return next.name;
  }
}

/** Actions that ask for others, in both queues alike. */
function play(seed: number): void {
  const random = new SeededRandom(seed);
  const fast = new Scheduler();
  const slow = new SlowQueue();
  let names = 0;
  let done = -1;
  const ask = (): void => {
    const name = names++;
    const atUs = fast.nowUs() + random.pick(DELAYS_US);
    slow.at(atUs, name);
    fast.at(atUs, () => {
      done = name;
      for (let more = random.below(4); more > 0 && names < ACTIONS; more--) ask();
    });
  };
  for (let index = 0; index < 5; index++) ask();
  for (let steps = 0; steps < 2 * ACTIONS; steps++) {
    const untilUs = random.pick([Infinity, Infinity, fast.nowUs(), fast.nowUs() - 1]);
    assert.is(fast.pending, slow.waiting.length, `seed ${seed}: what waits`);
    const expected = slow.step(untilUs);
    assert.is(fast.step(untilUs), expected !== undefined, `seed ${seed}: whether there is a next`);
    if (expected !== undefined) assert.is(done, expected, `seed ${seed}: which is next`);
    assert.is(fast.nowUs(), slow.nowUs, `seed ${seed}: the time`);
  }
  assert.is(fast.pending, slow.waiting.length);
}

order("is that of time, and within one time that of asking", () => {
  for (let seed = 1; seed <= RUNS; seed++) play(seed);
});

order.run();
