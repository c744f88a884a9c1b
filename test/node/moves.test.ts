/**
 * Connections that move from backend to backend, in every situation that a connection can be in: bytes on
 * their way in both directions, none, half-closed; and what happens when nobody takes them. The servers
 * keep their place in the application's state, so a move may come in the middle of a body.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { NO_POOL } from "../../host/node/messages.ts";
import { nodeId } from "../../host/transport/create.ts";
import { createNodeCipher } from "../../host/link/cipher.ts";
import { Ferry } from "./ferry.ts";

const moves = suite("moves between backends");
const cipher = createNodeCipher();

const MIB = 1 << 20;

/** The outcome says where it is. */
function expectMoved(ferry: Ferry, outcome: unknown, to: string): void {
  assert.equal(outcome, { kind: "moved", node: nodeId(cipher, to) });
  assert.is(ferry.last().backend, to);
}

/** The client hears the end of the connection from wherever it is. */
function expectOrderlyEnd(ferry: Ferry, rider: ReturnType<Ferry["connect"]>): void {
  rider.tcp.end();
  ferry.until("the end", () => rider.finished !== "");
  assert.is(rider.finished, "closed");
  ferry.pass(1_000_000);
  for (const { role } of ferry.cluster.backends) assert.is(role.connections, 0);
}

moves("in the middle of a download, there and back, ten times", () => {
  const ferry = new Ferry();
  const bytes = 4 * MIB;
  const rider = ferry.connect([{ stream: 7, bytes }]);
  ferry.ask(rider, 7, 0, bytes);
  for (let turn = 1; turn <= 10; turn++) {
    ferry.until("more of it", () => rider.received > (turn * bytes) / 12);
    const { live, backend } = ferry.last();
    assert.ok(live.writableLength > 0, "bytes are on their way");
    expectMoved(ferry, ferry.move(), backend === "b1" ? "b2" : "b1");
  }
  ferry.until("all of it", () => rider.received === bytes);
  const { passed, begun } = ferry.cluster.forwarder.role.courier.counters;
  assert.equal([passed, begun], [10, 10], "they went on while they came");
  expectOrderlyEnd(ferry, rider);
});

moves("in the middle of an upload, ten times", () => {
  const ferry = new Ferry();
  const bytes = 2 * MIB;
  const rider = ferry.connect([{ stream: 3, bytes: 10 }]);
  ferry.ask(rider, 3, bytes, 10);
  for (let turn = 1; turn <= 10; turn++) {
    ferry.until("more of it", () => bytes - rider.tcp.unacknowledged > (turn * bytes) / 12);
    const { backend } = ferry.last();
    expectMoved(ferry, ferry.move(), backend === "b1" ? "b2" : "b1");
  }
  ferry.until("the answer", () => rider.received === 10);
  expectOrderlyEnd(ferry, rider);
});

moves("while nothing happens, and works on there", () => {
  const ferry = new Ferry();
  const rider = ferry.connect([
    { stream: 1, bytes: 100 },
    { stream: 2, bytes: 100 },
  ]);
  ferry.ask(rider, 1, 0, 100);
  ferry.until("an answer", () => rider.received === 100);
  ferry.pass(1_000_000);
  expectMoved(ferry, ferry.move(), "b2");
  ferry.ask(rider, 2, 50, 100);
  ferry.until("another one", () => rider.received === 200);
  expectOrderlyEnd(ferry, rider);
});

moves("after the client's FIN, while the answer is on its way", () => {
  const ferry = new Ferry();
  const rider = ferry.connect([{ stream: 4, bytes: MIB }]);
  ferry.ask(rider, 4, 10, MIB);
  rider.tcp.end();
  ferry.until("some of it", () => rider.received > MIB / 3);
  expectMoved(ferry, ferry.move(), "b2");
  ferry.until("some more", () => rider.received > (2 * MIB) / 3);
  expectMoved(ferry, ferry.move(), "b1");
  ferry.until("the end", () => rider.finished !== "");
  assert.is(rider.received, MIB);
  assert.is(rider.finished, "closed");
});

