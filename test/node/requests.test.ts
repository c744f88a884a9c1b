/**
 * Services routed by request: the connection goes back to a classifier before each request after the first, in
 * whatever way that can happen, and every request is answered by the backend that the rules name. The oracle
 * watches every packet: one owner at a time.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { FORWARDER } from "../../host/sim/cluster.ts";
import { NO_FAULTS } from "../../host/sim/network.ts";
import { udpPlace } from "../../host/sim/node.ts";
import { AnsweringServer } from "../support/answering.ts";
import { Ferry, type FerryOptions, type Rider } from "./ferry.ts";

const requests = suite("requests");

const ROUTES = ["path=/a/* -> b1", "path=/b/* -> b2"];
const PLACES = [[], ["c1"], ["c1", "c2"]] as const;

class Depot {
  readonly servers = new Map<string, AnsweringServer>();
  readonly ferry: Ferry;

  constructor(options: FerryOptions = {}) {
    this.ferry = new Ferry({
      routes: ROUTES,
      routing: "request",
      acceptor: (name) => {
        const server = new AnsweringServer(name, (action, ms) => {
          let isOn = true;
          this.ferry.cluster.scheduler.after(1000 * ms, () => isOn && action());
          return () => (isOn = false);
        });
        this.servers.set(name, server);
        return server;
      },
      ...options,
    });
  }

  server(name: string): AnsweringServer {
    const server = this.servers.get(name);
    if (!server) throw new Error(`no server ${name}`);
    return server;
  }

  get served(): number[] {
    return [...this.servers.values()].map(({ served }) => served);
  }

  send(rider: Rider, text: string): void {
    rider.tcp.write(new TextEncoder().encode(text));
  }

  get(rider: Rider, path: string, more = "", method = "GET"): void {
    this.send(rider, `${method} ${path} HTTP/1.1\r\nHost: a.example\r\n${more}\r\n`);
  }

  /** Asks, and waits for the whole answer. */
  ask(rider: Rider, path: string): string {
    rider.text = "";
    this.get(rider, path);
    return this.answer(rider, path);
  }

  answer(rider: Rider, path: string): string {
    this.ferry.until(`an answer to ${path}`, () => rider.text.includes(` ${path}`));
    const said = rider.text.slice(rider.text.indexOf("\r\n\r\n") + 4);
    return said;
  }

  /** The client closes, and nothing is left anywhere. */
  end(...riders: Rider[]): void {
    for (const rider of riders) rider.tcp.end();
    const { ferry } = this;
    ferry.until("an orderly end", () => riders.every(({ finished }) => finished !== ""));
    assert.equal(new Set(riders.map(({ finished }) => finished)), new Set(["closed"]));
    ferry.pass(1_000_000);
    const { role } = ferry.cluster.forwarder;
    assert.is(role.judge.openCount, 0);
    assert.is(role.classifier.size, 0);
    for (const { role: classifier } of ferry.cluster.classifiers) {
      assert.is(classifier.classifier.size, 0);
    }
    for (const { role: backend } of ferry.cluster.backends) assert.is(backend.connections, 0);
  }
}

