/**
 * Packets that a forwarder relayed before a verdict and that come after it (PROTOCOL R24), at a real classifier: they
 * go back to be looked up again, and nothing else does.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Message } from "../../host/node/messages.ts";
import { TIMERS } from "../../host/node/timers.ts";
import type { NodeId } from "../../host/transport/transport.ts";
import { ACK, SYN, parseTcp } from "../support/packet.ts";
import { A, B, BACKEND, Stage, epochOf, type Client } from "./classifierstage.ts";

const overtaken = suite("overtaken");

const GET = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
const FLOW = 0x0001_0001;

type Verdict = "done" | "resume" | "aborted";

/** The last message of a type, and what its sender wants to hear of it. */
function last<T extends Message["type"]>(stage: Stage, type: T) {
  const found = stage.sent.filter(({ message }) => message.type === type).at(-1);
  assert.ok(found, `no ${type}`);
  return { message: found.message as Message & { type: T }, options: found.options };
}

/** A client that has connected, asked, and stands still between classifier and backend. */
function frozen(stage: Stage, client: Client, flow = FLOW): void {
  stage.say(client, { flags: SYN });
  stage.turn();
  const ack = (client.answer ?? 0) + 1;
  stage.say(client, { flags: ACK, seq: client.iss + 1, ack, payload: GET });
  stage.turn();
  const { forwarder } = client;
  const { attempt } = last(stage, "reserve").message;
  const epochs = { forwarderEpoch: epochOf(forwarder), targetEpoch: "2".repeat(32) };
  stage.tell(forwarder, { type: "grant", flow, attempt, target: BACKEND, ...epochs });
  stage.turn();
  assert.is(last(stage, "move").message.flow, flow);
  client.answer = undefined;
}

function acknowledgeMove(stage: Stage): void {
  last(stage, "move").options?.onOutcome?.("delivered");
}

/** The forwarder speaks: everything that it has relayed was looked up before. */
function speak(stage: Stage, verdict: Verdict, forwarder: NodeId = A, flow = FLOW): void {
  const relayed = stage.relayed.get(forwarder) ?? 0;
  const forwarderEpoch = epochOf(forwarder);
  stage.tell(forwarder, { type: "verdict", flow, forwarderEpoch, verdict, relayed });
}

/** The client uses its port again. */
function reopen(stage: Stage, client: Client, order?: number): void {
  stage.say(client, { flags: SYN, seq: client.iss + 100_000 }, order);
}

/** SYNs that went back, whether because a verdict overtook them. */
function back(stage: Stage): boolean[] {
  return stage.returned.flatMap(({ message }) =>
    parseTcp(message.packet).flags === SYN ? [message.isOvertaken] : [],
  );
}

for (const verdict of ["done", "aborted"] as const) {
  overtaken(`a SYN that was relayed before ${verdict} and comes after it goes back`, () => {
    const stage = new Stage();
    const client = stage.client(A, 1);
    frozen(stage, client);
    acknowledgeMove(stage);
    const early = stage.next(A);
    speak(stage, verdict);
    stage.turn();
    reopen(stage, client, early);
    stage.turn();
    assert.equal(back(stage), [true]);
    assert.is(client.answer, undefined, "no second stack answers");
    assert.is(stage.role.counters.overtaken, 1);
    // The forwarder has looked it up again: nobody has the connection any more.
    reopen(stage, client);
    stage.turn();
    assert.equal(back(stage), [true], "once");
    assert.is.not(client.answer, undefined);
  });
}

overtaken("what comes in the turn of a verdict, and before it, is not overtaken by it", () => {
  const stage = new Stage();
  const [client, other] = [stage.client(A, 1), stage.client(A, 2)];
  frozen(stage, client);
  stage.say(other, { flags: SYN });
  reopen(stage, client);
  speak(stage, "done");
  stage.turn();
  assert.is.not(other.answer, undefined);
  assert.is(client.answer, undefined);
  assert.equal(back(stage), [true], "it waited with the connection that left");
  assert.is(stage.role.counters.overtaken, 0);
});

overtaken("what waited for a connection that runs again is its own", () => {
  const stage = new Stage();
  const client = stage.client(A, 1);
  frozen(stage, client);
  reopen(stage, client);
  speak(stage, "resume");
  stage.turn();
  assert.equal(back(stage), []);
  assert.is(client.answer, undefined, "a challenge ACK is no SYN-ACK");
});

overtaken("one forwarder's verdict overtakes nothing of another's", () => {
  const stage = new Stage();
  const [client, other] = [stage.client(A, 1), stage.client(B, 2)];
  const early = stage.next(B);
  frozen(stage, client);
  speak(stage, "done");
  reopen(stage, other, early);
  stage.turn();
  assert.is.not(other.answer, undefined);
  assert.equal(back(stage), []);
});

overtaken("verdicts come in any order, and again", () => {
  const stage = new Stage();
  const [first, second] = [stage.client(A, 1), stage.client(A, 2)];
  frozen(stage, first, FLOW);
  frozen(stage, second, FLOW + 1);
  const forwarderEpoch = epochOf(A);
  const verdict = { type: "verdict", verdict: "done", forwarderEpoch } as const;
  stage.tell(A, { ...verdict, flow: FLOW + 1, relayed: 20 });
  stage.tell(A, { ...verdict, flow: FLOW, relayed: 10 });
  stage.tell(A, { ...verdict, flow: FLOW, relayed: 10 });
  for (const order of [10, 20, 21]) reopen(stage, first, order);
  stage.turn();
  assert.equal(back(stage), [true, true]);
});

overtaken("a forwarder's new epoch counts from the beginning", () => {
  const stage = new Stage();
  const client = stage.client(A, 1);
  frozen(stage, client);
  stage.tell(A, {
    type: "verdict",
    flow: FLOW,
    forwarderEpoch: epochOf(A),
    verdict: "done",
    relayed: 1_000_000,
  });
  stage.role.peerEpoch(A, "f".repeat(32));
  reopen(stage, client, 1);
  stage.turn();
  assert.equal(back(stage), []);
  assert.is.not(client.answer, undefined);
});

overtaken("a copy that was given up takes no packets before the verdict is here (R7)", () => {
  const stage = new Stage();
  const client = stage.client(A, 1);
  frozen(stage, client);
  const early = stage.next(A);
  stage.turn(TIMERS.frozenUs);
  assert.is(stage.role.migrator.counters["given-up"], 1);
  reopen(stage, client, early);
  reopen(stage, client);
  stage.turn();
  assert.equal(back(stage), [false, false], "nothing is known here");
  speak(stage, "aborted");
  reopen(stage, client, early);
  stage.turn();
  assert.equal(back(stage), [false, false, true]);
  reopen(stage, client);
  stage.turn();
  assert.is.not(client.answer, undefined);
});

overtaken("nor before the forwarder that would speak it is over", () => {
  const stage = new Stage();
  const client = stage.client(A, 1);
  frozen(stage, client);
  stage.turn(TIMERS.frozenUs);
  stage.role.peerEpoch(A, "f".repeat(32));
  reopen(stage, client, 1);
  stage.turn();
  assert.equal(back(stage), []);
  assert.is.not(client.answer, undefined);
});

overtaken.run();
