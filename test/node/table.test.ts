/** The judge over the core's own mapping table: what the judge's tests assume of a table, this one keeps. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Core } from "../../host/core/core.ts";
import { SMALL_PARAMETERS } from "../../host/core/parameters.ts";
import type { Tuple } from "../../host/core/tuple.ts";
import { PeerIndexes } from "../../host/node/indexes.ts";
import { Judge } from "../../host/node/judge.ts";
import { CoreTable } from "../../host/node/table.ts";

const table = suite("core table");

const SELF = "f".repeat(16);
const A = "a".repeat(16);
const B = "b".repeat(16);
/** The table is full to four fifths. */
const MANY = 3200;
const wasm = readFileSync(new URL("../../core.wasm", import.meta.url));

function open() {
  const clock = { us: 1_000_000, nowUs: () => clock.us, wallMs: () => clock.us / 1000 };
  const secrets = { hashSecret: new Uint8Array(16), isnSecret: new Uint8Array(16) };
  const parameters = { ...SMALL_PARAMETERS, ...secrets, wallMs: 1_700_000_000_000 };
  const core = new Core(wasm, parameters, clock.us);
  core.setTunnel(Uint8Array.of(10, 9, 0, 1));
  core.setPeer(1, Uint8Array.of(10, 9, 0, 2));
  core.setPeer(2, Uint8Array.of(10, 9, 0, 3));
  core.addService(Uint8Array.of(10, 0, 0, 100), 80, 1460, false);
  const mappings = new CoreTable(core, clock, new PeerIndexes([A, B, SELF]), SELF, "rst-unknown");
  return { clock, core, mappings };
}

function client(port: number): Tuple {
  const remote = Uint8Array.of(10, 1, 0, 2);
  const local = Uint8Array.of(10, 0, 0, 100);
  return { family: 4, remote, remotePort: port, local, localPort: 80 };
}

table("gives back what was set, of every kind", () => {
  const { mappings } = open();
  for (const mapping of [
    { action: "forward", node: A, flow: 0x00010002 },
    { action: "classifier", node: SELF, flow: 0 },
    { action: "classifier", node: B, flow: 0 },
    { action: "forward", node: SELF, flow: 0x00010002 },
    { action: "tomb", node: B, flow: 0x00010002 },
    { action: "tomb", node: SELF, flow: 0 },
  ] as const) {
    assert.ok(mappings.set(client(1000), mapping));
    assert.equal(mappings.get(client(1000)), mapping);
  }
  mappings.delete(client(1000));
  assert.is(mappings.get(client(1000)), undefined);
});

table("turns every mapping to a node into a tombstone that keeps node and flow", () => {
  const { mappings } = open();
  for (let port = 1; port <= 300; port++) {
    const node = port % 3 === 0 ? B : A;
    mappings.set(client(port), { action: "forward", node, flow: 0x10000 + port });
  }
  assert.is(mappings.tombAll(A), 200);
  assert.is(mappings.tombAll(A), 0);
  let tombs = 0;
  let cursor = 0;
  do {
    cursor = mappings.scan(cursor, 64, (tuple, mapping) => {
      if (mapping.action !== "tomb") return true;
      tombs++;
      assert.equal(mapping, { action: "tomb", node: A, flow: 0x10000 + tuple.remotePort });
      return tombs % 7 !== 0; // Where a walk breaks off, the next one goes on.
    });
  } while (cursor !== 0);
  assert.is(tombs, 200);
});

table("resets only clients of whom it knows a number, from a packet or from their owner", () => {
  const { core, mappings } = open();
  const sent = () => core.counters()["resets_sent"];
  const reset = { sndUna: 90, sndNxt: 100, rcvNxt: 7, timestamps: undefined };
  for (const port of [1, 2]) mappings.set(client(port), { action: "tomb", node: A, flow: 9 });
  mappings.note(client(1), reset);
  for (const port of [1, 2, 3]) mappings.resetClient(client(port), undefined);
  core.pollTransmit(2_000_000);
  assert.is(sent(), 1, "nobody has said anything of the second one");
  mappings.resetClient(client(2), reset);
  core.pollTransmit(2_000_000);
  assert.is(sent(), 2);
});

/** A judge of A and B over the core's table. */
function openJudge() {
  const { clock, core, mappings } = open();
  const world = {
    clock,
    table: mappings,
    send: () => undefined,
    reinject: () => undefined,
    relayed: () => 0,
    isReader: () => true,
    isReading: () => false,
    pool: () => undefined,
  };
  const random = Uint8Array.of(1, 2, 3, 4);
  const epoch = "1".repeat(32);
  const judge = new Judge(world, { self: SELF, epoch, nodes: [A, B], worker: 0, random });
  judge.handleEpoch(A, "2".repeat(32));
  judge.handleEpoch(B, "3".repeat(32));
  /** Lets time pass as a node's loop does: timers, then everything that waits leaves. */
  const pass = (us: number, stepUs: number): number => {
    let packets = 0;
    for (const end = clock.us + us; clock.us < end; clock.us += stepUs) {
      judge.peers.heard(judge.peers.get(B) as never);
      if (judge.nextTimeoutUs() <= clock.us) judge.handleTimeout();
      for (let n = core.pollTransmit(clock.us); n > 0; n = core.pollTransmit(clock.us))
        packets += n;
    }
    return packets;
  };
  const own = (port: number, node: string): void => {
    mappings.set(client(port), { action: "forward", node, flow: 0x10000 + port });
    core.mapNote(client(port), { segAck: 5000, segSeq: 7000, timestamps: undefined });
  };
  return { clock, core, judge, pass, own };
}

table("lets the judge reset the clients of a dead node and free their places (R20)", () => {
  const { judge, pass, own } = openJudge();
  for (let port = 1; port <= 50; port++) own(port, port % 2 === 0 ? B : A);
  judge.declareDead(A);
  const packets = pass(10_000_000, 100_000);
  assert.is(packets, 25 * 5 * 2, "five rounds of RST and probe for each client");
  assert.is(judge.stateOf(client(1)), "tomb");
  judge.handleEpoch(A, "4".repeat(32));
  pass(60_000_000, 100_000);
  assert.is(judge.stateOf(client(1)), "none");
  assert.is(judge.stateOf(client(2)), "owned");
});

table("resets every client of a dead node in each round, however close they lie", () => {
  const { core, judge, pass, own } = openJudge();
  for (let port = 1; port <= MANY; port++) own(port, A);
  judge.declareDead(A);
  const first = pass(150_000, 1_000);
  assert.is(first, MANY * 2, "RST and probe for each before the second round");
  assert.is(first + pass(10_000_000, 1_000), MANY * 5 * 2);
  assert.is(core.counters()["resets_full"], undefined, "no reset was dropped");
});

table.run();
