/**
 * What an acceptable ACK does to the sending side: window, scoreboard, queue, timers. Knows the send
 * variables; must not know what the peer sent along. RFC 9293 3.10.7.4 "fifth, check the ACK field",
 * RFC 2018, 2883 (D-SACK), 6675.
 */
import { EventType, State } from "../report";
import { OPTIONS, OptionBit, Options, optionsSackLeft, optionsSackRight } from "../wire/options";
import { seqGt, seqLe, seqLt, seqMin } from "../wire/seq";
import { queueClear, queueDiscard } from "./buffer";
import { Phase, episodeDuplicate } from "./episode";
import { deliveryDuplicate, deliverySacked } from "./delivery";
import { flightAcked, flightPipe, flightSacked } from "./flight";
import { eventAdd, outAdd } from "./list";
import { Mark, nodeAt } from "./node";
import {
  Dsack,
  recoveryAck,
  recoveryBegin,
  recoveryDuplicate,
  recoveryPartial,
  recoveryProbe,
  tailProbeAcked,
} from "./recovery";
import { rtoBackedOff } from "./rtt";
import { segment, segmentLen, segmentWindow } from "./segment";
import { Flag, Tcb, Timer } from "./tcb";
import { timerClear, timerSet } from "./timer";
import { urgentAcked } from "./urgent";

const RENEGE_US_MIN: u64 = 10_000;

/**
 * Takes SEG.ACK, SEG.WND and the SACK blocks of a segment whose ACK lies in
 * (SND.UNA - MAX.SND.WND, SND.NXT].
 */
export function ackArrives(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  const una = tcb.sndUna;
  const priorPipe = flightPipe(ptr);
  const windowMoved = windowUpdate(ptr);
  if (seqLt(seg.ack, una)) return; // old: nothing else in it counts
  recoveryBegin(ptr, now);
  const advanced = seqLt(una, seg.ack);
  if (advanced) advance(ptr, seg.ack, now);
  const dsack = (seg.present & OptionBit.SACK) != 0 ? sackArrives(ptr, una) : Dsack.NONE;
  if (tcb.flightHead == 0 && !advanced) {
    tailProbeAcked(ptr, false, dsack == Dsack.PROBE);
    return;
  }
  if ((tcb.flags & Flag.SACK) == 0) {
    // Without SACK a duplicate ACK is one that says nothing new at all (RFC 5681 section 2).
    if (advanced) {
      tcb.dupAcks = 0;
      if (seqLt(seg.ack, tcb.recoverSeq)) recoveryPartial(ptr, seg.ack - una);
      // A last episode that lies behind is forgotten, or it would lie ahead again after 2 GiB.
      else if (tcb.phase == Phase.OPEN) tcb.recoverSeq = una;
    } else if (!windowMoved && segmentLen() == 0 && tcb.flightHead != 0) {
      recoveryDuplicate(ptr);
    }
  }
  recoveryAck(ptr, advanced, dsack, priorPipe, now);
  if (advanced || deliverySacked() != 0) rearm(ptr, now);
  if (advanced) suspectRenege(ptr, now);
  recoveryProbe(ptr, now);
  if (tcb.sndEnd - tcb.sndNxt != 0 || (tcb.flags & Flag.FIN_QUEUED) != 0) outAdd(ptr);
}

/** True when our FIN was sent and is acknowledged. */
export function finAcked(ptr: usize): bool {
  const tcb = changetype<Tcb>(ptr);
  return (tcb.flags & Flag.FIN_SENT) != 0 && tcb.sndUna == tcb.sndEnd + 1;
}

/** Sets the retransmission timer from now, or clears it when nothing is outstanding (RFC 6298 5.2, 5.3). */
export function rearm(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.sndUna == tcb.sndNxt) timerClear(ptr, Timer.RTO);
  else timerSet(ptr, Timer.RTO, now + rtoBackedOff(ptr, <u32>tcb.rtoCount));
}

/**
 * What is next in order was SACKed, yet the peer does not acknowledge it: it took that back (RFC 2018 section 8). All
 * is sent again soon; not at once, as an ACK may have been overtaken (Linux tcp_check_sack_reneging).
 */
function suspectRenege(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.flightHead == 0 || (nodeAt(tcb.flightHead).marks & Mark.SACKED) == 0) return;
  timerSet(ptr, Timer.RTO, now + max<u64>((<u64>tcb.srttUs) >> 1, RENEGE_US_MIN));
}

