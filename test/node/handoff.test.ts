/**
 * The judge and the migrators against everything a network and crashes can do: random orders, duplicates,
 * losses, restarts, false deaths. Asserts what docs/model/handoff.pml asserts.
 */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { TUPLE, World } from "./model.ts";

const handoff = suite("handoff");
const A = "a".repeat(16);
const B = "b".repeat(16);
const C = "c".repeat(16);
const IDS = [A, B, C];

interface Faults {
  readonly crashes: number;
  readonly deaths: number;
  readonly forwarderCrashes: number;
  readonly closes: boolean;
  readonly timers: boolean;
}

function start(): World {
  const world = new World(IDS);
  for (const id of IDS) world.hello(id);
  world.settle();
  world.node(A).accept(TUPLE);
  return world;
}

type Step = readonly [number, number];
const steps = fc.array(fc.tuple(fc.nat({ max: 99 }), fc.nat({ max: 9999 })), {
  minLength: 10,
  maxLength: 120,
  size: "max",
});

function play(world: World, events: readonly Step[], faults: Faults): void {
  let { crashes, deaths, forwarderCrashes } = faults;
  for (const [kind, value] of events) {
    const id = IDS[value % 3] ?? A;
    const owner = world.nodes.find((node) => node.running() !== undefined)?.id ?? id;
    if (kind < 55) deliverSome(world, value);
    else if (kind < 60) world.run(owner);
    else if (kind < 74) world.migrate(owner, id);
    else if (kind < 80) world.hello(id);
    else if (kind < 83) loseSome(world, value);
    else if (kind < 85 && faults.closes) world.close(owner);
    else if (kind < 88 && faults.timers)
      world.pass([100_000, 2_100_000, 4_000_000][value % 3] ?? 0);
    else if (kind < 92 && crashes > 0) {
      crashes--;
      world.crash(id);
    } else if (kind < 95 && deaths > 0) {
      deaths--;
      world.faults++;
      world.judge.declareDead(id);
    } else if (kind < 98 && forwarderCrashes > 0) {
      forwarderCrashes--;
      world.crashForwarder();
    } else deliverSome(world, value);
  }
}

/** Mostly something new, sometimes something again. */
function deliverSome(world: World, value: number): void {
  const fresh = world.sent.filter((sent) => sent.deliveries === 0 && world.canDeliver(sent));
  const pool = fresh.length > 0 && value % 4 !== 0 ? fresh : world.sent;
  const chosen = pool[(value >> 2) % Math.max(1, pool.length)];
  if (chosen) world.deliver(chosen);
}

function loseSome(world: World, value: number): void {
  const blobs = world.sent.filter((sent) => sent.type === "blob" && !sent.isLost);
  const chosen = blobs[value % Math.max(1, blobs.length)];
  if (chosen) world.lose(chosen);
}

/** Everybody meets again, everything is delivered, every timer runs: now nothing may be left hanging. */
function conclude(world: World): void {
  for (let round = 0; round < 20; round++) {
    for (const id of IDS) world.hello(id);
    world.settle();
    world.pass(round < 4 ? 2_100_000 : 5_000_000, round < 4 ? 700_000 : 2_500_000);
  }
  world.settle();
}

function assertQuiet(world: World, faults: Faults): void {
  const state = world.judge.stateOf(TUPLE);
  const owners = world.nodes.filter((node) => node.running() !== undefined);
  for (const node of world.nodes) assert.is(node.frozen(), undefined, "I3: left frozen");
  assert.is(world.judge.openCount, 0, "I3: the forwarder still waits");
  const [owner] = owners;
  if (owner) {
    const handle = owner.running() ?? 0;
    const flow = owner.owner(handle)?.flow ?? 0;
    const mapping = world.table.get(TUPLE);
    if (flow !== 0) {
      assert.is(state, "owned");
      assert.is(mapping?.node, owner.id, "I3: the forwarder maps to somebody else");
      assert.is(mapping?.flow, flow);
    } else assert.ok(mapping === undefined || mapping.node === owner.id);
    world.run(owner.id);
    return;
  }
  assert.is(state, "none", "I3: an entry without an owner");
  const hasReason = world.isClosed || faults.timers || world.faults > 0;
  assert.ok(hasReason, "I3: lost although nothing failed");
}

const CASES: readonly (readonly [string, Faults, number])[] = [
  [
    "no failure and no timer: exactly one owner in the end, whatever the order",
    { crashes: 0, deaths: 0, forwarderCrashes: 0, closes: false, timers: false },
    150,
  ],
  [
    "timers at any moment, and closes",
    { crashes: 0, deaths: 0, forwarderCrashes: 0, closes: true, timers: true },
    150,
  ],
  [
    "crashes of nodes",
    { crashes: 2, deaths: 0, forwarderCrashes: 0, closes: true, timers: true },
    150,
  ],
  [
    "live nodes declared dead",
    { crashes: 1, deaths: 2, forwarderCrashes: 0, closes: true, timers: true },
    150,
  ],
  [
    "crashes of the forwarder",
    { crashes: 0, deaths: 0, forwarderCrashes: 2, closes: true, timers: true },
    150,
  ],
  [
    "everything at once",
    { crashes: 2, deaths: 1, forwarderCrashes: 2, closes: true, timers: true },
    200,
  ],
];

for (const [name, faults, numRuns] of CASES) {
  handoff(`keeps I1 to I4 with ${name}`, () => {
    fc.assert(
      fc.property(steps, (events) => {
        const world = start();
        play(world, events, faults);
        conclude(world);
        assertQuiet(world, faults);
      }),
      { numRuns },
    );
  });
}

handoff("is exercised: most random runs complete a handoff, some two", () => {
  let moved = 0;
  let twice = 0;
  let refused = 0;
  for (const events of fc.sample(steps, { numRuns: 300, seed: 7 })) {
    const world = start();
    play(world, events, {
      crashes: 0,
      deaths: 0,
      forwarderCrashes: 0,
      closes: false,
      timers: true,
    });
    const done = world.judge.counters["verdict-done"] ?? 0;
    if (done > 0) moved++;
    if (done > 1) twice++;
    refused += world.judge.counters["verdict-resume"] ?? 0;
  }
  assert.ok(moved > 100, `${moved} of 300 moved`);
  assert.ok(twice > 5, `${twice} of 300 moved twice`);
  assert.ok(refused > 0, "some were refused");
});

handoff.run();
