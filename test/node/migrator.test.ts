/** The table of PROTOCOL section 4, row by row, and the rules R1 to R8 and R21, R22, against real migrators. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Message } from "../../host/node/messages.ts";
import { TIMERS } from "../../host/node/timers.ts";
import { F, TUPLE, World } from "./model.ts";

const migrator = suite("migrator");
const A = "a".repeat(16);
const B = "b".repeat(16);
const C = "c".repeat(16);

function start(): World {
  const world = new World([A, B, C]);
  for (const id of world.ids) world.hello(id);
  world.settle();
  world.node(A).accept(TUPLE);
  world.beat();
  return world;
}

/** B owns the connection and is asked to give it to C: RESERVE is on its way. */
function waiting(): World {
  const world = start();
  world.migrate(A, B);
  world.settle();
  assert.ok(world.migrate(B, C));
  return world;
}

/** B is frozen, blob and MOVE are on their way. */
function frozen(): World {
  const world = waiting();
  world.flow("reserve", "grant");
  assert.ok(world.node(B).frozen());
  return world;
}

/** A message from the forwarder as it is now. */
function tell(world: World, to: string, message: Message): void {
  world.node(to).migrator.handle(F, world.judgeEpoch, message);
}

function flowAt(world: World, id: string): number {
  const node = world.node(id);
  const [handle = 0] = node.copies.keys();
  return node.owner(handle)?.flow ?? 0;
}

migrator("ACTIVE, migrate(): RESERVE, and it goes on working", () => {
  const world = waiting();
  assert.is(world.last("reserve").flow, flowAt(world, B));
  assert.ok(world.node(B).running());
  world.run(B);
  assert.not.ok(world.migrate(B, A), "one migration at a time");
});

migrator("ACTIVE waiting, GRANT: freezes, compiles, sends BLOB and MOVE in one go", () => {
  const world = waiting();
  const before = world.sent.length;
  world.flow("reserve");
  world.flow("grant");
  const types = world.sent.slice(before + 1).map(({ type }) => type);
  assert.equal(types, ["blob", "move"]);
  assert.is(world.node(B).records.get(flowAt(world, B)), "frozen");
  const blob = world.last("blob");
  assert.is(blob.generation, 2);
  assert.is(blob.targetEpoch, world.node(C).epoch);
  assert.is(world.last("move").previous, flowAt(world, B));
});

migrator("ACTIVE, GRANT not waited for or of an older attempt: ABANDON", () => {
  const world = waiting();
  world.flow("reserve");
  const grant = world.last("grant");
  tell(world, B, { ...grant, attempt: grant.attempt - 1, flow: 0x00050005 });
  assert.is(world.last("abandon").flow, 0x00050005);
  assert.ok(world.node(B).running());
  tell(world, A, grant);
  assert.is(world.countOf("abandon"), 2, "A waits for nothing");
});

migrator("GRANT of a forwarder epoch that is not the known one: ABANDON", () => {
  const world = waiting();
  world.flow("reserve");
  tell(world, B, { ...world.last("grant"), forwarderEpoch: "7".repeat(32) });
  assert.ok(world.node(B).running());
  assert.ok(world.has("abandon"));
});

migrator("GRANT of a flow that was used already: nothing", () => {
  const world = frozen();
  const before = world.sent.length;
  tell(world, B, world.last("grant"));
  assert.is(world.sent.length, before);
});

migrator("ACTIVE, connection ends: RELEASE in batches, CLOSED", () => {
  const world = waiting();
  const flow = flowAt(world, B);
  world.close(B);
  assert.not.ok(world.has("release"), "it waits for others");
  world.pass(10_000);
  assert.equal(world.last("release").items, [{ flow, cause: "closed", tuple: TUPLE }]);
  assert.is(world.node(B).records.get(flow), "closed");
  assert.is(world.node(B).outcomes.at(-1)?.kind, "ended");
  world.flow("reserve", "grant", "abandon"); // a grant that still comes is given back
});

