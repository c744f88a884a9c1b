/**
 * What is lost and what follows: RACK-TLP decides. Knows the scoreboard and the phases; must not know packets, nor
 * what an episode does to cwnd (episode.ts). RFC 8985 (section numbers below), 6298 5.4-5.7, 6582 (peers without SACK).
 *
 *   OPEN --loss--> RECOVERY --SND.UNA >= recoverSeq--> OPEN
 *   OPEN --echo of a mark--> CWR --SND.UNA >= recoverSeq--> OPEN    CWR --loss--> RECOVERY
 *   OPEN, CWR, RECOVERY --RTO--> LOSS --SND.UNA >= recoverSeq--> OPEN
 */
import { seqGe, seqGt, seqLt } from "../wire/seq";
import { OptionBit } from "../wire/options";
import {
  congestionAcked,
  congestionReduce,
  congestionSample,
  congestionTimedOut,
} from "./congestion";
import {
  deliveryAnswered,
  deliveryAnsweredXmitUs,
  deliveryBegin,
  deliveryBytes,
  deliveryOldestXmitUs,
  deliveryRackEndSeq,
  deliveryRackXmitUs,
  deliveryRacked,
  deliveryReordered,
  deliveryYoungestXmitUs,
  deliverySampled,
} from "./delivery";
import { flightLose, flightLoseOlder, flightPipe, flightRenege, flightSplit } from "./flight";
import { ecnEchoed, ecnNews } from "./ecn";
import {
  Phase,
  episodeEnter,
  episodeLeave,
  episodeMarked,
  episodeOver,
  episodePace,
  episodeQuiet,
  episodeRemember,
  episodeUndoByTimestamp,
} from "./episode";
import { outAdd } from "./list";
import { Mark, nodeAt } from "./node";
import { rtoBackedOff, rttMinSample, rttSample } from "./rtt";
import { segment, segmentHasTimestamps } from "./segment";
import { Flag, Tcb, Timer } from "./tcb";
import { timerClear, timerGet, timerSet } from "./timer";

const DUP_THRESHOLD: u32 = 3;
/** RACK.reo_wnd_mult starts at a quarter of the smallest round trip; persists 16 recoveries (8985 6.2). */
const REO_MULT_MAX: u32 = 16;
const REO_PERSIST: u32 = 16;
/** TLP: worst-case delayed ACK, and the probe's timeout before any sample (8985 7.2). */
const WORST_DELAYED_ACK_US: u64 = 200_000;
const PROBE_US_INITIAL: u64 = 1_000_000;
const PROBE_US_MIN: u64 = 2_000;
/** How far back an echoed timestamp is looked up, so that low halves of microseconds compare. */
const ECHO_AGE_MS_MAX: u32 = 2_000_000;

/** What the D-SACK block of an ACK says. */
export enum Dsack {
  NONE = 0,
  SEEN = 1,
  /** Both copies of the loss probe arrived. */
  PROBE = 2,
}

/** Starts the account of the ACK at hand: what was sent again counts for RACK if it can be the answer to that copy. */
export function recoveryBegin(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  let answered = <u32>now - tcb.rttMinUs;
  if ((tcb.flags & Flag.TIMESTAMPS) != 0 && segmentHasTimestamps() && segment().tsEcr != 0) {
    const age = <u32>(now / 1000) + tcb.tsOffset - segment().tsEcr;
    // The last microsecond of the tick that is echoed.
    const echoed = <u32>(now - (now % 1000)) + 999 - min<u32>(age, ECHO_AGE_MS_MAX) * 1000;
    if (<i32>age >= 0 && <i32>(answered - echoed) > 0) answered = echoed;
  }
  deliveryBegin(ptr, answered);
}

/**
 * The scoreboard took an ACK: samples, verdicts, window, timers.
 * @param advanced  SND.UNA moved
 * @param dsack     the ACK reports a duplicate
 * @param priorPipe pipe before the ACK
 */
