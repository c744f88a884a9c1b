import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { addressBytes } from "../support/address.ts";
import { type TestCore, onBothBuilds } from "../support/core.ts";
import { buildIcmp, buildIp, buildTcp, concat } from "../support/packet.ts";

const icmp = suite("wire/icmp");
const router4 = { source: "203.0.113.1", destination: "10.0.0.100" };
const router6 = { source: "2001:db8:ffff::1", destination: "fd00::100" };
const sent4 = buildTcp({
  source: "10.0.0.100",
  destination: "192.0.2.1",
  sourcePort: 80,
  destinationPort: 5000,
  seq: 0xabcdef01,
  payload: new Uint8Array(1400),
});
const sent6 = buildTcp({
  source: "fd00::100",
  destination: "2001:db8::1",
  sourcePort: 80,
  destinationPort: 5000,
  seq: 0xabcdef01,
});

function check(core: TestCore, packet: Uint8Array, ipLen: number): number {
  const end = core.scratch(65536) + 65536;
  const ptr = core.write(end - packet.length, packet);
  return core.f.icmpCheck!(ptr, ptr + ipLen, packet.length - ipLen);
}

function found(core: TestCore) {
  const at = core.constant("ICMP_ERROR");
  const word = (index: number) => core.view.getUint32(at + 4 * index, true);
  return { kind: word(0), code: word(1), mtu: word(2), quotedPtr: word(3), tcpPtr: word(4) };
}

onBothBuilds(icmp, (test) => {
  test("takes 'fragmentation needed' apart: MTU, quoted addresses, ports, sequence number", (core) => {
    const body = sent4.slice(0, 28);
    const packet = buildIcmp({ ...router4, type: 3, code: 4, rest: 1400, body });
    assert.is(check(core, packet, 20), 0);
    const error = found(core);
    assert.is(error.kind, core.constant("IcmpKind.TOO_BIG"));
    assert.is(error.mtu, 1400);
    assert.equal(core.read(core.f.ipSourcePtr!(error.quotedPtr), 4), addressBytes("10.0.0.100"));
    assert.is(core.f.tcpPorts!(error.tcpPtr), (80 << 16) | 5000);
    assert.is(core.f.tcpSeq!(error.tcpPtr) >>> 0, 0xabcdef01);
  });

  test("takes 'packet too big' apart", (core) => {
    const packet = buildIcmp({ ...router6, type: 2, rest: 1280, body: sent6 });
    assert.is(check(core, packet, 40), 0);
    const error = found(core);
    assert.is(error.kind, core.constant("IcmpKind.TOO_BIG"));
    assert.is(error.mtu, 1280);
    assert.equal(core.read(core.f.ipSourcePtr!(error.quotedPtr), 16), addressBytes("fd00::100"));
    assert.is(core.f.tcpPorts!(error.tcpPtr), (80 << 16) | 5000);
  });

  test("names the kinds of both families alike", (core) => {
    for (const [type, code, kind] of [
      [3, 1, "UNREACHABLE"],
      [11, 0, "TIME_EXCEEDED"],
      [12, 0, "PARAMETER_PROBLEM"],
    ] as const) {
      assert.is(check(core, buildIcmp({ ...router4, type, code, body: sent4 }), 20), 0);
      assert.is(found(core).kind, core.constant(`IcmpKind.${kind}`));
      assert.is(found(core).code, code);
    }
    for (const [type, kind] of [
      [1, "UNREACHABLE"],
      [3, "TIME_EXCEEDED"],
      [4, "PARAMETER_PROBLEM"],
    ] as const) {
      assert.is(check(core, buildIcmp({ ...router6, type, body: sent6 }), 40), 0);
      assert.is(found(core).kind, core.constant(`IcmpKind.${kind}`));
    }
  });

  test("ignores what is no error: echo, source quench, redirect, neighbour discovery", (core) => {
    const protocol = core.constant("Err.PROTOCOL");
    for (const type of [0, 4, 5, 8, 13]) {
      assert.is(check(core, buildIcmp({ ...router4, type, body: sent4 }), 20), protocol);
    }
    for (const type of [0, 5, 128, 135, 136]) {
      assert.is(check(core, buildIcmp({ ...router6, type, body: sent6 }), 40), protocol);
    }
  });

  test("ignores errors about other protocols, refuses fragments, other families and cut quotes", (core) => {
    const quote = (body: Uint8Array) => check(core, buildIcmp({ ...router4, type: 3, body }), 20);
    const udp = buildIp({ ...router4, protocol: 17 }, new Uint8Array(8));
    assert.is(quote(udp), core.constant("Err.PROTOCOL"));
    const later = buildTcp({
      source: "10.0.0.100",
      destination: "192.0.2.1",
      sourcePort: 80,
      destinationPort: 5000,
      fragment: 8,
    });
    assert.is(quote(later), core.constant("Err.FRAGMENT"));
    assert.is(quote(sent6), core.constant("Err.MALFORMED"));
    for (let len = 0; len < 28; len++) {
      assert.is(quote(sent4.slice(0, len)), core.constant("Err.TRUNCATED"), `quote of ${len}`);
    }
  });

  test("refuses a wrong checksum and a message shorter than its header", (core) => {
    const bad4 = buildIcmp({ ...router4, type: 3, body: sent4, checksum: 1 });
    assert.is(check(core, bad4, 20), core.constant("Err.CHECKSUM"));
    const bad6 = buildIcmp({ ...router6, type: 1, body: sent6, checksum: 1 });
    assert.is(check(core, bad6, 40), core.constant("Err.CHECKSUM"));
    const short = buildIp({ ...router4, protocol: 1 }, new Uint8Array(7));
    assert.is(check(core, short, 20), core.constant("Err.TRUNCATED"));
  });

  test("never traps, whatever is quoted", (core) => {
    const end = core.scratch(65536) + 65536;
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.uint8Array({ maxLength: 80 }),
        fc.boolean(),
        (isV6, noise, prefixed) => {
          const body = prefixed ? concat((isV6 ? sent6 : sent4).slice(0, 20), noise) : noise;
          const router = isV6 ? router6 : router4;
          const packet = buildIcmp({ ...router, type: isV6 ? 1 : 3, body });
          const ipLen = isV6 ? 40 : 20;
          const ptr = core.write(end - packet.length, packet);
          const got = core.f.icmpCheck!(ptr, ptr + ipLen, packet.length - ipLen);
          if (got === 0) assert.ok(found(core).tcpPtr + 8 <= end);
        },
      ),
      { numRuns: 2000 },
    );
  });
});

icmp.run();