moves("after the server's FIN, while the client goes on", () => {
  const ferry = new Ferry();
  const rider = ferry.connect([{ stream: 5, bytes: 100 }]);
  ferry.ask(rider, 5, 0, 100);
  ferry.until("an answer", () => rider.received === 100);
  ferry.last().live.shutdown();
  ferry.until("a FIN", () => rider.ended);
  ferry.pass(1_000_000);
  expectMoved(ferry, ferry.move(), "b2");
  ferry.upload(rider, 5, 0, 10); // Nobody asked for them: the next request's head, as far as it goes.
  ferry.pass(1_000_000);
  assert.is(ferry.last().live.bytesRead, 10, "it arrived at the new owner");
});

moves("with requests that nobody has read yet", () => {
  const ferry = new Ferry();
  const rider = ferry.connect([1, 2, 3].map((stream) => ({ stream, bytes: 1000 })));
  ferry.ask(rider, 1, 0, 1000);
  ferry.until("an answer", () => rider.received === 1000);
  const { live } = ferry.last();
  live.listen({
    readable: () => undefined, // Busy elsewhere: what comes stays unread.
    writable: () => undefined,
    ended: () => undefined,
    closed: () => undefined,
    readiness: () => ({ kind: "ready", state: new Uint8Array(0) }),
  });
  ferry.ask(rider, 2, 3000, 1000);
  ferry.ask(rider, 3, 0, 1000);
  ferry.until("bytes", () => live.readableLength > 3000);
  expectMoved(ferry, ferry.move(), "b2");
  ferry.until("both answers", () => rider.received === 3000);
  expectOrderlyEnd(ferry, rider);
});

moves("with bytes that were written and not sent, for a client that does not read", () => {
  const ferry = new Ferry();
  const bytes = MIB;
  const rider = ferry.connect([{ stream: 6, bytes }]);
  ferry.ask(rider, 6, 0, bytes);
  ferry.until("some of it", () => rider.received > 10_000);
  rider.tcp.pause(true);
  ferry.pass(5_000_000);
  const { received } = rider;
  assert.ok(ferry.last().live.writableLength > 65_535, "more than the window takes");
  expectMoved(ferry, ferry.move(), "b2");
  ferry.pass(5_000_000);
  assert.ok(rider.received < received + 65_535, "the window holds for the new owner, too");
  rider.tcp.pause(false);
  ferry.until("all of it", () => rider.received === bytes);
  expectOrderlyEnd(ferry, rider);
});

moves("to a backend by its name, and not where there is none of that name", () => {
  const ferry = new Ferry({ backends: ["b1", "b2", "b3"] });
  const rider = ferry.connect([{ stream: 1, bytes: 10 }]);
  ferry.ask(rider, 1, 0, 10);
  ferry.until("an answer", () => rider.received === 10);
  expectMoved(ferry, ferry.move("b3"), "b3");
  assert.equal(ferry.move("b9"), { kind: "kept", reason: "nobody took it" });
  assert.equal(ferry.move("b3"), { kind: "kept", reason: "nobody took it" }, "not to itself");
  expectMoved(ferry, ferry.move("b1"), "b1");
  expectOrderlyEnd(ferry, rider);
});

moves("to members of its own pool only, by turns, wherever it is", () => {
  const ferry = new Ferry({
    backends: ["b1", "b2", "b3", "b4"],
    pools: ["three=b1,b2,b3"],
    routes: ["host=other -> b4", "default -> three"],
  });
  const rider = ferry.connect([{ stream: 1, bytes: 10 }]);
  ferry.ask(rider, 1, 0, 10);
  ferry.until("an answer", () => rider.received === 10);
  const seen = new Set<string>();
  for (let turn = 0; turn < 9; turn++) {
    const before = ferry.last().backend;
    assert.is(ferry.move().kind, "moved");
    assert.is.not(ferry.last().backend, before);
    seen.add(ferry.last().backend);
  }
  assert.equal([...seen].sort(), ["b1", "b2", "b3"]);
  assert.is(ferry.last().live.baggage.pool, nodeId(cipher, "three"));
});

