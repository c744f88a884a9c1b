import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import {
  type BatchPacket,
  type TestParameters,
  counter,
  drain,
  feed,
  initCore,
  setTuple,
  withAddress,
} from "../support/batch.ts";
import { type TestCore, onBothBuilds } from "../support/core.ts";
import { buildTcp, describePacket, parseTcp } from "../support/packet.ts";

const flows = suite("encap/flows");
const FORWARDER = "10.9.0.1";
const OWN = "10.9.0.2";
const PEER = 3;
const FLOW = 0x00110022;
const DROPPED = 0;
const CONSUMED = 1;
const HANDBACK = 3;
const [NONE, ACTIVE, FROZEN, MOVED, CLOSED, POISONED] = [0, 1, 2, 3, 4, 5] as const;
const T0 = 1_000_000;
const T_EARLY = 1_000_000;
const T_RECORD = 60_000_000;

const tuple = { remote: "192.0.2.1", remotePort: 5000, local: "10.0.0.100", localPort: 80 };

function open(core: TestCore, parameters: TestParameters = {}): void {
  assert.is(initCore(core, parameters, T0), 0);
  withAddress(core, OWN, core.f.tunnelSet!);
  withAddress(core, FORWARDER, (f, ptr) => core.f.peerSet!(PEER, f, ptr));
}

const segment = (seq: number, flow = FLOW, len = 10) =>
  buildTcp({
    source: FORWARDER,
    destination: OWN,
    sourcePort: flow >>> 16,
    destinationPort: flow & 0xffff,
    seq,
    payload: new Uint8Array(len).fill(seq),
  });

function set(core: TestCore, state: number, nowUs = T0, flow = FLOW): number {
  setTuple(core, tuple);
  return core.f.recordSet!(PEER, flow, state, nowUs);
}

const verdicts = (packets: BatchPacket[]) => packets.map(({ verdict }) => verdict);
const seqs = (packets: BatchPacket[]) => packets.map(({ bytes }) => parseTcp(bytes).seq);
const sources = (packets: BatchPacket[]) =>
  packets.map(({ bytes }) => `${parseTcp(bytes).source}:${parseTcp(bytes).sourcePort}`);

