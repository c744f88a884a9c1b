import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type BatchPacket,
  counter,
  drain,
  feed,
  initCore,
  setTuple,
  withAddress,
} from "../support/batch.ts";
import { type TestCore, onBothBuilds, u32 } from "../support/core.ts";
import {
  ACK,
  FIN,
  PSH,
  RST,
  SYN,
  type TcpPacket,
  buildIcmp,
  buildTcp,
  option,
  parseTcp,
} from "../support/packet.ts";

const stack = suite("encap/stack");

/** A node with everything: it accepts at the service address and also has flows of a forwarder. */
const VIP = "10.0.0.100";
const CLIENT = "192.0.2.1";
const OWN = "10.9.0.2";
const FORWARDER = "10.9.0.1";
const PEER = 3;
const FLOW = 0x00110022;
const PORT = 5000;
const ISS = 0xfffffff0; // the sequence numbers wrap within the first bytes
const T0 = 1_000_000;
const [ACTIVE, FROZEN, CLOSED] = [1, 2, 4] as const;
const [DROPPED, CONSUMED, HANDBACK] = [0, 1, 3] as const;
const MAP_TOMB = 3;

function open(core: TestCore): void {
  assert.is(initCore(core, {}, T0), 0);
  withAddress(core, OWN, core.f.tunnelSet!);
  withAddress(core, FORWARDER, (f, ptr) => core.f.peerSet!(PEER, f, ptr));
  const listen = core.constant("ServiceFlag.LISTEN");
  assert.is(
    withAddress(core, VIP, (f, ptr) => core.f.serviceAdd!(f, ptr, 80, 0, listen)),
    0,
  );
}

const direct = (extra: object) =>
  buildTcp({ source: CLIENT, destination: VIP, sourcePort: PORT, destinationPort: 80, ...extra });
const tunnelled = (extra: object) =>
  buildTcp({
    source: FORWARDER,
    destination: OWN,
    sourcePort: FLOW >>> 16,
    destinationPort: FLOW & 0xffff,
    ...extra,
  });

const sentBy = (core: TestCore, nowUs = T0): TcpPacket[] =>
  drain(core, "pollTransmit", nowUs).map(({ bytes }) => {
    const packet = parseTcp(bytes);
    assert.ok(packet.ipChecksumOk && packet.tcpChecksumOk);
    return packet;
  });

interface Peer {
  handle: number;
  /** The client's next sequence number, and what it acknowledges. */
  seq: number;
  ack: number;
}

/** Shakes hands directly with the service; returns the connection and the client's numbers. */
function accept(core: TestCore): Peer {
  feed(core, [direct({ seq: ISS, flags: SYN, options: option.mss(1460) })], T0);
  const [synAck] = sentBy(core);
  assert.is(synAck!.flags, SYN | ACK);
  const numbers = { seq: u32(ISS + 1), ack: u32(synAck!.seq + 1) };
  feed(core, [direct({ ...numbers, flags: ACK })], T0);
  assert.is(core.f.pollEvent!(), 1);
  const handle = core.view.getUint32(core.f.eventPtr!() + core.constant("EventOff.HANDLE"), true);
  return { handle, ...numbers };
}

function record(core: TestCore, state: number): void {
  setTuple(core, { remote: CLIENT, remotePort: PORT, local: VIP, localPort: 80 });
  assert.is(core.f.recordSet!(PEER, FLOW, state, T0), 0);
}

function received(core: TestCore, handle: number): string {
  let text = "";
  for (;;) {
    const len = core.f.readable!(handle, text.length);
    if (len <= 0) return text;
    const ptr = core.view.getUint32(core.f.spanPtr!(), true);
    text += Buffer.from(core.read(ptr, len)).toString();
  }
}

const text = (value: string) => new Uint8Array(Buffer.from(value));
const verdicts = (packets: BatchPacket[]) => packets.map(({ verdict }) => verdict);

