/**
 * How much may be in flight: NewReno and CUBIC behind one small interface, counted in bytes. Knows cwnd and
 * ssthresh; must not know which segment was lost. RFC 5681, 6582, 6928 (IW10), 9438 (CUBIC), 9406 (HyStart++),
 * 7661 (a window that was not used does not grow).
 */
import { seqGe } from "../wire/seq";
import { Flag, Tcb } from "./tcb";

export enum Congestion {
  CUBIC = 0,
  NEWRENO = 1,
}

const INITIAL_SEGMENTS: u32 = 10;
const CWND_MIN_SEGMENTS: u32 = 2;
const CWND_MAX: u32 = 0x3fffffff;
/** CUBIC's beta 0.7 and C 0.4 (RFC 9438 4.6, 5). */
const BETA_PERCENT: u64 = 70;
/** HyStart++ (RFC 9406 4.3). */
const HYSTART_RTT_MIN_US: u32 = 4_000;
const HYSTART_RTT_MAX_US: u32 = 16_000;
const HYSTART_SAMPLES: u32 = 8;
const HYSTART_CSS_DIVISOR: u32 = 4;
const HYSTART_CSS_ROUNDS: u32 = 5;

/** Fractions of a byte of W_est, of 65,536. */
const PART_SHIFT: u32 = 16;
const INFINITE: u32 = 0xffffffff;

/** RFC 6928: min(10 * MSS, max(2 * MSS, 14600)). */
function initialWindow(tcb: Tcb): u32 {
  const mss = <u32>tcb.sndMss;
  return min<u32>(INITIAL_SEGMENTS * mss, max<u32>(2 * mss, 14600));
}

export function congestionInit(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  tcb.cwnd = initialWindow(tcb);
  tcb.ssthresh = INFINITE;
  tcb.hystartEndSeq = tcb.sndNxt;
  tcb.hystartLastRttUs = u32.MAX_VALUE;
  tcb.hystartRttUs = u32.MAX_VALUE;
}

/** Grows cwnd for `bytes` newly acknowledged. `limited`: cwnd was what held the sender back. */
export function congestionAcked(ptr: usize, bytes: u32, limited: bool, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (!limited) {
    pause(tcb, now);
    return;
  }
  tcb.cubicLastUs = now;
  let left = bytes;
  if (tcb.cwnd < tcb.ssthresh) {
    const room = tcb.ssthresh - tcb.cwnd;
    const grow = (tcb.flags & Flag.HYSTART_CSS) != 0 ? left / HYSTART_CSS_DIVISOR : left;
    const taken = min<u32>(grow, room);
    tcb.cwnd = min<u32>(tcb.cwnd + taken, CWND_MAX);
    if (grow <= room) return;
    left = left - taken;
  }
  if (tcb.congestion == Congestion.NEWRENO) growReno(tcb, left);
  else growCubic(tcb, left, now);
}

/** CUBIC's clock stands still while the application has nothing to send (RFC 9438 4.2, 5.8). */
function pause(tcb: Tcb, now: u64): void {
  if (tcb.cubicEpochUs != 0) tcb.cubicEpochUs += now - tcb.cubicLastUs;
  tcb.cubicLastUs = now;
}

/** A loss episode begins: ssthresh and what CUBIC remembers. cwnd is recovery's to set. */
export function congestionReduce(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  const floor = CWND_MIN_SEGMENTS * <u32>tcb.sndMss;
  tcb.flags &= ~(<u32>Flag.HYSTART_CSS);
  if ((tcb.flags & Flag.ECN) != 0) tcb.flags |= Flag.ECN_CWR; // for whatever reason (RFC 3168 6.1.2)
  if (tcb.congestion == Congestion.NEWRENO) {
    tcb.ssthresh = max<u32>(tcb.cwnd >> 1, floor);
    return;
  }
  tcb.cubicEpochUs = 0;
  tcb.cubicPrior = tcb.cwnd;
  // Fast convergence (RFC 9438 4.7): a flow that lost below its old maximum gives way.
  tcb.cubicWMax =
    tcb.cwnd < tcb.cubicWMax ? <u32>((<u64>tcb.cwnd * (100 + BETA_PERCENT)) / 200) : tcb.cwnd;
  tcb.ssthresh = max<u32>(<u32>((<u64>tcb.cwnd * BETA_PERCENT) / 100), floor);
}

/** The episode began by a timeout: the next curve starts flat from wherever slow start ends (RFC 9438 4.8). */
export function congestionTimedOut(tcb: Tcb): void {
  tcb.cubicWMax = 0;
}

/** After idle time of an RTO and more the window is old: RFC 5681 4.1, halved for each RTO as in RFC 2861. */
export function congestionIdle(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const rto = <u64>tcb.rtoUs;
  const idleUs = now - tcb.sndLastUs;
  pause(tcb, now);
  if (idleUs < rto) return;
  const restart = min<u32>(initialWindow(tcb), tcb.cwnd);
  tcb.ssthresh = max<u32>(tcb.ssthresh, (tcb.cwnd >> 1) + (tcb.cwnd >> 2));
  let left = idleUs;
  let cwnd = tcb.cwnd;
  while (rto <= left && restart < cwnd) {
    cwnd >>= 1;
    left -= rto;
  }
  tcb.cwnd = max<u32>(cwnd, restart);
  tcb.cubicEpochUs = 0;
}

