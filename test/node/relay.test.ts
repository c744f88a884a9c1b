/** Which classifier is asked for a connection, and who is asked next. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Mapping } from "../../host/node/book.ts";
import { Peers } from "../../host/node/peers.ts";
import { Relay } from "../../host/node/relay.ts";
import type { RelayMessage } from "../../host/node/messages.ts";
import { TIMERS } from "../../host/node/timers.ts";
import type { NodeId } from "../../host/transport/transport.ts";
import { ACK, SYN, buildTcp } from "../support/packet.ts";

const relay = suite("relay");

const F = "f".repeat(16);
const IDS = ["a", "b", "c"].map((letter) => letter.repeat(16));

class Stage {
  us = 1_000_000;
  readonly clock = { nowUs: () => this.us, wallMs: () => 0 };
  readonly peers: Peers;
  readonly relay: Relay;
  readonly sent: { node: NodeId; message: RelayMessage }[] = [];
  readonly again: Uint8Array[] = [];
  readonly refused: Uint8Array[] = [];
  mapping: Mapping | undefined;
  isRecovering = false;
  readonly questions: NodeId[] = [];

  constructor(readonly ids: readonly NodeId[] = IDS) {
    this.peers = new Peers(F, ids, this.clock, TIMERS);
    this.relay = new Relay(ids, {
      peers: this.peers,
      isRecovering: () => this.isRecovering,
      mapping: () => this.mapping,
      send: (node, message) => this.sent.push({ node, message }),
      question: (node) => this.questions.push(node),
      reinject: (packet) => this.again.push(packet),
      refuse: (packet) => this.refused.push(packet),
    });
    for (const id of ids) this.well(id);
  }

  well(id: NodeId): void {
    const peer = this.peers.get(id)!;
    const is = { serving: true, draining: false, credits: 10, heardUs: this.us };
    Object.assign(peer, { epoch: "1".repeat(32), isDead: false, isSynced: true, ...is });
  }

  /** The node that a packet goes to. */
  pass(packet: Uint8Array): NodeId | undefined {
    this.sent.length = 0;
    this.relay.pass(packet, undefined, undefined);
    return this.sent[0]?.node;
  }

  /** Everybody who is asked for this packet's connection, in order, when nobody knows it. */
  chain(packet: Uint8Array): NodeId[] {
    const asked: NodeId[] = [];
    this.sent.length = 0;
    this.relay.pass(packet, undefined, undefined);
    for (let next = this.sent.shift(); next && asked.length < 100; next = this.sent.shift()) {
      asked.push(next.node);
      this.relay.returned(next.node, next.message);
    }
    return asked;
  }
}

const packet = (port: number, flags = ACK): Uint8Array =>
  buildTcp({
    source: "10.1.0.2",
    destination: "10.0.0.100",
    sourcePort: port,
    destinationPort: 80,
    flags,
  });
const RELAYED = { type: "relay", asked: 0, order: 1, isOvertaken: false, hint: undefined } as const;
const PORTS = Array.from({ length: 300 }, (_, index) => 20_000 + index);

relay("gives every classifier a share, and each connection to one for all its packets", () => {
  const stage = new Stage();
  const shares = new Map<string, number>();
  for (const port of PORTS) {
    const node = stage.pass(packet(port, SYN)) ?? "";
    assert.is(stage.pass(packet(port)), node);
    shares.set(node, (shares.get(node) ?? 0) + 1);
  }
  assert.equal([...shares.keys()].sort(), IDS);
  for (const share of shares.values()) assert.ok(share > 60, `a share of ${share} of 300`);
});

relay("moves only the share of a classifier that is suspect, drains or has no room", () => {
  const stage = new Stage();
  const before = PORTS.map((port) => stage.pass(packet(port, SYN)));
  const [a = ""] = IDS;
  const changes = [
    () => (stage.peers.get(a)!.draining = true),
    () => (stage.peers.get(a)!.credits = 0),
    () => (stage.peers.get(a)!.isDead = true),
    () => (stage.peers.get(a)!.heardUs = stage.us - 800_000),
  ];
  for (const change of changes) {
    stage.well(a);
    change();
    PORTS.forEach((port, index) => {
      const now = stage.pass(packet(port, SYN));
      if (before[index] === a) assert.is.not(now, a);
      else assert.is(now, before[index]);
    });
  }
});

relay("sends a draining classifier what is not a SYN", () => {
  const stage = new Stage();
  const [a = ""] = IDS;
  const port = PORTS.find((each) => stage.pass(packet(each, SYN)) === a)!;
  stage.peers.get(a)!.draining = true;
  assert.is(stage.pass(packet(port)), a);
  assert.is.not(stage.pass(packet(port, SYN)), a);
});

