/**
 * Random and mutated segments in every state (fuzzer.ts), a short run each time; and RSTs alone, many of them.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SeededRandom } from "../../host/sim/random.ts";
import { feed } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { ACK, RST, SYN, buildTcp } from "../support/packet.ts";
import { FUZZ_STATES, fuzzOne } from "./fuzzer.ts";
import { ADDRESS, PORT_A, PORT_B, Pair } from "./pair.ts";

const fuzz = suite("fuzz");

const SEED = Number(process.env["SEED"] ?? Date.now() & 0xffffff);
const ROUNDS = process.env["BATON_FULL"] === "1" ? 40 : 4;
const SEGMENTS = 150;

for (const build of BUILDS) {
  for (const state of FUZZ_STATES) {
    fuzz(`survives any segment in ${state} (${build}, seed ${SEED})`, () => {
      for (let round = 0; round < ROUNDS; round++) {
        fuzzOne(build, state, round % 2 === 0 ? 4 : 6, SEED + round, SEGMENTS);
      }
    });
  }

  fuzz(`is not reset by a RST that does not name RCV.NXT exactly (${build}, seed ${SEED})`, () => {
    const random = new SeededRandom(SEED);
    const pair = new Pair({ build });
    const handles = pair.open();
    for (let at = 0; at < 2_000; at++) {
      const seq = random.u32();
      if (seq === pair.b.info(handles.b, "RCV_NXT")) continue;
      const packet = buildTcp({
        source: ADDRESS[4].a,
        destination: ADDRESS[4].b,
        sourcePort: PORT_A,
        destinationPort: PORT_B,
        seq,
        ack: random.u32(),
        flags: RST | (random.fraction() < 0.5 ? ACK : 0) | (random.fraction() < 0.2 ? SYN : 0),
      });
      feed(pair.b.core, [packet], pair.now + pair.b.startUs);
    }
    assert.is(pair.b.state(handles.b), "ESTABLISHED");
  });
}

fuzz.run();
