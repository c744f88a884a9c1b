/**
 * Where a packet goes, decided for a whole batch in three passes, because cache misses are the cost at a
 * million flows: pass 1 checks every packet and hashes it, pass 2 touches the table line of each, pass 3
 * decides and rewrites. Knows the order of docs/architecture.md "ingress"; must not know what the stack or
 * the host makes of a packet.
 */
import { BATCH_MAX, Descriptor, MapAction, Mode, RecordState, Verdict } from "../layout";
import { Counter, count, countMany } from "../counters";
import { Err } from "../errors";
import { rxDescriptor, slotPacketMax } from "../batch";
import { Protocol, ipCheck, ipCheckedHeaderLen, ipCheckedProtocol, ipTotalLen } from "../wire/ip";
import {
  TCP_CHECKSUM_OFF,
  TcpFlag,
  tcpAck,
  tcpCheck,
  tcpDestinationPort,
  tcpFlags,
  tcpHeaderLen,
  tcpPorts,
  tcpSeq,
  tcpSourcePort,
} from "../wire/tcp";
import { OPTIONS, OptionBit, Options, optionsParse } from "../wire/options";
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
} from "./mapping";
import { isOwn4, isOwn6, peerFind } from "./peers";
import { recordHome } from "./records";
import { encapsulate, isPartial } from "./rewrite";
import { NO_SERVICE, serviceFind } from "./services";
import { stackInput, stackRefuse } from "./stack";

/** What pass 1 found out about a packet. */
enum Kind {
  /** The verdict is final. */
  DONE = 0,
  /** TCP to a service address: `key` is its index. */
  SERVICE4 = 1,
  SERVICE6 = 2,
  /** TCP to this node's tunnel address from a peer: `key` is the peer. */
  TUNNEL = 3,
  /** An ICMP message. */
  ICMP = 4,
}

/** One for each packet of the batch. */
@unmanaged
class Work {
  kind: u32;
  headerLen: u32;
  /** First slot to look at. */
  home: u32;
  key: u32;
}
const WORK_SIZE: usize = 16;
if (offsetof<Work>() != WORK_SIZE) ERROR("Work layout changed");
const WORK: usize = memory.data(1024, 16);
if (WORK_SIZE * <usize>BATCH_MAX != 1024) ERROR("Work does not fit the batch");

let mode: u32 = Mode.RST_UNKNOWN;
/** What pass 2 read: stored, so that no optimiser drops the loads. */
let touched: u64 = 0;

/** Behaviour towards packets of unknown connections. */
export function modeSet(value: u32): void {
  mode = value;
}

/**
 * Decides about packets `first` to `end` (not included) of the rx batch.
 * @returns how many have a verdict other than DROPPED and CONSUMED
 */
export function ingress(first: u32, end: u32, nowUs: f64): i32 {
  let bytes: u64 = 0;
  for (let index = first; index < end; index++) {
    const descriptorPtr = rxDescriptor(index);
    const descriptor = changetype<Descriptor>(descriptorPtr);
    bytes += <u64>descriptor.len;
    classify(descriptorPtr, workAt(index));
  }
  countMany(Counter.PACKETS_IN, <u64>(end - first));
  countMany(Counter.BYTES_IN, bytes);
  // Two lines each: half of the entries lie behind their home slot, some of those on the next line.
  let sum: u64 = 0;
  for (let index = first; index < end; index++) {
    const work = changetype<Work>(workAt(index));
    sum += load<u64>(<usize>work.home) + load<u64>(<usize>work.home, 64);
  }
  touched = sum;
  const seconds = <u32>(<u64>(nowUs / 1_000_000));
  let left = 0;
  for (let index = first; index < end; index++) {
    const descriptorPtr = rxDescriptor(index);
    decide(descriptorPtr, workAt(index), seconds, nowUs);
    const verdict = <u32>changetype<Descriptor>(descriptorPtr).verdict;
    if (verdict != Verdict.DROPPED && verdict != Verdict.CONSUMED) left += 1;
  }
  return left;
}

function workAt(index: u32): usize {
  return WORK + <usize>index * WORK_SIZE;
}

/** Pass 1: checks once, finds out what the packet is, and computes where its table entry would be. */
function classify(descriptorPtr: usize, workPtr: usize): void {
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const work = changetype<Work>(workPtr);
  const ptr = <usize>descriptor.ptr;
  work.kind = Kind.DONE;
  work.home = <u32>ptr;
  descriptor.verdict = <u16>Verdict.DROPPED;
  if (descriptor.len > slotPacketMax()) return count(Counter.IP_MALFORMED);
  const checked = ipCheck(ptr, descriptor.len);
  if (checked < 0) return countIpError(checked);
  const headerLen = ipCheckedHeaderLen(checked);
  const total = ipTotalLen(ptr);
  descriptor.len = total; // what is beyond is link padding
  work.headerLen = headerLen;
  const protocol = ipCheckedProtocol(checked);
  const isV4 = load<u8>(ptr) >> 4 == 4;
  if (isV4 ? isMartian4(ptr) : isMartian6(ptr)) return count(Counter.IP_MARTIAN);
  if (protocol == <u32>(isV4 ? Protocol.ICMP : Protocol.ICMP6)) {
    work.kind = Kind.ICMP;
    return;
  }
  if (protocol != Protocol.TCP) return count(Counter.IP_PROTOCOL);
  const tcp = ptr + headerLen;
  if (tcpCheck(tcp, total - headerLen) < 0) return count(Counter.SEGMENT_MALFORMED);
  if (isPartial(descriptorPtr) && !offloadFits(descriptor, headerLen)) {
    return count(Counter.OFFLOAD_MALFORMED);
  }
  if (isV4) classify4(ptr, tcp, work);
  else classify6(ptr, tcp, work);
}

