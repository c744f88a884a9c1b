/** Rings and frames of the xdp link, with a kernel's side that tests play. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { counter, initCore, readBatch, setTuple, withAddress } from "../support/batch.ts";
import { type TestCore, onBothBuilds } from "../support/core.ts";
import { buildTcp, parseTcp } from "../support/packet.ts";
import {
  ENTRIES,
  ETHER,
  FRAMES,
  FRAME_BYTES,
  framed,
  NEXT_MAC,
  OWN_MAC,
  RingKernel,
} from "../support/ringkernel.ts";

const rings = suite("ring/rings");
const T0 = 1_000_000;
const FLOW = 0x00110022;
const BATCH = 64;

const own = { v4: "10.9.0.1", v6: "fd09::1" };
const peer = { v4: "10.9.0.2", v6: "fd09::2" };
const client = { v4: "192.0.2.1", v6: "2001:db8::1" };
const vip = { v4: "10.0.0.100", v6: "fd00::100" };
type Family = keyof typeof own;
const FAMILIES: readonly Family[] = ["v4", "v6"];

const packet = (family: Family, payload = new Uint8Array(10)): Uint8Array =>
  buildTcp({
    source: client[family],
    destination: vip[family],
    sourcePort: 1001,
    destinationPort: 80,
    payload,
  });

/** A forwarder with one mapped client of each family; everything leaves by one gateway. */
function open(core: TestCore): RingKernel {
  const kernel = new RingKernel(core);
  for (const family of FAMILIES) {
    withAddress(core, own[family], core.f.tunnelSet!);
    withAddress(core, peer[family], (f, ptr) => core.f.peerSet!(5, f, ptr));
    withAddress(core, vip[family], (f, ptr) => core.f.serviceAdd!(f, ptr, 80, 0, 0));
    setTuple(core, {
      remote: client[family],
      remotePort: 1001,
      local: vip[family],
      localPort: 80,
    });
    assert.is(core.f.mapSet!(1, 5, FLOW), 0);
    kernel.addHop(family === "v4" ? "0.0.0.0" : "::", 0, NEXT_MAC);
  }
  return kernel;
}

/** One turn of the host's loop; how many packets came, and what ringTransmit said of each that was to go. */
function turn(core: TestCore): { count: number; said: number[] } {
  const count = core.f.ringReceive!();
  core.f.handlePackets!(count, T0);
  const said: number[] = [];
  readBatch(core, core.f.rxBatchPtr!(), count).forEach(({ verdict }, index) => {
    if (verdict === 2) said.push(core.f.ringTransmit!(0, index));
  });
  assert.is(core.f.ringFlush!(), 0);
  return { count, said };
}

