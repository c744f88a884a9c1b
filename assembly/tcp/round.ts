/**
 * The round trip as seen by who only receives: how long the sender takes to answer an ACK. It paces the growth of the
 * receive buffer (window.ts); retransmission never looks at it. Knows echoes and windows; must not know buffers.
 * RFC 7323 4.1 keeps such samples out of SRTT; Linux measures the same (tcp_rcv_rtt_measure_ts and _measure).
 */
import { seqLt } from "../wire/seq";
import { segment, segmentHasTimestamps } from "./segment";
import { Flag, Tcb } from "./tcb";

const ROUND_US_MIN: u32 = 1000;
/** An echo that is older says nothing. */
const ECHO_AGE_MS_MAX: u32 = 120_000;

/** A round trip of the data that arrives: measured here, or what our own sending has shown. */
export function roundUs(tcb: Tcb): u32 {
  return max<u32>(tcb.rcvRttUs != 0 ? tcb.rcvRttUs : tcb.srttUs, ROUND_US_MIN);
}

/** Data arrived in order. */
export function roundMeasure(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.TIMESTAMPS) != 0) byEcho(tcb, now);
  else byWindow(tcb, now);
}

/** A full segment echoes an ACK: the time since then, smoothed. Part of one may have waited for the application. */
function byEcho(tcb: Tcb, now: u64): void {
  const seg = segment();
  if (!segmentHasTimestamps() || seg.tsEcr == 0 || seg.tsEcr == tcb.rcvRttSeq) return;
  if (seg.pieceLen < <u32>tcb.rcvMss) return;
  tcb.rcvRttSeq = seg.tsEcr;
  const ticks = <u32>(now / 1000) + tcb.tsOffset - seg.tsEcr;
  if (ECHO_AGE_MS_MAX < ticks) return;
  const sample = max<u32>(ticks * 1000, ROUND_US_MIN);
  const known = tcb.rcvRttUs != 0 ? tcb.rcvRttUs : tcb.srttUs;
  if (known == 0) {
    tcb.rcvRttUs = sample;
    return;
  }
  // After a pause of the application the echo is as old as that: a single sample moves little.
  tcb.rcvRttUs = known - (known >> 3) + (min<u32>(sample, known << 1) >> 3);
}

/** Without timestamps: a whole window takes a round trip or longer, so the shortest one counts. */
function byWindow(tcb: Tcb, now: u64): void {
  if (tcb.rcvRttSinceUs != 0) {
    if (seqLt(tcb.rcvNxt, tcb.rcvRttSeq)) return;
    const sample = max<u32>(<u32>now - tcb.rcvRttSinceUs, ROUND_US_MIN);
    if (tcb.rcvRttUs == 0 || sample < tcb.rcvRttUs) tcb.rcvRttUs = sample;
  }
  tcb.rcvRttSeq = tcb.rcvAdv;
  tcb.rcvRttSinceUs = max<u32>(<u32>now, 1);
}
