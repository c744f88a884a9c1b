/**
 * What a flow's state does to its packets at a node (PROTOCOL.md section 4): early ones wait for their
 * connection, those of a frozen flow wait for the forwarder, all others go to the stack or back. Knows
 * records and held packets; must not know how a packet was recognised.
 *
 *   state            packet                      on entering the state
 *   NONE             early buffer                -
 *   ACTIVE           de-encapsulate, stack       held packets are replayed to the stack, in order
 *   FROZEN           hold; back after PASS       -
 *   MOVED, CLOSED    back, de-encapsulated       held packets go back
 *   POISONED         back, as it came            held packets go back
 */
import { Err } from "../errors";
import { Descriptor, RecordState, SLOT_HEADROOM, TUPLE, Tuple, Verdict, reserve } from "../layout";
import { BATCH_MAX, DESCRIPTOR_SIZE, PacketFlag } from "../layout";
import { Counter, count, countMany } from "../counters";
import { EARLY_US, EXPIRE_STEPS_MAX } from "../limits";
import { slotPacketMax, txDescriptor, txReset } from "../batch";
import {
  Protocol,
  ipCheck,
  ipCheckedHeaderLen,
  ipCheckedProtocol,
  ipTotalLen,
  ipVersion,
} from "../wire/ip";
import { tcpCheck, tcpChecksumOk } from "../wire/tcp";
import {
  HoldList,
  HoldQueue,
  holdClose,
  holdEnlist,
  holdOldest,
  holdOpen,
  holdPop,
  holdPush,
  holdQueuePtr,
  holdUnlist,
} from "./hold";
import {
  Record,
  RecordFlag,
  isEnded,
  recordFind,
  recordHome,
  recordInsert,
  recordMark,
  recordRemove,
  recordRoom,
  recordStateOf,
  recordTupleGet,
  recordTupleSet,
  recordsExpire,
  recordsNextUs,
} from "./records";
import { decapsulate, isPartial } from "./rewrite";
import { stackInput } from "./stack";

/** Tuple of the record at hand; not the host's. */
const FLOW_TUPLE: usize = memory.data(40, 8);
/** Descriptor and slot of the packet that is being replayed. */
const REPLAY: usize = memory.data(48, 8);
if (DESCRIPTOR_SIZE != 48) ERROR("Descriptor layout changed");

let replaySlot: usize = 0;

/** Between layoutBegin and layoutEnd. */
export function flowsReserve(slotBytes: u32): void {
  replaySlot = reserve(<usize>(SLOT_HEADROOM + slotBytes)) + <usize>SLOT_HEADROOM;
}

/**
 * Decides about an encapsulated packet of a known peer; sets the descriptor's verdict.
 * @param home what recordHome gave for (peer, flow)
 */
export function flowInput(
  descriptorPtr: usize,
  headerLen: u32,
  home: usize,
  peer: u32,
  flow: u32,
  nowUs: f64,
): void {
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const entry = recordFind(home, peer, flow);
  const state = entry == 0 ? <u32>RecordState.NONE : recordStateOf(entry);
  if (state == RecordState.ACTIVE) return toStack(descriptorPtr, headerLen, entry, nowUs);
  if (isDamaged(descriptorPtr, headerLen)) {
    descriptor.verdict = <u16>Verdict.DROPPED;
    return count(Counter.TUNNEL_CHECKSUM);
  }
  if (state == RecordState.NONE) {
    descriptor.verdict = <u16>holdEarly(descriptorPtr, entry, peer, flow, nowUs);
    return;
  }
  const record = changetype<Record>(entry);
  if (state == RecordState.FROZEN && (record.flags & RecordFlag.PASS) == 0) {
    descriptor.verdict = <u16>holdFrozen(descriptorPtr, record, nowUs);
    return;
  }
  unwrap(descriptorPtr, headerLen, entry);
  giveBack(descriptorPtr, peer, flow, state);
}

/**
 * No stack will read it, but what waits or goes back is taken for a packet of the connection that its flow
 * identifier names. Where that identifier was damaged it is another's, and its numbers must not be noted there.
 */
