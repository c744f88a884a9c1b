/**
 * The part of the ABI that is about the mapping table of a forwarder and the flow records of a node: argument
 * checks, no logic. docs/abi.md is made from what stands here.
 */
import { isFlow, isPeer, isTuple } from "./argument";
import { BATCH_MAX, MapAction, RecordState, SPAN } from "./layout";
import { rxDescriptor } from "./batch";
import { clockReady, clockTell, clockUs } from "./clock";
import * as flows from "./encap/flows";
import * as mapping from "./encap/mapping";
import * as records from "./encap/records";
import * as resets from "./encap/reset";
import { Err } from "./errors";
import { PEERS_MAX } from "./limits";

// ---- mapping table, by the tuple at tuplePtr

/**
 * Makes or changes the mapping entry of the tuple: MapAction FORWARD (encapsulate to `peer` under `flow`, whose
 * halves are not zero), LOCAL (the own stack; under a peer and a flow that name this very node its record decides; a
 * peer alone: that node has it, verdict UNMAPPED) or TOMB. NOT_FOUND when the tuple's local end is no service, FULL.
 */
export function mapSet(action: u32, peer: u32, flow: u32): i32 {
  if (!clockReady()) return Err.STATE;
  if (action < <u32>MapAction.FORWARD || action > <u32>MapAction.TOMB) return Err.ARGUMENT;
  if (!isTuple() || peer >= PEERS_MAX) return Err.ARGUMENT;
  if (action == MapAction.FORWARD && !(isPeer(peer) && isFlow(flow))) return Err.ARGUMENT;
  if (action == MapAction.LOCAL && peer != 0 && flow != 0 && !isFlow(flow)) return Err.ARGUMENT;
  return mapping.mapSet(action, peer, flow, clockUs());
}

/** Writes the tuple's entry to mapInfoPtr. NOT_FOUND when there is none. */
export function mapGet(): i32 {
  if (!clockReady()) return Err.STATE;
  return isTuple() ? mapping.mapGet(clockUs()) : Err.ARGUMENT;
}

/** Removes the tuple's entry. NOT_FOUND when there is none. */
export function mapDelete(): i32 {
  if (!clockReady()) return Err.STATE;
  return isTuple() ? mapping.mapDelete() : Err.ARGUMENT;
}

/**
 * Copies the client's numbers of MapInfo into the tuple's entry: for a forwarder that has seen no packet yet.
 * NOT_FOUND when there is none.
 */
export function mapNote(): i32 {
  if (!clockReady()) return Err.STATE;
  return isTuple() ? mapping.mapNote() : Err.ARGUMENT;
}

/**
 * Walks the table from `cursor` (0: from its start): looks at `steps` slots, stops at the first entry, which goes to
 * tuplePtr and mapInfoPtr (action NONE: none found). Returns the next cursor, 0 at the end.
 */
export function mapScan(cursor: u32, steps: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return <i32>mapping.mapScan(cursor, steps, clockUs());
}

/** Turns every mapping to `peer` into a tombstone that keeps its peer and flow, in one pass; returns how many. */
export function mapBury(peer: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return isPeer(peer) ? <i32>mapping.mapBury(peer) : Err.ARGUMENT;
}

/**
 * Queues a RST to the client of the tuple's entry, numbered by its last packet, and with `probe` a segment that
 * makes a client answer whose numbers have gone on. NOT_FOUND, FULL (RESETS_MAX wait already).
 */
export function mapReset(nowUs: f64, probe: u32): i32 {
  if (!clockReady()) return Err.STATE;
  if (!isTuple() || !clockTell(nowUs)) return Err.ARGUMENT;
  return resets.mapReset(nowUs, probe != 0);
}

// ---- flow records

/**
 * State of flow (peer, flow): RecordState. ACTIVE from NONE takes the tuple; ACTIVE replays held packets to the
 * stack, ended states hand them back. TCP_STATE for a transition that the protocol does not have, FULL.
 */
export function recordSet(peer: u32, flow: u32, state: u32, nowUs: f64): i32 {
  if (!clockReady()) return Err.STATE;
  if (!isPeer(peer) || !isFlow(flow) || state > <u32>RecordState.POISONED) return Err.ARGUMENT;
  if (!clockTell(nowUs)) return Err.ARGUMENT;
  const needsTuple = state == RecordState.ACTIVE && flows.recordGet(peer, flow) == 0;
  if (needsTuple && !isTuple()) return Err.ARGUMENT;
  return flows.recordSet(peer, flow, state, nowUs);
}

/** RecordState of a flow; NONE when nothing is known. */
export function recordGet(peer: u32, flow: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return isPeer(peer) ? <i32>flows.recordGet(peer, flow) : Err.ARGUMENT;
}

/** Handle of the connection that a flow names, 0 when there is none. */
export function recordHandle(peer: u32, flow: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return isPeer(peer) ? <i32>flows.recordHandle(peer, flow) : Err.ARGUMENT;
}

/** Writes the 4-tuple of a flow to tuplePtr and returns 1; 0 when the record does not know it. */
export function recordTuple(peer: u32, flow: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return isPeer(peer) ? <i32>flows.recordTuple(peer, flow) : Err.ARGUMENT;
}

/**
 * Walks the records like mapScan: the one found goes to spanPtr (peer, flow; peer 0: none found) and tuplePtr
 * (family 0: not known). Returns the next cursor, 0 at the end.
 */
export function recordScan(cursor: u32, steps: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return <i32>records.recordScan(cursor, steps, SPAN);
}

/**
 * The forwarder has acknowledged MOVE: segments held for the frozen flow go to pollHandback from now on. NOT_FOUND;
 * TCP_STATE when it is not FROZEN.
 */
export function recordPass(peer: u32, flow: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return isPeer(peer) ? flows.recordPass(peer, flow) : Err.ARGUMENT;
}

/**
 * De-encapsulates rx packet `index` by the tuple: for a forwarder whose own encapsulated packet comes back from a
 * node that never knew its flow. Then give it to handlePackets like any other. TRUNCATED, MALFORMED, PROTOCOL, ...
 * when the packet is none that this node could have encapsulated.
 */
export function rxUnwrap(index: u32): i32 {
  if (!clockReady()) return Err.STATE;
  if (index >= BATCH_MAX || !isTuple()) return Err.ARGUMENT;
  return flows.unwrapReturned(rxDescriptor(index));
}