/** One round-trip sample in the first slow start: leaves it before the queue overflows (RFC 9406 4.2, 4.3). */
export function congestionSample(ptr: usize, rttUs: u32): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.ssthresh != INFINITE) return;
  if (seqGe(tcb.sndUna, tcb.hystartEndSeq)) nextRound(tcb);
  if (rttUs < tcb.hystartRttUs) tcb.hystartRttUs = rttUs;
  if (<u32>tcb.hystartSamples < 255) tcb.hystartSamples = <u8>(<u32>tcb.hystartSamples + 1);
  if (<u32>tcb.hystartSamples < HYSTART_SAMPLES) return;
  if ((tcb.flags & Flag.HYSTART_CSS) != 0) {
    if (tcb.hystartRttUs < tcb.hystartCssRttUs) {
      tcb.flags &= ~(<u32>Flag.HYSTART_CSS); // the rise was not a queue: back to slow start
      tcb.hystartCssRounds = 0;
    }
    return;
  }
  const last = tcb.hystartLastRttUs;
  if (last == u32.MAX_VALUE) return;
  const threshold = max<u32>(HYSTART_RTT_MIN_US, min<u32>(last >> 3, HYSTART_RTT_MAX_US));
  if (last + threshold <= tcb.hystartRttUs) {
    tcb.hystartCssRttUs = tcb.hystartRttUs;
    tcb.hystartCssRounds = 0;
    tcb.flags |= Flag.HYSTART_CSS;
  }
}

function nextRound(tcb: Tcb): void {
  tcb.hystartLastRttUs = tcb.hystartRttUs;
  tcb.hystartRttUs = u32.MAX_VALUE;
  tcb.hystartSamples = 0;
  tcb.hystartEndSeq = tcb.sndNxt;
  if ((tcb.flags & Flag.HYSTART_CSS) == 0) return;
  tcb.hystartCssRounds = <u8>(<u32>tcb.hystartCssRounds + 1);
  if (HYSTART_CSS_ROUNDS <= <u32>tcb.hystartCssRounds) {
    tcb.ssthresh = tcb.cwnd;
    tcb.flags &= ~(<u32>Flag.HYSTART_CSS);
  }
}

/** RFC 5681 3.1 with appropriate byte counting: one MSS for each window acknowledged. */
function growReno(tcb: Tcb, bytes: u32): void {
  tcb.cwndAcked += bytes;
  if (tcb.cwndAcked < tcb.cwnd) return;
  tcb.cwndAcked -= tcb.cwnd;
  tcb.cwnd = min<u32>(tcb.cwnd + <u32>tcb.sndMss, CWND_MAX);
}

/** RFC 9438 4.1 to 4.5. Times in seconds and windows in segments, as f64: a handful of operations. */
function growCubic(tcb: Tcb, bytes: u32, now: u64): void {
  const mss = <f64>tcb.sndMss;
  const cwnd = <f64>tcb.cwnd / mss;
  if (tcb.cubicEpochUs == 0) {
    tcb.cubicEpochUs = now;
    tcb.cubicWEst = tcb.cwnd;
    tcb.cubicWEstPart = 0;
    tcb.cubicWMax = max<u32>(tcb.cubicWMax, tcb.cwnd); // K is 0 where the window is there already
    tcb.cubicKUs = <u32>(cbrt((<f64>tcb.cubicWMax / mss - cwnd) / 0.4) * 1_000_000.0);
  }
  friendly(tcb, bytes);
  // The later of the two moments decides how fast to go, the earlier whether Reno would be there already (4.2, 4.3).
  if (curve(tcb, now - tcb.cubicEpochUs) < <f64>tcb.cubicWEst && tcb.cwnd < tcb.cubicWEst) {
    tcb.cwnd = tcb.cubicWEst;
    return;
  }
  const ahead = curve(tcb, now - tcb.cubicEpochUs + <u64>tcb.srttUs) / mss;
  const wanted = min<f64>(max<f64>(ahead, cwnd), 1.5 * cwnd);
  const growth = ((wanted - cwnd) / cwnd) * <f64>bytes;
  // Fractions of a byte are kept in cwndAcked as 1/1024 bytes.
  tcb.cwndAcked += <u32>min<f64>(growth * 1024.0, 2_000_000_000.0);
  tcb.cwnd = min<u32>(tcb.cwnd + (tcb.cwndAcked >> 10), CWND_MAX);
  tcb.cwndAcked &= 1023;
}

/** W_cubic, bytes, so long after the start of the epoch (RFC 9438 4.2). */
function curve(tcb: Tcb, sinceUs: u64): f64 {
  const offset = (<f64>sinceUs - <f64>tcb.cubicKUs) / 1_000_000.0;
  return <f64>tcb.cubicWMax + 0.4 * offset * offset * offset * <f64>tcb.sndMss;
}

/**
 * W_est: what Reno would have, growing by alpha = 3 * (1 - beta) / (1 + beta) segments in a round trip, and by one
 * above what there was before the reduction (RFC 9438 4.3). An ACK adds less than a byte to a large window.
 */
function friendly(tcb: Tcb, bytes: u32): void {
  const alpha = tcb.cubicWEst < tcb.cubicPrior ? 0.529 : 1.0;
  const grown = (alpha * <f64>bytes * <f64>tcb.sndMss) / <f64>tcb.cwnd;
  const parts = <u64>tcb.cubicWEstPart + <u64>(grown * 65_536.0);
  tcb.cubicWEst = min<u32>(tcb.cubicWEst + <u32>(parts >> PART_SHIFT), CWND_MAX);
  tcb.cubicWEstPart = <u32>(parts & ((1 << PART_SHIFT) - 1));
}

/** Cube root of a positive number by Newton's method; no library of the host, so the same everywhere. */
function cbrt(value: f64): f64 {
  if (value <= 0.0) return 0.0;
  let root = reinterpret<f64>(reinterpret<u64>(value) / 3 + 0x2a9f84fe00000000);
  for (let step = 0; step < 5; step++) root = (2.0 * root + value / (root * root)) / 3.0;
  return root;
}
