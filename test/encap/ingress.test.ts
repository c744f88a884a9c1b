import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import {
  type RxPacket,
  counter,
  feed,
  fill,
  initCore,
  readBatch,
  setTuple,
  withAddress,
} from "../support/batch.ts";
import { type TestCore, onBothBuilds } from "../support/core.ts";
import {
  ACK,
  RST,
  SYN,
  buildIcmp,
  buildIp,
  buildTcp,
  concat,
  describePacket,
  parseTcp,
} from "../support/packet.ts";

const ingress = suite("encap/ingress");
const VERDICTS = ["DROPPED", "CONSUMED", "TRANSMIT", "HANDBACK", "UNMAPPED", "ICMP"];
const FLOW = 0x00110022;
const T0 = 1_000_000;

const own = { v4: "10.9.0.1", v6: "fd09::1" };
const peer = { v4: "10.9.0.2", v6: "fd09::2" };
const client = { v4: "192.0.2.1", v6: "2001:db8::1" };
const vip = { v4: "10.0.0.100", v6: "fd00::100" };

/** One node with everything: mapped, local, tombstoned and unmapped clients by source port. */
const PORTS = { forward: 1001, local: 1002, tomb: 1003, lost: 1004, unknown: 1005 };

function open(core: TestCore): void {
  assert.is(initCore(core, {}, T0), 0);
  for (const family of ["v4", "v6"] as const) {
    withAddress(core, own[family], core.f.tunnelSet!);
    withAddress(core, peer[family], (f, ptr) => core.f.peerSet!(5, f, ptr));
    withAddress(core, vip[family], (f, ptr) => core.f.serviceAdd!(f, ptr, 80, 0, 0));
    for (const [name, action, to] of [
      ["forward", 1, 5],
      ["local", 2, 0],
      ["tomb", 3, 5],
      ["lost", 1, 6],
    ] as const) {
      const remotePort = PORTS[name];
      setTuple(core, { remote: client[family], remotePort, local: vip[family], localPort: 80 });
      assert.is(core.f.mapSet!(action, to, FLOW), 0);
    }
  }
}

type Family = "v4" | "v6";
const tcp = (family: Family, sourcePort: number, extra = {}) =>
  buildTcp({
    source: client[family],
    destination: vip[family],
    sourcePort,
    destinationPort: 80,
    ...extra,
  });

interface Row {
  name: string;
  packet: (family: Family) => RxPacket;
  verdict: string;
  counter: string;
  families?: Family[];
  mode?: string;
}

