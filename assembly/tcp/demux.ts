/**
 * From a 4-tuple to its connection: hash buckets whose chains run through the blocks themselves, so the key
 * is stored once and a look-up touches the bucket and the block that it wants anyway. Knows identities;
 * must not know states. The hash is keyed, so that nobody outside can make a chain long.
 */
import { Tuple, reserve } from "../layout";
import { hashTuple } from "../flow/hash";
import { Tcb, tcbAt, tcbIndex } from "./tcb";

let bucketsPtr: usize = 0;
let bucketMask: u32 = 0;

/** Between layoutBegin and layoutEnd. */
export function demuxReserve(connections: u32): void {
  let buckets: u32 = 64;
  while (buckets < connections) buckets <<= 1;
  bucketsPtr = reserve((<usize>buckets) << 2);
  bucketMask = buckets - 1;
}

/** The block of a 4-tuple, or 0. */
export function demuxFind(tuplePtr: usize): usize {
  const tuple = changetype<Tuple>(tuplePtr);
  let index = load<u32>(bucketOf(tuplePtr));
  while (index != 0) {
    const ptr = tcbAt(index);
    const tcb = changetype<Tcb>(ptr);
    if (
      tcb.remote0 == tuple.remote0 &&
      tcb.remotePort == tuple.remotePort &&
      tcb.localPort == tuple.localPort &&
      tcb.local0 == tuple.local0 &&
      tcb.remote1 == tuple.remote1 &&
      tcb.local1 == tuple.local1 &&
      <u32>tcb.family == tuple.family
    ) {
      return ptr;
    }
    index = tcb.hashNext;
  }
  return 0;
}

/** Inserts a block whose identity is set and is not present. */
export function demuxInsert(ptr: usize): void {
  tupleOf(ptr, KEY);
  const bucket = bucketOf(KEY);
  changetype<Tcb>(ptr).hashNext = load<u32>(bucket);
  store<u32>(bucket, tcbIndex(ptr));
}

export function demuxRemove(ptr: usize): void {
  tupleOf(ptr, KEY);
  const bucket = bucketOf(KEY);
  const wanted = tcbIndex(ptr);
  let index = load<u32>(bucket);
  if (index == wanted) {
    store<u32>(bucket, changetype<Tcb>(ptr).hashNext);
    return;
  }
  while (index != 0) {
    const tcb = changetype<Tcb>(tcbAt(index));
    if (tcb.hashNext == wanted) {
      tcb.hashNext = changetype<Tcb>(ptr).hashNext;
      return;
    }
    index = tcb.hashNext;
  }
  assert(false); // was never inserted
}

/** Writes the block's identity as a Tuple. */
export function tupleOf(ptr: usize, tuplePtr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  const tuple = changetype<Tuple>(tuplePtr);
  tuple.family = <u32>tcb.family;
  tuple.remotePort = tcb.remotePort;
  tuple.localPort = tcb.localPort;
  tuple.remote0 = tcb.remote0;
  tuple.remote1 = tcb.remote1;
  tuple.local0 = tcb.local0;
  tuple.local1 = tcb.local1;
}

/** Copies a Tuple into a block's identity. */
export function tupleInto(ptr: usize, tuplePtr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  const tuple = changetype<Tuple>(tuplePtr);
  tcb.family = <u8>tuple.family;
  tcb.remotePort = tuple.remotePort;
  tcb.localPort = tuple.localPort;
  tcb.remote0 = tuple.remote0;
  tcb.remote1 = tuple.remote1;
  tcb.local0 = tuple.local0;
  tcb.local1 = tuple.local1;
}

const KEY: usize = memory.data(40, 8);

function bucketOf(tuplePtr: usize): usize {
  return bucketsPtr + ((<usize>(hashTuple(tuplePtr) & bucketMask)) << 2);
}