onBothBuilds(rings, (test) => {
  test("need memory of their own only when they are asked for", (core) => {
    assert.is(initCore(core), 0);
    assert.is(core.f.framesPtr!(), 0);
    assert.is(core.f.ringPtr!(0), 0);
    assert.is(core.f.ringOpen!(0, 0, 64, 128, 192), core.constant("Err.STATE"));
    assert.is(core.f.ringTransmit!(0, 0), core.constant("Err.STATE"));
    assert.is(core.f.ringReceive!(), 0);
    assert.is(core.f.hopAdd!(4, core.f.tuplePtr!(), 0, 0), core.constant("Err.STATE"));
  });

  test("are refused where they cannot be", (core) => {
    const bad = core.constant("Err.ARGUMENT");
    for (const [ringFrames, ringFrameBytes, mtu] of [
      [255, 2048, 1500],
      [128, 2048, 1500],
      [131072, 2048, 1500],
      [256, 2000, 1500],
      [256, 8192, 1500],
      [256, 2048, 1779],
      [256, 4096, 3827],
    ] as const) {
      assert.is(initCore(core, { ringFrames, ringFrameBytes, mtu }), bad, `${ringFrameBytes}`);
    }
    assert.is(initCore(core, { ringFrames: 256, ringFrameBytes: 2048, mtu: 1778 }), 0);
  });

  test("refuse words that do not lie in front of the entries, or not aligned", (core) => {
    new RingKernel(core);
    const bad = core.constant("Err.ARGUMENT");
    for (const at of [1, 2, 4096, 0xfffffffc]) {
      assert.is(core.f.ringOpen!(0, at, 64, 128, 192), bad);
      assert.is(core.f.ringOpen!(0, 0, at, 128, 192), bad);
      assert.is(core.f.ringOpen!(0, 0, 64, at, 192), bad);
    }
    for (const at of [4, 4104, 0xfffffff8]) {
      assert.is(core.f.ringOpen!(0, 0, 64, 128, at), bad);
    }
    assert.is(core.f.ringOpen!(4, 0, 64, 128, 192), bad);
  });

  test("lend half of the frames, each once", (core) => {
    const kernel = open(core);
    assert.is(kernel.lent, ENTRIES);
    assert.is(core.f.framesFree!(), FRAMES - ENTRIES);
    core.f.ringFlush!();
    assert.is(kernel.lent, ENTRIES, "no more than half");
  });

  for (const family of FAMILIES) {
    test(`send a packet from the frame in which it came, ${family}`, (core) => {
      const kernel = open(core);
      assert.ok(kernel.deliver(framed(packet(family), 6)));
      assert.equal(turn(core), { count: 1, said: [1] });
      const free = core.f.framesFree!();
      const [frame, ...more] = kernel.send();
      assert.equal(more, []);
      assert.equal(frame!.slice(0, 6), NEXT_MAC);
      assert.equal(frame!.slice(6, 12), OWN_MAC);
      assert.equal([...frame!.slice(12, 14)], family === "v4" ? [8, 0] : [0x86, 0xdd]);
      const sent = parseTcp(frame!.slice(ETHER));
      assert.ok(sent.tcpChecksumOk, "the checksum was updated");
      assert.equal([sent.sourcePort, sent.destinationPort], [FLOW >>> 16, FLOW & 0xffff]);
      assert.is(sent.payload.length, 10, "padding is not sent on");
      core.f.ringFlush!();
      assert.is(core.f.framesFree!(), free + 1, "it came back");
    });
  }

  test("give a packet to the kernel when no next hop is known", (core) => {
    const kernel = open(core);
    core.f.hopClear!();
    kernel.deliver(framed(packet("v4")));
    assert.equal(turn(core), { count: 1, said: [0] });
    assert.equal(kernel.send(), []);
    kernel.addHop("0.0.0.0", 0);
    kernel.deliver(framed(packet("v4")));
    assert.equal(turn(core).said, [0], "a prefix without an address");
    assert.is(core.f.framesFree!(), FRAMES - ENTRIES);
  });

  test("copy what lies in a slot, and finish its checksum", (core) => {
    const kernel = open(core);
    core.f.ringReceive!();
    const bytes = packet(
      "v4",
      Uint8Array.from({ length: 999 }, (_, index) => index),
    );
    const whole = bytes.slice();
    const pseudo = pseudoSum(bytes);
    bytes.set([pseudo >> 8, pseudo & 0xff], 36);
    fillTx(core, bytes, { flags: 1, csumStart: 20, csumOffset: 16 });
    const before = core.f.framesFree!();
    assert.is(core.f.ringTransmit!(1, 0), 1);
    assert.is(core.f.framesFree!(), before - 1);
    core.f.ringFlush!();
    assert.equal(kernel.send()[0]!.slice(ETHER), whole);
  });

  test("leave to the kernel what is too long or to be cut, and refuse what is no packet", (core) => {
    open(core);
    fillTx(core, packet("v4", new Uint8Array(1461)), {});
    assert.is(core.f.ringTransmit!(1, 0), 0);
    fillTx(core, packet("v4"), { gsoType: 1 });
    assert.is(core.f.ringTransmit!(1, 0), 0);
    const malformed = core.constant("Err.MALFORMED");
    fillTx(core, packet("v4").slice(0, 19), {});
    assert.is(core.f.ringTransmit!(1, 0), malformed);
    fillTx(core, packet("v6").slice(0, 39), {});
    assert.is(core.f.ringTransmit!(1, 0), malformed);
    fillTx(core, packet("v4"), { flags: 1, csumStart: 65000, csumOffset: 65000 });
    assert.is(core.f.ringTransmit!(1, 0), malformed);
    assert.is(core.f.ringTransmit!(1, BATCH), core.constant("Err.ARGUMENT"));
  });

  test("say FULL when the kernel sends nothing, lose no frame, and go on afterwards", (core) => {
    const kernel = open(core);
    let sent = 0;
    let full = 0;
    // Nothing completes: frames run out, and with them what may be lent.
    for (let round = 0; round < 2 * FRAMES; round++) {
      if (!kernel.deliver(framed(packet("v4")))) break;
      const { said } = turn(core);
      sent += said.filter((one) => one === 1).length;
      full += said.filter((one) => one === core.constant("Err.FULL")).length;
      if (full > 3) break;
    }
    assert.is(sent, ENTRIES, "as many as the TX ring holds");
    assert.ok(full > 3);
    kernel.send();
    core.f.ringFlush!();
    kernel.deliver(framed(packet("v4")));
    assert.equal(turn(core).said, [1]);
    kernel.send();
    core.f.ringFlush!();
    assert.is(core.f.framesFree!() + kernel.lent, FRAMES);
  });

  test("never run out of frames to send from because of reception", (core) => {
    const kernel = open(core);
    // The kernel takes every frame that it can get, and the host does not come to read.
    while (kernel.deliver(framed(packet("v4")))) core.f.ringFlush!();
    assert.is(kernel.producer("rx"), ENTRIES);
    fillTx(core, packet("v4"), {});
    assert.is(core.f.ringTransmit!(1, 0), 1);
  });

  test("take at most a batch at a time, in order, and come round more than once", (core) => {
    const kernel = open(core);
    let next = 0;
    let seen = 0;
    for (let round = 0; round < 20; round++) {
      for (let index = 0; index < 100; index++) {
        const payload = Uint8Array.of(next >> 8, next & 0xff);
        if (kernel.deliver(framed(packet("v4", payload)))) next += 1;
      }
      assert.ok(turn(core).count <= BATCH);
      for (const frame of kernel.send()) {
        const { payload } = parseTcp(frame.slice(ETHER));
        assert.is((payload[0]! << 8) | payload[1]!, seen, "in order");
        seen += 1;
      }
    }
    assert.ok(seen > 2 * FRAMES, "every frame was used more than once");
  });

  test("say whom to wake", (core) => {
    const kernel = open(core);
    kernel.setFlag("tx", true);
    assert.is(core.f.ringNeeds!(), 0, "nothing waits");
    fillTx(core, packet("v4"), {});
    core.f.ringTransmit!(1, 0);
    core.f.ringFlush!();
    assert.is(core.f.ringNeeds!(), core.constant("RingNeed.TX"));
    kernel.setFlag("tx", false);
    kernel.setFlag("fill", true);
    assert.is(core.f.ringNeeds!(), core.constant("RingNeed.FILL"));
    kernel.setFlag("tx", true);
    kernel.send();
    assert.is(core.f.ringNeeds!(), core.constant("RingNeed.FILL"), "it has been sent");
  });

  test("name the slots again when the batch is over, for packets that come another way", (core) => {
    const kernel = open(core);
    core.f.ringReceive!();
    const slots = pointers(core);
    for (let index = 0; index < 3; index++) kernel.deliver(framed(packet("v4")));
    core.f.ringReceive!();
    assert.is.not(pointers(core)[0], slots[0]);
    core.f.ringFlush!();
    assert.equal(pointers(core), slots);
  });

  test("know an unfinished checksum by its value, where neighbours have no wire", (core) => {
    const kernel = open(core);
    const bytes = packet(
      "v4",
      Uint8Array.from({ length: 77 }, (_, index) => index * 3),
    );
    const pseudo = pseudoSum(bytes);
    bytes.set([pseudo >> 8, pseudo & 0xff], 36);
    kernel.deliver(framed(bytes));
    turn(core);
    assert.not.ok(parseTcp(kernel.send()[0]!.slice(ETHER)).tcpChecksumOk, "end to end otherwise");
    core.f.ringPartial!(1);
    kernel.deliver(framed(bytes));
    kernel.deliver(framed(packet("v6")));
    turn(core);
    const sent = kernel.send().map((frame) => parseTcp(frame.slice(ETHER)));
    assert.equal(
      sent.map(({ tcpChecksumOk }) => tcpChecksumOk),
      [true, true],
    );
    assert.is(counter(core, "RING_PARTIAL"), 1);
  });

  test("drop frames that are no packets, and lose none of them", (core) => {
    const kernel = open(core);
    const arp = framed(packet("v4"));
    arp.set([0x08, 0x06], 12);
    const short = framed(packet("v4")).slice(0, ETHER + 19);
    const cut6 = framed(packet("v6")).slice(0, ETHER + 39);
    for (const frame of [arp, short, cut6, new Uint8Array(0)]) kernel.deliver(frame);
    assert.is(core.f.ringReceive!(), 0);
    assert.is(counter(core, "RING_MALFORMED"), 4);
    core.f.ringFlush!();
    assert.is(core.f.framesFree!() + kernel.lent, FRAMES);
  });

  test("survive any contents of the rings", (core) => {
    const kernel = open(core);
    const u64 = fc.oneof(
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.bigInt({ min: 0n, max: BigInt(FRAMES * FRAME_BYTES + 4096) }),
    );
    const u32 = fc.oneof(
      fc.integer({ min: 0, max: 4096 }),
      fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    );
    const step = fc.oneof(
      fc.tuple(fc.constant("report"), u64, u32, fc.constantFrom(0, 0, 1, 0xffffffff)),
      fc.tuple(fc.constant("complete"), u64, u32, fc.constant(0)),
      fc.tuple(fc.constant("index"), u64, u32, fc.integer({ min: 0, max: 3 })),
      fc.tuple(fc.constant("turn"), u64, u32, fc.constant(0)),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        for (const [what, address, length, option] of steps) {
          if (what === "report") kernel.report(address, length, option);
          else if (what === "complete") kernel.complete(address);
          else if (what === "turn") turn(core);
          else kernel.setIndex((["rx", "tx", "fill", "completion"] as const)[option]!, length);
        }
        turn(core);
        assert.ok(core.f.framesFree!() <= FRAMES);
        assert.ok(core.f.ringNeeds!() >= 0);
      }),
      { numRuns: 300 },
    );
  });
});

