/**
 * What the ABI says about connections: states, events, settings, the report on one. Knows shapes and offsets
 * like layout.ts, whose other half it is; must not know how anything in them arises.
 */
/** Connection states of RFC 9293 3.3.2; LISTEN is a service, not a connection. */
export enum State {
  CLOSED = 0,
  LISTEN = 1,
  SYN_SENT = 2,
  SYN_RECEIVED = 3,
  ESTABLISHED = 4,
  FIN_WAIT_1 = 5,
  FIN_WAIT_2 = 6,
  CLOSE_WAIT = 7,
  CLOSING = 8,
  LAST_ACK = 9,
  TIME_WAIT = 10,
}

/** What pollEvent reports. The value is also the order in which events of one connection come. */
export enum EventType {
  NONE = 0,
  /** A listener's handshake is done. */
  ACCEPTED = 1,
  /** An active open is done. */
  CONNECTED = 2,
  /** Unread bytes are there. */
  READABLE = 3,
  /** The send buffer has space again after reserve() returned 0. */
  WRITABLE = 4,
  /** The peer's FIN follows the unread bytes. */
  ENDED = 5,
  /** Both directions are over; `code` is Err.OK, RESET, TIMEOUT or ABORTED. */
  CLOSED = 6,
  /** The 4-tuple is free. */
  RELEASED = 7,
  /** Urgent data was announced, or more of it (RFC 9293 MUST-32): Info's urgentBytes says how much. */
  URGENT = 8,
  /** A soft error (RFC 9293 MUST-47): `code` is a SoftError << 8 | the ICMP code. The connection goes on. */
  TROUBLE = 9,
}

/** What troubles a connection without ending it. The first four are those of wire/icmp.ts. */
export enum SoftError {
  NONE = 0,
  UNREACHABLE = 1,
  TOO_BIG = 2,
  TIME_EXCEEDED = 3,
  PARAMETER_PROBLEM = 4,
  /** R1 of RFC 9293 3.8.3: so many retransmissions that something is wrong. */
  RETRIES = 5,
}

/**
 * One event, at eventPtr().
 *
 *    0 type       u32  EventType
 *    4 handle     u32  with RELEASED perhaps no longer valid
 *    8 code       i32  Err; with TROUBLE: SoftError << 8 | ICMP code
 *   12 ownerPeer  u32  with RELEASED: the two numbers of the room above
 *   16 ownerFlow  u32
 *   20 sndNxt     u32  with RELEASED: SND.NXT
 *   24 tsVal      u32  with RELEASED: the last TSval sent, 0 without timestamps
 *   28 service    u32  with ACCEPTED: index of the service
 *   32 tuple      Tuple, 40 bytes
 */
@unmanaged
export class Event {
  type: u32;
  handle: u32;
  code: i32;
  ownerPeer: u32;
  ownerFlow: u32;
  sndNxt: u32;
  tsVal: u32;
  service: u32;
  family: u32;
  remotePort: u16;
  localPort: u16;
  remote0: u64;
  remote1: u64;
  local0: u64;
  local1: u64;
}
export const EVENT_SIZE: u32 = 72;
if (offsetof<Event>() != EVENT_SIZE) ERROR("Event layout changed");

/** Offsets of Event, for the host. */
export enum EventOff {
  TYPE = 0,
  HANDLE = 4,
  CODE = 8,
  OWNER_PEER = 12,
  OWNER_FLOW = 16,
  SND_NXT = 20,
  TSVAL = 24,
  SERVICE = 28,
  TUPLE = 32,
}
if (offsetof<Event>("service") != EventOff.SERVICE) ERROR("EventOff is wrong");
if (offsetof<Event>("family") != EventOff.TUPLE) ERROR("EventOff is wrong");

/**
 * What connectionInfo reports, at infoPtr(): the RFC's variables by their names (tcp/tcb.ts says what each
 * means), u32 each unless said. Offsets are those of InfoOff.
 *
 *    0 tuple  Tuple   40 state   44 flags (Flag of tcp/tcb.ts)   48 .. the variables
 */
