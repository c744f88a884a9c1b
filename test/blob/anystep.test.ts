/**
 * A connection that is compiled and infused at any step, by either end, again and again: the peer sees nothing of it
 * but, at most, something twice. What no segment may take back is checked by play.ts.
 */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SeededRandom } from "../../host/sim/random.ts";
import { type BuildName, BUILDS } from "../support/core.ts";
import { End, type Pair } from "../tcp/pair.ts";
import { type Script, play, script } from "../tcp/play.ts";
import { compile, freeze, infuse, setMapping } from "./mover.ts";

const anystep = suite("any step");
/** Each move starts timers anew: with one at every step a retransmission would never be due. */
const MOVES_MAX = 40;

/** Two cores for each end: the connection goes from one to the other and back, their clocks apart. */
function mover(build: BuildName, one: Script) {
  const options = { family: one.family, mtu: one.mtu, segmenting: one.segmenting, listen: false };
  const spare = {
    a: new End(build, "a", { ...options, startUs: one.startUs + 1_234_567 }),
    b: new End(build, "b", { ...options, startUs: one.startUs + 987_654_321 }),
  };
  let moves = 0;
  const move = (pair: Pair, name: "a" | "b", handle: number): number => {
    const from = pair[name];
    const states = ["ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING", "LAST_ACK"];
    if (!states.includes(from.state(handle)) || from.handles("CLOSED").length > 0) return handle;
    freeze(from.core, handle);
    setMapping(from.core);
    const blob = compile(from.core, handle, pair.now + from.startUs);
    const to = spare[name];
    const moved = infuse(to.core, blob, pair.now + to.startUs);
    assert.ok(moved > 0, `infuse returned ${moved}`);
    assert.is(from.core.f.discard!(handle), 0);
    from.pollEvents();
    (pair as { a: End; b: End })[name] = to;
    spare[name] = from;
    to.pollEvents();
    moves++;
    return moved;
  };
  return { move, count: () => moves };
}

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;
  const full = process.env["BATON_FULL"] === "1";

  anystep(title("changes nothing that the peer can see, but for what is sent twice"), () => {
    let total = 0;
    fc.assert(
      fc.property(script, fc.constantFrom(0.02, 0.1, 1), (one, often) => {
        // Each move costs a round trip at most, and TIME-WAIT a minute: a path of 20 % loss would outlast the clock.
        const calm = { ...one, loss: Math.min(one.loss, 0.05) };
        const random = new SeededRandom(one.seed);
        const { move, count } = mover(build, calm);
        play(build, calm, {
          step: (pair, handles) => {
            if (count() === MOVES_MAX || random.fraction() > often) return;
            const name = random.fraction() < 0.5 ? "a" : "b";
            if (handles[name] !== 0) handles[name] = move(pair, name, handles[name]);
          },
        });
        total += count();
      }),
      { numRuns: full ? 200 : 8 },
    );
    assert.ok(total > 0, "connections were moved");
  });
}

anystep.run();
