/**
 * Speed of the forwarder's and the node's packet path in the core alone, no I/O: packets of random flows out
 * of many, every check of the product in place. Prints million packets a second of handlePackets; filling
 * the slots is not timed. Trust ratios within one run, not absolute figures.
 *
 *   node build/bench/core/encap.js [--flows 1000000] [--rounds 5] [--json]
 */
import koffi from "koffi";
import { type TestCore, openCore } from "../../test/support/core.ts";
import { fill, initCore, setTuple, withAddress } from "../../test/support/batch.ts";
import { ACK, buildTcp, option } from "../../test/support/packet.ts";

const PACKETS = 1 << 16;
const IMAGE = 128;
const MADV_HUGEPAGE = 14;
const FLOW_BASE = 0x00010001;
const OWN = { 4: "10.9.0.1", 6: "fd09::1" };
const PEER = { 4: "10.9.0.2", 6: "fd09::2" };
const VIP = { 4: "10.0.0.100", 6: "fd00::100" };

interface Case {
  name: string;
  family: 4 | 6;
  /** encapsulate at a forwarder, or recognise and give back at a node whose flow has moved. */
  decapsulate: boolean;
  call: "handlePackets" | "handlePacketsSingly";
}

const CASES: Case[] = (
  [
    ["encapsulate", 4, false],
    ["decapsulate", 4, true],
    ["encapsulate IPv6", 6, false],
    ["decapsulate IPv6", 6, true],
  ] as const
).flatMap(([name, family, decapsulate]) => [
  { name: `${name}, batched`, family, decapsulate, call: "handlePackets" },
  { name: `${name}, one by one`, family, decapsulate, call: "handlePacketsSingly" },
]);

const flows = flag("--flows", 1_000_000);
const rounds = flag("--rounds", 5);
main();

function main(): void {
  const results = new Map<string, number>();
  for (const family of [4, 6] as const) {
    for (const decapsulate of [false, true]) {
      const core = prepare(family, decapsulate);
      const images = makeImages(family, decapsulate);
      const cases = CASES.filter((c) => c.family === family && c.decapsulate === decapsulate);
      const times = new Map(cases.map((c) => [c.name, [] as number[]]));
      for (let round = 0; round < rounds; round++) {
        for (const c of cases) times.get(c.name)!.push(measure(core, images, c.call));
      }
      for (const [name, list] of times) results.set(name, median(list));
    }
  }
  if (process.argv.includes("--json")) {
    process.stdout.write(
      JSON.stringify({ flows, nsPerPacket: Object.fromEntries(results) }) + "\n",
    );
    return;
  }
  process.stdout.write(`${flows} flows, random access, median of ${rounds} rounds\n`);
  for (const [name, ns] of results) {
    const mpps = (1000 / ns).toFixed(1).padStart(6);
    process.stdout.write(`${name.padEnd(30)} ${ns.toFixed(1).padStart(7)} ns ${mpps} Mpps\n`);
  }
}

function flag(name: string, otherwise: number): number {
  const index = process.argv.indexOf(name);
  return index < 0 ? otherwise : Number(process.argv[index + 1]);
}

function median(list: number[]): number {
  return [...list].sort((a, b) => a - b)[list.length >> 1]!;
}

/** Client `index`: addresses and ports scattered like a hash's, different for every index. */
function client(index: number): { word: number; port: number } {
  const word = Math.imul(index + 1, 0x9e3779b1) >>> 0;
  return { word, port: 1024 + (index % 60000) };
}

function clientAddress(index: number, family: 4 | 6): Uint8Array {
  const { word } = client(index);
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  bytes.set(
    [20 + (word >>> 26), (word >> 16) & 255, (word >> 8) & 255, word & 255],
    bytes.length - 4,
  );
  if (family === 6) bytes.set([0x20, 0x01, 0x0d, 0xb8], 0);
  return bytes;
}