/** A partial checksum must be that of the TCP header we found. */
function offloadFits(descriptor: Descriptor, headerLen: u32): bool {
  return <u32>descriptor.csumStart == headerLen && <u32>descriptor.csumOffset == TCP_CHECKSUM_OFF;
}

function classify4(ptr: usize, tcp: usize, work: Work): void {
  const destination = load<u32>(ptr, 16);
  if (isOwn4(destination)) {
    return tunnel(tcp, peerFind(4, <u64>load<u32>(ptr, 12), 0), work);
  }
  const service = serviceFind(4, <u64>destination, 0, tcpDestinationPort(tcp));
  if (service == NO_SERVICE) return count(Counter.IP_NOT_OURS);
  work.kind = Kind.SERVICE4;
  work.key = service;
  work.home = <u32>mappingHome4(load<u32>(ptr, 12), tcpSourcePort(tcp), service);
}

function classify6(ptr: usize, tcp: usize, work: Work): void {
  const destination0 = load<u64>(ptr, 24);
  const destination1 = load<u64>(ptr, 32);
  if (isOwn6(destination0, destination1)) {
    return tunnel(tcp, peerFind(6, load<u64>(ptr, 8), load<u64>(ptr, 16)), work);
  }
  const service = serviceFind(6, destination0, destination1, tcpDestinationPort(tcp));
  if (service == NO_SERVICE) return count(Counter.IP_NOT_OURS);
  work.kind = Kind.SERVICE6;
  work.key = service;
  const port = tcpSourcePort(tcp);
  work.home = <u32>mappingHome6(load<u64>(ptr, 8), load<u64>(ptr, 16), port, service);
}

function tunnel(tcp: usize, peer: u32, work: Work): void {
  if (peer == 0) return count(Counter.TUNNEL_STRANGER);
  const flow = tcpPorts(tcp);
  if ((flow & 0xffff) == 0 || flow >> 16 == 0) return count(Counter.TUNNEL_FLOW_ZERO);
  work.kind = Kind.TUNNEL;
  work.key = peer;
  work.home = <u32>recordHome(peer, flow);
}

/** A source no client has: 0/8, 127/8, multicast and above (RFC 1122 3.2.1.3; MUST-57, 63), or itself. */
function isMartian4(ptr: usize): bool {
  const first = <u32>load<u8>(ptr, 12);
  return first == 0 || first == 127 || first >= 224 || load<u32>(ptr, 12) == load<u32>(ptr, 16);
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
function decide(descriptorPtr: usize, workPtr: usize, seconds: u32, nowUs: f64): void {
  const work = changetype<Work>(workPtr);
  const kind = work.kind;
  if (kind == Kind.DONE) return;
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const ptr = <usize>descriptor.ptr;
  const headerLen = work.headerLen;
  const tcp = ptr + headerLen;
  if (kind == Kind.SERVICE4) {
    const remote = load<u32>(ptr, 12);
    const value = mappingFind4(<usize>work.home, remote, tcpSourcePort(tcp), work.key);
    service(descriptorPtr, headerLen, value, seconds, nowUs);
  } else if (kind == Kind.SERVICE6) {
    const home = <usize>work.home;
    const port = tcpSourcePort(tcp);
    const value = mappingFind6(home, load<u64>(ptr, 8), load<u64>(ptr, 16), port, work.key);
    service(descriptorPtr, headerLen, value, seconds, nowUs);
  } else if (kind == Kind.TUNNEL) {
    flowInput(descriptorPtr, headerLen, <usize>work.home, work.key, tcpPorts(tcp), nowUs);
  } else {
    icmpInput(descriptorPtr, headerLen, nowUs);
  }
}

/** A segment to a service address, with its mapping or 0. */
function service(
  descriptorPtr: usize,
  headerLen: u32,
  value: usize,
  seconds: u32,
  nowUs: f64,
): void {
  if (value == 0) return local(descriptorPtr, headerLen, nowUs);
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const tcp = <usize>descriptor.ptr + headerLen;
  note(value, tcp, seconds);
  const action = valueAction(value);
  if (action == MapAction.FORWARD) return forward(descriptorPtr, headerLen, value);
  if (action == MapAction.LOCAL) return owned(descriptorPtr, headerLen, value, nowUs);
  tomb(descriptorPtr, tcp, nowUs);
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
function note(value: usize, tcp: usize, seconds: u32): void {
  const flags = tcpFlags(tcp);
  if ((flags & TcpFlag.RST) != 0) return;
  const hasAck = (flags & TcpFlag.ACK) != 0;
  valueNote(value, tcpSeq(tcp), tcpAck(tcp), hasAck, seconds);
  if (!hasAck) return;
  const headerLen = tcpHeaderLen(tcp);
  if (headerLen < 32) return;
  const present = optionsParse(tcp, headerLen, false);
  if ((present & OptionBit.TIMESTAMPS) == 0) return;
  const options = changetype<Options>(OPTIONS);
  valueNoteTimestamps(value, options.tsVal, options.tsEcr);
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
  const verdict = stackInput(descriptorPtr, nowUs);
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
  stackRefuse(descriptorPtr, false, nowUs);
}

/** Packets on a tombstone: PROTOCOL.md section 6. */
function tomb(descriptorPtr: usize, tcp: usize, nowUs: f64): void {
  const flags = tcpFlags(tcp);
  if ((flags & TcpFlag.RST) != 0) return count(Counter.TOMB_RST);
  if ((flags & TcpFlag.SYN) != 0) return count(Counter.TOMB_SYN);
  count(Counter.TOMB_REFUSED);
  stackRefuse(descriptorPtr, true, nowUs);
}
