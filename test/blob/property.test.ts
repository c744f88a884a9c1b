/**
 * Properties of compile and infuse (DESIGN section 6): compile(infuse(b)) == b for connections with any past,
 * and whatever a mutated blob makes satisfies the invariants and is a fixed point. The mutator knows the
 * fields and gives them values close to what would just be allowed; sums are made right again.
 */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BUILDS } from "../support/core.ts";
import type { BuildName, TestCore } from "../support/core.ts";
import { End, Pair, pattern } from "../tcp/pair.ts";
import { compile, freeze, infuse, setMapping } from "./mover.ts";

const property = suite("blob properties");

const WORDS = [
  ...["SOCKET_FLAGS", "UNREAD_LEN", "UNACKED_LEN", "UNSENT_LEN", "RANGE_COUNT", "RANGE_LEN"],
  ...["APPLICATION_LEN", "SND_BUF", "SND_BUF_MAX", "RCV_BUF", "RCV_BUF_MAX", "RCV_SPACE", "STATE"],
  ...["FLAGS", "ISS", "IRS", "SND_UNA", "SND_NXT", "SND_WND", "SND_WL1", "SND_WL2", "SND_UP"],
  ...["SND_WND_MAX", "SND_SMALL", "RCV_NXT", "RCV_WND", "RCV_UP", "FIN_SEQ", "LAST_ACK_SENT"],
  ...["TS_RECENT", "TS_RECENT_AGE_MS", "TS_VAL", "SRTT_US", "RTTVAR_US", "RTO_US", "RTT_MIN_US"],
  ...["CWND", "SSTHRESH", "CONGESTION", "CUBIC_W_MAX"],
] as const;
const HALVES = ["PEER_MSS", "ADV_MSS", "RCV_MSS", "PATH_MTU"] as const;
const BYTES = ["SND_WND_SHIFT", "RCV_WND_SHIFT", "TTL", "DSCP"] as const;
const FIELDS = [...WORDS, ...HALVES, ...BYTES];
const TUPLE_FAMILY = 304;
const CLOSES = ["none", "client", "server", "both"] as const;

const past = fc.record({
  family: fc.constantFrom(4 as const, 6 as const),
  up: fc.nat({ max: 40_000 }),
  down: fc.nat({ max: 200_000 }),
  late: fc.nat({ max: 60_000 }),
  /** One of so many packets is lost; 0: none. */
  loss: fc.nat({ max: 6 }),
  close: fc.constantFrom(...CLOSES),
  firstUs: fc.nat({ max: 40_000 }),
  thenUs: fc.nat({ max: 3_000_000 }),
  application: fc.nat({ max: 4096 }),
  startUs: fc.nat({ max: 5_000_000_000 }),
});
type Past = typeof past extends fc.Arbitrary<infer T> ? T : never;

/** Frozen while proportional rate reduction had brought cwnd to 0. */
const NO_WINDOW: Past = {
  ...{ family: 4, up: 13_033, down: 65_081, late: 0, loss: 1, close: "both" },
  ...{ firstUs: 3000, thenUs: 830_882, application: 0, startUs: 3_153_024_254 },
};

/** The blob of a connection with that past; undefined when it has none left. */
function lived(build: BuildName, life: Past): { blob: Uint8Array; nowUs: number } | undefined {
  const startUs = 1_000_000 + life.startUs;
  const pair = new Pair({ build, family: life.family, b: { startUs } });
  const { a, b } = pair.open();
  let packets = 0;
  pair.wire.pass = () => life.loss === 0 || ++packets % (life.loss + 2) !== 0;
  pair.a.write(a, pattern(life.up), pair.now);
  pair.b.write(b, pattern(life.down), pair.now);
  pair.run(life.firstUs);
  if (life.close === "client" || life.close === "both") pair.a.shutdown(a, pair.now);
  if (life.close === "server" || life.close === "both") pair.b.shutdown(b, pair.now);
  else pair.b.write(b, pattern(life.late), pair.now);
  pair.run(life.thenUs);
  const nowUs = pair.now + pair.b.startUs;
  if (pair.b.core.f.freeze!(b) !== 0) return undefined;
  setMapping(pair.b.core, 1, pattern(life.application));
  return { blob: compile(pair.b.core, b, nowUs), nowUs };
}

/** Infused into a fresh core and compiled there at the same time, or the code of its refusal. */
function again(build: BuildName, blob: Uint8Array, nowUs: number): Uint8Array | number {
  const view = new DataView(blob.buffer, blob.byteOffset, blob.length);
  const family = view.getUint32(TUPLE_FAMILY, true) === 6 ? 6 : 4;
  const end = new End(build, "b", { family, startUs: nowUs - 1000 });
  const handle = infuse(end.core, blob, nowUs);
  if (handle <= 0) return handle;
  freeze(end.core, handle);
  return compile(end.core, handle, nowUs);
}

function offsetOf(core: TestCore, name: string): number {
  return core.constant(`BlobOff.${name}`);
}

