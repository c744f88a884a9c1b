/**
 * What is chosen before `init`: sizes and secrets. Knows the Parameters structure of assembly/layout.ts;
 * must not know what a room makes of a value.
 */
import { BatonError } from "../errors.ts";
import { enumValue, type CoreModule } from "./module.ts";

/** Sizes and secrets, fixed for the life of an instance. Bytes and counts. */
export interface CoreParameters {
  /** Live connections of the own stack. */
  readonly connectionsMax: number;
  readonly timeWaitMax: number;
  /** Connections in SYN-RECEIVED before SYN cookies are sent. */
  readonly halfOpenMax: number;
  /** Mapping table of a forwarder: IPv4 and IPv6 connections. */
  readonly mappings4Max: number;
  readonly mappings6Max: number;
  /** Flow records of a node that takes connections, ended ones included. */
  readonly recordsMax: number;
  /** Packets that arrive before their connection, and segments held while one moves. */
  readonly earlyBytesMax: number;
  readonly earlyFlowsMax: number;
  /** Send and receive buffers of all connections together. */
  readonly bufferBytes: number;
  /** Of these, one connection at most; 0, and what is left out: the core's own limit. */
  readonly sndBufferMax?: number;
  readonly rcvBufferMax?: number;
  /** Largest packet of a slot: 2,048, or 65,536 with segmentation offload. */
  readonly slotBytes: number;
  /** Largest blob. */
  readonly blobBytes: number;
  /** Largest packet that may be sent without segmentation offload. */
  readonly mtu: number;
  /** Frames of the xdp link, a power of two from 256 on, and bytes of each, 2,048 or 4,096; default: none. */
  readonly ringFrames?: number;
  readonly ringFrameBytes?: number;
  /** The link cuts super-packets of up to `slotBytes` and finishes checksums (Link.gso). */
  readonly segmenting: boolean;
  /** 16 bytes, random for each instance: keys of the tables. */
  readonly hashSecret: Uint8Array;
  /** 16 bytes, from the cluster key: initial sequence numbers, timestamp offsets, SYN cookies. */
  readonly isnSecret: Uint8Array;
  /** Milliseconds since 1970 at `nowUs` of init. */
  readonly wallMs: number;
}

/** Small enough for a test or an example, large enough for a few hundred connections. */
export const SMALL_PARAMETERS: Omit<CoreParameters, "hashSecret" | "isnSecret" | "wallMs"> = {
  connectionsMax: 1024,
  timeWaitMax: 4096,
  halfOpenMax: 256,
  mappings4Max: 4096,
  mappings6Max: 4096,
  recordsMax: 8192,
  earlyBytesMax: 4 << 20,
  earlyFlowsMax: 1024,
  bufferBytes: 32 << 20,
  slotBytes: 2048,
  blobBytes: 4 << 20,
  mtu: 1500,
  segmenting: false,
};

/** Name of each count in ParameterOff. */
const COUNTS = {
  CONNECTIONS_MAX: "connectionsMax",
  TIME_WAIT_MAX: "timeWaitMax",
  HALF_OPEN_MAX: "halfOpenMax",
  MAPPINGS4_MAX: "mappings4Max",
  MAPPINGS6_MAX: "mappings6Max",
  RECORDS_MAX: "recordsMax",
  EARLY_BYTES_MAX: "earlyBytesMax",
  EARLY_FLOWS_MAX: "earlyFlowsMax",
  BUFFER_BYTES: "bufferBytes",
  SND_BUFFER_MAX: "sndBufferMax",
  RCV_BUFFER_MAX: "rcvBufferMax",
  SLOT_BYTES: "slotBytes",
  BLOB_BYTES: "blobBytes",
  MTU: "mtu",
  RING_FRAMES: "ringFrames",
  RING_FRAME_BYTES: "ringFrameBytes",
} as const;

const SECRET_BYTES = 16;

/** Writes them where `init` reads them. @throws BatonError ERR_BATON_CORE for what no init could take. */
export function writeParameters(module: CoreModule, parameters: CoreParameters): void {
  const base = (module.functions["parametersPtr"]?.() ?? 0) >>> 0;
  const view = new DataView(module.memory.buffer, base);
  const at = (name: string): number => enumValue(module, "ParameterOff", name);
  for (const [name, key] of Object.entries(COUNTS)) {
    const value = parameters[key] ?? 0;
    if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
      throw new BatonError("ERR_BATON_CORE", `${key}: expected a u32, got ${value}`);
    }
    view.setUint32(at(name), value, true);
  }
  view.setUint32(at("SEGMENTING"), parameters.segmenting ? 1 : 0, true);
  view.setFloat64(at("WALL_MS"), parameters.wallMs, true);
  writeSecret(view, at("HASH_SECRET"), parameters.hashSecret);
  writeSecret(view, at("ISN_SECRET"), parameters.isnSecret);
}

function writeSecret(view: DataView, off: number, secret: Uint8Array): void {
  if (secret.length !== SECRET_BYTES) {
    throw new BatonError(
      "ERR_BATON_CORE",
      `secret: expected ${SECRET_BYTES} bytes, got ${secret.length}`,
    );
  }
  for (const [index, byte] of secret.entries()) view.setUint8(off + index, byte);
}