migrator("RELEASE leaves at once when a message is full", () => {
  const world = start();
  for (let n = 0; n < 24; n++) {
    world.node(A).migrator.ended(1000 + n, F, 0x00010001 + n, TUPLE, "reset");
  }
  assert.is(world.last("release").items.length, 24);
});

migrator("ACTIVE, FORGET: RST to the client, everything dropped, CLOSED (R6)", () => {
  const world = waiting();
  const flow = flowAt(world, B);
  tell(world, B, { type: "forget", flow, forwarderEpoch: world.judgeEpoch });
  assert.is(world.node(B).copies.size, 0);
  assert.ok(world.isClosed, "with a RST");
  assert.is(world.last("forgotten").record, "closed");
  assert.is(world.node(B).records.get(flow), "closed");
});

migrator("FROZEN holds segments until MOVE is acknowledged", () => {
  const world = frozen();
  assert.not.ok(world.node(B).passed.has(flowAt(world, B)));
  world.flow("move");
  assert.ok(world.node(B).passed.has(flowAt(world, B)));
});

migrator("FROZEN, DONE: drops the state, keeps the record", () => {
  const world = frozen();
  const flow = flowAt(world, B);
  world.settle();
  assert.is(world.node(B).copies.size, 0);
  assert.is(world.node(B).records.get(flow), "moved");
  assert.is(world.node(B).outcomes.at(-1)?.kind, "moved");
});

migrator("FROZEN, RESUME: runs, and tries the next candidate", () => {
  const world = frozen();
  world.node(C).refusal = "draining";
  world.flow("blob", "move", "refuse", "verdict");
  assert.ok(world.node(B).running());
  assert.is(world.node(B).records.get(flowAt(world, B)), "active");
  assert.equal(world.last("reserve").target, { kind: "node", id: A });
  world.settle();
  assert.ok(world.node(A).running(), "A took it");
});

migrator("tries three candidates at most, then says unavailable", () => {
  const world = start();
  for (const id of [B, C]) world.node(id).refusal = "full";
  const targets = [B, C, B, C, B].map((id) => ({ kind: "node", id }) as const);
  const node = world.node(A);
  node.migrator.migrate(node.running() ?? 0, F, targets, (outcome) => node.outcomes.push(outcome));
  world.settle();
  assert.is(world.countOf("refuse"), 3);
  assert.equal(
    node.outcomes.map(({ kind }) => kind),
    ["unavailable"],
  );
  assert.ok(node.running(), "and it still is ours");
});

migrator("a blob that came too late for T_MOVE is sent once more to the same target", () => {
  const world = start();
  const node = world.node(A);
  const targets = [{ kind: "node", id: B } as const];
  node.migrator.migrate(node.running() ?? 0, F, targets, (outcome) => node.outcomes.push(outcome));
  world.flow("reserve", "grant", "move");
  world.pass(TIMERS.moveUs + 100_000);
  world.flow("resolve", "refuse", "verdict");
  world.settle();
  assert.ok(world.node(B).running(), "B has it under the next flow");
  assert.is(world.countOf("blob"), 2);
  assert.equal(
    node.outcomes.map(({ kind }) => kind),
    ["moved"],
  );
});

migrator(
  "a burst to one target goes in rounds of 32; who waits works on, and goes when one arrived",
  () => {
    const world = start();
    const node = world.node(A);
    const others = Array.from({ length: 40 }, (_, at) => ({ ...TUPLE, remotePort: 50_000 + at }));
    const handles = others.map((tuple) => node.accept(tuple));
    const target = { kind: "node" as const, id: B };
    const outcomes: string[] = [];
    for (const handle of handles) {
      const done = (outcome: { kind: string }): void => void outcomes.push(outcome.kind);
      assert.ok(node.migrator.migrate(handle, F, [target], done));
    }
    assert.is(world.countOf("reserve"), 32);
    node.migrator.ended(handles[39] ?? 0, F, 0, others[39] ?? TUPLE, "reset");
    assert.equal(outcomes, ["ended"], "who leaves the line is not asked for later");
    world.flow("reserve", "grant");
    assert.is(handles.filter((handle) => node.copyOf(handle).isFrozen).length, 1);
    world.settle();
    assert.is(world.countOf("reserve"), 39);
    assert.equal(
      outcomes.slice(1),
      Array.from({ length: 39 }, () => "moved"),
    );
  },
);

