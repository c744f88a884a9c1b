/**
 * Acceptance: what a handed-over connection looks like on the wires. Captured twice: offloads off, where
 * every packet is compared with its original, and on, where segments are large and checksums unfinished.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { patternSha256 } from "../../host/lab/pattern.ts";
import { TLS_NAME } from "../../host/lab/scenario.ts";
import { FAMILIES, MIB, withService, type TestService } from "../support/labservice.ts";
import {
  Stream,
  traceWhile,
  type TcpPacket,
  type Trace,
  type TracedFlow,
} from "../support/labtrace.ts";

const BULK = 2 * MIB;
const MTU = 1500;
/** Into the forwarder's device, our own, and out again: each takes one from the TTL. */
const HOPS_AT_FORWARDER = 3;
const ICMP = 1;
const ICMP_UNREACHABLE = 3;
const ICMPV6 = 58;
const ICMPV6_ERROR_MAX = 127;

const wires = suite("encapsulation on the wire");

/** Five connections over each family: short, kept alive, TLS, down, up. */
async function visitAll(service: TestService): Promise<void> {
  const api = { host: "api.example" };
  const shop = { host: "shop.example" };
  for (const family of FAMILIES) {
    const visits = [
      { family, asks: [{ ...shop, path: "/static/x" }] },
      { family, asks: ["/1", "/2", "/3"].map((path) => ({ ...api, path })) },
      { family, tls: true, asks: [{ host: TLS_NAME, path: "/" }] },
      { family, asks: [{ ...api, path: `/bytes/${BULK}` }] },
      { family, asks: [{ ...shop, path: "/static/upload", upload: BULK }] },
    ];
    for (const each of visits) {
      const { answers, error } = await service.visit(each);
      assert.is(error, undefined);
      assert.equal(
        answers.map(({ status }) => status),
        each.asks.map(() => 200),
      );
      const [first] = answers;
      if (first?.bytes === BULK) assert.is(first.sha256, patternSha256(BULK));
    }
  }
}

function trace(service: TestService): Promise<Trace> {
  return traceWhile(service, () => visitAll(service));
}

/** What encapsulation must leave alone. */
function essence({ tcp, length, dontFragment }: TcpPacket): string {
  const { seq, ack, flags, window, options, payload } = tcp;
  const body = Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString("latin1");
  return JSON.stringify([seq, ack, flags, window, options, length, dontFragment, body]);
}

function expectFlowsAndNothingElse(seen: Trace, expected: number): void {
  const flows = seen.flows();
  assert.is(flows.length, expected);
  assert.is(new Set(flows.map(({ flow }) => flow)).size, expected, "a flow identifier for each");
  for (const { flow } of flows) assert.ok(flow >>> 16 > 0 && (flow & 0xffff) > 0);
  const counted = flows.reduce((sum, flow) => sum + flow.encapsulated.length, 0);
  assert.is(counted, seen.encapsulated().length, "every encapsulated packet names a known flow");
}

/** Each packet left as it came but for what encapsulation changes, and arrived as it left. */
function expectRewritten(traced: TracedFlow): void {
  const { client, reached, encapsulated, delivered, answered } = traced;
  assert.ok(encapsulated.length > 0, client);
  const originals = new Map<string, TcpPacket[]>();
  for (const packet of reached) {
    const key = essence(packet);
    originals.set(key, [...(originals.get(key) ?? []), packet]);
  }
  for (const packet of encapsulated) {
    const original = originals.get(essence(packet))?.shift();
    assert.ok(original, `${client}: what leaves is what came, in the same length`);
    assert.is(packet.ttl, original.ttl - HOPS_AT_FORWARDER);
  }
  const sorted = (packets: TcpPacket[]): string[] => packets.map(essence).sort();
  assert.equal(sorted(delivered), sorted(encapsulated), `${client}: all that left arrives`);
  for (const { ttl } of delivered) assert.is(ttl, (encapsulated[0]?.ttl ?? 0) - 1);
  for (const { headerChecksum, tcp } of [...encapsulated, ...delivered, ...answered]) {
    assert.equal([headerChecksum, tcp.checksum], ["valid", "valid"]);
  }
}

