/**
 * Messages to bytes and back: fixed little-endian layouts (docs/messages.md has the diagrams). Decoding
 * takes anything: what is not a message comes back as Malformed, never as an exception, and whatever
 * decodes encodes to the same bytes again.
 */
import { Reader, Writer } from "./bytes.ts";
import { readDrain, readProgress, writeDrain, writeProgress } from "./drainage.ts";
import {
  CENSUS_SIZE,
  EPOCH_SIZE,
  ID_SIZE,
  pick,
  readAnswer,
  readBlobHead,
  readBytes,
  readCensus,
  readConnection,
  readFlowOrNone,
  readHint,
  readItems,
  readQuery,
  readRelay,
  readRelease,
  readReset,
  readSlice,
  readSyncItem,
  readTuple,
  writeBytes,
  writeCensus,
  writeConnection,
  writeHint,
  writeItems,
  writeRelay,
  writeReset,
  writeSlice,
  writeSyncItem,
  writeTuple,
} from "./fields.ts";
import {
  DENY_REASONS,
  ITEMS_MAX,
  MESSAGE_TYPES,
  NO_FLOW,
  RECORD_STATES,
  REFUSE_REASONS,
  RELEASE_CAUSES,
  ROUTINGS,
  SYNC_ITEMS_MAX,
  VERDICTS,
  isFlowId,
} from "./messages.ts";
import type { BlobHead, HeartbeatMessage, Message, MessageType } from "./messages.ts";
import { CENSUS_MAX } from "./signals.ts";

export const MESSAGE_FORMAT = 1;
export const MESSAGE_HEADER_SIZE = 8;
const HEARTBEAT_DRAINING = 1;
const HEARTBEAT_SERVING = 2;

export interface Malformed {
  readonly type: "malformed";
  /** "format": a version that is not ours. "type": a number that means nothing. "body": the rest. */
  readonly reason: "short" | "format" | "type" | "body";
}

/** Of all messages, one after the other: what has to grow for each costs more than what it holds. */
const writer = new Writer();

export function encodeMessage(message: Message): Uint8Array {
  writer.begin();
  writer.u8(MESSAGE_TYPES.indexOf(message.type) + 1);
  writer.u8(MESSAGE_FORMAT);
  writer.u16(0);
  writer.u32("flow" in message ? message.flow : NO_FLOW);
  writeBody(writer, message);
  return writer.finish();
}

export function decodeMessage(bytes: Uint8Array): Message | Malformed {
  if (bytes.length < MESSAGE_HEADER_SIZE) return { type: "malformed", reason: "short" };
  const reader = new Reader(bytes);
  const type = MESSAGE_TYPES[reader.u8() - 1];
  if (reader.u8() !== MESSAGE_FORMAT) return { type: "malformed", reason: "format" };
  if (type === undefined) return { type: "malformed", reason: "type" };
  reader.zero(2);
  const flow = reader.u32();
  reader.check(flowFits(type, flow));
  const message = readBody(reader, type, flow);
  return reader.atEnd ? message : { type: "malformed", reason: "body" };
}

/**
 * What a BLOB of `total` bytes says before the blob, from its first bytes; undefined when it is none, or not
 * well formed as far as can be seen.
 */
export function decodeBlobHead(first: Uint8Array, total: number): BlobHead | undefined {
  const reader = new Reader(first);
  const isBlob = MESSAGE_TYPES[reader.u8() - 1] === "blob" && reader.u8() === MESSAGE_FORMAT;
  if (!isBlob) return undefined;
  reader.zero(2);
  const flow = reader.u32();
  reader.check(isFlowId(flow));
  const head = readBlobHead(reader, flow);
  const length = reader.u32();
  reader.check(length === reader.left + total - first.length);
  return reader.ok ? head : undefined;
}

/** Some messages name no flow; RESERVE may; every other one must name a possible one. */
function flowFits(type: MessageType, flow: number): boolean {
  switch (type) {
    case "deny":
    case "release":
    case "query":
    case "answer":
    case "hello":
    case "sync":
    case "dead":
    case "heartbeat":
    case "relay":
    case "drain":
    case "progress":
    case "census":
      return flow === NO_FLOW;
    case "reserve":
      return flow === NO_FLOW || isFlowId(flow);
    default:
      return isFlowId(flow);
  }
}