migrator("FROZEN, ABORTED or FORGET(f0): drops the state, emits nothing", () => {
  for (const type of ["verdict", "forget"] as const) {
    const world = frozen();
    const flow0 = flowAt(world, B);
    const forwarderEpoch = world.judgeEpoch;
    const { flow } = world.last("grant");
    if (type === "verdict")
      tell(world, B, { type, flow, forwarderEpoch, verdict: "aborted", relayed: 0 });
    else tell(world, B, { type, flow: flow0, forwarderEpoch });
    assert.is(world.node(B).copies.size, 0);
    assert.not.ok(world.isClosed, "no RST");
    assert.is(world.node(B).records.get(flow0), "closed");
    assert.is(world.node(B).outcomes.at(-1)?.kind, "lost");
  }
});

migrator(
  "FROZEN, a valid BLOB of the same connection with a higher generation says DONE (R3)",
  () => {
    const world = frozen();
    const flow0 = flowAt(world, B);
    world.flow("blob", "accept");
    world.beat();
    assert.ok(world.migrate(C, B));
    world.flow("reserve", "grant"); // the verdict for B is still on its way
    world.deliver(world.message("blob"));
    assert.is(world.node(B).records.get(flow0), "moved");
    assert.ok(world.node(B).running(), "under its new flow");
    world.run(B);
  },
);

migrator("FROZEN, verdict for another flow: ignored (R4)", () => {
  const world = frozen();
  const verdict = { type: "verdict", forwarderEpoch: world.judgeEpoch, relayed: 0 } as const;
  tell(world, B, { ...verdict, flow: 0x00050005, verdict: "resume" });
  tell(world, B, { ...verdict, flow: flowAt(world, B), verdict: "resume" });
  assert.ok(world.node(B).frozen());
});

migrator("FROZEN, verdict of an earlier forwarder epoch: void", () => {
  const world = frozen();
  const { flow } = world.last("grant");
  world.crashForwarder();
  const old = world.node(B).forwarderEpoch ?? "";
  world.node(B).migrator.handleEpoch(F, world.judgeEpoch);
  tell(world, B, { type: "verdict", flow, forwarderEpoch: old, verdict: "resume", relayed: 0 });
  assert.ok(world.node(B).frozen());
});

migrator(
  "FROZEN for T_FROZEN: the copy goes without a word, and a late RESUME resets the client (R7)",
  () => {
    const world = frozen();
    const flow0 = flowAt(world, B);
    const { flow } = world.last("grant");
    world.us += 11_000_000;
    world.node(B).migrator.handleTimeout();
    assert.is(world.node(B).copies.size, 0);
    assert.not.ok(world.isClosed, "no RST: the target may be working");
    assert.is(world.node(B).records.get(flow0), "closed");
    const forwarderEpoch = world.judgeEpoch;
    tell(world, B, { type: "verdict", flow, forwarderEpoch, verdict: "resume", relayed: 0 });
    world.us += 10_000;
    world.node(B).migrator.handleTimeout();
    assert.equal(world.last("release").items, [{ flow: flow0, cause: "lost", tuple: TUPLE }]);
  },
);

migrator("nothing but a verdict makes a frozen copy run (R7)", () => {
  const world = frozen();
  world.lose(world.message("blob"));
  for (let n = 0; n < 40; n++) {
    world.us += 200_000;
    if (world.node(B).migrator.nextTimeoutUs() <= world.us) world.node(B).migrator.handleTimeout();
    assert.is(world.node(B).running(), undefined);
  }
});