for (const classifiers of PLACES) {
  const where = classifiers.length > 0 ? `at ${classifiers.join(" and ")}` : "in the forwarder";

  requests(`every request of one connection goes where the rules say (${where})`, () => {
    const depot = new Depot({ classifiers });
    const rider = depot.ferry.connect("text");
    for (let turn = 0; turn < 20; turn++) {
      const [path, name] = turn % 2 === 0 ? [`/a/${turn}`, "b1"] : [`/b/${turn}`, "b2"];
      assert.is(depot.ask(rider, path), `${name} ${path}`);
    }
    assert.is(depot.ferry.returns.length, 19, "once before each request after the first");
    const first = depot.ferry.returns[0] ?? "";
    assert.ok(
      classifiers.length > 0 ? classifiers.some((name) => name === first) : first === FORWARDER,
    );
    assert.equal(new Set(depot.ferry.returns), new Set([first]), "the same one is asked each time");
    assert.equal(depot.served, [10, 10]);
    depot.end(rider);
  });

  requests(`pipelined requests go each to its backend, in order (${where})`, () => {
    const depot = new Depot({ classifiers });
    const rider = depot.ferry.connect("text");
    const paths = Array.from({ length: 12 }, (_, at) => `/${at % 3 === 0 ? "a" : "b"}/${at}`);
    depot.send(rider, paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`).join(""));
    depot.ferry.until("the last answer", () => rider.text.endsWith(" /b/11"));
    const said = [...rider.text.matchAll(/(b\d) (\/\S+?)(?=HTTP|$)/g)].map(([, by, path]) => [
      by,
      path,
    ]);
    assert.equal(
      said,
      paths.map((path) => [path.startsWith("/a") ? "b1" : "b2", path]),
    );
    depot.end(rider);
  });

  requests(`nothing fails where packets and datagrams are lost (${where})`, () => {
    const depot = new Depot({ classifiers, seed: 7 });
    const { ferry } = depot;
    ferry.cluster.network.setFaults("*", "*", {
      ...NO_FAULTS,
      jitterUs: 300,
      lossPercent: 3,
      duplicatePercent: 3,
      reorderPercent: 3,
    });
    const riders = Array.from({ length: 6 }, () => ferry.connect("text"));
    for (let turn = 0; turn < 12; turn++) {
      for (const [index, rider] of riders.entries()) {
        rider.text = "";
        const path = `/${(turn + index) % 2 === 0 ? "a" : "b"}/${turn}`;
        depot.get(rider, path, turn % 3 === 0 ? "Content-Length: 3000\r\n" : "");
        if (turn % 3 === 0) depot.send(rider, "y".repeat(3000));
      }
      for (const [index, rider] of riders.entries()) {
        const [path, name] = (turn + index) % 2 === 0 ? ["/a/", "b1"] : ["/b/", "b2"];
        const body = turn % 3 === 0 ? " 3000" : "";
        const whole = `${name} ${path}${turn}${body}`;
        ferry.until(whole, () => rider.text.endsWith(whole) || rider.finished !== "");
        assert.is(rider.finished, "");
      }
    }
    assert.is(ferry.returns.length, 6 * 11);
    ferry.cluster.network.clearFaults("*", "*");
    depot.end(...riders);
  });
}

requests("large bodies between, in both directions, arrive whole", () => {
  const depot = new Depot();
  const rider = depot.ferry.connect("text");
  const big = 300_000;
  for (const [path, name] of [
    ["/a/1", "b1"],
    ["/b/2", "b2"],
    ["/a/3", "b1"],
  ] as const) {
    rider.text = "";
    depot.get(rider, path, `Content-Length: ${big}\r\n`);
    depot.send(rider, "z".repeat(big));
    depot.answer(rider, path);
    depot.ferry.until("its end", () => rider.text.endsWith(`${name} ${path} ${big}`));
    rider.text = "";
    depot.get(rider, `${path.slice(0, 2)}/big/${big}`);
    depot.ferry.until("all of it", () => rider.text.length > big && rider.text.endsWith("x"));
    const [head = "", body = ""] = rider.text.split("\r\n\r\n");
    assert.match(head, `Content-Length: ${big}`);
    depot.ferry.until("the last byte", () => rider.text.length === head.length + 4 + big);
    assert.ok(body.length > 0);
  }
  depot.end(rider);
});

requests("a request behind a large response waits for it, and is routed all the same", () => {
  const depot = new Depot();
  const rider = depot.ferry.connect("text");
  const big = 1 << 20;
  depot.get(rider, `/a/big/${big}`);
  depot.get(rider, "/b/next");
  depot.ferry.until("both", () => rider.text.endsWith("b2 /b/next"));
  assert.is(rider.text.split("x").length - 1 >= big, true);
  depot.end(rider);
});

requests("an idle connection stays with its backend, and empty lines do not move it", () => {
  const depot = new Depot({ headLimitUs: 5_000_000 });
  const rider = depot.ferry.connect("text");
  depot.ask(rider, "/a/1");
  depot.send(rider, "\r\n\r\n");
  depot.ferry.pass(20_000_000);
  assert.equal(depot.ferry.returns, []);
  assert.is(rider.finished, "");
  assert.is(depot.ask(rider, "/b/2"), "b2 /b/2", "the empty lines belong to nobody");
  depot.end(rider);
});

requests("empty lines and a FIN end the connection in order", () => {
  const depot = new Depot();
  const rider = depot.ferry.connect("text");
  depot.ask(rider, "/a/1");
  depot.send(rider, "\r\n");
  depot.end(rider);
  assert.equal(depot.ferry.returns, []);
});

requests("a request that comes byte by byte moves with its first one", () => {
  const depot = new Depot();
  const rider = depot.ferry.connect("text");
  depot.ask(rider, "/a/1");
  rider.text = "";
  for (const byte of "GET /b/2 HTTP/1.1\r\nHost: a.example\r\n\r\n") {
    depot.send(rider, byte);
    depot.ferry.pass(10_000);
    assert.is(depot.ferry.returns.length, 1);
  }
  assert.is(depot.answer(rider, "/b/2"), "b2 /b/2");
  depot.end(rider);
});

requests("a request and a FIN behind it: the answer comes, then the end", () => {
  const depot = new Depot();
  const rider = depot.ferry.connect("text");
  depot.ask(rider, "/a/1");
  rider.text = "";
  depot.get(rider, "/b/2");
  rider.tcp.end();
  assert.is(depot.answer(rider, "/b/2"), "b2 /b/2");
  depot.end(rider);
});

requests("HEAD, 304 and 103 have no body, and the next request is routed", () => {
  const depot = new Depot();
  const rider = depot.ferry.connect("text");
  depot.get(rider, "/a/1", "", "HEAD");
  depot.ferry.until("a head", () => rider.text.endsWith("\r\n\r\n"));
  for (const path of ["/b/304", "/a/304"]) {
    rider.text = "";
    depot.get(rider, path);
    depot.ferry.until("a head", () => rider.text.endsWith("\r\n\r\n"));
  }
  assert.is(depot.ask(rider, "/b/hint").includes("b2 /b/hint"), true);
  assert.is(depot.ask(rider, "/a/5"), "b1 /a/5");
  assert.is(depot.ferry.returns.length, 4);
  depot.end(rider);
});

requests("an upgrade ends it: everything passes to the server that agreed", () => {
  const depot = new Depot();
  const rider = depot.ferry.connect("text");
  depot.ask(rider, "/a/1");
  rider.text = "";
  depot.get(rider, "/b/upgrade", "Connection: upgrade\r\nUpgrade: x\r\n");
  // What speaks the other protocol already, before the answer.
  depot.send(rider, "GET /a/2 HTTP/1.1\r\n");
  depot.ferry.until("an echo", () => rider.text.endsWith("GET /a/2 HTTP/1.1\r\n"));
  assert.match(rider.text, /^HTTP\/1\.1 101 /);
  assert.is(depot.ferry.returns.length, 1);
  depot.end(rider);
});

requests("Connection: close ends it where it is, and what comes behind is nobody's", () => {
  const depot = new Depot();
  const rider = depot.ferry.connect("text");
  depot.ask(rider, "/a/1");
  rider.text = "";
  depot.get(rider, "/b/close");
  depot.ferry.until("an end", () => rider.ended);
  assert.is(rider.text.endsWith("b2 /b/close"), true);
  assert.is(depot.ferry.returns.length, 1);
  depot.end(rider);
});

requests("no rule, or no backend that lives: the classifier answers and closes", () => {
  for (const [path, status] of [
    ["/c/1", "404"],
    ["/b/1", "503"],
  ] as const) {
    const depot = new Depot();
    const rider = depot.ferry.connect("text");
    depot.ask(rider, "/a/1");
    depot.ferry.cluster.backend("b2").role.drain();
    depot.ferry.pass(1_000_000);
    rider.text = "";
    depot.get(rider, path);
    depot.ferry.until("an end", () => rider.ended);
    assert.match(rider.text, new RegExp(`^HTTP/1\\.1 ${status} .*\\r\\nConnection: close`, "s"));
    depot.end(rider);
  }
});

requests("a head that stops in the middle gets 408 from the classifier", () => {
  const depot = new Depot({ headLimitUs: 2_000_000 });
  const rider = depot.ferry.connect("text");
  depot.ask(rider, "/a/1");
  rider.text = "";
  depot.send(rider, "GET /b/2 HT");
  depot.ferry.until("an end", () => rider.ended);
  assert.match(rider.text, /^HTTP\/1\.1 408 /);
  depot.end(rider);
});

requests(
  "when no classifier takes it, its backend answers, and the next one is tried again",
  () => {
    const depot = new Depot({ classifiers: ["c1"] });
    const rider = depot.ferry.connect("text");
    depot.ask(rider, "/a/1");
    const [c1] = depot.ferry.cluster.classifiers;
    c1?.role.drain();
    depot.ferry.pass(1_000_000);
    assert.is(depot.ask(rider, "/b/2"), "b1 /b/2", "nothing is lost, and nobody chose");
    assert.equal(depot.ferry.returns, []);
    c1?.crash();
    depot.ferry.pass(6_000_000);
    assert.is(depot.ask(rider, "/b/3"), "b1 /b/3");
    depot.ferry.cluster.restart("c1");
    depot.ferry.pass(3_000_000);
    assert.is(depot.ask(rider, "/b/4"), "b2 /b/4");
    depot.end(rider);
  },
);

requests("a classifier that has no room says so, and the connection runs on where it was", () => {
  const depot = new Depot();
  const rider = depot.ferry.connect("text");
  depot.ask(rider, "/a/1");
  const { migrator } = depot.ferry.cluster.forwarder.role;
  const { core } = depot.ferry.cluster.forwarder;
  const infuse = core.infuse.bind(core);
  core.infuse = () => "FULL";
  const startUs = depot.ferry.nowUs;
  assert.is(depot.ask(rider, "/b/2"), "b1 /b/2");
  assert.ok(depot.ferry.nowUs - startUs >= 1_500_000, "it was asked for a while");
  assert.is(migrator.counters["refused-full"], 3 * 16, "as often as anybody is tried each time");
  core.infuse = infuse;
  assert.is(depot.ask(rider, "/b/3"), "b2 /b/3");
  depot.end(rider);
});

for (const refusals of [0, 2]) {
  const how = refusals > 0 ? ", also when it is refused" : "";
  requests(`packets that come to the classifier before the blob wait for it${how}`, () => {
    const depot = new Depot();
    const { ferry } = depot;
    const rider = ferry.connect("text");
    depot.ask(rider, "/a/1");
    // MOVE, and what the client sends, are there long before the last datagram of the blob.
    ferry.cluster.network.setFaults("*", udpPlace(FORWARDER), { ...NO_FAULTS, lossPercent: 30 });
    const { core } = ferry.cluster.forwarder;
    const infuse = core.infuse.bind(core);
    let tried = 0;
    core.infuse = (...args) => (++tried <= refusals ? "FULL" : infuse(...args));
    const big = 400_000;
    rider.text = "";
    depot.get(rider, "/b/2", `Content-Length: ${big}\r\n`);
    depot.send(rider, "z".repeat(20_000));
    ferry.until("a grant", () => ferry.cluster.forwarder.role.judge.counters["grants"] === 2);
    for (let sent = 20_000; sent < big; sent += 2_000) {
      const afterUs = (sent - 20_000) / 10;
      ferry.cluster.scheduler.after(afterUs, () => depot.send(rider, "z".repeat(2_000)));
    }
    ferry.until("an answer", () => rider.text.endsWith(`b2 /b/2 ${big}`));
    const { early_held: held = 0, early_replayed: replayed = 0 } = core.counters();
    assert.ok(held > 0, "some waited");
    assert.ok(refusals > 0 ? replayed < held : replayed === held, `${replayed} of ${held}`);
    assert.is(ferry.cluster.forwarder.role.counters["reinjectRefused"], 0);
    ferry.cluster.network.clearFaults("*", udpPlace(FORWARDER));
    depot.end(rider);
  });
}

requests("a request waits for a forwarder that begins anew", () => {
  for (const classifiers of PLACES) {
    const depot = new Depot({ classifiers });
    const rider = depot.ferry.connect("text");
    depot.ask(rider, "/a/1");
    depot.ferry.cluster.forwarder.crash();
    depot.ferry.pass(300_000);
    depot.ferry.cluster.restart(FORWARDER);
    assert.is(depot.ask(rider, "/b/2"), "b2 /b/2");
    depot.end(rider);
  }
});

/** Wherever it is caught: at its backend, at a classifier, or between them. */
requests(
  "classifiers apart keep a request while its forwarder is away, and answer none themselves",
  () => {
    for (let at = 0; at < 12; at++) {
      const depot = new Depot({ classifiers: ["c1", "c2"], seed: 1 + at });
      const { ferry } = depot;
      const rider = ferry.connect("text");
      depot.ask(rider, "/a/1");
      rider.text = "";
      depot.get(rider, "/b/2");
      ferry.pass(200 * at);
      ferry.cluster.forwarder.crash();
      ferry.pass([100_000, 1_700_000, 1_950_000][at % 3]!);
      ferry.cluster.restart(FORWARDER);
      const said = depot.answer(rider, "/b/2");
      // Its backend may have waited for longer than 1.5 s: then it is answered where it is.
      assert.ok(said === "b2 /b/2" || (said === "b1 /b/2" && at % 3 > 0), `${at}: ${said}`);
      assert.match(rider.text, /^HTTP\/1\.1 200 /);
      depot.end(rider);
    }
  },
);

requests("a drain moves an idle connection, and its next request is routed from there", () => {
  const depot = new Depot({
    backends: ["b1", "b2", "b3"],
    routes: ["path=/a/* -> b1,b3", "path=/b/* -> b2"],
  });
  const rider = depot.ferry.connect("text");
  depot.ask(rider, "/a/1");
  depot.ferry.cluster.forwarder.role.drains.order("b1", true);
  depot.ferry.until("a move", () => depot.server("b1").moved === 1);
  depot.ferry.pass(1_000_000);
  assert.is(depot.server("b3").open.size, 1);
  assert.equal(depot.ferry.returns, []);
  assert.is(depot.ask(rider, "/b/2"), "b2 /b/2");
  assert.equal(depot.server("b3").asked, [], "the rules had not chosen b3 for it");
  assert.is(depot.ask(rider, "/a/3"), "b3 /a/3");
  depot.end(rider);
});

requests("a service routed by connection stays with its backend", () => {
  const depot = new Depot({ routing: "connection" });
  const rider = depot.ferry.connect("text");
  depot.ask(rider, "/a/1");
  assert.is(depot.ask(rider, "/b/2"), "b1 /b/2");
  assert.equal(depot.ferry.returns, []);
  depot.end(rider);
});

requests("what is no HTTP is never routed again", () => {
  const depot = new Depot({ routes: ["protocol=other -> b1", ...ROUTES] });
  const rider = depot.ferry.connect("text");
  depot.send(rider, "\x01\x02 hello\r\n\r\n");
  depot.ferry.until("an answer", () => rider.text.includes("200"));
  depot.send(rider, "more\r\n\r\n");
  depot.ferry.pass(1_000_000);
  assert.equal(depot.ferry.returns, []);
  assert.is(depot.server("b1").served, 1);
  depot.end(rider);
});

requests("the same backend again: the connection goes and comes back", () => {
  const depot = new Depot();
  const rider = depot.ferry.connect("text");
  for (let turn = 0; turn < 30; turn++) assert.is(depot.ask(rider, `/a/${turn}`), `b1 /a/${turn}`);
  assert.is(depot.ferry.returns.length, 29);
  depot.end(rider);
});

requests("a crash of the forwarder ends what it reads; what waits elsewhere goes on", () => {
  const depot = new Depot();
  const { ferry } = depot;
  const [idle, reading] = [ferry.connect("text"), ferry.connect("text")];
  depot.ask(idle, "/a/1");
  depot.ask(reading, "/a/1");
  depot.send(reading, "GET /b/2 HT");
  ferry.until("it is read", () => ferry.returns.length === 1);
  ferry.cluster.forwarder.crash();
  ferry.allowReset(reading, "its classifier crashed");
  ferry.pass(500_000);
  ferry.cluster.restart(FORWARDER);
  ferry.pass(5_000_000);
  assert.is(depot.ask(idle, "/b/2"), "b2 /b/2");
  depot.send(reading, "TP/1.1\r\n");
  ferry.until("a RST", () => reading.finished === "reset");
  depot.end(idle);
});

requests.run();
