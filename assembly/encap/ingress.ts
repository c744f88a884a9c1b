/**
 * Where a packet goes, decided for a whole batch in three passes, because cache misses are the cost at a
 * million flows: pass 1 checks every packet and hashes it, pass 2 touches the table line of each, pass 3
 * decides and rewrites. Knows the order of docs/architecture.md "ingress"; must not know what the stack or
 * the host makes of a packet.
 */
import { Descriptor, MapAction, Mode, RecordState, Verdict } from "../layout";
import { Counter, count, countMany } from "../counters";
import { Err } from "../errors";
import { rxDescriptor, slotPacketMax } from "../batch";
import {
  IP6_HEADER_LEN,
  Protocol,
  ipCheck,
  ipCheckedHeaderLen,
  ipCheckedProtocol,
  ipTotalLen,
  ipVersion,
} from "../wire/ip";
import { plainCheck6 } from "../wire/plain";
import {
  TcpFlag,
  tcpCheck,
  tcpDestinationPort,
  tcpFlags,
  tcpHeaderLen,
  tcpNumbers,
  tcpPorts,
  tcpSourcePort,
} from "../wire/tcp";
import { optionsTimestampsPtr } from "../wire/options";
import { plainBack } from "./back";
import { flowInput } from "./flows";
import { icmpInput } from "./icmp";
import {
  MapValue,
  mappingFind4,
  mappingFind6,
  mappingHome4,
  mappingHome6,
  valueAction,
  valueNote,
  valueNoteTimestamps,
  valuePeer,
  valueSeen,
} from "./mapping";
import { isOwn4, isOwn6, peerFind } from "./peers";
import { isMartian4, offloadFits, plainClassify, plainForward } from "./plain";
import { recordHome } from "./records";
import { encapsulate, isPartial } from "./rewrite";
import { NO_SERVICE, serviceFind } from "./services";
import { stackInput, stackRefuse } from "./stack";
import { Kind, Work, workAt } from "./work";

let mode: u32 = Mode.RST_UNKNOWN;
/** What pass 2 read: stored, so that no optimiser drops the loads. */
let touched: u64 = 0;
/** The clock of the batch at hand. */
let seconds: u32 = 0;

/** Behaviour towards packets of unknown connections. */
export function modeSet(value: u32): void {
  mode = value;
}

/**
 * Decides about packets `first` to `end` (not included) of the rx batch.
 * @param short plain.ts is asked first; false for tests that compare
 * @returns how many have a verdict other than DROPPED and CONSUMED
 */
export function ingress(first: u32, end: u32, nowUs: f64, short: bool): i32 {
  seconds = <u32>(<u64>(nowUs / 1_000_000));
  let bytes: u64 = 0;
  for (let index = first; index < end; index++) {
    bytes += <u64>changetype<Descriptor>(rxDescriptor(index)).len;
  }
  countMany(Counter.PACKETS_IN, <u64>(end - first));
  countMany(Counter.BYTES_IN, bytes);
  if (!short || plainClassify(first, end) != 0) {
    for (let index = first; index < end; index++) {
      const workPtr = workAt(index);
      if (short && changetype<Work>(workPtr).kind != Kind.OPEN) continue;
      classify(rxDescriptor(index), workPtr);
    }
  }
  touch(first, end);
  let left: u32 = 0;
  for (let index = first; index < end; index++) {
    if (short) {
      const isTunnel = changetype<Work>(workAt(index)).kind == Kind.TUNNEL;
      const stopped = isTunnel ? plainBack(index, end) : plainForward(index, end, seconds);
      left += stopped - index;
      index = stopped;
      if (index == end) break;
    }
    const descriptorPtr = rxDescriptor(index);
    decide(descriptorPtr, workAt(index), nowUs);
    const verdict = <u32>changetype<Descriptor>(descriptorPtr).verdict;
    if (verdict != Verdict.DROPPED && verdict != Verdict.CONSUMED) left += 1;
  }
  return <i32>left;
}

/** Pass 2. Two lines each: some entries lie behind the line that probing begins with. */
function touch(first: u32, end: u32): void {
  let sum: u64 = 0;
  for (let index = first; index < end; index++) {
    const work = changetype<Work>(workAt(index));
    sum += load<u64>(<usize>work.home) + load<u64>(<usize>work.home, 64);
  }
  touched = sum;
}

