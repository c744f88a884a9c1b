import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { type TestCore, onBothBuilds, u32 } from "../support/core.ts";
import {
  ACK,
  FIN,
  SYN,
  URG,
  buildTcp,
  concat,
  option,
  parseOptions,
  parseTcp,
} from "../support/packet.ts";

const tcp = suite("wire/tcp");
const word32 = fc.integer({ min: 0, max: 0xffffffff });
const base = {
  source: "192.0.2.1",
  destination: "10.0.0.1",
  sourcePort: 5000,
  destinationPort: 80,
};
const BIT = { MSS: 1, WINDOW_SCALE: 2, SACK_PERMITTED: 4, SACK: 8, TIMESTAMPS: 16 };

/** Writes a segment so that it ends where memory ends; returns the address of its TCP header. */
function place(core: TestCore, packet: Uint8Array): number {
  const end = core.scratch(65536) + 65536;
  core.write(end - packet.length, packet);
  return end - packet.length + 20;
}

function options(core: TestCore) {
  const at = core.constant("OPTIONS");
  const word = (index: number) => core.view.getUint32(at + 4 * index, true);
  const sack = Array.from({ length: word(5) }, (_, i) => [
    u32(core.f.optionsSackLeft!(i)),
    u32(core.f.optionsSackRight!(i)),
  ]);
  return { mss: word(1), windowShift: word(2), tsVal: word(3), tsEcr: word(4), sack };
}

/** Parses raw option bytes, padded with EOL to a multiple of 4. */
function parse(core: TestCore, bytes: Uint8Array, syn: boolean): number {
  const padded = concat(bytes, new Uint8Array((4 - (bytes.length % 4)) % 4));
  const ptr = place(core, buildTcp({ ...base, options: padded }));
  return core.f.optionsParse!(ptr, 20 + padded.length, syn ? 1 : 0);
}

