/**
 * The scratch structures of the ABI, read and written field by field. Knows assembly/layout.ts by its
 * exported offsets; must not know what a field is for.
 */
import { BatonError } from "../errors.ts";
import { constant, enumValue, type CoreModule } from "./module.ts";
import { hexBytes } from "./hex.ts";
import { tupleKey, type Tuple } from "./tuple.ts";

export type CoreEventKind =
  | "accepted"
  | "connected"
  | "readable"
  | "writable"
  | "ended"
  | "closed"
  | "released"
  | "urgent"
  | "trouble";

export interface CoreEvent {
  readonly kind: CoreEventKind;
  readonly handle: number;
  /** With "closed" and "released": an Err. With "trouble": SoftError << 8 | ICMP code. */
  readonly code: number;
  /** With "released": the flow that named the connection, 0 when none. */
  readonly ownerPeer: number;
  readonly ownerFlow: number;
  /** With "released": for the next connection of the 4-tuple (RFC 6191). */
  readonly sndNxt: number;
  readonly tsVal: number;
  /** With "accepted", "connected" and "released". */
  readonly tuple: Tuple;
}

/** Numbers of a client's last segment, from which it can be reset (PROTOCOL R20). */
export interface ClientNumbers {
  /** Undefined without the option. */
  readonly timestamps: { readonly tsVal: number; readonly tsEcr: number } | undefined;
  readonly segAck: number;
  readonly segSeq: number;
}

/** An entry of the mapping table. */
export interface MapInfo extends ClientNumbers {
  readonly action: number;
  readonly peer: number;
  readonly flow: number;
  /** Monotonic microseconds, to the second. */
  readonly seenUs: number;
}

/**
 * Who names a connection how: bundled with it in its blob. Node names as 16 and epochs as 32 hexadecimal
 * digits.
 */
export interface CoreMapping {
  readonly flow: number;
  /** Times the connection was infused, this time included. */
  readonly generation: number;
  readonly forwarder: string;
  readonly forwarderEpoch: string;
  readonly source: string;
  readonly sourceEpoch: string;
  readonly targetEpoch: string;
}

/** The variables of one connection that rooms above the core need; RFC 9293 names. */
export interface ConnectionInfo {
  readonly tuple: Tuple;
  /** State of assembly/layout.ts. */
  readonly state: number;
  /** The peer's FIN was reached. */
  readonly isEnded: boolean;
  readonly sndUna: number;
  readonly sndNxt: number;
  readonly rcvNxt: number;
  /** The last TSval sent and TS.Recent; undefined without the option. */
  readonly timestamps: { readonly tsVal: number; readonly tsEcr: number } | undefined;
  readonly generation: number;
  readonly ownerPeer: number;
  readonly ownerFlow: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly bytesRetransmitted: number;
}

const EVENT_KINDS: readonly (CoreEventKind | undefined)[] = [
  undefined,
  "accepted",
  "connected",
  "readable",
  "writable",
  "ended",
  "closed",
  "released",
  "urgent",
  "trouble",
];

export class Structures {
  readonly #memory: Uint8Array;
  readonly #view: DataView;
  readonly #ptr: Readonly<
    Record<
      "tuple" | "span" | "event" | "info" | "mapInfo" | "mapping" | "application" | "counters",
      number
    >
  >;
  readonly #eventOff: Readonly<Record<string, number>>;
  readonly #infoOff: Readonly<Record<string, number>>;
  readonly #mapOff: Readonly<Record<string, number>>;
  readonly #mappingOff: Readonly<Record<string, number>>;
  readonly #mappingSize: number;
  readonly #endedStates: ReadonlySet<number | undefined>;
  readonly #timestampsFlag: number;
  readonly #counterNames: readonly (readonly [string, number])[];
  readonly #usageNames: readonly (readonly [string, number])[];

