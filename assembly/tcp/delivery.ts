/**
 * What the ACK at hand delivered: bytes, transmissions to take round-trip samples from, the youngest one for RACK, and
 * whether anything was overtaken. Knows one ACK; must not know the scoreboard, nor what follows. RFC 8985 6.2, RFC 6298
 * section 3 (Karn).
 */
import { seqLe, seqLt } from "../wire/seq";
import { Mark, Node } from "./node";
import { Tcb } from "./tcb";

/** Bytes that were not known to be delivered before. */
let delivered: u32 = 0;
/** Bytes newly SACKed by it. */
let sackedNow: u32 = 0;
/** Oldest and youngest transmission among the delivered ones that were sent once: for round-trip samples. */
let oldestXmitUs: u32 = 0;
let youngestXmitUs: u32 = 0;
let sampled: bool = false;
/** The ACK covers data that was sent more than once: what else it covers may have waited for that. */
let ambiguous: bool = false;
/** Most recently sent segment delivered by it (RFC 8985 6.2 step 2). */
let rackXmitUs: u32 = 0;
let rackEndSeq: u32 = 0;
let racked: bool = false;
/** Of what was sent again just once, the last part that the ACK covers, and when it was sent again. */
let againStart: u32 = 0;
let againEnd: u32 = 0;
let againXmitUs: u32 = 0;
/** The ACK says that this part arrived twice. */
let answered: bool = false;
/** The last copy of a segment that was sent again can be what the ACK answers if it left by then. */
let answeredUs: u32 = 0;
/** A segment was delivered below one that was SACKed before, without having been sent again. */
let reordered: bool = false;
/** The scoreboard before the ACK at hand. */
let priorSacked: bool = false;
let priorFack: u32 = 0;

/**
 * Starts the account of one ACK.
 * @param leftBy when the last copy of a segment that was sent again must have left to be what the ACK answers
 */
export function deliveryBegin(ptr: usize, leftBy: u32): void {
  const tcb = changetype<Tcb>(ptr);
  answeredUs = leftBy;
  againStart = 0;
  againEnd = 0;
  answered = false;
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

/** True when segments sent exactly once were delivered: the next two say when. */
export function deliverySampled(): bool {
  return sampled && !ambiguous;
}

/** When the first of them was sent: its round trip has the wait for a delayed ACK in it (RFC 7323 4.3). */
export function deliveryOldestXmitUs(): u32 {
  return oldestXmitUs;
}

/** When the last of them was sent: its round trip is that of the path. */
export function deliveryYoungestXmitUs(): u32 {
  return youngestXmitUs;
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

export function deliveryReordered(): bool {
  return reordered;
}

/** [node.start, end) is acknowledged, and was not SACKed before. */
export function deliveryAcked(node: Node, end: u32): void {
  deliver(node, end);
  delivered += end - node.start;
  if ((node.marks & Mark.EVER) == 0) return;
  ambiguous = true;
  if ((node.marks & Mark.OFTEN) != 0) return;
  againStart = node.start;
  againEnd = end;
  againXmitUs = node.xmitUs;
}

/** The ACK reports [left, right) as a duplicate. */
export function deliveryDuplicate(left: u32, right: u32): void {
  answered = seqLe(againStart, left) && seqLe(right, againEnd) && againStart != againEnd;
}

/**
 * The ACK answers the only second copy of what it covers: the first arrived as well, and its ACK did not. There is no
 * ambiguity in that (Karn), and deliveryAnsweredXmitUs says when the copy left.
 */
export function deliveryAnswered(): bool {
  return answered;
}

export function deliveryAnsweredXmitUs(): u32 {
  return againXmitUs;
}

/** The node is SACKED from now on. */
export function deliverySackedNow(node: Node): void {
  deliver(node, node.end);
  delivered += node.end - node.start;
  sackedNow += node.end - node.start;
}

/** Takes note of a delivery for the round-trip sample and RACK. */
function deliver(node: Node, end: u32): void {
  if ((node.marks & Mark.EVER) == 0) {
    if (!sampled || <i32>(node.xmitUs - youngestXmitUs) > 0) youngestXmitUs = node.xmitUs;
    if (!sampled || <i32>(node.xmitUs - oldestXmitUs) < 0) oldestXmitUs = node.xmitUs;
    sampled = true;
    if (priorSacked && seqLt(end, priorFack)) reordered = true;
  } else if (<i32>(node.xmitUs - answeredUs) > 0) {
    return; // an ACK of the first copy must not be taken for one of the second (8985 6.2 step 2)
  }
  const later = <i32>(node.xmitUs - rackXmitUs);
  if (!racked || later > 0 || (later == 0 && seqLt(rackEndSeq, end))) {
    racked = true;
    rackXmitUs = node.xmitUs;
    rackEndSeq = end;
  }
}
