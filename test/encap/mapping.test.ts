import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { addressBytes } from "../support/address.ts";
import {
  type TestTuple,
  counter,
  drain,
  feed,
  getTuple,
  initCore,
  mapInfo,
  setTuple,
  withAddress,
} from "../support/batch.ts";
import { type TestCore, onBothBuilds, openCore } from "../support/core.ts";
import { ACK, RST, SYN, buildTcp, describePacket, option, parseTcp } from "../support/packet.ts";

const mapping = suite("encap/mapping");
const FORWARD = 1;
const LOCAL = 2;
const TOMB = 3;
const FLOW = 0x00070009;
const TRANSMIT = 2;

const VIPS = ["10.0.0.100", "10.0.0.101", "fd00::100", "fd00::101"];

function open(core: TestCore, parameters = {}): void {
  assert.is(initCore(core, parameters), 0);
  for (const vip of VIPS) {
    assert.ok(withAddress(core, vip, (f, ptr) => core.f.serviceAdd!(f, ptr, 80, 0, 0)) >= 0);
  }
  withAddress(core, "10.9.0.1", core.f.tunnelSet!);
  withAddress(core, "fd09::1", core.f.tunnelSet!);
  for (let peer = 1; peer <= 3; peer++) {
    withAddress(core, `10.9.1.${peer}`, (f, ptr) => core.f.peerSet!(peer, f, ptr));
    withAddress(core, `fd09::1:${peer}`, (f, ptr) => core.f.peerSet!(peer, f, ptr));
  }
}

const tuple4: TestTuple = { remote: "192.0.2.1", remotePort: 5000, local: VIPS[0]!, localPort: 80 };
const tuple6: TestTuple = {
  remote: "2001:db8::1",
  remotePort: 5000,
  local: VIPS[2]!,
  localPort: 80,
};

const packetOf = (tuple: TestTuple, extra = {}) =>
  buildTcp({
    source: tuple.remote,
    destination: tuple.local,
    sourcePort: tuple.remotePort,
    destinationPort: tuple.localPort,
    ...extra,
  });

