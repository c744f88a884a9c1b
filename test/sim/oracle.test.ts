/** What the simulator's judge lets pass and what it objects to, packet by packet. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Oracle, type Emitter } from "../../host/sim/oracle.ts";
import { ACK, FIN, RST, SYN, buildTcp, option } from "../../host/sim/packet.ts";

const oracles = suite("oracle of a simulated run");

const [CLIENT, SERVICE] = ["10.1.0.1", "10.0.0.100"];
const LB: Emitter = { name: "lb", life: 1, isForwarder: true, opens: true };
const LB2: Emitter = { ...LB, life: 2 };
const B1: Emitter = { name: "b1", life: 1, isForwarder: false, opens: false };
const B2: Emitter = { ...B1, name: "b2" };
const C1: Emitter = { ...B1, name: "c1", opens: true };
const C2: Emitter = { ...C1, name: "c2" };
const C3: Emitter = { ...C1, name: "c3" };
const C4: Emitter = { ...C1, name: "c4" };
const [ISS, IRS] = [1000, 5000];
const TIME_WAIT_US = 60_000_000;

function open(unreachable: readonly string[] = [], isInDoubt = false) {
  const oracle = new Oracle(
    [SERVICE],
    () => unreachable,
    () => 0,
    () => isInDoubt,
  );
  let ms = 1;
  const segment = (isClient: boolean, flags: number, seq: number, ack: number, length: number) => {
    const ends = isClient
      ? { source: CLIENT, destination: SERVICE, sourcePort: 4000, destinationPort: 80 }
      : { source: SERVICE, destination: CLIENT, sourcePort: 80, destinationPort: 4000 };
    const isPlain = (flags & RST) !== 0;
    const options = isPlain ? new Uint8Array(0) : option.timestamps(ms, 1);
    return buildTcp({
      ...ends,
      flags,
      seq,
      ack,
      options,
      payload: new Uint8Array(length),
      window: 500,
    });
  };
  const client = (flags: number, seq: number, ack = 0, length = 0): void => {
    oracle.watch(undefined, segment(true, flags, seq, ack, length), ms++ * 1000);
  };
  const service = (node: Emitter, flags: number, seq: number, ack = 0, length = 0): void => {
    oracle.watch(node, segment(false, flags, seq, ack, length), ms++ * 1000);
  };
  /** A connection that lb has accepted and b1 has. */
  const begin = (): void => {
    client(SYN, ISS);
    service(LB, SYN | ACK, IRS, ISS + 1);
    client(ACK, ISS + 1, IRS + 1, 10);
    service(B1, ACK, IRS + 1, ISS + 11);
  };
  const objections = (): string[] => {
    return oracle.violations.splice(0).map(({ invariant, what }) => {
      return `${invariant}: ${what.split(": ").at(-1) ?? ""}`;
    });
  };
  const damaged = (seq: number, ack: number) => oracle.damaged(segment(true, ACK, seq, ack, 0));
  const pass = (us: number): void => void (ms += us / 1000);
  return { oracle, client, service, begin, objections, damaged, pass };
}

/** The client's first segment, as the forwarder is given it. */
function syn(seq: number): Uint8Array {
  const ends = { source: CLIENT, destination: SERVICE, sourcePort: 4000, destinationPort: 80 };
  return buildTcp({ ...ends, flags: SYN, seq, ack: 0, window: 500 });
}

oracles("object to whoever speaks after another has taken over (I1)", () => {
  const { begin, service, objections } = open();
  begin();
  assert.equal(objections(), []);
  service(LB, ACK, IRS + 1, ISS + 11);
  assert.equal(objections(), ["I1: b1#1 has taken over from it"]);
  service(LB, SYN | ACK, IRS, ISS + 1);
  assert.equal(objections(), ["I1: b1#1 has taken over from it"]);
});

oracles(
  "let a SYN that comes late begin anew once a connection is over, and its answers pass",
  () => {
    for (const isServerFirst of [false, true]) {
      const { begin, client, service, objections } = open();
      begin();
      if (isServerFirst) service(B1, FIN | ACK, IRS + 1, ISS + 11);
      client(FIN | ACK, ISS + 11, isServerFirst ? IRS + 2 : IRS + 1);
      if (!isServerFirst) service(B1, FIN | ACK, IRS + 1, ISS + 12);
      else service(B1, ACK, IRS + 2, ISS + 12);
      client(ACK, ISS + 12, IRS + 2);
      service(LB, SYN | ACK, 9000, ISS + 1);
      if (isServerFirst) {
        assert.equal(objections(), ["I1: b1#1 has taken over from it"], "TIME-WAIT is in between");
        continue;
      }
      service(LB, ACK, 9001, ISS + 1);
      service(LB, RST, 9001);
      assert.equal(objections(), []);
      service(LB, ACK, 9001, ISS + 1, 5);
      assert.is(objections()[0], "I1: b1#1 has taken over from it", "it has nothing to say");
    }
  },
);

