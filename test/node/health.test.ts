import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Health, HEARTBEAT_US } from "../../host/node/health.ts";

const health = suite("health");

function watched() {
  const clock = { now: 1, nowUs: () => clock.now, wallMs: () => 0 };
  const log: string[] = [];
  const watch = new Health(clock, {
    changed: (node, state) => log.push(`${node} ${state}`),
    dead: (node, epoch) => log.push(`${node} ${epoch} over`),
  });
  watch.add("n");
  return { clock, log, watch };
}

health("makes a silent node suspect after three heartbeats and dead after five seconds", () => {
  const { clock, log, watch } = watched();
  assert.ok(watch.heard("n", "e1"));
  clock.now += 3 * HEARTBEAT_US - 1;
  watch.handleTimeout();
  assert.is(watch.state("n"), "alive");
  clock.now = watch.nextTimeoutUs();
  watch.handleTimeout();
  assert.is(watch.state("n"), "suspect");
  clock.now = watch.nextTimeoutUs();
  watch.handleTimeout();
  assert.equal(log, ["n alive", "n suspect", "n e1 over", "n dead"]);
  assert.is(watch.nextTimeoutUs(), Infinity);
});

health("takes nothing from a dead epoch and everything from the next one", () => {
  const { clock, log, watch } = watched();
  watch.heard("n", "e1");
  clock.now += 10_000_000;
  watch.handleTimeout();
  assert.not.ok(watch.heard("n", "e1"));
  assert.is(watch.state("n"), "dead");
  log.length = 0;
  assert.ok(watch.heard("n", "e2"));
  assert.equal(log, ["n alive"]);
});

health("ends the old epoch when a new one is heard, and lets a suspect return", () => {
  const { clock, log, watch } = watched();
  watch.heard("n", "e1");
  clock.now += 1_000_000;
  watch.handleTimeout();
  watch.heard("n", "e1");
  watch.heard("n", "e2");
  assert.equal(log, ["n alive", "n suspect", "n alive", "n e1 over"]);
});

health("believes port unreachable only together with silence", () => {
  const { clock, watch } = watched();
  watch.heard("n", "e1");
  watch.unreachable("n");
  assert.is(watch.state("n"), "alive");
  clock.now += 3 * HEARTBEAT_US;
  watch.unreachable("n");
  assert.is(watch.state("n"), "dead");
});

health("does not know strangers", () => {
  const { watch } = watched();
  assert.not.ok(watch.heard("x", "e1"));
  assert.is(watch.state("x"), "unknown");
});

health.run();
