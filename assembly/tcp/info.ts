/**
 * The report on one connection. Knows the block and Info; must not know who asks.
 */
import { Info } from "../report";
import { tupleOf } from "./demux";
import { flightPipe } from "./flight";
import { Tcb } from "./tcb";
import { urgentBytes } from "./urgent";
import { unreadBytes } from "./window";

/** Writes the Info of a block. */
export function infoWrite(ptr: usize, infoPtr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  const info = changetype<Info>(infoPtr);
  tupleOf(ptr, infoPtr);
  info.state = <u32>tcb.state;
  info.flags = tcb.flags;
  info.sndUna = tcb.sndUna;
  info.sndNxt = tcb.sndNxt;
  info.sndWnd = tcb.sndWnd;
  info.sndWl1 = tcb.sndWl1;
  info.sndWl2 = tcb.sndWl2;
  info.sndUp = tcb.sndUp;
  info.iss = tcb.iss;
  info.sndEnd = tcb.sndEnd;
  info.rcvNxt = tcb.rcvNxt;
  info.rcvWnd = tcb.rcvAdv - tcb.rcvNxt;
  info.rcvUp = tcb.rcvUp;
  info.irs = tcb.irs;
  info.rcvRead = tcb.rcvRead;
  info.lastAckSent = tcb.lastAckSent;
  info.sndMss = <u32>tcb.sndMss;
  info.sndWndShift = <u32>tcb.sndWndShift;
  info.rcvWndShift = <u32>tcb.rcvWndShift;
  info.tsRecent = tcb.tsRecent;
  info.tsLastSent = tcb.tsLastSent;
  info.pmtu = <u32>tcb.pmtu;
  info.cwnd = tcb.cwnd;
  info.ssthresh = tcb.ssthresh;
  info.phase = <u32>tcb.phase;
  info.congestion = <u32>tcb.congestion;
  info.srttUs = tcb.srttUs;
  info.rttvarUs = tcb.rttvarUs;
  info.rtoUs = tcb.rtoUs;
  info.rttMinUs = tcb.rttMinUs;
  info.flightBytes = flightPipe(ptr);
  info.unreadBytes = unreadBytes(ptr);
  info.oooCount = tcb.oooCount;
  info.generation = tcb.generation;
  info.ownerPeer = tcb.ownerPeer;
  info.ownerFlow = tcb.ownerFlow;
  info.bytesReceived = tcb.bytesReceived;
  info.bytesSent = tcb.bytesSent;
  info.segmentsReceived = tcb.segmentsReceived;
  info.segmentsSent = tcb.segmentsSent;
  info.bytesRetransmitted = tcb.bytesRetransmitted;
  info.timeouts = tcb.timeouts;
  info.softError = tcb.softError;
  info.urgentBytes = urgentBytes(tcb);
}