@unmanaged
export class Info {
  family: u32;
  remotePort: u16;
  localPort: u16;
  remote0: u64;
  remote1: u64;
  local0: u64;
  local1: u64;
  state: u32;
  flags: u32;
  sndUna: u32;
  sndNxt: u32;
  sndWnd: u32;
  sndWl1: u32;
  sndWl2: u32;
  sndUp: u32;
  iss: u32;
  sndEnd: u32;
  rcvNxt: u32;
  rcvWnd: u32;
  rcvUp: u32;
  irs: u32;
  rcvRead: u32;
  lastAckSent: u32;
  sndMss: u32;
  sndWndShift: u32;
  rcvWndShift: u32;
  tsRecent: u32;
  tsLastSent: u32;
  pmtu: u32;
  cwnd: u32;
  ssthresh: u32;
  phase: u32;
  congestion: u32;
  srttUs: u32;
  rttvarUs: u32;
  rtoUs: u32;
  rttMinUs: u32;
  flightBytes: u32;
  unreadBytes: u32;
  oooCount: u32;
  generation: u32;
  ownerPeer: u32;
  ownerFlow: u32;
  bytesReceived: u64;
  bytesSent: u64;
  segmentsReceived: u32;
  segmentsSent: u32;
  bytesRetransmitted: u32;
  timeouts: u32;
  /** Last soft error, as the TROUBLE event reports it; 0: none. */
  softError: u32;
  /** Unread bytes up to the end of the urgent data, also those still to come; 0: none is urgent. */
  urgentBytes: u32;
}
export const INFO_SIZE: u32 = 224;
if (offsetof<Info>() != INFO_SIZE) ERROR("Info layout changed");

/** Offsets of Info, for the host. */
export enum InfoOff {
  TUPLE = 0,
  STATE = 40,
  FLAGS = 44,
  SND_UNA = 48,
  SND_NXT = 52,
  SND_WND = 56,
  SND_WL1 = 60,
  SND_WL2 = 64,
  SND_UP = 68,
  ISS = 72,
  SND_END = 76,
  RCV_NXT = 80,
  RCV_WND = 84,
  RCV_UP = 88,
  IRS = 92,
  RCV_READ = 96,
  LAST_ACK_SENT = 100,
  SND_MSS = 104,
  SND_WND_SHIFT = 108,
  RCV_WND_SHIFT = 112,
  TS_RECENT = 116,
  TS_LAST_SENT = 120,
  PMTU = 124,
  CWND = 128,
  SSTHRESH = 132,
  PHASE = 136,
  CONGESTION = 140,
  SRTT_US = 144,
  RTTVAR_US = 148,
  RTO_US = 152,
  RTT_MIN_US = 156,
  FLIGHT_BYTES = 160,
  UNREAD_BYTES = 164,
  OOO_COUNT = 168,
  GENERATION = 172,
  OWNER_PEER = 176,
  OWNER_FLOW = 180,
  BYTES_RECEIVED = 184,
  BYTES_SENT = 192,
  SEGMENTS_RECEIVED = 200,
  SEGMENTS_SENT = 204,
  BYTES_RETRANSMITTED = 208,
  TIMEOUTS = 212,
  SOFT_ERROR = 216,
  URGENT_BYTES = 220,
}
if (offsetof<Info>("urgentBytes") != InfoOff.URGENT_BYTES) ERROR("InfoOff is wrong");

/** Settings of one connection: setOption. */
export enum Option {
  NODELAY = 1,
  /** Idle time before keep-alive probes, 0: off; time between them; how many unanswered ones end it. */
  KEEPALIVE_US = 2,
  KEEPALIVE_INTERVAL_US = 3,
  KEEPALIVE_PROBES = 4,
  /** How long data may stay unacknowledged, 0: by number of retries. */
  USER_TIMEOUT_US = 5,
  RCV_BUFFER_MAX = 6,
  SND_BUFFER_MAX = 7,
  TTL = 8,
  DSCP = 9,
  /** Congestion of tcp/congestion.ts: 0 CUBIC, 1 NewReno. */
  CONGESTION = 10,
  /** Everything committed up to now is urgent data (RFC 9293 3.8.5), whatever the value; it cannot be taken back. */
  URGENT = 11,
  /** Ask the peer for ECN (RFC 3168): between connect() and the first poll, or Err.TCP_STATE. 0: do not ask. */
  ECN = 12,
}
