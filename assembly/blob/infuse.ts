/**
 * A blob becomes a connection, from the top down: everything is verified first, then everything is installed,
 * or nothing is (claims C3, C16). Must not know packets, nor what the mapping is used for.
 */
import { Err } from "../errors";
import { EventType, State } from "../report";
import { queueInit, queueWrite } from "../tcp/buffer";
import { CHUNK_SHIFT, chunksFree } from "../tcp/chunk";
import { configLinkMtu } from "../tcp/config";
import { connectionDetach, connectionFree, connectionOpen } from "../tcp/connection";
import { demuxFind } from "../tcp/demux";
import { episodeResume } from "../tcp/episode";
import { eventAdd } from "../tcp/list";
import { migrateActivate } from "../tcp/migrate";
import { nodesFree } from "../tcp/node";
import { rangeAdd } from "../tcp/reassembly";
import { shareExhausted } from "../tcp/share";
import { timeWaitFind } from "../tcp/timewait";
import { Flag, Tcb } from "../tcp/tcb";
import { blobCheck } from "./check";
import { toTcbFlags } from "./flags";
import {
  BLOB_FIXED_LEN,
  BlobFlag,
  BlobOff,
  MAPPING_LEN,
  Mapping,
  RANGE_SIZE,
  blobDataLen,
} from "./format";

/** Index chunks of two deep queues, and chunks cut at both ends of each run of bytes. */
const CHUNKS_SPARE: u32 = 24;

/**
 * Verifies a blob and unbundles its mapping to mappingPtr, the application's bytes to applicationPtr, and
 * the connection's addresses to tuplePtr. Installs nothing.
 */
export function unbundle(
  blobPtr: usize,
  len: u32,
  mappingPtr: usize,
  applicationPtr: usize,
  tuplePtr: usize,
): i32 {
  const err = blobCheck(blobPtr, len);
  if (err < 0) return err;
  const applicationLen = load<u32>(blobPtr, BlobOff.APPLICATION_LEN);
  memory.copy(tuplePtr, blobPtr + BlobOff.TUPLE, 40);
  memory.copy(mappingPtr, blobPtr + <usize>(len - MAPPING_LEN), MAPPING_LEN);
  changetype<Mapping>(mappingPtr).applicationLen = applicationLen;
  const ranges = load<u32>(blobPtr, BlobOff.RANGE_COUNT);
  const before = <usize>(BLOB_FIXED_LEN + ranges * RANGE_SIZE) + <usize>blobDataLen(blobPtr);
  memory.copy(applicationPtr, blobPtr + before, applicationLen);
  return Err.OK;
}

/**
 * Installs the connection of a verified blob.
 * @returns its block, or 0 when `infuseFault` names why not, with nothing left behind
 */
export function infuse(blobPtr: usize, generation: u32, now: u64): usize {
  fault = Err.OK;
  const tuplePtr = blobPtr + BlobOff.TUPLE;
  if (demuxFind(tuplePtr) != 0 || timeWaitFind(tuplePtr) != 0) return fail(Err.BLOB_DUPLICATE);
  const ranges = load<u32>(blobPtr, BlobOff.RANGE_COUNT);
  const chunks = (blobDataLen(blobPtr) >> CHUNK_SHIFT) + <u64>(ranges + CHUNKS_SPARE);
  if (chunks > <u64>chunksFree() || ranges + 1 > nodesFree()) return fail(Err.FULL);
  if (shareExhausted()) return fail(Err.FULL); // those that are here come first
  const iss = load<u32>(blobPtr, BlobOff.ISS);
  const ptr = connectionOpen(tuplePtr, iss, State.ESTABLISHED);
  if (ptr == 0) return fail(Err.FULL);
  const tcb = changetype<Tcb>(ptr);
  readSocket(tcb, blobPtr);
  readTcp(tcb, blobPtr, now);
  tcb.ttl = load<u8>(blobPtr, BlobOff.TTL);
  tcb.dscp = load<u8>(blobPtr, BlobOff.DSCP);
  // The node that it comes from may have a link of larger packets.
  tcb.pmtu = <u16>min<u32>(load<u16>(blobPtr, BlobOff.PATH_MTU), configLinkMtu());
  tcb.generation = generation;
  tcb.openedUs = now;
  if (!readData(ptr, blobPtr) || !migrateActivate(ptr, now)) {
    connectionDetach(ptr);
    connectionFree(ptr);
    return fail(Err.FULL);
  }
  const reduced = (load<u32>(blobPtr, BlobOff.FLAGS) & BlobFlag.ECN_REDUCED) != 0;
  if (reduced) episodeResume(ptr);
  announce(ptr);
  return ptr;
}

