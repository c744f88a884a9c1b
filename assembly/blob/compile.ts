/**
 * A frozen connection becomes a blob, from the top down: what the socket layer knows, then TCP, then IP, then
 * the data, then the mapping that names the connection (claims C5 to C7). Reads the block field by field, never
 * as a whole, so that no padding and no pointer leaves. Must not know packets.
 */
import { Err } from "../errors";
import { tupleOf } from "../tcp/demux";
import { queueRead } from "../tcp/buffer";
import { Phase } from "../tcp/episode";
import { nodeAt } from "../tcp/node";
import { Flag, Tcb } from "../tcp/tcb";
import { unreadBytes } from "../tcp/window";
import { blobCheck } from "./check";
import { fromTcbFlags } from "./flags";
import {
  APPLICATION_LEN_MAX,
  BLOB_FIXED_LEN,
  BLOB_MAGIC,
  BlobFlag,
  BlobOff,
  MAPPING_LEN,
  Mapping,
  RANGE_SIZE,
  SocketFlag,
  TS_AGE_MS_MAX,
  blobDataLen,
  blobLen,
  blobSum,
  headerSum,
  versionFor,
} from "./format";

/**
 * Writes the blob of a frozen connection.
 * @param ptr the connection's block
 * @param blobPtr where to write, `max` bytes
 * @param mappingPtr the Mapping to bundle; its application bytes lie at applicationPtr
 * @returns length of the blob, or Err.TCP_STATE (not frozen), Err.ARGUMENT, Err.FULL (it does not fit),
 *   Err.BLOB_INVARIANT (the connection breaks one: ours to mend)
 */
export function compile(
  ptr: usize,
  blobPtr: usize,
  max: u32,
  mappingPtr: usize,
  applicationPtr: usize,
  now: u64,
): i32 {
  const tcb = changetype<Tcb>(ptr);
  const mapping = changetype<Mapping>(mappingPtr);
  if ((tcb.flags & Flag.FROZEN) == 0) return Err.TCP_STATE;
  if (mapping.applicationLen > APPLICATION_LEN_MAX) return Err.ARGUMENT;
  memory.fill(blobPtr, 0, BLOB_FIXED_LEN);
  writeSocket(tcb, blobPtr, mapping.applicationLen);
  writeTcp(tcb, blobPtr, now);
  tupleOf(ptr, blobPtr + BlobOff.TUPLE);
  store<u8>(blobPtr, tcb.ttl, BlobOff.TTL);
  store<u8>(blobPtr, tcb.dscp, BlobOff.DSCP);
  store<u16>(blobPtr, tcb.pmtu, BlobOff.PATH_MTU);
  countRanges(tcb, blobPtr);
  if (whole(blobPtr) > <u64>max) dropRanges(blobPtr);
  const total = whole(blobPtr);
  if (total > <u64>max) return Err.FULL;
  const dataEnd = writeData(ptr, blobPtr);
  if (dataEnd == 0) return Err.BLOB_INVARIANT;
  memory.copy(dataEnd, applicationPtr, mapping.applicationLen);
  const bodyEnd = dataEnd + <usize>mapping.applicationLen;
  const mappingAt = blobPtr + <usize>total - <usize>MAPPING_LEN;
  memory.fill(bodyEnd, 0, mappingAt - bodyEnd);
  memory.copy(mappingAt, mappingPtr, MAPPING_LEN);
  seal(blobPtr, <u32>total);
  const err = blobCheck(blobPtr, <u32>total);
  return err < 0 ? err : <i32>total;
}

/** Header, last: its sums cover everything. */
export function seal(blobPtr: usize, total: u32): void {
  store<u32>(blobPtr, BLOB_MAGIC, BlobOff.MAGIC);
  const version = versionFor(load<u32>(blobPtr, BlobOff.FLAGS));
  store<u16>(blobPtr, <u16>version, BlobOff.VERSION);
  store<u16>(blobPtr, <u16>BLOB_FIXED_LEN, BlobOff.FIXED_LEN);
  store<u32>(blobPtr, total, BlobOff.TOTAL_LEN);
  const bodySum = blobSum(blobPtr + <usize>BLOB_FIXED_LEN, total - BLOB_FIXED_LEN);
  store<u64>(blobPtr, bodySum, BlobOff.BODY_SUM);
  store<u64>(blobPtr, headerSum(blobPtr), BlobOff.HEADER_SUM);
}

