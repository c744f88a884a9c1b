/**
 * What the ACK at hand delivered: bytes, transmissions to take round-trip samples from, the youngest one for RACK, and
 * whether anything was overtaken. Knows one ACK; must not know the scoreboard, nor what follows. RFC 8985 6.2, RFC 6298
 * section 3 (Karn).
 */
import { seqLt } from "../wire/seq";
import { Mark, Node } from "./node";
import { Tcb } from "./tcb";

/** Bytes that were not known to be delivered before. */
let delivered: u32 = 0;
/** Bytes newly SACKed by it. */
let sackedNow: u32 = 0;
/** Youngest transmission among the delivered ones that were sent once: for the round-trip sample. */
let sampleXmitUs: u32 = 0;
let sampled: bool = false;
/** The ACK covers data that was sent more than once: what else it covers may have waited for that. */
let ambiguous: bool = false;
/** Most recently sent segment delivered by it (RFC 8985 6.2 step 2). */
let rackXmitUs: u32 = 0;
let rackEndSeq: u32 = 0;
let rackEver: bool = false;
let racked: bool = false;
/** A segment was delivered below one that was SACKed before, without having been sent again. */
let reordered: bool = false;
/** The scoreboard before the ACK at hand. */
let priorSacked: bool = false;
let priorFack: u32 = 0;

/** Starts the account of one ACK. */
export function deliveryBegin(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  priorSacked = tcb.sackedBytes != 0;
  priorFack = tcb.fack;
  delivered = 0;
  sackedNow = 0;
  sampled = false;
  ambiguous = false;
  racked = false;
  reordered = false;
}

export function deliveryBytes(): u32 {
  return delivered;
}

export function deliverySacked(): u32 {
  return sackedNow;
}

/** True when a segment sent exactly once was delivered: deliverySampleXmitUs says when it was sent. */
export function deliverySampled(): bool {
  return sampled && !ambiguous;
}

export function deliverySampleXmitUs(): u32 {
  return sampleXmitUs;
}

export function deliveryRacked(): bool {
  return racked;
}

export function deliveryRackXmitUs(): u32 {
  return rackXmitUs;
}

export function deliveryRackEndSeq(): u32 {
  return rackEndSeq;
}

export function deliveryRackEver(): bool {
  return rackEver;
}

export function deliveryReordered(): bool {
  return reordered;
}

/** [node.start, end) is acknowledged, and was not SACKed before. */
export function deliveryAcked(node: Node, end: u32): void {
  deliver(node, end);
  delivered += end - node.start;
  if ((node.marks & Mark.EVER) != 0) ambiguous = true;
}

/** The node is SACKED from now on. */
export function deliverySackedNow(node: Node): void {
  deliver(node, node.end);
  delivered += node.end - node.start;
  sackedNow += node.end - node.start;
}

/** Takes note of a delivery for the round-trip sample and RACK. */
function deliver(node: Node, end: u32): void {
  const ever = (node.marks & Mark.EVER) != 0;
  if (!ever) {
    if (!sampled || <i32>(node.xmitUs - sampleXmitUs) > 0) sampleXmitUs = node.xmitUs;
    sampled = true;
    if (priorSacked && seqLt(end, priorFack)) reordered = true;
  }
  const later = <i32>(node.xmitUs - rackXmitUs);
  if (!racked || later > 0 || (later == 0 && seqLt(rackEndSeq, end))) {
    racked = true;
    rackXmitUs = node.xmitUs;
    rackEndSeq = end;
    rackEver = ever;
  }
}
