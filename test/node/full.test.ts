/** Limits on what a forwarder keeps (DESIGN I5): what is new is refused and counted, what is there stays. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Core } from "../../host/core/core.ts";
import { SMALL_PARAMETERS } from "../../host/core/parameters.ts";
import type { Tuple } from "../../host/core/tuple.ts";
import type { BookLimits } from "../../host/node/book.ts";
import { PeerIndexes } from "../../host/node/indexes.ts";
import { Judge } from "../../host/node/judge.ts";
import type { Message } from "../../host/node/messages.ts";
import { CoreTable } from "../../host/node/table.ts";

const full = suite("limits of a forwarder");

const SELF = "f".repeat(16);
const A = "a".repeat(16);
const B = "b".repeat(16);
const EPOCHS = { [SELF]: "1".repeat(32), [A]: "2".repeat(32), [B]: "3".repeat(32) };
const MAPPINGS_MAX = 64;
const wasm = readFileSync(new URL("../../core.wasm", import.meta.url));

function client(port: number): Tuple {
  const remote = Uint8Array.of(10, 1, 0, 2);
  const local = Uint8Array.of(10, 0, 0, 100);
  return { family: 4, remote, remotePort: port, local, localPort: 80 };
}

/** A judge of a classifier A and a backend B over the core's table, recovered and ready to grant. */
function open(limits?: BookLimits) {
  const clock = { us: 1_000_000, nowUs: () => clock.us, wallMs: () => clock.us / 1000 };
  const secrets = { hashSecret: new Uint8Array(16), isnSecret: new Uint8Array(16) };
  const sizes = { ...SMALL_PARAMETERS, mappings4Max: MAPPINGS_MAX };
  const core = new Core(wasm, { ...sizes, ...secrets, wallMs: 1_700_000_000_000 }, clock.us);
  core.addService(Uint8Array.of(10, 0, 0, 100), 80, 1460, false);
  const table = new CoreTable(core, clock, new PeerIndexes([A, B, SELF]), SELF, "rst-unknown");
  const sent: Message[] = [];
  const judge = new Judge(
    {
      clock,
      table,
      send: (_to, message) => sent.push(message),
      reinject: () => undefined,
      relayed: () => 0,
      isReader: () => true,
      isReading: () => false,
      pool: () => undefined,
    },
    {
      self: SELF,
      epoch: EPOCHS[SELF]!,
      nodes: [A, B],
      worker: 0,
      random: Uint8Array.of(1, 2, 3, 4),
      ...(limits ? { limits } : {}),
    },
  );
  const beat = { draining: false, load: 0, credits: 1000, serving: true };
  for (const node of [A, B]) {
    const bootEpoch = EPOCHS[node]!;
    judge.handleEpoch(node, bootEpoch);
    const cut = { part: 0, parts: 1, slice: undefined, items: [] };
    judge.handle(node, bootEpoch, {
      type: "sync",
      forwarderEpoch: EPOCHS[SELF]!,
      bootEpoch,
      ...cut,
    });
    const rest = { sequence: 1, blobVersionMin: 1, blobVersionMax: 2, mtu: 1500 };
    judge.handle(node, bootEpoch, { type: "heartbeat", ...beat, ...rest });
  }
  assert.is(judge.isRecovering, false);
  let attempt = 0;
  /** What A hears when it asks for a flow to B; `flow`: what it has, 0 for one that it accepted. */
  const reserve = (port: number, flow = 0) => {
    sent.length = 0;
    attempt += 1;
    const target = { kind: "node", id: B } as const;
    const message = { type: "reserve", flow, attempt, tuple: client(port), target } as const;
    judge.handle(A, EPOCHS[A]!, message);
    const [answer] = sent;
    assert.is(sent.length, 1);
    if (answer?.type === "grant") return answer.flow;
    return answer?.type === "deny" ? answer.reason : assert.unreachable();
  };
  const tell = (message: Message): void => judge.handle(A, EPOCHS[A]!, message);
  return { core, table, judge, reserve, tell };
}

full("a full mapping table refuses new connections, counts them, and moves those it has", () => {
  const { core, table, judge, reserve, tell } = open();
  let count = 0;
  const flowOf = (port: number): number => 0x10000 + port;
  while (table.set(client(count + 1), { action: "forward", node: A, flow: flowOf(count + 1) })) {
    count += 1;
  }
  assert.ok(count >= MAPPINGS_MAX / 2 && count <= MAPPINGS_MAX, `${count} mappings`);
  const refused = core.counters()["mappings_full"] ?? 0;
  assert.is(reserve(5000), "full");
  assert.is(reserve(5001), "full");
  assert.is(judge.counters["denied-full"], 2);
  assert.is(core.counters()["mappings_full"], refused + 2);
  assert.is(judge.stateOf(client(5000)), "none", "nothing of it is left");
  assert.type(reserve(1, flowOf(1)), "number", "one that it has may still move");
  assert.is(judge.stateOf(client(count)), "owned");
  tell({
    type: "release",
    items: [{ flow: flowOf(2), cause: "closed", tuple: client(2) }],
  });
  assert.type(reserve(5000), "number", "a place was free again");
});

full(
  "so do entries of the handoff protocol: each grant holds one until it is used or given back",
  () => {
    const { judge, reserve, tell } = open({ entriesMax: 2, verdictsMax: 2 });
    const first = reserve(1);
    assert.type(first, "number");
    assert.type(reserve(2), "number");
    assert.is(reserve(3), "full");
    assert.is(judge.counters["denied-full"], 1);
    assert.is(judge.stateOf(client(3)), "none");
    tell({ type: "abandon", flow: first as number });
    assert.type(reserve(3), "number");
    assert.is(judge.openCount, 2);
  },
);

full.run();
