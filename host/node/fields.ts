/**
 * The parts that messages share: 4-tuples, reset data, lists. Knows layouts only; a value that cannot be
 * marks the reader as failed.
 */
import type { Tuple } from "../core/tuple.ts";
import type { Reader, Writer } from "./bytes.ts";
import { NO_FLOW, RECORD_STATES, RELEASE_CAUSES, ROUTINGS, isFlowId } from "./messages.ts";
import type {
  BlobHead,
  AnswerItem,
  CensusItem,
  FarConnection,
  QueryItem,
  RelayMessage,
  ReleaseItem,
  ResetData,
  SyncItem,
  SynHint,
} from "./messages.ts";

const FAMILIES = [4, 6] as const;
export const ID_SIZE = 8;
export const EPOCH_SIZE = 16;
const SLICE_MAX = 15;
/** The wire's "no slice yet". */
const SLICE_NONE = 0xff;

/** The value at `index`; an index without one makes the message malformed. */
export function pick<T>(from: Reader, values: readonly T[], index: number): T {
  const value = values[index];
  from.check(value !== undefined);
  return value ?? (values[0] as T);
}

export function readFlow(from: Reader): number {
  const flow = from.u32();
  from.check(isFlowId(flow));
  return flow;
}

/** NO_FLOW names a classifier's connection that has no identifier of its own. */
export function readFlowOrNone(from: Reader): number {
  const flow = from.u32();
  from.check(flow === NO_FLOW || isFlowId(flow));
  return flow;
}

export function readRelease(from: Reader): ReleaseItem {
  const flow = readFlowOrNone(from);
  const cause = pick(from, RELEASE_CAUSES, from.u32() - 1);
  return { flow, cause, tuple: readTuple(from) };
}

export function readQuery(from: Reader): QueryItem {
  const flow = readFlowOrNone(from);
  from.zero(4);
  return { flow, tuple: readTuple(from) };
}

export function readAnswer(from: Reader): AnswerItem {
  const flow = readFlowOrNone(from);
  const record = pick(from, RECORD_STATES, from.u32());
  return { flow, record, tuple: readTuple(from) };
}

/** Bytes of an item of CENSUS. */
export const CENSUS_SIZE = 16;
const CENSUS_USABLE = 1;
const CENSUS_MAY_RETURN = 2;

export function writeCensus(to: Writer, item: CensusItem): void {
  to.hex(item.node, ID_SIZE);
  to.u32((item.usable ? CENSUS_USABLE : 0) | (item.mayReturn ? CENSUS_MAY_RETURN : 0));
  to.u32(item.load);
}

export function readCensus(from: Reader): CensusItem {
  const node = from.hex(ID_SIZE);
  const flags = from.u32();
  from.check(flags <= (CENSUS_USABLE | CENSUS_MAY_RETURN));
  const usable = (flags & CENSUS_USABLE) !== 0;
  return { node, usable, mayReturn: (flags & CENSUS_MAY_RETURN) !== 0, load: from.u32() };
}

const RELAY_OVERTAKEN = 1;
const RELAY_HINT = 2;

export function writeRelay(to: Writer, message: RelayMessage): void {
  to.u32((message.isOvertaken ? RELAY_OVERTAKEN : 0) | (message.hint ? RELAY_HINT : 0));
  to.u32(message.asked);
  to.count(message.order);
  if (message.hint) writeHint(to, message.hint);
  writeBytes(to, message.packet);
}

export function readRelay(from: Reader): RelayMessage {
  const flags = from.u32();
  from.check(flags <= (RELAY_OVERTAKEN | RELAY_HINT));
  const asked = from.u32();
  const order = from.count();
  const hint = flags & RELAY_HINT ? readHint(from) : undefined;
  const isOvertaken = (flags & RELAY_OVERTAKEN) !== 0;
  return { type: "relay", asked, order, isOvertaken, hint, packet: readBytes(from) };
}

export function writeItems<T>(to: Writer, items: readonly T[], write: (item: T) => void): void {
  to.u32(items.length);
  for (const item of items) write(item);
}

/** Refuses a count that the rest of the message cannot hold before anything is allocated for it. */
export function readItems<T>(from: Reader, max: number, sizeMin: number, read: () => T): T[] {
  const count = from.u32();
  from.check(count <= max && count * sizeMin <= from.left);
  const items: T[] = [];
  for (let index = 0; from.ok && index < count; index++) items.push(read());
  return items;
}

const HAS_CONNECTION = 1;
const HAS_NEXT = 2;

export function writeSyncItem(to: Writer, item: SyncItem): void {
  to.u32(item.flow);
  to.u32(item.generation);
  to.u16(RECORD_STATES.indexOf(item.record));
  to.u16((item.connection ? HAS_CONNECTION : 0) | (item.next ? HAS_NEXT : 0));
  if (item.connection) writeConnection(to, item.connection);
  if (!item.next) return;
  to.u32(item.next.flow);
  to.hex(item.next.target, ID_SIZE);
  to.hex(item.next.targetEpoch, EPOCH_SIZE);
}