moves("never to a backend that drains; the connection works on where it is", () => {
  const ferry = new Ferry({ backends: ["b1", "b2", "b3"] });
  const rider = ferry.connect([
    { stream: 1, bytes: 10 },
    { stream: 2, bytes: 10 },
  ]);
  ferry.ask(rider, 1, 0, 10);
  ferry.until("an answer", () => rider.received === 10);
  ferry.cluster.backend("b2").role.drain();
  ferry.pass(1_000_000);
  expectMoved(ferry, ferry.move(), "b3");
  ferry.cluster.backend("b1").role.drain();
  ferry.pass(1_000_000);
  assert.equal(ferry.move(), { kind: "kept", reason: "nobody took it" });
  ferry.ask(rider, 2, 0, 10);
  ferry.until("another answer", () => rider.received === 20);
  expectOrderlyEnd(ferry, rider);
});

moves("a target that refuses: another one takes it", () => {
  const ferry = new Ferry({ backends: ["b1", "b2", "b3"] });
  const rider = ferry.connect([{ stream: 1, bytes: 4 * MIB }]);
  ferry.ask(rider, 1, 0, 4 * MIB);
  ferry.until("some of it", () => rider.received > MIB);
  const server = ferry.servers.get("b2");
  if (server) server.isRefusing = true;
  expectMoved(ferry, ferry.move(), "b3");
  expectMoved(ferry, ferry.move("b1"), "b1");
  assert.is(ferry.move("b2").kind, "kept");
  const refused = ferry.cluster.backend("b2").role.migrator.counters["refused-no-application"];
  assert.ok((refused ?? 0) >= 2, "b2 was asked");
  ferry.until("all of it", () => rider.received === 4 * MIB);
  expectOrderlyEnd(ferry, rider);
});

moves(
  "a blob of a later format, or of a connection that is there: refused, with the reason",
  () => {
    const ferry = new Ferry({ backends: ["b1", "b2", "b3"] });
    const rider = ferry.connect([{ stream: 1, bytes: 4 * MIB }]);
    ferry.ask(rider, 1, 0, 4 * MIB);
    ferry.until("some of it", () => rider.received > MIB);
    const [b2, b3] = [ferry.cluster.backend("b2"), ferry.cluster.backend("b3")];
    const take = b2.core.infuse.bind(b2.core);
    b2.core.infuse = (blob, ...rest) => {
      const later = blob.slice();
      later[4] = 255;
      return take(later, ...rest);
    };
    expectMoved(ferry, ferry.move(), "b3");
    assert.is(b2.role.migrator.counters["refused-version"], 1, "b2 was asked");
    assert.ok(ferry.last().live.writableLength > 0, "bytes are on their way");
    // The core of b3 has the connection, frozen as it is, and is asked in the place of that of b2.
    b2.core.infuse = b3.core.infuse.bind(b3.core);
    assert.equal(ferry.move("b2"), { kind: "kept", reason: "nobody took it" });
    assert.ok((b2.role.migrator.counters["refused-taken"] ?? 0) > 0, "b2 was asked");
    b2.core.infuse = take;
    expectMoved(ferry, ferry.move("b2"), "b2");
    ferry.until("all of it", () => rider.received === 4 * MIB);
    expectOrderlyEnd(ferry, rider);
  },
);

moves("an application that thinks better of it when the grant comes", () => {
  const ferry = new Ferry();
  const rider = ferry.connect([
    { stream: 1, bytes: 10 },
    { stream: 2, bytes: 10 },
  ]);
  ferry.ask(rider, 1, 0, 10);
  ferry.until("an answer", () => rider.received === 10);
  const outcome = ferry.move(undefined, () => ({ kind: "busy", reason: "a request has begun" }));
  assert.equal(outcome, { kind: "kept", reason: "a request has begun" });
  ferry.ask(rider, 2, 0, 10);
  ferry.until("another answer", () => rider.received === 20);
  assert.is(ferry.cluster.forwarder.role.judge.openCount, 0, "the grant was given back");
  expectMoved(ferry, ferry.move(), "b2");
  expectOrderlyEnd(ferry, rider);
});

