/**
 * The scoreboard of sent segments: which ranges of [SND.UNA, SND.NXT) are outstanding, SACKed, deemed lost
 * or sent again, in order of sequence number and of transmission. Knows ranges, marks and lists; must not
 * know when something counts as lost (recovery.ts) nor how much may be sent (congestion.ts).
 * RFC 6675 (scoreboard, pipe), RFC 8985 section 5 (per-segment variables).
 *
 * Every node is SACKED, or in the list of lost ones (flightLost ..), or in the list by time of
 * transmission (flightOld .. flightNew); `newer` and `older` link whichever list it is in.
 */
import { seqGt, seqLe, seqLt } from "../wire/seq";
import { deliveryAcked, deliverySackedNow } from "./delivery";
import { Mark, nodeAt, nodeGive, nodeTake, nodesFree, nodesLimit } from "./node";
import { Tcb } from "./tcb";

/** The last sixteenth of the nodes is kept for connections with fewer than KEPT_FLIGHT segments out. */
const KEPT_SHIFT: u32 = 4;
const KEPT_FLIGHT: u32 = 4;

/** RFC 6675 pipe: bytes that are believed to be in the network. */
export function flightPipe(ptr: usize): u32 {
  const tcb = changetype<Tcb>(ptr);
  return tcb.sndNxt - tcb.sndUna - tcb.sackedBytes - tcb.lostBytes;
}

/** Notes the first transmission of [start, end), which follows everything sent. False: no node left. */
export function flightSent(ptr: usize, start: u32, end: u32, now: u64): bool {
  const tcb = changetype<Tcb>(ptr);
  const xmitUs = <u32>now;
  if (tcb.flightTail != 0) {
    const tail = nodeAt(tcb.flightTail);
    if (tail.marks == Mark.NONE && tail.xmitUs == xmitUs && tail.end == start) {
      tail.end = end;
      return true;
    }
  }
  // The last nodes are for those that have few segments out.
  if (nodesFree() < nodesLimit() >> KEPT_SHIFT && KEPT_FLIGHT <= tcb.flightCount) return false;
  const index = nodeTake(start, end);
  if (index == 0) return false;
  const node = nodeAt(index);
  node.xmitUs = xmitUs;
  node.prev = tcb.flightTail;
  if (tcb.flightTail != 0) nodeAt(tcb.flightTail).next = index;
  else tcb.flightHead = index;
  tcb.flightTail = index;
  tcb.flightCount += 1;
  timeAppend(tcb, index);
  return true;
}

/** Notes that the node was sent again. */
export function flightResent(ptr: usize, index: u32, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const node = nodeAt(index);
  const len = node.end - node.start;
  unlist(tcb, index);
  if ((node.marks & Mark.LOST) != 0) tcb.lostBytes -= len;
  if ((node.marks & Mark.RETRANS) == 0) tcb.retransBytes += len;
  const often: u32 = (node.marks & Mark.EVER) != 0 ? Mark.OFTEN : 0;
  node.marks = (node.marks & ~(<u32>Mark.LOST)) | Mark.RETRANS | Mark.EVER | often;
  node.xmitUs = <u32>now;
  timeAppend(tcb, index);
}

/** Deems a node lost: it leaves the pipe and waits for retransmission. */
export function flightLose(ptr: usize, index: u32): void {
  const tcb = changetype<Tcb>(ptr);
  const node = nodeAt(index);
  if ((node.marks & (Mark.LOST | Mark.SACKED)) != 0) return;
  const len = node.end - node.start;
  unlist(tcb, index);
  if ((node.marks & Mark.RETRANS) != 0) tcb.retransBytes -= len;
  node.marks = (node.marks & ~(<u32>Mark.RETRANS)) | Mark.LOST;
  tcb.lostBytes += len;
  node.older = tcb.flightLostTail;
  node.newer = 0;
  if (tcb.flightLostTail != 0) nodeAt(tcb.flightLostTail).newer = index;
  else tcb.flightLost = index;
  tcb.flightLostTail = index;
}

/**
 * Removes everything before `ack` (SND.UNA < ack <= SND.NXT) and accounts for what it delivered.
 * SND.UNA itself is the caller's to move.
 */
