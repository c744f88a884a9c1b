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

/** RFC 6928: min(10 * MSS, max(2 * MSS, 14600)). */
export function congestionInit(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  const mss = <u32>tcb.sndMss;
  tcb.cwnd = min<u32>(INITIAL_SEGMENTS * mss, max<u32>(2 * mss, 14600));
  tcb.ssthresh = 0xffffffff;
  tcb.hystartEndSeq = tcb.sndNxt;
  tcb.hystartLastRttUs = u32.MAX_VALUE;
  tcb.hystartRttUs = u32.MAX_VALUE;
}

/** Grows cwnd for `bytes` newly acknowledged. `limited`: cwnd was what held the sender back. */
export function congestionAcked(ptr: usize, bytes: u32, limited: bool, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (!limited) {
    // CUBIC's clock stands still while the application has nothing to send (RFC 9438 5.8).
    if (tcb.cubicEpochUs != 0) tcb.cubicEpochUs += now - tcb.cubicLastUs;
    tcb.cubicLastUs = now;
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
  // Fast convergence (RFC 9438 4.7): a flow that lost below its old maximum gives way.
  tcb.cubicWMax =
    tcb.cwnd < tcb.cubicWMax ? <u32>((<u64>tcb.cwnd * (100 + BETA_PERCENT)) / 200) : tcb.cwnd;
  tcb.ssthresh = max<u32>(<u32>((<u64>tcb.cwnd * BETA_PERCENT) / 100), floor);
}

/** After idle time of an RTO and more the window is old: RFC 5681 4.1, halved for each RTO as in RFC 2861. */
export function congestionIdle(ptr: usize, idleUs: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const rto = <u64>tcb.rtoUs;
  if (rto == 0 || idleUs < rto) return;
  const restart = min<u32>(INITIAL_SEGMENTS * <u32>tcb.sndMss, tcb.cwnd);
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

/** One round-trip sample in slow start: leaves it before the queue overflows (RFC 9406 4.2). */
export function congestionSample(ptr: usize, rttUs: u32): void {
  const tcb = changetype<Tcb>(ptr);
  if (tcb.ssthresh <= tcb.cwnd) return;
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
    if (tcb.cwnd < tcb.cubicWMax) {
      const k = cbrt((<f64>tcb.cubicWMax / mss - cwnd) / 0.4);
      tcb.cubicKUs = <u64>(k * 1_000_000.0);
      tcb.cubicOrigin = tcb.cubicWMax;
    } else {
      tcb.cubicKUs = 0;
      tcb.cubicOrigin = tcb.cwnd;
    }
  }
  const t = <f64>(now - tcb.cubicEpochUs + <u64>tcb.srttUs) / 1_000_000.0;
  const offset = t - <f64>tcb.cubicKUs / 1_000_000.0;
  const origin = <f64>tcb.cubicOrigin / mss;
  const target = min<f64>(max<f64>(origin + 0.4 * offset * offset * offset, cwnd), 1.5 * cwnd);
  // Reno-friendly estimate: alpha = 3 * (1 - beta) / (1 + beta), 1 above the old maximum.
  const alpha = tcb.cubicWEst < tcb.cubicWMax ? 0.529 : 1.0;
  const estimate = <f64>tcb.cubicWEst / mss + (alpha * (<f64>bytes / mss)) / cwnd;
  tcb.cubicWEst = <u32>min<f64>(estimate * mss, <f64>CWND_MAX);
  const wanted = max<f64>(target, estimate);
  const growth = ((wanted - cwnd) / cwnd) * <f64>bytes;
  // Fractions of a byte are kept in cwndAcked as 1/1024 bytes.
  tcb.cwndAcked += <u32>min<f64>(growth * 1024.0, 2_000_000_000.0);
  tcb.cwnd = min<u32>(tcb.cwnd + (tcb.cwndAcked >> 10), CWND_MAX);
  tcb.cwndAcked &= 1023;
}

/** Cube root of a positive number by Newton's method; no library of the host, so the same everywhere. */
function cbrt(value: f64): f64 {
  if (value <= 0.0) return 0.0;
  let root = reinterpret<f64>(reinterpret<u64>(value) / 3 + 0x2a9f84fe00000000);
  for (let step = 0; step < 5; step++) root = (2.0 * root + value / (root * root)) / 3.0;
  return root;
}
