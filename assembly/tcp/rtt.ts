/**
 * Round-trip time and the retransmission timeout. Knows samples; must not know segments. RFC 6298, with
 * Linux's floor of 200 ms on the variance term and its windowed minimum for RACK (RFC 8985 6.1).
 */
import { seqLe } from "../wire/seq";
import { Tcb } from "./tcb";

export const RTO_US_INITIAL: u32 = 1_000_000;
/** After a SYN was lost and nothing was measured (RFC 6298 5.7). */
export const RTO_US_FALLBACK: u32 = 3_000_000;
export const RTO_US_MIN: u32 = 200_000;
export const RTO_US_MAX: u32 = 120_000_000;
/** A peer that was silent for longer says nothing about the path; blob/check.ts knows the same bound. */
const RTT_US_MAX: u32 = RTO_US_MAX;
const RTT_MIN_WINDOW_US: u32 = 300_000_000;

/** Takes a measurement for the smallest round trip lately. */
export function rttMinSample(ptr: usize, sampleUs: u32, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const rtt = clampRtt(sampleUs);
  const old = RTT_MIN_WINDOW_US < <u32>now - tcb.rttMinSinceUs;
  if (tcb.rttMinUs == 0 || rtt <= tcb.rttMinUs || old) {
    tcb.rttMinUs = rtt;
    tcb.rttMinSinceUs = <u32>now;
  }
}

/** Takes one measurement of at least a microsecond. RFC 6298 2.2, 2.3. */
export function rttSample(ptr: usize, sampleUs: u32, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const rtt = clampRtt(sampleUs);
  if (tcb.rttMinUs == 0) rttMinSample(ptr, rtt, now);
  if (tcb.srttUs == 0) {
    tcb.srttUs = rtt;
    tcb.rttvarUs = rtt >> 1;
    tcb.rttvarMaxUs = tcb.rttvarUs;
    tcb.rttSeq = tcb.sndNxt;
  } else {
    const error = rtt < tcb.srttUs ? tcb.srttUs - rtt : rtt - tcb.srttUs;
    // The variance falls slowly and rises at once, once a round trip (Linux tcp_rtt_estimator).
    const variance = tcb.rttvarMaxUs - (tcb.rttvarMaxUs >> 2) + (error >> 2);
    tcb.rttvarMaxUs = variance;
    if (tcb.rttvarUs < variance) tcb.rttvarUs = variance;
    tcb.srttUs = tcb.srttUs - (tcb.srttUs >> 3) + (rtt >> 3);
    if (tcb.srttUs == 0) tcb.srttUs = 1;
    if (seqLe(tcb.rttSeq, tcb.sndUna)) {
      if (variance < tcb.rttvarUs) tcb.rttvarUs -= (tcb.rttvarUs - variance) >> 2;
      tcb.rttSeq = tcb.sndNxt;
    }
  }
  const rto = <u64>tcb.srttUs + max<u64>(RTO_US_MIN, (<u64>tcb.rttvarUs) << 2);
  tcb.rtoUs = <u32>min<u64>(rto, RTO_US_MAX);
}

function clampRtt(sampleUs: u32): u32 {
  return min<u32>(max<u32>(sampleUs, 1), RTT_US_MAX);
}

/** The timeout to arm now: RTO doubled for each timeout in a row (RFC 6298 5.5). */
export function rtoBackedOff(ptr: usize, times: u32): u64 {
  const rto = (<u64>changetype<Tcb>(ptr).rtoUs) << min<u32>(times, 16);
  return min<u64>(rto, RTO_US_MAX);
}
