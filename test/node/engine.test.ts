/** The order of a turn, with a core and a link that only say when they are called. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Core } from "../../host/core/core.ts";
import type { Link } from "../../host/link/link.ts";
import { Engine, type Role } from "../../host/node/engine.ts";
import type { Transport } from "../../host/transport/transport.ts";

const engine = suite("engine");
const BATCH = 64;

/** What a link gives: packets in a batch, and whether more wait. */
interface Batch {
  readonly count: number;
  readonly drained: boolean;
}

/**
 * An engine whose every call is written down; `later` runs with each event. So many packets are `injected` as one
 * that a message brought, before anything is read; so many are `waiting` to be sent from the start.
 */
function trace(
  batches: Batch[],
  later: (role: { isOver: boolean }) => void = () => undefined,
  injected = 0,
  waiting = 0,
) {
  const calls: string[] = [];
  let events = 0;
  let segments = waiting;
  let segmentsMax = 0;
  const link = {
    drained: true,
    receive: () => {
      const batch = batches.shift() ?? { count: 0, drained: true };
      link.drained = batch.drained;
      calls.push(`receive ${batch.count}`);
      return batch.count;
    },
    transmit: () => calls.push("transmit"),
    flush: () => undefined,
  };
  const core = {
    rx: { length: BATCH },
    tx: {},
    handlePackets: () => {
      events += 1;
      segments += 1;
      return 0;
    },
    pollEvent: () => (events > 0 ? ((events -= 1), { kind: "readable" }) : undefined),
    pollTransmit: () => {
      const count = Math.min(BATCH, segments);
      segments -= count;
      return count;
    },
    pollHandback: () => 0,
    nextTimeoutUs: () => Infinity,
  };
  const role = {
    isOver: false,
    event: () => {
      calls.push("event");
      later(role);
    },
    pump: () => {
      for (; injected > 0; injected--) {
        made.inject();
        segmentsMax = Math.max(segmentsMax, segments);
      }
    },
    nextTimeoutUs: () => Infinity,
  };
  const transport = { pollDatagram: () => undefined, nextTimeoutUs: () => Infinity };
  const made = new Engine({
    core: core as unknown as Core,
    clock: { nowUs: () => 1, wallMs: () => 1 },
    link: link as unknown as Link,
    transport: transport as unknown as Transport,
    receiveDatagrams: () => false,
    sendDatagrams: () => undefined,
  });
  made.setRole(role as unknown as Role);
  const more = made.turn();
  return { calls, more, segmentsMax };
}

engine("answers a full batch of packets before it reads the next", () => {
  const { calls, more } = trace([
    { count: 64, drained: false },
    { count: 64, drained: false },
    { count: 1, drained: true },
  ]);
  const round = ["event", "transmit"];
  assert.equal(calls, ["receive 64", ...round, "receive 64", ...round, "receive 1", ...round]);
  assert.not.ok(more);
});

engine(
  "hands bulk data on batch by batch, and acknowledges eight at once or what there was",
  () => {
    const { calls, more } = trace([
      ...Array.from({ length: 9 }, () => ({ count: 3, drained: false })),
      { count: 1, drained: true },
    ]);
    const batch = ["receive 3", "event"];
    const first = [...Array.from({ length: 8 }, () => batch).flat(), ...sends(8)];
    assert.equal(calls, [...first, ...batch, "receive 1", "event", ...sends(2)]);
    assert.not.ok(more);
  },
);

engine("answers what bulk data holds back with a full batch behind it", () => {
  const { calls } = trace([
    { count: 3, drained: false },
    { count: 64, drained: false },
    { count: 3, drained: false },
    { count: 0, drained: true },
  ]);
  const first = ["receive 3", "event", "receive 64", "event", ...sends(2)];
  assert.equal(calls, [...first, "receive 3", "event", "receive 0", ...sends(1)]);
});

engine("reads on after a batch of which nothing was left", () => {
  const { calls } = trace([
    { count: 0, drained: false },
    { count: 2, drained: true },
  ]);
  assert.equal(calls, ["receive 0", "receive 2", "event", "transmit"]);
});

engine("answers the packets of messages before more wait than a batch has", () => {
  const { calls, segmentsMax } = trace([], undefined, 1000);
  assert.is(segmentsMax, BATCH, "in the core, which keeps few");
  assert.is(calls.filter((call) => call === "transmit").length, 1000);
});

engine("asks for another turn when packets keep coming", () => {
  const endless = Array.from({ length: 100 }, () => ({ count: 64, drained: false }));
  const { calls, more } = trace(endless);
  assert.ok(more);
  assert.is(calls.filter((call) => call.startsWith("receive")).length, 16);
});

engine("reads again before it has sent a whole window, and comes back for the rest", () => {
  const sent = (calls: string[]) => calls.filter((call) => call === "transmit").length;
  const alone = trace([], undefined, 0, 17 * BATCH);
  assert.is(sent(alone.calls), 16 * BATCH);
  assert.ok(alone.more);
  const { calls } = trace([{ count: BATCH, drained: false }], undefined, 0, 100 * BATCH);
  assert.is(
    sent(calls.slice(0, calls.lastIndexOf("receive 0"))),
    16 * BATCH,
    "between two batches",
  );
  assert.is(sent(calls), 32 * BATCH);
  assert.not.ok(trace([], undefined, 0, 15 * BATCH).more);
});

engine("says nothing more once its life is over", () => {
  const { calls, more } = trace(
    [
      { count: 4, drained: false },
      { count: 4, drained: true },
    ],
    (role) => (role.isOver = true),
  );
  assert.equal(calls, ["receive 4", "event"]);
  assert.not.ok(more);
});

/** What each of `count` batches made due, sent in one go. */
function sends(count: number): string[] {
  return Array.from({ length: count }, () => "transmit");
}

engine.run();