oracles("let a SYN that comes late begin anew after the client's RST", () => {
  const { begin, client, service, objections } = open();
  begin();
  client(RST, ISS + 11);
  service(LB, SYN | ACK, 9000, ISS + 1);
  assert.equal(objections(), []);
});

oracles("take a RST without a cause for a former connection's only by a number of that one", () => {
  const { begin, client, service, objections } = open();
  begin();
  client(FIN | ACK, ISS + 11, IRS + 1);
  service(B1, FIN | ACK, IRS + 1, ISS + 12);
  client(ACK, ISS + 12, IRS + 2);
  client(SYN, 90_000);
  service(LB, SYN | ACK, 200_000, 90_001);
  client(ACK, 90_001, 200_001);
  service(LB, RST, IRS + 2);
  assert.equal(objections(), [], "a late segment of the former one was answered");
  for (const seq of [IRS + 3, IRS - 1, 199_999, 200_001]) {
    service(LB, RST, seq);
    assert.equal(objections(), ["I3: RST without a cause"], `${seq}`);
  }
});

oracles("object to a RST in TIME-WAIT until its time is over", () => {
  const { begin, client, service, objections, pass } = open();
  begin();
  service(B1, FIN | ACK, IRS + 1, ISS + 11);
  client(FIN | ACK, ISS + 11, IRS + 2);
  service(B1, ACK, IRS + 2, ISS + 12);
  service(LB, RST, IRS + 2);
  assert.equal(objections(), ["I3: RST for a connection in TIME-WAIT"]);
  pass(TIME_WAIT_US);
  service(LB, RST, IRS + 2);
  assert.equal(objections(), []);
  service(LB, RST, IRS + 3);
  assert.equal(objections(), ["I3: RST by a number that nobody sent"]);
});

oracles(
  "take a probe of R20 by the numbers of what the client sent, or of what was damaged",
  () => {
    const { oracle, begin, client, service, objections, damaged } = open();
    begin();
    client(ACK, ISS + 11, IRS + 1);
    service(LB, ACK, IRS, ISS + 11);
    assert.equal(objections(), ["I1: b1#1 has taken over from it"], "there is no cause");
    oracle.allowReset(CLIENT, 4000, "b1 died");
    service(LB, ACK, IRS, ISS + 11);
    assert.equal(objections(), []);
    service(LB, ACK, 70_000 - 1, 80_000);
    assert.is(objections().length > 0, true, "numbers from nowhere");
    damaged(80_000, 70_000);
    service(LB, ACK, 70_000 - 1, 80_000);
    assert.equal(objections(), []);
  },
);

oracles("take RST and probe while a move is in doubt, damaged numbers or not", () => {
  for (const isInDoubt of [true, false]) {
    const { begin, client, service, objections, damaged } = open([], isInDoubt);
    begin();
    client(ACK, ISS + 11, IRS + 1);
    damaged(ISS + 7, IRS + 1);
    service(LB, RST, IRS + 1);
    assert.equal(objections(), []);
    service(LB, ACK, IRS, ISS + 11);
    assert.is(objections().length, isInDoubt ? 0 : 1);
  }
});

oracles("take a probe of R20 by the SND.NXT of an owner whose last bytes were lost", () => {
  const { oracle, begin, client, service, objections } = open();
  begin();
  client(ACK, ISS + 11, IRS + 1);
  service(B1, ACK, IRS + 1, ISS + 11, 100); // Lost.
  client(SYN, 90_000); // The client knows nothing of it any more.
  oracle.forwarderLost("lb");
  oracle.nodeLost("b1", "b1 died");
  service(LB2, ACK, IRS + 100, ISS + 11);
  assert.equal(objections(), [], "b1 had told the new forwarder");
  service(LB2, ACK, IRS + 101, ISS + 11);
  assert.is(objections()[0], "I1: a classifier's stack that never accepted it", "nobody sent that");
});

oracles("know the old connection of a node that a new forwarder has not heard yet", () => {
  for (const isAway of [true, false]) {
    const { oracle, client, service, objections } = open(isAway ? ["b2#1"] : []);
    client(SYN, ISS);
    service(LB, SYN | ACK, IRS, ISS + 1);
    client(ACK, ISS + 1, IRS + 1, 10);
    oracle.forwarderLost("lb");
    client(SYN, 90_000);
    service(LB2, SYN | ACK, 20_000, 90_001);
    service(B2, ACK, IRS + 1, ISS + 11);
    assert.is(objections().length > 0, !isAway, "the blob of the old connection was read late");
    service(B2, ACK, IRS + 1, ISS + 100);
    assert.is(objections().length > 0, true, "it acknowledges what no connection sent");
  }
});