moves("an application's state of 4,096 bytes travels; one byte more is refused", () => {
  const ferry = new Ferry();
  const rider = ferry.connect([{ stream: 1, bytes: 10 }]);
  ferry.ask(rider, 1, 0, 10);
  ferry.until("an answer", () => rider.received === 10);
  const text = new TextEncoder().encode(
    JSON.stringify({ head: "", read: 0, written: 0, pad: "x".repeat(4000) }).padEnd(4096),
  );
  assert.is(text.length, 4096);
  const state = Uint8Array.from([...text, 32]);
  const refused = ferry.move(undefined, () => ({ kind: "ready", state }));
  assert.equal(refused, { kind: "kept", reason: "it is in no state to move" });
  assert.is(ferry.move(undefined, () => ({ kind: "ready", state: text })).kind, "moved");
  assert.equal(ferry.last().live.state, text);
  assert.is(ferry.move().kind, "moved", "its server could read it");
  expectOrderlyEnd(ferry, rider);
});

moves("what is asked of a connection that stands still happens when it runs on", () => {
  const ferry = new Ferry();
  const rider = ferry.connect([{ stream: 1, bytes: 10 }]);
  ferry.ask(rider, 1, 0, 10);
  ferry.until("an answer", () => rider.received === 10);
  const server = ferry.servers.get("b2");
  if (server) server.isRefusing = true;
  const { live } = ferry.last();
  const { core } = ferry.cluster.backend("b1");
  let outcome = "";
  const ready = () => live.readiness();
  live.migrate({ target: "b2", ready, done: ({ kind }) => (outcome = kind) });
  const freeze = core.freeze.bind(core);
  let isFrozen = false;
  core.freeze = (handle) => (isFrozen = freeze(handle));
  ferry.until("a freeze", () => isFrozen);
  assert.is(live.write(new Uint8Array(3)), 0, "nothing is taken");
  assert.is(live.read(new Uint8Array(3)), 0);
  live.shutdown();
  assert.is(rider.ended, false);
  ferry.until("an outcome", () => outcome !== "");
  assert.is(outcome, "kept");
  ferry.until("the FIN", () => rider.ended);
  expectOrderlyEnd(ferry, rider);
});

moves("a connection that its application let go is not given away", () => {
  const ferry = new Ferry();
  const rider = ferry.connect([{ stream: 1, bytes: MIB }]);
  ferry.ask(rider, 1, 0, MIB);
  ferry.until("all of it", () => rider.received === MIB);
  const { live } = ferry.last();
  let outcome = "";
  live.migrate({ ready: () => live.readiness(), done: ({ kind }) => (outcome = kind) });
  live.close();
  ferry.until("an outcome", () => outcome !== "");
  assert.is(outcome, "kept");
  expectOrderlyEnd(ferry, rider);
  live.migrate({ ready: () => live.readiness(), done: ({ kind }) => (outcome = kind) });
  ferry.pass(1_000_000);
  assert.is(outcome, "ended");
});

moves("an operator's drain empties a backend and says how; undrain lets it take again", () => {
  const ferry = new Ferry({ backends: ["b1", "b2", "b3"], routes: ["default -> b1,b2,b3"] });
  const riders = Array.from({ length: 30 }, (_, stream) => {
    const rider = ferry.connect([{ stream, bytes: MIB / 8 }]);
    ferry.ask(rider, stream, 0, MIB / 8);
    return rider;
  });
  const { drains } = ferry.cluster.forwarder.role;
  const b1 = ferry.cluster.backend("b1").role;
  assert.is(drains.order("b9", true), false);
  assert.is(drains.view("b9"), undefined);
  assert.is(b1.connections, 10);
  assert.is(drains.order("b1", true), true);
  ferry.until("an empty b1", () => drains.view("b1")?.progress?.open === 0);
  const { progress, isAlive } = drains.view("b1") ?? {};
  const empty = { on: true, open: 0, moving: 0, moved: 10, lost: 0, remaining: [] };
  assert.equal({ progress, isAlive }, { progress: { type: "progress", ...empty }, isAlive: true });
  const late = ferry.connect([{ stream: 99, bytes: 10 }]);
  ferry.ask(late, 99, 0, 10);
  ferry.until("an answer", () => late.received === 10);
  ferry.until("all of it", () => riders.every(({ received }) => received === MIB / 8));
  assert.is(b1.connections, 0);
  drains.order("b1", false);
  ferry.until("its word", () => drains.view("b1")?.progress?.on === false);
  ferry.pass(1_000_000);
  const again = Array.from({ length: 3 }, (_, at) => {
    const rider = ferry.connect([{ stream: 200 + at, bytes: 10 }]);
    ferry.ask(rider, 200 + at, 0, 10);
    return rider;
  });
  ferry.until("answers", () => again.every(({ received }) => received === 10));
  assert.is(b1.connections, 1);
});