relay("asks everybody who may have a connection once, suspects last, then refuses", () => {
  const stage = new Stage();
  for (const port of PORTS.slice(0, 40)) {
    const first = stage.pass(packet(port));
    assert.equal(stage.chain(packet(port)).sort(), IDS);
    stage.peers.get(first!)!.heardUs = stage.us - 800_000;
    const asked = stage.chain(packet(port));
    assert.is(asked.length, 3);
    assert.is(asked[2], first, "the suspect one comes last");
    stage.peers.get(first!)!.isDead = true;
    assert.is(stage.chain(packet(port)).includes(first!), false, "the dead one has lost it");
    stage.well(first!);
  }
  assert.is(stage.refused.length, 120);
});

relay("asks on when the order changes between two answers, and nobody twice", () => {
  const stage = new Stage();
  const [port = 0] = PORTS;
  const [first = ""] = stage.chain(packet(port));
  stage.peers.get(first)!.heardUs = stage.us - 800_000;
  stage.relay.pass(packet(port), undefined, undefined);
  const other = stage.sent.pop()!;
  stage.well(first); // It is the first choice again.
  stage.relay.returned(other.node, other.message);
  const next = stage.sent.pop()!;
  assert.is(next.node, first);
  stage.relay.returned(next.node, next.message);
  const last = stage.sent.pop()!;
  assert.is.not(last.node, first);
  assert.is.not(last.node, other.node);
});

relay("drops a SYN that nobody takes: a RST would send the client away", () => {
  const stage = new Stage();
  for (const id of IDS) stage.peers.get(id)!.isDead = true;
  assert.is(stage.pass(packet(PORTS[0]!, SYN)), undefined);
  assert.is(stage.relay.counters.synDropped, 1);
  assert.equal(stage.refused, []);
  stage.pass(packet(PORTS[0]!));
  assert.is(stage.refused.length, 1);
});

relay("looks up what comes back: the connection may have moved meanwhile", () => {
  const stage = new Stage();
  const [a = "", b = ""] = IDS;
  const message = { ...RELAYED, packet: packet(1) };
  stage.mapping = { action: "forward", node: b, flow: 0x10001 };
  stage.relay.returned(a, message);
  assert.equal(stage.again, [message.packet]);
  stage.mapping = { action: "classifier", node: a, flow: 0 };
  stage.relay.returned(a, message);
  assert.is(stage.relay.counters.bounced, 1);
  assert.equal(stage.questions, [a], "its end was lost, or is on its way");
  assert.is(stage.again.length, 1);
  stage.mapping = undefined;
  stage.isRecovering = true;
  stage.relay.returned(a, message);
  assert.equal([stage.sent, stage.refused], [[], []], "R17: nothing is known for certain");
});

relay("numbers what it relays, and looks up again what a verdict has overtaken (R24)", () => {
  const stage = new Stage(IDS.slice(0, 1));
  const [a = ""] = IDS;
  stage.pass(packet(1, SYN));
  const first = stage.sent.pop()!.message;
  stage.pass(packet(2));
  assert.equal([first.order, stage.sent.pop()!.message.order, stage.relay.speak()], [1, 2, 2]);
  const late = { ...first, isOvertaken: true };
  stage.relay.returned(a, late);
  assert.equal(stage.again, [late.packet], "nobody has it: the same one may be asked again");
  assert.equal([stage.sent, stage.relay.counters.synDropped], [[], 0]);
  stage.relay.returned(a, first);
  assert.is(stage.relay.counters.synDropped, 1, "nothing is known of it, and nobody else is there");
  stage.relay.returned(a, { ...late, order: 3 });
  assert.equal([stage.again.length, stage.relay.counters.overtaken], [1, 1], "by no verdict");
  stage.isRecovering = true;
  stage.relay.returned(a, late);
  assert.is(stage.again.length, 1, "R17: nothing is known for certain");
});

relay("sends a mapped connection's packets to its classifier, whoever is the first choice", () => {
  const stage = new Stage();
  for (const id of IDS) {
    stage.relay.pass(packet(1), id, { sndNxt: 5, tsVal: 6 });
    const { node, message } = stage.sent.pop()!;
    assert.is(node, id);
    assert.equal(message.hint, { sndNxt: 5, tsVal: 6 });
  }
});

relay("works with more classifiers than a message has places for", () => {
  const many = Array.from({ length: 40 }, (_, index) => index.toString(16).padStart(16, "0"));
  const stage = new Stage(many);
  const asked = stage.chain(packet(1));
  assert.is(asked.length, 32);
  assert.is(new Set(asked).size, 32);
  assert.is(stage.refused.length, 1);
});

relay.run();
