/**
 * ICMP errors find their connection by the header they quote: a packet that a stack here or at a backend
 * sent to the client, or one that was encapsulated from here. Knows whom an error concerns; must not know
 * what it means to a connection. RFC 792, 4443, 5927.
 */
import { Descriptor, MapAction, Tuple, Verdict } from "../layout";
import { Counter, count } from "../counters";
import { Err } from "../errors";
import { ICMP_ERROR, IcmpError, icmpCheck } from "../wire/icmp";
import { ipDestinationPtr, ipSourcePtr, ipVersion } from "../wire/ip";
import { tcpPorts, tupleReadOutbound } from "../wire/tcp";
import { MapValue, mappingFindTuplePtr, valueAction, valuePeer } from "./mapping";
import { isOwn4, isOwn6, peerFind } from "./peers";
import { stackIcmp } from "./stack";

const ICMP_TUPLE: usize = memory.data(40, 8);

/**
 * Sets the verdict of an ICMP message: ICMP with peer and flow for the owner of a mapped connection or of
 * an encapsulated packet (then the message is addressed to this node's tunnel address), CONSUMED when the
 * own stack took it, DROPPED otherwise.
 */
export function icmpInput(descriptorPtr: usize, headerLen: u32, nowUs: f64): void {
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const ptr = <usize>descriptor.ptr;
  const checked = icmpCheck(ptr, ptr + headerLen, descriptor.len - headerLen);
  if (checked < 0) {
    return count(checked == Err.PROTOCOL ? Counter.ICMP_IGNORED : Counter.ICMP_MALFORMED);
  }
  const error = changetype<IcmpError>(ICMP_ERROR);
  const quoted = <usize>error.quotedPtr;
  const tcp = <usize>error.tcpPtr;
  if (isFromTunnel(quoted)) return ofTunnel(descriptor, quoted, tcp);
  tupleReadOutbound(quoted, tcp, ICMP_TUPLE);
  const value = mappingFindTuplePtr(ICMP_TUPLE);
  if (value != 0 && valueAction(value) == MapAction.FORWARD) {
    return toOwner(descriptor, valuePeer(value), changetype<MapValue>(value).flow);
  }
  if (!stackIcmp(ICMP_TUPLE, nowUs)) return count(Counter.ICMP_IGNORED);
  descriptor.verdict = <u16>Verdict.CONSUMED;
  count(Counter.ICMP_LOCAL);
}

/** The quoted packet left this node encapsulated: its ports are the flow, its destination the peer. */
function ofTunnel(descriptor: Descriptor, quoted: usize, tcp: usize): void {
  const to = ipDestinationPtr(quoted);
  const peer =
    ipVersion(quoted) == 4
      ? peerFind(4, <u64>load<u32>(to), 0)
      : peerFind(6, load<u64>(to), load<u64>(to, 8));
  if (peer == 0) return count(Counter.ICMP_IGNORED);
  toOwner(descriptor, peer, tcpPorts(tcp));
}

function isFromTunnel(quoted: usize): bool {
  const from = ipSourcePtr(quoted);
  return ipVersion(quoted) == 4
    ? isOwn4(load<u32>(from))
    : isOwn6(load<u64>(from), load<u64>(from, 8));
}

function toOwner(descriptor: Descriptor, peer: u32, flow: u32): void {
  descriptor.peer = peer;
  descriptor.flow = flow;
  descriptor.verdict = <u16>Verdict.ICMP;
  count(Counter.ICMP_FORWARDED);
}