function pointers(core: TestCore): number[] {
  const size = core.constant("DESCRIPTOR_SIZE");
  const base = core.f.rxBatchPtr!();
  return Array.from({ length: BATCH }, (_, index) =>
    core.view.getUint32(base + index * size, true),
  );
}

interface Fields {
  flags?: number;
  csumStart?: number;
  csumOffset?: number;
  gsoType?: number;
}

/** Puts a packet into slot 0 of the tx batch, as pollTransmit leaves it. */
function fillTx(core: TestCore, bytes: Uint8Array, fields: Fields): void {
  const at = core.f.txBatchPtr!();
  const off = (name: string): number => at + core.constant(`DescriptorOff.${name}`);
  core.write(core.view.getUint32(off("PTR"), true), bytes);
  core.view.setUint32(off("LEN"), bytes.length, true);
  core.view.setUint16(off("FLAGS"), fields.flags ?? 0, true);
  core.view.setUint16(off("CSUM_START"), fields.csumStart ?? 0, true);
  core.view.setUint16(off("CSUM_OFFSET"), fields.csumOffset ?? 0, true);
  core.view.setUint16(off("GSO_TYPE"), fields.gsoType ?? 0, true);
}

/** Of an IPv4 packet of TCP without options: RFC 9293 3.1, not inverted. */
function pseudoSum(bytes: Uint8Array): number {
  let sum = 6 + bytes.length - 20;
  for (let at = 12; at < 20; at += 2) sum += (bytes[at]! << 8) | bytes[at + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

rings.run();
