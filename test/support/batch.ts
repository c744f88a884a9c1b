/**
 * Drives the ABI of a test core: parameters, addresses, tuples, packets in and out. Knows descriptors; must
 * not know what a test expects.
 */
import { type Address, toAddress } from "./address.ts";
import { type TestCore, u32 } from "./core.ts";

/** Names are those of ParameterOff; what is left out gets a small default. */
export interface TestParameters {
  wallMs?: number;
  hashSecret?: Uint8Array;
  isnSecret?: Uint8Array;
  connectionsMax?: number;
  timeWaitMax?: number;
  halfOpenMax?: number;
  mappings4Max?: number;
  mappings6Max?: number;
  recordsMax?: number;
  earlyBytesMax?: number;
  earlyFlowsMax?: number;
  bufferBytes?: number;
  slotBytes?: number;
  blobBytes?: number;
  mtu?: number;
  ringFrames?: number;
  ringFrameBytes?: number;
}

const DEFAULTS = {
  CONNECTIONS_MAX: 64,
  TIME_WAIT_MAX: 64,
  HALF_OPEN_MAX: 32,
  MAPPINGS4_MAX: 256,
  MAPPINGS6_MAX: 256,
  RECORDS_MAX: 256,
  EARLY_BYTES_MAX: 1 << 20,
  EARLY_FLOWS_MAX: 64,
  BUFFER_BYTES: 4 << 20,
  SLOT_BYTES: 65536,
  BLOB_BYTES: 1 << 20,
  MTU: 1500,
  RING_FRAMES: 0,
  RING_FRAME_BYTES: 0,
};

const constantCase = (name: string) =>
  name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();

/** Writes Parameters and calls init; returns what it returned. */
export function initCore(
  core: TestCore,
  parameters: TestParameters = {},
  nowUs = 1_000_000,
): number {
  const base = core.f.parametersPtr!();
  const at = (name: string) => base + core.constant(`ParameterOff.${name}`);
  const { wallMs, hashSecret, isnSecret, ...sizes } = parameters;
  core.view.setFloat64(at("WALL_MS"), wallMs ?? 1_700_000_000_000, true);
  core.write(at("HASH_SECRET"), hashSecret ?? Uint8Array.from({ length: 16 }, (_, i) => i * 7 + 1));
  core.write(at("ISN_SECRET"), isnSecret ?? Uint8Array.from({ length: 16 }, (_, i) => i * 5 + 3));
  for (const [name, value] of Object.entries(DEFAULTS)) core.view.setUint32(at(name), value, true);
  for (const [name, value] of Object.entries(sizes)) {
    core.view.setUint32(at(constantCase(name)), value, true);
  }
  return core.f.init!(nowUs);
}

export interface TestTuple {
  remote: Address;
  remotePort: number;
  local: Address;
  localPort: number;
}

/** Writes a Tuple to tuplePtr. */
export function setTuple(core: TestCore, tuple: TestTuple): void {
  const ptr = core.f.tuplePtr!();
  const remote = toAddress(tuple.remote);
  core.bytes.fill(0, ptr, ptr + 40);
  core.view.setUint32(ptr, remote.length === 4 ? 4 : 6, true);
  core.view.setUint16(ptr + 4, tuple.remotePort, true);
  core.view.setUint16(ptr + 6, tuple.localPort, true);
  core.write(ptr + 8, remote);
  core.write(ptr + 24, toAddress(tuple.local));
}

/** Reads the Tuple at tuplePtr. */
export function getTuple(core: TestCore): TestTuple {
  const ptr = core.f.tuplePtr!();
  const len = core.view.getUint32(ptr, true) === 4 ? 4 : 16;
  return {
    remote: core.read(ptr + 8, len),
    remotePort: core.view.getUint16(ptr + 4, true),
    local: core.read(ptr + 24, len),
    localPort: core.view.getUint16(ptr + 6, true),
  };
}

/** Calls an export that takes (family, addressPtr) at some place, with the address written to scratch. */
export function withAddress(
  core: TestCore,
  address: Address,
  call: (family: number, ptr: number) => number,
): number {
  const bytes = toAddress(address);
  // The tuple's own place serves as scratch: no test expects a tuple to survive this.
  const ptr = core.write(core.f.tuplePtr!(), bytes);
  return call(bytes.length === 4 ? 4 : 6, ptr);
}

export interface Offload {
  flags?: number;
  csumStart?: number;
  csumOffset?: number;
  gsoType?: number;
  gsoSize?: number;
  headerLen?: number;
}

/** One packet of a batch with its descriptor's fields. */
export interface BatchPacket extends Required<Offload> {
  verdict: number;
  peer: number;
  flow: number;
  record: number;
  handle: number;
  bytes: Uint8Array;
}

export type RxPacket =
  Uint8Array | ({ bytes: Uint8Array; flow?: number; record?: number } & Offload);