/** RFC 9293 3.10.7.4: the send window is taken from the newest segment. True when it changed. */
function windowUpdate(ptr: usize): bool {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  const newer =
    seqLt(tcb.sndUna, seg.ack) ||
    seqLt(tcb.sndWl1, seg.seq) ||
    (tcb.sndWl1 == seg.seq && seqLe(tcb.sndWl2, seg.ack));
  if (seqLt(seg.ack, tcb.sndUna) || !newer) return false;
  const window = segmentWindow(<u32>tcb.sndWndShift);
  tcb.sndWl1 = seg.seq;
  tcb.sndWl2 = seg.ack;
  if (window == tcb.sndWnd && seg.ack == tcb.sndUna) return false;
  tcb.sndWnd = window;
  if (tcb.sndWndMax < window) tcb.sndWndMax = window;
  if (window != 0) tcb.persistCount = 0;
  timerClear(ptr, Timer.PERSIST); // output decides anew
  outAdd(ptr);
  return true;
}

/** Moves SND.UNA: the scoreboard, the queue, and whoever waits for space. */
function advance(ptr: usize, ack: u32, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  flightAcked(ptr, ack);
  tcb.sndUna = ack;
  // Karn: the timeout stays backed off until a round trip is measured (RFC 6298 5.7), which may be in this ACK.
  if (tcb.rtoCount != 0) tcb.rtoUs = <u32>rtoBackedOff(ptr, <u32>tcb.rtoCount);
  tcb.rtoCount = 0;
  tcb.persistCount = 0;
  tcb.troubleUs = 0;
  tcb.softError = 0; // data got through: whatever it was is over
  if ((tcb.flags & Flag.URGENT_OUT) != 0) urgentAcked(tcb);
  const head = seqMin(ack, tcb.sndEnd);
  const buffered = tcb.sndEnd - head;
  const queuePtr = ptr + offsetof<Tcb>("sndQueueHead");
  // The last chunk goes too, unless the application is just writing into it.
  if (buffered == 0 && (tcb.flags & Flag.RESERVED) == 0) queueClear(queuePtr, head);
  else queueDiscard(queuePtr, head);
  // The send buffer follows the window: twice cwnd keeps the pipe full for a round trip (Linux).
  const wanted = min<u32>(tcb.cwnd << 1, tcb.sndBufMax);
  if (tcb.sndBuf < wanted) tcb.sndBuf = wanted;
  if ((tcb.flags & Flag.WRITE_BLOCKED) != 0 && buffered <= tcb.sndBuf - (tcb.sndBuf >> 2)) {
    tcb.flags &= ~(<u32>Flag.WRITE_BLOCKED);
    if (tcb.state != State.CLOSED) eventAdd(ptr, 1 << EventType.WRITABLE);
  }
}

/** Takes the SACK blocks. Says whether the first one is a D-SACK (RFC 2883 section 4), and of what. */
function sackArrives(ptr: usize, una: u32): Dsack {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.SACK) == 0) return Dsack.NONE;
  const blocks = changetype<Options>(OPTIONS).sackCount;
  let dsack = Dsack.NONE;
  for (let index: u32 = 0; index < blocks; index++) {
    const left = optionsSackLeft(index);
    const right = optionsSackRight(index);
    if (!seqLt(left, right)) continue;
    if (index == 0 && isDuplicate(left, right, blocks)) {
      // Old news, or a lie, unless it lies within what was sent recently.
      if (seqLt(left, una - tcb.sndWndMax)) continue;
      const probe = (tcb.flags & Flag.TLP_OUT) != 0 && right == tcb.tlpEndSeq;
      dsack = probe ? Dsack.PROBE : Dsack.SEEN; // of a probe it says nothing about the order (as Linux)
      deliveryDuplicate(left, right);
      episodeDuplicate(ptr, left, right);
      continue;
    }
    if (seqLe(left, tcb.sndUna) || seqGt(right, tcb.sndNxt)) continue;
    flightSacked(ptr, left, right);
  }
  return dsack;
}

/** RFC 2883 4: below the cumulative ACK, or inside the second block. */
function isDuplicate(left: u32, right: u32, blocks: u32): bool {
  if (seqLe(right, segment().ack)) return true;
  if (blocks < 2) return false;
  return seqLe(optionsSackLeft(1), left) && seqLe(right, optionsSackRight(1));
}
