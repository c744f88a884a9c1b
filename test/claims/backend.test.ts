/** The claims about the blob and the second device: bundle, driver, migrator, stack, application. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { PacketBatch } from "../../host/core/batch.ts";
import { readBlob, type BlobReport } from "../../host/observe/blob.ts";
import { parseTcp } from "../../host/sim/packet.ts";
import { END, flowOf, request, Scene, SERVICE, SERVICE_PORT } from "./scene.ts";

const claims = suite("claims of the second device");

const BODY = "0123456789abcdef".repeat(2500);

function report(blob: Uint8Array): BlobReport {
  const found = readBlob(blob);
  if ("fault" in found) throw new Error(found.fault);
  return found;
}

function word(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

claims(
  "C5, C6: compiled from the highest level down, TCP and IP with ports and addresses, then the data",
  () => {
    for (const family of [4, 6] as const) {
      const scene = new Scene();
      scene.visit("b1.example", "", family);
      const { info, mapping, ...compiled } = scene.compiled[0]!;
      const blob = Buffer.from(compiled.blob);
      const { data } = report(blob);
      const { tuple } = info;
      const text = request("b1.example").slice(0, data.unread);
      // Socket layer: how much is unread. TCP: RCV.NXT. IP: addresses and ports. Data. Mapping.
      const socket = blob.indexOf(word(data.unread), 32);
      const tcp = blob.indexOf(word(info.rcvNxt), socket);
      const ip = blob.indexOf(tuple.remote, tcp);
      const local = blob.indexOf(tuple.local, tcp);
      const bytes = blob.indexOf(text, ip);
      const flow = blob.indexOf(word(mapping.flow), bytes + text.length);
      const order = [0, socket, tcp, ip, local, bytes, flow];
      assert.equal(
        order,
        [...new Set(order)].sort((a, b) => a - b),
      );
      const ports = [tuple.remotePort, tuple.localPort].map((port) => word(port).subarray(0, 2));
      assert.equal(blob.subarray(ip - 4, ip), Buffer.concat(ports));
    }
  },
);

claims("C7, C17: the mapping of the flow identifier is bundled in the blob", () => {
  const scene = new Scene();
  scene.visit("b1.example");
  const { blob, mapping } = scene.compiled[0]!;
  const bundled = report(blob).mapping;
  assert.is(bundled["flow"], mapping.flow);
  assert.is(scene.lb.core.mapGet(scene.infused[0]!.tuple)?.flow, mapping.flow);
  assert.equal(scene.infused[0]?.mapping, mapping);
});

claims(
  "C3, C16: a connection migrator takes the bundle and infuses the state from the top down",
  () => {
    for (const family of [4, 6] as const) {
      const scene = new Scene();
      const visitor = scene.visit("b1.example", "", family);
      const { info: before, blob } = scene.compiled[0]!;
      const { info: after, handle, node } = scene.infused[0]!;
      assert.is(node, "b1");
      for (const name of ["sndUna", "sndNxt", "rcvNxt", "state", "bytesReceived"] as const) {
        assert.is(after[name], before[name], name);
      }
      assert.equal(after.tuple, before.tuple);
      assert.is(after.timestamps?.tsEcr, before.timestamps?.tsEcr);
      assert.is(after.generation, before.generation + 1);
      assert.equal(
        scene.steps.slice(-2),
        ["b1 infuse", "b1 accept"],
        "state first, application last",
      );
      // The same again finds its 4-tuple taken: nothing is installed twice.
      const { core, role } = scene.backend();
      const { mapping, tuple } = scene.infused[0]!;
      assert.type(core.infuse(blob, mapping, tuple, 1, scene.nowUs), "string");
      assert.is(core.recordHandle(1, mapping.flow), handle);
      visitor.say("more" + END);
      scene.until("a second answer", () => visitor.received.split("read").length === 3);
      assert.is(role.connections, 1);
    }
  },
);

claims("C18: state and mapping are unbundled below the second stack, everything or nothing", () => {
  const scene = new Scene(["b1", "b2"]);
  scene.visit("b1.example");
  const { blob, mapping } = scene.compiled[0]!;
  const { tuple } = scene.infused[0]!;
  const { core } = scene.backend("b2");
  const other = { ...mapping, flow: mapping.flow + 1 };
  assert.is(core.infuse(blob, other, tuple, 1, scene.nowUs), "BLOB_INVARIANT", "another mapping");
  const elsewhere = { ...tuple, remotePort: tuple.remotePort + 1 };
  assert.is(
    core.infuse(blob, mapping, elsewhere, 1, scene.nowUs),
    "BLOB_INVARIANT",
    "another pair",
  );
  assert.is(core.recordGet(1, mapping.flow), "none");
  const handle = core.infuse(blob, mapping, tuple, 1, scene.nowUs);
  assert.type(handle, "number");
  assert.equal(
    [core.recordGet(1, mapping.flow), core.recordHandle(1, mapping.flow)],
    ["active", handle],
  );
});

claims("C11: a blob is recognised as a blob for connection migration, and nothing else is", () => {
  const scene = new Scene(["b1", "b2"]);
  scene.visit("b1.example");
  const { blob, mapping } = scene.compiled[0]!;
  const { tuple } = scene.infused[0]!;
  const { core } = scene.backend("b2");
  for (let at = 0; at < blob.length; at++) {
    const changed = blob.slice();
    changed[at]! ^= 0x20;
    assert.type(core.infuse(changed, mapping, tuple, 1, scene.nowUs), "string", `byte ${at}`);
  }
  for (const length of [0, 1, 31, 351, blob.length - 1]) {
    const cut = blob.slice(0, length);
    assert.type(core.infuse(cut, mapping, tuple, 1, scene.nowUs), "string", `${length} bytes`);
  }
  assert.is(core.recordGet(1, mapping.flow), "none");
  // The same bytes as a packet, or as a datagram of nobody, are no blob.
  const from = scene.infused.length;
  scene.cluster.network.send("stranger", "udp:b2", blob.slice());
  scene.cluster.network.send("lb", "b2", blob.slice());
  scene.pass(1_000_000);
  assert.is(scene.infused.length, from);
  assert.is(scene.backend("b2").role.connections, 0);
});

claims("C11, C14: the data goes up the stack, as if the connection had been accepted there", () => {
  for (const family of [4, 6] as const) {
    const scene = new Scene();
    const visitor = scene.connect(family);
    const text = request("b1.example") + "and more" + END;
    visitor.say(text);
    scene.until("an application", () => scene.served.length === 1);
    const { remote, local, atFirst, connection } = scene.served[0]!;
    assert.equal([remote.port, remote.family], [visitor.port, family]);
    assert.is(remote.address, visitor.address);
    assert.equal([local.address, local.port], [SERVICE[family], SERVICE_PORT]);
    assert.is(atFirst, scene.compiled[0]?.info.bytesReceived, "unread data came in the blob");
    scene.until("an answer", () => visitor.received !== "");
    assert.is(scene.served[0]?.text, text, "from its first byte, each once");
    assert.is(connection.bytesRead, text.length);
    const answers = scene.packets("b1", "client1");
    assert.ok(answers.length > 0);
    for (const { source, sourcePort } of answers) {
      assert.equal([source, sourcePort], [SERVICE[family], SERVICE_PORT]);
    }
    assert.equal(
      scene.packets("lb", "client1").filter(({ payload }) => payload.length > 0),
      [],
    );
    visitor.tcp.end();
    scene.until("the end", () => visitor.finished !== "");
    assert.equal([visitor.finished, visitor.violations], ["closed", []]);
  }
});

claims(
  "C12: the driver below the stack buffers packets that arrive before the state is active",
  () => {
    for (const family of [4, 6] as const) {
      const scene = new Scene();
      const visitor = scene.connect(family);
      // Less than the client's time-out: what is dropped would have to be sent again.
      scene.setFaults("udp:b1", { delayUs: 200_000 });
      const { core } = scene.backend();
      const from = scene.seen.length;
      visitor.say(request("b1.example"));
      scene.until("a blob", () => scene.compiled.length === 1);
      visitor.say(BODY);
      scene.until("early packets", () => (core.counters()["early_held"] ?? 0) >= 10);
      assert.equal(
        [scene.infused.length, scene.served.length],
        [0, 0],
        "there is no connection yet",
      );
      visitor.say(END);
      scene.until("an answer", () => visitor.received !== "");
      const {
        early_held: held,
        early_replayed: replayed,
        early_expired: expired = 0,
      } = core.counters();
      assert.equal([replayed, expired], [held, 0]);
      assert.is(scene.served[0]?.text, request("b1.example") + BODY + END);
      scene.seen.splice(0, from);
      const data = scene.packets("client1", "lb").filter(({ payload }) => payload.length > 0);
      const starts = data.map(({ seq }) => seq);
      assert.is(new Set(starts).size, starts.length, "the client had to send nothing twice");
    }
  },
);

claims("C12: buffered packets are delivered in order, however they and the blob arrive", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const scene = new Scene(["b1"], seed);
    const visitor = scene.connect();
    scene.setFaults("udp:b1", { delayUs: 150_000, jitterUs: 100_000, lossPercent: 10 });
    scene.setFaults("b1", { reorderPercent: 30, duplicatePercent: 10 });
    visitor.say(request("b1.example"));
    scene.until("a blob", () => scene.compiled.length === 1);
    visitor.say(BODY + END);
    scene.until(`an answer, seed ${seed}`, () => visitor.received !== "");
    assert.is(scene.served[0]?.text, request("b1.example") + BODY + END, `seed ${seed}`);
    assert.ok((scene.backend().core.counters()["early_replayed"] ?? 0) > 0, `seed ${seed}`);
  }
});

claims(
  "C19, C20: by the encapsulation mapping table a packet gets its source and destination back",
  () => {
    for (const family of [4, 6] as const) {
      const scene = new Scene();
      const visitor = scene.visit("b1.example", "", family);
      scene.pass(1_000_000);
      const { flow } = scene.compiled[0]!.mapping;
      const { tuple } = scene.infused[0]!;
      const { core, role } = scene.backend();
      assert.equal(core.recordTuple(1, flow), tuple, "the table names the pair");
      const from = scene.seen.length;
      visitor.say("late");
      scene.pass(1_000_000);
      scene.seen.splice(0, from);
      const original = scene.packets("client1", "lb")[0]!;
      const encapsulated = scene.packets("lb", "b1")[0]!;
      assert.is(flowOf(encapsulated), flow);
      // A packet of a flow that has ended here goes back in the form in which it came to the forwarder.
      const back: Uint8Array[] = [];
      const handback = role.handback.bind(role);
      role.handback = (batch: PacketBatch, index) => {
        const ptr = batch.ptr(index);
        back.push(batch.memory.slice(ptr, ptr + batch.len(index)));
        handback(batch, index);
      };
      core.recordSet(1, flow, "closed", scene.nowUs);
      scene.cluster.network.send("lb", "b1", encapsulated.seen.bytes.slice());
      scene.until("a packet that comes back", () => back.length > 0);
      const restored = parseTcp(back[0]!);
      assert.equal(
        [restored.source, restored.sourcePort, restored.destination, restored.destinationPort],
        [visitor.address, visitor.port, SERVICE[family], SERVICE_PORT],
      );
      assert.equal([restored.seq, restored.payload], [original.seq, original.payload]);
      assert.ok(restored.tcpChecksumOk && restored.ipChecksumOk);
    }
  },
);

claims("C88, C89, C91: the same as methods, on one device", () => {
  const scene = new Scene();
  const visitor = scene.connect();
  const { core } = scene.lb;
  const half = "POST / HTTP/1.1\r\n";
  visitor.say(half);
  scene.pass(100_000);
  assert.is(scene.lb.role.classifier.size, 1);
  // Compile and infuse are methods of a stack; here both ends of the move are the same one.
  const handle = scene.accepted[0]!;
  const info = core.connectionInfo(handle);
  assert.is(info.tuple.remotePort, visitor.port);
  assert.ok(core.freeze(handle));
  const id = "0123456789abcdef";
  const epoch = id + id;
  const names = { forwarder: id, source: id, forwarderEpoch: epoch, sourceEpoch: epoch };
  const mapping = { flow: 0x0001_0001, generation: 1, targetEpoch: epoch, ...names };
  const blob = core.compile(handle, mapping, scene.nowUs);
  if (typeof blob === "string") throw new Error(blob);
  core.discard(handle);
  const moved = core.infuse(blob, mapping, info.tuple, 1, scene.nowUs);
  if (typeof moved === "string") throw new Error(moved);
  const span = core.readable(moved, 0);
  assert.is(Buffer.from(core.memory.subarray(span.ptr, span.ptr + span.len)).toString(), half);
  assert.is(core.connectionInfo(moved).rcvNxt, info.rcvNxt);
});

claims("C88, C89, C91: the same as methods, on several devices", () => {
  const scene = new Scene(["b1", "b2"]);
  for (const name of ["b1", "b2"]) scene.visit(`${name}.example`);
  assert.equal(
    scene.compiled.map(({ node }) => node),
    ["lb", "lb"],
  );
  assert.equal(
    scene.infused.map(({ node }) => node),
    ["b1", "b2"],
  );
});

claims.run();
