/** The numbered rules of PROTOCOL that bind the forwarder, and the verdicts of section 7, each by name. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { HandbackMessage } from "../../host/node/messages.ts";
import { TIMERS } from "../../host/node/timers.ts";
import { F, TUPLE, World } from "./model.ts";

const rules = suite("rules");
const A = "a".repeat(16);
const B = "b".repeat(16);
const C = "c".repeat(16);

/** B owns the connection. */
function owned(): World {
  const world = new World([A, B, C]);
  for (const id of world.ids) world.hello(id);
  world.settle();
  world.node(A).accept(TUPLE);
  world.beat();
  world.migrate(A, B);
  world.settle();
  return world;
}

/** B is frozen; MOVE is there, the blob is not. */
function pending(): World {
  const world = owned();
  world.migrate(B, C);
  world.flow("reserve", "grant", "move");
  return world;
}

/** ABORTED: the outcome was unknown. */
function buried(): World {
  const world = pending();
  world.pass(TIMERS.moveUs + 100_000);
  world.pass(TIMERS.resolveUs + 100_000);
  assert.is(world.judge.stateOf(TUPLE), "tomb");
  return world;
}

function epochs(world: World) {
  const { forwarderEpoch, targetEpoch } = world.last("grant");
  return { forwarderEpoch, targetEpoch };
}

rules(
  "R9: a tombstone answers ACCEPT with FORGET, RESERVE with DENY and FORGET, MOVE with ABORTED",
  () => {
    const world = buried();
    const { flow } = world.last("grant");
    const forgets = world.countOf("forget");
    world.tell(C, { type: "accept", flow, ...epochs(world) });
    assert.is(world.countOf("forget"), forgets + 1);
    const target = { kind: "node", id: A } as const;
    world.tell(C, { type: "reserve", flow, attempt: 1, tuple: TUPLE, target });
    assert.is(world.last("deny").reason, "aborted");
    assert.is(world.countOf("forget"), forgets + 2);
    const verdicts = world.countOf("verdict");
    world.deliver(world.message("move"));
    assert.is(world.countOf("verdict"), verdicts + 1);
    assert.is(world.last("verdict").verdict, "aborted");
    assert.is(world.judge.stateOf(TUPLE), "tomb");
  },
);

rules("R10: RELEASE of a flow that is not the owner's removes nothing", () => {
  const world = owned();
  const flow = world.table.get(TUPLE)?.flow ?? 0;
  for (const item of [
    { flow: flow + 1, cause: "closed", tuple: TUPLE },
    { flow: 0, cause: "closed", tuple: TUPLE },
  ] as const) {
    world.tell(B, { type: "release", items: [item] });
  }
  world.tell(C, { type: "release", items: [{ flow, cause: "closed", tuple: TUPLE }] });
  assert.is(world.judge.stateOf(TUPLE), "owned");
  assert.is(world.table.get(TUPLE)?.flow, flow);
});

rules("R10: a verdict is repeated to its source when that asks again, and only to it", () => {
  const world = buried();
  const { flow } = world.last("grant");
  const verdicts = world.countOf("verdict");
  world.tell(B, { type: "cancel", flow });
  assert.is(world.countOf("verdict"), verdicts + 1);
  world.tell(A, { type: "cancel", flow });
  assert.is(world.countOf("verdict"), verdicts + 1);
});

rules("R11: a dead or restarted target is no refusal", () => {
  for (const fail of ["dead", "restarted"]) {
    const world = pending();
    if (fail === "dead") world.judge.declareDead(C);
    else {
      world.crash(C);
      world.hello(C);
    }
    assert.is(world.last("verdict").verdict, "aborted", fail);
    world.settle();
    assert.is(world.node(B).copies.size, 0, "the old copy never runs again");
  }
});

rules("R11: REFUSE from another boot epoch than the grant names changes nothing", () => {
  const world = pending();
  const { flow } = world.last("grant");
  const refusal = { type: "refuse", flow, reason: "full", connection: undefined } as const;
  world.judge.handle(C, "9".repeat(32), { ...refusal, ...epochs(world) });
  world.tell(A, { ...refusal, ...epochs(world) });
  assert.is(world.judge.stateOf(TUPLE), "pending");
});