function isDamaged(descriptorPtr: usize, headerLen: u32): bool {
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const flags = <u32>descriptor.flags;
  if ((flags & (PacketFlag.NEEDS_CSUM | PacketFlag.CSUM_VERIFIED)) != 0) return false;
  const ptr = <usize>descriptor.ptr;
  return !tcpChecksumOk(ptr, ptr + headerLen, descriptor.len - headerLen);
}

function toStack(descriptorPtr: usize, headerLen: u32, entry: usize, nowUs: f64): void {
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const record = changetype<Record>(entry);
  const peer = <u32>record.peer;
  const flow = record.flow;
  if (!unwrap(descriptorPtr, headerLen, entry)) {
    count(Counter.IP_MALFORMED); // a packet of the other family under this flow
    descriptor.verdict = <u16>Verdict.DROPPED;
    return;
  }
  count(Counter.DECAPSULATED);
  const verdict = stackInput(descriptorPtr, headerLen, nowUs);
  descriptor.verdict = <u16>verdict;
  // The stack has ended the connection and the host has not said so yet: that flow is closed.
  if (verdict == Verdict.UNMAPPED || verdict == Verdict.HANDBACK) {
    giveBack(descriptorPtr, peer, flow, RecordState.CLOSED);
  }
}

/** De-encapsulates by a record; false, and nothing changed, when its tuple is not known or does not fit. */
function unwrap(descriptorPtr: usize, headerLen: u32, entry: usize): bool {
  const ptr = <usize>changetype<Descriptor>(descriptorPtr).ptr;
  if (!recordTupleGet(entry, FLOW_TUPLE)) return false;
  if (changetype<Tuple>(FLOW_TUPLE).family != ipVersion(ptr)) return false;
  decapsulate(ptr, headerLen, FLOW_TUPLE, isPartial(descriptorPtr));
  return true;
}

function giveBack(descriptorPtr: usize, peer: u32, flow: u32, state: u32): void {
  const descriptor = changetype<Descriptor>(descriptorPtr);
  descriptor.peer = peer;
  descriptor.flow = flow;
  descriptor.record = state;
  descriptor.verdict = <u16>Verdict.HANDBACK;
  count(Counter.HANDED_BACK);
}

/** Keeps a packet of an unknown flow; `entry` is its record of state NONE or 0. */
function holdEarly(descriptorPtr: usize, entry: usize, peer: u32, flow: u32, nowUs: f64): u32 {
  let record = entry;
  let queue: u32 = 0;
  if (record == 0) {
    queue = holdOpen(peer, flow, nowUs);
    if (queue != 0) record = recordInsert(peer, flow);
    if (record == 0) {
      if (queue != 0) holdClose(queue);
      count(Counter.EARLY_REFUSED);
      return Verdict.DROPPED;
    }
    changetype<Record>(record).queue = queue;
    holdEnlist(queue, HoldList.EARLY);
  } else queue = changetype<Record>(record).queue;
  if (!holdPush(queue, descriptorPtr)) {
    count(Counter.EARLY_REFUSED);
    dropIfEmpty(record, queue);
    return Verdict.DROPPED;
  }
  count(Counter.EARLY_HELD);
  return Verdict.CONSUMED;
}

/** A queue whose first packet was refused leaves no entry behind. */
function dropIfEmpty(entry: usize, queue: u32): void {
  if (changetype<HoldQueue>(holdQueuePtr(queue)).count != 0) return;
  holdClose(queue);
  recordRemove(entry);
}

function holdFrozen(descriptorPtr: usize, record: Record, nowUs: f64): u32 {
  let queue = record.queue;
  if (queue == 0) queue = holdOpen(<u32>record.peer, record.flow, nowUs);
  record.queue = queue;
  if (queue == 0 || !holdPush(queue, descriptorPtr)) {
    count(Counter.FROZEN_REFUSED);
    return Verdict.DROPPED;
  }
  count(Counter.FROZEN_HELD);
  return Verdict.CONSUMED;
}

