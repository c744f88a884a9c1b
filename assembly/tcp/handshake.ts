/**
 * What a handshake that is done says about the path: the first round trip, the timeout to begin with and the first
 * window. Knows the answer to our SYN or SYN-ACK; must not know data. RFC 6298 section 2, 3 and 5.7, RFC 5681 3.1
 * and 6928 (a window after lost SYNs), RFC 7323 4.3, with Linux's choices.
 */
import { seqLt } from "../wire/seq";
import { connectionEstablished } from "./connection";
import { RTO_US_FALLBACK, rttSample } from "./rtt";
import { segment, segmentHasTimestamps } from "./segment";
import { Flag, Tcb } from "./tcb";

/** The segment at hand answers our SYN or SYN-ACK: the connection is established. */
export function handshakeDone(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  const timeouts = <u32>tcb.rtoCount;
  // What was sent more than once gives no sample (Karn), unless the echo names the copy.
  if (tcb.segmentsSent == 1) rttSample(ptr, <u32>(now - tcb.sndLastUs), now);
  else sampleByEcho(ptr, now);
  // RFC 6298 5.7: a timeout that was shorter than 3 s has failed, and nothing better is known.
  if (timeouts != 0 && tcb.srttUs == 0) tcb.rtoUs = RTO_US_FALLBACK;
  const spurious = timeouts != 0 && firstAnswered(tcb);
  connectionEstablished(ptr, now);
  // RFC 5681 3.1 wants one segment after a lost SYN. Since 6298 waits one second only, one retry is pardoned (Linux).
  if (timeouts > 1 && !spurious) tcb.cwnd = <u32>tcb.sndMss;
}

function sampleByEcho(ptr: usize, now: u64): void {
  const tcb = changetype<Tcb>(ptr);
  if (!echoes(tcb)) return;
  const ticks = <u32>(now / 1000) + tcb.tsOffset - segment().tsEcr;
  if (ticks < 120_000) rttSample(ptr, max<u32>(ticks * 1000, 1000), now);
}

/** The answer is one to the first copy, which was sent before the first timeout: nothing was lost. */
function firstAnswered(tcb: Tcb): bool {
  return echoes(tcb) && seqLt(segment().tsEcr, <u32>(tcb.troubleUs / 1000) + tcb.tsOffset);
}

function echoes(tcb: Tcb): bool {
  return (tcb.flags & Flag.TIMESTAMPS) != 0 && segmentHasTimestamps() && segment().tsEcr != 0;
}
