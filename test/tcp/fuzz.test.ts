/**
 * Random and mutated segments in every state: no trap, no write outside what is the core's, no reset that RFC
 * 5961 forbids, bounded answers.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SeededRandom } from "../../host/sim/random.ts";
import { BUILDS } from "../support/core.ts";
import { drain, feed } from "../support/batch.ts";
import { ACK, FIN, PSH, RST, SYN, URG, buildTcp, concat, option } from "../support/packet.ts";
import { ADDRESS, PORT_A, PORT_B, Pair, STATES, pattern, transfer } from "./pair.ts";

const fuzz = suite("fuzz");

const SEED = Number(process.env["SEED"] ?? Date.now() & 0xffffff);
const ROUNDS = 40;
const PACKETS = 120;

/** Brings a fresh pair's b into a state; returns b's handle, 0 where it is not reported. */
function into(pair: Pair, state: string): number {
  if (state === "LISTEN") return 0;
  if (state === "SYN_SENT") return pair.b.connect(pair.now);
  if (state === "SYN_RECEIVED") {
    pair.a.connect(pair.now);
    pair.wire.pass = (_packet, from) => from === "a";
    pair.run(3_000);
    return 0;
  }
  const handles = pair.open();
  transfer(pair, "a", handles, pattern(3_000));
  pair.b.write(handles.b, pattern(20_000), pair.now);
  pair.run(1_500);
  const shut = (name: "a" | "b") => {
    pair[name].shutdown(handles[name], pair.now);
    pair.run(300_000);
  };
  if (state === "CLOSE_WAIT" || state === "LAST_ACK") shut("a");
  if (state === "FIN_WAIT_2" || state === "TIME_WAIT") shut("b");
  if (state === "TIME_WAIT") shut("a");
  if (state === "CLOSING" || state === "FIN_WAIT_1" || state === "LAST_ACK") {
    if (state === "CLOSING") pair.wire.pass = (_packet, from) => from === "a";
    else pair.wire.pass = () => false;
    if (state === "CLOSING") pair.a.shutdown(handles.a, pair.now);
    pair.b.shutdown(handles.b, pair.now);
    pair.run(1_200);
  }
  return handles.b;
}

for (const build of BUILDS) {
  for (const state of STATES.filter((name) => name !== "CLOSED")) {
    fuzz(`survives any segment in ${state} (${build}, seed ${SEED})`, () => {
      const random = new SeededRandom(SEED);
      for (let round = 0; round < ROUNDS / 4; round++) {
        const pair = new Pair({ build, b: { listen: state !== "SYN_SENT", connectionsMax: 8 } });
        const handle = into(pair, state);
        if (handle !== 0) assert.is(pair.b.state(handle), state);
        const { core } = pair.b;
        const info = (name: string) =>
          handle !== 0 && core.f.connectionInfo!(handle) === 0 ? pair.b.info(handle, name) : 0;
        const near = (value: number) => (value + random.below(7) - 3) >>> 0;
        const seqs = () => [
          near(info("RCV_NXT")),
          near(info("RCV_NXT") + info("RCV_WND")),
          near(info("IRS")),
          (info("RCV_NXT") + random.below(70_000)) >>> 0,
          random.u32(),
        ];
        const acks = () => [
          near(info("SND_UNA")),
          near(info("SND_NXT")),
          near(info("ISS")),
          (info("SND_UNA") + random.below(30_000)) >>> 0,
          random.u32(),
        ];
        const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
        const optionBytes = () => {
          const all = [
            option.timestamps(near(info("TS_RECENT")), near(info("TS_LAST_SENT"))),
            option.timestamps(random.u32(), random.u32()),
            option.sack([pick(acks()), pick(acks())]),
            option.sack([pick(acks()), pick(acks())], [pick(acks()), pick(acks())]),
            option.mss(random.below(65536)),
            option.windowScale(random.below(256)),
            option.sackPermitted(),
            random.bytes(4 * random.below(3)),
          ];
          const chosen = concat(...[0, 1].map(() => pick(all)));
          return chosen.length > 40 ? chosen.subarray(0, 40) : chosen;
        };
        for (let at = 0; at < PACKETS; at += 8) {
          const batch = Array.from({ length: 8 }, () => {
            const packet = buildTcp({
              source: ADDRESS[4].a,
              destination: ADDRESS[4].b,
              sourcePort: PORT_A,
              destinationPort: PORT_B,
              seq: pick(seqs()),
              ack: pick(acks()),
              flags: pick([
                ACK,
                ACK | PSH,
                ACK | FIN,
                SYN,
                SYN | ACK,
                RST,
                RST | ACK,
                ACK | URG,
                0,
                random.below(256),
              ]),
              window: pick([0, 1, 65535, random.below(65536)]),
              urgent: random.below(65536),
              options: optionBytes(),
              payload: pattern(pick([0, 0, 1, 10, 1448, 5000])),
            });
            if (random.fraction() < 0.1) packet[random.below(packet.length)] = random.below(256);
            const flags = random.fraction() < 0.5 ? core.constant("PacketFlag.CSUM_VERIFIED") : 0;
            return { bytes: packet, flags };
          });
          pair.now += random.below(300_000);
          const now = pair.now + pair.b.startUs;
          const canary = core.read(core.f.tcbAt!(0), 64);
          feed(core, batch, now);
          core.f.handleTimeout!(now);
          const out = drain(core, "pollTransmit", now);
          assert.ok(out.length <= 200, `${out.length} answers to 8 packets`);
          assert.equal(core.read(core.f.tcbAt!(0), 64), canary);
          pair.b.pollEvents();
          for (const accepted of pair.b.handles("ACCEPTED")) {
            if (core.f.connectionState!(accepted) < 0) continue;
            if (random.fraction() < 0.5) pair.b.read(accepted, pair.now);
            const gap = (pair.b.info(accepted, "SND_NXT") - pair.b.info(accepted, "SND_UNA")) | 0;
            assert.ok(gap >= 0, "SND.UNA <= SND.NXT");
          }
        }
        // Whatever happened, everything can be given back.
        for (const accepted of new Set([...pair.b.handles("ACCEPTED"), handle])) {
          if (accepted > 0 && core.f.connectionState!(accepted) >= 0) core.f.discard!(accepted);
        }
        pair.now += 1_000_000_000;
        for (let turn = 0; turn < 400 && core.f.tcbCount!() > 0; turn++) {
          pair.now += 10_000_000;
          core.f.handleTimeout!(pair.now + pair.b.startUs);
          drain(core, "pollTransmit", pair.now + pair.b.startUs);
          pair.b.pollEvents();
        }
        assert.is(core.f.tcbCount!(), 0);
        assert.is(core.f.chunksUsed!(), 0);
        assert.is(core.f.nodesUsed!(), 0);
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
