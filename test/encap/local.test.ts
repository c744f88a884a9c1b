/** Mappings LOCAL that name a peer: a connection that came back by a blob, a classifier on another node. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counter, drain, feed, initCore, setTuple, withAddress } from "../support/batch.ts";
import { type TestCore, onBothBuilds } from "../support/core.ts";
import { ACK, RST, SYN, buildTcp, parseTcp } from "../support/packet.ts";

const local = suite("encap/local");

const VIP = "10.0.0.100";
const CLIENT = "192.0.2.1";
/** The node itself, as one of its own peers: it has no address. */
const SELF = 7;
const FLOW = 0x00110022;
const PORT = 5000;
const T0 = 1_000_000;
const LOCAL = 2;
const [ACTIVE, FROZEN, MOVED] = [1, 2, 3] as const;
const [DROPPED, CONSUMED, HANDBACK, UNMAPPED] = [0, 1, 3, 4] as const;

function open(core: TestCore, peer: number, flow: number): void {
  assert.is(initCore(core, {}, T0), 0);
  assert.is(
    withAddress(core, VIP, (f, ptr) => core.f.serviceAdd!(f, ptr, 80, 0, 0)),
    0,
  );
  at(core);
  assert.is(core.f.mapSet!(LOCAL, peer, flow), 0);
}

const at = (core: TestCore): void =>
  setTuple(core, { remote: CLIENT, remotePort: PORT, local: VIP, localPort: 80 });

function record(core: TestCore, state: number): void {
  at(core);
  assert.is(core.f.recordSet!(SELF, FLOW, state, T0), 0);
}

const segment = (extra: object = {}): Uint8Array =>
  buildTcp({
    source: CLIENT,
    destination: VIP,
    sourcePort: PORT,
    destinationPort: 80,
    seq: 100,
    flags: ACK,
    payload: Uint8Array.of(1, 2, 3),
    ...extra,
  });

onBothBuilds(local, (test) => {
  test("holds packets of an own flow until its connection is here, and never answers them", (core) => {
    open(core, SELF, FLOW);
    const [packet] = feed(core, [segment()], T0);
    assert.is(packet!.verdict, CONSUMED);
    assert.is(counter(core, "EARLY_HELD"), 1);
    assert.equal(drain(core, "pollTransmit", T0), []);
  });

  test("gives early packets of an own flow back as the client sent them", (core) => {
    open(core, SELF, FLOW);
    feed(core, [segment()], T0);
    assert.is(core.f.handleTimeout!(T0 + 1_000_000), 0);
    const [back] = drain(core, "pollHandback", T0 + 1_000_000);
    assert.equal([back!.peer, back!.flow, back!.verdict], [SELF, FLOW, HANDBACK]);
    assert.equal(back!.bytes, segment());
  });

  test("holds segments of a frozen own flow, and gives them back unchanged when it has moved", (core) => {
    open(core, SELF, FLOW);
    record(core, ACTIVE);
    record(core, FROZEN);
    assert.is(feed(core, [segment()], T0)[0]!.verdict, CONSUMED);
    assert.is(counter(core, "FROZEN_HELD"), 1);
    record(core, MOVED);
    const [back] = drain(core, "pollHandback", T0);
    assert.equal(back!.bytes, segment());
    const [late] = feed(core, [segment({ seq: 103 })], T0);
    assert.equal([late!.verdict, late!.record], [HANDBACK, MOVED]);
    assert.equal(late!.bytes, segment({ seq: 103 }));
  });

  test("leaves the packets of a classifier on another node to the host, in every mode", (core) => {
    open(core, SELF, 0);
    for (const mode of ["RST_UNKNOWN", "RECOVERING", "HOST_UNKNOWN"]) {
      assert.is(core.f.modeSet!(core.constant(`Mode.${mode}`)), 0);
      for (const flags of [SYN, ACK, RST]) {
        const [packet] = feed(core, [segment({ flags })], T0);
        assert.equal([packet!.verdict, packet!.peer, packet!.flow], [UNMAPPED, SELF, 0]);
        assert.equal(packet!.bytes, segment({ flags }));
      }
    }
    assert.is(counter(core, "UNKNOWN_HOST"), 9);
    at(core);
    assert.is(core.f.mapGet!(), 0);
    assert.equal(drain(core, "pollTransmit", T0), []);
  });

  test("names no peer for a packet that nobody has an entry for", (core) => {
    open(core, SELF, 0);
    assert.is(core.f.modeSet!(core.constant("Mode.HOST_UNKNOWN")), 0);
    const [packet] = feed(core, [segment({ sourcePort: PORT + 1 })], T0);
    assert.equal([packet!.verdict, packet!.peer], [UNMAPPED, 0]);
    assert.is(core.f.modeSet!(core.constant("Mode.RST_UNKNOWN")), 0);
    assert.is(feed(core, [segment({ sourcePort: PORT + 1 })], T0)[0]!.verdict, DROPPED);
    const [rst] = drain(core, "pollTransmit", T0);
    assert.is(parseTcp(rst!.bytes).flags & RST, RST);
  });

  test("leaves an ACK that fits no handshake of ours to the host, or answers it with a RST", (core) => {
    assert.is(initCore(core, {}, T0), 0);
    const listen = core.constant("ServiceFlag.LISTEN");
    withAddress(core, VIP, (f, ptr) => core.f.serviceAdd!(f, ptr, 80, 0, listen));
    assert.is(core.f.modeSet!(core.constant("Mode.HOST_UNKNOWN")), 0);
    const bare = { payload: new Uint8Array(0) };
    feed(core, [segment({ ...bare, flags: SYN, seq: 99 })], T0);
    const [synAck] = drain(core, "pollTransmit", T0);
    // The client has shaken hands with another stack, whose SYN-ACK had another number.
    const ack = (parseTcp(synAck!.bytes).seq + 12_345) % 2 ** 32;
    const foreign = segment({ ack });
    assert.is(feed(core, [foreign], T0)[0]!.verdict, UNMAPPED);
    assert.equal(drain(core, "pollTransmit", T0), []);
    assert.is(core.f.modeSet!(core.constant("Mode.RST_UNKNOWN")), 0);
    assert.is(feed(core, [foreign], T0)[0]!.verdict, DROPPED);
    const rst = parseTcp(drain(core, "pollTransmit", T0)[0]!.bytes);
    assert.equal([rst.flags & RST, rst.seq], [RST, ack]);
    // Its own handshake is none the worse for it.
    const own = (parseTcp(synAck!.bytes).seq + 1) % 2 ** 32;
    assert.is(feed(core, [segment({ ack: own })], T0)[0]!.verdict, CONSUMED);
    assert.is(core.f.pollEvent!(), 1);
  });

  test("takes no flow with a zero half", (core) => {
    open(core, SELF, FLOW);
    at(core);
    assert.is(core.f.mapSet!(LOCAL, SELF, 0x10000), core.constant("Err.ARGUMENT"));
  });
});

local.run();