export function recoveryAck(
  ptr: usize,
  advanced: bool,
  dsack: Dsack,
  priorPipe: u32,
  now: u64,
): void {
  const tcb = changetype<Tcb>(ptr);
  sample(ptr, advanced && dsack == Dsack.NONE, now);
  rackUpdate(ptr, now);
  if (dsack == Dsack.SEEN) rackDsack(tcb);
  tailProbeAcked(ptr, advanced, dsack == Dsack.PROBE);
  const echoed = ecnEchoed(tcb);
  if (echoed) tcb.undoCwnd = 0; // the network did ask for less (RFC 4015 section 3)
  if (advanced) episodeUndoByTimestamp(ptr);
  const recovering = tcb.phase == Phase.RECOVERY || tcb.phase == Phase.CWR;
  if (tcb.phase != Phase.OPEN && episodeOver(tcb)) episodeLeave(tcb);
  const lostBefore = tcb.lostBytes;
  rackDetect(ptr, now);
  if (tcb.lostBytes != 0 && episodeQuiet(tcb)) episodeEnter(ptr);
  else if (echoed && tcb.phase == Phase.OPEN && ecnNews(tcb)) episodeMarked(ptr);
  if (echoed) tcb.undoCwnd = 0;
  if (tcb.phase == Phase.RECOVERY || tcb.phase == Phase.CWR) {
    episodePace(ptr, advanced && tcb.lostBytes <= lostBefore);
  } else if (!recovering && (advanced || (tcb.flags & Flag.REORDERED) != 0)) {
    // Neither the ACK that ends a recovery nor a duplicate one grows cwnd (RFC 5681 3.1, 3.2; 3042).
    congestionAcked(ptr, deliveryBytes(), isLimited(ptr, priorPipe), now);
  }
  if (tcb.flightLost != 0) outAdd(ptr);
}

/** Sets the timer of the tail loss probe where 8985 7.2 wants one; RACK's own timer has precedence. */
export function recoveryProbe(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (isOvertaken(tcb)) {
    if (timerGet(ptr, Timer.RACK) == 0) timerSet(ptr, Timer.RACK, now + reorderWindowUs(tcb) + 1);
    return;
  }
  if (
    tcb.flightHead == 0 ||
    !episodeQuiet(tcb) ||
    tcb.sackedBytes != 0 ||
    (tcb.flags & (Flag.TLP_OUT | Flag.SACK)) != Flag.SACK
  ) {
    timerClear(ptr, Timer.RACK);
    return;
  }
  let wait = PROBE_US_INITIAL;
  if (tcb.srttUs != 0) {
    wait = max<u64>((<u64>tcb.srttUs) << 1, PROBE_US_MIN);
    if (tcb.sndNxt - tcb.sndUna <= <u32>tcb.sndMss) wait += WORST_DELAYED_ACK_US;
  }
  // Where the timeout would come first, the probe takes its place (Linux tcp_schedule_loss_probe).
  const rto = timerGet(ptr, Timer.RTO);
  timerSet(ptr, Timer.RACK, rto != 0 ? min<u64>(rto, now + wait) : now + wait);
}

/** Timer.RACK fired: the reordering window is over, or the tail must be probed. */
export function recoveryTimer(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.flightHead == 0) return;
  if (isOvertaken(tcb)) {
    rackDetect(ptr, now);
    if (tcb.lostBytes == 0) return;
    if (episodeQuiet(tcb)) episodeEnter(ptr);
    if (tcb.phase == Phase.RECOVERY) {
      tcb.cwnd = max<u32>(tcb.cwnd, flightPipe(ptr) + <u32>tcb.sndMss);
    }
  } else {
    if (!episodeQuiet(tcb) || (tcb.flags & Flag.TLP_OUT) != 0) return;
    tcb.flags |= Flag.TLP_DUE;
    timerSet(ptr, Timer.RTO, now + rtoBackedOff(ptr, <u32>tcb.rtoCount));
  }
  outAdd(ptr);
}

/**
 * Bytes beyond cwnd that may be in flight: the first two duplicate ACKs each let one new segment out (RFC 3042).
 * With SACK the pipe shrinks by what was SACKed, which comes to the same.
 */
export function recoveryLimited(ptr: usize): u32 {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.SACK) != 0 || !episodeQuiet(tcb)) return 0;
  return min<u32>(<u32>tcb.dupAcks, DUP_THRESHOLD - 1) * <u32>tcb.sndMss;
}

