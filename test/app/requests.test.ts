/**
 * A connection whose requests are routed one by one, as its server sees it: what it may read, when the connection
 * asks to go, and what becomes of a server's wishes meanwhile.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { byRequest } from "../../host/app/requests.ts";
import type { Connection, ConnectionEvents } from "../../host/node/connection.ts";
import { connectionPair, type FakeConnection } from "../support/connection.ts";

const requests = suite("app/requests");

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Turns happen when `run` is called. */
class Stage {
  readonly #turns: (() => void)[] = [];
  readonly #later: (() => void)[] = [];
  readonly client: FakeConnection;
  readonly inner: FakeConnection;
  readonly connection: Connection;
  readonly events: string[] = [];

  constructor(state: Uint8Array = new Uint8Array(0), sendBuffer = 1 << 20) {
    const pair = connectionPair({ later: (turn) => this.#turns.push(turn), sendBuffer });
    this.client = pair.client;
    this.inner = pair.server;
    this.inner.routing = "request";
    this.inner.state = state;
    this.connection = byRequest(this.inner, (action) => {
      this.#later.push(action);
      return () => void this.#later.splice(this.#later.indexOf(action), 1);
    });
    const note = (what: string) => () => void this.events.push(what);
    const events: ConnectionEvents = {
      readable: note("readable"),
      writable: note("writable"),
      ended: note("ended"),
      closed: note("closed"),
      moved: note("moved"),
    };
    this.connection.listen(events);
    this.run();
  }

  run(): void {
    for (let turn = this.#turns.shift(); turn; turn = this.#turns.shift()) turn();
  }

  passTime(): void {
    for (const action of this.#later.splice(0)) action();
    this.run();
  }

  send(text: string): void {
    this.client.write(Buffer.from(text));
    this.run();
  }

  /** Nobody takes it, however often it asks. */
  keep(): void {
    for (let tries = 0; this.inner.moving && tries < 20; tries++) {
      this.inner.settle({ kind: "kept", reason: "nobody took it" });
      this.passTime();
    }
  }

  say(text: string): void {
    assert.is(this.connection.write(Buffer.from(text)), text.length);
    this.run();
  }

  read(): string {
    const into = Buffer.alloc(this.connection.readableLength + 10);
    const text = into.subarray(0, this.connection.read(into)).toString("latin1");
    this.run();
    return text;
  }
}

requests("a connection routed as a whole, or in the middle of a message, stays as it is", () => {
  const { server } = connectionPair();
  assert.is(byRequest(server), server);
  server.routing = "request";
  server.state = Uint8Array.of(9, 9);
  assert.is(byRequest(server), server);
});

requests("its server reads one request, and not a byte of the next", () => {
  const stage = new Stage();
  const post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
  stage.send(post + GET + GET);
  assert.is(stage.connection.readableLength, post.length);
  assert.is(stage.connection.peek(Buffer.alloc(100), post.length), 0);
  assert.is(stage.connection.peek(Buffer.alloc(100), post.length - 3), 3);
  assert.is(stage.read(), post);
  assert.is(stage.connection.readableLength, 0);
  assert.is(stage.inner.moving, undefined, "it has not been answered");
  stage.say(OK.slice(0, -1));
  assert.is(stage.inner.moving, undefined);
  stage.say("k");
  assert.is(stage.inner.moving?.reroute, true);
  assert.is(stage.inner.readableLength, 2 * GET.length, "all of it travels along");
});

requests(
  "without a copy its server sees no more than that, whether it throws, answers or goes on",
  () => {
    const stage = new Stage();
    stage.send(GET + GET);
    const seen: string[] = [];
    const look = (piece: Uint8Array): void => {
      seen.push(Buffer.from(piece).toString("latin1"));
      if (seen.length === 2) throw new Error("no more");
      // Its answer comes before its request is consumed: nothing may go on meanwhile.
      if (seen.length === 3) stage.connection.write(Buffer.from(OK));
      assert.is(stage.inner.moving, undefined);
    };
    assert.is(stage.connection.consume(3, look), 3);
    assert.throws(() => stage.connection.consume(Infinity, look), "no more");
    assert.is(stage.connection.readableLength, GET.length - 3);
    assert.is(stage.connection.consume(Infinity, look), GET.length - 3);
    assert.equal(seen, [GET.slice(0, 3), GET.slice(3), GET.slice(3)]);
    assert.is(stage.connection.readableLength, 0);
    assert.is(stage.inner.moving?.reroute, true);
    assert.is(stage.inner.readableLength, GET.length, "the next one travels along");
  },
);

requests("the move begins with the first byte of the next request, not before", () => {
  const stage = new Stage();
  stage.send(GET);
  stage.read();
  stage.say(OK);
  assert.is(stage.inner.moving, undefined);
  stage.send("\r\n");
  assert.is(stage.inner.moving, undefined, "an empty line begins nothing");
  stage.send("G");
  assert.is(stage.inner.moving?.reroute, true);
  const ready = stage.inner.freeze();
  assert.equal(ready, { kind: "ready", state: new Uint8Array(0) });
  stage.inner.settle({ kind: "moved", node: "c" });
  assert.is(stage.events.at(-1), "moved");
});

requests("when nobody takes it, its server reads one more request, and then it asks again", () => {
  const stage = new Stage();
  stage.send(GET);
  stage.read();
  stage.say(OK);
  stage.send(GET + GET);
  for (let count = 0; count < 2; count++) {
    const told = stage.events.length;
    stage.keep();
    assert.ok(stage.events.slice(told).includes("readable"));
    assert.is(stage.read(), GET);
    assert.is(stage.inner.moving, undefined);
    stage.say(OK);
    assert.is(stage.inner.moving !== undefined, count === 0, "the last one was answered, too");
  }
});

requests("it asks for 1.5 s once, then only once for each request", () => {
  const stage = new Stage();
  stage.send(GET);
  stage.read();
  stage.say(OK);
  stage.send(GET);
  const counts: number[] = [];
  for (let request = 0; request < 3; request++) {
    let count = 0;
    for (; stage.inner.moving; count++) {
      stage.inner.settle({ kind: "kept", reason: "" });
      stage.passTime();
    }
    counts.push(count);
    assert.is(stage.read(), GET);
    stage.say(OK);
    stage.send(GET);
  }
  assert.equal(counts, [16, 1, 1]);
});

requests("a server that ends it while it waits is heard at once", () => {
  for (const act of ["shutdown", "close", "abort"] as const) {
    const stage = new Stage();
    stage.send(GET);
    stage.read();
    stage.say(OK);
    stage.send(GET);
    stage.inner.settle({ kind: "kept", reason: "" });
    stage.connection[act]();
    stage.run();
    assert.is(stage.inner.letGo, act === "shutdown" ? undefined : act);
    stage.passTime();
    assert.is(stage.inner.moving, undefined);
  }
});

requests("one that came idle belongs to nobody until its request was routed", () => {
  const stage = new Stage(Uint8Array.of(1));
  stage.send(GET);
  assert.is(stage.connection.readableLength, 0);
  assert.is(stage.inner.moving?.reroute, true);
});

requests("what its server does meanwhile happens when it stays, and never when it goes", () => {
  for (const outcome of ["kept", "moved", "ended"] as const) {
    for (const act of ["shutdown", "close", "abort"] as const) {
      const stage = new Stage();
      stage.send(GET);
      stage.read();
      stage.say(OK);
      stage.send(GET);
      stage.connection[act]();
      stage.run();
      assert.is(stage.inner.letGo, undefined);
      const settled = { kind: outcome, reason: "", node: "" };
      stage.inner.settle(settled as Parameters<FakeConnection["settle"]>[0]);
      stage.run();
      const did = act === "shutdown" ? undefined : act;
      assert.is(stage.inner.letGo, outcome === "moved" ? "moved" : did, `${act}, ${outcome}`);
    }
  }
});

requests("a FIN is told by whoever has the last request", () => {
  const stage = new Stage();
  stage.send(GET + GET);
  stage.client.shutdown();
  stage.run();
  stage.read();
  assert.not.ok(stage.events.includes("ended"));
  stage.say(OK);
  stage.keep();
  assert.ok(stage.events.includes("ended"));
  assert.is(stage.read(), GET);
});

requests("empty lines before a FIN are nobody's, and no reason for a RST", () => {
  const stage = new Stage();
  stage.send(`${GET}\r\n`);
  stage.read();
  stage.client.shutdown();
  stage.run();
  assert.ok(stage.events.includes("ended"));
  stage.say(OK);
  stage.connection.close();
  stage.run();
  assert.not.ok(stage.inner.resetSent);
});

requests("much of a response that has not arrived is waited for", () => {
  const stage = new Stage();
  stage.send(GET + GET);
  stage.read();
  stage.inner.hold(true);
  stage.say(`HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n${"x".repeat(100_000)}`);
  stage.passTime();
  assert.is(stage.inner.moving, undefined);
  stage.inner.hold(false);
  stage.run();
  stage.client.readAll();
  stage.run();
  stage.passTime();
  assert.is(stage.inner.moving?.reroute, true);
});

requests("what is written in between makes it busy, and then all passes", async () => {
  const stage = new Stage();
  stage.send(GET);
  stage.read();
  stage.say(OK);
  stage.send(GET);
  stage.say("unasked\r\n");
  assert.is(stage.inner.freeze().kind, "busy");
  stage.keep();
  assert.is(stage.read(), GET);
});

for (const [what, sent, said] of [
  ["CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nxyz", ""],
  ["close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nxyz", ""],
  ["HTTP/1.0", "GET / HTTP/1.0\r\n\r\nxyz", ""],
  ["smuggling", "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nxyz", ""],
  ["101", `${GET}xyz`, "HTTP/1.1 101 Switching Protocols\r\n\r\n"],
  ["an end", `${GET}xyz`, "HTTP/1.1 200 OK\r\n\r\n"],
] as const) {
  requests(`all passes to the server after ${what}`, async () => {
    const stage = new Stage();
    stage.send(sent);
    if (said !== "") {
      assert.is(stage.read(), sent.slice(0, -3));
      stage.say(said);
      await new Promise((resolve) => setImmediate(resolve));
      assert.is(stage.events.at(-1), "readable");
      assert.is(stage.read(), "xyz");
    } else assert.is(stage.read(), sent);
    stage.send(GET);
    assert.is(stage.read(), GET);
    assert.is(stage.inner.moving, undefined);
  });
}

requests("requests are told apart however they are cut", () => {
  const chunked =
    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n";
  const sized = "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nGET / HTT";
  const one = fc.constantFrom(GET, `\r\n${GET}`, chunked, sized);
  fc.assert(
    fc.property(
      fc.array(one, { minLength: 1, maxLength: 6 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 40 })),
      (all, cuts) => {
        const stage = new Stage();
        const text = all.join("");
        const got: string[] = [];
        let at = 0;
        let current = "";
        for (let turn = 0; got.length < all.length && turn < 1000; turn++) {
          const { value = 1 } = cuts.next();
          if (at < text.length) stage.send(text.slice(at, (at += Number(value))));
          current += stage.read();
          stage.keep();
          const whole = all[got.length] ?? "";
          assert.ok(current.length <= whole.length, "not a byte more");
          if (current !== whole) continue;
          got.push(current);
          current = "";
          stage.say(OK);
        }
        assert.equal(got, [...all]);
      },
    ),
    { numRuns: 300 },
  );
});

requests.run();