let fault: i32 = 0;

/** Why the last infuse returned 0. */
export function infuseFault(): i32 {
  return fault;
}

function fail(err: i32): usize {
  fault = err;
  return 0;
}

function readSocket(tcb: Tcb, from: usize): void {
  tcb.sndBuf = load<u32>(from, BlobOff.SND_BUF);
  tcb.sndBufMax = load<u32>(from, BlobOff.SND_BUF_MAX);
  tcb.rcvBuf = load<u32>(from, BlobOff.RCV_BUF);
  tcb.rcvBufMax = load<u32>(from, BlobOff.RCV_BUF_MAX);
  tcb.rcvSpace = load<u32>(from, BlobOff.RCV_SPACE);
  tcb.keepIdleUs = load<u64>(from, BlobOff.KEEP_IDLE_US);
  tcb.keepIntervalUs = load<u64>(from, BlobOff.KEEP_INTERVAL_US);
  tcb.userTimeoutUs = load<u64>(from, BlobOff.USER_TIMEOUT_US);
  tcb.keepProbesMax = <u8>load<u32>(from, BlobOff.KEEP_PROBES_MAX);
}

function readTcp(tcb: Tcb, from: usize, now: u64): void {
  const unread = load<u32>(from, BlobOff.UNREAD_LEN);
  const flags = load<u32>(from, BlobOff.FLAGS);
  const fin: u32 = (flags & BlobFlag.FIN_RECEIVED) != 0 ? 1 : 0;
  tcb.state = <u8>load<u32>(from, BlobOff.STATE);
  tcb.flags = toTcbFlags(from);
  tcb.irs = load<u32>(from, BlobOff.IRS);
  tcb.sndUna = load<u32>(from, BlobOff.SND_UNA);
  tcb.sndNxt = load<u32>(from, BlobOff.SND_NXT);
  tcb.sndEnd = endOf(tcb, from);
  tcb.sndWnd = load<u32>(from, BlobOff.SND_WND);
  tcb.sndWl1 = load<u32>(from, BlobOff.SND_WL1);
  tcb.sndWl2 = load<u32>(from, BlobOff.SND_WL2);
  tcb.sndUp = load<u32>(from, BlobOff.SND_UP);
  tcb.sndWndMax = load<u32>(from, BlobOff.SND_WND_MAX);
  tcb.sndSmall = load<u32>(from, BlobOff.SND_SMALL);
  tcb.rcvNxt = load<u32>(from, BlobOff.RCV_NXT);
  tcb.rcvAdv = tcb.rcvNxt + load<u32>(from, BlobOff.RCV_WND);
  tcb.rcvRead = tcb.rcvNxt - fin - unread;
  tcb.rcvUp = load<u32>(from, BlobOff.RCV_UP);
  tcb.finSeq = load<u32>(from, BlobOff.FIN_SEQ);
  tcb.lastAckSent = load<u32>(from, BlobOff.LAST_ACK_SENT);
  if ((flags & BlobFlag.TIMESTAMPS) != 0) {
    // The clock of TSval goes on from where it was: it stood still on the way, and never steps back.
    const tsVal = load<u32>(from, BlobOff.TS_VAL);
    tcb.tsLastSent = tsVal;
    tcb.tsOffset = tsVal - <u32>(now / 1000);
    tcb.tsRecent = load<u32>(from, BlobOff.TS_RECENT);
    tcb.tsRecentUs = now - <u64>load<u32>(from, BlobOff.TS_RECENT_AGE_MS) * 1000;
  }
  tcb.peerMss = load<u16>(from, BlobOff.PEER_MSS);
  tcb.advMss = load<u16>(from, BlobOff.ADV_MSS);
  tcb.rcvMss = load<u16>(from, BlobOff.RCV_MSS);
  tcb.sndWndShift = load<u8>(from, BlobOff.SND_WND_SHIFT);
  tcb.rcvWndShift = load<u8>(from, BlobOff.RCV_WND_SHIFT);
  tcb.srttUs = load<u32>(from, BlobOff.SRTT_US);
  tcb.rttvarUs = load<u32>(from, BlobOff.RTTVAR_US);
  tcb.rttvarMaxUs = tcb.rttvarUs;
  tcb.rtoUs = load<u32>(from, BlobOff.RTO_US);
  tcb.rttMinUs = load<u32>(from, BlobOff.RTT_MIN_US);
  tcb.cwnd = load<u32>(from, BlobOff.CWND);
  tcb.ssthresh = load<u32>(from, BlobOff.SSTHRESH);
  tcb.congestion = <u8>load<u32>(from, BlobOff.CONGESTION);
  tcb.cubicWMax = load<u32>(from, BlobOff.CUBIC_W_MAX);
  tcb.rackReoMult = <u8>load<u32>(from, BlobOff.RACK_REO_MULT);
  tcb.bytesReceived = load<u64>(from, BlobOff.BYTES_RECEIVED);
  tcb.bytesSent = load<u64>(from, BlobOff.BYTES_SENT);
}

