/**
 * The scratch structures of the ABI, read and written field by field. Knows assembly/layout.ts by its
 * exported offsets; must not know what a field is for.
 */
import { BatonError } from "../errors.ts";
import { constant, enumValue, type CoreModule } from "./module.ts";
import { hexBytes } from "./hex.ts";
import { readTuple, TUPLE_REMOTE, tupleKey, writeTuple, type Tuple } from "./tuple.ts";

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

/** How far one connection is; RFC 9293 names. */
export interface ConnectionNumbers {
  readonly sndUna: number;
  readonly sndNxt: number;
  readonly rcvNxt: number;
  /** The last TSval sent and TS.Recent; undefined without the option. */
  readonly timestamps: { readonly tsVal: number; readonly tsEcr: number } | undefined;
}

/** Whose it is. */
export interface ConnectionOwner {
  readonly generation: number;
  readonly ownerPeer: number;
  readonly ownerFlow: number;
}

/** The variables of one connection that rooms above the core need. */
export interface ConnectionInfo extends ConnectionNumbers, ConnectionOwner {
  readonly tuple: Tuple;
  /** State of assembly/layout.ts. */
  readonly state: number;
  /** The peer's FIN was reached. */
  readonly isEnded: boolean;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly bytesRetransmitted: number;
}

/** Kinds whose tuple is read. */
const WITH_TUPLE: ReadonlySet<CoreEventKind> = new Set(["accepted", "connected", "released"]);
const NO_TUPLE: Tuple = {
  ...{ family: 4, remote: new Uint8Array(4), remotePort: 0 },
  ...{ local: new Uint8Array(4), localPort: 0 },
};

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

/** Members of the core's enums of offsets. */
const EVENT_FIELDS = [
  ...(["TYPE", "HANDLE", "CODE", "OWNER_PEER", "OWNER_FLOW"] as const),
  ...(["SND_NXT", "TSVAL", "TUPLE"] as const),
] as const;
const INFO_FIELDS = [
  ...(["TUPLE", "STATE", "FLAGS", "SND_UNA", "SND_NXT", "RCV_NXT", "TS_LAST_SENT"] as const),
  ...(["TS_RECENT", "GENERATION", "OWNER_PEER", "OWNER_FLOW", "BYTES_RECEIVED"] as const),
  ...(["BYTES_SENT", "BYTES_RETRANSMITTED"] as const),
] as const;
const MAP_FIELDS = [
  ...(["ACTION", "PEER", "FLOW", "TIMESTAMPS", "TS_VAL", "TS_ECR"] as const),
  ...(["SEG_ACK", "SEG_SEQ", "SEEN_US"] as const),
] as const;
const MAPPING_FIELDS = [
  ...(["FLOW", "GENERATION", "FORWARDER", "FORWARDER_EPOCH", "SOURCE", "SOURCE_EPOCH"] as const),
  ...(["TARGET_EPOCH", "APPLICATION_LEN"] as const),
] as const;

