import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { addressBytes } from "../support/address.ts";
import { type TestCore, onBothBuilds, openCore } from "../support/core.ts";
import {
  type BatchPacket,
  type Offload,
  counter,
  feed,
  initCore,
  setTuple,
  withAddress,
} from "../support/batch.ts";
import {
  ACK,
  type TcpFields,
  buildTcp,
  describePacket,
  markCongestion,
  option,
  parseTcp,
} from "../support/packet.ts";

const rewrite = suite("encap/rewrite");

const TRANSMIT = 2;
const HANDBACK = 3;
const FLOW = 0x12345678;
const NEEDS_CSUM = 1;
const CSUM_VERIFIED = 2;
const TCP_CHECKSUM_OFF = 16;

const FAMILIES = {
  v4: { vip: "10.0.0.100", forwarder: "10.9.0.1", backend: "10.9.0.2", client: "192.0.2.77" },
  v6: { vip: "fd00::100", forwarder: "fd09::1", backend: "fd09::2", client: "2001:db8::77" },
};
type Family = keyof typeof FAMILIES;

/** A core that is forwarder and backend by turns: the same instance has one tunnel address at a time. */
function open(core: TestCore, own: "forwarder" | "backend"): void {
  assert.is(initCore(core), 0);
  for (const [index, family] of Object.values(FAMILIES).entries()) {
    const other = own === "forwarder" ? family.backend : family.forwarder;
    assert.is(withAddress(core, family[own], core.f.tunnelSet!), 0);
    assert.is(
      withAddress(core, other, (f, ptr) => core.f.peerSet!(7, f, ptr)),
      0,
    );
    const service = withAddress(core, family.vip, (f, ptr) => core.f.serviceAdd!(f, ptr, 80, 0, 0));
    assert.is(service, index);
  }
}

function map(core: TestCore, family: Family, remotePort: number): void {
  const { client, vip } = FAMILIES[family];
  setTuple(core, { remote: client, remotePort, local: vip, localPort: 80 });
  assert.is(core.f.mapSet!(core.constant("MapAction.FORWARD"), 7, FLOW), 0);
}

/** A record in an ended state hands the packet back de-encapsulated: the way to see it. */
function endedRecord(core: TestCore, family: Family, remotePort: number): void {
  const { client, vip } = FAMILIES[family];
  setTuple(core, { remote: client, remotePort, local: vip, localPort: 80 });
  assert.is(core.f.recordSet!(7, FLOW, core.constant("RecordState.ACTIVE"), 1e6), 0);
  assert.is(core.f.recordSet!(7, FLOW, core.constant("RecordState.MOVED"), 1e6), 0);
}

function only(packets: BatchPacket[], verdict: number): BatchPacket {
  assert.is(packets.length, 1);
  const packet = packets[0]!;
  assert.is(packet.verdict, verdict, describePacket(packet.bytes));
  return packet;
}

/** The packet as it must come back: TTL one less, IPv4 checksum to match, 0xffff as 0x0000. */
function expected(family: Family, fields: TcpFields & { ttl?: number; ipOptions?: Uint8Array }) {
  const { client, vip } = FAMILIES[family];
  const checksum = fields.tcpChecksum === 0xffff ? { tcpChecksum: 0 } : {};
  const ttl = (fields.ttl ?? 64) - 1;
  return buildTcp({ source: client, destination: vip, ...fields, ...checksum, ttl });
}

