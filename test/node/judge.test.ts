/** The table of PROTOCOL section 5, row by row, against the real judge. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Tuple } from "../../host/core/tuple.ts";
import { decodeMessage } from "../../host/node/codec.ts";
import { TIMERS } from "../../host/node/timers.ts";
import { TUPLE, World } from "./model.ts";

const judge = suite("judge");
const A = "a".repeat(16);
const B = "b".repeat(16);
const C = "c".repeat(16);

/** A classifier's connection at A; B and C can take it. */
function start(): World {
  const world = new World([A, B, C]);
  for (const id of world.ids) world.hello(id);
  world.settle();
  world.node(A).accept(TUPLE);
  world.beat();
  return world;
}

/** The connection is owned by B under a flow. */
function owned(): World {
  const world = start();
  world.migrate(A, B);
  world.settle();
  assert.is(world.judge.stateOf(TUPLE), "owned");
  assert.is(world.table.get(TUPLE)?.node, B);
  return world;
}

/** B wants to give it to C, and F has granted a flow. */
function reserved(): World {
  const world = owned();
  world.migrate(B, C);
  world.flow("reserve");
  assert.is(world.judge.stateOf(TUPLE), "reserved");
  return world;
}

/** B is frozen, F has MOVE, C has not seen the blob. */
function pending(): World {
  const world = reserved();
  world.flow("grant", "move");
  assert.is(world.judge.stateOf(TUPLE), "pending");
  return world;
}

function resolving(): World {
  const world = pending();
  world.pass(TIMERS.moveUs + 100_000);
  assert.is(world.judge.stateOf(TUPLE), "resolving");
  return world;
}

/** The outcome was unknown: B's client is being reset, C may still have it. */
function buried(): World {
  const world = resolving();
  world.pass(TIMERS.resolveUs + 100_000);
  assert.is(world.judge.stateOf(TUPLE), "tomb");
  return world;
}

function newFlow(world: World): number {
  return world.last("grant").flow;
}

judge(
  "OWNED, RESERVE from own: a fresh flow is granted, and the same again for the same attempt",
  () => {
    const world = owned();
    world.migrate(B, C);
    const sent = world.message("reserve");
    world.flow("reserve");
    const first = world.last("grant");
    assert.is(first.target, C);
    assert.is(first.targetEpoch, world.node(C).epoch);
    assert.is(world.table.get(TUPLE)?.node, B, "packets still go to own");
    const grants = world.countOf("grant");
    world.deliver(sent);
    assert.is(world.countOf("grant"), grants + 1);
    assert.equal(world.last("grant"), first);
  },
);

judge("OWNED, RESERVE of somebody who does not own it: denied", () => {
  const world = owned();
  const target = { kind: "node", id: B } as const;
  world.tell(C, { type: "reserve", flow: newFlow(world), attempt: 1, tuple: TUPLE, target });
  assert.is(world.last("deny").reason, "not-owner");
  world.tell(A, { type: "reserve", flow: 0, attempt: 9, tuple: TUPLE, target });
  assert.is(world.last("deny").reason, "not-owner");
  assert.is(world.judge.stateOf(TUPLE), "owned");
});

judge("OWNED, RESERVE without credits, or of a suspect, draining or dead target: denied", () => {
  const cases: ((world: World) => void)[] = [
    (world) => Object.assign(world.judge.peers.get(C) ?? {}, { credits: 0 }),
    (world) => Object.assign(world.judge.peers.get(C) ?? {}, { draining: true }),
    (world) => Object.assign(world.judge.peers.get(C) ?? {}, { serving: false }),
    (world) => Object.assign(world.judge.peers.get(C) ?? {}, { heardUs: -800_000 }),
    (world) => world.judge.declareDead(C),
  ];
  for (const spoil of cases) {
    const world = owned();
    world.migrate(B, C);
    spoil(world);
    world.flow("reserve");
    assert.is(world.last("deny").reason, "no-target");
    assert.is(world.judge.stateOf(TUPLE), "owned");
  }
});

