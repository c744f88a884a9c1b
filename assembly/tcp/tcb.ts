/**
 * The transmission control block: everything this node knows about one connection, as one flat structure
 * that the blob codec reads and writes field by field. Knows the shape, the flags and the pool; must not
 * know what any step of the protocol does with a field. Names are those of RFC 9293 with the dot removed;
 * RFCs 7323 (timestamps, window scale), 2018 and 8985 (SACK, RACK-TLP), 6298 (RTO), 9438 (CUBIC),
 * 9937 (PRR) name the rest.
 *
 * Sequence numbers are u32 and compared only by wire/seq. Times are u64 microseconds of the monotonic clock
 * that the host hands in, 0: never. Durations end in `Us`. Windows and buffers are bytes, scaled up.
 */
import { Err } from "../errors";
import { reserve } from "../layout";

/**
 *    0  identity    64 bytes: one cache line answers a look-up
 *   64  sequence    64 bytes: RFC 9293 3.3.1, both directions
 *  128  options     64 bytes: what was negotiated, ACK policy
 *  192  buffers    128 bytes: both byte queues and their limits
 *  320  segments    64 bytes: scoreboards (sent segments; received out of order)
 *  384  rtt, rack   64 bytes
 *  448  congestion 112 bytes
 *  560  timers      64 bytes: absolute deadlines, indexed by Timer
 *  624  liveness    56 bytes: keep-alive, user timeout, retries
 *  680  links       40 bytes: lists of this core, never migrated
 *  720  counters    48 bytes
 */
@unmanaged
export class Tcb {
  // ---- identity
  /** Client's address in network byte order; IPv4 in the first four bytes, the rest zero. */
  remote0: u64;
  remote1: u64;
  /** Service address likewise. */
  local0: u64;
  local1: u64;
  /** Host byte order. */
  remotePort: u16;
  localPort: u16;
  /** Index of the next block of the same hash bucket, 0: last. */
  hashNext: u32;
  /** This block's own handle: 10 bits of generation, 21 of index. 0: the block is free. */
  handle: u32;
  /** Bits of Flag. */
  flags: u32;
  /** 4 or 6. */
  family: u8;
  /** State (layout.ts). */
  state: u8;
  /** IPv4 TTL or IPv6 hop limit of outgoing packets. */
  ttl: u8;
  /** Differentiated services code point, 6 bits, not shifted. */
  dscp: u8;
  /** Service that accepted the connection, or 0xffffffff. */
  service: u32;
  /** Two opaque numbers of the room above (the flow that names this connection), reported with RELEASED. */
  ownerPeer: u32;
  ownerFlow: u32;

  // ---- sequence
  /** SND.UNA: oldest unacknowledged sequence number; also the front of the send queue. */
  sndUna: u32;
  /** SND.NXT: next sequence number to be sent for the first time; never steps back. */
  sndNxt: u32;
  /** SND.WND: bytes beyond SND.UNA that the peer takes, scaled up. */
  sndWnd: u32;
  /** SND.WL1, SND.WL2: SEG.SEQ and SEG.ACK of the last window update. */
  sndWl1: u32;
  sndWl2: u32;
  /** SND.UP: sequence number that follows our last urgent byte; meaningful with Flag.URGENT_OUT. */
  sndUp: u32;
  /** ISS: our initial sequence number. */
  iss: u32;
  /** Sequence number after the last byte the application committed; our FIN takes it when FIN_QUEUED. */
  sndEnd: u32;
  /** Largest SND.WND ever seen: sender SWS avoidance, RFC 5961 5.2. */
  sndWndMax: u32;
  /** RCV.NXT. */
  rcvNxt: u32;
  /** Right edge of the window ever advertised: RCV.NXT + RCV.WND. Never steps back. */
  rcvAdv: u32;
  /** First byte that the application has not consumed; the front of the receive queue. */
  rcvRead: u32;
  /** RCV.UP: sequence number that follows the peer's last urgent byte; meaningful with Flag.URGENT_IN. */
  rcvUp: u32;
  /** IRS: the peer's initial sequence number. */
  irs: u32;
  /** Sequence number of the peer's FIN, valid with Flag.FIN_SEEN. */
  finSeq: u32;
  /** Times this connection was infused: 0 where it was accepted. */
  generation: u32;