/** Pass 1: checks once, finds out what the packet is, and computes where its table entry would be. */
function classify(descriptorPtr: usize, workPtr: usize): void {
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const work = changetype<Work>(workPtr);
  const ptr = <usize>descriptor.ptr;
  const len = descriptor.len;
  work.kind = Kind.DONE;
  work.home = <u32>ptr;
  descriptor.verdict = <u16>Verdict.DROPPED;
  if (len > slotPacketMax()) return count(Counter.IP_MALFORMED);
  let headerLen = IP6_HEADER_LEN;
  let total = plainCheck6(ptr, len);
  if (total == 0) {
    headerLen = check(ptr, len, work);
    if (headerLen == 0) return;
    total = ipTotalLen(ptr);
  }
  descriptor.len = total; // what is beyond is link padding
  work.headerLen = headerLen;
  if (isMartian(ptr)) return count(Counter.IP_MARTIAN);
  if (isPartial(descriptorPtr) && !offloadFits(descriptor, headerLen)) {
    return count(Counter.OFFLOAD_MALFORMED);
  }
  segment(ptr, ptr + headerLen, work);
}

/** Checks a packet that is not plain. Bytes before its TCP header; 0: none, and what it is stands in `work`. */
function check(ptr: usize, len: u32, work: Work): u32 {
  const checked = ipCheck(ptr, len);
  if (checked < 0) {
    countIpError(checked);
    return 0;
  }
  const headerLen = ipCheckedHeaderLen(checked);
  const protocol = ipCheckedProtocol(checked);
  if (isMartian(ptr)) count(Counter.IP_MARTIAN);
  else if (protocol == <u32>(ipVersion(ptr) == 4 ? Protocol.ICMP : Protocol.ICMP6)) {
    work.kind = Kind.ICMP;
    work.headerLen = headerLen;
  } else if (protocol != Protocol.TCP) count(Counter.IP_PROTOCOL);
  else if (tcpCheck(ptr + headerLen, ipTotalLen(ptr) - headerLen) < 0) {
    count(Counter.SEGMENT_MALFORMED);
  } else return headerLen;
  return 0;
}

/** A good TCP segment: to whom, and where would its entry be? */
function segment(ptr: usize, tcp: usize, work: Work): void {
  const isV4 = ipVersion(ptr) == 4;
  const family: u32 = isV4 ? 4 : 6;
  const source0 = isV4 ? <u64>load<u32>(ptr, 12) : load<u64>(ptr, 8);
  const source1 = isV4 ? 0 : load<u64>(ptr, 16);
  const destination0 = isV4 ? <u64>load<u32>(ptr, 16) : load<u64>(ptr, 24);
  const destination1 = isV4 ? 0 : load<u64>(ptr, 32);
  if (isV4 ? isOwn4(<u32>destination0) : isOwn6(destination0, destination1)) {
    return tunnel(tcp, peerFind(family, source0, source1), work);
  }
  const service = serviceFind(family, destination0, destination1, tcpDestinationPort(tcp));
  if (service == NO_SERVICE) return count(Counter.IP_NOT_OURS);
  work.kind = isV4 ? Kind.SERVICE4 : Kind.SERVICE6;
  work.key = service;
  const port = tcpSourcePort(tcp);
  work.home = <u32>(
    (isV4
      ? mappingHome4(<u32>source0, port, service)
      : mappingHome6(source0, source1, port, service))
  );
}

function tunnel(tcp: usize, peer: u32, work: Work): void {
  if (peer == 0) return count(Counter.TUNNEL_STRANGER);
  const flow = tcpPorts(tcp);
  if ((flow & 0xffff) == 0 || flow >> 16 == 0) return count(Counter.TUNNEL_FLOW_ZERO);
  work.kind = Kind.TUNNEL;
  work.key = peer;
  work.home = <u32>recordHome(peer, flow);
}

function isMartian(ptr: usize): bool {
  return ipVersion(ptr) == 4 ? isMartian4(load<u32>(ptr, 12), load<u32>(ptr, 16)) : isMartian6(ptr);
}

/** Unspecified, loopback, multicast, or the destination itself. */
function isMartian6(ptr: usize): bool {
  const word0 = load<u64>(ptr, 8);
  const word1 = load<u64>(ptr, 16);
  if ((word0 & 0xff) == 0xff) return true;
  if (word0 == 0 && (word1 == 0 || word1 == 0x0100000000000000)) return true;
  return word0 == load<u64>(ptr, 24) && word1 == load<u64>(ptr, 32);
}

function countIpError(error: i32): void {
  if (error == Err.FRAGMENT) count(Counter.IP_FRAGMENT);
  else if (error == Err.CHECKSUM) count(Counter.IP_CHECKSUM);
  else count(Counter.IP_MALFORMED);
}