rules("R12: a REFUSE after ABORTED is too late", () => {
  const world = buried();
  const { flow } = world.last("grant");
  const refusal = { type: "refuse", flow, reason: "full", connection: undefined } as const;
  world.tell(C, { ...refusal, ...epochs(world) });
  assert.is(world.last("verdict").verdict, "aborted");
  assert.is(world.judge.counters["verdict-resume"], undefined);
  world.settle();
  assert.is(world.node(B).running(), undefined);
});

rules("R13: a blob is passed on only while its flow is open", () => {
  const world = pending();
  const blob = world.last("blob");
  const { source, flow } = blob;
  const target = world.last("grant").target;
  assert.is(world.judge.heirOf(source, blob), target);
  assert.is(world.judge.heirOf(target, blob), undefined, "only from its owner");
  assert.is(world.judge.heirOf(source, { ...blob, flow: flow + 1 }), undefined);
  const previous = { ...blob, flow: world.last("move").previous };
  assert.is(world.judge.heirOf(source, previous), undefined, "the old flow is not the new");
  const other = "7".repeat(32);
  assert.is(world.judge.heirOf(source, { ...blob, sourceEpoch: other }), undefined);
  assert.is(world.judge.heirOf(source, { ...blob, targetEpoch: other }), undefined);
  world.settle();
  assert.is(world.judge.heirOf(source, blob), undefined);
  const tomb = buried();
  const late = tomb.last("blob");
  assert.is(tomb.judge.heirOf(late.source, late), undefined);
});

rules("R14: nothing is taken from a dead boot epoch; it is answered DEAD", () => {
  const world = owned();
  world.judge.declareDead(B);
  const deads = world.countOf("dead");
  const flow = world.table.get(TUPLE)?.flow ?? 0;
  world.tell(B, { type: "release", items: [{ flow, cause: "closed", tuple: TUPLE }] });
  assert.is(world.countOf("dead"), deads + 1);
  assert.is(world.judge.stateOf(TUPLE), "tomb");
});

rules(
  "R14: 3 missed heartbeats stop new connections, and a suspect that returns keeps its flows",
  () => {
    const world = owned();
    world.us += 900_000;
    world.fire();
    const peer = world.judge.peers.get(B);
    assert.ok(peer && world.judge.peers.isSuspect(peer) && !peer.isDead);
    world.beat();
    assert.not.ok(world.judge.peers.isSuspect(peer));
    assert.is(world.table.get(TUPLE)?.node, B);
    world.us += 5_100_000;
    world.fire();
    assert.ok(peer.isDead, "5 s of silence");
  },
);

rules(
  "a closed port and 3 missed heartbeats together are death, in whichever order they come",
  () => {
    for (const isClosedFirst of [true, false]) {
      const world = owned();
      if (isClosedFirst) world.judge.handleUnreachable(B);
      const dueUs = world.judge.nextTimeoutUs();
      world.us += 700_000;
      world.fire();
      assert.not.ok(world.judge.peers.get(B)?.isDead, "its silence is short");
      world.us += 100_000;
      if (isClosedFirst) assert.ok(dueUs <= world.us, "nobody else need wake the judge");
      else world.judge.handleUnreachable(B);
      world.fire();
      assert.ok(world.judge.peers.get(B)?.isDead);
      assert.is(world.judge.stateOf(TUPLE), "tomb");
      assert.not.ok(world.judge.peers.get(C)?.isDead);
    }
  },
);

rules("a closed port means nothing when its node is heard again", () => {
  const world = owned();
  world.judge.handleUnreachable(B);
  world.beat();
  world.us += 2_000_000;
  world.fire();
  assert.not.ok(world.judge.peers.get(B)?.isDead);
});

rules("a forwarder that stood still takes its own silence for nobody else's", () => {
  const world = owned();
  world.us += 20_000_000;
  world.judge.stoodStill(19_800_000);
  world.fire();
  for (const id of [B, C]) {
    const peer = world.judge.peers.get(id);
    assert.ok(peer && !peer.isDead && !world.judge.peers.isSuspect(peer));
  }
  world.us += 5_100_000;
  world.fire();
  assert.ok(world.judge.peers.get(B)?.isDead, "silent after that");
});