  // ---- options and acknowledgement policy
  /** When tsRecent was set: PAWS lets it age out after 24 days (RFC 7323 5.5). */
  tsRecentUs: u64;
  /** TS.Recent: the peer's TSval to echo. */
  tsRecent: u32;
  /** TSval = milliseconds of the monotonic clock + tsOffset. */
  tsOffset: u32;
  /** Largest TSval sent so far, which a restored connection must not fall below. */
  tsLastSent: u32;
  /** Last.ACK.sent of RFC 7323: SEG.ACK of the last segment sent. */
  lastAckSent: u32;
  /** Bounds of a duplicate to report by D-SACK (RFC 2883), valid with Flag.DSACK_DUE. */
  dsackStart: u32;
  dsackEnd: u32;
  /** Payload bytes of a full segment now: min(peerMss, pmtu - headers) - options (RFC 6691). */
  sndMss: u16;
  /** MSS the peer announced, or the default of RFC 9293 3.7.1. */
  peerMss: u16;
  /** MSS we announced. */
  advMss: u16;
  /** Largest payload seen from the peer, what "full segment" means for delayed ACKs. */
  rcvMss: u16;
  /** Path MTU in bytes (RFC 1191, 8201). */
  pmtu: u16;
  /** Snd.Wind.Shift: how far the peer's windows are shifted. */
  sndWndShift: u8;
  /** Rcv.Wind.Shift: how far ours are shifted. */
  rcvWndShift: u8;
  /** ACKs still to be sent at once (Linux quick-ACK). */
  quickAcks: u8;
  /** Bit 0 on: data flows both ways in turn, so ACKs may wait for replies. */
  pingpong: u8;
  /** Duplicate ACKs owed to a peer without SACK: it counts them. */
  dupAcksDue: u16;
  /** Bytes received since the last ACK was sent. */
  unackedBytes: u32;
  /** When an acceptable segment last came: keep-alive counts from here. */
  rcvLastUs: u64;

  // ---- buffers; Queue of buffer.ts, twice
  sndQueueHead: u32;
  sndQueueTail: u32;
  sndQueueDepth: u16;
  sndQueueShift: u16;
  sndQueueChunks: u32;
  sndQueue0: u64;
  sndQueue1: u64;
  sndQueue2: u64;
  sndQueue3: u64;
  rcvQueueHead: u32;
  rcvQueueTail: u32;
  rcvQueueDepth: u16;
  rcvQueueShift: u16;
  rcvQueueChunks: u32;
  rcvQueue0: u64;
  rcvQueue1: u64;
  rcvQueue2: u64;
  rcvQueue3: u64;
  /** Bytes the send buffer may hold now, and at most (autotuning moves the first up to the second). */
  sndBuf: u32;
  sndBufMax: u32;
  /** The same for the receive buffer. */
  rcvBuf: u32;
  rcvBufMax: u32;
  /** Receive autotuning: RCV.READ when the current round began, bytes consumed in the last round. */
  rcvSpaceSeq: u32;
  rcvSpace: u32;
  /** When that round began, low 32 bits of microseconds, 0: none did. */
  rcvSpaceUs: u32;
  /** A round trip as the receiver sees it (round.ts), microseconds, 0: not measured yet. */
  rcvRttUs: u32;