function writeBody(to: Writer, message: Message): void {
  switch (message.type) {
    case "reserve":
      to.u32(message.attempt);
      to.u32(message.target.kind === "pool" ? 1 : 0);
      to.hex(message.target.id, ID_SIZE);
      return writeTuple(to, message.tuple);
    case "grant":
      to.u32(message.attempt);
      to.hex(message.forwarderEpoch, EPOCH_SIZE);
      to.hex(message.target, ID_SIZE);
      return to.hex(message.targetEpoch, EPOCH_SIZE);
    case "deny":
      to.u32(message.attempt);
      return to.u32(DENY_REASONS.indexOf(message.reason) + 1);
    case "abandon":
    case "cancel":
      return;
    case "move":
      to.u32(message.previous);
      writeTuple(to, message.tuple);
      return writeReset(to, message.reset);
    case "blob":
      to.u32(message.generation);
      to.hex(message.forwarder, ID_SIZE);
      to.hex(message.forwarderEpoch, EPOCH_SIZE);
      to.hex(message.targetEpoch, EPOCH_SIZE);
      to.hex(message.source, ID_SIZE);
      to.hex(message.sourceEpoch, EPOCH_SIZE);
      writeTuple(to, message.tuple);
      writeReset(to, message.reset);
      to.hex(message.pool, ID_SIZE);
      to.u32(ROUTINGS.indexOf(message.routing));
      return writeBytes(to, message.blob);
    case "accept":
    case "resolve":
      to.hex(message.forwarderEpoch, EPOCH_SIZE);
      return to.hex(message.targetEpoch, EPOCH_SIZE);
    case "refuse":
      to.hex(message.forwarderEpoch, EPOCH_SIZE);
      to.hex(message.targetEpoch, EPOCH_SIZE);
      to.u16(REFUSE_REASONS.indexOf(message.reason) + 1);
      to.u16(message.connection ? 1 : 0);
      return message.connection && writeConnection(to, message.connection);
    case "gone":
      to.hex(message.forwarderEpoch, EPOCH_SIZE);
      to.hex(message.targetEpoch, EPOCH_SIZE);
      return to.hex(message.currentEpoch, EPOCH_SIZE);
    case "verdict":
      to.u32(VERDICTS.indexOf(message.verdict) + 1);
      to.hex(message.forwarderEpoch, EPOCH_SIZE);
      return to.count(message.relayed);
    case "forget":
      return to.hex(message.forwarderEpoch, EPOCH_SIZE);
    case "forgotten":
      to.u32(RECORD_STATES.indexOf(message.record));
      return to.hex(message.forwarderEpoch, EPOCH_SIZE);
    default:
      return writeOther(to, message);
  }
}

type HandoffType =
  | "reserve"
  | "grant"
  | "deny"
  | "abandon"
  | "cancel"
  | "move"
  | "blob"
  | "accept"
  | "resolve"
  | "refuse"
  | "gone"
  | "verdict"
  | "forget"
  | "forgotten";
type OtherMessage = Exclude<Message, { type: HandoffType }>;

/** Lists, packets and what nodes say about themselves. */
function writeOther(to: Writer, message: OtherMessage): void {
  switch (message.type) {
    case "release":
      return writeItems(to, message.items, (item) => {
        to.u32(item.flow);
        to.u32(RELEASE_CAUSES.indexOf(item.cause) + 1);
        writeTuple(to, item.tuple);
      });
    case "query":
      return writeItems(to, message.items, (item) => {
        to.u32(item.flow);
        to.zero(4);
        writeTuple(to, item.tuple);
      });
    case "answer":
      return writeItems(to, message.items, (item) => {
        to.u32(item.flow);
        to.u32(RECORD_STATES.indexOf(item.record));
        writeTuple(to, item.tuple);
      });
    case "handback":
      to.u16(RECORD_STATES.indexOf(message.record));
      to.u16((message.tuple ? 1 : 0) | (message.hint ? 2 : 0));
      if (message.tuple) writeTuple(to, message.tuple);
      if (message.hint) writeHint(to, message.hint);
      return writeBytes(to, message.packet);
    case "hello":
      to.hex(message.forwarderEpoch, EPOCH_SIZE);
      return writeSlice(to, message.slice);
    case "sync":
      to.hex(message.forwarderEpoch, EPOCH_SIZE);
      to.hex(message.bootEpoch, EPOCH_SIZE);
      to.u32(message.part);
      to.u32(message.parts);
      writeSlice(to, message.slice);
      return writeItems(to, message.items, (item) => writeSyncItem(to, item));
    case "dead":
      return to.hex(message.bootEpoch, EPOCH_SIZE);
    case "heartbeat":
      to.u32(message.sequence);
      to.u32(
        (message.draining ? HEARTBEAT_DRAINING : 0) | (message.serving ? HEARTBEAT_SERVING : 0),
      );
      to.u32(message.load);
      to.u32(message.credits);
      to.u16(message.blobVersionMin);
      to.u16(message.blobVersionMax);
      return to.u32(message.mtu);
    case "relay":
      return writeRelay(to, message);
    case "icmp":
      writeTuple(to, message.tuple);
      return writeBytes(to, message.packet);
    case "drain":
      return writeDrain(to, message);
    case "progress":
      return writeProgress(to, message);
    case "census":
      return writeItems(to, message.items, (item) => writeCensus(to, item));
  }
}