onBothBuilds(stack, (test) => {
  test("delivers a connection's encapsulated segments as if they had come directly", (core) => {
    open(core);
    const client = accept(core);
    record(core, ACTIVE);
    const { seq, ack } = client;
    const data = tunnelled({ seq, ack, flags: ACK | PSH, payload: text("GET / HTTP/1.1\r\n") });
    assert.equal(verdicts(feed(core, [data], T0)), [CONSUMED]);
    assert.is(received(core, client.handle), "GET / HTTP/1.1\r\n");
    core.f.handleTimeout!(T0 + 500_000);
    const [answer] = sentBy(core, T0 + 500_000);
    assert.equal(
      [answer!.source, answer!.sourcePort, answer!.destination, answer!.destinationPort],
      [VIP, 80, CLIENT, PORT],
    );
    assert.is(answer!.ack, u32(seq + 16));
  });

  test("replays early packets in the order in which they came, once (C12)", (core) => {
    open(core);
    const { handle, seq, ack } = accept(core);
    const pieces = ["first ", "second ", "third ", "fourth"];
    let at = seq;
    const packets = pieces.map((piece) => {
      const packet = tunnelled({ seq: at, ack, flags: ACK, payload: text(piece) });
      at = u32(at + piece.length);
      return packet;
    });
    assert.equal(verdicts(feed(core, packets, T0)), [CONSUMED, CONSUMED, CONSUMED, CONSUMED]);
    assert.is(received(core, handle), "", "the connection does not own the flow yet");
    record(core, ACTIVE);
    assert.is(received(core, handle), pieces.join(""));
    assert.is(counter(core, "EARLY_REPLAYED"), 4);
    assert.is(counter(core, "TCP_SEGMENTS_IN"), 4 + 1, "each once, and the ACK of the handshake");
  });

  test("holds a frozen connection's segments and delivers them when it runs again", (core) => {
    open(core);
    const { handle, seq, ack } = accept(core);
    record(core, ACTIVE);
    assert.is(core.f.freeze!(handle), 0);
    record(core, FROZEN);
    const payload = text("while frozen");
    assert.equal(verdicts(feed(core, [tunnelled({ seq, ack, payload })], T0)), [CONSUMED]);
    assert.is(core.f.thaw!(handle, T0), 0);
    record(core, ACTIVE);
    assert.is(received(core, handle), "while frozen");
  });

  test("hands an acceptable SYN for a connection in TIME-WAIT back (R18)", (core) => {
    open(core);
    const { handle, seq, ack } = accept(core);
    record(core, ACTIVE);
    assert.is(core.f.connectionOwner!(handle, PEER, FLOW), 0);
    assert.is(core.f.shutdown!(handle, T0), 0);
    const fin = sentBy(core).find(({ flags }) => flags & FIN);
    assert.ok(fin, "a FIN leaves");
    const last = u32(ack + 1);
    feed(core, [tunnelled({ seq, ack: last, flags: FIN | ACK })], T0);
    sentBy(core);
    const syn = tunnelled({ seq: u32(seq + 1_000_000), flags: SYN, options: option.mss(1460) });
    const [packet] = feed(core, [syn], T0 + 5_000_000);
    assert.equal(
      [packet!.verdict, packet!.peer, packet!.flow, packet!.record],
      [HANDBACK, PEER, FLOW, CLOSED],
    );
    assert.is(parseTcp(packet!.bytes).source, CLIENT, "as the client sent it");
  });

  test("refuses a stranger's segment from the service address, with its own numbers", (core) => {
    open(core);
    feed(core, [direct({ seq: 7, ack: 4242, flags: ACK })], T0);
    const [rst] = sentBy(core);
    assert.equal(
      [rst!.flags, rst!.seq, rst!.source, rst!.sourcePort, rst!.destination],
      [RST, 4242, VIP, 80, CLIENT],
    );
    feed(core, [direct({ seq: 7, ack: 4242, flags: RST | ACK })], T0);
    assert.is(sentBy(core).length, 0, "a RST is never answered");
  });

  test("answers data on a tombstone with an exact RST, and a SYN or RST not at all (R16)", (core) => {
    open(core);
    setTuple(core, { remote: CLIENT, remotePort: PORT, local: VIP, localPort: 80 });
    assert.is(core.f.mapSet!(MAP_TOMB, PEER, FLOW), 0);
    const numbers = { seq: 7, ack: 4242 };
    const packets = [SYN, RST, ACK].map((flags) => direct({ ...numbers, flags }));
    assert.equal(verdicts(feed(core, packets, T0)), [DROPPED, DROPPED, DROPPED]);
    const out = sentBy(core);
    assert.equal(
      out.map(({ flags, seq }) => [flags, seq]),
      [[RST, 4242]],
    );
  });

  test("gives an ICMP error to the own stack when the connection is there", (core) => {
    open(core);
    const { ack } = accept(core);
    const quoted = buildTcp({
      source: VIP,
      destination: CLIENT,
      sourcePort: 80,
      destinationPort: PORT,
      seq: ack,
    });
    const router = { source: "203.0.113.9", destination: VIP };
    const error = buildIcmp({ ...router, type: 3, code: 4, rest: 1300, body: quoted });
    assert.equal(verdicts(feed(core, [error], T0)), [CONSUMED]);
    assert.is(counter(core, "ICMP_LOCAL"), 1);
  });

  test("verifies checksums of what the own stack reads, directly or encapsulated", (core) => {
    open(core);
    const { handle, seq, ack } = accept(core);
    record(core, ACTIVE);
    const bad = { seq, ack, payload: text("bad"), tcpChecksum: 0x1234 };
    assert.equal(verdicts(feed(core, [direct(bad), tunnelled(bad)], T0)), [DROPPED, DROPPED]);
    assert.is(counter(core, "TCP_CHECKSUM"), 2);
    assert.is(received(core, handle), "");
  });

  test("sends resets of R20 beside what the stack has to send", (core) => {
    open(core);
    setTuple(core, { remote: CLIENT, remotePort: 77, local: VIP, localPort: 80 });
    assert.is(core.f.mapSet!(1, PEER, FLOW), 0);
    assert.is(core.f.mapReset!(T0, 1), 0);
    feed(core, [direct({ seq: ISS, flags: SYN, options: option.mss(1460) })], T0);
    const kinds = sentBy(core).map(({ flags, destinationPort }) => [flags, destinationPort]);
    assert.equal(
      kinds.sort(),
      [
        [RST, 77],
        [ACK, 77],
        [SYN | ACK, PORT],
      ].sort(),
    );
  });
});

stack.run();
