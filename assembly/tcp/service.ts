/**
 * Where this stack accepts connections: address, port, what to announce. Knows listeners; must not know
 * connections. The index of a service is the host's name for it, the same in every room.
 */
import { hashAddress } from "../flow/hash";
import { SERVICES_MAX } from "../limits";
import { Tuple, reserve } from "../layout";

/**
 *    0 address0 u64  8 address1 u64   network byte order; IPv4 in the first four bytes
 *   16 port u32   20 family u32       0: nobody listens
 *   24 mss u16                        announced at most; 0: by the link's MTU
 *   26 ecn u16                        1: agrees to ECN where the client asks for it
 *   28 next u32                       1 + index of the next listener of the same bucket, 0: last
 */
@unmanaged
export class Listener {
  address0: u64;
  address1: u64;
  port: u32;
  family: u32;
  mss: u16;
  ecn: u16;
  next: u32;
}
export const LISTENER_SIZE: u32 = 32;
if (offsetof<Listener>() != LISTENER_SIZE) ERROR("Listener layout changed");

/** What listenerFind returns where nobody listens. */
export const NO_LISTENER: u32 = 0xffffffff;
const BUCKETS: u32 = 1024;

let listenersPtr: usize = 0;
let bucketsPtr: usize = 0;

/** Between layoutBegin and layoutEnd. */
export function serviceReserve(): void {
  listenersPtr = reserve(SERVICES_MAX * LISTENER_SIZE);
  bucketsPtr = reserve(BUCKETS * 4);
}

export function listenerAt(index: u32): Listener {
  return changetype<Listener>(listenersPtr + <usize>index * LISTENER_SIZE);
}

/** Accept connections at this address from now on. `index` < SERVICES_MAX has no listener. */
export function listenerOpen(
  index: u32,
  family: u32,
  addressPtr: usize,
  port: u32,
  mss: u32,
  ecn: bool,
): void {
  const listener = listenerAt(index);
  assert(listener.family == 0);
  listener.address0 = family == 4 ? <u64>load<u32>(addressPtr) : load<u64>(addressPtr);
  listener.address1 = family == 4 ? 0 : load<u64>(addressPtr, 8);
  listener.port = port;
  listener.family = family;
  listener.mss = <u16>mss;
  listener.ecn = ecn ? 1 : 0;
  const bucket = bucketOf(family, listener.address0, listener.address1, port);
  listener.next = load<u32>(bucket);
  store<u32>(bucket, index + 1);
}

/** What handshakes from now on announce at most; nothing happens where nobody listens. */
export function listenerMss(index: u32, mss: u32): void {
  listenerAt(index).mss = <u16>mss;
}

/** Accept no more; connections stay. Nothing happens where nobody listens. */
export function listenerClose(index: u32): void {
  const listener = listenerAt(index);
  if (listener.family == 0) return;
  const bucket = bucketOf(listener.family, listener.address0, listener.address1, listener.port);
  let at = load<u32>(bucket);
  if (at == index + 1) {
    store<u32>(bucket, listener.next);
  } else {
    while (listenerAt(at - 1).next != index + 1) at = listenerAt(at - 1).next;
    listenerAt(at - 1).next = listener.next;
  }
  listener.family = 0;
}

/** The listener at the local end of a tuple, or NO_LISTENER. */
export function listenerFind(tuplePtr: usize): u32 {
  const tuple = changetype<Tuple>(tuplePtr);
  const port = <u32>tuple.localPort;
  let at = load<u32>(bucketOf(tuple.family, tuple.local0, tuple.local1, port));
  while (at != 0) {
    const listener = listenerAt(at - 1);
    if (
      listener.address0 == tuple.local0 &&
      listener.port == port &&
      listener.address1 == tuple.local1 &&
      listener.family == tuple.family
    ) {
      return at - 1;
    }
    at = listener.next;
  }
  return NO_LISTENER;
}

function bucketOf(family: u32, address0: u64, address1: u64, port: u32): usize {
  const hash = hashAddress(address0, address1, (family << 16) | port);
  return bucketsPtr + (((<usize>hash) & (BUCKETS - 1)) << 2);
}
