import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import {
  type RxPacket,
  counter,
  fill,
  initCore,
  readBatch,
  setTuple,
  withAddress,
} from "../support/batch.ts";
import { type TestCore, onBothBuilds, openCore } from "../support/core.ts";
import { ACK, FIN, RST, buildTcp, concat, option, parseTcp } from "../support/packet.ts";

/** The short way back (assembly/encap/back.ts) against the long one: nobody may see a difference. */
const back = suite("encap/back");

const FAMILIES = {
  4: { own: "10.9.0.1", peer: "10.9.0.2", vip: "10.0.0.100", client: "192.0.2.1" },
  6: { own: "fd09::1", peer: "fd09::2", vip: "fd00::100", client: "2001:db8::9" },
} as const;
const PEER = 5;
const COUNTERS = 256;
/** Before records that ended in the first second are forgotten. */
const T0 = 30e6;
const HANDBACK = 3;
const [ACTIVE, FROZEN, MOVED, CLOSED, POISONED] = [1, 2, 3, 4, 5] as const;
/** By flow, from the first on; the last flow has no record. */
const STATES = [MOVED, CLOSED, POISONED, ACTIVE, FROZEN] as const;
const FLOWS = STATES.length + 1;
const firstFlow = (family: 4 | 6): number => 0x00110000 + family * 0x100;
const [NEEDS_CSUM, CSUM_VERIFIED] = [1, 2] as const;

function open(core: TestCore): TestCore {
  assert.is(initCore(core), 0);
  for (const family of [4, 6] as const) {
    const { own, peer, vip, client } = FAMILIES[family];
    withAddress(core, own, core.f.tunnelSet!);
    withAddress(core, peer, (f, ptr) => core.f.peerSet!(PEER, f, ptr));
    setTuple(core, { remote: client, remotePort: 2000, local: vip, localPort: 80 });
    STATES.forEach((state, index) => {
      const flow = firstFlow(family) + index;
      // A poisoned flow that never was active has no tuple.
      if (state !== POISONED) assert.is(core.f.recordSet!(PEER, flow, ACTIVE, 1e6), 0);
      if (state !== ACTIVE) assert.is(core.f.recordSet!(PEER, flow, state, 1e6), 0);
    });
  }
  return core;
}

const mostly = <T>(usual: T, ...rare: T[]) =>
  fc.oneof({ arbitrary: fc.constant(usual), weight: 6 }, ...rare.map((each) => fc.constant(each)));

const anyPacket: fc.Arbitrary<RxPacket> = fc
  .record({
    family: fc.constantFrom<4 | 6>(4, 6),
    isStranger: mostly(false, true),
    /** A flow of the other family's. */
    isOther: mostly(false, true),
    index: fc.integer({ min: 0, max: FLOWS - 1 }),
    flags: mostly(ACK, ACK | FIN, RST),
    options: mostly(option.timestamps(1, 2), new Uint8Array(0)),
    ttl: mostly(64, 1),
    ipOptions: mostly(new Uint8Array(0), Uint8Array.of(1, 1, 1, 0), new Uint8Array(20).fill(1)),
    payload: fc.uint8Array({ maxLength: 200 }),
    seq: fc.nat(),
    how: mostly(0, NEEDS_CSUM, CSUM_VERIFIED),
    csumStart: mostly(true, false),
    broken: mostly<number | undefined>(undefined, 20, 21, 36, 37, 40, 56, 60),
    by: fc.integer({ min: 1, max: 255 }),
  })
  .map(({ family, isStranger, isOther, index, ipOptions, how, csumStart, broken, by, ...rest }) => {
    const { own, peer, client } = FAMILIES[family];
    const flow = firstFlow(isOther ? (family === 4 ? 6 : 4) : family) + index;
    const bytes = buildTcp({
      ...{ ...rest, ...(family === 4 ? { ipOptions } : {}) },
      ...{ source: isStranger ? client : peer, destination: own },
      ...{ sourcePort: flow >>> 16, destinationPort: flow & 0xffff },
    });
    if (broken !== undefined && broken < bytes.length) bytes[broken]! ^= by;
    if (how === 0) return bytes;
    const tcp = family === 6 ? 40 : 20 + ipOptions.length;
    return { bytes, flags: how, csumStart: csumStart ? tcp : 4, csumOffset: 16 };
  });

/** All that can be seen after a batch; what it held goes back with the next. */
function outcome(core: TestCore, packets: readonly RxPacket[], call: string) {
  fill(core, packets);
  assert.is(core.f.handleTimeout!(T0), 0); // tells the time, which handlePacketsLong does not
  const left = core.f[call]!(packets.length, T0);
  const batch = readBatch(core, core.f.rxBatchPtr!(), packets.length);
  const counted = core.read(core.f.countersPtr!(), COUNTERS * 8);
  return { left, batch, counted };
}

onBothBuilds(back, (test, name) => {
  test("gives what the long way gives: verdicts, bytes, counters", () => {
    const short = open(openCore(name));
    const long = open(openCore(name));
    fc.assert(
      fc.property(fc.array(anyPacket, { minLength: 1, maxLength: 24 }), (packets) => {
        assert.equal(
          outcome(short, packets, "handlePackets"),
          outcome(long, packets, "handlePacketsLong"),
        );
      }),
      { numRuns: 300 },
    );
    assert.ok(counter(short, "HANDED_BACK") > 100);
    assert.ok(counter(short, "TUNNEL_CHECKSUM") > 10);
  });

  for (const family of [4, 6] as const) {
    test(`gives packets of ended flows back as their client sent them, IPv${family}`, (core) => {
      open(core);
      const { own, peer, vip, client } = FAMILIES[family];
      const flows = [0, 1, 0].map((index) => firstFlow(family) + index);
      const packets = flows.map((flow, seq) =>
        buildTcp({
          ...{ source: peer, destination: own },
          ...{ sourcePort: flow >>> 16, destinationPort: flow & 0xffff },
          ...{ seq, ack: 9, flags: ACK, options: option.timestamps(seq, 8) },
          payload: Uint8Array.of(1, 2, 3, 4).subarray(0, 2 * seq),
        }),
      );
      const { batch, left } = outcome(core, packets, "handlePackets");
      assert.is(left, packets.length);
      assert.equal(
        batch.map(({ verdict, peer, flow, record }) => [verdict, peer, flow, record]),
        flows.map((flow, index) => [HANDBACK, PEER, flow, index === 1 ? CLOSED : MOVED]),
      );
      const sent = flows.map((_, seq) =>
        buildTcp({
          ...{ source: client, destination: vip, sourcePort: 2000, destinationPort: 80 },
          ...{ seq, ack: 9, flags: ACK, options: option.timestamps(seq, 8) },
          payload: Uint8Array.of(1, 2, 3, 4).subarray(0, 2 * seq),
        }),
      );
      assert.equal(
        batch.map(({ bytes }) => parseTcp(bytes)),
        sent.map((bytes) => parseTcp(bytes)),
      );
      assert.equal(
        batch.map(({ bytes }) => concat(bytes)),
        sent.map((bytes) => concat(bytes)),
      );
      assert.is(counter(core, "HANDED_BACK"), packets.length);
    });
  }
});

back.run();