migrator("NONE, BLOB: infuses, ACCEPT, ACTIVE", () => {
  const world = frozen();
  world.flow("blob");
  const { flow } = world.last("grant");
  assert.ok(world.node(C).running());
  assert.is(world.node(C).records.get(flow), "active");
  assert.is(world.last("accept").flow, flow);
});

migrator("NONE, BLOB when full, draining or without application: REFUSE, POISONED for good", () => {
  for (const reason of ["full", "draining", "no-application"] as const) {
    const world = frozen();
    const { flow } = world.last("grant");
    world.node(C).refusal = reason;
    world.flow("blob");
    assert.is(world.last("refuse").reason, reason);
    assert.equal(world.last("refuse").connection?.tuple, TUPLE, "with what resets the client");
    assert.is(world.node(C).records.get(flow), "poisoned");
    world.node(C).refusal = undefined;
    world.deliver(world.message("blob"));
    assert.is(world.node(C).running(), undefined, "I4: a refused blob stays refused");
    assert.is(world.countOf("refuse"), 2);
  }
});

migrator("NONE, BLOB of a forwarder epoch older than the known one: REFUSE (R21)", () => {
  const world = frozen();
  world.crashForwarder();
  world.hello(C);
  world.deliver(world.message("blob"));
  assert.is(world.last("refuse").reason, "stale-epoch");
  assert.is(world.node(C).running(), undefined);
});

migrator("BLOB or RESOLVE for a former boot epoch: GONE, nothing installed (R2)", () => {
  const world = frozen();
  const { targetEpoch, flow, forwarderEpoch } = world.last("grant");
  world.crash(C);
  world.hello(C);
  world.deliver(world.message("blob"));
  assert.is(world.last("gone").targetEpoch, targetEpoch);
  assert.is(world.last("gone").currentEpoch, world.node(C).epoch);
  tell(world, C, { type: "resolve", flow, forwarderEpoch, targetEpoch });
  assert.is(world.countOf("gone"), 2);
  assert.is(world.node(C).copies.size, 0);
  assert.is(world.node(C).records.size, 0);
});

migrator("NONE, RESOLVE: REFUSE(cancelled), POISONED; the blob then comes too late", () => {
  const world = frozen();
  const { targetEpoch, flow, forwarderEpoch } = world.last("grant");
  tell(world, C, { type: "resolve", flow, forwarderEpoch, targetEpoch });
  assert.is(world.last("refuse").reason, "cancelled");
  assert.is(world.node(C).records.get(flow), "poisoned");
  world.deliver(world.message("blob"));
  assert.is(world.node(C).running(), undefined);
});

migrator("NONE, FORGET: FORGOTTEN, POISONED; the blob then comes too late (R6)", () => {
  const world = frozen();
  const { flow, forwarderEpoch } = world.last("grant");
  tell(world, C, { type: "forget", flow, forwarderEpoch });
  assert.is(world.last("forgotten").record, "poisoned");
  world.deliver(world.message("blob"));
  assert.is(world.node(C).running(), undefined);
});

migrator("not NONE, BLOB again or RESOLVE: ACCEPT again, infused once (R5, I4)", () => {
  const world = frozen();
  const { targetEpoch, flow, forwarderEpoch } = world.last("grant");
  world.flow("blob");
  const accepts = world.countOf("accept");
  world.deliver(world.message("blob"));
  tell(world, C, { type: "resolve", flow, forwarderEpoch, targetEpoch });
  assert.is(world.countOf("accept"), accepts + 2);
  world.close(C);
  world.deliver(world.message("blob"));
  assert.is(world.countOf("accept"), accepts + 3, "also after it closed");
  assert.is(world.node(C).copies.size, 0);
});

migrator("QUERY: the record of each flow", () => {
  const world = frozen();
  const flow = flowAt(world, B);
  const items = [
    { flow, tuple: TUPLE },
    { flow: 0x00050005, tuple: TUPLE },
  ];
  tell(world, B, { type: "query", items });
  const records = world.last("answer").items.map(({ record }) => record);
  assert.equal(records, ["frozen", "none"]);
});

