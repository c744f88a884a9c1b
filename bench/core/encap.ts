/**
 * The forwarder's and the node's packet path: packets of random flows out of very many, every check of the
 * product in place. Filling the slots is not timed.
 */
import { isWorthIt } from "../../host/daemon/pages.ts";
import { adviseHugePages, coveredByHugePages } from "../../host/linux/huge.ts";
import { type TestCore, openCore } from "../../test/support/core.ts";
import { fill, initCore, setTuple, withAddress } from "../../test/support/batch.ts";
import { ACK, buildTcp, option } from "../../test/support/packet.ts";
import { median } from "./wire.ts";

export const PACKETS = 1 << 16;
const IMAGE = 128;
const FLOW_BASE = 0x00010001;
const OWN = { 4: "10.9.0.1", 6: "fd09::1" };
const PEER = { 4: "10.9.0.2", 6: "fd09::2" };
const VIP = { 4: "10.0.0.100", 6: "fd00::100" };

export interface EncapOptions {
  readonly family: 4 | 6;
  /** Encapsulate at a forwarder, or recognise and give back at a node whose flow has moved. */
  readonly decapsulate: boolean;
  readonly flows: number;
  /** The tables in huge pages where a daemon of so many flows would have them so by default. */
  readonly huge: boolean;
}

export interface EncapResult {
  /** Nanoseconds a packet. */
  readonly batched: number;
  readonly singly: number;
}

/** Measures the same packets in batches and one by one. */
export function encapsulation(options: EncapOptions, rounds: number): EncapResult {
  const core = prepare(options);
  const images = makeImages(options);
  const batched: number[] = [];
  const singly: number[] = [];
  for (let round = 0; round < rounds; round++) {
    batched.push(measure(core, images, "handlePackets"));
    singly.push(measure(core, images, "handlePacketsSingly"));
  }
  return { batched: median(batched), singly: median(singly) };
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

function prepare({ family, decapsulate, flows, huge }: EncapOptions): TestCore {
  const core = openCore("release");
  const initialised = initCore(core, {
    mappings4Max: family === 4 && !decapsulate ? flows : 1,
    mappings6Max: family === 6 && !decapsulate ? flows : 1,
    recordsMax: decapsulate ? flows : 1,
    slotBytes: 2048,
  });
  if (initialised !== 0) throw new Error(`init returned ${initialised}`);
  if (huge) adviseTables(core, flows);
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

/**
 * Asks for huge pages for tables that will hold so many entries, as a daemon does once they do (host/daemon/pages.ts):
 * before anything is in them, which comes to the same as to gather them then.
 */
function adviseTables(core: TestCore, entries: number): void {
  for (const name of ["MAPPINGS4", "MAPPINGS6", "RECORDS"]) {
    if (core.f.tableSpan!(core.constant(`Usage.${name}`)) !== 0)
      throw new Error(`no table ${name}`);
    const span = core.f.spanPtr!();
    const [ptr, len] = [core.view.getUint32(span, true), core.view.getUint32(span + 4, true)];
    if (!isWorthIt(entries, len)) continue;
    adviseHugePages(coveredByHugePages(core.bytes, core.bytes.subarray(ptr, ptr + len)));
  }
}

/** Consecutive, as a connection counter gives them, without zero halves. */
function flowOf(index: number): number {
  return FLOW_BASE + Math.floor(index / 65535) * 65536 + (index % 65535);
}

/** Packets of random flows, one image each. */
export function makeImages({ family, decapsulate, flows }: EncapOptions): Uint8Array[] {
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
function measure(
  core: TestCore,
  images: readonly Uint8Array[],
  call: "handlePackets" | "handlePacketsSingly",
): number {
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
