/**
 * The layout of a blob: offsets, bounds, checksums. Knows the format, which names no stack; must not know
 * connection blocks. docs/blob.md has the same in pictures. All fields little-endian; every reserved byte is 0.
 *
 *      0  header       32  magic, version, lengths, checksums
 *     32  socket       88  counts, buffers, keep-alive
 *    120  TCP         184  state, SND.*, RCV.*, options, timing, congestion
 *    304  IP           48  addresses, ports, TTL, path MTU
 *    352  ranges        8  for each range received out of order: first sequence number, one beyond the last
 *         data             unread; unacknowledged and unsent; out of order
 *         application      bytes that only the application understands
 *         padding          to a multiple of 8
 *         mapping      96  who names this connection how
 */
export const BLOB_MAGIC: u32 = 0x4e544142; // "BATN"
/** The newest version, which is written only for what older ones cannot say; versions that are read. */
export const BLOB_VERSION: u32 = 2;
export const BLOB_VERSION_MIN: u32 = 1;

export enum BlobOff {
  // ---- header
  MAGIC = 0,
  VERSION = 4,
  FIXED_LEN = 6,
  TOTAL_LEN = 8,
  HEADER_RESERVED = 12,
  HEADER_SUM = 16,
  BODY_SUM = 24,
  // ---- socket
  SOCKET_FLAGS = 32,
  UNREAD_LEN = 36,
  UNACKED_LEN = 40,
  UNSENT_LEN = 44,
  RANGE_COUNT = 48,
  RANGE_LEN = 52,
  APPLICATION_LEN = 56,
  SND_BUF = 60,
  SND_BUF_MAX = 64,
  RCV_BUF = 68,
  RCV_BUF_MAX = 72,
  RCV_SPACE = 76,
  KEEP_IDLE_US = 80,
  KEEP_INTERVAL_US = 88,
  USER_TIMEOUT_US = 96,
  KEEP_PROBES_MAX = 104,
  SOCKET_RESERVED = 108,
  // ---- TCP
  STATE = 120,
  FLAGS = 124,
  ISS = 128,
  IRS = 132,
  SND_UNA = 136,
  SND_NXT = 140,
  SND_WND = 144,
  SND_WL1 = 148,
  SND_WL2 = 152,
  SND_UP = 156,
  SND_WND_MAX = 160,
  SND_SMALL = 164,
  RCV_NXT = 168,
  RCV_WND = 172,
  RCV_UP = 176,
  FIN_SEQ = 180,
  LAST_ACK_SENT = 184,
  TS_RECENT = 188,
  TS_RECENT_AGE_MS = 192,
  TS_VAL = 196,
  PEER_MSS = 200,
  ADV_MSS = 202,
  RCV_MSS = 204,
  SND_WND_SHIFT = 206,
  RCV_WND_SHIFT = 207,
  SRTT_US = 208,
  RTTVAR_US = 212,
  RTO_US = 216,
  RTT_MIN_US = 220,
  CWND = 224,
  SSTHRESH = 228,
  CONGESTION = 232,
  CUBIC_W_MAX = 236,
  BYTES_RECEIVED = 240,
  BYTES_SENT = 248,
  RACK_REO_MULT = 256,
  TCP_RESERVED = 260,
  // ---- IP
  TUPLE = 304,
  TTL = 344,
  DSCP = 345,
  PATH_MTU = 346,
  IP_RESERVED = 348,
}
export const BLOB_FIXED_LEN: u32 = 352;
export const SOCKET_RESERVED_LEN: u32 = 12;
export const TCP_RESERVED_LEN: u32 = 44;
export const IP_RESERVED_LEN: u32 = 4;
/** Bytes of one range of out-of-order data. */
export const RANGE_SIZE: u32 = 8;
export const APPLICATION_LEN_MAX: u32 = 4096;

/** Just above 24 days: TS.Recent is outdated then, however much older it is (RFC 7323 5.5). */
export const TS_AGE_MS_MAX: u32 = 2_073_601_000;

export enum SocketFlag {
  NODELAY = 1,
}

/** Bits of the TCP section's flags. */
export enum BlobFlag {
  TIMESTAMPS = 1 << 0,
  SACK = 1 << 1,
  WINDOW_SCALE = 1 << 2,
  ECN = 1 << 3,
  /** Accepted, not opened (RFC 9293 3.5). */
  PASSIVE = 1 << 4,
  FIN_QUEUED = 1 << 5,
  FIN_SENT = 1 << 6,
  FIN_SEEN = 1 << 7,
  FIN_RECEIVED = 1 << 8,
  URGENT_IN = 1 << 9,
  URGENT_OUT = 1 << 10,
  /** Slow start has ended once without a loss (HyStart++ CSS). */
  HYSTART_CSS = 1 << 11,
  /** The path has reordered (RFC 8985). */
  REORDERED = 1 << 12,
  /** Since version 2. ECE is due until the peer says CWR; CWR is due with the next new data. */
  ECN_ECHO = 1 << 13,
  ECN_CWR = 1 << 14,
  /** What is outstanding was sent before the last reduction of cwnd: it asks for no other one. */
  ECN_REDUCED = 1 << 15,
}
/** The flags of version 1, and those that came with version 2. */
export const BLOB_FLAGS_1: u32 = 0x1fff;
export const BLOB_FLAGS_2: u32 = 0xe000;