/** Pass 3. */
function decide(descriptorPtr: usize, workPtr: usize, nowUs: f64): void {
  const work = changetype<Work>(workPtr);
  const kind = work.kind;
  if (kind == Kind.DONE) return;
  const ptr = <usize>changetype<Descriptor>(descriptorPtr).ptr;
  const headerLen = work.headerLen;
  const tcp = ptr + headerLen;
  const home = <usize>work.home;
  if (kind == Kind.TUNNEL) {
    return flowInput(descriptorPtr, headerLen, home, work.key, tcpPorts(tcp), nowUs);
  }
  if (kind == Kind.ICMP) return icmpInput(descriptorPtr, headerLen, nowUs);
  const port = tcpSourcePort(tcp);
  const value =
    kind == Kind.SERVICE4
      ? mappingFind4(home, load<u32>(ptr, 12), port, work.key)
      : mappingFind6(home, load<u64>(ptr, 8), load<u64>(ptr, 16), port, work.key);
  if (value == 0) return local(descriptorPtr, headerLen, nowUs);
  note(value, tcp);
  const action = valueAction(value);
  if (action == MapAction.FORWARD) return forward(descriptorPtr, headerLen, value);
  if (action == MapAction.LOCAL) return owned(descriptorPtr, headerLen, value, nowUs);
  tomb(descriptorPtr, headerLen, tcp, nowUs);
}

/**
 * LOCAL: the own stack when no peer is named. A peer and a flow: the own stack as well, but the connection
 * came by a blob, so that its record decides as at any other node (early packets wait, frozen ones are held).
 * A peer alone: that one has it without a flow, as a classifier on another node does.
 */
function owned(descriptorPtr: usize, headerLen: u32, value: usize, nowUs: f64): void {
  const peer = valuePeer(value);
  if (peer == 0) return local(descriptorPtr, headerLen, nowUs);
  const flow = changetype<MapValue>(value).flow;
  if (flow != 0) {
    return flowInput(descriptorPtr, headerLen, recordHome(peer, flow), peer, flow, nowUs);
  }
  const descriptor = changetype<Descriptor>(descriptorPtr);
  descriptor.peer = peer;
  descriptor.flow = 0;
  descriptor.verdict = <u16>Verdict.UNMAPPED;
  count(Counter.UNKNOWN_HOST);
}

/** Remembers what a reset would need (R20). A RST's numbers say nothing about the client's state. */
function note(value: usize, tcp: usize): void {
  const flags = tcpFlags(tcp);
  if ((flags & TcpFlag.RST) != 0) return;
  valueSeen(value, seconds);
  if ((flags & TcpFlag.ACK) == 0) return;
  valueNote(value, tcpNumbers(tcp));
  const headerLen = tcpHeaderLen(tcp);
  if (headerLen < 32) return;
  const at = optionsTimestampsPtr(tcp, headerLen);
  if (at != 0) valueNoteTimestamps(value, load<u64>(at));
}

function forward(descriptorPtr: usize, headerLen: u32, value: usize): void {
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const flow = changetype<MapValue>(value).flow;
  const peer = valuePeer(value);
  const done = encapsulate(<usize>descriptor.ptr, headerLen, peer, flow, isPartial(descriptorPtr));
  if (done < 0) {
    return count(done == Err.TTL ? Counter.ENCAPSULATE_TTL : Counter.ENCAPSULATE_NO_PEER);
  }
  descriptor.peer = peer;
  descriptor.flow = flow;
  descriptor.verdict = <u16>Verdict.TRANSMIT;
  count(Counter.ENCAPSULATED);
  countMany(Counter.ENCAPSULATED_BYTES, <u64>descriptor.len);
}

/** For the own stack, and by mode when the stack knows nothing of it. */
function local(descriptorPtr: usize, headerLen: u32, nowUs: f64): void {
  const descriptor = changetype<Descriptor>(descriptorPtr);
  if (mode == Mode.RECOVERING) return count(Counter.UNKNOWN_RECOVERING);
  const verdict = stackInput(descriptorPtr, headerLen, nowUs);
  descriptor.verdict = <u16>verdict;
  if (verdict == Verdict.HANDBACK) {
    // A SYN that TIME-WAIT admits, relayed here without encapsulation: the stack named peer and flow.
    descriptor.record = RecordState.CLOSED;
    return count(Counter.HANDED_BACK);
  }
  if (verdict != Verdict.UNMAPPED) return;
  descriptor.peer = 0;
  descriptor.flow = 0;
  if (mode == Mode.HOST_UNKNOWN) return count(Counter.UNKNOWN_HOST);
  descriptor.verdict = <u16>Verdict.DROPPED;
  count(Counter.UNKNOWN_REFUSED);
  stackRefuse(descriptorPtr, headerLen, false, nowUs);
}

/** Packets on a tombstone: PROTOCOL.md section 6. */
function tomb(descriptorPtr: usize, headerLen: u32, tcp: usize, nowUs: f64): void {
  const flags = tcpFlags(tcp);
  if ((flags & TcpFlag.RST) != 0) return count(Counter.TOMB_RST);
  if ((flags & TcpFlag.SYN) != 0) return count(Counter.TOMB_SYN);
  count(Counter.TOMB_REFUSED);
  stackRefuse(descriptorPtr, headerLen, true, nowUs);
}
