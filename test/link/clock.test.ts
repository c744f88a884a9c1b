import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SystemClock } from "../../host/link/clock.ts";
import { systemRandom } from "../../host/link/random.ts";

const clock = suite("clock and random");

clock("stands still within a turn and never runs backwards", () => {
  const time = new SystemClock();
  const [us, ms] = [time.nowUs(), time.wallMs()];
  assert.ok(us >= 1 && Number.isInteger(us));
  assert.ok(Math.abs(ms - Date.now()) < 60_000);
  const until = process.hrtime.bigint() + 50_000n;
  while (process.hrtime.bigint() < until);
  assert.is(time.nowUs(), us);
  assert.is(time.wallMs(), ms);
  time.refresh();
  assert.ok(time.nowUs() >= us + 50, `${us} -> ${time.nowUs()}`);
});

clock("draws as many bytes as asked, different ones each time", () => {
  assert.is(systemRandom.bytes(0).length, 0);
  const [a, b] = [systemRandom.bytes(32), systemRandom.bytes(32)];
  assert.is(a.length, 32);
  assert.not.equal(a, b);
  assert.is(a.constructor, Uint8Array);
});

clock.run();
