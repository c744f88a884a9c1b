/**
 * Acceptance: what goes over the wires. Encapsulated packets are the client's, rewritten and not a byte
 * longer; answers leave the backend under the service's address; the forwarder carries none of them.
 */
import { createHash } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Capture, CapturedPacket } from "../../host/lab/capture.ts";
import type { LabNode } from "../../host/lab/lab.ts";
import { patternSha256 } from "../../host/lab/pattern.ts";
import { FAMILIES, withService, type Family, type TestService } from "../support/labservice.ts";

const packets = suite("packets on the wires");

const BYTES = 3_000_000;
const MTU = 1500;
const TCP = 6;

interface Seen {
  readonly forwarder: readonly CapturedPacket[];
  readonly backend: readonly CapturedPacket[];
  readonly router: readonly CapturedPacket[];
}

/** One upload and one download to b1, captured on three nodes. */
async function capture(service: TestService, family: Family): Promise<Seen & { client: string }> {
  const { lab } = service;
  const seen = { forwarder: [], backend: [], router: [] } as Record<string, CapturedPacket[]>;
  const nodes: [string, LabNode][] = [
    ["forwarder", lab.nodes.forwarder],
    ["backend", lab.node("b1")],
    ["router", lab.nodes.router],
  ];
  const captures: Capture[] = [];
  for (const [name, node] of nodes) {
    const sink = (packet: CapturedPacket): void => void seen[name]?.push(packet);
    captures.push(await lab.capture(node.name, sink));
  }
  const host = "api.example";
  const asks = [
    { host, path: "/upload", upload: BYTES },
    { host, path: `/bytes/${BYTES}` },
  ];
  const result = await service.visit({ family, asks });
  assert.is(result.error, undefined);
  assert.is(result.answers[1]?.sha256, patternSha256(BYTES));
  for (const each of captures) assert.is((await each.stop()).dropped, 0, "nothing escaped");
  const { forwarder = [], backend = [], router = [] } = seen;
  return { forwarder, backend, router, client: result.client };
}

const isTcp = (packet: CapturedPacket): boolean => packet.protocol === TCP;
const isOut = (packet: CapturedPacket): boolean => packet.direction === "out";

/** What encapsulation must leave alone. */
function essence(packet: CapturedPacket): string {
  const { tcp } = packet;
  const payload = createHash("sha256")
    .update(tcp?.payload ?? "")
    .digest("hex");
  return [packet.length, tcp?.seq, tcp?.ack, tcp?.flags, tcp?.window, payload].join(" ");
}

/** Bytes of one direction, put together by sequence number; repeated ones must agree. */
function streamOf(list: readonly CapturedPacket[]): Buffer {
  const segments = list.flatMap(({ tcp }) => (tcp && tcp.payloadLen > 0 ? [tcp] : []));
  const first = segments[0]?.seq ?? 0;
  const start = segments.reduce((least, { seq }) => Math.min(least, (seq - first) | 0), 0);
  const at = (seq: number): number => ((seq - first) | 0) - start;
  const end = segments.reduce(
    (most, { seq, payload }) => Math.max(most, at(seq) + payload.length),
    0,
  );
  const stream = Buffer.alloc(end);
  for (const { seq, payload } of segments) stream.set(payload, at(seq));
  return stream;
}

function tunnelsOf(service: TestService, family: Family) {
  const of = (name: string): string => {
    const { tunnel4, tunnel6 } = service.lab.node(name).address;
    return family === 4 ? tunnel4 : tunnel6;
  };
  return { forwarder: of("forwarder"), backend: of("b1") };
}

function split(service: TestService, family: Family, seen: Seen) {
  const vip = service.addressOf(family);
  const tunnel = tunnelsOf(service, family);
  const tcp = { forwarder: seen.forwarder.filter(isTcp), backend: seen.backend.filter(isTcp) };
  const isTunnel = ({ source, destination }: CapturedPacket): boolean =>
    source === tunnel.forwarder && destination === tunnel.backend;
  return {
    vip,
    /** From the client, as the forwarder's wire has them. */
    original: tcp.forwarder.filter((each) => !isOut(each) && each.destination === vip),
    encapsulated: tcp.forwarder.filter((each) => isOut(each) && isTunnel(each)),
    received: tcp.backend.filter((each) => !isOut(each) && isTunnel(each)),
    /** From the forwarder's own stack to the client. */
    handshake: tcp.forwarder.filter((each) => isOut(each) && each.source === vip),
    answers: tcp.backend.filter((each) => isOut(each) && !isTunnel(each)),
  };
}