function prepare(family: 4 | 6, decapsulate: boolean): TestCore {
  const core = openCore("release");
  const initialised = initCore(core, {
    mappings4Max: family === 4 && !decapsulate ? flows : 1,
    mappings6Max: family === 6 && !decapsulate ? flows : 1,
    recordsMax: decapsulate ? flows : 1,
    slotBytes: 2048,
  });
  if (initialised !== 0) throw new Error(`init returned ${initialised}`);
  if (process.argv.includes("--huge")) adviseHuge(core.bytes);
  withAddress(core, OWN[family], core.f.tunnelSet!);
  withAddress(core, PEER[family], (f, ptr) => core.f.peerSet!(1, f, ptr));
  withAddress(core, VIP[family], (f, ptr) => core.f.serviceAdd!(f, ptr, 80, 0, 0));
  for (let index = 0; index < flows; index++) {
    const remotePort = client(index).port;
    setTuple(core, {
      remote: clientAddress(index, family),
      remotePort,
      local: VIP[family],
      localPort: 80,
    });
    const flow = flowOf(index);
    const set = decapsulate
      ? core.f.recordSet!(1, flow, 1, 1e6) || core.f.recordSet!(1, flow, 3, 1e6)
      : core.f.mapSet!(1, 1, flow);
    if (set !== 0) throw new Error(`flow ${index}: ${set}`);
  }
  return core;
}

/** madvise(MADV_HUGEPAGE) on linear memory: what the daemon does where it can. */
function adviseHuge(memory: Uint8Array): void {
  const libc = koffi.load("libc.so.6");
  const madvise = libc.func("int madvise(uintptr_t addr, size_t length, int advice)");
  const advised: unknown = madvise(koffi.address(memory), memory.length, MADV_HUGEPAGE);
  if (advised !== 0) process.stderr.write(`madvise: errno ${koffi.errno()}\n`);
}

/** Consecutive, as a connection counter gives them, without zero halves. */
function flowOf(index: number): number {
  return FLOW_BASE + Math.floor(index / 65535) * 65536 + (index % 65535);
}

/** Packets of random flows, one image each. */
function makeImages(family: 4 | 6, decapsulate: boolean): Uint8Array[] {
  let state = 12345;
  return Array.from({ length: PACKETS }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const index = Math.floor((state / 2 ** 32) * flows);
    const flow = flowOf(index);
    const image = buildTcp({
      source: decapsulate ? PEER[family] : clientAddress(index, family),
      destination: decapsulate ? OWN[family] : VIP[family],
      sourcePort: decapsulate ? flow >>> 16 : client(index).port,
      destinationPort: decapsulate ? flow & 0xffff : 80,
      seq: state,
      ack: index,
      flags: ACK,
      options: option.timestamps(state, index),
    });
    if (image.length > IMAGE) throw new Error("image too long");
    return image;
  });
}

/** Nanoseconds a packet: the median over batches, which other load on the machine moves least. */
function measure(core: TestCore, images: Uint8Array[], call: Case["call"]): number {
  const size = core.constant("BATCH_MAX");
  const handle = core.f[call]!;
  const ptr = core.constant("DescriptorOff.PTR");
  const len = core.constant("DescriptorOff.LEN");
  const stride = core.constant("DESCRIPTOR_SIZE");
  const base = core.f.rxBatchPtr!();
  fill(core, images.slice(0, size));
  const { view, bytes } = core;
  const slots = Array.from({ length: size }, (_, i) =>
    view.getUint32(base + i * stride + ptr, true),
  );
  const times: number[] = [];
  for (let at = 0; at < images.length; at += size) {
    for (let i = 0; i < size; i++) {
      const image = images[at + i]!;
      bytes.set(image, slots[i]!);
      view.setUint32(base + i * stride + len, image.length, true);
    }
    const start = process.hrtime.bigint();
    const left = handle(size, 2e6);
    times.push(Number(process.hrtime.bigint() - start) / size);
    if (left !== size) throw new Error(`${left} of ${size} packets have an open verdict`);
  }
  return median(times);
}
