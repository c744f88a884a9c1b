/**
 * The program that chooses a queue, run by the kernel on packets of ours (BPF_PROG_TEST_RUN), beside a slow one in
 * TypeScript.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BatonError } from "../../host/errors.ts";
import { loadProgram, ProgramType } from "../../host/linux/bpf.ts";
import { libc } from "../../host/linux/libc.ts";
import { createCounters, queueProgram, readCounters } from "../../host/linux/queues.ts";
import { privileged } from "../support/namespace.ts";
import { buildIcmp, buildIp, buildTcp, toAddress } from "../support/packet.ts";
import { queueOf, type Steering } from "../support/steering.ts";

const queues = suite("linux/queues");
const check = await privileged(import.meta.url, queues);

const TEST_RUN = 10;
const ETHERNET_BYTES = 14;
const KEY = Uint8Array.of(0x91, 0xe2, 3, 4, 0xf5, 6, 7, 0x88);
const tunnels = (count: number): Uint8Array[][] =>
  Array.from({ length: count }, (_, queue) => [
    toAddress(`10.2.0.${queue + 1}`),
    toAddress(`fd02::${(queue + 1).toString(16)}`),
  ]);

interface Loaded extends Steering {
  readonly program: number;
  readonly counters: number;
}

/** Undefined, and a named skip, without bpf(2). */
function load(name: string, count: number, key = KEY): Loaded | undefined {
  const steering = { tunnels: tunnels(count), key };
  try {
    const counters = createCounters();
    const program = loadProgram(queueProgram(steering, counters), ProgramType.FILTER);
    return { ...steering, program, counters };
  } catch (error) {
    if (!(error instanceof BatonError) || error.code !== "EPERM") throw error;
    process.stdout.write(`SKIP ${name}: ${error.message}\n`);
    return undefined;
  }
}

function unload({ program, counters }: Loaded): void {
  libc().close(program);
  libc().close(counters);
}

/** The kernel is given an address, which keeps no object alive: these bytes are never collected. */
const INPUT = new Uint8Array(65_536);

/** What the program says of a packet: a program of this type begins behind the Ethernet header. */
function run(program: number, packet: Uint8Array): number {
  INPUT.fill(0, 0, ETHERNET_BYTES);
  INPUT.set(packet, ETHERNET_BYTES);
  const attr = new Uint8Array(new ArrayBuffer(80));
  const view = new DataView(attr.buffer);
  view.setUint32(0, program, true);
  view.setUint32(8, ETHERNET_BYTES + packet.length, true);
  view.setBigUint64(16, BigInt(libc().address(INPUT)), true);
  libc().bpf(TEST_RUN, attr, "test run");
  return view.getUint32(4, true);
}

const CLIENTS = { 4: "192.0.2.77", 6: "2001:db8::77" };
const SERVICES = { 4: "10.0.0.100", 6: "fd00::100" };
type Family = 4 | 6;
const FAMILIES = [4, 6] as const;

const inbound = (family: Family, port: number, more = {}): Uint8Array =>
  buildTcp({
    ...{ source: CLIENTS[family], destination: SERVICES[family] },
    ...{ sourcePort: port, destinationPort: 80, ...more },
  });
const outbound = (family: Family, port: number, more = {}): Uint8Array =>
  buildTcp({
    ...{ source: SERVICES[family], destination: CLIENTS[family] },
    ...{ sourcePort: 80, destinationPort: port, payload: new Uint8Array(64), ...more },
  });
const tooBig = (family: Family, body: Uint8Array, more = {}): Uint8Array => {
  const router = family === 4 ? "198.51.100.1" : "2001:db8:ffff::1";
  const [type, code] = family === 4 ? [3, 4] : [2, 0];
  return buildIcmp({
    ...{ source: router, destination: SERVICES[family], type, code, rest: 1400, body, ...more },
  });
};
const extension = (type: number, units = 0): { type: number; bytes: Uint8Array } => {
  const bytes = new Uint8Array(8 + 8 * units);
  bytes[1] = units;
  return { type, bytes };
};
const fragment = (word: number): { type: number; bytes: Uint8Array } => {
  const header = extension(44);
  new DataView(header.bytes.buffer).setUint16(2, word);
  return header;
};
const OPTIONS_8 = Array.from({ length: 8 }, () => extension(60));

for (const family of FAMILIES) {
  check(`a client's packets and errors about what it was sent share a queue, IPv${family}`, () => {
    const loaded = load("queues", 4);
    if (!loaded) return;
    const seen = new Set<number>();
    for (let port = 1; port <= 65_535; port += 251) {
      const queue = run(loaded.program, inbound(family, port));
      const more =
        family === 4
          ? { ipOptions: new Uint8Array(8).fill(1) }
          : { extensions: [extension(0), extension(60, 3), extension(43), fragment(0)] };
      const others = {
        options: run(loaded.program, inbound(family, port, more)),
        payload: run(loaded.program, inbound(family, port, { payload: new Uint8Array(900) })),
        error: run(loaded.program, tooBig(family, outbound(family, port))),
        quotedOptions: run(loaded.program, tooBig(family, outbound(family, port, more))),
        reference: queueOf(inbound(family, port), loaded),
      };
      for (const [name, other] of Object.entries(others))
        assert.is(other, queue, `${name} ${port}`);
      seen.add(queue);
    }
    assert.equal([...seen].sort(), [0, 1, 2, 3]);
    assert.equal(readCounters(loaded.counters), { fragments: 0, unreadable: 0 });
    unload(loaded);
  });
}