/** The lowest version that has all these flags. */
export function versionFor(flags: u32): u32 {
  return (flags & BLOB_FLAGS_2) == 0 ? 1 : 2;
}

/**
 * Who names a connection how, as it stands at the end of a blob and at mappingPtr(). Names and epochs are
 * byte strings (docs/messages.md).
 *
 *    0 flow u32   4 generation u32   8 forwarder 8   16 source 8
 *   24 forwarderEpoch 16   40 sourceEpoch 16   56 targetEpoch 16
 *   72 tunnels u32: 1 IPv4, 2 IPv6   76 tunnel4 4   80 tunnel6 16
 */
@unmanaged
export class Mapping {
  flow: u32;
  /** Times the connection was infused, this time included. */
  generation: u32;
  forwarder: u64;
  source: u64;
  forwarderEpoch0: u64;
  forwarderEpoch1: u64;
  sourceEpoch0: u64;
  sourceEpoch1: u64;
  targetEpoch0: u64;
  targetEpoch1: u64;
  /** Which of the forwarder's tunnel addresses follow. */
  tunnels: u32;
  tunnel4: u32;
  tunnel60: u64;
  tunnel61: u64;
  /** Bytes at applicationPtr(); not part of the mapping in a blob. */
  applicationLen: u32;
  pad: u32;
}
export const MAPPING_SIZE: u32 = 104;
/** What of it stands in a blob. */
export const MAPPING_LEN: u32 = 96;
if (offsetof<Mapping>() != MAPPING_SIZE) ERROR("Mapping layout changed");
if (offsetof<Mapping>("applicationLen") != MAPPING_LEN) ERROR("Mapping layout changed");

/** Offsets of Mapping, for the host. */
export enum MappingOff {
  FLOW = 0,
  GENERATION = 4,
  FORWARDER = 8,
  SOURCE = 16,
  FORWARDER_EPOCH = 24,
  SOURCE_EPOCH = 40,
  TARGET_EPOCH = 56,
  TUNNELS = 72,
  TUNNEL4 = 76,
  TUNNEL6 = 80,
  APPLICATION_LEN = 96,
}

/** Total length of a blob with these parts, in 64 bits so that no sum of hostile lengths wraps. */
export function blobLen(ranges: u32, data: u64, application: u32): u64 {
  const body = <u64>ranges * RANGE_SIZE + data + <u64>application;
  return <u64>BLOB_FIXED_LEN + ((body + 7) & ~7) + MAPPING_LEN;
}

/** Bytes of data in the body: what the four counts of the socket section say. */
export function blobDataLen(ptr: usize): u64 {
  return (
    <u64>load<u32>(ptr, BlobOff.UNREAD_LEN) +
    <u64>load<u32>(ptr, BlobOff.UNACKED_LEN) +
    <u64>load<u32>(ptr, BlobOff.UNSENT_LEN) +
    <u64>load<u32>(ptr, BlobOff.RANGE_LEN)
  );
}

const FNV_OFFSET: u64 = 0xcbf29ce484222325;
const FNV_PRIME: u64 = 0x100000001b3;

/**
 * FNV-1a over 64-bit words, little-endian; `len` is a multiple of 8. Each step is a bijection, so any change
 * of a single word changes the sum; the transport's cipher is what keeps forgers out.
 */
export function blobSum(ptr: usize, len: u32): u64 {
  let sum = FNV_OFFSET;
  const end = ptr + <usize>len;
  for (let at = ptr; at < end; at += 8) sum = (sum ^ load<u64>(at)) * FNV_PRIME;
  return sum;
}

/** Sum over the fixed part, with its own field as 0. */
export function headerSum(ptr: usize): u64 {
  let sum = blobSum(ptr, BlobOff.HEADER_SUM);
  sum *= FNV_PRIME; // the field itself: x ^ 0
  const end = ptr + <usize>BLOB_FIXED_LEN;
  for (let at = ptr + BlobOff.BODY_SUM; at < end; at += 8) sum = (sum ^ load<u64>(at)) * FNV_PRIME;
  return sum;
}
