/** The claims that the first device fulfils: accept, classify, compile, send, map, encapsulate. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readBlob } from "../../host/observe/blob.ts";
import { ACK, SYN } from "../../host/sim/packet.ts";
import { END, flowOf, request, Scene, SERVICE, SERVICE_PORT, type Visitor } from "./scene.ts";

const claims = suite("claims of the first device");

const BODY = "0123456789abcdef".repeat(2500);

function tupleOf(scene: Scene, { port }: Visitor) {
  const infused = scene.infused.find(({ tuple }) => tuple.remotePort === port);
  return (
    infused?.tuple ?? scene.compiled.find(({ info }) => info.tuple.remotePort === port)?.info.tuple
  );
}

claims(
  "C1: accepts a connection at the forwarder, receives its data, gives it to the classifier",
  () => {
    const scene = new Scene();
    const visitor = scene.connect();
    visitor.say("POST / HTTP/1.1\r\n");
    scene.pass(1_000_000);
    const answers = scene.packets("lb", "client1");
    assert.is(answers[0]?.flags, SYN | ACK);
    assert.equal([answers[0]?.source, answers[0]?.sourcePort], [SERVICE[4], SERVICE_PORT]);
    assert.is(
      answers.at(-1)?.ack,
      ((answers[0]?.ack ?? 0) + 17) % 2 ** 32,
      "the data is acknowledged",
    );
    const { classifier } = scene.lb.role;
    assert.equal([classifier.counters.accepted, classifier.size], [1, 1]);
    assert.equal([scene.steps, scene.packets("lb", "b1")], [[], []], "nothing is decided yet");
  },
);

claims("C1, C2: the classifier determines the second device, one of several", () => {
  const names = ["b1", "b2", "b3"];
  const scene = new Scene(names);
  const order = ["b2", "b3", "b1", "b3"];
  for (const name of order) {
    assert.match(scene.visit(`${name}.example`).received, `${name} read`);
  }
  assert.equal(
    scene.served.map(({ backend }) => backend),
    order,
  );
  assert.equal(
    scene.infused.map(({ node }) => node),
    order,
  );
});

claims(
  "C2: a call to migrate the connection, made to the topmost layer, starts the aggregation",
  () => {
    const scene = new Scene();
    const visitor = scene.connect();
    visitor.say(request("b1.example").slice(0, -1));
    scene.pass(1_000_000);
    assert.equal(scene.steps, []);
    visitor.say("\n" + END);
    scene.until("an answer", () => visitor.received !== "");
    const steps = ["lb migrate", "lb freeze", "lb compile", "b1 infuse", "b1 accept"];
    assert.equal(scene.steps, steps);
  },
);

claims("C1: aggregates protocol state and data to one blob", () => {
  const scene = new Scene();
  scene.visit("b1.example", "and data");
  assert.is(scene.compiled.length, 1);
  const { blob, info } = scene.compiled[0]!;
  const report = readBlob(blob);
  if ("fault" in report) throw new Error(report.fault);
  const { sndUna, sndNxt, rcvNxt } = report.tcp;
  assert.equal([sndUna, sndNxt, rcvNxt], [info.sndUna, info.sndNxt, info.rcvNxt]);
  assert.is(report.state, "ESTABLISHED");
  const text = request("b1.example") + "and data" + END;
  assert.ok(report.data.unread > 0);
  const data = Buffer.from(blob).indexOf(text.slice(0, report.data.unread));
  assert.ok(data > 0, "the request stands in the blob");
});

claims("C1: sends the blob by way of the forwarder while others are served", () => {
  const scene = new Scene();
  scene.setFaults("udp:b1", { delayUs: 300_000 });
  const first = scene.connect();
  first.say(request("b1.example") + END);
  scene.until("a blob", () => scene.compiled.length === 1);
  const second = scene.connect();
  assert.ok(second.connected);
  assert.is(scene.infused.length, 0, "the blob is still on its way");
  scene.until("an answer", () => first.received !== "");
  const blob = Buffer.from(scene.compiled[0]!.blob);
  const after = scene.seen.filter(({ atUs }) => atUs >= scene.compiled[0]!.atUs);
  const datagrams = after.filter(({ from, to }) => from === "udp:lb" && to === "udp:b1");
  assert.ok(datagrams.some(({ bytes }) => bytes.length > blob.length && bytes.length < 1500));
  const others = after.filter(
    ({ to }) => to.startsWith("udp:") && to !== "udp:b1" && to !== "udp:lb",
  );
  assert.equal(others, []);
});

claims("C1: the blob arrives intact when its datagrams are lost, duplicated and corrupted", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const scene = new Scene(["b1"], seed);
    const bad = { lossPercent: 20, corruptPercent: 20, duplicatePercent: 20, reorderPercent: 20 };
    const visitor = scene.connect();
    for (const to of ["udp:b1", "udp:lb"]) scene.setFaults(to, bad);
    // The head in two parts: what comes between them is in the blob, twenty datagrams of it.
    visitor.say(`POST / HTTP/1.1\r\nX: ${"x".repeat(8000)}\r\n`);
    scene.pass(50_000);
    visitor.say(`Host: b1.example\r\n\r\n${BODY}${END}`);
    scene.until(`an answer, seed ${seed}`, () => visitor.received !== "");
    assert.equal(scene.infused[0]?.blob, scene.compiled[0]?.blob, `seed ${seed}`);
    assert.ok(scene.compiled[0]!.blob.length > 8000);
    const { lost, corrupted, duplicated } = scene.cluster.network.counters;
    assert.ok(lost > 0 && corrupted > 0 && duplicated > 0, `seed ${seed}`);
    assert.ok(scene.served[0]?.text.endsWith(BODY + END), `seed ${seed}`);
  }
});

claims("C1: makes the mapping table's entry in conjunction with sending the blob", () => {
  const scene = new Scene();
  scene.setFaults("udp:b1", { delayUs: 300_000 });
  const visitor = scene.connect();
  visitor.say(request("b1.example").slice(0, -1));
  scene.pass(1_000_000);
  const core = scene.lb.core;
  let mappings = 0;
  core.mapEach(() => mappings++);
  assert.is(mappings, 0, "none before");
  visitor.say("\n" + END);
  scene.until("a blob", () => scene.compiled.length === 1);
  const { mapping, info, atUs } = scene.compiled[0]!;
  // The same moment: the call that compiled has returned, and no packet has come in between.
  scene.pass(0);
  const entry = core.mapGet(info.tuple);
  assert.equal([scene.nowUs, entry?.flow, entry?.peer], [atUs, mapping.flow, 1]);
  assert.is(scene.infused.length, 0, "the blob has not arrived yet");
});

claims("C1: the second device gets the mapping of flow identifier to connection", () => {
  for (const family of [4, 6] as const) {
    const scene = new Scene();
    const visitor = scene.visit("b1.example", "", family);
    const tuple = tupleOf(scene, visitor)!;
    const { flow } = scene.lb.core.mapGet(tuple)!;
    const { core } = scene.backend();
    assert.is(core.recordGet(1, flow), "active");
    assert.equal(core.recordTuple(1, flow), tuple);
    assert.is(core.recordHandle(1, flow), scene.infused[0]?.handle);
  }
});

claims("C1: later packets of the connection are encapsulated with its flow identifier", () => {
  for (const family of [4, 6] as const) {
    const scene = new Scene();
    const visitor = scene.visit("b1.example", "", family);
    scene.pass(1_000_000);
    const from = scene.seen.length;
    visitor.say(BODY + END);
    scene.until("a second answer", () => visitor.received.split("read").length === 3);
    const { flow } = scene.lb.core.mapGet(tupleOf(scene, visitor)!)!;
    scene.seen.splice(0, from);
    const inside = scene.packets("client1", "lb");
    const outside = scene.packets("lb", "b1");
    assert.ok(outside.length > 10);
    for (const [index, packet] of outside.entries()) {
      const original = inside[index]!;
      assert.is(flowOf(packet), flow);
      assert.is(packet.seen.bytes.length, original.seen.bytes.length, "nothing is added");
      assert.equal([packet.seq, packet.payload], [original.seq, original.payload]);
      assert.ok(packet.tcpChecksumOk && packet.ipChecksumOk);
    }
  }
});

claims("C10, C19: the identifier stands in the TCP source and destination port fields", () => {
  const scene = new Scene();
  const visitor = scene.visit("b1.example");
  scene.pass(1_000_000);
  const from = scene.seen.length;
  visitor.say("more" + END);
  scene.until("a second answer", () => visitor.received.split("read").length === 3);
  scene.seen.splice(0, from);
  const { flow } = scene.compiled[0]!.mapping;
  const packet = scene.packets("lb", "b1")[0]!;
  assert.is(packet.sourcePort, Math.floor(flow / 65_536));
  assert.is(packet.destinationPort, flow % 65_536);
  assert.ok(packet.sourcePort > 0 && packet.destinationPort > 0);
  const original = scene.packets("client1", "lb")[0]!;
  const changed = [...packet.seen.bytes.keys()].filter((at) => {
    return packet.seen.bytes[at] !== original.seen.bytes[at];
  });
  // TTL and checksum, both addresses, both ports, TCP's checksum: nothing else.
  const allowed = new Set([8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 36, 37]);
  assert.equal(
    changed.filter((at) => !allowed.has(at)),
    [],
  );
});

claims("C1: the identifier tells the second device which connection a packet belongs to", () => {
  const scene = new Scene();
  const visitors = [
    scene.visit("b1.example"),
    scene.visit("b1.example"),
    scene.visit("b1.example"),
  ];
  const flows = visitors.map((visitor) => scene.lb.core.mapGet(tupleOf(scene, visitor)!)!.flow);
  assert.is(new Set(flows).size, 3);
  for (const [index, visitor] of visitors.entries()) visitor.say(`word of ${index}${END}`);
  scene.until("all answers", () =>
    visitors.every(({ received }) => received.split("read").length === 3),
  );
  for (const [index, { text, remote }] of scene.served.entries()) {
    assert.ok(text.endsWith(`word of ${index}${END}`));
    assert.is(remote.port, visitors[index]?.port);
  }
  // The same packet under an identifier that names nothing belongs to nobody.
  const last = scene.packets("lb", "b1").at(-1)!.seen.bytes.slice();
  last[23]! ^= 1;
  const before = scene.served.map(({ connection }) => connection.bytesRead);
  scene.cluster.network.send("lb", "b1", last);
  scene.pass(100_000);
  assert.equal(
    scene.served.map(({ connection }) => connection.bytesRead),
    before,
  );
});

claims("C9: identifiers come from a connection counter", () => {
  const scene = new Scene();
  const flows = [1, 2, 3, 4, 5].map(() => {
    scene.visit("b1.example");
    return scene.compiled.at(-1)!.mapping.flow;
  });
  const steps = flows.slice(1).map((flow, index) => flow - flows[index]!);
  assert.equal(steps, [1, 1, 1, 1]);
  const other = new Scene(["b1"], 2);
  other.visit("b1.example");
  assert.is.not(other.compiled[0]?.mapping.flow, flows[0], "it starts at a random point");
});

claims.run();