export class Structures {
  readonly #memory: Uint8Array;
  readonly #view: DataView;
  readonly #ptr: Readonly<
    Record<
      "tuple" | "span" | "event" | "info" | "mapInfo" | "mapping" | "application" | "counters",
      number
    >
  >;
  /** Where each field of the scratch structures lies in memory. */
  readonly #event: Readonly<Record<(typeof EVENT_FIELDS)[number], number>>;
  readonly #info: Readonly<Record<(typeof INFO_FIELDS)[number], number>>;
  readonly #map: Readonly<Record<(typeof MAP_FIELDS)[number], number>>;
  readonly #mapping: Readonly<Record<(typeof MAPPING_FIELDS)[number], number>>;
  readonly #mappingSize: number;
  readonly #endedStates: ReadonlySet<number | undefined>;
  readonly #timestampsFlag: number;
  readonly #counterNames: readonly (readonly [string, number])[];

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
    this.#event = places(module, "EventOff", EVENT_FIELDS, this.#ptr.event);
    this.#info = places(module, "InfoOff", INFO_FIELDS, this.#ptr.info);
    this.#map = places(module, "MapInfoOff", MAP_FIELDS, this.#ptr.mapInfo);
    this.#mapping = places(module, "MappingOff", MAPPING_FIELDS, this.#ptr.mapping);
    this.#mappingSize = constant(module, "MAPPING_SIZE");
    const states = group(module, "State");
    const ended = ["CLOSE_WAIT", "CLOSING", "LAST_ACK", "TIME_WAIT"];
    this.#endedStates = new Set(ended.map((name) => states[name]));
    this.#timestampsFlag = enumValue(module, "Flag", "TIMESTAMPS");
    this.#counterNames = Object.entries(group(module, "Counter"));
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
    const begin = this.#ptr.mapping;
    const at = this.#mapping;
    this.#memory.fill(0, begin, begin + this.#mappingSize);
    this.#view.setUint32(at.FLOW, mapping.flow, true);
    this.#view.setUint32(at.GENERATION, mapping.generation, true);
    this.#memory.set(hexBytes(mapping.forwarder), at.FORWARDER);
    this.#memory.set(hexBytes(mapping.forwarderEpoch), at.FORWARDER_EPOCH);
    this.#memory.set(hexBytes(mapping.source), at.SOURCE);
    this.#memory.set(hexBytes(mapping.sourceEpoch), at.SOURCE_EPOCH);
    this.#memory.set(hexBytes(mapping.targetEpoch), at.TARGET_EPOCH);
  }

  /** The application's bytes that travel with a mapping written just now. */
  writeApplication(bytes: Uint8Array): void {
    this.#view.setUint32(this.#mapping.APPLICATION_LEN, bytes.length, true);
    this.#memory.set(bytes, this.#ptr.application);
  }

  /** A copy of the application's bytes that were unbundled. */
  application(): Uint8Array {
    const length = this.#view.getUint32(this.#mapping.APPLICATION_LEN, true);
    return this.#memory.slice(this.#ptr.application, this.#ptr.application + length);
  }

  /** The mapping that was unbundled is this one. */
  holdsMapping(mapping: CoreMapping): boolean {
    const at = this.#mapping;
    return (
      this.#view.getUint32(at.FLOW, true) === mapping.flow &&
      this.#view.getUint32(at.GENERATION, true) === mapping.generation &&
      this.#holds(hexBytes(mapping.forwarder), at.FORWARDER) &&
      this.#holds(hexBytes(mapping.forwarderEpoch), at.FORWARDER_EPOCH) &&
      this.#holds(hexBytes(mapping.source), at.SOURCE) &&
      this.#holds(hexBytes(mapping.sourceEpoch), at.SOURCE_EPOCH) &&
      this.#holds(hexBytes(mapping.targetEpoch), at.TARGET_EPOCH)
    );
  }

  #holds(bytes: Uint8Array, at: number): boolean {
    for (let index = 0; index < bytes.length; index += 1) {
      if (this.#memory[at + index] !== bytes[index]) return false;
    }
    return true;
  }

  holdsTuple(tuple: Tuple): boolean {
    return tupleKey(this.tuple()) === tupleKey(tuple);
  }

  event(): CoreEvent | undefined {
    const at = this.#event;
    const view = this.#view;
    const kind = EVENT_KINDS[view.getUint32(at.TYPE, true)];
    if (!kind) return undefined;
    return {
      kind,
      handle: view.getUint32(at.HANDLE, true),
      code: view.getInt32(at.CODE, true),
      ownerPeer: view.getUint32(at.OWNER_PEER, true),
      ownerFlow: view.getUint32(at.OWNER_FLOW, true),
      sndNxt: view.getUint32(at.SND_NXT, true),
      tsVal: view.getUint32(at.TSVAL, true),
      tuple: WITH_TUPLE.has(kind) ? readTuple(this.#memory, view, at.TUPLE) : NO_TUPLE,
    };
  }

  connectionInfo(): ConnectionInfo {
    const at = this.#info;
    const view = this.#view;
    const hasTimestamps = (view.getUint32(at.FLAGS, true) & this.#timestampsFlag) !== 0;
    const state = view.getUint32(at.STATE, true);
    const tsVal = view.getUint32(at.TS_LAST_SENT, true);
    const tsEcr = view.getUint32(at.TS_RECENT, true);
    return {
      tuple: readTuple(this.#memory, view, at.TUPLE),
      state,
      isEnded: this.#endedStates.has(state),
      sndUna: view.getUint32(at.SND_UNA, true),
      sndNxt: view.getUint32(at.SND_NXT, true),
      rcvNxt: view.getUint32(at.RCV_NXT, true),
      timestamps: hasTimestamps ? { tsVal, tsEcr } : undefined,
      generation: view.getUint32(at.GENERATION, true),
      ownerPeer: view.getUint32(at.OWNER_PEER, true),
      ownerFlow: view.getUint32(at.OWNER_FLOW, true),
      bytesReceived: this.#u64(at.BYTES_RECEIVED),
      bytesSent: this.#u64(at.BYTES_SENT),
      bytesRetransmitted: view.getUint32(at.BYTES_RETRANSMITTED, true),
    };
  }

  infoTuple(): Tuple {
    return readTuple(this.#memory, this.#view, this.#info.TUPLE);
  }

  infoNumbers(): ConnectionNumbers {
    const at = this.#info;
    const view = this.#view;
    const hasTimestamps = (view.getUint32(at.FLAGS, true) & this.#timestampsFlag) !== 0;
    const tsVal = view.getUint32(at.TS_LAST_SENT, true);
    const tsEcr = view.getUint32(at.TS_RECENT, true);
    return {
      sndUna: view.getUint32(at.SND_UNA, true),
      sndNxt: view.getUint32(at.SND_NXT, true),
      rcvNxt: view.getUint32(at.RCV_NXT, true),
      timestamps: hasTimestamps ? { tsVal, tsEcr } : undefined,
    };
  }

  infoOwner(): ConnectionOwner {
    const at = this.#info;
    return {
      generation: this.#view.getUint32(at.GENERATION, true),
      ownerPeer: this.#view.getUint32(at.OWNER_PEER, true),
      ownerFlow: this.#view.getUint32(at.OWNER_FLOW, true),
    };
  }

  /** Counts below 2^53. */
  #u64(at: number): number {
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32;
  }

  mapInfo(): MapInfo {
    const at = this.#map;
    const view = this.#view;
    const isTimed = view.getUint32(at.TIMESTAMPS, true) === 1;
    const tsVal = view.getUint32(at.TS_VAL, true);
    const tsEcr = view.getUint32(at.TS_ECR, true);
    return {
      action: view.getUint32(at.ACTION, true),
      peer: view.getUint32(at.PEER, true),
      flow: view.getUint32(at.FLOW, true),
      timestamps: isTimed ? { tsVal, tsEcr } : undefined,
      segAck: view.getUint32(at.SEG_ACK, true),
      segSeq: view.getUint32(at.SEG_SEQ, true),
      seenUs: view.getFloat64(at.SEEN_US, true),
    };
  }

  /** Only the client's numbers, which are all that mapNote reads. */
  writeNumbers({ timestamps, segAck, segSeq }: ClientNumbers): void {
    const at = this.#map;
    const view = this.#view;
    view.setUint32(at.TIMESTAMPS, timestamps ? 1 : 0, true);
    view.setUint32(at.SEG_ACK, segAck, true);
    view.setUint32(at.SEG_SEQ, segSeq, true);
    view.setUint32(at.TS_VAL, timestamps?.tsVal ?? 0, true);
    view.setUint32(at.TS_ECR, timestamps?.tsEcr ?? 0, true);
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

function group(module: CoreModule, name: string): Readonly<Record<string, number>> {
  const found = module.enums[name];
  if (!found) throw new BatonError("ERR_BATON_CORE", `core.wasm: no constants ${name}`);
  return found;
}

/** The place of each field of a structure at `ptr`. */
function places<Field extends string>(
  module: CoreModule,
  name: string,
  fields: readonly Field[],
  ptr: number,
): Readonly<Record<Field, number>> {
  const entries = fields.map((field) => [field, ptr + enumValue(module, name, field)] as const);
  return Object.fromEntries(entries) as Record<Field, number>;
}