/** A duplicate ACK without SACK information (RFC 5681 3.2, 6582): the peer got something beyond a hole. */
export function recoveryDuplicate(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.flightHead == 0) return;
  // As long as nothing beyond the last episode is acknowledged, it may be the answer to what was sent again in
  // vain (RFC 6582 3.2 step 2).
  if (episodeQuiet(tcb) && !seqGt(tcb.sndUna, tcb.recoverSeq)) return;
  if (<u32>tcb.dupAcks < 255) tcb.dupAcks = <u8>(<u32>tcb.dupAcks + 1);
  if (tcb.phase == Phase.RECOVERY) {
    tcb.cwnd += <u32>tcb.sndMss; // one segment has left the network
    outAdd(ptr);
  } else if (episodeQuiet(tcb) && <u32>tcb.dupAcks == DUP_THRESHOLD) {
    loseHead(ptr);
    episodeEnter(ptr);
    tcb.cwnd = tcb.ssthresh + DUP_THRESHOLD * <u32>tcb.sndMss;
    tcb.flags |= Flag.FORCE_ONE;
    outAdd(ptr);
  } else if (episodeQuiet(tcb)) {
    outAdd(ptr);
  }
}

/** A partial ACK in recovery without SACK: the next hole is at the new front (RFC 6582 3.2 step 3). */
export function recoveryPartial(ptr: usize, acked: u32): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.phase != Phase.RECOVERY || tcb.flightHead == 0) return;
  loseHead(ptr);
  tcb.cwnd = max<u32>(tcb.cwnd - min<u32>(acked, tcb.cwnd), <u32>tcb.sndMss) + <u32>tcb.sndMss;
  tcb.flags |= Flag.FORCE_ONE;
  outAdd(ptr);
}

/** The retransmission timer fired with data outstanding (RFC 6298 5.4, 5681 3.1, 8985 6.3). */
export function recoveryTimeout(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  // In LOSS the first timeout after something was acknowledged is that of a segment which no timeout has sent again.
  const anew = tcb.phase == Phase.OPEN || (tcb.phase == Phase.LOSS && tcb.rtoCount == 1);
  const patience = tcb.rackRttUs + reorderWindowUs(tcb);
  if (anew) {
    episodeRemember(ptr);
    congestionReduce(ptr);
    congestionTimedOut(tcb);
  }
  tcb.phase = <u8>Phase.LOSS;
  tcb.recoverSeq = tcb.sndNxt;
  tcb.dupAcks = 0;
  tcb.flags &= ~(<u32>(Flag.TLP_OUT | Flag.TLP_DUE));
  const reneged = (nodeAt(tcb.flightHead).marks & Mark.SACKED) != 0;
  if (reneged) flightRenege(ptr);
  // RACK decides later about what has just left; it cannot where it knows nothing.
  const all = reneged || tcb.rackRttUs == 0 || (tcb.flags & Flag.SACK) == 0;
  flightLoseOlder(ptr, all ? 0 : patience, now);
  tcb.cwnd = flightPipe(ptr) + <u32>tcb.sndMss;
  tcb.flags |= Flag.FORCE_ONE;
  timerClear(ptr, Timer.RACK);
}

function sample(ptr: usize, advanced: bool, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (deliverySampled()) {
    const rtt = <u32>now - deliveryYoungestXmitUs();
    rttMinSample(ptr, rtt, now);
    rttSample(ptr, <u32>now - deliveryOldestXmitUs(), now);
    congestionSample(ptr, rtt);
    return;
  }
  if (deliveryAnswered()) {
    rttSample(ptr, <u32>now - deliveryAnsweredXmitUs(), now);
    return;
  }
  // Only data that was sent more than once: the echoed timestamp says which copy (RFC 7323 4.3). Not so where the ACK
  // reports a duplicate: it echoes the copy whose own ACK was lost, and the time is that of our timeout.
  if (!advanced || deliveryBytes() == 0 || (tcb.flags & Flag.TIMESTAMPS) == 0) return;
  if (!segmentHasTimestamps() || segment().tsEcr == 0) return;
  const ticks = <u32>(now / 1000) + tcb.tsOffset - segment().tsEcr;
  if (ticks < 120_000) rttSample(ptr, max<u32>(ticks * 1000, 1000), now);
}

/** 8985 6.2 steps 2 and 3. */
function rackUpdate(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (deliveryReordered()) tcb.flags |= Flag.REORDERED;
  if (!deliveryRacked()) return;
  const xmitUs = deliveryRackXmitUs();
  tcb.rackRttUs = max<u32>(<u32>now - xmitUs, 1);
  const later = <i32>(xmitUs - tcb.rackXmitUs);
  if (later > 0 || (later == 0 && seqLt(tcb.rackEndSeq, deliveryRackEndSeq()))) {
    tcb.rackXmitUs = xmitUs;
    tcb.rackEndSeq = deliveryRackEndSeq();
  }
}