moves("a drain tells who stays and why, and takes what becomes movable later", () => {
  const ferry = new Ferry();
  const says = ["busy", "never", "ready"] as const;
  const lives = says.map((kind, stream) => {
    const rider = ferry.connect([{ stream, bytes: 10 }]);
    ferry.ask(rider, stream, 0, 10);
    ferry.until("an answer", () => rider.received === 10);
    const { live } = ferry.last();
    const state = new Uint8Array(0);
    const told = { kind: kind as string, kept: 0 };
    live.listen({
      readable: () => undefined,
      writable: () => undefined,
      ended: () => undefined,
      closed: () => undefined,
      readiness: () =>
        told.kind === "ready"
          ? { kind: "ready", state }
          : { kind: told.kind as "busy" | "never", reason: `it is ${told.kind}` },
      kept: () => void told.kept++,
    });
    return { live, told };
  });
  // By turns: two of the three are on b1.
  const b1 = ferry.cluster.backend("b1").role;
  const { drains } = ferry.cluster.forwarder.role;
  const here = lives.filter(({ live }) =>
    ferry.arrivals.some((a) => a.live === live && a.backend === "b1"),
  );
  assert.is(here.length, 2);
  const [first, second] = here as [(typeof lives)[0], (typeof lives)[0]];
  first.told.kind = "busy";
  second.told.kind = "never";
  drains.order("b1", true);
  ferry.pass(2_000_000);
  const remaining = [
    { reason: "it is busy", count: 1, isFinal: false },
    { reason: "it is never", count: 1, isFinal: true },
  ];
  assert.equal(drains.view("b1")?.progress?.remaining, remaining);
  first.told.kind = "ready";
  first.live.offer();
  ferry.until("one gone", () => b1.connections === 1);
  assert.is(drains.view("b1")?.isAlive, true);
  ferry.cluster.backend("b2").role.drain();
  second.told.kind = "ready";
  ferry.pass(2_000_000);
  assert.ok(second.told.kept > 3, "nobody took it: it is the application's between the attempts");
  const [left] = drains.view("b1")?.progress?.remaining ?? [];
  assert.equal(left, { reason: "nobody took it", count: 1, isFinal: false });
  drains.order("b1", false);
  ferry.pass(1_000_000);
  const { kept } = second.told;
  ferry.pass(2_000_000);
  assert.is(second.told.kept, kept, "nobody asks any more");
  assert.is(b1.connections, 1);
});

moves("a blob passes through the forwarder, once", () => {
  const ferry = new Ferry();
  const rider = ferry.connect([{ stream: 1, bytes: 10 }]);
  ferry.ask(rider, 1, 0, 10);
  ferry.until("an answer", () => rider.received === 10);
  assert.is.not(ferry.last().live.baggage.pool, NO_POOL);
  assert.is(ferry.move().kind, "moved");
  const { courier } = ferry.cluster.forwarder.role;
  assert.equal(courier.counters, { passed: 1, begun: 0, refused: 0, full: 0 });
  assert.is(ferry.cluster.backend("b2").role.migrator.counters["arrived"], 1);
});

moves.run();
