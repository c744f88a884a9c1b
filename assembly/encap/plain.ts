/**
 * The short way of what nearly every packet of a forwarder is, in straight lines and by whole words: TCP over IPv4
 * without IP options, from a peer or to a service; there with ACK and with aligned timestamps or without options.
 * A pass does all that the long way of ingress.ts does with such a packet, and leaves the others to it untouched.
 * Knows what ingress.ts knows; must not know what is rare. The passes are loops without a call, because a call in
 * the middle takes every register, and of functions that the compiler can be asked to dissolve there are none here.
 */
import { Descriptor, MapAction, PacketFlag, Verdict } from "../layout";
import { Counter, countMany } from "../counters";
import { rxDescriptor, slotPacketMax } from "../batch";
import { swap16, swap32 } from "../wire/bytes";
import { checksumOf, checksumUpdate, partialUpdate, sumNot32 } from "../wire/checksum";
import { IP4_HEADER_LEN } from "../wire/ip";
import { TIMESTAMPS_ALIGNED } from "../wire/options";
import { plainCheck4 } from "../wire/plain";
import { TCP_CHECKSUM_OFF, TcpFlag } from "../wire/tcp";
import {
  MapValue,
  mappingFindNear4,
  mappingHome4,
  valueAction,
  valueNote,
  valueNoteTimestamps,
  valuePeer,
  valueSeen,
} from "./mapping";
import { Peer, isOwn4, ownAddress4, peerFind, peerLast, peerPtr } from "./peers";
import { recordHome } from "./records";
import { NO_SERVICE, serviceFind, serviceLast } from "./services";
import { LIFE_CHANGE } from "./rewrite";
import { Kind, Work, workAt } from "./work";

const TCP: usize = 20;
if (IP4_HEADER_LEN != 20) ERROR("the TCP header lies elsewhere");

/** Byte 12 of a TCP header that is 20 and 32 bytes long; its low half is reserved. */
const LENGTH_MASK: u32 = 0xf0;
const LENGTH_20: u32 = 0x50;
const LENGTH_32: u32 = 0x80;

/**
 * Pass 1 over packets `first` to `end` of the batch: those that are plain get their Work, the others Kind.OPEN.
 * @returns how many are open
 */
export function plainClassify(first: u32, end: u32): u32 {
  let open = end - first;
  for (let index = first; index < end; index++) {
    const descriptor = changetype<Descriptor>(rxDescriptor(index));
    const work = changetype<Work>(workAt(index));
    const ptr = <usize>descriptor.ptr;
    const len = descriptor.len;
    work.kind = Kind.OPEN;
    if (len > slotPacketMax()) continue;
    const total = plainCheck4(ptr, len);
    if (total == 0) continue;
    const source = load<u32>(ptr, 12);
    const destination = load<u32>(ptr, 16);
    if (isMartian4(source, destination)) continue;
    if (((<u32>descriptor.flags) & PacketFlag.NEEDS_CSUM) != 0) {
      if (!offloadFits(descriptor, IP4_HEADER_LEN)) continue;
    }
    const ports = load<u32>(ptr, TCP);
    if (isOwn4(destination)) {
      let peer = peerLast(4, <u64>source, 0);
      if (peer == 0) peer = peerFind(4, <u64>source, 0);
      if (peer == 0 || (ports & 0xffff) == 0 || ports >> 16 == 0) continue;
      work.kind = Kind.TUNNEL;
      work.key = peer;
      work.home = <u32>recordHome(peer, swap32(ports));
    } else {
      const port = swap16(ports >> 16);
      let service = serviceLast(4, <u64>destination, 0, port);
      if (service == NO_SERVICE) service = serviceFind(4, <u64>destination, 0, port);
      if (service == NO_SERVICE) continue;
      work.kind = Kind.SERVICE4;
      work.key = service;
      work.home = <u32>mappingHome4(source, swap16(ports), service);
    }
    work.headerLen = IP4_HEADER_LEN;
    descriptor.len = total; // what is beyond is link padding
    descriptor.verdict = <u16>Verdict.DROPPED;
    open -= 1;
  }
  return open;
}

/** A source no client has: 0/8, 127/8, multicast and above (RFC 1122 3.2.1.3; MUST-57, 63), or itself. */
export function isMartian4(source: u32, destination: u32): bool {
  const first = source & 0xff;
  return first - 1 >= 223 || first == 127 || source == destination;
}

/** A partial checksum must be that of the TCP header we found. */
export function offloadFits(descriptor: Descriptor, headerLen: u32): bool {
  return <u32>descriptor.csumStart == headerLen && <u32>descriptor.csumOffset == TCP_CHECKSUM_OFF;
}

/**
 * Pass 3 from packet `first` on: forwards those of mapped connections until one is to be decided the long way.
 * @returns the index of that one, or `end`
 */
export function plainForward(first: u32, end: u32, seconds: u32): u32 {
  let bytes: u64 = 0;
  let index = first;
  for (; index < end; index++) {
    const work = changetype<Work>(workAt(index));
    if (work.kind != Kind.SERVICE4 || work.headerLen != IP4_HEADER_LEN) break;
    const descriptor = changetype<Descriptor>(rxDescriptor(index));
    const ptr = <usize>descriptor.ptr;
    const words = load<u64>(ptr, 8); // TTL, protocol, checksum, source
    const ports = load<u32>(ptr, TCP);
    const source = <u32>(words >> 32);
    const value = mappingFindNear4(<usize>work.home, source, swap16(ports), work.key);
    if (value == 0 || valueAction(value) != MapAction.FORWARD) break;
    const target = valuePeer(value);
    const peer = changetype<Peer>(peerPtr(target));
    if ((words & 0xff) <= 1 || peer.has4 == 0 || ownAddress4() == 0) break;
    if (((<u32>load<u8>(ptr, TCP + 13)) & (TcpFlag.ACK | TcpFlag.RST)) != TcpFlag.ACK) break;
    const length = (<u32>load<u8>(ptr, TCP + 12)) & LENGTH_MASK;
    const stamped = length == LENGTH_32 && load<u32>(ptr, TCP + 20) == TIMESTAMPS_ALIGNED;
    if (!stamped && length != LENGTH_20) break;
    valueSeen(value, seconds);
    valueNote(value, load<u64>(ptr, TCP + 4));
    if (stamped) valueNoteTimestamps(value, load<u64>(ptr, TCP + 24));
    const flow = changetype<MapValue>(value).flow;
    const name = swap32(flow);
    const change = sumNot32(source) + sumNot32(load<u32>(ptr, 16)) + peer.sum4;
    const sum = (~(words >> 16) & 0xffff) + change + LIFE_CHANGE;
    const field = ptr + (TCP + <usize>TCP_CHECKSUM_OFF);
    if (((<u32>descriptor.flags) & PacketFlag.NEEDS_CSUM) != 0) partialUpdate(field, change, 0);
    else checksumUpdate(field, change + sumNot32(ports), <u64>name);
    const life = (words & 0xffff) - 1;
    store<u64>(ptr, life | ((<u64>checksumOf(sum)) << 16) | ((<u64>ownAddress4()) << 32), 8);
    store<u64>(ptr, (<u64>peer.address4) | ((<u64>name) << 32), 16);
    descriptor.peer = target;
    descriptor.flow = flow;
    descriptor.verdict = <u16>Verdict.TRANSMIT;
    bytes += <u64>descriptor.len;
  }
  countMany(Counter.ENCAPSULATED, <u64>(index - first));
  countMany(Counter.ENCAPSULATED_BYTES, bytes);
  return index;
}
