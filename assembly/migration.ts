/**
 * The part of the ABI that is about migration: argument checks, and the wiring of a blob's connection to the
 * flow that names it. docs/abi.md is made from what stands here.
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

/** The Mapping (MAPPING_SIZE bytes) that compile bundles and unbundle leaves: who names the connection how. */
export function mappingPtr(): usize {
  return MAPPING;
}

/** Bytes that travel for the application, at most APPLICATION_LEN_MAX; their length stands in the Mapping. */
export function applicationPtr(): usize {
  return APPLICATION;
}

/** The work area for blobs. 0 before init. */
export function blobPtr(): usize {
  return workPtr;
}

/** Its size: Parameters.blobBytes. */
export function blobMax(): u32 {
  return workMax;
}

/**
 * Frozen connection -> blob at blobPtr, with Mapping and application bytes. Returns its length. TCP_STATE when it is
 * not frozen, FULL when it does not fit, BLOB_INVARIANT when the connection breaks one.
 */
export function compile(handle: u32, nowUs: f64): i32 {
  const ptr = tcbByHandle(handle);
  if (ptr == 0) return Err.HANDLE;
  if (!clockTell(nowUs)) return Err.ARGUMENT;
  return blobCompile(ptr, workPtr, workMax, MAPPING, APPLICATION, <u64>nowUs);
}

/**
 * Verifies the blob of `length` bytes at blobPtr; leaves its mapping at mappingPtr, the application's bytes at
 * applicationPtr, its addresses at tuplePtr. Installs nothing. BLOB_MALFORMED, BLOB_VERSION, BLOB_CHECKSUM,
 * BLOB_INVARIANT.
 */
export function unbundle(length: u32): i32 {
  if (!clockReady()) return Err.STATE;
  if (length > workMax) return Err.ARGUMENT;
  return blobUnbundle(workPtr, length, MAPPING, APPLICATION, TUPLE);
}

/**
 * Blob at blobPtr -> connection, everything or nothing: verified as by unbundle, its flow becomes an ACTIVE record
 * of `peer` (0: none, for a connection that no forwarder names), early packets are replayed. Returns a handle.
 * EXISTS when the flow has a record, BLOB_DUPLICATE when the 4-tuple is here already, FULL, MEMORY, and what
 * unbundle refuses.
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