rules(
  "R17: recovers until every node has reported or T_RECOVER is over; grants nothing before",
  () => {
    const world = owned();
    world.crashForwarder();
    assert.ok(world.table.isRecovering);
    world.hello(B);
    world.settle();
    const target = { kind: "node", id: C } as const;
    const flow = world.table.get(TUPLE)?.flow ?? 0;
    world.tell(B, { type: "reserve", flow, attempt: 99, tuple: TUPLE, target });
    assert.is(world.last("deny").reason, "recovering");
    assert.ok(world.table.isRecovering);
    world.us += 3_100_000;
    world.fire();
    assert.not.ok(world.table.isRecovering);

    const other = owned();
    other.crashForwarder();
    for (const id of other.ids) other.hello(id);
    other.settle();
    assert.not.ok(other.judge.isRecovering, "all have answered");
  },
);

rules("R20: a restarted forwarder knows of a silent client what its owner reported", () => {
  const world = owned();
  world.crashForwarder();
  for (const id of world.ids) world.hello(id);
  world.settle();
  assert.equal(world.table.noted, [TUPLE], "the owner may die before the client says anything");
});

rules(
  "R20: what a MOVE says of a silent client is noted, also when ACCEPT has overtaken it",
  () => {
    const world = owned();
    const before = world.table.noted.length;
    world.migrate(B, C);
    world.flow("reserve", "grant");
    const move = world.message("move");
    world.flow("blob", "accept");
    assert.is(world.table.get(TUPLE)?.node, C);
    assert.is(world.table.noted.length, before);
    world.deliver(move);
    assert.is(world.table.noted.length, before + 1, "C may die before the client says anything");
    world.settle();
    world.migrate(C, A);
    world.settle();
    const after = world.table.noted.length;
    world.deliver(move);
    assert.is(world.table.noted.length, after, "it is another owner's by now");
  },
);

rules(
  "a flow released before its node's SYNC arrives is not adopted from it: the cut is older",
  () => {
    const world = owned();
    const flow = world.table.get(TUPLE)?.flow ?? 0;
    world.crashForwarder();
    world.hello(B);
    const sync = world.message("sync");
    world.tell(B, { type: "release", items: [{ flow, cause: "closed", tuple: TUPLE }] });
    world.deliver(sync);
    assert.is(world.judge.counters["claim-released"], 1);
    assert.is(world.table.get(TUPLE), undefined);
  },
);

rules(
  "R19: HANDBACK applies the record first, then looks the packet up once, and not to where it was",
  () => {
    const packet = Uint8Array.of(1, 2, 3);
    const handback = (flow: number, record: HandbackMessage["record"]): HandbackMessage => {
      return { type: "handback", flow, record, tuple: TUPLE, hint: undefined, packet };
    };
    const closed = owned();
    const flow = closed.table.get(TUPLE)?.flow ?? 0;
    closed.tell(B, handback(flow, "closed"));
    assert.is(closed.judge.stateOf(TUPLE), "none");
    assert.is(closed.reinjected.length, 1);

    const refused = pending();
    const next = refused.last("grant").flow;
    refused.tell(C, { ...handback(next, "poisoned"), tuple: undefined });
    assert.is(refused.last("verdict").verdict, "resume");
    assert.is(refused.table.get(TUPLE)?.node, B);
    assert.equal(
      refused.reinjected,
      [{ packet, tuple: TUPLE }],
      "still encapsulated: with its tuple",
    );

    const none = owned();
    none.node(B).records.delete(none.table.get(TUPLE)?.flow ?? 0);
    none.tell(B, handback(none.table.get(TUPLE)?.flow ?? 0, "none"));
    none.settle();
    assert.is(none.judge.stateOf(TUPLE), "none", "its owner says again that it does not know it");

    const moved = pending();
    moved.tell(B, handback(moved.last("move").previous, "frozen"));
    assert.is(moved.reinjected.length, 1, "goes on to new");
    moved.tell(C, handback(moved.last("grant").flow, "frozen"));
    assert.is(moved.reinjected.length, 1, "would go back where it came from: dropped");
    moved.tell(C, { ...handback(0x00050005, "none"), tuple: undefined });
    assert.is(moved.judge.counters["handback-unknown"], 1);
  },
);