  // ---- segments: indexes of nodes (node.ts), 0: none
  /** Sent and not cumulatively acknowledged, by sequence number; they cover [SND.UNA, SND.NXT). */
  flightHead: u32;
  flightTail: u32;
  /** The same, by time of the last transmission (RFC 8985 6.2 "ordered by xmit time"). */
  flightOld: u32;
  flightNew: u32;
  /** Node at which the last SACK search ended. */
  flightHint: u32;
  /** Deemed lost and not yet retransmitted, oldest first: a node is in this list, in the one before, or SACKed. */
  flightLost: u32;
  flightCount: u32;
  /** Received beyond RCV.NXT, by sequence number; disjoint and not adjacent. */
  oooHead: u32;
  oooTail: u32;
  /** The same, most recently changed first (RFC 2018 section 4). */
  oooRecent: u32;
  oooCount: u32;
  /** Bytes of the flight that are SACKed, deemed lost, retransmitted and still outstanding. */
  sackedBytes: u32;
  lostBytes: u32;
  retransBytes: u32;
  /** End of the highest SACKed byte (RACK.fack). */
  fack: u32;
  /** SND.NXT when recovery began: it ends when SND.UNA reaches this (RFC 6675 RecoveryPoint). */
  recoverSeq: u32;

  // ---- round-trip time, RACK, TLP
  /** RFC 6298, microseconds; srttUs 0: no sample yet. */
  srttUs: u32;
  rttvarUs: u32;
  rtoUs: u32;
  /** Smallest round trip seen lately (RFC 8985 RACK.min_RTT), 0: none, and since when it counts, low 32 bits. */
  rttMinUs: u32;
  rttMinSinceUs: u32;
  /** Since when rcvRttSeq waits, without timestamps; low 32 bits of microseconds, 0: it does not. */
  rcvRttSinceUs: u32;
  /** RACK.xmit_ts of the most recently sent segment that was delivered, low 32 bits of microseconds. */
  rackXmitUs: u32;
  /** RACK.end_seq of it. */
  rackEndSeq: u32;
  /** RACK.rtt. */
  rackRttUs: u32;
  /** RACK.dsack_round: SND.NXT when the window was last widened. */
  rackDsackSeq: u32;
  /** RACK.reo_wnd_mult, in quarters of the smallest round trip. */
  rackReoMult: u8;
  /** RACK.reo_wnd_persist: recoveries until the multiplier falls back to 1. */
  rackReoPersist: u8;
  /** TLP.is_retrans. */
  tlpIsRetrans: u8;
  /** Duplicate ACKs in a row, for peers without SACK. */
  dupAcks: u8;
  /** TLP.end_seq, valid with Flag.TLP_OUT. */
  tlpEndSeq: u32;
  /** When a segment with data was last sent. */
  sndLastUs: u64;
  /** Largest variance seen in the running round, as Linux keeps it. */
  rttvarMaxUs: u32;
  /** SND.NXT at which that round ends. */
  rttSeq: u32;

  // ---- congestion
  /** Bytes. ssthresh 0xffffffff: infinite. */
  cwnd: u32;
  ssthresh: u32;
  /** Acknowledged bytes that have not yet grown cwnd (RFC 5681 appropriate byte counting). */
  cwndAcked: u32;
  /** Largest flight of the running round: cwnd grows only when it was used (RFC 7661). */
  flightMax: u32;
  /** Congestion (congestion.ts): NEWRENO or CUBIC. */
  congestion: u8;
  /** Phase (episode.ts): OPEN, RECOVERY, LOSS, CWR. */
  phase: u8;
  /** Path MTU before the running episode took the path for a black hole, 0: it did not. */
  undoPmtu: u16;
  /** PRR (RFC 9937), bytes. */
  prrDelivered: u32;
  prrOut: u32;
  prrFlight: u32;
  /** Undo (RFC 3522, D-SACK): SND.UNA when cwnd was reduced, retransmitted bytes not yet seen as duplicate. */
  undoSeq: u32;
  undoBytes: u32;
  undoCwnd: u32;
  undoSsthresh: u32;
  /** TSval of the first retransmission of the episode (Eifel); 0: none. */
  undoTsval: u32;
  /** CUBIC (RFC 9438), windows in bytes: W_max, W_est, cwnd_prior. */
  cubicWMax: u32;
  cubicWEst: u32;
  cubicPrior: u32;
  /** Start of the epoch, 0: none. */
  cubicEpochUs: u64;
  /** K, microseconds from the epoch's start to W_max. */
  cubicKUs: u32;
  /** W_est's part of a byte, in 65,536. */
  cubicWEstPart: u32;
  /** W_cubic cannot grow before idle time is taken out of the epoch. */
  cubicLastUs: u64;
  /** HyStart++ (RFC 9406). */
  hystartEndSeq: u32;
  hystartLastRttUs: u32;
  hystartRttUs: u32;
  hystartCssRttUs: u32;
  hystartSamples: u8;
  hystartCssRounds: u8;
  hystartPad: u16;
  /** SND.NXT at which flightMax is taken anew. */
  flightMaxSeq: u32;