/** Sequence number after the last byte written; our FIN, once sent, lies there. */
function endOf(tcb: Tcb, from: usize): u32 {
  if ((tcb.flags & Flag.FIN_SENT) != 0) return tcb.sndNxt - 1;
  return tcb.sndNxt + load<u32>(from, BlobOff.UNSENT_LEN);
}

/** Fills both queues. False when a pool ran out. */
function readData(ptr: usize, from: usize): bool {
  const tcb = changetype<Tcb>(ptr);
  const ranges = load<u32>(from, BlobOff.RANGE_COUNT);
  const sndQueue = ptr + offsetof<Tcb>("sndQueueHead");
  const rcvQueue = ptr + offsetof<Tcb>("rcvQueueHead");
  queueInit(sndQueue, tcb.sndUna);
  queueInit(rcvQueue, tcb.rcvRead);
  let at = from + <usize>(BLOB_FIXED_LEN + ranges * RANGE_SIZE);
  const unread = load<u32>(from, BlobOff.UNREAD_LEN);
  if (queueWrite(rcvQueue, tcb.rcvRead, at, unread, u32.MAX_VALUE) != unread) return false;
  at += <usize>unread;
  const send = load<u32>(from, BlobOff.UNACKED_LEN) + load<u32>(from, BlobOff.UNSENT_LEN);
  if (queueWrite(sndQueue, tcb.sndUna, at, send, u32.MAX_VALUE) != send) return false;
  at += <usize>send;
  for (let index: u32 = 0; index < ranges; index++) {
    const rangePtr = from + <usize>(BLOB_FIXED_LEN + index * RANGE_SIZE);
    const start = load<u32>(rangePtr);
    const end = load<u32>(rangePtr, 4);
    const len = end - start;
    if (queueWrite(rcvQueue, start, at, len, u32.MAX_VALUE) != len) return false;
    if (!rangeAdd(ptr, start, end)) return false;
    at += <usize>len;
  }
  return true;
}

/** The application hears of what is there as if it had arrived here (claim C11). */
function announce(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  const received = (tcb.flags & Flag.FIN_RECEIVED) != 0;
  const fin: u32 = received ? 1 : 0;
  if (tcb.rcvRead != tcb.rcvNxt - fin) eventAdd(ptr, 1 << EventType.READABLE);
  if (received) eventAdd(ptr, 1 << EventType.ENDED);
  if ((tcb.flags & Flag.URGENT_IN) != 0) eventAdd(ptr, 1 << EventType.URGENT);
}