/** What was sent first of all that is outstanding left before something that was delivered (RACK_sent_after). */
function isOvertaken(tcb: Tcb): bool {
  if (tcb.flightOld == 0 || (tcb.flags & Flag.SACK) == 0) return false;
  const node = nodeAt(tcb.flightOld);
  const later = <i32>(node.xmitUs - tcb.rackXmitUs);
  return later < 0 || (later == 0 && seqLt(node.end, tcb.rackEndSeq));
}

/** 8985 6.2 step 4: a duplicate means that the window for reordering was too small. */
function rackDsack(tcb: Tcb): void {
  if (seqLt(tcb.sndUna, tcb.rackDsackSeq) && tcb.rackReoMult != 0) return; // once a round trip
  tcb.rackDsackSeq = tcb.sndNxt;
  tcb.rackReoMult = <u8>min<u32>(max<u32>(<u32>tcb.rackReoMult, 1) + 1, REO_MULT_MAX);
  tcb.rackReoPersist = <u8>REO_PERSIST;
}

/** 8985 6.2 step 4: RACK_update_reo_wnd. */
function reorderWindowUs(tcb: Tcb): u32 {
  if ((tcb.flags & Flag.REORDERED) == 0) {
    if (!episodeQuiet(tcb)) return 0;
    if (DUP_THRESHOLD * <u32>tcb.sndMss <= tcb.sackedBytes) return 0;
  }
  const mult = <u64>max<u32>(<u32>tcb.rackReoMult, 1);
  return <u32>min<u64>((mult * <u64>tcb.rttMinUs) >> 2, <u64>tcb.srttUs);
}

/** 8985 6.2 step 5, oldest transmission first; stops at the first that may still be on its way. */
function rackDetect(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.rackRttUs == 0 || (tcb.flags & Flag.SACK) == 0) return;
  const patience = tcb.rackRttUs + reorderWindowUs(tcb);
  let index = tcb.flightOld;
  while (index != 0) {
    const node = nodeAt(index);
    const later = <i32>(node.xmitUs - tcb.rackXmitUs);
    if (later > 0 || (later == 0 && !seqLt(node.end, tcb.rackEndSeq))) return;
    const remaining = <i32>(node.xmitUs + patience - <u32>now);
    if (remaining > 0) {
      timerSet(ptr, Timer.RACK, now + <u64>remaining);
      return;
    }
    const next = node.newer;
    flightLose(ptr, index);
    index = next;
  }
}

/** 8985 7.4.2: the ACKs after a loss probe tell whether something was lost before it. `twice`: a D-SACK of it. */
export function tailProbeAcked(ptr: usize, advanced: bool, twice: bool): void {
  const tcb = changetype<Tcb>(ptr);
  const seg = segment();
  if ((tcb.flags & Flag.TLP_OUT) == 0 || seqLt(seg.ack, tcb.tlpEndSeq)) return;
  if (tcb.tlpIsRetrans == 0 || twice) {
    tcb.flags &= ~(<u32>Flag.TLP_OUT);
  } else if (seqGt(seg.ack, tcb.tlpEndSeq)) {
    tcb.flags &= ~(<u32>Flag.TLP_OUT);
    congestionReduce(ptr); // the probe repaired a loss, which must not go unanswered
    tcb.cwnd = min<u32>(tcb.cwnd, tcb.ssthresh);
  } else if (!advanced && (seg.present & OptionBit.SACK) == 0) {
    tcb.flags &= ~(<u32>Flag.TLP_OUT); // both copies arrived
  }
}

/** Deems the first segment of the flight lost. */
function loseHead(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  const index = tcb.flightHead;
  const node = nodeAt(index);
  const mss = <u32>tcb.sndMss;
  if (mss < node.end - node.start) flightSplit(ptr, index, node.start + mss);
  flightLose(ptr, index);
}

/** Whether cwnd was what held the sender back: RFC 7661, Linux's tcp_is_cwnd_limited. */
function isLimited(ptr: usize, priorPipe: u32): bool {
  const tcb = changetype<Tcb>(ptr);
  const used = max<u32>(tcb.flightMax, priorPipe);
  if (seqGe(tcb.sndUna, tcb.flightMaxSeq)) {
    tcb.flightMax = flightPipe(ptr);
    tcb.flightMaxSeq = tcb.sndNxt;
  }
  if (tcb.cwnd < tcb.ssthresh) return tcb.cwnd >> 1 < used;
  return tcb.cwnd <= used + <u32>tcb.sndMss;
}