/** State of a flow; NONE when nothing is known of it. */
export function recordGet(peer: u32, flow: u32): u32 {
  const entry = recordFind(recordHome(peer, flow), peer, flow);
  return entry == 0 ? <u32>RecordState.NONE : recordStateOf(entry);
}

/**
 * Changes the state of a flow. ACTIVE from NONE takes the connection's tuple from TUPLE; NONE forgets the
 * flow and throws its held packets away.
 * @returns Err.OK; Err.TCP_STATE for a transition that PROTOCOL.md does not have (nothing leads from an
 *   ended state back, and only ACTIVE freezes); Err.NOT_FOUND; Err.FULL
 */
export function recordSet(peer: u32, flow: u32, state: u32, nowUs: f64): i32 {
  recordsExpire(nowUs);
  let entry = recordFind(recordHome(peer, flow), peer, flow);
  const before = entry == 0 ? <u32>RecordState.NONE : recordStateOf(entry);
  if (state == RecordState.NONE) return forget(entry);
  if (state == before) return Err.OK;
  if (!allowed(before, state)) return Err.TCP_STATE;
  if (before == RecordState.NONE && !recordRoom()) return full();
  if (entry == 0) {
    entry = recordInsert(peer, flow);
    if (entry == 0) return full();
  }
  if (before == RecordState.NONE && state == RecordState.ACTIVE) recordTupleSet(entry, TUPLE);
  recordMark(entry, state, nowUs);
  entry = recordFind(recordHome(peer, flow), peer, flow); // marking may have moved it
  if (entry == 0) return full();
  if (state == RecordState.ACTIVE) replay(entry, before, nowUs);
  else if (isEnded(state)) releaseHeld(entry, state);
  return Err.OK;
}

/** The connection's handle of an ACTIVE record. */
export function recordHandleSet(peer: u32, flow: u32, handle: u32): void {
  const entry = recordFind(recordHome(peer, flow), peer, flow);
  assert(entry != 0);
  changetype<Record>(entry).handle = handle;
}

/** Handle of the connection that a flow names, 0 when there is none. */
export function recordHandle(peer: u32, flow: u32): u32 {
  const entry = recordFind(recordHome(peer, flow), peer, flow);
  return entry == 0 ? 0 : changetype<Record>(entry).handle;
}

/** Writes the 4-tuple of a flow to TUPLE; false when the record does not know it. */
export function recordTuple(peer: u32, flow: u32): bool {
  const entry = recordFind(recordHome(peer, flow), peer, flow);
  return entry != 0 && recordTupleGet(entry, TUPLE);
}

/** FROZEN: MOVE was acknowledged, so held and later segments go back to the forwarder. */
export function recordPass(peer: u32, flow: u32): i32 {
  const entry = recordFind(recordHome(peer, flow), peer, flow);
  if (entry == 0) return Err.NOT_FOUND;
  const record = changetype<Record>(entry);
  if (record.state != RecordState.FROZEN) return Err.TCP_STATE;
  record.flags |= RecordFlag.PASS;
  releaseHeld(entry, RecordState.FROZEN);
  return Err.OK;
}

function allowed(before: u32, state: u32): bool {
  if (isEnded(before)) return isEnded(state);
  if (state == RecordState.FROZEN) return before == RecordState.ACTIVE;
  return true;
}

function full(): i32 {
  count(Counter.RECORDS_FULL);
  return Err.FULL;
}

function forget(entry: usize): i32 {
  if (entry == 0) return Err.NOT_FOUND;
  const queue = changetype<Record>(entry).queue;
  if (queue != 0) countMany(Counter.HELD_DISCARDED, <u64>holdClose(queue));
  recordRemove(entry);
  return Err.OK;
}

/** Gives the packets that waited to the stack, in the order in which they came. */
function replay(entry: usize, before: u32, nowUs: f64): void {
  const record = changetype<Record>(entry);
  const queue = record.queue;
  if (queue == 0) return;
  record.queue = 0;
  holdUnlist(queue);
  const counter: u32 =
    before == RecordState.NONE ? Counter.EARLY_REPLAYED : Counter.FROZEN_REPLAYED;
  const descriptor = changetype<Descriptor>(REPLAY);
  descriptor.ptr = <u32>replaySlot;
  while (holdPop(queue, REPLAY)) {
    const checked = ipCheck(replaySlot, descriptor.len);
    assert(checked > 0); // it was checked when it came
    count(counter);
    const headerLen = ipCheckedHeaderLen(checked);
    if (unwrap(REPLAY, headerLen, entry)) stackInput(REPLAY, headerLen, nowUs);
  }
  holdClose(queue);
}

