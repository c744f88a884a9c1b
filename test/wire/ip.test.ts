import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { addressBytes, addressText } from "../support/address.ts";
import { type TestCore, onBothBuilds, u32 } from "../support/core.ts";
import { buildTcp, concat, parseTcp } from "../support/packet.ts";

const ip = suite("wire/ip");
const TCP = 6;
const v4 = {
  source: "192.0.2.1",
  destination: "10.0.0.100",
  sourcePort: 1024,
  destinationPort: 80,
};
const v6 = { ...v4, source: "2001:db8::1", destination: "fd00::100" };
const extension = (type: number, len = 8) => ({ type, bytes: extensionBytes(len) });

function extensionBytes(len: number): Uint8Array {
  const bytes = new Uint8Array(len);
  bytes[1] = len / 8 - 1;
  return bytes;
}

/** Checks a packet that lies at the very end of memory: a read beyond it would trap. */
function check(core: TestCore, packet: Uint8Array, len = packet.length): number {
  const end = core.scratch(65536) + 65536;
  const ptr = end - packet.length;
  core.write(ptr, packet);
  return core.f.ipCheck!(ptr, len);
}

interface Row {
  name: string;
  packet: Uint8Array;
  want: string | { headerLen: number; protocol?: number };
}

const ROWS: Row[] = [
  { name: "IPv4", packet: buildTcp(v4), want: { headerLen: 20 } },
  { name: "IPv6", packet: buildTcp(v6), want: { headerLen: 40 } },
  {
    name: "IPv4 with unknown options",
    packet: buildTcp({ ...v4, ipOptions: Uint8Array.of(1, 7, 6, 4, 0, 0, 0, 0) }),
    want: { headerLen: 28 },
  },
  {
    name: "IPv4 with 40 bytes of options",
    packet: buildTcp({ ...v4, ipOptions: new Uint8Array(40).fill(1) }),
    want: { headerLen: 60 },
  },
  {
    name: "an option of illegal length, which is ignored",
    packet: buildTcp({ ...v4, ipOptions: Uint8Array.of(7, 0, 0, 0) }),
    want: { headerLen: 24 },
  },
  {
    name: "a loose source route",
    packet: buildTcp({ ...v4, ipOptions: Uint8Array.of(1, 131, 7, 4, 1, 2, 3, 4) }),
    want: "MALFORMED",
  },
  {
    name: "a strict source route after another option",
    packet: buildTcp({ ...v4, ipOptions: Uint8Array.of(7, 3, 4, 137, 3, 4, 0, 0) }),
    want: "MALFORMED",
  },
  {
    name: "a source route after the end of options, which nobody reads",
    packet: buildTcp({ ...v4, ipOptions: Uint8Array.of(0, 137, 3, 4) }),
    want: { headerLen: 24 },
  },
  { name: "version 5", packet: buildTcp({ ...v4, version: 5 }), want: "MALFORMED" },
  { name: "version 0", packet: new Uint8Array(60), want: "MALFORMED" },
  { name: "IHL 4", packet: buildTcp({ ...v4, ihl: 4 }), want: "MALFORMED" },
  { name: "IHL beyond the packet", packet: buildTcp({ ...v4, ihl: 15 }), want: "TRUNCATED" },
  {
    name: "total length beyond the packet",
    packet: buildTcp({ ...v4, totalLen: 41 }),
    want: "TRUNCATED",
  },
  {
    name: "total length below the header",
    packet: buildTcp({ ...v4, totalLen: 19 }),
    want: "TRUNCATED",
  },
  {
    name: "link padding behind the packet",
    packet: concat(buildTcp(v4), new Uint8Array(6)),
    want: { headerLen: 20 },
  },
  { name: "a first fragment", packet: buildTcp({ ...v4, fragment: 0x2000 }), want: "FRAGMENT" },
  { name: "a last fragment", packet: buildTcp({ ...v4, fragment: 1 }), want: "FRAGMENT" },
  { name: "no DF", packet: buildTcp({ ...v4, fragment: 0 }), want: { headerLen: 20 } },
  { name: "a wrong header checksum", packet: buildTcp({ ...v4, ipChecksum: 1 }), want: "CHECKSUM" },
  {
    name: "UDP",
    packet: buildTcp({ ...v4, protocol: 17 }),
    want: { headerLen: 20, protocol: 17 },
  },
  {
    name: "hop-by-hop, destination options and an atomic fragment",
    packet: buildTcp({ ...v6, extensions: [extension(0), extension(60, 16), extension(44)] }),
    want: { headerLen: 72 },
  },
  {
    name: "eight extension headers, the bound",
    packet: buildTcp({ ...v6, extensions: new Array(7).fill(extension(60)) }),
    want: { headerLen: 96 },
  },
  {
    name: "more extension headers than the bound",
    packet: buildTcp({ ...v6, extensions: new Array(8).fill(extension(60)) }),
    want: "MALFORMED",
  },
  {
    name: "hop-by-hop in second place",
    packet: buildTcp({ ...v6, extensions: [extension(60), extension(0)] }),
    want: "MALFORMED",
  },
  {
    name: "an IPv6 fragment",
    packet: buildTcp({
      ...v6,
      extensions: [{ type: 44, bytes: Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 0) }],
    }),
    want: "FRAGMENT",
  },
  {
    name: "a routing header with segments left",
    packet: buildTcp({
      ...v6,
      extensions: [{ type: 43, bytes: Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 0) }],
    }),
    want: "MALFORMED",
  },
  {
    name: "a routing header that is used up",
    packet: buildTcp({ ...v6, extensions: [extension(43)] }),
    want: { headerLen: 48 },
  },
  {
    name: "an extension header longer than the packet",
    packet: buildTcp({
      ...v6,
      extensions: [{ type: 60, bytes: Uint8Array.of(0, 255, 0, 0, 0, 0, 0, 0) }],
    }),
    want: "TRUNCATED",
  },
  {
    name: "IPv6 payload beyond the packet",
    packet: buildTcp({ ...v6, totalLen: 99 }),
    want: "TRUNCATED",
  },
  {
    name: "authentication header, which is not TCP",
    packet: buildTcp({ ...v6, protocol: 51 }),
    want: { headerLen: 40, protocol: 51 },
  },
];