function readBody(from: Reader, type: MessageType, flow: number): Message {
  switch (type) {
    case "reserve": {
      const attempt = from.u32();
      const kind = pick(from, ["node", "pool"] as const, from.u32());
      const id = from.hex(ID_SIZE);
      return { type, flow, attempt, tuple: readTuple(from), target: { kind, id } };
    }
    case "grant": {
      const attempt = from.u32();
      const forwarderEpoch = from.hex(EPOCH_SIZE);
      const target = from.hex(ID_SIZE);
      return { type, flow, attempt, forwarderEpoch, target, targetEpoch: from.hex(EPOCH_SIZE) };
    }
    case "deny":
      return { type, attempt: from.u32(), reason: pick(from, DENY_REASONS, from.u32() - 1) };
    case "abandon":
    case "cancel":
      return { type, flow };
    case "move": {
      const previous = readFlowOrNone(from);
      return { type, flow, previous, tuple: readTuple(from), reset: readReset(from) };
    }
    case "blob":
      // It may be some MiB, and the message belongs to whoever reads it.
      return { ...readBlobHead(from, flow), blob: from.part(from.u32()) };
    case "accept":
    case "resolve": {
      const forwarderEpoch = from.hex(EPOCH_SIZE);
      return { type, flow, forwarderEpoch, targetEpoch: from.hex(EPOCH_SIZE) };
    }
    case "refuse": {
      const forwarderEpoch = from.hex(EPOCH_SIZE);
      const targetEpoch = from.hex(EPOCH_SIZE);
      const reason = pick(from, REFUSE_REASONS, from.u16() - 1);
      const connection = pick(from, [false, true], from.u16()) ? readConnection(from) : undefined;
      return { type, flow, forwarderEpoch, targetEpoch, reason, connection };
    }
    case "gone": {
      const forwarderEpoch = from.hex(EPOCH_SIZE);
      const targetEpoch = from.hex(EPOCH_SIZE);
      return { type, flow, forwarderEpoch, targetEpoch, currentEpoch: from.hex(EPOCH_SIZE) };
    }
    case "verdict": {
      const verdict = pick(from, VERDICTS, from.u32() - 1);
      const forwarderEpoch = from.hex(EPOCH_SIZE);
      return { type, flow, verdict, forwarderEpoch, relayed: from.count() };
    }
    case "forget":
      return { type, flow, forwarderEpoch: from.hex(EPOCH_SIZE) };
    case "forgotten": {
      const record = pick(from, RECORD_STATES, from.u32());
      return { type, flow, record, forwarderEpoch: from.hex(EPOCH_SIZE) };
    }
    default:
      return readOther(from, type, flow);
  }
}

function readOther(from: Reader, type: OtherMessage["type"], flow: number): OtherMessage {
  switch (type) {
    case "release":
      return { type, items: readItems(from, ITEMS_MAX, 48, () => readRelease(from)) };
    case "query":
      return { type, items: readItems(from, ITEMS_MAX, 48, () => readQuery(from)) };
    case "answer":
      return { type, items: readItems(from, ITEMS_MAX, 48, () => readAnswer(from)) };
    case "handback": {
      const record = pick(from, RECORD_STATES, from.u16());
      const flags = from.u16();
      from.check(flags <= 3);
      const tuple = flags & 1 ? readTuple(from) : undefined;
      const hint = flags & 2 ? readHint(from) : undefined;
      return { type, flow, record, tuple, hint, packet: readBytes(from) };
    }
    case "hello":
      return { type, forwarderEpoch: from.hex(EPOCH_SIZE), slice: readSlice(from) };
    case "sync": {
      const forwarderEpoch = from.hex(EPOCH_SIZE);
      const bootEpoch = from.hex(EPOCH_SIZE);
      const part = from.u32();
      const parts = from.u32();
      from.check(part < parts);
      const slice = readSlice(from);
      const items = readItems(from, SYNC_ITEMS_MAX, 12, () => readSyncItem(from));
      return { type, forwarderEpoch, bootEpoch, part, parts, slice, items };
    }
    case "dead":
      return { type, bootEpoch: from.hex(EPOCH_SIZE) };
    case "heartbeat":
      return readHeartbeat(from);
    case "relay":
      return readRelay(from);
    case "icmp":
      return { type, flow, tuple: readTuple(from), packet: readBytes(from) };
    case "drain":
      return readDrain(from);
    case "progress":
      return readProgress(from);
    case "census":
      return { type, items: readItems(from, CENSUS_MAX, CENSUS_SIZE, () => readCensus(from)) };
  }
}

function readHeartbeat(from: Reader): HeartbeatMessage {
  const sequence = from.u32();
  const flags = from.u32();
  from.check(flags <= 3);
  return {
    type: "heartbeat",
    sequence,
    draining: (flags & HEARTBEAT_DRAINING) !== 0,
    serving: (flags & HEARTBEAT_SERVING) !== 0,
    load: from.u32(),
    credits: from.u32(),
    blobVersionMin: from.u16(),
    blobVersionMax: from.u16(),
    mtu: from.u32(),
  };
}
