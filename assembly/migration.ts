/**
 * The part of the ABI that is about migration: argument checks, and the wiring of a blob's connection to the
 * flow that names it. docs/architecture.md has the meaning of each.
 */
import { clockReady, clockTell } from "./clock";
import { Err } from "./errors";
import { PEERS_MAX } from "./limits";
import { RecordState, TUPLE, reserve } from "./layout";
import { APPLICATION_LEN_MAX, MAPPING_SIZE, Mapping } from "./blob/format";
import { compile as blobCompile } from "./blob/compile";
import { infuse as blobInfuse, infuseFault, unbundle as blobUnbundle } from "./blob/infuse";
import { recordGet, recordHandleSet, recordSet } from "./encap/flows";
import { migrateDiscard } from "./tcp/migrate";
import { Tcb, tcbByHandle } from "./tcp/tcb";

const MAPPING: usize = memory.data(104, 8);
if (MAPPING_SIZE != 104) ERROR("MAPPING");
const APPLICATION: usize = memory.data(4096, 8);
if (APPLICATION_LEN_MAX != 4096) ERROR("APPLICATION");

let workPtr: usize = 0;
let workMax: u32 = 0;

/** Reserves the work area: between layoutBegin and layoutEnd. */
export function blobReserve(max: u32): void {
  workPtr = reserve(<usize>max);
  workMax = max;
}

export function mappingPtr(): usize {
  return MAPPING;
}

/** Bytes that only the application understands, at most APPLICATION_LEN_MAX. */
export function applicationPtr(): usize {
  return APPLICATION;
}

export function blobPtr(): usize {
  return workPtr;
}

export function blobMax(): u32 {
  return workMax;
}

/** Frozen connection -> blob at blobPtr, with the Mapping at mappingPtr bundled. Returns its length. */
export function compile(handle: u32, nowUs: f64): i32 {
  const ptr = tcbByHandle(handle);
  if (ptr == 0) return Err.HANDLE;
  if (!clockTell(nowUs)) return Err.ARGUMENT;
  return blobCompile(ptr, workPtr, workMax, MAPPING, APPLICATION, <u64>nowUs);
}

/** Verifies the blob at blobPtr; leaves its mapping at mappingPtr, its addresses at tuplePtr. Installs nothing. */
export function unbundle(length: u32): i32 {
  if (!clockReady()) return Err.STATE;
  if (length > workMax) return Err.ARGUMENT;
  return blobUnbundle(workPtr, length, MAPPING, APPLICATION, TUPLE);
}

/**
 * Blob at blobPtr -> connection. Its flow becomes an ACTIVE record of `peer` (0: none, for a connection that
 * no forwarder names), and early packets are replayed. Everything or nothing.
 */
export function infuse(length: u32, peer: u32, nowUs: f64): i32 {
  if (!clockReady()) return Err.STATE;
  if (length > workMax || peer >= PEERS_MAX || !clockTell(nowUs)) return Err.ARGUMENT;
  const err = blobUnbundle(workPtr, length, MAPPING, APPLICATION, TUPLE);
  if (err < 0) return err;
  const mapping = changetype<Mapping>(MAPPING);
  const flow = mapping.flow;
  if (peer != 0 && recordGet(peer, flow) != <u32>RecordState.NONE) return Err.EXISTS;
  const ptr = blobInfuse(workPtr, mapping.generation, <u64>nowUs);
  if (ptr == 0) return infuseFault();
  const tcb = changetype<Tcb>(ptr);
  const handle = tcb.handle;
  if (peer == 0) return <i32>handle;
  tcb.ownerPeer = peer;
  tcb.ownerFlow = flow;
  const recorded = recordSet(peer, flow, RecordState.ACTIVE, nowUs);
  if (recorded < 0) {
    migrateDiscard(ptr);
    return recorded;
  }
  recordHandleSet(peer, flow, handle);
  return <i32>handle;
}