export function readSyncItem(from: Reader): SyncItem {
  const flow = readFlowOrNone(from);
  const generation = from.u32();
  const record = pick(from, RECORD_STATES, from.u16());
  const flags = from.u16();
  from.check(flags <= (HAS_CONNECTION | HAS_NEXT));
  const connection = flags & HAS_CONNECTION ? readConnection(from) : undefined;
  if ((flags & HAS_NEXT) === 0) return { flow, record, generation, connection, next: undefined };
  const nextFlow = readFlow(from);
  const target = from.hex(ID_SIZE);
  const next = { flow: nextFlow, target, targetEpoch: from.hex(EPOCH_SIZE) };
  return { flow, record, generation, connection, next };
}

export function writeConnection(to: Writer, connection: FarConnection): void {
  writeTuple(to, connection.tuple);
  writeReset(to, connection.reset);
}

export function readConnection(from: Reader): FarConnection {
  return { tuple: readTuple(from), reset: readReset(from) };
}

/** The 40 bytes of assembly/layout.ts `Tuple`. */
export function writeTuple(to: Writer, tuple: Tuple): void {
  to.u32(tuple.family);
  to.u16(tuple.remotePort);
  to.u16(tuple.localPort);
  for (const address of [tuple.remote, tuple.local]) {
    to.raw(address);
    to.zero(16 - address.length);
  }
}

export function readTuple(from: Reader): Tuple {
  const family = pick(from, FAMILIES, from.u32() / 2 - 2);
  const remotePort = from.u16();
  const localPort = from.u16();
  from.check(remotePort !== 0 && localPort !== 0); // No connection has it (RFC 6335 6).
  const remote = readAddress(from, family);
  const local = from.known(family === 4 ? 4 : 16);
  from.zero(family === 4 ? 12 : 0);
  return { family, remote, remotePort, local, localPort };
}

export function readAddress(from: Reader, family: 4 | 6): Uint8Array {
  const length = family === 4 ? 4 : 16;
  const address = from.raw(length);
  from.zero(16 - length);
  return address;
}

export function writeReset(to: Writer, reset: ResetData): void {
  to.u32(reset.sndUna);
  to.u32(reset.sndNxt);
  to.u32(reset.rcvNxt);
  to.u32(reset.timestamps?.tsVal ?? 0);
  to.u32(reset.timestamps?.tsEcr ?? 0);
  to.u32(reset.timestamps ? 1 : 0);
}

export function readReset(from: Reader): ResetData {
  const sndUna = from.u32();
  const sndNxt = from.u32();
  const rcvNxt = from.u32();
  const tsVal = from.u32();
  const tsEcr = from.u32();
  const flags = from.u32();
  from.check(flags === 1 || (flags === 0 && tsVal === 0 && tsEcr === 0));
  return { sndUna, sndNxt, rcvNxt, timestamps: flags === 1 ? { tsVal, tsEcr } : undefined };
}

export function writeHint(to: Writer, hint: SynHint): void {
  to.u32(hint.sndNxt);
  to.u32(hint.tsVal);
}

export function readHint(from: Reader): SynHint {
  return { sndNxt: from.u32(), tsVal: from.u32() };
}

export function readSlice(from: Reader): number | undefined {
  const slice = from.u32();
  from.check(slice <= SLICE_MAX || slice === SLICE_NONE);
  return slice === SLICE_NONE ? undefined : slice;
}

/** A length, then that many bytes. */
export function writeBytes(to: Writer, bytes: Uint8Array): void {
  to.u32(bytes.length);
  to.raw(bytes);
}

export function readBlobHead(from: Reader, flow: number): BlobHead {
  const generation = from.u32();
  const forwarder = from.hex(ID_SIZE);
  const forwarderEpoch = from.hex(EPOCH_SIZE);
  const targetEpoch = from.hex(EPOCH_SIZE);
  const source = from.hex(ID_SIZE);
  const sourceEpoch = from.hex(EPOCH_SIZE);
  const tuple = readTuple(from);
  const reset = readReset(from);
  const names = { forwarder, forwarderEpoch, targetEpoch, source, sourceEpoch };
  const pool = from.hex(ID_SIZE);
  const routing = pick(from, ROUTINGS, from.u32());
  return { type: "blob", flow, generation, ...names, tuple, reset, pool, routing };
}

export function readBytes(from: Reader): Uint8Array {
  return from.raw(from.u32());
}

export function writeSlice(to: Writer, slice: number | undefined): void {
  to.u32(slice ?? SLICE_NONE);
}