for (const family of ["v4", "v6"] as const) {
  const { client, vip, forwarder, backend } = FAMILIES[family];

  onBothBuilds(rewrite, (test) => {
    test(`${family}: puts the flow identifier into the ports and keeps length and checksums`, (core) => {
      open(core, "forwarder");
      map(core, family, 40000);
      const payload = Uint8Array.from({ length: 1000 }, (_, i) => i);
      const fields = {
        sourcePort: 40000,
        destinationPort: 80,
        seq: 5,
        ack: 6,
        flags: ACK,
        payload,
      };
      const original = buildTcp({ source: client, destination: vip, ...fields });
      const packet = only(feed(core, [original], 2e6), TRANSMIT);
      const parsed = parseTcp(packet.bytes);
      assert.is(packet.bytes.length, original.length);
      assert.is(packet.peer, 7);
      assert.is(packet.flow, FLOW);
      assert.equal(addressBytes(parsed.source), addressBytes(forwarder));
      assert.equal(addressBytes(parsed.destination), addressBytes(backend));
      assert.is(parsed.sourcePort, 0x1234);
      assert.is(parsed.destinationPort, 0x5678);
      assert.is(parsed.ttl, 63);
      assert.ok(parsed.ipChecksumOk);
      assert.ok(parsed.tcpChecksumOk);
      assert.equal(parsed.payload, payload);
      assert.is(counter(core, "ENCAPSULATED"), 1);
      assert.is(counter(core, "ENCAPSULATED_BYTES"), original.length);
    });

    test(`${family}: drops and counts a packet whose TTL is used up`, (core) => {
      open(core, "forwarder");
      map(core, family, 40000);
      const fields = { source: client, destination: vip, sourcePort: 40000, destinationPort: 80 };
      const out = feed(
        core,
        [0, 1, 2].map((ttl) => buildTcp({ ...fields, ttl })),
        2e6,
      );
      assert.equal(
        out.map(({ verdict }) => verdict),
        [0, 0, TRANSMIT],
      );
      assert.is(counter(core, "ENCAPSULATE_TTL"), 2);
    });

    test(`${family}: keeps the two ECN bits both ways, and a mark that is made on the way`, (core) => {
      const receiver = openCore(core.name);
      open(core, "forwarder");
      open(receiver, "backend");
      map(core, family, 40000);
      endedRecord(receiver, family, 40000);
      for (const bits of [0, 1, 2, 3]) {
        const fields = { sourcePort: 40000, destinationPort: 80, trafficClass: 0xb8 | bits };
        const original = buildTcp({ source: client, destination: vip, ...fields });
        const wrapped = only(feed(core, [original], 2e6), TRANSMIT);
        const sent = parseTcp(wrapped.bytes);
        assert.is(sent.trafficClass, 0xb8 | bits, "as a router on the way sees it");
        assert.ok(sent.ipChecksumOk && sent.tcpChecksumOk);
        const marked = bits !== 0 ? 3 : 0;
        if (marked !== 0) markCongestion(wrapped.bytes);
        const back = parseTcp(only(feed(receiver, [{ ...wrapped }], 2e6), HANDBACK).bytes);
        assert.is(back.trafficClass, 0xb8 | marked, "as the backend's stack sees it");
        assert.ok(back.ipChecksumOk && back.tcpChecksumOk);
      }
    });

    test(`${family}: updates a partial checksum as the pseudo header it is`, (core) => {
      open(core, "forwarder");
      map(core, family, 40000);
      const payload = new Uint8Array(20000).fill(0x5a);
      const fields = { sourcePort: 40000, destinationPort: 80, payload, partialChecksum: true };
      const ipLen = family === "v4" ? 20 : 40;
      const offload = {
        flags: NEEDS_CSUM,
        csumStart: ipLen,
        csumOffset: TCP_CHECKSUM_OFF,
        gsoType: family === "v4" ? 1 : 4,
        gsoSize: 1448,
        headerLen: ipLen + 20,
      };
      const original = buildTcp({ source: client, destination: vip, ...fields });
      const packet = only(feed(core, [{ bytes: original, ...offload }], 2e6), TRANSMIT);
      assert.ok(parseTcp(packet.bytes).partialChecksumOk);
      assert.ok(parseTcp(packet.bytes).ipChecksumOk);
      for (const [field, value] of Object.entries(offload)) {
        assert.is(packet[field as keyof Offload], value, field);
      }
      const wrong = { ...offload, csumStart: ipLen + 2 };
      const dropped = feed(core, [{ bytes: original, ...wrong }], 2e6);
      assert.is(dropped[0]!.verdict, 0);
      assert.is(counter(core, "OFFLOAD_MALFORMED"), 1);
    });
  });
}

const ports = fc.integer({ min: 1, max: 65535 });
const word32 = fc.integer({ min: 0, max: 0xffffffff });
const anyFields = fc.record({
  sourcePort: ports,
  destinationPort: fc.constant(80),
  seq: word32,
  ack: word32,
  flags: fc.integer({ min: 0, max: 255 }),
  window: fc.integer({ min: 0, max: 65535 }),
  urgent: fc.integer({ min: 0, max: 65535 }),
  options: fc.constantFrom(new Uint8Array(0), option.timestamps(1, 2), option.mss(1460)),
  payload: fc.uint8Array({ maxLength: 1400 }),
  ttl: fc.integer({ min: 2, max: 255 }),
  trafficClass: fc.integer({ min: 0, max: 255 }),
  identification: fc.integer({ min: 0, max: 65535 }),
});
/** Undefined: the right one. Any other value must come back too, because checksums stay end to end. */
const anyChecksum = fc.option(
  fc.oneof(fc.constantFrom(0, 1, 0xfffe, 0xffff), fc.integer({ min: 0, max: 0xffff })),
  { nil: undefined },
);

for (const family of ["v4", "v6"] as const) {
  const { client, vip } = FAMILIES[family];
  onBothBuilds(rewrite, (test, name) => {
    test(`${family}: decapsulate(encapsulate(p)) == p as DESIGN section 4 states it`, (sender) => {
      const receiver = openCore(name);
      open(sender, "forwarder");
      open(receiver, "backend");
      fc.assert(
        fc.property(anyFields, anyChecksum, fc.boolean(), (fields, tcpChecksum, partial) => {
          const extra = partial
            ? { partialChecksum: true }
            : tcpChecksum === undefined
              ? {}
              : { tcpChecksum };
          map(sender, family, fields.sourcePort);
          endedRecord(receiver, family, fields.sourcePort);
          const offload = partial
            ? { flags: NEEDS_CSUM, csumStart: family === "v4" ? 20 : 40, csumOffset: 16 }
            : {};
          const bytes = buildTcp({ source: client, destination: vip, ...fields, ...extra });
          const wrapped = only(feed(sender, [{ bytes, ...offload }], 2e6), TRANSMIT);
          // Else it would be dropped for its checksum: that of an ended flow's packet is looked at.
          const flags = partial ? NEEDS_CSUM : CSUM_VERIFIED;
          const back = only(feed(receiver, [{ ...wrapped, flags }], 2e6), HANDBACK);
          assert.equal(back.bytes, expected(family, { ...fields, ...extra }));
          setTuple(sender, {
            remote: client,
            remotePort: fields.sourcePort,
            local: vip,
            localPort: 80,
          });
          assert.is(sender.f.mapDelete!(), 0);
          assert.is(receiver.f.recordSet!(7, FLOW, 0, 2e6), 0);
        }),
        { numRuns: 300 },
      );
    });
  });
}

rewrite.run();