const ROWS: Row[] = [
  {
    name: "mapped to a peer",
    packet: (f) => tcp(f, PORTS.forward),
    verdict: "TRANSMIT",
    counter: "ENCAPSULATED",
  },
  {
    name: "a SYN on a mapped flow goes to the owner (R15)",
    packet: (f) => tcp(f, PORTS.forward, { flags: SYN }),
    verdict: "TRANSMIT",
    counter: "ENCAPSULATED",
  },
  {
    name: "a RST on a mapped flow goes to the owner",
    packet: (f) => tcp(f, PORTS.forward, { flags: RST }),
    verdict: "TRANSMIT",
    counter: "ENCAPSULATED",
  },
  {
    name: "a mapped flow while recovering is forwarded",
    packet: (f) => tcp(f, PORTS.forward),
    verdict: "TRANSMIT",
    counter: "ENCAPSULATED",
    mode: "RECOVERING",
  },
  {
    name: "mapped to a peer without an address",
    packet: (f) => tcp(f, PORTS.lost),
    verdict: "DROPPED",
    counter: "ENCAPSULATE_NO_PEER",
  },
  {
    name: "a forwarded packet with a wrong TCP checksum stays wrong, end to end",
    packet: (f) => tcp(f, PORTS.forward, { tcpChecksum: 0x1234 }),
    verdict: "TRANSMIT",
    counter: "ENCAPSULATED",
  },
  {
    name: "tombstone, SYN (R16)",
    packet: (f) => tcp(f, PORTS.tomb, { flags: SYN }),
    verdict: "DROPPED",
    counter: "TOMB_SYN",
  },
  {
    name: "tombstone, RST",
    packet: (f) => tcp(f, PORTS.tomb, { flags: RST | ACK }),
    verdict: "DROPPED",
    counter: "TOMB_RST",
  },
  {
    name: "tombstone, data",
    packet: (f) => tcp(f, PORTS.tomb),
    verdict: "DROPPED",
    counter: "TOMB_REFUSED",
  },
  {
    name: "nobody's, answered with RST",
    packet: (f) => tcp(f, PORTS.unknown),
    verdict: "DROPPED",
    counter: "UNKNOWN_REFUSED",
    mode: "RST_UNKNOWN",
  },
  {
    name: "nobody's, while recovering (R17)",
    packet: (f) => tcp(f, PORTS.unknown),
    verdict: "DROPPED",
    counter: "UNKNOWN_RECOVERING",
    mode: "RECOVERING",
  },
  {
    name: "a SYN while recovering is not accepted (R17)",
    packet: (f) => tcp(f, PORTS.unknown, { flags: SYN }),
    verdict: "DROPPED",
    counter: "UNKNOWN_RECOVERING",
    mode: "RECOVERING",
  },
  {
    name: "nobody's, for the host to ask about",
    packet: (f) => tcp(f, PORTS.unknown),
    verdict: "UNMAPPED",
    counter: "UNKNOWN_HOST",
    mode: "HOST_UNKNOWN",
  },
  {
    name: "mapped to the own stack, which does not know it",
    packet: (f) => tcp(f, PORTS.local),
    verdict: "UNMAPPED",
    counter: "UNKNOWN_HOST",
    mode: "HOST_UNKNOWN",
  },
  {
    name: "another port of the service's address",
    packet: (f) => tcp(f, PORTS.forward, { destinationPort: 81 }),
    verdict: "DROPPED",
    counter: "IP_NOT_OURS",
  },
  {
    name: "another address",
    packet: (f) => tcp(f, PORTS.forward, { destination: f === "v4" ? "10.0.0.99" : "fd00::99" }),
    verdict: "DROPPED",
    counter: "IP_NOT_OURS",
  },
  {
    name: "to the tunnel address from a peer",
    packet: (f) => tcp(f, 0x11, { source: peer[f], destination: own[f], destinationPort: 0x22 }),
    verdict: "CONSUMED",
    counter: "EARLY_HELD",
  },
  {
    name: "to the tunnel address from a client",
    packet: (f) => tcp(f, 0x11, { destination: own[f], destinationPort: 0x22 }),
    verdict: "DROPPED",
    counter: "TUNNEL_STRANGER",
  },
  {
    name: "UDP",
    packet: (f) =>
      buildIp({ source: client[f], destination: vip[f], protocol: 17 }, new Uint8Array(20)),
    verdict: "DROPPED",
    counter: "IP_PROTOCOL",
  },
  {
    name: "the other family's ICMP",
    packet: (f) =>
      buildIp(
        { source: client[f], destination: vip[f], protocol: f === "v4" ? 58 : 1 },
        new Uint8Array(40),
      ),
    verdict: "DROPPED",
    counter: "IP_PROTOCOL",
  },
  {
    name: "a fragment",
    packet: () => tcp("v4", PORTS.forward, { fragment: 0x2000 }),
    verdict: "DROPPED",
    counter: "IP_FRAGMENT",
    families: ["v4"],
  },
  {
    name: "a wrong IP checksum",
    packet: () => tcp("v4", PORTS.forward, { ipChecksum: 7 }),
    verdict: "DROPPED",
    counter: "IP_CHECKSUM",
    families: ["v4"],
  },
  {
    name: "cut off",
    packet: (f) => tcp(f, PORTS.forward).slice(0, -1),
    verdict: "DROPPED",
    counter: "IP_MALFORMED",
  },
  { name: "empty", packet: () => new Uint8Array(0), verdict: "DROPPED", counter: "IP_MALFORMED" },
  {
    name: "an impossible data offset",
    packet: (f) => tcp(f, PORTS.forward, { dataOffset: 4 }),
    verdict: "DROPPED",
    counter: "SEGMENT_MALFORMED",
  },
  {
    name: "a TCP header that is cut off",
    packet: (f) =>
      buildIp({ source: client[f], destination: vip[f], protocol: 6 }, new Uint8Array(19)),
    verdict: "DROPPED",
    counter: "SEGMENT_MALFORMED",
  },
  ...["0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", vip.v4].map((source) => ({
    name: `from ${source}`,
    packet: () => tcp("v4", PORTS.unknown, { source }),
    verdict: "DROPPED",
    counter: "IP_MARTIAN",
    families: ["v4" as const],
  })),
  ...["::", "::1", "ff02::1", vip.v6].map((source) => ({
    name: `from ${source}`,
    packet: () => tcp("v6", PORTS.unknown, { source }),
    verdict: "DROPPED",
    counter: "IP_MARTIAN",
    families: ["v6" as const],
  })),
  {
    name: "an ICMP error about a packet of a mapped connection",
    packet: (f) => icmpAbout(f, sent(f, PORTS.forward)),
    verdict: "ICMP",
    counter: "ICMP_FORWARDED",
  },
  {
    name: "an ICMP error about an encapsulated packet",
    packet: (f) =>
      icmpAbout(
        f,
        tcp(f, 0x11, { source: own[f], destination: peer[f], destinationPort: 0x22 }),
        own[f],
      ),
    verdict: "ICMP",
    counter: "ICMP_FORWARDED",
  },
  {
    name: "an ICMP error about a packet that we would not have sent to that address",
    packet: (f) =>
      icmpAbout(
        f,
        tcp(f, 0x11, { source: own[f], destination: client[f], destinationPort: 0x22 }),
        own[f],
      ),
    verdict: "DROPPED",
    counter: "ICMP_IGNORED",
  },
  {
    name: "an ICMP error about a connection that nobody knows",
    packet: (f) => icmpAbout(f, sent(f, PORTS.unknown)),
    verdict: "DROPPED",
    counter: "ICMP_IGNORED",
  },
  {
    name: "an ICMP error that quotes too little",
    packet: (f) => icmpAbout(f, sent(f, PORTS.forward).slice(0, 24)),
    verdict: "DROPPED",
    counter: "ICMP_MALFORMED",
  },
  {
    name: "an echo request",
    packet: (f) =>
      buildIcmp({
        source: client[f],
        destination: vip[f],
        type: f === "v4" ? 8 : 128,
        body: new Uint8Array(20),
      }),
    verdict: "DROPPED",
    counter: "ICMP_IGNORED",
  },
];