onBothBuilds(tcp, (test) => {
  test("reads every field that the reference wrote", (core) => {
    const ptr = core.scratch(65536);
    fc.assert(
      fc.property(
        word32,
        word32,
        fc.nat(255),
        fc.nat(65535),
        fc.nat(65535),
        (seq, ack, flags, window, urgent) => {
          core.write(ptr, buildTcp({ ...base, seq, ack, flags, window, urgent }));
          const at = ptr + 20;
          assert.is(core.f.tcpCheck!(at, 20), 20);
          assert.is(core.f.tcpSourcePort!(at), 5000);
          assert.is(core.f.tcpDestinationPort!(at), 80);
          assert.is(core.f.tcpPorts!(at), (5000 << 16) | 80);
          assert.is(u32(core.f.tcpSeq!(at)), seq);
          assert.is(u32(core.f.tcpAck!(at)), ack);
          assert.is(core.f.tcpFlags!(at), flags);
          assert.is(core.f.tcpWindow!(at), window);
          assert.is(core.f.tcpUrgent!(at), urgent);
        },
      ),
    );
  });

  test("refuses data offsets below 20 and beyond the segment", (core) => {
    const packet = (dataOffset: number) =>
      buildTcp({ ...base, dataOffset, payload: new Uint8Array(8) });
    for (let offset = 0; offset <= 15; offset++) {
      const want = offset < 5 ? "Err.MALFORMED" : offset <= 7 ? "" : "Err.TRUNCATED";
      const got = core.f.tcpCheck!(place(core, packet(offset)), 28);
      assert.is(got, want ? core.constant(want) : offset * 4, `offset ${offset}`);
    }
    const ptr = place(core, buildTcp(base));
    for (let len = 0; len < 20; len++) {
      assert.is(core.f.tcpCheck!(ptr, len), core.constant("Err.TRUNCATED"));
    }
  });

  test("counts SYN and FIN in SEG.LEN", (core) => {
    assert.is(core.f.tcpSegLen!(ACK, 10), 10);
    assert.is(core.f.tcpSegLen!(SYN, 0), 1);
    assert.is(core.f.tcpSegLen!(FIN | ACK, 10), 11);
    assert.is(core.f.tcpSegLen!(SYN | FIN, 3), 5);
  });

  test("verifies checksums of both families and finds any flipped bit", (core) => {
    const ptr = core.scratch(65536);
    const v6 = { ...base, source: "2001:db8::9", destination: "fd00::1" };
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.uint8Array({ maxLength: 200 }),
        fc.nat(),
        (isV6, payload, bit) => {
          const ipLen = isV6 ? 40 : 20;
          const packet = buildTcp({ ...(isV6 ? v6 : base), payload });
          const len = packet.length - ipLen;
          core.write(ptr, packet);
          assert.is(core.f.tcpChecksumOk!(ptr, ptr + ipLen, len), 1);
          const at = ptr + ipLen + (Math.floor(bit / 8) % len);
          core.view.setUint8(at, core.view.getUint8(at) ^ (1 << (bit % 8)));
          assert.is(core.f.tcpChecksumOk!(ptr, ptr + ipLen, len), 0);
        },
      ),
    );
  });

  test("writes full and partial checksums as the reference does", (core) => {
    const ptr = core.scratch(65536);
    for (const partialChecksum of [false, true]) {
      for (const payload of [
        new Uint8Array(0),
        new Uint8Array(7).fill(9),
        new Uint8Array(1460).fill(3),
      ]) {
        const want = buildTcp({
          ...base,
          payload,
          partialChecksum,
          options: option.timestamps(1, 2),
        });
        core.write(ptr, want);
        core.view.setUint16(ptr + 36, 0x1234);
        const name = partialChecksum ? "tcpChecksumWritePartial" : "tcpChecksumWrite";
        core.f[name]!(ptr, ptr + 20, want.length - 20);
        assert.equal(core.read(ptr, want.length), want);
      }
    }
  });

  test("says where the payload begins, whatever the options and the flags", (core) => {
    const ptr = core.scratch(256);
    const tuple = ptr + 128;
    for (let optionsLen = 0; optionsLen <= 40; optionsLen += 4) {
      for (const flags of [0, SYN | ACK, 0xff]) {
        core.bytes.fill(0xee, ptr, ptr + 60);
        core.f.tcpWrite!(ptr, tuple, 1, 2, flags | core.f.tcpOptions!(optionsLen), 0xffff);
        const wanted = [(20 + optionsLen) << 2, flags, 0xff, 0xff, 0, 0, 0, 0];
        assert.equal([...core.read(ptr + 12, 8)], wanted);
        assert.is(core.bytes[ptr + 20], 0xee, "options stay as they are");
      }
    }
  });

  test("sets the urgent pointer and its flag", (core) => {
    const ptr = core.scratch(64);
    core.write(ptr, buildTcp(base));
    core.f.tcpSetUrgent!(ptr + 20, 500);
    core.f.tcpChecksumWrite!(ptr, ptr + 20, 20);
    const got = parseTcp(core.read(ptr, 40));
    assert.is(got.urgent, 500);
    assert.is(got.flags, ACK | URG);
    assert.ok(got.tcpChecksumOk);
  });

  test("parses every option of a SYN", (core) => {
    const bytes = concat(
      option.mss(1460),
      Uint8Array.of(4, 2),
      option.timestamps(7, 0).slice(2),
      option.windowScale(9),
    );
    assert.is(
      parse(core, bytes, true),
      BIT.MSS | BIT.SACK_PERMITTED | BIT.TIMESTAMPS | BIT.WINDOW_SCALE,
    );
    assert.equal(options(core), { mss: 1460, windowShift: 9, tsVal: 7, tsEcr: 0, sack: [] });
  });

  test("ignores options that belong to a SYN anywhere else, and SACK on a SYN", (core) => {
    const bytes = concat(option.mss(1460), option.sackPermitted(), option.windowScale(9));
    assert.is(parse(core, bytes, false), 0);
    assert.is(parse(core, option.sack([1, 2]), true), 0);
  });

  test("parses timestamps and one to four SACK blocks at any alignment", (core) => {
    const blocks: [number, number][] = [
      [0xfffffff0, 5],
      [100, 200],
      [300, 400],
      [500, 600],
    ];
    for (let count = 1; count <= 4; count++) {
      for (let pad = 0; pad <= 4; pad++) {
        const sack = option.sack(...blocks.slice(0, count)).slice(2);
        assert.is(parse(core, concat(new Uint8Array(pad).fill(1), sack), false), BIT.SACK);
        assert.equal(options(core).sack, blocks.slice(0, count));
      }
    }
    const both = concat(option.timestamps(0xdeadbeef, 3), option.sack([1, 2], [5, 6], [7, 9]));
    assert.is(parse(core, both, false), BIT.SACK | BIT.TIMESTAMPS);
    const got = options(core);
    assert.is(got.tsVal, 0xdeadbeef);
    assert.is(got.sack.length, 3);
  });

  test("uses a window shift above 14 as 14 (RFC 7323 2.3)", (core) => {
    for (const [shift, want] of [
      [0, 0],
      [14, 14],
      [15, 14],
      [255, 14],
    ] as const) {
      parse(core, option.windowScale(shift), true);
      assert.is(options(core).windowShift, want);
    }
  });

  test("survives illegal lengths: 0, 1, beyond the header, wrong for the kind", (core) => {
    const mss = option.mss(1000);
    for (const illegal of [[99, 0], [99, 1], [99, 200], [8, 0], [99]]) {
      assert.is(parse(core, concat(mss, Uint8Array.from(illegal)), true), BIT.MSS, `${illegal}`);
    }
    for (const wrong of [
      [2, 3, 5],
      [2, 5, 1, 2, 3],
      [3, 2],
      [4, 3, 0],
      [8, 4, 1, 2],
      [5, 2],
      [5, 9, 0, 0, 0, 0, 0, 0, 0],
    ]) {
      const bytes = concat(Uint8Array.from(wrong), mss);
      assert.is(parse(core, bytes, true), BIT.MSS, `kind ${wrong[0]}, length ${wrong[1]}`);
    }
  });

  test("skips unknown kinds by length and stops at the end of options", (core) => {
    const unknown = Uint8Array.of(254, 6, 0, 0, 0, 0);
    assert.is(parse(core, concat(unknown, option.mss(536)), true), BIT.MSS);
    assert.is(parse(core, concat(Uint8Array.of(0, 0, 0, 0), option.mss(536)), true), 0);
  });

  test("agrees with the reference about any bytes, and reads nothing beyond the header", (core) => {
    const end = core.scratch(65536) + 65536;
    const kind = fc.constantFrom(0, 1, 2, 3, 4, 5, 8, 30, 254);
    const piece = fc.tuple(kind, fc.nat(11), fc.uint8Array({ maxLength: 10 }));
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), fc.boolean(), (pieces, syn) => {
        const bytes = concat(
          ...pieces.map(([k, len, data]) => concat(Uint8Array.of(k, len), data)),
        ).slice(0, 40);
        const padded = concat(bytes, new Uint8Array((4 - (bytes.length % 4)) % 4));
        const packet = buildTcp({ ...base, options: padded });
        const ptr = core.write(end - packet.length, packet) + 20;
        const present = core.f.optionsParse!(ptr, 20 + padded.length, syn ? 1 : 0);
        assert.is(present, referenceBits(padded, syn));
      }),
      { numRuns: 2000 },
    );
  });

  test("writes the options of a SYN as Linux does", (core) => {
    const ptr = core.scratch(64);
    const all = BIT.MSS | BIT.WINDOW_SCALE | BIT.SACK_PERMITTED | BIT.TIMESTAMPS;
    const write = (present: number) => {
      const len = core.f.optionsWriteSyn!(ptr, present, 1460, 7, 0x01020304, 0x05060708);
      return Buffer.from(core.read(ptr, len)).toString("hex");
    };
    assert.is(write(all), "020405b4" + "0402080a" + "01020304" + "05060708" + "01030307");
    assert.is(write(BIT.MSS), "020405b4");
    assert.is(write(BIT.MSS | BIT.SACK_PERMITTED), "020405b4" + "01010402");
    assert.is(write(BIT.TIMESTAMPS), "0101080a" + "01020304" + "05060708");
    assert.is(write(0), "");
  });

  test("writes timestamps and SACK blocks that the reference reads back", (core) => {
    const ptr = core.scratch(256);
    const blocks = [10, 20, 30, 40, 0xffffff00, 5, 50, 60];
    blocks.forEach((value, i) => core.view.setUint32(ptr + 128 + 4 * i, value, true));
    for (const [present, count, len] of [
      [0, 0, 0],
      [BIT.TIMESTAMPS, 0, 12],
      [BIT.TIMESTAMPS, 3, 40],
      [0, 4, 36],
      [0, 1, 12],
    ] as const) {
      assert.is(core.f.optionsWrite!(ptr, present, 1, 2, ptr + 128, count), len);
      const found = parseOptions(core.read(ptr, len));
      assert.equal(
        found.map(({ kind }) => kind),
        [...(present ? [8] : []), ...(count ? [5] : [])],
      );
      const sack = found.find(({ kind }) => kind === 5);
      const words = sack ? new DataView(sack.bytes.buffer, sack.bytes.byteOffset) : undefined;
      for (let i = 0; i < 2 * count; i++) assert.is(words!.getUint32(4 * i), blocks[i]);
    }
  });

  test("fills tuples from both directions", (core) => {
    const ptr = core.scratch(256);
    for (const pair of [base, { ...base, source: "2001:db8::9", destination: "fd00::1" }]) {
      const ipLen = pair === base ? 20 : 40;
      core.write(ptr, buildTcp(pair));
      core.f.tupleRead!(ptr, ptr + ipLen, ptr + 128);
      core.write(
        ptr,
        buildTcp({
          source: pair.destination,
          destination: pair.source,
          sourcePort: pair.destinationPort,
          destinationPort: pair.sourcePort,
        }),
      );
      core.f.tupleReadOutbound!(ptr, ptr + ipLen, ptr + 192);
      assert.equal(core.read(ptr + 128, 40), core.read(ptr + 192, 40));
      assert.is(core.f.tupleEqual!(ptr + 128, ptr + 192), 1);
      for (const at of [0, 4, 6, 8, 16, 24, 32]) {
        core.view.setUint8(ptr + 192 + at, core.view.getUint8(ptr + 192 + at) ^ 1);
        assert.is(core.f.tupleEqual!(ptr + 128, ptr + 192), 0, `offset ${at}`);
        core.view.setUint8(ptr + 192 + at, core.view.getUint8(ptr + 192 + at) ^ 1);
      }
    }
  });
});

/** Which options the reference finds well-formed and in place. */
function referenceBits(bytes: Uint8Array, syn: boolean): number {
  let bits = 0;
  for (const { kind, bytes: body } of parseOptions(bytes)) {
    if (syn && kind === 2 && body.length === 2) bits |= BIT.MSS;
    if (syn && kind === 3 && body.length === 1) bits |= BIT.WINDOW_SCALE;
    if (syn && kind === 4 && body.length === 0) bits |= BIT.SACK_PERMITTED;
    if (kind === 8 && body.length === 8) bits |= BIT.TIMESTAMPS;
    if (!syn && kind === 5 && [8, 16, 24, 32].includes(body.length)) bits |= BIT.SACK;
  }
  return bits;
}

tcp.run();