/** The client gets its answers from the service, by way of the backend alone. */
function expectDirectAnswers(service: TestService, seen: Trace): void {
  const { service4, service6 } = service.lab.plan;
  const isService = (address: string): boolean => [service4, service6].includes(address);
  for (const { name } of service.lab.backends) {
    const out = seen.tcp(name, "out");
    assert.ok(out.length > 0);
    assert.ok(
      out.every(({ source }) => isService(source)),
      `${name} answers as the service`,
    );
  }
  const sizeOf = (packets: TcpPacket[]): number =>
    packets.reduce((sum, { tcp }) => sum + tcp.payloadLen, 0);
  const passed = seen.tcp("forwarder").filter(({ source }) => isService(source));
  assert.is(sizeOf(passed), 0, "the forwarder carries no response byte");
  const arrived = seen.tcp("client", "in");
  assert.ok(arrived.every(({ source }) => isService(source)));
  const left = service.lab.backends.flatMap(({ name }) => seen.tcp(name, "out"));
  assert.is(sizeOf(arrived), sizeOf(left), "everything the client got came from the backends");
  assert.ok(sizeOf(arrived) >= FAMILIES.length * BULK);
}

function expectNoResetAndNoError(seen: Trace): void {
  for (const [node, packets] of Object.entries(seen.packets)) {
    const resets = packets.filter(({ tcp }) => tcp?.flags.includes("RST"));
    assert.is(resets.length, 0, `${node} saw a RST from ${resets[0]?.source ?? ""}`);
    const errors = packets.filter(({ protocol, body }) => {
      const type = body[0] ?? 0;
      return (
        (protocol === ICMP && type === ICMP_UNREACHABLE) ||
        (protocol === ICMPV6 && type <= ICMPV6_ERROR_MAX)
      );
    });
    assert.is(errors.length, 0, `${node} saw an ICMP error from ${errors[0]?.source ?? ""}`);
  }
}

wires(
  "offloads off: packet by packet, only addresses, ports, TTL and checksums differ",
  async () => {
    await withService("offloads off", {}, async (service) => {
      await service.lab.offload(false);
      const seen = await trace(service);
      expectFlowsAndNothingElse(seen, 5 * FAMILIES.length);
      for (const flow of seen.flows()) expectRewritten(flow);
      expectDirectAnswers(service, seen);
      expectNoResetAndNoError(seen);
    });
  },
);

wires("offloads off: full packets with DF pass at MTU 1500, both ways", async () => {
  await withService("full packets", {}, async (service) => {
    await service.lab.offload(false);
    const seen = await trace(service);
    const isFull = ({ length, dontFragment }: TcpPacket): boolean => length === MTU && dontFragment;
    const least = Math.floor(BULK / MTU / 2);
    for (const version of FAMILIES) {
      const flows = seen.flows().filter(({ sent }) => sent[0]?.version === version);
      const full = (pick: (flow: (typeof flows)[number]) => TcpPacket[]): number =>
        flows.flatMap(pick).filter(isFull).length;
      assert.ok(full(({ reached }) => reached) > least, `IPv${version}: the client sends them`);
      const left = full(({ encapsulated }) => encapsulated);
      assert.ok(left > least, `IPv${version}: they leave the forwarder`);
      assert.is(
        full(({ delivered }) => delivered),
        left,
        `IPv${version}: they reach the backend`,
      );
      assert.ok(full(({ answered }) => answered) > least, `IPv${version}: so do its answers`);
    }
    for (const packets of Object.values(seen.packets)) {
      assert.ok(packets.every(({ length, fragment }) => length <= MTU && !fragment));
    }
    expectNoResetAndNoError(seen);
  });
});

wires("offloads on: payloads are what was sent, sums of pseudo-headers are right", async () => {
  await withService("offloads on", {}, async (service) => {
    const seen = await trace(service);
    expectFlowsAndNothingElse(seen, 5 * FAMILIES.length);
    for (const { client, sent, encapsulated, delivered, answered } of seen.flows()) {
      const stream = new Stream(sent);
      for (const { tcp } of [...encapsulated, ...delivered]) {
        assert.ok(stream.holds(tcp), `${client}: payload at ${tcp.seq}`);
      }
      for (const { tcp, headerChecksum } of [...encapsulated, ...delivered, ...answered]) {
        assert.is(headerChecksum, "valid");
        assert.ok(["valid", "partial"].includes(tcp.checksum), `${client}: ${tcp.checksum}`);
      }
      const ends = delivered.map(({ tcp }) => stream.offsetOf(tcp) + tcp.payloadLen);
      if (delivered.some(({ tcp }) => tcp.payloadLen > 0)) {
        assert.is(Math.max(...ends), stream.length, `${client}: to the last byte`);
      }
    }
    const partial = seen.encapsulated().filter(({ tcp }) => tcp.checksum === "partial");
    assert.ok(partial.length > 0, "some checksums were left to the device");
    const large = seen.encapsulated().filter(({ length }) => length > MTU);
    assert.ok(large.length > 0, "some segments were larger than the MTU");
    expectDirectAnswers(service, seen);
    expectNoResetAndNoError(seen);
  });
});

wires.run();