function whole(blobPtr: usize): u64 {
  const ranges = load<u32>(blobPtr, BlobOff.RANGE_COUNT);
  const application = load<u32>(blobPtr, BlobOff.APPLICATION_LEN);
  return blobLen(ranges, blobDataLen(blobPtr), application);
}

function writeSocket(tcb: Tcb, to: usize, applicationLen: u32): void {
  const nodelay: u32 = (tcb.flags & Flag.NODELAY) != 0 ? SocketFlag.NODELAY : 0;
  const unacked = unackedBytes(tcb);
  store<u32>(to, nodelay, BlobOff.SOCKET_FLAGS);
  store<u32>(to, unreadBytes(changetype<usize>(tcb)), BlobOff.UNREAD_LEN);
  store<u32>(to, unacked, BlobOff.UNACKED_LEN);
  store<u32>(to, sendBytes(tcb) - unacked, BlobOff.UNSENT_LEN);
  store<u32>(to, applicationLen, BlobOff.APPLICATION_LEN);
  store<u32>(to, tcb.sndBuf, BlobOff.SND_BUF);
  store<u32>(to, tcb.sndBufMax, BlobOff.SND_BUF_MAX);
  store<u32>(to, tcb.rcvBuf, BlobOff.RCV_BUF);
  store<u32>(to, tcb.rcvBufMax, BlobOff.RCV_BUF_MAX);
  store<u32>(to, tcb.rcvSpace, BlobOff.RCV_SPACE);
  store<u64>(to, tcb.keepIdleUs, BlobOff.KEEP_IDLE_US);
  store<u64>(to, tcb.keepIntervalUs, BlobOff.KEEP_INTERVAL_US);
  store<u64>(to, tcb.userTimeoutUs, BlobOff.USER_TIMEOUT_US);
  store<u32>(to, <u32>tcb.keepProbesMax, BlobOff.KEEP_PROBES_MAX);
}

function writeTcp(tcb: Tcb, to: usize, now: u64): void {
  store<u32>(to, <u32>tcb.state, BlobOff.STATE);
  store<u32>(to, fromTcbFlags(tcb.flags) | ecnReduced(tcb), BlobOff.FLAGS);
  store<u32>(to, tcb.iss, BlobOff.ISS);
  store<u32>(to, tcb.irs, BlobOff.IRS);
  store<u32>(to, tcb.sndUna, BlobOff.SND_UNA);
  store<u32>(to, tcb.sndNxt, BlobOff.SND_NXT);
  store<u32>(to, tcb.sndWnd, BlobOff.SND_WND);
  store<u32>(to, tcb.sndWl1, BlobOff.SND_WL1);
  store<u32>(to, tcb.sndWl2, BlobOff.SND_WL2);
  store<u32>(to, tcb.sndUp, BlobOff.SND_UP);
  store<u32>(to, tcb.sndWndMax, BlobOff.SND_WND_MAX);
  store<u32>(to, tcb.sndSmall, BlobOff.SND_SMALL);
  store<u32>(to, tcb.rcvNxt, BlobOff.RCV_NXT);
  store<u32>(to, tcb.rcvAdv - tcb.rcvNxt, BlobOff.RCV_WND);
  store<u32>(to, tcb.rcvUp, BlobOff.RCV_UP);
  store<u32>(to, tcb.finSeq, BlobOff.FIN_SEQ);
  store<u32>(to, tcb.lastAckSent, BlobOff.LAST_ACK_SENT);
  if ((tcb.flags & Flag.TIMESTAMPS) != 0) {
    const ageMs = min<u64>((now - tcb.tsRecentUs) / 1000, TS_AGE_MS_MAX);
    store<u32>(to, tcb.tsRecent, BlobOff.TS_RECENT);
    store<u32>(to, <u32>ageMs, BlobOff.TS_RECENT_AGE_MS);
    store<u32>(to, tsValNow(tcb, now), BlobOff.TS_VAL);
  }
  store<u16>(to, tcb.peerMss, BlobOff.PEER_MSS);
  store<u16>(to, tcb.advMss, BlobOff.ADV_MSS);
  store<u16>(to, tcb.rcvMss, BlobOff.RCV_MSS);
  store<u8>(to, tcb.sndWndShift, BlobOff.SND_WND_SHIFT);
  store<u8>(to, tcb.rcvWndShift, BlobOff.RCV_WND_SHIFT);
  store<u32>(to, tcb.srttUs, BlobOff.SRTT_US);
  store<u32>(to, tcb.rttvarUs, BlobOff.RTTVAR_US);
  store<u32>(to, tcb.rtoUs, BlobOff.RTO_US);
  store<u32>(to, tcb.rttMinUs, BlobOff.RTT_MIN_US);
  // Proportional rate reduction says 0 between two ACKs (RFC 9937); the episode it belongs to does not travel.
  store<u32>(to, max<u32>(tcb.cwnd, <u32>tcb.sndMss), BlobOff.CWND);
  store<u32>(to, tcb.ssthresh, BlobOff.SSTHRESH);
  store<u32>(to, <u32>tcb.congestion, BlobOff.CONGESTION);
  store<u32>(to, tcb.cubicWMax, BlobOff.CUBIC_W_MAX);
  store<u32>(to, <u32>tcb.rackReoMult, BlobOff.RACK_REO_MULT);
  store<u64>(to, tcb.bytesReceived, BlobOff.BYTES_RECEIVED);
  store<u64>(to, tcb.bytesSent, BlobOff.BYTES_SENT);
}