/** What must hold of any connection that a core has taken (RFC 9293 3.4, RFC 7323 2.3). */
function expectInvariants(core: TestCore, blob: Uint8Array): void {
  const view = new DataView(blob.buffer, blob.byteOffset, blob.length);
  const word = (name: string): number => view.getUint32(offsetOf(core, name), true);
  const span = (from: string, to: string): number => (word(to) - word(from)) >>> 0;
  assert.is(word("TOTAL_LEN"), blob.length);
  const flight = span("SND_UNA", "SND_NXT");
  const unacked = word("UNACKED_LEN");
  assert.ok(
    flight === unacked || flight === unacked + 1,
    `SND.UNA to SND.NXT: ${flight}, ${unacked}`,
  );
  assert.ok(unacked + word("UNSENT_LEN") < 2 ** 30, "the send queue can be numbered");
  assert.ok(word("UNREAD_LEN") + word("RCV_WND") < 2 ** 30, "so can the receive queue");
  assert.ok(span("LAST_ACK_SENT", "RCV_NXT") < 2 ** 31, "nothing was acknowledged beyond RCV.NXT");
  for (const shift of ["SND_WND_SHIFT", "RCV_WND_SHIFT"]) {
    assert.ok(view.getUint8(offsetOf(core, shift)) <= 14, `${shift}: RFC 7323 2.3`);
  }
  assert.ok(word("CWND") > 0 && word("RTO_US") > 0, "it can send");
  assert.ok(view.getUint8(offsetOf(core, "TTL")) > 0, "its packets leave");
}

/** A field, and what it becomes: close to its own value or to another field's, or extreme. */
const mutation = fc.record({
  field: fc.constantFrom(...FIELDS),
  other: fc.constantFrom(...WORDS),
  how: fc.constantFrom("own", "other", "extreme"),
  delta: fc.constantFrom(-65_536, -2, -1, 0, 1, 2, 8, 1460, 65_536),
  extreme: fc.constantFrom(0, 1, 14, 15, 255, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff),
});
type Mutation = typeof mutation extends fc.Arbitrary<infer T> ? T : never;

function mutate(core: TestCore, blob: Uint8Array, { field, other, how, delta, extreme }: Mutation) {
  const view = new DataView(blob.buffer, blob.byteOffset, blob.length);
  const at = offsetOf(core, field);
  const width = (WORDS as readonly string[]).includes(field)
    ? 4
    : (HALVES as readonly string[]).includes(field)
      ? 2
      : 1;
  const own =
    width === 4
      ? view.getUint32(at, true)
      : width === 2
        ? view.getUint16(at, true)
        : view.getUint8(at);
  const base = how === "own" ? own : view.getUint32(offsetOf(core, other), true);
  const value = how === "extreme" ? extreme : base + delta;
  if (width === 4) view.setUint32(at, value, true);
  else if (width === 2) view.setUint16(at, value, true);
  else view.setUint8(at, value);
}

for (const build of BUILDS) {
  const numRuns = (build === "release" ? 50 : 10) * (process.env["BATON_FULL"] === "1" ? 8 : 1);

  property(`compile(infuse(b)) == b, whatever the connection has been through (${build})`, () => {
    let moved = 0;
    fc.assert(
      fc.property(past, (life) => {
        const sample = lived(build, life);
        if (!sample) return; // It is over: nothing is left to move.
        const { blob, nowUs } = sample;
        assert.equal(again(build, blob, nowUs), blob);
        moved++;
      }),
      { numRuns, examples: [[NO_WINDOW]] },
    );
    assert.ok(moved > numRuns / 4, `${moved} of ${numRuns} moved`);
  });

  property(`a mutated blob refuses, or makes what satisfies the invariants (${build})`, () => {
    const lives: Past[] = CLOSES.flatMap((close) =>
      ([4, 6] as const).map((family) => ({
        ...{ family, close, up: 5000, down: 30_000, late: 4000, loss: close === "none" ? 3 : 0 },
        ...{ firstUs: 3000, thenUs: 2000, application: 20, startUs: 0 },
      })),
    );
    const samples = lives
      .map((life) => lived(build, life))
      .filter((sample) => sample !== undefined);
    assert.ok(samples.length >= 6);
    const refused = new Set<number>();
    let taken = 0;
    const sealer = new End(build, "b", {});
    fc.assert(
      fc.property(
        fc.nat({ max: samples.length - 1 }),
        fc.array(mutation, { minLength: 1, maxLength: 3 }),
        (which, mutations) => {
          const sample = samples[which] as (typeof samples)[number];
          const { core } = sealer;
          const blob = sample.blob.slice();
          for (const one of mutations) mutate(core, blob, one);
          core.write(core.f.blobPtr!(), blob);
          core.f.blobSeal!(core.f.blobPtr!(), blob.length);
          const sealed = core.read(core.f.blobPtr!(), blob.length);
          const first = again(build, sealed, sample.nowUs);
          if (typeof first === "number") {
            assert.ok(first < 0, `code ${first}`);
            refused.add(first);
            return;
          }
          taken++;
          expectInvariants(core, first);
          assert.equal(again(build, first, sample.nowUs), first, "a fixed point");
        },
      ),
      { numRuns: 4 * numRuns },
    );
    assert.ok(taken > numRuns / 10, `${taken} taken`);
    assert.ok(refused.size >= 2, `refused for ${[...refused].join()}`);
  });
}

property.run();