function expectRouting(service: TestService, family: Family, seen: Seen, client: string): void {
  const { vip, encapsulated, received, handshake, answers } = split(service, family, seen);
  const flow = service.handoffs().get(client)?.flow;
  assert.ok(flow, "the handoff was reported");
  assert.ok(encapsulated.length > 10, `${encapsulated.length} encapsulated packets`);
  for (const { sourcePort, destinationPort } of [...encapsulated, ...received]) {
    assert.is(sourcePort * 65536 + destinationPort, flow, "the flow identifier is in the ports");
  }
  assert.ok(answers.length > 10);
  for (const each of answers) assert.equal([each.source, each.sourcePort], [vip, 80]);
  const carried = handshake.reduce((sum, { tcp }) => sum + (tcp?.payloadLen ?? 0), 0);
  assert.is(carried, 0, "the forwarder carries no byte of an answer");
  const resets = [...seen.router, ...seen.forwarder, ...seen.backend].filter(({ tcp }) =>
    tcp?.flags.includes("RST"),
  );
  assert.is(resets.length, 0, `RST from ${resets[0]?.source} to ${resets[0]?.destination}`);
}

for (const family of FAMILIES) {
  packets(
    `IPv${family}: without offloads each encapsulated packet is the client's, as long and with full checksums`,
    () =>
      withService(`packets without offloads, IPv${family}`, {}, async (service) => {
        await service.lab.offload(false);
        const seen = await capture(service, family);
        expectRouting(service, family, seen, seen.client);
        const { original, encapsulated, received, answers } = split(service, family, seen);
        const known = new Map(original.map((each) => [essence(each), each]));
        for (const each of encapsulated) {
          const before = known.get(essence(each));
          assert.ok(before, `no packet of the client looks like ${essence(each)}`);
          assert.ok(each.ttl < before.ttl, "TTL goes down");
          assert.is(each.dontFragment, before.dontFragment);
        }
        for (const each of [...encapsulated, ...received, ...answers]) {
          assert.equal([each.headerChecksum, each.tcp?.checksum], ["valid", "valid"]);
          assert.ok(each.length <= MTU && !each.fragment);
        }
        const full = received.filter(({ length }) => length === MTU);
        assert.ok(full.length > 100, `${full.length} packets of ${MTU} bytes reach the backend`);
        if (family === 4) assert.ok(full.every(({ dontFragment }) => dontFragment));
        assert.ok(answers.some(({ length }) => length === MTU));
      }),
  );

  packets(
    `IPv${family}: with offloads the payload is the client's, and unfinished checksums are right`,
    () =>
      withService(`packets with offloads, IPv${family}`, {}, async (service) => {
        await service.lab.offload(true);
        const seen = await capture(service, family);
        expectRouting(service, family, seen, seen.client);
        const { original, encapsulated, received, answers } = split(service, family, seen);
        const sent = streamOf(original);
        const arrived = streamOf(received);
        // The head travels in the blob; everything after it by encapsulated packets.
        assert.ok(arrived.length > BYTES - 100_000, `${arrived.length} bytes`);
        assert.ok(sent.subarray(sent.length - arrived.length).equals(arrived), "the same bytes");
        for (const each of [...encapsulated, ...received, ...answers]) {
          const { tcp, headerChecksum } = each;
          assert.is(headerChecksum, "valid");
          assert.ok(tcp?.checksum === "valid" || tcp?.checksum === "partial", tcp?.checksum);
        }
        assert.ok(
          encapsulated.some(({ length }) => length > MTU),
          "super-packets stay whole",
        );
      }),
  );
}

packets.run();