/** One reduction a window (RFC 3168 6.1.2), wherever the echo of an older mark arrives. */
function ecnReduced(tcb: Tcb): u32 {
  const reduced = tcb.phase == Phase.RECOVERY || tcb.phase == Phase.CWR;
  return reduced && (tcb.flags & Flag.ECN) != 0 ? <u32>BlobFlag.ECN_REDUCED : 0;
}

/** TSval of a segment sent now: never below one that was sent. */
function tsValNow(tcb: Tcb, now: u64): u32 {
  const tsVal = <u32>(now / 1000) + tcb.tsOffset;
  return <i32>(tsVal - tcb.tsLastSent) < 0 ? tcb.tsLastSent : tsVal;
}

/** Bytes from SND.UNA on that were written; our FIN is not one of them. */
function sendBytes(tcb: Tcb): u32 {
  const finAcked = (tcb.flags & Flag.FIN_SENT) != 0 && tcb.sndUna == tcb.sndEnd + 1;
  return finAcked ? 0 : tcb.sndEnd - tcb.sndUna;
}

function unackedBytes(tcb: Tcb): u32 {
  return (tcb.flags & Flag.FIN_SENT) != 0 ? sendBytes(tcb) : tcb.sndNxt - tcb.sndUna;
}

function countRanges(tcb: Tcb, to: usize): void {
  let len: u32 = 0;
  for (let index = tcb.oooHead; index != 0; index = nodeAt(index).next) {
    len += nodeAt(index).end - nodeAt(index).start;
  }
  store<u32>(to, tcb.oooCount, BlobOff.RANGE_COUNT);
  store<u32>(to, len, BlobOff.RANGE_LEN);
}

/** Out-of-order data that does not fit is given up: the peer must keep it (RFC 2018 section 8). */
function dropRanges(to: usize): void {
  store<u32>(to, 0, BlobOff.RANGE_COUNT);
  store<u32>(to, 0, BlobOff.RANGE_LEN);
}

/** Ranges, unread, unacknowledged and unsent, out-of-order bytes. Returns where they end, 0: some are missing. */
function writeData(ptr: usize, blobPtr: usize): usize {
  const tcb = changetype<Tcb>(ptr);
  const ranges = load<u32>(blobPtr, BlobOff.RANGE_COUNT);
  const rcvQueue = ptr + offsetof<Tcb>("rcvQueueHead");
  let to = blobPtr + <usize>(BLOB_FIXED_LEN + ranges * RANGE_SIZE);
  const unread = unreadBytes(ptr);
  if (queueRead(rcvQueue, tcb.rcvRead, to, unread) != unread) return 0;
  to += <usize>unread;
  const send = sendBytes(tcb);
  if (queueRead(ptr + offsetof<Tcb>("sndQueueHead"), tcb.sndUna, to, send) != send) return 0;
  to += <usize>send;
  if (ranges == 0) return to;
  let at = blobPtr + <usize>BLOB_FIXED_LEN;
  for (let index = tcb.oooHead; index != 0; index = nodeAt(index).next) {
    const node = nodeAt(index);
    const len = node.end - node.start;
    store<u32>(at, node.start);
    store<u32>(at, node.end, 4);
    at += <usize>RANGE_SIZE;
    if (queueRead(rcvQueue, node.start, to, len) != len) return 0;
    to += <usize>len;
  }
  return to;
}
