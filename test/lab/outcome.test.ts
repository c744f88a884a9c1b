/**
 * Handoffs over bad paths between real nodes, and handoffs whose outcome nobody learns: each completes, is
 * refused cleanly, or ends in a reset of its client (DESIGN I3).
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Middlebox } from "../../host/lab/middlebox.ts";
import { askRaw, type RawRequest, type RawResult } from "../support/labraw.ts";
import { describe } from "../support/labclients.ts";
import { withService, type Counters, type TestService } from "../support/labservice.ts";

const outcome = suite("outcome");

const HANDOFFS = 1000;
const BURST = 100;
const BAD = { lossPercent: 10, duplicatePercent: 10, reorderPercent: 10, corruptPercent: 1 };
const UNKNOWN = 18;
const LIMIT_MS = 60_000;

function ask(service: TestService, host: string, count: number): Promise<RawResult[]> {
  const { service4, service6 } = service.lab.plan;
  const requests = Array.from({ length: count }, (_, at): RawRequest => {
    const head = `GET /${at} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n`;
    const rest = `x: ${"x".repeat((at % 10) * 400)}\r\n\r\n`;
    return { address: at % 2 ? service6 : service4, port: 80, parts: [head + rest] };
  });
  return askRaw(service.lab.nodes.client, requests, "at once");
}

/** What a forwarder counted about handoffs, and that its own tables agree with each other. */
function addUp(forwarder: Counters | undefined, text: string) {
  const { judge = {}, migrator = {}, forwarder: own = {}, classifier = {} } = forwarder ?? {};
  const count = (group: Counters[string], name: string): number => group[name] ?? 0;
  const verdicts = ["done", "resume", "aborted"].map((name) => count(judge, `verdict-${name}`));
  const departed = count(migrator, "departed");
  assert.is(count(judge, "grants"), departed, text);
  assert.is(
    verdicts.reduce((total, each) => total + each),
    departed,
    text,
  );
  const { handedOff = 0, unavailable = 0, lost = 0 } = own;
  assert.is(handedOff + unavailable + lost, count(classifier, "decided"), text);
  assert.is(verdicts[0], handedOff, text);
  return { handedOff, unavailable, lost, aborted: verdicts[2] ?? 0 };
}

outcome(`${HANDOFFS} handoffs over bad paths to both backends: all complete; counters add up`, () =>
  withService("bad paths", {}, async (service) => {
    const boxes: Middlebox[] = [];
    for (const node of ["b1", "b2"]) {
      boxes.push(await service.lab.middlebox(node, { ...BAD, seed: 7 }));
    }
    let [served, refused] = [0, 0];
    for (let at = 0; at < HANDOFFS; at += BURST) {
      const results = await ask(service, "unknown.example", BURST);
      const ends = results.map(({ received, end }) => `${received.slice(0, 13)} ${end}`);
      for (const { received, end } of results) {
        assert.is(end, "fin", ends.join("; "));
        assert.match(received, /^HTTP\/1\.1 (200|503) /, ends.join("; "));
        if (received.startsWith("HTTP/1.1 200 ")) served += 1;
        else refused += 1;
      }
    }
    for (const box of boxes) {
      const { up, down } = await box.close();
      for (const { lost, duplicated, reordered, corrupted } of [up, down]) {
        const least = Math.min(lost, duplicated, reordered, corrupted);
        assert.ok(least > 0, JSON.stringify({ up, down }));
      }
    }
    const counters = await service.counters();
    const text = JSON.stringify({ served, refused, ...counters.get("forwarder") });
    const { handedOff, unavailable, lost } = addUp(counters.get("forwarder"), text);
    assert.is(served + refused, HANDOFFS, text);
    assert.ok(handedOff >= served && unavailable >= refused, text);
    assert.is(lost, 0, text);
    for (const [name, groups] of counters) {
      const { postbox, handbacks } = groups;
      assert.ok((postbox?.["sent"] ?? 0) > 0 && (postbox?.["received"] ?? 0) > 0, name);
      assert.is(postbox?.["malformed"], 0, text);
      assert.is(handbacks?.["overflowed"], 0, text);
    }
    const arrived = ["b1", "b2"].map((name) => counters.get(name)?.["backend"]?.["arrived"] ?? 0);
    assert.is(arrived[0]! + arrived[1]!, handedOff, text);
    assert.ok((counters.get("forwarder")?.["transport"]?.["chunksRepeated"] ?? 0) > 0, text);
  }),
);

outcome("the blob arrives and every answer is lost: a reset, FORGET, and no owner is left", () =>
  withService("unknown outcome", {}, async (service) => {
    const { lab } = service;
    const { router } = lab.nodes;
    const [from, to] = [lab.node("b1").address.address4, lab.nodes.forwarder.address.address4];
    const rule = ["from", from, "to", to, "blackhole"];
    const filter = async (action: "add" | "del"): Promise<void> => {
      const { status, stderr } = await router.run("ip", ["rule", action, ...rule]);
      assert.is(status, 0, stderr);
    };
    const before = service.handoffs().size;
    await filter("add");
    const groups = (["idle", "download", "upload"] as const).map((kind) => {
      return { kind, host: "api.example", count: UNKNOWN / 3 };
    });
    // Answers come directly from b1, which owns the connections: only the forwarder does not know.
    const clients = await service.transfers({ family: 4, groups, seconds: 30 });
    const ends = await clients.end(LIMIT_MS);
    await filter("del");
    const resets = ends.filter(({ how }) => how === "ECONNRESET");
    assert.is(resets.length, UNKNOWN, describe(ends));
    assert.is(service.handoffs().size, before, "no handoff is known to have completed");
    const deadline = Date.now() + LIMIT_MS;
    const isServed = async (): Promise<boolean> =>
      (await ask(service, "api.example", 1)).every(({ received }) => received.includes(" 200 "));
    while (!(await isServed())) assert.ok(Date.now() < deadline, "b1 is back");
    const counters = await service.counters();
    const text = JSON.stringify(Object.fromEntries(counters));
    assert.is(addUp(counters.get("forwarder"), text).aborted, UNKNOWN, text);
    // On a busy machine the clients end so late that b1 counts as dead and has begun anew.
    const isDead = (counters.get("forwarder")?.["judge"]?.["nodes-dead"] ?? 0) > 0;
    if (!isDead) assert.is(counters.get("b1")?.["migrator"]?.["forgotten"], UNKNOWN, text);
  }),
);

outcome.run();