onBothBuilds(ip, (test) => {
  for (const row of ROWS) {
    const verb = typeof row.want === "string" ? `calls ${row.want}:` : "accepts";
    test(`${verb} ${row.name}`, (core) => {
      const got = check(core, row.packet);
      if (typeof row.want === "string") {
        assert.is(got, core.constant(`Err.${row.want}`));
        return;
      }
      assert.ok(got > 0, `returned ${got}`);
      assert.is(core.f.ipCheckedHeaderLen!(got), row.want.headerLen);
      assert.is(core.f.ipCheckedProtocol!(got), row.want.protocol ?? TCP);
    });
  }

  test("calls every cut of a packet truncated and reads nothing beyond it", (core) => {
    const end = core.scratch(65536) + 65536;
    const routed = buildTcp({ ...v6, extensions: [extension(0), extension(60, 24)] });
    for (const packet of [buildTcp(v4), buildTcp(v6), routed]) {
      for (let len = 0; len < packet.length; len++) {
        core.write(end - len, packet.subarray(0, len));
        assert.is(core.f.ipCheck!(end - len, len), core.constant("Err.TRUNCATED"), `length ${len}`);
      }
    }
  });

  test("never traps and never claims more than it was given, whatever the bytes", (core) => {
    const end = core.scratch(65536) + 65536;
    const start = fc.constantFrom(0x45, 0x46, 0x4f, 0x60, 0x61, 0x00, 0xff);
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 120 }), (first, bytes) => {
        if (bytes.length > 0) bytes[0] = first;
        const ptr = end - bytes.length;
        core.write(ptr, bytes);
        for (const name of ["ipCheck", "ipCheckQuoted"]) {
          const got = core.f[name]!(ptr, bytes.length);
          if (got > 0) assert.ok(core.f.ipCheckedHeaderLen!(got) <= bytes.length);
          if (got > 0 && name === "ipCheck") assert.ok(core.f.ipTotalLen!(ptr) <= bytes.length);
        }
      }),
      { numRuns: 3000 },
    );
  });

  test("reads the fields that the reference wrote", (core) => {
    const ptr = core.scratch(65536);
    for (const base of [v4, v6]) {
      core.write(ptr, buildTcp({ ...base, ttl: 77, trafficClass: 0xb9, flowLabel: 0x54321 }));
      const isV4 = base === v4;
      assert.is(core.f.ipVersion!(ptr), isV4 ? 4 : 6);
      assert.is(core.f.ipTtl!(ptr), 77);
      assert.is(core.f.ipTrafficClass!(ptr), 0xb9);
      assert.is(core.f.ipFlowLabel!(ptr), isV4 ? 0 : 0x54321);
      assert.is(core.f.ipTotalLen!(ptr), isV4 ? 40 : 60);
      const len = isV4 ? 4 : 16;
      assert.equal(core.read(core.f.ipSourcePtr!(ptr), len), addressBytes(base.source));
      assert.equal(core.read(core.f.ipDestinationPtr!(ptr), len), addressBytes(base.destination));
    }
  });

  test("writes headers that the reference reads back", (core) => {
    const ptr = core.scratch(65536);
    const tuple = ptr + 4096;
    for (const base of [v4, v6]) {
      const remote = addressBytes(base.source);
      const local = addressBytes(base.destination);
      core.bytes.fill(0, tuple, tuple + 40);
      core.view.setUint32(tuple, remote.length === 4 ? 4 : 6, true);
      core.write(tuple + 8, remote);
      core.write(tuple + 24, local);
      core.view.setUint16(tuple + 4, 4321, true);
      core.view.setUint16(tuple + 6, 80, true);
      const ipLen = core.f.ipWrite!(ptr, tuple, 20, 61, 0x28, 0xabcd);
      core.f.tcpWrite!(ptr + ipLen, tuple, 0xfffffff0, 7, 0x12, 0xfedc);
      core.f.tcpChecksumWrite!(ptr, ptr + ipLen, 20);
      const got = parseTcp(core.read(ptr, ipLen + 20));
      assert.is(got.source, addressText(local));
      assert.is(got.destination, addressText(remote));
      assert.is(got.sourcePort, 80);
      assert.is(got.destinationPort, 4321);
      assert.is(got.ttl, 61);
      assert.is(got.trafficClass, 0x28);
      assert.is(got.identification, remote.length === 4 ? 0xabcd : 0);
      assert.is(got.seq, 0xfffffff0);
      assert.is(got.ack, 7);
      assert.is(got.flags, 0x12);
      assert.is(got.window, 0xfedc);
      assert.ok(got.ipChecksumOk && got.tcpChecksumOk);
      assert.ok(core.f.ipCheck!(ptr, ipLen + 20) > 0);
      core.f.ipSetTransportLen!(ptr, 21);
      assert.is(core.f.ipTotalLen!(ptr), ipLen + 21);
      assert.ok(core.f.ipCheck!(ptr, ipLen + 21) > 0, "checksum follows the length");
    }
  });

  test("swaps bytes as a DataView does", (core) => {
    const ptr = core.scratch(64);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), fc.nat(7), (value, shift) => {
        core.f.storeBe32!(ptr + shift, value);
        assert.is(core.view.getUint32(ptr + shift), value);
        assert.is(u32(core.f.loadBe32!(ptr + shift)), value);
        assert.is(u32(core.f.swap32!(core.f.swap32!(value))), value);
        core.f.storeBe16!(ptr + shift, value & 0xffff);
        assert.is(core.view.getUint16(ptr + shift), value & 0xffff);
        assert.is(core.f.loadBe16!(ptr + shift), value & 0xffff);
      }),
    );
  });
});

ip.run();