migrator("QUERY without a flow: whether it still has the connection that it entered", () => {
  const world = start();
  const record = (tuple = TUPLE): string | undefined => {
    tell(world, A, { type: "query", items: [{ flow: 0, tuple }] });
    return world.last("answer").items[0]?.record;
  };
  assert.is(record(), "none", "no entry was ever asked for");
  for (const id of [B, C]) world.node(id).refusal = "full";
  world.migrate(A, B);
  assert.is(record(), "active", "it waits for its grant");
  world.flow("reserve", "grant");
  assert.is(record(), "frozen");
  world.settle();
  assert.is(world.node(A).outcomes.at(-1)?.kind, "unavailable");
  assert.is(record(), "active", "it goes on here");
  assert.is(record({ ...TUPLE, remotePort: 7 }), "none");
  world.close(A);
  assert.is(record(), "none");
});

migrator("DEAD of its own boot epoch: begins anew; of another one: nothing (R14)", () => {
  const world = waiting();
  const { epoch } = world.node(B);
  tell(world, B, { type: "dead", bootEpoch: "7".repeat(32) });
  assert.is(world.node(B).epoch, epoch);
  tell(world, B, { type: "dead", bootEpoch: epoch });
  assert.is.not(world.node(B).epoch, epoch);
  assert.is(world.node(B).copies.size, 0);
});

migrator("forwarder not heard for T_LEASE: begins anew (R14)", () => {
  const world = waiting();
  const { epoch } = world.node(B);
  world.us += 29_000_000;
  world.node(B).migrator.handleTimeout();
  assert.is(world.node(B).epoch, epoch);
  world.us += 2_000_000;
  world.node(B).migrator.handleTimeout();
  assert.is.not(world.node(B).epoch, epoch);
});

migrator(
  "a lease that ran out while the node stood still is not renewed by what it then hears",
  () => {
    const world = waiting();
    const { epoch, migrator } = world.node(B);
    world.us += 31_000_000;
    migrator.heard(F);
    migrator.handleTimeout();
    assert.is.not(world.node(B).epoch, epoch);
  },
);

migrator(
  "a new forwarder epoch: drops what waits, reports every record, ended ones too (R22)",
  () => {
    const world = frozen();
    const [flow0, { flow }] = [flowAt(world, B), world.last("grant")];
    world.node(B).records.set(0x00050005, "poisoned");
    world.crashForwarder();
    world.hello(B);
    const items = world.last("sync").items.map(({ flow: named, record, next }) => {
      return { named, record, next: next?.flow };
    });
    assert.equal(items, [
      { named: flow0, record: "frozen", next: flow },
      { named: 0x00050005, record: "poisoned", next: undefined },
    ]);
    assert.is(world.last("sync").items[0]?.connection?.tuple.remotePort, TUPLE.remotePort);

    const other = waiting();
    other.crashForwarder();
    other.hello(B);
    assert.is(other.node(B).outcomes.at(-1)?.kind, "unavailable");
    assert.ok(other.node(B).running());
  },
);

migrator("SYNC of many records comes in parts, and counts only when it is whole", () => {
  const world = start();
  for (let n = 0; n < 1200; n++) world.node(A).records.set(0x00010001 + n, "closed");
  world.crashForwarder();
  for (const id of world.ids) world.hello(id);
  const parts = world.sent.filter((sent) => sent.from === A && sent.type === "sync").slice(-3);
  world.deliver(parts[2] as (typeof parts)[0]);
  world.deliver(parts[2] as (typeof parts)[0]);
  world.deliver(parts[0] as (typeof parts)[0]);
  assert.not.ok(world.judge.peers.get(A)?.isSynced);
  world.deliver(parts[1] as (typeof parts)[0]);
  assert.ok(world.judge.peers.get(A)?.isSynced);
});

migrator.run();
