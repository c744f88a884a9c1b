import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import {
  type RxPacket,
  counter,
  fill,
  initCore,
  mapInfo,
  readBatch,
  setTuple,
  withAddress,
} from "../support/batch.ts";
import { type TestCore, onBothBuilds, openCore } from "../support/core.ts";
import { ACK, FIN, RST, SYN, buildTcp, concat, option } from "../support/packet.ts";

/** The short way of a batch (assembly/encap/plain.ts) against the long one: nobody may see a difference. */
const plain = suite("encap/plain");

const OWN = "10.9.0.1";
const PEER = "10.9.0.2";
const VIP = "10.0.0.100";
const CLIENT = "192.0.2.1";
const PORTS = [1001, 1002, 1003, 1004, 1005, 1006] as const;
const FLOW = 0x00110022;
const RECORD_STATES = [1, 3, 4] as const;
const COUNTERS = 256;
const NEEDS_CSUM = 1;

/** Ports 1001 to 1003 are forwarded, the third to a peer without an address; local, a tombstone, nobody's. */
function open(core: TestCore, hasTunnel: boolean): TestCore {
  assert.is(initCore(core), 0);
  if (hasTunnel) withAddress(core, OWN, core.f.tunnelSet!);
  withAddress(core, PEER, (family, ptr) => core.f.peerSet!(5, family, ptr));
  for (const port of [80, 443]) {
    withAddress(core, VIP, (family, ptr) => core.f.serviceAdd!(family, ptr, port, 0, 0));
    for (const [remotePort, action, peer] of [
      [1001, 1, 5],
      [1002, 1, 5],
      [1003, 1, 6],
      [1004, 2, 0],
      [1005, 3, 5],
    ] as const) {
      setTuple(core, { remote: CLIENT, remotePort, local: VIP, localPort: port });
      assert.is(core.f.mapSet!(action, peer, FLOW + remotePort), 0);
    }
  }
  setTuple(core, { remote: CLIENT, remotePort: 2000, local: VIP, localPort: 80 });
  RECORD_STATES.forEach((state, index) => {
    assert.is(core.f.recordSet!(5, FLOW + index, 1, 1e6), 0);
    if (state !== 1) assert.is(core.f.recordSet!(5, FLOW + index, state, 1e6), 0);
  });
  return core;
}

const stamps = (tsVal: number, tsEcr: number): Uint8Array => option.timestamps(tsVal, tsEcr);
const late = concat(option.sack([1, 2]), stamps(7, 8));
const mostly = <T>(usual: T, ...rare: T[]) =>
  fc.oneof({ arbitrary: fc.constant(usual), weight: 12 }, ...rare.map((each) => fc.constant(each)));

const anyPacket: fc.Arbitrary<RxPacket> = fc
  .record({
    source: mostly(CLIENT, PEER, "127.0.0.1", "224.0.0.1", "0.1.2.3", VIP),
    destination: mostly(VIP, OWN, "10.0.0.101"),
    sourcePort: fc.constantFrom(...PORTS, FLOW >>> 16, 0),
    destinationPort: mostly(80, 443, 81, FLOW & 0xffff, (FLOW + 1) & 0xffff, 0),
    flags: mostly(ACK, ACK | FIN, RST, RST | ACK, SYN, SYN | ACK, 0),
    options: mostly(
      stamps(0x01020304, 9),
      new Uint8Array(0),
      late,
      option.sack([3, 4]),
      new Uint8Array(12),
    ),
    ttl: mostly(64, 2, 1, 0),
    seq: fc.nat(),
    ack: fc.nat(),
    fragment: mostly(0x4000, 0, 1, 0x2000, 0x8000),
    ipOptions: mostly(new Uint8Array(0), Uint8Array.of(1, 1, 1, 0)),
    payload: fc.uint8Array({ maxLength: 40 }),
  })
  .chain((fields) =>
    fc.record({
      image: fc.constant(buildTcp(fields)),
      partial: mostly(false, true),
      csumStart: mostly(20, 24, 0),
      csumOffset: mostly(16, 6),
      padding: mostly(0, 6),
      cut: mostly(0, 1, 21),
      broken: mostly<number | undefined>(undefined, 0, 2, 3, 9, 10, 32, 33),
      by: fc.integer({ min: 1, max: 255 }),
    }),
  )
  .map(({ image, partial, csumStart, csumOffset, padding, cut, broken, by }) => {
    const bytes = concat(image.subarray(0, image.length - cut), new Uint8Array(padding));
    if (broken !== undefined && broken < bytes.length) bytes[broken]! ^= by;
    return partial ? { bytes, flags: NEEDS_CSUM, csumStart, csumOffset } : bytes;
  });

/** All that can be seen after a batch. */
function outcome(core: TestCore, packets: readonly RxPacket[], call: string) {
  fill(core, packets);
  assert.is(core.f.handleTimeout!(70e6), 0); // tells the time, which handlePacketsLong does not
  const left = core.f[call]!(packets.length, 70e6);
  const batch = readBatch(core, core.f.rxBatchPtr!(), packets.length);
  const counted = core.read(core.f.countersPtr!(), COUNTERS * 8);
  const mappings = [80, 443].flatMap((localPort) =>
    PORTS.map((remotePort) => {
      setTuple(core, { remote: CLIENT, remotePort, local: VIP, localPort });
      return core.f.mapGet!(70e6) === 0 ? mapInfo(core) : undefined;
    }),
  );
  return { left, batch, counted, mappings };
}

onBothBuilds(plain, (test, name) => {
  test("gives what the long way gives: verdicts, bytes, counters, notes", () => {
    // What one batch leaves behind, the next one meets, in both cores alike.
    const pairs = [true, false].map((hasTunnel) => ({
      short: open(openCore(name), hasTunnel),
      long: open(openCore(name), hasTunnel),
    }));
    fc.assert(
      fc.property(fc.array(anyPacket, { minLength: 1, maxLength: 24 }), (packets) => {
        for (const { short, long } of pairs) {
          assert.equal(
            outcome(short, packets, "handlePackets"),
            outcome(long, packets, "handlePacketsLong"),
          );
        }
      }),
      { numRuns: 300 },
    );
  });

  test("is taken by the packets that it is meant for, and notes what they say", (core) => {
    open(core, true);
    const fields = { source: CLIENT, destination: VIP, sourcePort: 1001, destinationPort: 80 };
    const packet = buildTcp({ ...fields, flags: ACK, seq: 5, ack: 6, options: stamps(7, 8) });
    const { batch, mappings } = outcome(core, [packet, packet], "handlePackets");
    assert.equal(
      batch.map(({ verdict, peer, flow }) => [verdict, peer, flow]),
      Array.from({ length: 2 }, () => [2, 5, FLOW + 1001]),
    );
    assert.is(counter(core, "ENCAPSULATED"), 2);
    assert.is(counter(core, "ENCAPSULATED_BYTES"), 2 * packet.length);
    const { segSeq, segAck, tsVal, tsEcr, timestamps } = mappings[0]!;
    assert.equal([segSeq, segAck, tsVal, tsEcr, timestamps], [5, 6, 7, 8, 1]);
  });
});

plain.run();