  // ---- timers
  timer0: u64;
  timer1: u64;
  timer2: u64;
  timer3: u64;
  timer4: u64;
  timer5: u64;
  timer6: u64;
  timer7: u64;

  // ---- liveness
  /** Idle time before the first keep-alive probe, 0: off; time between probes. */
  keepIdleUs: u64;
  keepIntervalUs: u64;
  /** R2: how long data may stay unacknowledged, 0: by number of retries (RFC 9293 3.8.3, RFC 5482). */
  userTimeoutUs: u64;
  /** When the data that is outstanding now was first retransmitted or probed, 0: it was not. */
  troubleUs: u64;
  /** When a stray segment was last answered (RFC 5961 7), low 32 bits of microseconds, 0: never. */
  challengeUs: u32;
  /** What the next sample of rcvRttUs waits for: another echo than this, or RCV.NXT to reach this. */
  rcvRttSeq: u32;
  /** Unanswered keep-alive probes, and how many are allowed. */
  keepProbes: u8;
  keepProbesMax: u8;
  /** Retransmission timeouts in a row; zero-window probes in a row. */
  rtoCount: u8;
  persistCount: u8;
  /** When data last came, low 32 bits of microseconds, 0: never. */
  rcvDataUs: u32;
  /** Err that ended the connection, 0: none. Sticky. */
  error: i32;
  /** Last soft error, as the TROUBLE event reports it; 0: none. Not migrated. */
  softError: u32;

  // ---- links: indexes of blocks, 0: none
  wheelNext: u32;
  wheelPrev: u32;
  /** 1 + slot of the timer wheel that holds the block, 0: none. */
  wheelSlot: u32;
  /** Connections that may have something to send. */
  outNext: u32;
  outPrev: u32;
  /** Connections with events to poll. */
  eventNext: u32;
  eventPrev: u32;
  /** Bits of events not yet polled: 1 << EventType. */
  events: u32;
  /** When the wheel looks at the block again. */
  wheelUs: u64;

  // ---- counters of this connection
  bytesReceived: u64;
  bytesSent: u64;
  segmentsReceived: u32;
  segmentsSent: u32;
  bytesRetransmitted: u32;
  timeouts: u32;
  /** When the handshake ended. */
  openedUs: u64;
  /** Last node of flightLost. */
  flightLostTail: u32;
  /** Sequence number after the last segment shorter than the MSS (Minshall's variant of Nagle). */
  sndSmall: u32;
}
export const TCB_SIZE: u32 = 768;
if (offsetof<Tcb>() != TCB_SIZE)
  ERROR("Tcb layout changed: see blob/, which reads it field by field");
if (offsetof<Tcb>("sndUna") != 64) ERROR("Tcb: sequence");
if (offsetof<Tcb>("tsRecentUs") != 128) ERROR("Tcb: options");
if (offsetof<Tcb>("sndQueueHead") != 192) ERROR("Tcb: buffers");
if (offsetof<Tcb>("flightHead") != 320) ERROR("Tcb: segments");
if (offsetof<Tcb>("srttUs") != 384) ERROR("Tcb: rtt");
if (offsetof<Tcb>("cwnd") != 448) ERROR("Tcb: congestion");
if (offsetof<Tcb>("timer0") != 560) ERROR("Tcb: timers");
if (offsetof<Tcb>("keepIdleUs") != 624) ERROR("Tcb: liveness");
if (offsetof<Tcb>("wheelNext") != 680) ERROR("Tcb: links");
if (offsetof<Tcb>("bytesReceived") != 720) ERROR("Tcb: counters");