export function flightAcked(ptr: usize, ack: u32): void {
  const tcb = changetype<Tcb>(ptr);
  for (;;) {
    const index = tcb.flightHead;
    if (index == 0) return;
    const node = nodeAt(index);
    if (seqLe(ack, node.start)) return;
    const part = seqLt(ack, node.end);
    const end = part ? ack : node.end;
    const len = end - node.start;
    if ((node.marks & Mark.SACKED) != 0) {
      tcb.sackedBytes -= len;
    } else {
      deliveryAcked(node, end);
      if ((node.marks & Mark.LOST) != 0) tcb.lostBytes -= len;
      if ((node.marks & Mark.RETRANS) != 0) tcb.retransBytes -= len;
    }
    if (part) {
      node.start = ack;
      return;
    }
    remove(tcb, index);
  }
}

/**
 * Marks [left, right) as SACKed where it is outstanding. Both lie within (SND.UNA, SND.NXT].
 * Bounded by the nodes between the hint and the block.
 */
export function flightSacked(ptr: usize, left: u32, right: u32): void {
  const tcb = changetype<Tcb>(ptr);
  let index = seek(tcb, left);
  while (index != 0) {
    let node = nodeAt(index);
    if (seqLe(right, node.start)) return;
    if ((node.marks & Mark.SACKED) == 0) {
      if (seqLt(node.start, left)) {
        const rest = flightSplit(ptr, index, left);
        if (rest == 0) return;
        index = rest;
        node = nodeAt(index);
      }
      if (seqLt(right, node.end) && flightSplit(ptr, index, right) == 0) return;
      markSacked(tcb, index);
    }
    tcb.flightHint = index;
    index = node.next;
  }
}

/** Cuts a node at `at`, strictly inside; returns the second part, 0 when no node is left. */
export function flightSplit(ptr: usize, index: u32, at: u32): u32 {
  const tcb = changetype<Tcb>(ptr);
  const node = nodeAt(index);
  assert(seqLt(node.start, at) && seqLt(at, node.end));
  const rest = nodeTake(at, node.end);
  if (rest == 0) return 0;
  const second = nodeAt(rest);
  second.xmitUs = node.xmitUs;
  second.marks = node.marks;
  node.end = at;
  second.prev = index;
  second.next = node.next;
  if (node.next != 0) nodeAt(node.next).prev = rest;
  else tcb.flightTail = rest;
  node.next = rest;
  tcb.flightCount += 1;
  if ((node.marks & Mark.SACKED) != 0) return rest;
  second.older = index;
  second.newer = node.newer;
  const lost = (node.marks & Mark.LOST) != 0;
  if (node.newer != 0) nodeAt(node.newer).older = rest;
  else if (lost) tcb.flightLostTail = rest;
  else tcb.flightNew = rest;
  node.newer = rest;
  return rest;
}

/**
 * Deems lost what is not SACKed and left `ageUs` ago or earlier, the first one in any case, in order of sequence
 * number; and joins neighbours: what was cut into small pieces leaves in full segments again. RFC 8985 6.3.
 */
export function flightLoseOlder(ptr: usize, ageUs: u32, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const since = <u32>now - ageUs;
  let index = tcb.flightHead;
  while (index != 0) {
    const node = nodeAt(index);
    if (index == tcb.flightHead || isOld(index, since)) {
      while (node.next != 0 && isOld(node.next, since)) join(tcb, index);
      if ((node.marks & Mark.LOST) != 0) {
        unlist(tcb, index); // its turn is by sequence number now
        tcb.lostBytes -= node.end - node.start;
        node.marks &= ~(<u32>Mark.LOST);
        timeAppend(tcb, index);
      }
      flightLose(ptr, index);
    }
    index = node.next;
  }
}

/** Not SACKed, and sent by then or deemed lost already. */
function isOld(index: u32, since: u32): bool {
  const node = nodeAt(index);
  if ((node.marks & Mark.SACKED) != 0) return false;
  return (node.marks & Mark.LOST) != 0 || <i32>(node.xmitUs - since) <= 0;
}

/** Takes back every verdict of loss: the timeout or the recovery was spurious. */
export function flightUnlose(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  while (tcb.flightLost != 0) {
    const index = tcb.flightLost;
    const node = nodeAt(index);
    unlist(tcb, index);
    node.marks &= ~(<u32>Mark.LOST);
    tcb.lostBytes -= node.end - node.start;
    timeAppend(tcb, index);
  }
}

/** Forgets every SACK: after an RTO the peer may have reneged (RFC 2018 section 8). */
export function flightRenege(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  for (let index = tcb.flightHead; index != 0; index = nodeAt(index).next) {
    const node = nodeAt(index);
    if ((node.marks & Mark.SACKED) == 0) continue;
    node.marks &= ~(<u32>Mark.SACKED);
    timeAppend(tcb, index);
  }
  tcb.sackedBytes = 0;
}