/** A packet that left the service for the client. */
function sent(family: Family, port: number): Uint8Array {
  return buildTcp({
    source: vip[family],
    destination: client[family],
    sourcePort: 80,
    destinationPort: port,
    seq: 99,
  });
}

function icmpAbout(family: Family, quoted: Uint8Array, destination = vip[family]): Uint8Array {
  const v4 = family === "v4";
  const router = v4 ? "203.0.113.9" : "2001:db8:f::9";
  const fields = v4 ? { type: 3, code: 4, rest: 1300 } : { type: 2, rest: 1300 };
  return buildIcmp({ source: router, destination, ...fields, body: quoted });
}

onBothBuilds(ingress, (test) => {
  for (const row of ROWS) {
    for (const family of row.families ?? (["v4", "v6"] as const)) {
      test(`${family}, ${row.name}: ${row.verdict}, ${row.counter}`, (core) => {
        open(core);
        assert.is(core.f.modeSet!(core.constant(`Mode.${row.mode ?? "RST_UNKNOWN"}`)), 0);
        const [packet] = feed(core, [row.packet(family)], T0);
        assert.is(VERDICTS[packet!.verdict], row.verdict, describePacket(packet!.bytes));
        assert.is(counter(core, row.counter), 1);
        assert.is(counter(core, "PACKETS_IN"), 1);
        if (row.verdict === "ICMP") assert.equal([packet!.peer, packet!.flow], [5, FLOW]);
      });
    }
  }

  test("judges a batch of 64 as it judges the same packets one by one", (core) => {
    open(core);
    const packets = Array.from({ length: 64 }, (_, i) => {
      const row = ROWS[(i * 7) % ROWS.length]!;
      const families = row.families ?? (["v4", "v6"] as const);
      return row.packet(families[i % families.length]!);
    });
    const singly = packets.map((packet) => feed(core, [packet], T0)[0]!);
    const batch = feed(core, packets, T0);
    batch.forEach((packet, i) => assert.equal(packet, singly[i], `packet ${i}`));
  });

  test("drops link padding behind a packet before anything is rewritten", (core) => {
    open(core);
    const original = tcp("v4", PORTS.forward);
    const [packet] = feed(core, [concat(original, new Uint8Array(6).fill(0xee))], T0);
    assert.is(packet!.bytes.length, original.length);
    assert.ok(parseTcp(packet!.bytes).tcpChecksumOk);
  });

  test("refuses calls that cannot be meant", (core) => {
    const STATE = core.constant("Err.STATE");
    assert.is(core.f.handlePackets!(0, T0), STATE);
    assert.is(core.f.recordSet!(1, FLOW, 1, T0), STATE);
    assert.is(core.f.mapGet!(), STATE);
    open(core);
    assert.is(initCore(core), STATE, "a second init");
    const argument = core.constant("Err.ARGUMENT");
    assert.is(core.f.handlePackets!(65, T0), argument);
    assert.is(core.f.handlePackets!(1, 0), argument);
    assert.is(core.f.handlePackets!(1, NaN), argument);
    assert.is(core.f.handlePackets!(-1, T0), argument);
    assert.is(core.f.modeSet!(3), argument);
    assert.is(core.f.tunnelSet!(5, core.f.tuplePtr!()), argument);
    assert.is(core.f.tunnelSet!(4, 0), argument);
    assert.is(core.f.tunnelSet!(4, core.bytes.length - 15), argument);
    assert.is(core.f.peerSet!(0, 4, core.f.tuplePtr!()), argument);
    assert.is(core.f.peerSet!(core.constant("PEERS_MAX"), 4, core.f.tuplePtr!()), argument);
    assert.is(core.f.serviceAdd!(4, core.f.tuplePtr!(), 0, 0, 0), argument);
    assert.is(core.f.serviceAdd!(4, core.f.tuplePtr!(), 65536, 0, 0), argument);
    assert.is(core.f.serviceRemove!(9999), argument);
    assert.is(core.f.recordSet!(1, 0x00010000, 1, T0), argument);
    assert.is(core.f.recordSet!(1, FLOW, 6, T0), argument);
    core.bytes.fill(0, core.f.tuplePtr!(), core.f.tuplePtr!() + 40);
    assert.is(core.f.recordSet!(1, FLOW, 1, T0), argument, "ACTIVE needs a tuple");
    assert.is(core.f.mapGet!(), argument);
  });

  test("moves a peer's address, and refuses one that another peer has", (core) => {
    open(core);
    const set = (index: number, address: string) =>
      withAddress(core, address, (f, ptr) => core.f.peerSet!(index, f, ptr));
    assert.is(set(7, peer.v4), core.constant("Err.EXISTS"));
    assert.is(set(5, "10.9.0.33"), 0);
    const [packet] = feed(core, [tcp("v4", PORTS.forward)], T0);
    assert.is(parseTcp(packet!.bytes).destination, "10.9.0.33");
    assert.is(set(7, peer.v4), 0, "the old address is free");
    assert.is(core.f.peerClear!(5), 0);
    assert.is(core.f.peerClear!(5), core.constant("Err.NOT_FOUND"));
    feed(core, [tcp("v4", PORTS.forward)], T0);
    assert.is(counter(core, "ENCAPSULATE_NO_PEER"), 1);
  });

  test("never traps and never writes outside its slot, whatever arrives", (core) => {
    open(core);
    const stride = slotStride(core);
    const mutation = fc.record({
      row: fc.nat(ROWS.length - 1),
      v6: fc.boolean(),
      edits: fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 6 }),
      cut: fc.option(fc.nat(120), { nil: undefined }),
      flags: fc.nat(7),
      offload: fc.tuple(fc.nat(80), fc.nat(80), fc.nat(255), fc.nat(65535)),
    });
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 8 }), fc.nat(2), (items, mode) => {
        core.f.modeSet!(mode);
        const packets = items.map(({ row, v6, edits, cut, flags, offload }) => {
          const base = ROWS[row]!.packet(v6 && !ROWS[row]!.families ? "v6" : "v4") as Uint8Array;
          const bytes = Uint8Array.from(base.slice(0, cut ?? base.length));
          for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
          const [csumStart, csumOffset, gsoType, gsoSize] = offload;
          return { bytes, flags, csumStart, csumOffset, gsoType, gsoSize };
        });
        const canaries = paint(core, stride);
        fill(core, packets);
        const left = core.f.handlePackets!(packets.length, T0);
        assert.ok(left >= 0 && left <= packets.length);
        checkCanaries(
          core,
          canaries,
          packets.map(({ bytes }) => bytes.length),
        );
        for (const packet of readBatch(core, core.f.rxBatchPtr!(), packets.length)) {
          assert.ok(packet.verdict < VERDICTS.length);
          if (VERDICTS[packet.verdict] === "TRANSMIT") {
            assert.ok(parseTcp(packet.bytes).ipChecksumOk, describePacket(packet.bytes));
          }
        }
      }),
      { numRuns: 400 },
    );
  });
});