judge("a grant takes a credit of its target, which its verdict returns", () => {
  const world = reserved();
  assert.is(world.judge.peers.get(C)?.granted, 1);
  world.settle();
  assert.is(world.judge.peers.get(C)?.granted, 0);
});

judge("RESERVED, ABANDON(new): OWNED again", () => {
  const world = reserved();
  const flow = newFlow(world);
  world.tell(B, { type: "abandon", flow });
  assert.is(world.judge.stateOf(TUPLE), "owned");
  assert.is(world.table.get(TUPLE)?.node, B);
  assert.is(world.judge.peers.get(C)?.granted, 0);
  world.tell(C, { type: "abandon", flow });
  assert.is(world.judge.counters["unmatched-abandon"], 1);
});

judge("RESERVED, MOVE(new): mapped to new at once, PENDING", () => {
  const world = pending();
  assert.equal(world.table.get(TUPLE), { action: "forward", node: C, flow: newFlow(world) });
});

judge("RESERVED, own dead: the target is asked", () => {
  const world = reserved();
  world.judge.declareDead(B);
  assert.is(world.judge.stateOf(TUPLE), "resolving");
  assert.is(world.last("resolve").flow, newFlow(world));
  assert.is(world.table.get(TUPLE)?.node, C, "packets go to new");
});

judge("OWNED and RESERVED, RELEASE(own): the entry is removed", () => {
  for (const state of [owned, reserved]) {
    const world = state();
    world.close(B);
    world.pass(10_000);
    world.flow("release");
    assert.is(world.judge.stateOf(TUPLE), "none");
    assert.is(world.table.map.size, 0);
  }
});

judge(
  "RESERVED, a classifier's RELEASE of an earlier connection with the same addresses: it stays",
  () => {
    const world = start();
    world.migrate(A, B);
    world.flow("reserve");
    world.tell(A, { type: "release", items: [{ flow: 0, cause: "closed", tuple: TUPLE }] });
    assert.is(world.judge.stateOf(TUPLE), "reserved");
    world.settle();
    assert.is(world.table.get(TUPLE)?.node, B);
    assert.is(world.node(A).outcomes.at(-1)?.kind, "moved");
  },
);

judge(
  "RESERVED, a classifier's RELEASE and then ABANDON of what it was granted: nothing is left",
  () => {
    const world = start();
    world.migrate(A, B);
    world.flow("reserve");
    const flow = newFlow(world);
    world.tell(A, { type: "release", items: [{ flow: 0, cause: "closed", tuple: TUPLE }] });
    world.tell(A, { type: "abandon", flow });
    assert.is(world.judge.stateOf(TUPLE), "none");
    assert.is(world.table.map.size, 0);
  },
);

judge("PENDING, T_MOVE over, CANCEL(new) or own dead: RESOLVE(new)", () => {
  const causes: ((world: World) => void)[] = [
    (world) => world.pass(TIMERS.moveUs + 100_000),
    (world) => {
      world.lose(world.message("blob"));
      world.flow("cancel");
    },
    (world) => world.judge.declareDead(B),
  ];
  for (const cause of causes) {
    const world = pending();
    cause(world);
    assert.is(world.judge.stateOf(TUPLE), "resolving");
    const resolve = world.last("resolve");
    assert.is(resolve.flow, newFlow(world));
    assert.is(resolve.targetEpoch, world.node(C).epoch);
  }
});

judge("open, ACCEPT(new): DONE, own := new", () => {
  for (const state of [reserved, pending, resolving]) {
    const world = state();
    if (state === reserved) world.flow("grant"); // the blob overtakes its MOVE
    world.flow("blob", "accept");
    assert.is(world.judge.stateOf(TUPLE), "owned");
    assert.is(world.table.get(TUPLE)?.node, C);
    assert.is(world.last("verdict").verdict, "done");
    world.settle();
    assert.is(world.judge.stateOf(TUPLE), "owned");
    assert.is(world.node(B).outcomes.at(-1)?.kind, "moved");
  }
});