/** Lets pollHandback give out what waited. */
function releaseHeld(entry: usize, state: u32): void {
  const record = changetype<Record>(entry);
  if (record.queue == 0) return;
  changetype<HoldQueue>(holdQueuePtr(record.queue)).record = state;
  holdEnlist(record.queue, HoldList.BACK);
  record.queue = 0;
}

/** Early packets that waited T_EARLY go back; ended records are forgotten after T_RECORD. */
export function flowsTimeout(nowUs: f64): void {
  recordsExpire(nowUs);
  for (let step: u32 = 0; step < EXPIRE_STEPS_MAX; step++) {
    const index = holdOldest(HoldList.EARLY);
    if (index == 0) return;
    const queue = changetype<HoldQueue>(holdQueuePtr(index));
    if (queue.sinceUs + EARLY_US > nowUs) return;
    countMany(Counter.EARLY_EXPIRED, <u64>queue.count);
    const entry = recordFind(recordHome(queue.peer, queue.flow), queue.peer, queue.flow);
    assert(entry != 0 && changetype<Record>(entry).queue == index);
    releaseHeld(entry, RecordState.NONE);
    recordRemove(entry);
  }
}

/** When flowsTimeout has work, Infinity when it has none. */
export function flowsNextUs(): f64 {
  const index = holdOldest(HoldList.EARLY);
  const earlyUs =
    index == 0 ? Infinity : changetype<HoldQueue>(holdQueuePtr(index)).sinceUs + EARLY_US;
  return min<f64>(earlyUs, recordsNextUs());
}

/** Fills the tx batch with packets to give back; 0 when none is left. */
export function flowsHandback(): u32 {
  let filled: u32 = 0;
  while (filled < BATCH_MAX) {
    const index = holdOldest(HoldList.BACK);
    if (index == 0) break;
    const queue = changetype<HoldQueue>(holdQueuePtr(index));
    const entry = recordFind(recordHome(queue.peer, queue.flow), queue.peer, queue.flow);
    while (filled < BATCH_MAX && queue.count > 0) {
      txReset(filled);
      const descriptorPtr = txDescriptor(filled);
      holdPop(index, descriptorPtr);
      const descriptor = changetype<Descriptor>(descriptorPtr);
      const checked = ipCheck(<usize>descriptor.ptr, descriptor.len);
      assert(checked > 0);
      if (entry != 0) unwrap(descriptorPtr, ipCheckedHeaderLen(checked), entry);
      giveBack(descriptorPtr, queue.peer, queue.flow, queue.record);
      filled += 1;
    }
    if (queue.count == 0) holdClose(index);
  }
  return filled;
}

/**
 * De-encapsulates an rx packet by the tuple at TUPLE: for a forwarder that gets its own encapsulated packet
 * back from a node that never knew the flow.
 * @returns Err.OK, or why the packet cannot be one of ours; then nothing changed
 */
export function unwrapReturned(descriptorPtr: usize): i32 {
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const ptr = <usize>descriptor.ptr;
  if (descriptor.len > slotPacketMax()) return Err.TRUNCATED;
  const checked = ipCheck(ptr, descriptor.len);
  if (checked < 0) return checked;
  if (ipCheckedProtocol(checked) != Protocol.TCP) return Err.PROTOCOL;
  const headerLen = ipCheckedHeaderLen(checked);
  const segment = tcpCheck(ptr + headerLen, ipTotalLen(ptr) - headerLen);
  if (segment < 0) return segment;
  if (changetype<Tuple>(TUPLE).family != ipVersion(ptr)) return Err.MALFORMED;
  decapsulate(ptr, headerLen, TUPLE, isPartial(descriptorPtr));
  return Err.OK;
}