  constructor(module: CoreModule) {
    this.#memory = new Uint8Array(module.memory.buffer);
    this.#view = new DataView(module.memory.buffer);
    const pointer = (name: string): number => (module.functions[name]?.() ?? 0) >>> 0;
    this.#ptr = {
      tuple: pointer("tuplePtr"),
      span: pointer("spanPtr"),
      event: pointer("eventPtr"),
      info: pointer("infoPtr"),
      mapInfo: pointer("mapInfoPtr"),
      mapping: pointer("mappingPtr"),
      application: pointer("applicationPtr"),
      counters: pointer("countersPtr"),
    };
    this.#eventOff = group(module, "EventOff");
    this.#infoOff = group(module, "InfoOff");
    this.#mapOff = group(module, "MapInfoOff");
    this.#mappingOff = group(module, "MappingOff");
    this.#mappingSize = constant(module, "MAPPING_SIZE");
    const states = group(module, "State");
    const ended = ["CLOSE_WAIT", "CLOSING", "LAST_ACK", "TIME_WAIT"];
    this.#endedStates = new Set(ended.map((name) => states[name]));
    this.#timestampsFlag = enumValue(module, "Flag", "TIMESTAMPS");
    this.#counterNames = Object.entries(group(module, "Counter"));
    this.#usageNames = Object.entries(group(module, "Usage"));
  }

  /** Where 16 bytes of an address can be put for a call: the tuple's own place. */
  get addressPtr(): number {
    return this.#ptr.tuple + TUPLE_REMOTE;
  }

  writeTuple(tuple: Tuple): void {
    writeTuple(this.#memory, this.#view, this.#ptr.tuple, tuple);
  }

  tuple(): Tuple {
    return readTuple(this.#memory, this.#view, this.#ptr.tuple);
  }

  /** The tuple, unless its family says that there is none. */
  maybeTuple(): Tuple | undefined {
    return this.#view.getUint32(this.#ptr.tuple, true) === 0 ? undefined : this.tuple();
  }

  span(): { ptr: number; len: number } {
    const at = this.#ptr.span;
    return { ptr: this.#view.getUint32(at, true), len: this.#view.getUint32(at + 4, true) };
  }

  writeMapping(mapping: CoreMapping): void {
    const at = this.#ptr.mapping;
    this.#memory.fill(0, at, at + this.#mappingSize);
    for (const { off, bytes } of this.#mappingFields(mapping)) this.#memory.set(bytes, at + off);
  }

  /** The application's bytes that travel with a mapping written just now. */
  writeApplication(bytes: Uint8Array): void {
    const at = this.#ptr.mapping + (this.#mappingOff["APPLICATION_LEN"] ?? 0);
    this.#view.setUint32(at, bytes.length, true);
    this.#memory.set(bytes, this.#ptr.application);
  }

  /** A copy of the application's bytes that were unbundled. */
  application(): Uint8Array {
    const at = this.#ptr.mapping + (this.#mappingOff["APPLICATION_LEN"] ?? 0);
    const length = this.#view.getUint32(at, true);
    return this.#memory.slice(this.#ptr.application, this.#ptr.application + length);
  }

  /** The mapping that was unbundled is this one. */
  holdsMapping(mapping: CoreMapping): boolean {
    const at = this.#ptr.mapping;
    return this.#mappingFields(mapping).every(({ off, bytes }) =>
      bytes.every((byte, index) => this.#memory[at + off + index] === byte),
    );
  }

  holdsTuple(tuple: Tuple): boolean {
    return tupleKey(this.tuple()) === tupleKey(tuple);
  }

  #mappingFields(mapping: CoreMapping): { readonly off: number; readonly bytes: Uint8Array }[] {
    const field = (name: string, bytes: Uint8Array) => ({
      off: this.#mappingOff[name] ?? 0,
      bytes,
    });
    return [
      field("FLOW", word32(mapping.flow)),
      field("GENERATION", word32(mapping.generation)),
      field("FORWARDER", hexBytes(mapping.forwarder)),
      field("FORWARDER_EPOCH", hexBytes(mapping.forwarderEpoch)),
      field("SOURCE", hexBytes(mapping.source)),
      field("SOURCE_EPOCH", hexBytes(mapping.sourceEpoch)),
      field("TARGET_EPOCH", hexBytes(mapping.targetEpoch)),
    ];
  }

  event(): CoreEvent | undefined {
    const at = (name: string): number => this.#ptr.event + (this.#eventOff[name] ?? 0);
    const u32 = (name: string): number => this.#view.getUint32(at(name), true);
    const kind = EVENT_KINDS[u32("TYPE")];
    if (!kind) return undefined;
    return {
      kind,
      handle: u32("HANDLE"),
      code: this.#view.getInt32(at("CODE"), true),
      ownerPeer: u32("OWNER_PEER"),
      ownerFlow: u32("OWNER_FLOW"),
      sndNxt: u32("SND_NXT"),
      tsVal: u32("TSVAL"),
      tuple: readTuple(this.#memory, this.#view, at("TUPLE")),
    };
  }

  connectionInfo(): ConnectionInfo {
    const at = (name: string): number => this.#ptr.info + (this.#infoOff[name] ?? 0);
    const u32 = (name: string): number => this.#view.getUint32(at(name), true);
    const u64 = (name: string): number => Number(this.#view.getBigUint64(at(name), true));
    const hasTimestamps = (u32("FLAGS") & this.#timestampsFlag) !== 0;
    const state = u32("STATE");
    return {
      tuple: readTuple(this.#memory, this.#view, at("TUPLE")),
      state,
      isEnded: this.#endedStates.has(state),
      sndUna: u32("SND_UNA"),
      sndNxt: u32("SND_NXT"),
      rcvNxt: u32("RCV_NXT"),
      timestamps: hasTimestamps
        ? { tsVal: u32("TS_LAST_SENT"), tsEcr: u32("TS_RECENT") }
        : undefined,
      generation: u32("GENERATION"),
      ownerPeer: u32("OWNER_PEER"),
      ownerFlow: u32("OWNER_FLOW"),
      bytesReceived: u64("BYTES_RECEIVED"),
      bytesSent: u64("BYTES_SENT"),
      bytesRetransmitted: u32("BYTES_RETRANSMITTED"),
    };
  }

  mapInfo(): MapInfo {
    const at = (name: string): number => this.#ptr.mapInfo + (this.#mapOff[name] ?? 0);
    const u32 = (name: string): number => this.#view.getUint32(at(name), true);
    const timestamps = { tsVal: u32("TS_VAL"), tsEcr: u32("TS_ECR") };
    return {
      action: u32("ACTION"),
      peer: u32("PEER"),
      flow: u32("FLOW"),
      timestamps: u32("TIMESTAMPS") === 1 ? timestamps : undefined,
      segAck: u32("SEG_ACK"),
      segSeq: u32("SEG_SEQ"),
      seenUs: this.#view.getFloat64(at("SEEN_US"), true),
    };
  }

  /** Only the client's numbers, which are all that mapNote reads. */
  writeNumbers(numbers: ClientNumbers): void {
    const put = (name: string, value: number): void =>
      this.#view.setUint32(this.#ptr.mapInfo + (this.#mapOff[name] ?? 0), value, true);
    put("TIMESTAMPS", numbers.timestamps ? 1 : 0);
    put("SEG_ACK", numbers.segAck);
    put("SEG_SEQ", numbers.segSeq);
    put("TS_VAL", numbers.timestamps?.tsVal ?? 0);
    put("TS_ECR", numbers.timestamps?.tsEcr ?? 0);
  }

  /** Every number of `usagePtr()`, by name. */
  usage(ptr: number): Record<string, number> {
    const found: Record<string, number> = {};
    for (const [name, index] of this.#usageNames) {
      found[name.toLowerCase()] = this.#view.getUint32(ptr + 4 * index, true);
    }
    return found;
  }

  /** Every counter that is not zero, by name. */
  counters(): Record<string, number> {
    const found: Record<string, number> = {};
    for (const [name, index] of this.#counterNames) {
      const value = Number(this.#view.getBigUint64(this.#ptr.counters + 8 * index, true));
      if (value !== 0) found[name.toLowerCase()] = value;
    }
    return found;
  }
}

/** Little-endian, as everything in the core. */
function word32(value: number): Uint8Array {
  return Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
}

function group(module: CoreModule, name: string): Readonly<Record<string, number>> {
  const found = module.enums[name];
  if (!found) throw new BatonError("ERR_BATON_CORE", `core.wasm: no constants ${name}`);
  return found;
}

const TUPLE_FAMILY = 0;
const TUPLE_REMOTE_PORT = 4;
const TUPLE_LOCAL_PORT = 6;
const TUPLE_REMOTE = 8;
const TUPLE_LOCAL = 24;

/** Writes a tuple at `ptr` in the layout of assembly/layout.ts `Tuple`. */
export function writeTuple(memory: Uint8Array, view: DataView, ptr: number, tuple: Tuple): void {
  memory.fill(0, ptr + TUPLE_REMOTE, ptr + TUPLE_LOCAL + 16);
  view.setUint32(ptr + TUPLE_FAMILY, tuple.family, true);
  view.setUint16(ptr + TUPLE_REMOTE_PORT, tuple.remotePort, true);
  view.setUint16(ptr + TUPLE_LOCAL_PORT, tuple.localPort, true);
  memory.set(tuple.remote, ptr + TUPLE_REMOTE);
  memory.set(tuple.local, ptr + TUPLE_LOCAL);
}

export function readTuple(memory: Uint8Array, view: DataView, ptr: number): Tuple {
  const family = view.getUint32(ptr + TUPLE_FAMILY, true) === 4 ? 4 : 6;
  const size = family === 4 ? 4 : 16;
  return {
    family,
    remote: memory.slice(ptr + TUPLE_REMOTE, ptr + TUPLE_REMOTE + size),
    remotePort: view.getUint16(ptr + TUPLE_REMOTE_PORT, true),
    local: memory.slice(ptr + TUPLE_LOCAL, ptr + TUPLE_LOCAL + size),
    localPort: view.getUint16(ptr + TUPLE_LOCAL_PORT, true),
  };
}
