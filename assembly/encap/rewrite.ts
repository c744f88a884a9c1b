/**
 * Encapsulation and its inverse: addresses and ports of a checked packet replaced in place, checksums
 * updated incrementally, nothing added (DESIGN section 4). Knows headers; must not know tables.
 *
 *   encapsulate    source := own tunnel address    destination := the peer's    TTL - 1
 *                  source port := flow >> 16       destination port := flow & 0xffff
 *   de-encapsulate source := client                destination := service       ports likewise
 *
 * A full TCP checksum stays end to end (RFC 1624 equation 3 over addresses and ports). A partial one
 * (PacketFlag.NEEDS_CSUM) is the pseudo-header sum: addresses are replaced in it, ports are not part of it.
 */
import { Err } from "../errors";
import { Descriptor, PacketFlag, Tuple } from "../layout";
import { swap16, swap32 } from "../wire/bytes";
import {
  checksumOf,
  checksumUpdate,
  partialUpdate,
  sum64,
  sumNot32,
  sumNot64,
} from "../wire/checksum";
import { TCP_CHECKSUM_OFF } from "../wire/tcp";
import { Peer, ownAddress4, ownAddress60, ownAddress61, peerPtr } from "./peers";

/** What one less of TTL adds to a checksum's words, ~word + (word - 1). */
export const LIFE_CHANGE: u64 = 0xfffe;

/**
 * Rewrites the packet at ptr for `peer` under `flow`.
 * @param ptr       a packet that ipCheck and tcpCheck accepted
 * @param headerLen bytes before the TCP header
 * @param partial   the checksum field holds the pseudo-header sum only
 * @returns Err.OK, Err.TTL (TTL 1 or less), Err.NOT_FOUND (no tunnel address of this family here or there)
 */
export function encapsulate(ptr: usize, headerLen: u32, peer: u32, flow: u32, partial: bool): i32 {
  const target = peerPtr(peer);
  return load<u8>(ptr) >> 4 == 4
    ? encapsulate4(ptr, ptr + headerLen, target, swap32(flow), partial)
    : encapsulate6(ptr, ptr + headerLen, target, swap32(flow), partial);
}

function encapsulate4(ptr: usize, tcp: usize, target: usize, flow: u32, partial: bool): i32 {
  const peer = changetype<Peer>(target);
  if (peer.has4 == 0 || ownAddress4() == 0) return Err.NOT_FOUND;
  const words = load<u64>(ptr, 8); // TTL is the first byte: the low one in native order
  if ((words & 0xff) <= 1) return Err.TTL;
  const removed = sumNot32(<u32>(words >> 32)) + sumNot32(load<u32>(ptr, 16));
  const added = peer.sum4;
  const sum = (~(words >> 16) & 0xffff) + removed + added + LIFE_CHANGE;
  const life = (words & 0xffff) - 1;
  updateTransport(tcp, removed, added, flow, partial);
  store<u64>(ptr, life | ((<u64>checksumOf(sum)) << 16) | ((<u64>ownAddress4()) << 32), 8);
  store<u32>(ptr, peer.address4, 16);
  store<u32>(tcp, flow);
  return Err.OK;
}

function encapsulate6(ptr: usize, tcp: usize, target: usize, flow: u32, partial: bool): i32 {
  const peer = changetype<Peer>(target);
  if (peer.has6 == 0 || (ownAddress60() | ownAddress61()) == 0) return Err.NOT_FOUND;
  const life = <u32>load<u8>(ptr, 7);
  if (life <= 1) return Err.TTL;
  updateTransport(tcp, removedAddresses6(ptr), peer.sum6, flow, partial);
  store<u8>(ptr, life - 1, 7);
  store<u64>(ptr, ownAddress60(), 8);
  store<u64>(ptr, ownAddress61(), 16);
  store<u64>(ptr, peer.address60, 24);
  store<u64>(ptr, peer.address61, 32);
  store<u32>(tcp, flow);
  return Err.OK;
}

/**
 * Gives the packet at ptr the addresses and ports of a connection back. TTL stays as it is.
 * @param tuplePtr the connection, of the packet's own family
 */
export function decapsulate(ptr: usize, headerLen: u32, tuplePtr: usize, partial: bool): void {
  const tuple = changetype<Tuple>(tuplePtr);
  const tcp = ptr + headerLen;
  const ports = swap16(<u32>tuple.remotePort) | (swap16(<u32>tuple.localPort) << 16);
  if (load<u8>(ptr) >> 4 == 4) {
    const remote = <u32>tuple.remote0;
    const local = <u32>tuple.local0;
    const removed = sumNot32(load<u32>(ptr, 12)) + sumNot32(load<u32>(ptr, 16));
    const added = <u64>remote + <u64>local;
    checksumUpdate(ptr + 10, removed, added);
    updateTransport(tcp, removed, added, ports, partial);
    store<u32>(ptr, remote, 12);
    store<u32>(ptr, local, 16);
  } else {
    const added =
      sum64(tuple.remote0) + sum64(tuple.remote1) + sum64(tuple.local0) + sum64(tuple.local1);
    updateTransport(tcp, removedAddresses6(ptr), added, ports, partial);
    store<u64>(ptr, tuple.remote0, 8);
    store<u64>(ptr, tuple.remote1, 16);
    store<u64>(ptr, tuple.local0, 24);
    store<u64>(ptr, tuple.local1, 32);
  }
  store<u32>(tcp, ports);
}

function removedAddresses6(ptr: usize): u64 {
  return (
    sumNot64(load<u64>(ptr, 8)) +
    sumNot64(load<u64>(ptr, 16)) +
    sumNot64(load<u64>(ptr, 24)) +
    sumNot64(load<u64>(ptr, 32))
  );
}

/** `ports` as they will stand in memory; the old ones still do. */
function updateTransport(tcp: usize, removed: u64, added: u64, ports: u32, partial: bool): void {
  const field = tcp + TCP_CHECKSUM_OFF;
  if (partial) partialUpdate(field, removed, added);
  else checksumUpdate(field, removed + sumNot32(load<u32>(tcp)), added + <u64>ports);
}

/** True when the descriptor says that the checksum is partial. */
export function isPartial(descriptorPtr: usize): bool {
  return ((<u32>changetype<Descriptor>(descriptorPtr).flags) & PacketFlag.NEEDS_CSUM) != 0;
}
