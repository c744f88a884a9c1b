/** Paths that drop large packets in silence. RFC 4821, RFC 2923; scenarios of two cores and a router between them. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counter } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { Pair, pattern, transfer } from "./pair.ts";

const blackhole = suite("black hole");
const SECOND = 1_000_000;

for (const build of BUILDS) {
  for (const family of [4, 6] as const) {
    const title = (text: string) => `${text} (${build}, IPv${family})`;
    const headers = family === 4 ? 40 : 60;
    /** Largest packet that the fallback sends. */
    const base = family === 4 ? 1024 + headers : 1280;

    /** A path that has shrunk after the handshake, and says nothing about it. */
    const shrunk = (limit: number, options = {}) => {
      const state = { limit: 65535, dropped: 0, largest: 0 };
      const pair = new Pair({
        build,
        family,
        ...options,
        wire: {
          delayUs: 5_000,
          pass: (packet, from) => {
            if (from !== "a") return true;
            if (packet.totalLen > state.limit) {
              state.dropped++;
              return false;
            }
            state.largest = Math.max(state.largest, packet.totalLen);
            return true;
          },
        },
      });
      const handles = pair.open();
      transfer(pair, "a", handles, pattern(50_000));
      assert.is(state.largest, 1500);
      state.limit = limit;
      state.largest = 0;
      return { pair, handles, state };
    };

    blackhole(title("falls back to smaller segments when large ones vanish, and says so"), () => {
      const { pair, handles, state } = shrunk(1400);
      const began = pair.now;
      const data = pattern(300_000, 7);
      assert.equal(transfer(pair, "a", handles, data, 60), data);
      assert.ok(state.dropped > 3, `${state.dropped} were dropped`);
      assert.is(counter(pair.a.core, "TCP_BLACK_HOLES"), 1);
      assert.is(pair.a.info(handles.a, "PMTU"), base);
      assert.is(state.largest, base);
      assert.is(pair.a.info(handles.a, "SND_MSS"), base - headers - 12);
      // Three timeouts: 0.2, 0.4 and 0.8 s after a loss probe; then the rest flows.
      assert.ok(pair.now - began < 5 * SECOND, `${(pair.now - began) / SECOND} s`);
      assert.is(pair.a.info(handles.a, "TIMEOUTS"), 3);
    });

    blackhole(title("lets small segments through meanwhile, and suspects nobody for them"), () => {
      const { pair, handles } = shrunk(1400);
      for (let turn = 0; turn < 20; turn++) {
        pair.a.write(handles.a, pattern(200), pair.now);
        pair.run(SECOND / 10);
      }
      assert.is(pair.b.read(handles.b, pair.now).length, 4000);
      assert.is(counter(pair.a.core, "TCP_BLACK_HOLES"), 0);
      assert.is(pair.a.info(handles.a, "PMTU"), 1500);
    });

    blackhole(title("suspects no path for small segments that nobody answers"), () => {
      const { pair, handles } = shrunk(0);
      pair.a.write(handles.a, pattern(700), pair.now);
      pair.run(60 * SECOND);
      assert.ok(pair.a.info(handles.a, "TIMEOUTS") > 4);
      assert.is(counter(pair.a.core, "TCP_BLACK_HOLES"), 0);
      assert.is(pair.a.info(handles.a, "PMTU"), 1500);
    });

    blackhole(title("goes down to the smallest path there is, and no further"), () => {
      const smallest = family === 4 ? 552 : 1280;
      const { pair, handles, state } = shrunk(smallest);
      const data = pattern(60_000, 3);
      assert.equal(transfer(pair, "a", handles, data, 120), data);
      assert.is(pair.a.info(handles.a, "PMTU"), smallest);
      assert.is(state.largest, smallest);
      assert.is(counter(pair.a.core, "TCP_BLACK_HOLES"), family === 4 ? 2 : 1);
      state.limit = 0;
      pair.a.write(handles.a, pattern(5_000), pair.now);
      pair.run(60 * SECOND);
      assert.is(pair.a.info(handles.a, "PMTU"), smallest);
    });

    blackhole(title("finds the hole behind super-segments too"), () => {
      const gso = { segmenting: 1 };
      const state = { pieces: 0 };
      const pair = new Pair({ build, family, a: gso, b: gso, wire: { delayUs: 5_000 } });
      const handles = pair.open();
      // The link cuts into pieces of gsoSize; a router drops what is too large, piece by piece.
      pair.wire.pass = (packet, from) => {
        if (from !== "a" || packet.payload.length === 0) return true;
        const piece = Math.min(packet.payload.length, pair.a.info(handles.a, "SND_MSS"));
        const isLost = piece + headers + 12 > 1400;
        if (isLost) state.pieces++;
        return !isLost;
      };
      const data = pattern(200_000);
      assert.equal(transfer(pair, "a", handles, data, 60), data);
      assert.ok(state.pieces >= 3);
      assert.is(counter(pair.a.core, "TCP_BLACK_HOLES"), 1);
    });

    blackhole(title("takes the verdict back when the segments were late, not lost"), () => {
      const { pair, handles } = shrunk(65535);
      pair.run(SECOND);
      pair.wire.delayUs = 2_500_000; // longer than three timeouts
      pair.a.write(handles.a, pattern(10_000), pair.now);
      pair.flush();
      pair.run(2 * SECOND);
      assert.is(counter(pair.a.core, "TCP_BLACK_HOLES"), 1, "three timeouts look like a hole");
      assert.is(pair.a.info(handles.a, "PMTU"), base);
      pair.wire.delayUs = 5_000;
      pair.run(5 * SECOND);
      assert.is(counter(pair.a.core, "TCP_UNDONE"), 1);
      assert.is(pair.a.info(handles.a, "PMTU"), 1500);
      assert.equal(pair.b.read(handles.b, pair.now).length, 10_000);
    });
  }
}

blackhole.run();