/** What names no client, and what is for a reader itself. */
const ROWS: readonly (readonly [
  string,
  Uint8Array,
  number,
  "fragments" | "unreadable" | "none",
])[] = [
  ["to a tunnel address", inbound(4, 9, { destination: "10.2.0.3" }), 2, "none"],
  ["to an IPv6 tunnel address", inbound(6, 9, { destination: "fd02::4" }), 3, "none"],
  [
    "an error to a tunnel address",
    tooBig(4, outbound(4, 9, { source: "10.2.0.2" }), { destination: "10.2.0.2" }),
    1,
    "none",
  ],
  ["a probe", probe("0.0.0.0", 2), 2, "none"],
  ["a probe of somebody", probe("192.0.2.1", 2), 0, "unreadable"],
  ["a first fragment", inbound(4, 9, { fragment: 0x2000 }), 0, "fragments"],
  ["a later fragment", inbound(4, 9, { fragment: 0x0001 }), 0, "fragments"],
  ["an IPv6 fragment", inbound(6, 9, { extensions: [fragment(1)] }), 0, "fragments"],
  ["a later IPv6 fragment", inbound(6, 9, { extensions: [fragment(8)] }), 0, "fragments"],
  ["an IPv4 header cut off", inbound(4, 9).slice(0, 19), 0, "unreadable"],
  ["ports cut off", inbound(4, 9).slice(0, 21), 0, "unreadable"],
  ["an IPv6 header cut off", inbound(6, 9).slice(0, 39), 0, "unreadable"],
  ["IPv6 ports cut off", inbound(6, 9).slice(0, 41), 0, "unreadable"],
  ["a header length of 16", inbound(4, 9, { ihl: 4 }), 0, "unreadable"],
  ["another version", inbound(4, 9, { version: 5 }), 0, "unreadable"],
  [
    "a late hop-by-hop",
    inbound(6, 9, { extensions: [extension(60), extension(0)] }),
    0,
    "unreadable",
  ],
  ["eight options", inbound(6, 9, { extensions: OPTIONS_8 }), 0, "unreadable"],
  ["an echo request", tooBig(4, outbound(4, 9), { type: 8 }), 0, "unreadable"],
  ["source quench", tooBig(4, outbound(4, 9), { type: 4 }), 0, "unreadable"],
  ["a neighbour's question", tooBig(6, outbound(6, 9), { type: 135 }), 0, "unreadable"],
  ["an error about UDP", tooBig(4, udp(4)), 0, "unreadable"],
  ["an error about UDP over IPv6", tooBig(6, udp(6)), 0, "unreadable"],
  ["an error about a fragment", tooBig(4, outbound(4, 9, { fragment: 8 })), 0, "unreadable"],
  ["an error without ports", tooBig(4, outbound(4, 9).slice(0, 23)), 0, "unreadable"],
  ["an error of another family", tooBig(4, outbound(6, 9)), 0, "unreadable"],
  ["an error of the other family", tooBig(6, outbound(4, 9)), 0, "unreadable"],
  ["UDP", udp(4), 0, "unreadable"],
];

function udp(family: Family): Uint8Array {
  const ends = { source: SERVICES[family], destination: CLIENTS[family] };
  return buildIp({ ...ends, protocol: 17 }, new Uint8Array(40));
}

function probe(source: string, identification: number): Uint8Array {
  return buildIp(
    { source, destination: "0.0.0.0", protocol: 253, identification },
    new Uint8Array(16),
  );
}

for (const [name, packet, queue, counter] of ROWS) {
  check(`queue ${queue} for ${name}`, () => {
    const loaded = load(name, 4);
    if (!loaded) return;
    assert.is(run(loaded.program, packet), queue);
    assert.is(queueOf(packet, loaded) ?? 0, queue, "reference");
    const { fragments, unreadable } = readCounters(loaded.counters);
    const counted = fragments > 0 ? "fragments" : unreadable > 0 ? "unreadable" : "none";
    assert.is(counted, counter);
    assert.ok(fragments + unreadable <= 1);
    unload(loaded);
  });
}

check("random packets of every kind go where the slow program says", () => {
  const seed = Number(process.env["BATON_SEED"] ?? Date.now() % 1e9);
  let state = seed >>> 0;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const samples = ROWS.map(([, packet]) => packet);
  for (const count of [1, 2, 3, 16]) {
    const key = Uint8Array.from({ length: 8 }, () => random(256));
    const loaded = load("random packets", count, key);
    if (!loaded) return;
    for (let index = 0; index < 1_000; index += 1) {
      const sample = samples[random(samples.length)]!;
      const fresh = FAMILIES.flatMap((family) => [
        inbound(family, random(65_536)),
        tooBig(family, outbound(family, random(65_536))),
      ]);
      const packet = [sample, ...fresh][random(5)]!.slice();
      for (let changes = random(4); changes > 0; changes -= 1) {
        packet[random(Math.min(packet.length, 64))] = random(256);
      }
      const cut = random(4) === 0 ? packet.slice(0, 1 + random(packet.length)) : packet;
      const want = queueOf(cut, loaded) ?? 0;
      const text = `seed ${seed}, ${count} queues: ${Buffer.from(cut).toString("hex")}`;
      assert.is(run(loaded.program, cut), want, text);
    }
    unload(loaded);
  }
});

queues.run();