const CANARY = 0xc7;
const GUARD = 256;

function slotAt(core: TestCore, index: number): number {
  const at = core.f.rxBatchPtr!() + index * core.constant("DESCRIPTOR_SIZE");
  return core.view.getUint32(at + core.constant("DescriptorOff.PTR"), true);
}

function slotStride(core: TestCore): number {
  return slotAt(core, 1) - slotAt(core, 0);
}

/** Fills the first slots and their headroom with a pattern; returns where they begin. */
function paint(core: TestCore, stride: number): number[] {
  const headroom = core.constant("SLOT_HEADROOM");
  return Array.from({ length: 8 }, (_, index) => {
    const ptr = slotAt(core, index);
    core.bytes.fill(CANARY, ptr - headroom, ptr - headroom + Math.min(stride, 1024));
    return ptr;
  });
}

function checkCanaries(core: TestCore, slots: number[], lens: number[]): void {
  const headroom = core.constant("SLOT_HEADROOM");
  slots.forEach((ptr, index) => {
    const before = core.read(ptr - headroom, headroom);
    const after = core.read(ptr + (lens[index] ?? 0), GUARD);
    assert.ok(
      before.every((byte) => byte === CANARY),
      `slot ${index}: headroom`,
    );
    assert.ok(
      after.every((byte) => byte === CANARY),
      `slot ${index}: behind the packet`,
    );
  });
}

ingress.run();