oracles("know a SYN-ACK that the client did not take, and nothing else of its classifier", () => {
  const { client, service, objections } = open();
  client(SYN, ISS);
  service(C1, SYN | ACK, IRS, ISS + 1);
  service(C2, SYN | ACK, 70_000, ISS + 1);
  client(ACK, ISS + 1, 70_001);
  client(FIN | ACK, ISS + 1, 70_001);
  service(C2, FIN | ACK, 70_001, ISS + 2);
  client(ACK, ISS + 2, 70_002);
  client(SYN, 90_000);
  service(C2, SYN | ACK, 80_000, 90_001);
  service(C1, SYN | ACK, IRS, ISS + 1);
  service(C1, ACK, IRS + 1, ISS + 1);
  assert.equal(objections(), []);
  service(C1, RST, IRS + 1);
  assert.equal(objections(), [], "the number that the client would acknowledge");
  service(C1, RST, IRS + 2);
  assert.equal(objections(), ["I3: RST without a cause"]);
});

oracles("take no RST of an earlier connection's number for the end of this one", () => {
  const { client, service, objections } = open();
  client(SYN, ISS);
  service(C1, SYN | ACK, IRS, ISS + 1);
  client(RST, ISS - 500);
  service(C2, SYN | ACK, 70_000, ISS + 1);
  client(ACK, ISS + 1, 70_001, 10);
  service(C2, ACK, 70_001, ISS + 11);
  assert.equal(objections(), [], "the client took the second one's");
  service(C2, RST, 70_001);
  assert.equal(objections(), ["I3: RST without a cause"]);
});

oracles("let a client take the SYN-ACK of a second classifier after the first one's RST", () => {
  const { oracle, client, service, objections } = open();
  client(SYN, ISS);
  service(C1, SYN | ACK, IRS, ISS + 1);
  oracle.allowReset(CLIENT, 4000, "c1 gave up");
  service(C1, RST, IRS + 1);
  service(C2, SYN | ACK, 70_000, ISS + 1);
  client(ACK, ISS + 1, 70_001, 10);
  service(C2, ACK, 70_001, ISS + 11);
  assert.equal(objections(), []);
});

oracles(
  "know a SYN that was relayed before a connection was taken over, and answered after",
  () => {
    const { oracle, client, service, objections } = open();
    client(SYN, ISS);
    service(C1, SYN | ACK, IRS, ISS + 1);
    client(ACK, ISS + 1, IRS + 1, 10);
    service(B1, ACK, IRS + 1, ISS + 11);
    service(C2, SYN | ACK, 70_000, ISS + 1);
    assert.equal(objections(), []);
    service(C1, SYN | ACK, IRS, ISS + 1);
    service(LB, SYN | ACK, 80_000, ISS + 1);
    const twice = ["I1: b1#1 has taken over from it", "I1: b1#1 has taken over from it"];
    assert.equal(objections(), twice, "the one that had it, and the judge of mappings");
    oracle.heard(syn(ISS - 1));
    service(C3, SYN | ACK, 71_000, ISS + 1);
    assert.equal(objections(), [], "another SYN");
    oracle.heard(syn(ISS));
    service(C4, SYN | ACK, 72_000, ISS + 1);
    assert.equal(
      objections(),
      ["I1: b1#1 has taken over from it"],
      "the forwarder had the mapping",
    );
  },
);

oracles("take no crash of another forwarder for the end of what one has accepted", () => {
  const { oracle, client, service, objections } = open();
  client(SYN, ISS);
  service(LB, SYN | ACK, IRS, ISS + 1);
  assert.equal(oracle.forwarderLost("lb.1"), []);
  service({ ...LB, name: "lb.1" }, SYN | ACK, 70_000, ISS + 1);
  assert.equal(objections(), ["I1: forwarder lb#1 has taken over from it"]);
});

oracles("take no crash of the forwarder for a cause where nobody has answered the SYN", () => {
  for (const isAnswered of [true, false]) {
    const { oracle, client, service, objections } = open();
    client(SYN, ISS);
    if (isAnswered) service(LB, SYN | ACK, IRS, ISS + 1);
    assert.is(oracle.forwarderLost("lb").length, isAnswered ? 1 : 0);
    service(LB2, RST, isAnswered ? IRS + 1 : 5);
    assert.is(objections().length, isAnswered ? 0 : 1);
  }
});

oracles.run();
