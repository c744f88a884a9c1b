/** Freeze, thaw, discard: a frozen connection is silent, and going on costs nothing but retransmission. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SeededRandom } from "../../host/sim/random.ts";
import { BUILDS } from "../support/core.ts";
import { counter, drain } from "../support/batch.ts";
import { Pair, pattern } from "./pair.ts";
import { play, script } from "./play.ts";

const migrate = suite("migrate");

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;

  migrate(title("emits nothing and runs no timer while frozen"), () => {
    const pair = new Pair({ build });
    const handles = pair.open();
    pair.a.option(handles.a, "KEEPALIVE_US", 1_000_000);
    pair.a.write(handles.a, pattern(50_000), pair.now);
    pair.flush();
    assert.is(pair.a.core.f.freeze!(handles.a), 0);
    const sent = pair.trace.filter(({ from }) => from === "a").length;
    pair.run(100_000_000);
    assert.is(pair.trace.filter(({ from }) => from === "a").length, sent);
    assert.is(pair.a.core.f.nextTimeoutUs!(), Infinity);
    assert.is(pair.a.core.f.reserve!(handles.a), pair.a.core.constant("Err.FROZEN"));
    assert.ok(counter(pair.a.core, "TCP_FROZEN_DROPPED") > 0);
  });

  migrate(title("goes on after a thaw as if packets had been lost"), () => {
    const pair = new Pair({ build });
    const handles = pair.open();
    pair.a.write(handles.a, pattern(50_000), pair.now);
    pair.flush();
    pair.a.core.f.freeze!(handles.a);
    pair.run(5_000_000);
    assert.is(pair.a.core.f.thaw!(handles.a, pair.now + pair.a.startUs), 0);
    pair.runUntil(() => pair.b.info(handles.b, "UNREAD_BYTES") === 50_000, 60);
    assert.equal(pair.b.read(handles.b, pair.now), pattern(50_000));
  });

  migrate(title("vanishes without a word and gives everything back"), () => {
    const pair = new Pair({ build });
    const handles = pair.open();
    pair.a.write(handles.a, pattern(50_000), pair.now);
    pair.b.write(handles.b, pattern(50_000), pair.now);
    pair.run(2_500);
    pair.a.core.f.freeze!(handles.a);
    assert.is(pair.a.core.f.discard!(handles.a), 0);
    assert.equal(drain(pair.a.core, "pollTransmit", pair.now + pair.a.startUs), []);
    assert.equal(pair.a.pollEvents(), []);
    for (const pool of ["tcbCount", "chunksUsed", "nodesUsed"]) {
      assert.is(pair.a.core.f[pool]!(), 0, pool);
    }
    assert.is(pair.a.core.f.connectionState!(handles.a), pair.a.core.constant("Err.HANDLE"));
  });

  migrate(title("refuses to freeze a handshake, and to thaw what is not frozen"), () => {
    const pair = new Pair({ build });
    const a = pair.a.connect(pair.now);
    assert.is(pair.a.core.f.freeze!(a), pair.a.core.constant("Err.TCP_STATE"));
    const handles = { a, b: 0 };
    pair.runUntil(() => pair.a.state(handles.a) === "ESTABLISHED");
    assert.is(pair.a.core.f.thaw!(a, pair.now + 2_000_000), pair.a.core.constant("Err.TCP_STATE"));
    assert.is(pair.a.core.f.freeze!(0x7fffffff), pair.a.core.constant("Err.HANDLE"));
  });

  migrate(title("delivers the same bytes with freezes and thaws at any step"), () => {
    fc.assert(
      fc.property(script, (one) => {
        const random = new SeededRandom(one.seed);
        const frozen = { a: 0, b: 0 };
        play(build, one, {
          before: (pair) => {
            for (const name of ["a", "b"] as const) {
              if (frozen[name] === 0) continue;
              const now = pair.now + pair[name].startUs;
              assert.is(pair[name].core.f.thaw!(frozen[name], now), 0);
              frozen[name] = 0;
            }
          },
          step: (pair, handles) => {
            const name = random.fraction() < 0.5 ? "a" : "b";
            if (random.fraction() > 0.1 || handles[name] === 0) return;
            if (pair[name].core.f.freeze!(handles[name]) !== 0) return;
            frozen[name] = handles[name];
            pair.alarm = pair.now + random.below(50_000);
          },
        });
      }),
      { numRuns: 25 },
    );
  });
}

migrate.run();