/** Puts packets into the rx batch. */
export function fill(core: TestCore, packets: readonly RxPacket[]): void {
  const base = core.f.rxBatchPtr!();
  const size = core.constant("DESCRIPTOR_SIZE");
  packets.forEach((packet, index) => {
    const at = base + index * size;
    const field = packet instanceof Uint8Array ? { bytes: packet } : packet;
    const { view } = core;
    const off = (name: string) => at + core.constant(`DescriptorOff.${name}`);
    core.write(view.getUint32(off("PTR"), true), field.bytes);
    view.setUint32(off("LEN"), field.bytes.length, true);
    view.setUint16(off("FLAGS"), field.flags ?? 0, true);
    view.setUint16(off("CSUM_START"), field.csumStart ?? 0, true);
    view.setUint16(off("CSUM_OFFSET"), field.csumOffset ?? 0, true);
    view.setUint16(off("GSO_TYPE"), field.gsoType ?? 0, true);
    view.setUint16(off("GSO_SIZE"), field.gsoSize ?? 0, true);
    view.setUint16(off("HEADER_LEN"), field.headerLen ?? 0, true);
    view.setUint16(off("LINK"), 0, true);
    view.setUint16(off("VERDICT"), 0xffff, true);
    view.setFloat64(off("TIME_US"), 0, true);
    view.setUint32(off("PEER"), 0, true);
    view.setUint32(off("FLOW"), field.flow ?? 0, true);
    view.setUint32(off("RECORD"), field.record ?? 0, true);
    view.setUint32(off("HANDLE"), 0, true);
  });
}

/** Reads the first `count` packets of the batch at `base`. */
export function readBatch(core: TestCore, base: number, count: number): BatchPacket[] {
  const size = core.constant("DESCRIPTOR_SIZE");
  return Array.from({ length: count }, (_, index) => {
    const off = (name: string) => base + index * size + core.constant(`DescriptorOff.${name}`);
    const { view } = core;
    return {
      bytes: core.read(view.getUint32(off("PTR"), true), view.getUint32(off("LEN"), true)),
      flags: view.getUint16(off("FLAGS"), true),
      csumStart: view.getUint16(off("CSUM_START"), true),
      csumOffset: view.getUint16(off("CSUM_OFFSET"), true),
      gsoType: view.getUint16(off("GSO_TYPE"), true),
      gsoSize: view.getUint16(off("GSO_SIZE"), true),
      headerLen: view.getUint16(off("HEADER_LEN"), true),
      verdict: view.getUint16(off("VERDICT"), true),
      peer: view.getUint32(off("PEER"), true),
      flow: view.getUint32(off("FLOW"), true),
      record: view.getUint32(off("RECORD"), true),
      handle: view.getUint32(off("HANDLE"), true),
    };
  });
}

/** Hands packets to the core and returns them with their verdicts. */
export function feed(core: TestCore, packets: readonly RxPacket[], nowUs: number): BatchPacket[] {
  fill(core, packets);
  const left = core.f.handlePackets!(packets.length, nowUs);
  const out = readBatch(core, core.f.rxBatchPtr!(), packets.length);
  const open = out.filter(({ verdict }) => verdict !== 0 && verdict !== 1).length;
  if (left !== open) throw new Error(`handlePackets said ${left}, ${open} verdicts are open`);
  return out;
}

/** Polls until nothing is left. */
export function drain(
  core: TestCore,
  poll: "pollTransmit" | "pollHandback",
  nowUs: number,
): BatchPacket[] {
  const out: BatchPacket[] = [];
  for (;;) {
    const count = core.f[poll]!(nowUs);
    if (count < 0) throw new Error(`${poll} returned ${count}`);
    if (count === 0) return out;
    out.push(...readBatch(core, core.f.txBatchPtr!(), count));
    if (out.length > 100_000) throw new Error(`${poll} does not end`);
  }
}

/** Value of a counter by its name in `enum Counter`. */
export function counter(core: TestCore, name: string): number {
  const ptr = core.f.countersPtr!() + core.constant(`Counter.${name}`) * 8;
  return Number(core.view.getBigUint64(ptr, true));
}

/** Every counter that is not zero, by name. */
export function counters(core: TestCore, names: readonly string[]): Record<string, number> {
  return Object.fromEntries(names.map((name) => [name, counter(core, name)]).filter(([, n]) => n));
}

/** MapInfo, as mapGet and mapScan leave it. */
export function mapInfo(core: TestCore) {
  const ptr = core.f.mapInfoPtr!();
  const word = (name: string) =>
    u32(core.view.getUint32(ptr + core.constant(`MapInfoOff.${name}`), true));
  return {
    action: word("ACTION"),
    peer: word("PEER"),
    flow: word("FLOW"),
    timestamps: word("TIMESTAMPS"),
    segAck: word("SEG_ACK"),
    segSeq: word("SEG_SEQ"),
    tsVal: word("TS_VAL"),
    tsEcr: word("TS_ECR"),
    seenUs: core.view.getFloat64(ptr + core.constant("MapInfoOff.SEEN_US"), true),
  };
}