judge("open, RESERVE or QUERY answer of T as owner of new: says ACCEPT too", () => {
  const world = pending();
  world.flow("blob");
  world.migrate(C, A);
  world.flow("reserve");
  assert.is(world.last("verdict").verdict, "done");
  assert.is(world.judge.stateOf(TUPLE), "reserved", "and the next handoff begins");

  const other = pending();
  other.flow("blob");
  const flow = newFlow(other);
  other.tell(C, { type: "answer", items: [{ flow, record: "active", tuple: TUPLE }] });
  assert.is(other.judge.stateOf(TUPLE), "owned");
});

judge("open, RELEASE(new): DONE, and the entry is removed", () => {
  const world = pending();
  world.flow("blob");
  world.close(C);
  world.pass(10_000);
  world.flow("release");
  assert.is(world.last("verdict").verdict, "done");
  assert.is(world.judge.stateOf(TUPLE), "none");
});

judge("open, REFUSE(new), own alive: mapped back first, then RESUME", () => {
  const world = pending();
  world.node(C).refusal = "full";
  world.flow("blob");
  let mappedTo = "";
  const send = world.judge["world"].send.bind(world.judge["world"]);
  world.judge["world"].send = (...args: Parameters<typeof send>) => {
    if (args[1].type === "verdict") mappedTo = world.table.get(TUPLE)?.node ?? "";
    send(...args);
  };
  world.flow("refuse");
  assert.is(world.last("verdict").verdict, "resume");
  assert.is(mappedTo, B, "when the verdict leaves, packets already go to own");
  assert.is(world.judge.stateOf(TUPLE), "owned");
  world.flow("verdict");
  assert.ok(world.node(B).running(), "the source runs");
});

judge("open, REFUSE(new), own dead: the client is reset", () => {
  const world = pending();
  world.judge.declareDead(B);
  world.flow("resolve", "refuse");
  assert.is(world.judge.stateOf(TUPLE), "tomb");
  assert.ok(world.table.resets.length > 0);
});

judge("open, GONE(new): ABORTED, FORGET, reset", () => {
  const world = pending();
  const { forwarderEpoch, targetEpoch, flow } = world.last("grant");
  const epochs = { forwarderEpoch, targetEpoch, currentEpoch: "9".repeat(32) };
  world.tell(C, { type: "gone", flow, ...epochs });
  assert.is(world.last("verdict").verdict, "aborted");
  assert.is(world.judge.stateOf(TUPLE), "tomb");
  assert.ok(world.table.resets.length > 0);
});

judge("PENDING and RESOLVING, new dead: ABORTED, reset", () => {
  for (const state of [pending, resolving]) {
    const world = state();
    world.judge.declareDead(C);
    assert.is(world.last("verdict").verdict, "aborted");
    assert.is(world.judge.stateOf(TUPLE), "tomb");
  }
});

judge("RESOLVING, T_RESOLVE over: ABORTED, FORGET(new), reset", () => {
  const world = buried();
  assert.is(world.last("verdict").verdict, "aborted");
  assert.is(world.last("forget").flow, newFlow(world));
  assert.ok(world.table.resets.length > 0);
});

judge("RESERVED, new dead: waits without a timer, for the source may still work", () => {
  const world = reserved();
  world.judge.declareDead(C);
  world.pass(20_000_000);
  assert.is(world.judge.stateOf(TUPLE), "reserved");
  assert.ok(world.node(B).running());
  world.flow("grant", "move"); // it froze: now the outcome is unknown
  assert.is(world.judge.stateOf(TUPLE), "tomb");
  assert.is(world.last("verdict").verdict, "aborted");
});

judge("OWNED, own dead: the client is reset, the node is told", () => {
  const world = owned();
  world.judge.declareDead(B);
  world.fire();
  assert.is(world.judge.stateOf(TUPLE), "tomb");
  assert.ok(world.table.resets.length > 0);
  assert.is(world.last("dead").bootEpoch, world.node(B).epoch);
  world.flow("dead");
  assert.is(world.node(B).running(), undefined, "it gave everything up");
  world.hello(B);
  world.pass(10_000_000);
  assert.is(world.judge.stateOf(TUPLE), "none", "a new boot epoch ends the tombstone");
});