rules("R19: what a node did not know when a packet was early, it may own since: F asks", () => {
  const world = owned();
  const flow = world.table.get(TUPLE)?.flow ?? 0;
  const early = Uint8Array.of(1, 2, 3);
  const handback = { flow, record: "none", tuple: TUPLE, hint: undefined, packet: early } as const;
  world.tell(B, { type: "handback", ...handback });
  world.tell(B, { type: "handback", ...handback });
  assert.is(world.judge.stateOf(TUPLE), "owned", "ACCEPT overtook the packets it came with");
  assert.is(world.countOf("query"), 1, "one question at a time");
  world.settle();
  assert.is(world.last("answer").items[0]?.record, "active");
  assert.is(world.judge.stateOf(TUPLE), "owned");
  world.tell(B, { type: "handback", ...handback });
  assert.is(world.countOf("query"), 2, "it was answered: the next may be asked");
});

rules(
  "R19: while a blob is on its way F does not ask: the answer could be older than ACCEPT",
  () => {
    const world = pending();
    const { flow } = world.last("grant");
    const packet = Uint8Array.of(1, 2, 3);
    const record = "none";
    world.tell(C, { type: "handback", flow, record, tuple: TUPLE, hint: undefined, packet });
    assert.is(world.countOf("query"), 0);
    world.settle();
    assert.is(world.judge.stateOf(TUPLE), "owned");
  },
);

rules("R21: a blob refused for its old epoch whose source is gone resets the client", () => {
  const world = pending();
  world.crash(B);
  world.crashForwarder();
  for (const id of world.ids) world.hello(id);
  world.settle();
  assert.is(world.last("refuse").reason, "stale-epoch");
  world.fire();
  assert.is(world.judge.stateOf(TUPLE), "tomb");
  assert.ok(world.table.resets.length > 0);
});

rules("R23: an aborted identifier rests only after its node has confirmed", () => {
  const world = buried();
  const { flow } = world.last("grant");
  const ids = world.judge["book"].ids;
  assert.ok(ids);
  const before = ids?.inUse ?? 0;
  world.pass(10_000_000);
  assert.is(ids?.inUse, before);
  world.flow("forget", "forgotten");
  assert.ok((ids?.inUse ?? 0) < before);
  assert.not.ok(ids?.release(flow), "it rests already");
});

rules("identifiers come back into quarantine however a connection ends", () => {
  const world = owned();
  const ids = world.judge["book"].ids;
  for (let n = 0; n < 20; n++) {
    world.beat();
    const from = world.nodes.find((node) => node.running() !== undefined)?.id ?? A;
    const to = [A, B, C].find((id) => id !== from) ?? B;
    world.node(to).refusal = n % 3 === 0 ? "full" : undefined;
    world.migrate(from, to);
    world.settle();
    assert.is(ids?.inUse, 1);
  }
  world.close(world.nodes.find((node) => node.running() !== undefined)?.id ?? A);
  world.pass(10_000);
  world.settle();
  assert.is(ids?.inUse, 0);
});

/** B was frozen for C when the forwarder went down; what C says decides. */
function restarted(before: (world: World) => void): World {
  const world = pending();
  before(world);
  world.crashForwarder();
  return world;
}

rules("section 7: the target lists the flow as active, closed, frozen or moved: DONE", () => {
  const histories: ((world: World) => void)[] = [
    (world) => world.flow("blob"),
    (world) => {
      world.flow("blob");
      world.close(C);
    },
  ];
  for (const history of histories) {
    const world = restarted(history);
    for (const id of [C, B, A]) world.hello(id);
    world.settle();
    assert.is(world.last("verdict").verdict, "done");
    assert.is(world.node(B).copies.size, 0);
  }
});

rules(
  "section 7: the target does not list it, or poisoned: mapped to the source, then RESUME",
  () => {
    const world = restarted(() => undefined);
    world.hello(C);
    world.flow("sync");
    world.hello(B);
    world.flow("sync");
    assert.is(world.last("verdict").verdict, "resume");
    assert.is(world.table.get(TUPLE)?.node, B);
    world.flow("verdict");
    assert.ok(world.node(B).running());
    world.deliver(world.message("blob"));
    assert.is(world.node(C).running(), undefined, "and C takes the blob never more");

    // The other way round, the source's claim waits for the target's report.
    const other = restarted(() => undefined);
    other.hello(B);
    other.flow("sync");
    assert.ok(other.node(B).frozen());
    other.node(C).records.set(other.last("grant").flow, "poisoned");
    other.hello(C);
    other.flow("sync");
    assert.is(other.last("verdict").verdict, "resume");
  },
);