/** Bits of `Tcb.flags`. MIGRATED_FLAGS are part of a connection's identity and travel in a blob. */
export enum Flag {
  NONE = 0,
  /** Options that both sides sent in their SYNs. */
  TIMESTAMPS = 1 << 0,
  SACK = 1 << 1,
  WINDOW_SCALE = 1 << 2,
  ECN = 1 << 3,
  /** Came from LISTEN (RFC 9293 MUST-11): a RST in SYN-RECEIVED returns there silently. */
  PASSIVE = 1 << 4,
  /** The application wrote its last byte: a FIN follows SND.END. */
  FIN_QUEUED = 1 << 5,
  /** The FIN was sent at least once: SND.NXT is beyond it. */
  FIN_SENT = 1 << 6,
  /** A FIN at finSeq was seen, perhaps out of order. */
  FIN_SEEN = 1 << 7,
  /** The peer's FIN was reached: RCV.NXT is beyond it. */
  FIN_RECEIVED = 1 << 8,
  /** Nagle is off (RFC 9293 MUST-17). */
  NODELAY = 1 << 9,
  URGENT_IN = 1 << 10,
  URGENT_OUT = 1 << 11,
  /** cwnd has not been limited by the network since slow start ended (HyStart++ CSS). */
  HYSTART_CSS = 1 << 12,
  /** RACK.reordering_seen. */
  REORDERED = 1 << 13,
  /** A mark arrived, and the peer has not said CWR yet: ECE is due (ecn.ts). */
  ECN_ECHO = 1 << 14,
  /** cwnd was reduced: CWR is due with the next new data. */
  ECN_CWR = 1 << 15,

  /** Being migrated: emits nothing, runs no timer. */
  FROZEN = 1 << 16,
  /** The application let go of the handle. */
  LET_GO = 1 << 17,
  /** ACCEPTED or CONNECTED was reported: the application knows the handle. */
  REPORTED = 1 << 18,
  /** An ACK must leave at once. */
  ACK_NOW = 1 << 19,
  /** dsackStart, dsackEnd wait to be reported. */
  DSACK_DUE = 1 << 20,
  /** reserve() returned 0: WRITABLE is owed. */
  WRITE_BLOCKED = 1 << 21,
  /** TLP probe outstanding. */
  TLP_OUT = 1 << 22,
  /** On the output list. */
  OUT_LISTED = 1 << 23,
  /** On the event list. */
  EVENT_LISTED = 1 << 24,
  /** A SYN, SYN-ACK is to be (re)sent. */
  SYN_DUE = 1 << 25,
  /** A RST is to be sent, then the block is done. */
  RST_DUE = 1 << 26,
  /** A zero-window probe or a keep-alive is to be sent. */
  PROBE_DUE = 1 << 27,
  /** A loss probe (TLP) is to be sent. */
  TLP_DUE = 1 << 28,
  /** The RTO handler wants the head of the flight sent whatever cwnd says. */
  FORCE_ONE = 1 << 29,
  /** Removed from the demultiplexing table: only the application's view is left. */
  DETACHED = 1 << 30,
  /** reserve() gave a span away that was not committed yet: its chunk stays. */
  RESERVED = 1 << 31,
}
export const MIGRATED_FLAGS: u32 = 0xffff;