judge("tombstones of a dead node end with its new boot epoch, however late that comes", () => {
  const world = owned();
  world.judge.declareDead(B);
  world.pass(20_000_000);
  assert.is(world.judge.stateOf(TUPLE), "tomb", "it may still emit");
  world.crash(B);
  world.hello(B);
  world.pass(1_000_000);
  assert.is(world.judge.stateOf(TUPLE), "none", "a SYN need not wait for T_TOMB");
});

judge("TOMB ends when every flow of it is forgotten", () => {
  const world = buried();
  world.pass(10_000_000);
  assert.is(world.judge.stateOf(TUPLE), "tomb", "not before");
  world.flow("forget", "forgotten");
  assert.is(world.judge.stateOf(TUPLE), "none");
  assert.is(world.table.map.size, 0);
});

judge("TOMB ends when the node has a new boot epoch", () => {
  const world = buried();
  world.crash(C);
  world.hello(C);
  world.pass(10_000_000);
  assert.is(world.judge.stateOf(TUPLE), "none");
});

judge("TOMB ends when T_TOMB is over", () => {
  const world = buried();
  world.pass(50_000_000);
  assert.is(world.judge.stateOf(TUPLE), "tomb");
  world.pass(15_000_000);
  assert.is(world.judge.stateOf(TUPLE), "none");
});

judge("resets a client five times, each time after twice as long (R20)", () => {
  const world = resolving();
  const at: number[] = [];
  const reset = world.table.resetClient.bind(world.table);
  world.table.resetClient = (tuple) => {
    at.push(world.us);
    reset(tuple);
  };
  for (let step = 0; step < 700; step++) world.pass(10_000, 10_000);
  const first = at[0] ?? 0;
  assert.equal(
    at.map((us) => us - first),
    [0, 200_000, 600_000, 1_400_000, 3_000_000],
  );
});

judge(
  "resets every client of a dead node, whatever their number, and frees the table (R20)",
  () => {
    const world = owned();
    world.table.max = 20_000;
    for (let port = 1; port < 9_000; port++) {
      const tuple = { ...TUPLE, remotePort: port };
      world.table.set(tuple, { action: "forward", node: B, flow: 0x10000 + port });
    }
    const other = { ...TUPLE, remotePort: 50_000 };
    world.table.set(other, { action: "forward", node: C, flow: 0x7fff7fff });
    world.judge.declareDead(B);
    world.pass(10_000_000, 1_000);
    assert.is(world.table.resets.length, 9_000 * 5);
    world.crash(B);
    world.hello(B);
    world.pass(60_000_000, 100_000);
    assert.equal(
      [...world.table.map.values()].map(({ tuple }) => tuple.remotePort),
      [50_000],
    );
  },
);

judge("keeps no object for a connection that is merely owned", () => {
  const world = owned();
  assert.is(world.judge.openCount, 0);
});

judge("denies when the table or the entries are full, before anything is frozen", () => {
  const world = start();
  world.table.max = 0;
  world.migrate(A, B);
  world.settle();
  assert.is(world.last("deny").reason, "full");
  assert.ok(world.node(A).running());
  assert.not.ok(world.has("grant"));
});

judge("QUERY: asks the owner of a flow that was idle, and drops only what it does not have", () => {
  const world = owned();
  const { flow } = world.table.get(TUPLE) ?? { flow: 0 };
  const lost = tuples(3_000, world);
  world.pass(TIMERS.idleUs - 1_000_000);
  assert.not.ok(world.has("query"), "not yet idle");
  world.pass(10_000_000);
  world.settle();
  const asked = queried(world);
  assert.is(asked.size, 1 + lost.length, "each once, the owner's and those that it lost");
  assert.ok(asked.has(flow));
  assert.is(world.judge.stateOf(TUPLE), "owned", "the owner calls it ACTIVE");
  for (const tuple of lost) assert.is(world.judge.stateOf(tuple), "none");
  assert.is(world.judge.counters["answered-gone"], lost.length);
  assert.is(world.judge.counters["idle-asked"], 1 + lost.length);
});