rules(
  "section 7: the target has another boot epoch, or does not answer: ABORTED, tombstone",
  () => {
    const world = restarted((before) => before.crash(C));
    for (const id of world.ids) world.hello(id);
    world.settle();
    assert.is(world.last("verdict").verdict, "aborted");
    assert.is(world.node(B).copies.size, 0);

    const silent = restarted((before) => before.flow("blob"));
    silent.hello(B);
    silent.hello(A);
    silent.settle();
    assert.ok(silent.node(B).frozen(), "waits for C or the end of recovery");
    silent.us += 3_100_000;
    silent.fire();
    silent.settle();
    assert.is(silent.last("verdict").verdict, "aborted");
    assert.is(silent.judge.stateOf(TUPLE), "tomb");
    // C comes late: what it claims was buried, so it must forget.
    silent.hello(C);
    silent.settle();
    assert.is(silent.node(C).copies.size, 0);
    assert.is(silent.last("forgotten").record, "closed");
  },
);

rules("section 7: an ACTIVE claim makes the entry OWNED, without an object", () => {
  const world = owned();
  const mapping = world.table.get(TUPLE);
  world.crashForwarder();
  for (const id of world.ids) world.hello(id);
  world.settle();
  assert.equal(world.table.get(TUPLE), mapping);
  assert.is(world.judge.openCount, 0);
  world.beat();
  world.migrate(B, C);
  world.settle();
  assert.is(world.table.get(TUPLE)?.node, C, "and it moves on");
});

rules(
  "section 7: a late claim is refused when the client has a newer connection, half-read",
  () => {
    const world = owned();
    world.crashForwarder();
    for (const id of world.ids) if (id !== B) world.hello(id);
    world.settle();
    world.us += 3_100_000;
    world.fire();
    world.settle();
    world.isReading = true;
    world.hello(B);
    world.settle();
    assert.is(world.table.get(TUPLE), undefined);
    assert.is(world.node(B).copies.size, 0);
  },
);

rules("R24: a verdict says how much was relayed before it, also when it is said again", () => {
  const world = owned();
  world.migrate(B, C);
  world.flow("reserve", "grant", "move");
  world.relayed = 7;
  world.flow("blob", "accept");
  assert.equal([world.last("verdict").verdict, world.last("verdict").relayed], ["done", 7]);
  const aborted = pending();
  aborted.pass(TIMERS.moveUs + 100_000);
  aborted.pass(TIMERS.resolveUs + 100_000);
  assert.equal([aborted.last("verdict").verdict, aborted.last("verdict").relayed], ["aborted", 0]);
  aborted.relayed = 9;
  aborted.deliver(aborted.message("move"));
  assert.equal([aborted.last("verdict").verdict, aborted.last("verdict").relayed], ["aborted", 9]);
});

rules("section 7: the new epoch takes another slice than any flow that is listed", () => {
  const world = owned();
  const slices = new Set<number>();
  const slice = () => ((world.table.get(TUPLE)?.flow ?? 0) >>> 24) & 15;
  slices.add(slice());
  for (let n = 0; n < 6; n++) {
    world.crashForwarder();
    for (const id of world.ids) world.hello(id);
    world.settle();
    world.beat();
    const from = world.nodes.find((node) => node.running() !== undefined)?.id ?? A;
    world.migrate(from, from === B ? C : B);
    world.settle();
    assert.not.ok(slices.has(slice()), "R1: never the same again so soon");
    slices.add(slice());
  }
});

rules("messages that a forwarder does not take are counted", () => {
  const world = owned();
  world.tell(B, { type: "dead", bootEpoch: "1".repeat(32) });
  assert.is(world.judge.counters["unexpected-message"], 1);
  world.judge.handle("0".repeat(16), "1".repeat(32), { type: "cancel", flow: 0x00010001 });
  assert.is(world.judge.counters["stale-sender"], 1);
  assert.is(world.node(B).migrator.counters["unexpected-message"], undefined);
  world.node(B).migrator.handle(F, world.judgeEpoch, { type: "cancel", flow: 0x00010001 });
  assert.is(world.node(B).migrator.counters["unexpected-message"], 1);
});

rules.run();
