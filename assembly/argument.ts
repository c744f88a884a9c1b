/** What every room of the ABI checks of an argument. Knows ranges; must not know what an argument is for. */
import { TUPLE, Tuple } from "./layout";
import { PEERS_MAX } from "./limits";

export function isFamily(family: u32): bool {
  return family == 4 || family == 6;
}

/** A peer that is not this node. */
export function isPeer(peer: u32): bool {
  return peer != 0 && peer < PEERS_MAX;
}

/** Neither half of a flow identifier may be zero: port 0 does not survive real networks. */
export function isFlow(flow: u32): bool {
  return (flow & 0xffff) != 0 && flow >> 16 != 0;
}

/** The tuple at tuplePtr could be a connection's. */
export function isTuple(): bool {
  const tuple = changetype<Tuple>(TUPLE);
  return isFamily(tuple.family) && tuple.remotePort != 0 && tuple.localPort != 0;
}

/** Room for an address of 16 bytes behind a pointer of the host. */
export function isReadable(ptr: usize): bool {
  return ptr != 0 && <u64>ptr + 16 <= (<u64>memory.size()) << 16;
}