judge("QUERY: asks in bounded steps, once in a walk, and not about what is open", () => {
  const world = reserved();
  tuples(2_000, world);
  world.us += TIMERS.idleUs + 1_000_000;
  const queries = (): number => world.countOf("query");
  world.judge.stoodStill(TIMERS.idleUs);
  world.judge.handleTimeout();
  assert.is(queries(), 32, "768 flows a step");
  world.us += 60_000;
  world.judge.handleTimeout();
  assert.is(queries(), 64);
  const open = world.table.get(TUPLE)?.flow ?? 0;
  assert.not.ok(queried(world).has(open), "what is being handed over is not asked about");
  for (let step = 0; step < 20; step++) {
    world.us += 60_000;
    world.judge.handleTimeout();
  }
  assert.is(queries(), Math.ceil(2_000 / 24), "one walk, then a pause of T_IDLE");
});

/** Nobody took A's connection: the entry that its MOVE made stays, with A and no flow. */
function resumed(): World {
  const world = start();
  for (const id of [B, C]) world.node(id).refusal = "full";
  world.migrate(A, B);
  world.settle();
  assert.is(world.node(A).outcomes.at(-1)?.kind, "unavailable");
  assert.equal(world.table.get(TUPLE), { action: "classifier", node: A, flow: 0 });
  return world;
}

/** A's connection ends, and its RELEASE never arrives. */
function endedUnheard(world: World): void {
  world.close(A);
  world.pass(1_000_000);
  world.message("release").isLost = true;
  assert.is(world.judge.stateOf(TUPLE), "owned", "nobody said it");
}

judge("QUERY: asks a classifier about a connection without a flow, and keeps what it has", () => {
  const world = resumed();
  world.pass(TIMERS.idleUs + 1_000_000);
  world.settle();
  assert.equal(world.last("query").items, [{ flow: 0, tuple: TUPLE }]);
  assert.is(world.last("answer").items[0]?.record, "active");
  assert.is(world.judge.stateOf(TUPLE), "owned");
  endedUnheard(world);
  world.pass(TIMERS.idleUs + 1_000_000);
  world.settle();
  assert.is(world.judge.stateOf(TUPLE), "none");
  assert.is(world.judge.counters["answered-gone"], 1);
});

judge("QUERY: a classifier is asked at once when it gives back a packet of what it had", () => {
  const world = resumed();
  const asks = (): number => world.countOf("query");
  world.judge.handleReturned(B, TUPLE);
  assert.is(asks(), 0, "it is not B's");
  endedUnheard(world);
  world.judge.handleReturned(A, TUPLE);
  world.judge.handleReturned(A, TUPLE);
  assert.is(asks(), 1, "one question at a time");
  world.judge.handleReturned(A, { ...TUPLE, remotePort: 7 });
  assert.is(asks(), 1, "nobody has that one");
  world.settle();
  assert.is(world.judge.stateOf(TUPLE), "none");
});

judge("QUERY: an answer about no flow is too old once the connection moves", () => {
  const world = resumed();
  world.judge.handleReturned(A, TUPLE);
  const items = [{ flow: 0, record: "none", tuple: TUPLE }] as const;
  world.node(B).refusal = undefined;
  world.migrate(A, B);
  for (const step of [["reserve"], ["grant", "move"]] as const) {
    world.flow(...step);
    world.tell(A, { type: "answer", items });
    assert.is.not(world.judge.stateOf(TUPLE), "none");
  }
  world.settle();
  world.tell(A, { type: "answer", items });
  assert.is(world.table.get(TUPLE)?.node, B);
});

/** Mappings to B of connections that B does not have. */
function tuples(count: number, world: World): Tuple[] {
  world.table.max = count + 10;
  return Array.from({ length: count }, (_, at) => {
    const tuple = { ...TUPLE, remotePort: 1 + at };
    world.table.set(tuple, { action: "forward", node: B, flow: 0x7000_0001 + at });
    return tuple;
  });
}

/** Flows that anybody was asked about. */
function queried(world: World): Set<number> {
  const all = world.sent.filter(({ type }) => type === "query");
  return new Set(
    all.flatMap(({ bytes }) => {
      const message = decodeMessage(bytes);
      return message.type === "query" ? message.items.map(({ flow }) => flow) : [];
    }),
  );
}

judge.run();