/** Index of a deadline in the block. 0 means "not set". */
export enum Timer {
  /** RACK reordering window or tail loss probe (RFC 8985), whichever was set; before RTO when both are due. */
  RACK = 0,
  /** Retransmission of data, SYN, SYN-ACK, FIN (RFC 6298). */
  RTO = 1,
  /** Zero-window probe (RFC 9293 3.8.6.1). */
  PERSIST = 2,
  /** Delayed ACK. */
  ACK = 3,
  /** Keep-alive (RFC 9293 3.8.4). */
  KEEPALIVE = 4,
  /** End of a FIN-WAIT-2 that nobody reads any more. */
  LINGER = 5,
  /** Pacing. */
  PACE = 6,
  /** Looks again for memory that there was none of: share.ts. */
  MEMORY = 7,
}
export const TIMER_COUNT: u32 = 8;

const INDEX_BITS: u32 = 21;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
const GENERATION_MASK: u32 = 0x3ff;
/** Connections that a handle can name. Index 0 means "none". */
export const CONNECTIONS_MAX: u32 = INDEX_MASK;

let poolPtr: usize = 0;
let poolSize: u32 = 0;
let poolUsed: u32 = 0;
/** Blocks at and above this index were never used. */
let poolFresh: u32 = 1;
/** Freed blocks, linked by hashNext. */
let poolFree: u32 = 0;
/** Generation of each index, 2 bytes: survives the zeroing of the block. */
let generationsPtr: usize = 0;

/** Reserves room for `count` connections: between layoutBegin and layoutEnd. */
export function tcbReserve(count: u32): void {
  poolPtr = reserve((<usize>count + 1) * TCB_SIZE);
  generationsPtr = reserve((<usize>count + 1) << 1);
  poolSize = count;
  poolUsed = 0;
  poolFresh = 1;
  poolFree = 0;
}

export function tcbCount(): u32 {
  return poolUsed;
}

export function tcbLimit(): u32 {
  return poolSize;
}

/** Largest index of a block that was ever used. */
export function tcbPeak(): u32 {
  return poolFresh - 1;
}

/** Address of block `index` (1 .. limit). */
export function tcbAt(index: u32): usize {
  return poolPtr + <usize>index * TCB_SIZE;
}

export function tcbIndex(ptr: usize): u32 {
  return changetype<Tcb>(ptr).handle & INDEX_MASK;
}

/**
 * A zeroed block with its handle set, or 0 when all are in use.
 * The caller fills in the identity and inserts it into the tables.
 */
export function tcbOpen(): usize {
  let index = poolFree;
  if (index != 0) {
    poolFree = changetype<Tcb>(tcbAt(index)).hashNext;
  } else if (poolFresh <= poolSize) {
    index = poolFresh++;
  } else {
    return 0;
  }
  const ptr = tcbAt(index);
  memory.fill(ptr, 0, TCB_SIZE);
  const generationPtr = generationsPtr + ((<usize>index) << 1);
  changetype<Tcb>(ptr).handle = ((<u32>load<u16>(generationPtr)) << INDEX_BITS) | index;
  poolUsed++;
  return ptr;
}

/** Gives the block back; every list, queue and timer must have let go of it. */
export function tcbClose(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  const index = tcb.handle & INDEX_MASK;
  assert(index != 0);
  const generationPtr = generationsPtr + ((<usize>index) << 1);
  store<u16>(generationPtr, <u16>((<u32>load<u16>(generationPtr) + 1) & GENERATION_MASK));
  tcb.handle = 0;
  tcb.hashNext = poolFree;
  poolFree = index;
  poolUsed--;
}

/** The block a handle names, or 0 when it is none of a live connection. */
export function tcbByHandle(handle: u32): usize {
  const index = handle & INDEX_MASK;
  if (index == 0 || poolSize < index || poolFresh <= index) return 0;
  const ptr = tcbAt(index);
  return changetype<Tcb>(ptr).handle == handle ? ptr : 0;
}

/** Err of an operation on a handle: HANDLE, FROZEN, or OK. */
export function tcbCheck(ptr: usize): i32 {
  if (ptr == 0) return Err.HANDLE;
  return (changetype<Tcb>(ptr).flags & Flag.FROZEN) != 0 ? Err.FROZEN : Err.OK;
}
