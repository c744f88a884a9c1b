/** Since when a handoff may have an outcome that nobody knows, by the simulator's own watch. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Cluster } from "../../host/sim/cluster.ts";
import { Doubts } from "../../host/sim/doubt.ts";
import type { Trouble } from "../../host/sim/trouble.ts";

const doubts = suite("doubts about handoffs");

const [ADDRESS, PORT] = ["10.1.0.1", 4000];
const PATIENCE_US = 4_000_000;
const tuple = { remote: Uint8Array.of(10, 1, 0, 1), remotePort: PORT };

function open() {
  const outgoing: object[] = [];
  const lives = { life: 1, otherLife: 1, sourceLife: 1, epoch: "first" };
  const now = { us: 1_000_000, dead: "", unknown: "", ...lives };
  const role = { migrator: { outgoing: { values: () => outgoing, size: 1 } } };
  const cluster = {
    forwarders: [
      { id: "id of lb", name: "lb" },
      { id: "id of lb.1", name: "lb.1" },
    ],
    isForwarder: (name: string) => name.startsWith("lb"),
    classifiers: [],
    backends: [{ id: "id of b1", name: "b1" }],
    node: () => ({ role, transport: { epoch: now.epoch } }),
    life: (name: string) => ({ lb: now.life, "lb.1": now.otherLife })[name] ?? now.sourceLife,
    scheduler: { nowUs: () => now.us },
  };
  const trouble = {
    maySeemDead: (name: string) => name === now.dead,
    isUnknown: (name: string) => name === now.unknown,
  };
  const watch = new Doubts(cluster as unknown as Cluster, trouble as unknown as Trouble);
  const freeze = (flow: number, state = "frozen", source = "lb"): void => {
    const ends = { forwarder: "id of lb", target: "id of b1", targetEpoch: "first" };
    outgoing.splice(0, 1, { state, tuple, flow, ...ends });
    watch.afterTurn(source);
  };
  const settle = (source = "lb"): void => {
    outgoing.pop();
    watch.afterTurn(source);
  };
  return { now, freeze, settle, isUnknown: () => watch.isUnknown(ADDRESS, PORT), watch };
}

doubts("begin when T_MOVE and T_RESOLVE have passed since the freeze, not before", () => {
  const { now, freeze, isUnknown } = open();
  assert.not(isUnknown());
  freeze(7, "waiting");
  now.us += PATIENCE_US;
  assert.not(isUnknown(), "whoever waits for its grant works on");
  freeze(7);
  now.us += PATIENCE_US - 100_000;
  assert.not(isUnknown());
  now.us += 100_000;
  assert.ok(isUnknown());
  freeze(8);
  assert.not(isUnknown(), "another attempt begins anew");
});

doubts("end with a handoff that was settled in time, and stay with one that was not", () => {
  const { now, freeze, settle, isUnknown } = open();
  freeze(7);
  settle();
  now.us += 2 * PATIENCE_US;
  assert.not(isUnknown());
  freeze(8);
  now.us += PATIENCE_US;
  settle();
  assert.ok(isUnknown(), "the forwarder may reset its client yet");
});

doubts("begin at once when the forwarder began anew, or an end of it may be dead", () => {
  const { now, freeze, isUnknown } = open();
  freeze(7);
  for (const [change, undo] of [
    [{ life: 2 }, { life: 1 }],
    [{ dead: "b1" }, { dead: "" }],
    [{ unknown: "b1" }, { unknown: "" }],
  ] as const) {
    Object.assign(now, change);
    assert.ok(isUnknown(), JSON.stringify(change));
    Object.assign(now, undo);
    assert.not(isUnknown());
  }
  now.dead = "b2";
  assert.not(isUnknown(), "it has nothing to do with it");
  now.otherLife = 2;
  assert.not(isUnknown(), "nor has another forwarder");
});

doubts("begin at once when the target is not the one that the grant names", () => {
  const { now, freeze, isUnknown } = open();
  now.epoch = "second";
  assert.not(isUnknown(), "there is no handoff");
  freeze(7);
  assert.ok(isUnknown());
  now.epoch = "first";
  assert.not(isUnknown());
});

doubts("stay with a handoff whose source died before it knew the verdict", () => {
  const { now, freeze, settle, isUnknown } = open();
  freeze(7, "frozen", "b2");
  assert.not(isUnknown());
  now.sourceLife = 2;
  settle("b2");
  assert.ok(isUnknown(), "what its target said may be lost");
});

doubts("say who may have a connection that is on its way", () => {
  const { freeze, settle, watch } = open();
  const between = () => ["lb", "b1", "b2"].filter((name) => watch.isBetween(ADDRESS, PORT, name));
  freeze(7);
  assert.equal(between(), ["lb", "b1"]);
  settle();
  assert.equal(between(), []);
});

doubts.run();