onBothBuilds(flows, (test) => {
  test("drops a packet of a stranger or with a zero half in its flow, and counts it", (core) => {
    open(core);
    const stranger = buildTcp({
      source: "10.9.0.77",
      destination: OWN,
      sourcePort: 1,
      destinationPort: 2,
    });
    const zeroes = [segment(1, 0x00110000), segment(1, 0x00000022)];
    assert.equal(verdicts(feed(core, [stranger, ...zeroes], T0)), [DROPPED, DROPPED, DROPPED]);
    assert.is(counter(core, "TUNNEL_STRANGER"), 1);
    assert.is(counter(core, "TUNNEL_FLOW_ZERO"), 2);
  });

  test("hands early packets back in order, as they came, after T_EARLY", (core) => {
    open(core);
    const packets = [segment(1), segment(2, FLOW, 3000), segment(3)];
    assert.equal(verdicts(feed(core, packets, T0)), [CONSUMED, CONSUMED, CONSUMED]);
    assert.is(core.f.recordGet!(PEER, FLOW), NONE);
    assert.is(core.f.nextTimeoutUs!(), T0 + T_EARLY);
    core.f.handleTimeout!(T0 + T_EARLY - 1);
    assert.is(drain(core, "pollHandback", T0 + T_EARLY - 1).length, 0);
    core.f.handleTimeout!(T0 + T_EARLY);
    const back = drain(core, "pollHandback", T0 + T_EARLY);
    assert.equal(
      back.map(({ bytes }) => bytes),
      packets,
    );
    for (const packet of back) {
      assert.equal(
        [packet.verdict, packet.peer, packet.flow, packet.record],
        [HANDBACK, PEER, FLOW, NONE],
      );
    }
    assert.is(counter(core, "EARLY_EXPIRED"), 3);
    assert.is(core.f.holdBytes!(), 0);
    assert.is(core.f.nextTimeoutUs!(), Infinity);
    assert.equal(
      verdicts(feed(core, [segment(4)], T0 + 2 * T_EARLY)),
      [CONSUMED],
      "a new wait begins",
    );
  });

  test("drops a damaged packet of a flow that is not active: the flow may be another's", (core) => {
    open(core);
    const damaged = (flow: number): Uint8Array => {
      const bytes = segment(7, flow);
      bytes[27]! ^= 1;
      return bytes;
    };
    for (const [index, state] of [NONE, FROZEN, MOVED, CLOSED, POISONED].entries()) {
      const flow = FLOW + index;
      if (state !== NONE && state !== POISONED) set(core, ACTIVE, T0, flow);
      if (state !== NONE) assert.is(set(core, state, T0, flow), 0);
      assert.equal(verdicts(feed(core, [damaged(flow)], T0)), [DROPPED], `state ${state}`);
      assert.is(counter(core, "TUNNEL_CHECKSUM"), index + 1);
    }
    assert.is(core.f.holdBytes!(), 0);
    assert.is(drain(core, "pollHandback", T0).length, 0);
  });

  test("replays early packets to the stack, in order, when the flow becomes active", (core) => {
    open(core);
    feed(core, [segment(1), segment(2), segment(3)], T0);
    const before = counter(core, "DECAPSULATED");
    assert.is(set(core, ACTIVE), 0);
    assert.is(counter(core, "EARLY_REPLAYED"), 3);
    assert.is(counter(core, "DECAPSULATED"), before);
    assert.is(core.f.holdBytes!(), 0);
    assert.is(drain(core, "pollHandback", T0).length, 0);
    core.f.handleTimeout!(T0 + 10 * T_EARLY);
    assert.is(counter(core, "EARLY_EXPIRED"), 0, "they are out of the list that expires");
  });

  test("hands early packets back at once when the flow is poisoned", (core) => {
    open(core);
    feed(core, [segment(1), segment(2)], T0);
    assert.is(set(core, POISONED), 0);
    const back = drain(core, "pollHandback", T0);
    assert.equal(seqs(back), [1, 2]);
    assert.equal(
      sources(back),
      [`${FORWARDER}:17`, `${FORWARDER}:17`],
      "the tuple was never known",
    );
    assert.equal(
      back.map(({ record }) => record),
      [POISONED, POISONED],
    );
    const [later] = feed(core, [segment(3)], T0);
    assert.equal([later!.verdict, later!.record], [HANDBACK, POISONED]);
  });

  test("hands packets of moved and closed flows back de-encapsulated, with the record", (core) => {
    for (const state of [MOVED, CLOSED]) {
      const flow = FLOW + state;
      if (state === MOVED) open(core);
      assert.is(set(core, ACTIVE, T0, flow), 0);
      assert.is(set(core, state, T0, flow), 0);
      const [packet] = feed(core, [segment(9, flow)], T0);
      assert.equal([packet!.verdict, packet!.record, packet!.flow], [HANDBACK, state, flow]);
      const parsed = parseTcp(packet!.bytes);
      assert.is(parsed.source, tuple.remote);
      assert.is(parsed.destination, tuple.local);
      assert.equal(
        [parsed.sourcePort, parsed.destinationPort],
        [tuple.remotePort, tuple.localPort],
      );
      assert.ok(parsed.ipChecksumOk && parsed.tcpChecksumOk, describePacket(packet!.bytes));
    }
  });

  test("calls a flow closed whose connection the stack no longer knows", (core) => {
    open(core);
    set(core, ACTIVE);
    const [packet] = feed(core, [segment(9)], T0);
    assert.equal([packet!.verdict, packet!.record, packet!.peer], [HANDBACK, CLOSED, PEER]);
    assert.is(parseTcp(packet!.bytes).source, tuple.remote);
    assert.is(counter(core, "DECAPSULATED"), 1);
  });

  test("drops a packet of the other family under an active flow", (core) => {
    open(core);
    withAddress(core, "fd09::2", core.f.tunnelSet!);
    withAddress(core, "fd09::1", (f, ptr) => core.f.peerSet!(PEER, f, ptr));
    set(core, ACTIVE);
    const v6 = {
      source: "fd09::1",
      destination: "fd09::2",
      sourcePort: 0x11,
      destinationPort: 0x22,
    };
    assert.equal(verdicts(feed(core, [buildTcp(v6)], T0)), [DROPPED]);
  });

  test("holds segments of a frozen flow and replays them when it resumes", (core) => {
    open(core);
    set(core, ACTIVE);
    assert.is(set(core, FROZEN), 0);
    assert.equal(verdicts(feed(core, [segment(1), segment(2)], T0)), [CONSUMED, CONSUMED]);
    core.f.handleTimeout!(T0 + 30 * T_EARLY);
    assert.is(drain(core, "pollHandback", T0).length, 0, "frozen segments do not expire");
    assert.is(set(core, ACTIVE, T0 + 40 * T_EARLY), 0);
    assert.is(counter(core, "FROZEN_REPLAYED"), 2);
    assert.is(core.f.holdBytes!(), 0);
  });

  test("passes held and later segments to the forwarder once MOVE is acknowledged", (core) => {
    open(core);
    set(core, ACTIVE);
    assert.is(core.f.recordPass!(PEER, FLOW), core.constant("Err.TCP_STATE"));
    assert.is(core.f.recordPass!(PEER, FLOW + 1), core.constant("Err.NOT_FOUND"));
    set(core, FROZEN);
    feed(core, [segment(1), segment(2)], T0);
    assert.is(core.f.recordPass!(PEER, FLOW), 0);
    const back = drain(core, "pollHandback", T0);
    assert.equal(seqs(back), [1, 2]);
    assert.equal(sources(back), ["192.0.2.1:5000", "192.0.2.1:5000"]);
    const [later] = feed(core, [segment(3)], T0);
    assert.equal([later!.verdict, later!.record], [HANDBACK, FROZEN]);
    assert.equal(sources([later!]), ["192.0.2.1:5000"]);
    assert.is(set(core, MOVED), 0);
    assert.is(feed(core, [segment(4)], T0)[0]!.record, MOVED);
  });

  test("freezes again after a refusal and holds anew", (core) => {
    open(core);
    set(core, ACTIVE);
    set(core, FROZEN);
    core.f.recordPass!(PEER, FLOW);
    set(core, ACTIVE);
    set(core, FROZEN);
    assert.equal(
      verdicts(feed(core, [segment(1)], T0)),
      [CONSUMED],
      "the pass was of the last freeze",
    );
  });

  test("knows the transitions of PROTOCOL section 4 and no others", (core) => {
    const STATE = core.constant("Err.TCP_STATE");
    open(core);
    const path = (...states: number[]) => {
      core.f.recordSet!(PEER, FLOW, NONE, T0);
      return states.map((state) => set(core, state)).at(-1);
    };
    assert.is(path(FROZEN), STATE, "only ACTIVE freezes");
    for (const ended of [MOVED, CLOSED, POISONED]) {
      assert.is(path(ended, ACTIVE), STATE, "a flow is infused once");
      assert.is(path(ended, FROZEN), STATE);
      assert.is(path(ended, CLOSED), 0);
    }
    assert.is(path(ACTIVE, FROZEN, ACTIVE, FROZEN, MOVED), 0);
    assert.is(path(ACTIVE, CLOSED), 0);
    assert.is(path(ACTIVE, ACTIVE), 0);
    assert.is(path(NONE), core.constant("Err.NOT_FOUND"));
  });

  test("forgets ended records after T_RECORD, not before, and not those that live", (core) => {
    open(core);
    for (let n = 0; n < 10; n++) set(core, n < 5 ? ACTIVE : CLOSED, T0 + n, FLOW + n);
    assert.is(core.f.nextTimeoutUs!(), T0 + 5 + T_RECORD);
    core.f.handleTimeout!(T0 + 7 + T_RECORD);
    const states = Array.from({ length: 10 }, (_, n) => core.f.recordGet!(PEER, FLOW + n));
    assert.equal(states, [1, 1, 1, 1, 1, 0, 0, 0, CLOSED, CLOSED]);
    assert.is(counter(core, "RECORDS_EXPIRED"), 3);
    core.f.handleTimeout!(T0 + 2 * T_RECORD);
    assert.is(core.f.nextTimeoutUs!(), Infinity);
  });

  test("counts T_RECORD from the first end, also when a moved flow is closed later", (core) => {
    open(core);
    set(core, MOVED, T0);
    set(core, CLOSED, T0 + T_RECORD / 2);
    core.f.handleTimeout!(T0 + T_RECORD);
    assert.is(core.f.recordGet!(PEER, FLOW), NONE);
  });

  test("never takes the end of a removed record for that of its successor", (core) => {
    open(core, { recordsMax: 4 });
    for (let round = 0; round < 50; round++) {
      assert.is(set(core, CLOSED), 0);
      assert.is(core.f.recordGet!(PEER, FLOW), CLOSED, `round ${round}`);
      core.f.recordSet!(PEER, FLOW, NONE, T0);
    }
    assert.is(counter(core, "RECORDS_EVICTED"), 0);
  });

  test("refuses records beyond its limit, early packets not counted, and counts that", (core) => {
    open(core, { recordsMax: 3, earlyFlowsMax: 8 });
    feed(
      core,
      [1, 2, 3, 4].map((n) => segment(n, FLOW + 100 + n)),
      T0,
    );
    const set4 = [0, 1, 2, 3].map((n) => set(core, ACTIVE, T0, FLOW + n));
    assert.equal(set4, [0, 0, 0, core.constant("Err.FULL")]);
    assert.is(counter(core, "RECORDS_FULL"), 1);
    assert.is(set(core, POISONED, T0, FLOW + 101), core.constant("Err.FULL"));
  });

  test("limits early packets by flows, by bytes, and to a quarter of the bytes for one flow", (core) => {
    open(core, { earlyFlowsMax: 4, earlyBytesMax: 64 * 512 });
    const many = [0, 1, 2, 3, 4].map((n) => segment(n, FLOW + n));
    assert.equal(verdicts(feed(core, many, T0)), [CONSUMED, CONSUMED, CONSUMED, CONSUMED, DROPPED]);
    assert.is(counter(core, "EARLY_REFUSED"), 1);
    const one = Array.from({ length: 20 }, (_, n) => segment(n, FLOW));
    assert.is(
      verdicts(feed(core, one, T0)).filter((v) => v === CONSUMED).length,
      15,
      "16 of 64 blocks",
    );
    const fillers = [1, 2, 3].flatMap((f) =>
      Array.from({ length: 20 }, (_, n) => segment(n, FLOW + f)),
    );
    assert.is(verdicts(feed(core, fillers, T0)).filter((v) => v === CONSUMED).length, 45);
    assert.is(core.f.holdBytes!(), 64 * 512);
    core.f.handleTimeout!(T0 + T_EARLY);
    assert.is(drain(core, "pollHandback", T0 + T_EARLY).length, 64);
    assert.is(core.f.holdBytes!(), 0);
  });

  test("leaves no entry behind when the first packet of a flow is refused", (core) => {
    open(core, { earlyFlowsMax: 2, earlyBytesMax: 8 * 512 });
    for (let n = 0; n < 20; n++) feed(core, [segment(n, FLOW + n, 4000)], T0);
    assert.is(counter(core, "EARLY_REFUSED"), 20, "two blocks is all that one flow may take");
    assert.equal(verdicts(feed(core, [segment(1, FLOW, 10)], T0)), [CONSUMED]);
  });

  test("throws held packets away with a record that is forgotten", (core) => {
    open(core);
    set(core, ACTIVE);
    set(core, FROZEN);
    feed(core, [segment(1), segment(2)], T0);
    assert.is(core.f.recordSet!(PEER, FLOW, NONE, T0), 0);
    assert.is(counter(core, "HELD_DISCARDED"), 2);
    assert.is(core.f.holdBytes!(), 0);
  });

  test("holds and returns packets of every length up to 64 KiB with their offload fields", (core) => {
    open(core, { earlyBytesMax: 4 << 20 });
    const lens = [0, 1, 430, 431, 432, 433, 936, 937, 1460, 8960, 32000, 65480];
    const packets = lens.map((len, n) => ({
      bytes: segment(n, FLOW, len),
      flags: 2,
      gsoType: 1,
      gsoSize: 1448,
      headerLen: 40,
    }));
    assert.ok(verdicts(feed(core, packets, T0)).every((v) => v === CONSUMED));
    core.f.handleTimeout!(T0 + T_EARLY);
    const back = drain(core, "pollHandback", T0 + T_EARLY);
    back.forEach((packet, n) => {
      assert.equal(packet.bytes, packets[n]!.bytes, `length ${lens[n]}`);
      assert.equal(
        [packet.flags, packet.gsoType, packet.gsoSize, packet.headerLen],
        [2, 1, 1448, 40],
      );
    });
  });

  test("loses and leaks nothing under random events: a model counts every packet", (core) => {
    const event = fc.record({
      kind: fc.constantFrom("packet", "packet", "packet", "set", "pass", "time"),
      flow: fc.integer({ min: 1, max: 6 }),
      state: fc.integer({ min: 0, max: 5 }),
      len: fc.constantFrom(0, 10, 700, 3000),
    });
    open(core, { earlyFlowsMax: 4, earlyBytesMax: 64 * 512, recordsMax: 5 });
    let nowUs = T0;
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        for (const { kind, flow, state, len } of events) {
          nowUs += 100_000;
          if (kind === "packet") feed(core, [segment(1, FLOW + flow, len)], nowUs);
          else if (kind === "set") set(core, state, nowUs, FLOW + flow);
          else if (kind === "pass") core.f.recordPass!(PEER, FLOW + flow);
          else core.f.handleTimeout!((nowUs += T_EARLY));
          if (kind === "time") drain(core, "pollHandback", nowUs);
        }
        for (let flow = 1; flow <= 6; flow++) core.f.recordSet!(PEER, FLOW + flow, NONE, nowUs);
        core.f.handleTimeout!((nowUs += 2 * T_RECORD));
        drain(core, "pollHandback", nowUs);
        const c = (name: string) => counter(core, name);
        assert.is(core.f.holdBytes!(), 0);
        assert.is(core.f.nextTimeoutUs!(), Infinity);
        const held = c("EARLY_HELD") + c("FROZEN_HELD");
        const replayed = c("EARLY_REPLAYED") + c("FROZEN_REPLAYED");
        const atOnce = c("PACKETS_IN") - held - c("EARLY_REFUSED") - c("FROZEN_REFUSED");
        assert.is(held - replayed - c("HELD_DISCARDED"), c("HANDED_BACK") - atOnce);
      }),
      { numRuns: 100 },
    );
  });
});

flows.run();