/** Gives every node back. */
export function flightClear(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  let index = tcb.flightHead;
  while (index != 0) {
    const next = nodeAt(index).next;
    nodeGive(index);
    index = next;
  }
  tcb.flightHead = 0;
  tcb.flightTail = 0;
  tcb.flightOld = 0;
  tcb.flightNew = 0;
  tcb.flightHint = 0;
  tcb.flightLost = 0;
  tcb.flightLostTail = 0;
  tcb.flightCount = 0;
  tcb.sackedBytes = 0;
  tcb.lostBytes = 0;
  tcb.retransBytes = 0;
}

/** The first node that reaches beyond `left`, searched from the nearest known place. */
function seek(tcb: Tcb, left: u32): u32 {
  let index = tcb.flightHint != 0 ? tcb.flightHint : tcb.flightHead;
  if (index == 0) return 0;
  while (seqGt(nodeAt(index).start, left) && nodeAt(index).prev != 0) index = nodeAt(index).prev;
  while (index != 0 && seqLe(nodeAt(index).end, left)) index = nodeAt(index).next;
  return index;
}

function markSacked(tcb: Tcb, index: u32): void {
  const node = nodeAt(index);
  const len = node.end - node.start;
  deliverySackedNow(node);
  unlist(tcb, index);
  if ((node.marks & Mark.LOST) != 0) tcb.lostBytes -= len;
  if ((node.marks & Mark.RETRANS) != 0) tcb.retransBytes -= len;
  node.marks = (node.marks & ~(<u32>(Mark.LOST | Mark.RETRANS))) | Mark.SACKED;
  tcb.sackedBytes += len;
  if (tcb.sackedBytes == len || seqLt(tcb.fack, node.end)) tcb.fack = node.end;
}

/** An order of transmissions begins with the first of them: what was known of older ones says nothing any more. */
function timeAppend(tcb: Tcb, index: u32): void {
  const node = nodeAt(index);
  if (tcb.flightNew == 0) {
    tcb.rackXmitUs = node.xmitUs;
    tcb.rackEndSeq = node.start;
  }
  node.older = tcb.flightNew;
  node.newer = 0;
  if (tcb.flightNew != 0) nodeAt(tcb.flightNew).newer = index;
  else tcb.flightOld = index;
  tcb.flightNew = index;
}

/** Takes a node that is not SACKED out of the list of lost ones or out of that by time. */
function unlist(tcb: Tcb, index: u32): void {
  const node = nodeAt(index);
  const lost = (node.marks & Mark.LOST) != 0;
  if (node.older != 0) nodeAt(node.older).newer = node.newer;
  else if (lost) tcb.flightLost = node.newer;
  else tcb.flightOld = node.newer;
  if (node.newer != 0) nodeAt(node.newer).older = node.older;
  else if (lost) tcb.flightLostTail = node.older;
  else tcb.flightNew = node.older;
  node.older = 0;
  node.newer = 0;
}

/** Joins the next node, neither it nor this one SACKed, to this one; the marks of both remain. */
function join(tcb: Tcb, index: u32): void {
  const node = nodeAt(index);
  const other = node.next;
  const next = nodeAt(other);
  const len = next.end - next.start;
  unlist(tcb, other);
  if ((next.marks & Mark.LOST) != 0) tcb.lostBytes -= len;
  if ((next.marks & Mark.RETRANS) != 0) tcb.retransBytes -= len;
  if ((node.marks & Mark.LOST) != 0) tcb.lostBytes += len;
  if ((node.marks & Mark.RETRANS) != 0) tcb.retransBytes += len;
  node.marks |= next.marks & (Mark.EVER | Mark.OFTEN);
  node.end = next.end;
  node.next = next.next;
  if (next.next != 0) nodeAt(next.next).prev = index;
  else tcb.flightTail = index;
  if (tcb.flightHint == other) tcb.flightHint = index;
  tcb.flightCount -= 1;
  nodeGive(other);
}

/** Removes the first node. */
function remove(tcb: Tcb, index: u32): void {
  const node = nodeAt(index);
  if ((node.marks & Mark.SACKED) == 0) unlist(tcb, index);
  tcb.flightHead = node.next;
  if (node.next != 0) nodeAt(node.next).prev = 0;
  else tcb.flightTail = 0;
  if (tcb.flightHint == index) tcb.flightHint = node.next;
  tcb.flightCount -= 1;
  nodeGive(index);
}