onBothBuilds(mapping, (test, name) => {
  test("behaves as a Map under random operations, both families and several services", (core) => {
    open(core, { mappings4Max: 12, mappings6Max: 12 });
    const operation = fc.record({
      act: fc.constantFrom("set", "set", "get", "delete"),
      client: fc.integer({ min: 1, max: 8 }),
      vip: fc.integer({ min: 0, max: 3 }),
      action: fc.constantFrom(FORWARD, LOCAL, TOMB),
      peer: fc.integer({ min: 1, max: 3 }),
      flow: fc.integer({ min: 0x10001, max: 0x1ffff }),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 100 }), (operations) => {
        const model = new Map<string, { action: number; peer: number; flow: number }>();
        const used = (v4: boolean) =>
          [...model.keys()].filter((k) => k.includes(":") !== v4).length;
        for (const { act, client, vip, ...value } of operations) {
          const v4 = vip < 2;
          const remote = v4 ? `192.0.2.${client}` : `2001:db8::${client}`;
          const key = `${remote}>${VIPS[vip]}`;
          setTuple(core, { remote, remotePort: 4000, local: VIPS[vip]!, localPort: 80 });
          if (act === "set") {
            const full = !model.has(key) && used(v4) === 12;
            const want = full ? core.constant("Err.FULL") : 0;
            assert.is(core.f.mapSet!(value.action, value.peer, value.flow), want);
            if (!full) model.set(key, value);
          } else if (act === "delete") {
            const want = model.delete(key) ? 0 : core.constant("Err.NOT_FOUND");
            assert.is(core.f.mapDelete!(), want);
          } else {
            const known = model.get(key);
            assert.is(core.f.mapGet!(), known ? 0 : core.constant("Err.NOT_FOUND"));
            const { action, peer, flow } = mapInfo(core);
            if (known) assert.equal({ action, peer, flow }, known);
          }
        }
        // The walk finds exactly what is there, and deleting everything leaves nothing behind.
        const walked = scanAll(core, 7);
        assert.is(walked.length, model.size);
        for (const found of walked) {
          setTuple(core, found);
          assert.is(core.f.mapDelete!(), 0);
        }
        assert.is(scanAll(core, 1000).length, 0);
      }),
      { numRuns: 60 },
    );
  });

  test("costs at most 48 bytes a mapping over IPv4 and 80 over IPv6, empty slots counted", () => {
    const bytes = (parameters: object) => {
      const fresh = openCore(name);
      const none = { mappings4Max: 0, mappings6Max: 0, slotBytes: 2048, ...parameters };
      assert.is(initCore(fresh, none), 0);
      return fresh.bytes.length;
    };
    const count = 1 << 20;
    const empty = bytes({});
    assert.ok((bytes({ mappings4Max: count }) - empty) / count <= 48.1);
    assert.ok((bytes({ mappings6Max: count }) - empty) / count <= 80.1);
  });

  test("refuses what cannot be a mapping", (core) => {
    open(core);
    const argument = core.constant("Err.ARGUMENT");
    setTuple(core, tuple4);
    assert.is(core.f.mapSet!(0, 1, FLOW), argument);
    assert.is(core.f.mapSet!(4, 1, FLOW), argument);
    assert.is(core.f.mapSet!(FORWARD, 0, FLOW), argument, "peer 0 is this node");
    assert.is(core.f.mapSet!(FORWARD, core.constant("PEERS_MAX"), FLOW), argument);
    assert.is(core.f.mapSet!(FORWARD, 1, 0x00010000), argument, "low half is zero");
    assert.is(core.f.mapSet!(FORWARD, 1, 0x00000001), argument, "high half is zero");
    setTuple(core, { ...tuple4, remotePort: 0 });
    assert.is(core.f.mapSet!(LOCAL, 0, 0), argument);
    setTuple(core, { ...tuple4, localPort: 81 });
    assert.is(core.f.mapSet!(LOCAL, 0, 0), core.constant("Err.NOT_FOUND"), "no such service");
  });

  test("counts what its limit refuses and takes new ones after a deletion", (core) => {
    open(core, { mappings4Max: 2 });
    const tuples = [1, 2, 3].map((n) => ({ ...tuple4, remotePort: n }));
    const set = (tuple: TestTuple) => (setTuple(core, tuple), core.f.mapSet!(FORWARD, 1, FLOW));
    assert.equal(tuples.map(set), [0, 0, core.constant("Err.FULL")]);
    assert.is(counter(core, "MAPPINGS_FULL"), 1);
    setTuple(core, tuples[0]!);
    assert.is(core.f.mapDelete!(), 0);
    assert.is(set(tuples[2]!), 0);
  });

  for (const tuple of [tuple4, tuple6]) {
    const family = tuple === tuple4 ? "IPv4" : "IPv6";

    test(`${family}: remembers the numbers of the client's last segment and when it came`, (core) => {
      open(core);
      setTuple(core, tuple);
      core.f.mapSet!(FORWARD, 2, FLOW);
      feed(core, [packetOf(tuple, { seq: 100, ack: 200, flags: ACK })], 5_500_000);
      setTuple(core, tuple);
      assert.is(core.f.mapGet!(), 0);
      assert.equal(mapInfo(core), {
        ...{ action: FORWARD, peer: 2, flow: FLOW, timestamps: 0 },
        ...{ segAck: 200, segSeq: 100, tsVal: 0, tsEcr: 0, seenUs: 5_000_000 },
      });
      const options = option.timestamps(77, 88);
      const later = packetOf(tuple, { seq: 101, ack: 0xffffffff, flags: ACK, options });
      feed(core, [later], 70_000_000_000);
      setTuple(core, tuple);
      core.f.mapGet!();
      const { segAck, segSeq, timestamps, tsVal, tsEcr, seenUs } = mapInfo(core);
      assert.equal([segAck, segSeq, timestamps, tsVal, tsEcr], [0xffffffff, 101, 1, 77, 88]);
      assert.is(seenUs, 70_000_000_000);
    });

    test(`${family}: buries every mapping to a peer, and nothing else`, (core) => {
      open(core);
      const each = Array.from({ length: 40 }, (_, at) => ({ ...tuple, remotePort: 1000 + at }));
      for (const [at, one] of each.entries()) {
        setTuple(core, one);
        core.f.mapSet!(at % 4 === 3 ? LOCAL : FORWARD, at % 4 === 3 ? 0 : 1 + (at % 2), FLOW + at);
      }
      const options = option.timestamps(77, 88);
      feed(core, [packetOf(each[0]!, { seq: 100, ack: 200, flags: ACK, options })], 2e6);
      assert.is(core.f.mapBury!(1), 20);
      assert.is(core.f.mapBury!(1), 0, "once only");
      assert.is(core.f.mapBury!(3), 0);
      for (const peer of [0, 100_000])
        assert.is(core.f.mapBury!(peer), core.constant("Err.ARGUMENT"));
      for (const [at, one] of each.entries()) {
        setTuple(core, one);
        core.f.mapGet!();
        const { action, peer, flow, segAck, timestamps } = mapInfo(core);
        const expected = [TOMB, FORWARD, TOMB, LOCAL][at % 4];
        assert.equal([action, peer, flow], [expected, at % 4 === 3 ? 0 : 1 + (at % 2), FLOW + at]);
        assert.equal([segAck, timestamps], at === 0 ? [200, 1] : [0, 0], "its numbers stay");
      }
    });

    test(`${family}: learns nothing from a SYN, which is of another connection, nor from a RST`, (core) => {
      open(core);
      setTuple(core, tuple);
      core.f.mapSet!(FORWARD, 2, FLOW);
      const [old, other] = [option.timestamps(77, 88), option.timestamps(99, 0)];
      feed(core, [packetOf(tuple, { seq: 100, ack: 200, flags: ACK, options: old })], 2e6);
      feed(core, [packetOf(tuple, { seq: 300, ack: 0, flags: SYN, options: other })], 2e6);
      feed(core, [packetOf(tuple, { seq: 900, ack: 901, flags: RST | ACK })], 2e6);
      setTuple(core, tuple);
      core.f.mapGet!();
      const { segAck, segSeq, tsVal, tsEcr } = mapInfo(core);
      assert.equal([segAck, segSeq, tsVal, tsEcr], [200, 100, 77, 88]);
    });

    test(`${family}: resets the client by what it saw, and probes with timestamps echoed`, (core) => {
      open(core);
      setTuple(core, tuple);
      assert.is(core.f.mapReset!(2e6, 1), core.constant("Err.NOT_FOUND"));
      core.f.mapSet!(FORWARD, 2, FLOW);
      const options = option.timestamps(1000, 2000);
      feed(core, [packetOf(tuple, { seq: 100, ack: 0, flags: ACK, options })], 2e6);
      setTuple(core, tuple);
      assert.is(core.f.mapReset!(2e6, 1), 0);
      const packets = drain(core, "pollTransmit", 2e6).map(({ verdict, bytes }) => {
        assert.is(verdict, TRANSMIT, describePacket(bytes));
        return parseTcp(bytes);
      });
      assert.is(packets.length, 2);
      const [rst, probe] = [packets[0]!, packets[1]!];
      for (const packet of packets) {
        assert.equal(addressBytes(packet.source), addressBytes(tuple.local as string));
        assert.equal(addressBytes(packet.destination), addressBytes(tuple.remote as string));
        assert.equal([packet.sourcePort, packet.destinationPort], [80, 5000]);
        assert.ok(packet.ipChecksumOk && packet.tcpChecksumOk);
        assert.is(packet.payload.length, 0);
      }
      assert.equal([rst.flags, rst.seq], [RST, 0]);
      assert.equal([probe.flags, probe.seq, probe.ack], [ACK, 0xffffffff, 100]);
      assert.equal(probe.optionBytes, option.timestamps(2000, 1000));
      setTuple(core, tuple);
      assert.is(core.f.mapReset!(2e6, 0), 0);
      assert.is(drain(core, "pollTransmit", 2e6).length, 1, "no probe was asked for");
      assert.equal([counter(core, "RESETS_SENT"), counter(core, "PROBES_SENT")], [2, 1]);
    });
  }

  test("takes the client's numbers from the host where it has seen no packet", (core) => {
    open(core);
    setTuple(core, tuple4);
    assert.is(core.f.mapNote!(), core.constant("Err.NOT_FOUND"));
    core.f.mapSet!(TOMB, 2, FLOW);
    const at = (field: string) => core.f.mapInfoPtr!() + core.constant(`MapInfoOff.${field}`);
    core.view.setUint32(at("SEG_ACK"), 4242, true);
    core.view.setUint32(at("TIMESTAMPS"), 0, true);
    assert.is(core.f.mapNote!(), 0);
    assert.is(core.f.mapReset!(2e6, 0), 0);
    assert.is(parseTcp(drain(core, "pollTransmit", 2e6)[0]!.bytes).seq, 4242);
  });

  test("queues a bounded number of resets and says when it is full", (core) => {
    open(core);
    setTuple(core, tuple4);
    core.f.mapSet!(FORWARD, 2, FLOW);
    let queued = 0;
    while (core.f.mapReset!(2e6, 1) === 0 && queued < 5000) queued += 1;
    assert.is(queued, 1024);
    assert.is(counter(core, "RESETS_FULL"), 1);
    assert.is(drain(core, "pollTransmit", 2e6).length, 2048);
    assert.is(core.f.mapReset!(2e6, 1), 0);
  });

  test("keeps a removed service's mappings working and gives its index away only after them", (core) => {
    open(core);
    setTuple(core, tuple4);
    core.f.mapSet!(FORWARD, 2, FLOW);
    assert.is(core.f.serviceRemove!(0), 0);
    assert.is(core.f.serviceRemove!(0), core.constant("Err.NOT_FOUND"));
    assert.is(feed(core, [packetOf(tuple4)], 2e6)[0]!.verdict, TRANSMIT);
    const add = (n: number) =>
      withAddress(core, `10.77.${n >> 8}.${n & 255}`, (f, ptr) =>
        core.f.serviceAdd!(f, ptr, 80, 0, 0),
      );
    const max = core.constant("SERVICES_MAX");
    for (let n = 4; n < max; n++) assert.is(add(n), n, "every fresh index comes first");
    assert.is(add(max), core.constant("Err.FULL"), "the removed one still has a mapping");
    setTuple(core, tuple4);
    core.f.mapDelete!();
    assert.is(add(max), 0);
    const again = (vip: string) =>
      withAddress(core, vip, (f, ptr) => core.f.serviceAdd!(f, ptr, 80, 0, 0));
    assert.is(again(VIPS[1]!), core.constant("Err.EXISTS"));
    assert.is(feed(core, [packetOf(tuple4)], 2e6)[0]!.verdict, 0);
    assert.is(counter(core, "IP_NOT_OURS"), 1);
  });

  test("opens a removed service again under its old index", (core) => {
    open(core);
    assert.is(core.f.serviceRemove!(1), 0);
    assert.is(
      withAddress(core, VIPS[1]!, (f, ptr) => core.f.serviceAdd!(f, ptr, 80, 0, 0)),
      1,
    );
  });
});

function scanAll(core: TestCore, steps: number): TestTuple[] {
  const found: TestTuple[] = [];
  let cursor = 0;
  for (let turn = 0; turn < 10_000; turn++) {
    cursor = core.f.mapScan!(cursor, steps);
    assert.ok(cursor >= 0);
    if (mapInfo(core).action !== 0) found.push(getTuple(core));
    if (cursor === 0) return found;
  }
  throw new Error("the walk does not end");
}

mapping.run();
