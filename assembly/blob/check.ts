/**
 * The invariants of a blob: the one function that export asserts and import demands. Knows the format and
 * RFC 9293; must not know connection blocks. Every byte may be hostile: all sums are in 64 bits, nothing is read
 * before its length is known to be there.
 */
import { Err } from "../errors";
import { State } from "../report";
import { seqGe, seqGt, seqLe, seqLt } from "../wire/seq";
import { QUEUE_BYTES_MAX } from "../tcp/buffer";
import { BUFFER_MAX } from "../tcp/config";
import { RANGES_MAX } from "../tcp/reassembly";
import { RTO_US_MAX, RTO_US_MIN } from "../tcp/rtt";
import {
  APPLICATION_LEN_MAX,
  BLOB_FIXED_LEN,
  BLOB_FLAGS_1,
  BLOB_FLAGS_2,
  BLOB_MAGIC,
  BLOB_VERSION,
  BLOB_VERSION_MIN,
  BlobFlag,
  BlobOff,
  IP_RESERVED_LEN,
  MAPPING_LEN,
  Mapping,
  RANGE_SIZE,
  SOCKET_RESERVED_LEN,
  SocketFlag,
  TCP_RESERVED_LEN,
  TS_AGE_MS_MAX,
  blobDataLen,
  blobLen,
  blobSum,
  headerSum,
  versionFor,
} from "./format";

const WINDOW_SHIFT_MAX: u32 = 14;
/** Smallest path MTU of a connection: RFC 791's 68 would leave no room for options and data. */
const PATH_MTU_MIN: u32 = 256;
/** Longest keep-alive and user timeout: 2^45 microseconds are more than a year. */
const TIMEOUT_US_MAX: u64 = 1 << 45;
const CONGESTION_MAX: u32 = 1;
const WINDOW_MAX: u32 = 1 << 30;
const DSCP_MAX: u32 = 63;
const KEEP_PROBES_MAX: u32 = 255;
const REO_MULT_MAX: u32 = 20;

/**
 * @param ptr address of a blob
 * @param len bytes that are there
 * @returns Err.OK, BLOB_MALFORMED, BLOB_VERSION, BLOB_CHECKSUM or BLOB_INVARIANT
 */
export function blobCheck(ptr: usize, len: u32): i32 {
  if (len < BLOB_FIXED_LEN + MAPPING_LEN) return Err.BLOB_MALFORMED;
  if (get(ptr, BlobOff.MAGIC) != BLOB_MAGIC) return Err.BLOB_MALFORMED;
  const version = <u32>load<u16>(ptr, BlobOff.VERSION);
  if (version < BLOB_VERSION_MIN || BLOB_VERSION < version) return Err.BLOB_VERSION;
  if (<u32>load<u16>(ptr, BlobOff.FIXED_LEN) != BLOB_FIXED_LEN) return Err.BLOB_MALFORMED;
  if (get(ptr, BlobOff.TOTAL_LEN) != len) return Err.BLOB_MALFORMED;
  const ranges = get(ptr, BlobOff.RANGE_COUNT);
  const application = get(ptr, BlobOff.APPLICATION_LEN);
  if (blobLen(ranges, blobDataLen(ptr), application) != <u64>len) return Err.BLOB_MALFORMED;
  if (headerSum(ptr) != load<u64>(ptr, BlobOff.HEADER_SUM)) return Err.BLOB_CHECKSUM;
  const bodyLen = len - BLOB_FIXED_LEN;
  if (blobSum(ptr + BLOB_FIXED_LEN, bodyLen) != load<u64>(ptr, BlobOff.BODY_SUM)) {
    return Err.BLOB_CHECKSUM;
  }
  const sound =
    reservedFits(ptr, len) &&
    socketFits(ptr) &&
    stateFits(ptr) &&
    sendFits(ptr) &&
    receiveFits(ptr) &&
    rangesFit(ptr) &&
    optionsFit(ptr) &&
    timingFits(ptr) &&
    addressesFit(ptr) &&
    mappingFits(ptr + len - MAPPING_LEN);
  return sound ? Err.OK : Err.BLOB_INVARIANT;
}

function get(ptr: usize, off: u32): u32 {
  return load<u32>(ptr + <usize>off);
}

function isSet(ptr: usize, flag: u32): bool {
  return (load<u32>(ptr, BlobOff.FLAGS) & flag) != 0;
}

function isZero(ptr: usize, len: u32): bool {
  let bits: u32 = 0;
  for (let index: u32 = 0; index < len; index++) bits |= <u32>load<u8>(ptr + <usize>index);
  return bits == 0;
}

/** Reserved bytes and the padding before the mapping. */
function reservedFits(ptr: usize, len: u32): bool {
  const used =
    BLOB_FIXED_LEN +
    get(ptr, BlobOff.RANGE_COUNT) * RANGE_SIZE +
    <u32>blobDataLen(ptr) +
    get(ptr, BlobOff.APPLICATION_LEN);
  return (
    get(ptr, BlobOff.HEADER_RESERVED) == 0 &&
    isZero(ptr + BlobOff.SOCKET_RESERVED, SOCKET_RESERVED_LEN) &&
    isZero(ptr + BlobOff.TCP_RESERVED, TCP_RESERVED_LEN) &&
    isZero(ptr + BlobOff.IP_RESERVED, IP_RESERVED_LEN) &&
    isZero(ptr + <usize>used, len - MAPPING_LEN - used)
  );
}

function socketFits(ptr: usize): bool {
  return (
    get(ptr, BlobOff.SOCKET_FLAGS) <= <u32>SocketFlag.NODELAY &&
    get(ptr, BlobOff.APPLICATION_LEN) <= APPLICATION_LEN_MAX &&
    get(ptr, BlobOff.SND_BUF) <= BUFFER_MAX &&
    get(ptr, BlobOff.SND_BUF_MAX) <= BUFFER_MAX &&
    get(ptr, BlobOff.RCV_BUF) <= BUFFER_MAX &&
    get(ptr, BlobOff.RCV_BUF_MAX) <= BUFFER_MAX &&
    load<u64>(ptr, BlobOff.KEEP_IDLE_US) <= TIMEOUT_US_MAX &&
    load<u64>(ptr, BlobOff.KEEP_INTERVAL_US) <= TIMEOUT_US_MAX &&
    load<u64>(ptr, BlobOff.USER_TIMEOUT_US) <= TIMEOUT_US_MAX &&
    get(ptr, BlobOff.KEEP_PROBES_MAX) <= KEEP_PROBES_MAX
  );
}

/** The state is what the FINs say (RFC 9293 3.3.2, figure 5). */
function stateFits(ptr: usize): bool {
  const flags = get(ptr, BlobOff.FLAGS);
  if ((flags & ~(BLOB_FLAGS_1 | BLOB_FLAGS_2)) != 0) return false;
  if (<u32>load<u16>(ptr, BlobOff.VERSION) < versionFor(flags)) return false;
  const sent = isSet(ptr, BlobFlag.FIN_SENT);
  const received = isSet(ptr, BlobFlag.FIN_RECEIVED);
  if (sent && !isSet(ptr, BlobFlag.FIN_QUEUED)) return false;
  if (received && !isSet(ptr, BlobFlag.FIN_SEEN)) return false;
  const acked = sent && get(ptr, BlobOff.SND_UNA) == get(ptr, BlobOff.SND_NXT);
  switch (get(ptr, BlobOff.STATE)) {
    case State.ESTABLISHED:
      return !sent && !received;
    case State.FIN_WAIT_1:
      return sent && !acked && !received;
    case State.FIN_WAIT_2:
      return acked && !received;
    case State.CLOSE_WAIT:
      return !sent && received;
    case State.CLOSING:
    case State.LAST_ACK:
      return sent && !acked && received;
    default:
      return false;
  }
}

/** SND.UNA <= SND.NXT, and the data is exactly what lies between SND.UNA and the last byte written. */
function sendFits(ptr: usize): bool {
  const sndUna = get(ptr, BlobOff.SND_UNA);
  const sndNxt = get(ptr, BlobOff.SND_NXT);
  const flight = sndNxt - sndUna;
  const sent = isSet(ptr, BlobFlag.FIN_SENT);
  const fin: u32 = sent && flight != 0 ? 1 : 0;
  const unsent = get(ptr, BlobOff.UNSENT_LEN);
  if (sent && unsent != 0) return false;
  if (flight - fin != get(ptr, BlobOff.UNACKED_LEN)) return false;
  if (<u64>flight + <u64>unsent > <u64>BUFFER_MAX + 1) return false;
  const shift = <u32>load<u8>(ptr, BlobOff.SND_WND_SHIFT);
  if (shift > WINDOW_SHIFT_MAX) return false;
  const sndWndMax = get(ptr, BlobOff.SND_WND_MAX);
  return get(ptr, BlobOff.SND_WND) <= sndWndMax && sndWndMax <= (<u32>0xffff) << shift;
}

/** What is promised fits the queue; a FIN lies at or beyond what has arrived. */
function receiveFits(ptr: usize): bool {
  const rcvNxt = get(ptr, BlobOff.RCV_NXT);
  const rcvWnd = get(ptr, BlobOff.RCV_WND);
  const shift = <u32>load<u8>(ptr, BlobOff.RCV_WND_SHIFT);
  if (shift > WINDOW_SHIFT_MAX || rcvWnd > (<u32>0xffff) << shift) return false;
  if (<u64>get(ptr, BlobOff.UNREAD_LEN) + <u64>rcvWnd + 1 >= <u64>QUEUE_BYTES_MAX) return false;
  if (seqGt(get(ptr, BlobOff.LAST_ACK_SENT), rcvNxt)) return false;
  const finSeq = get(ptr, BlobOff.FIN_SEQ);
  if (isSet(ptr, BlobFlag.FIN_RECEIVED)) {
    return rcvNxt == finSeq + 1 && get(ptr, BlobOff.RANGE_COUNT) == 0;
  }
  if (!isSet(ptr, BlobFlag.FIN_SEEN)) return true;
  return seqGe(finSeq, rcvNxt) && finSeq - rcvNxt <= WINDOW_MAX;
}

/** Ranges are in order, apart from each other, beyond RCV.NXT, within the window and before a FIN. */
function rangesFit(ptr: usize): bool {
  const count = get(ptr, BlobOff.RANGE_COUNT);
  if (count > RANGES_MAX) return false;
  const rcvNxt = get(ptr, BlobOff.RCV_NXT);
  const edge = rcvNxt + get(ptr, BlobOff.RCV_WND);
  const bounded = isSet(ptr, BlobFlag.FIN_SEEN);
  let last = rcvNxt;
  let sum: u64 = 0;
  for (let index: u32 = 0; index < count; index++) {
    const at = ptr + <usize>(BLOB_FIXED_LEN + index * RANGE_SIZE);
    const start = load<u32>(at);
    const end = load<u32>(at, 4);
    if (!seqLt(last, start) || !seqLt(start, end) || seqGt(end, edge)) return false;
    if (bounded && seqGt(end, get(ptr, BlobOff.FIN_SEQ))) return false;
    sum += <u64>(end - start);
    last = end;
  }
  return sum == <u64>get(ptr, BlobOff.RANGE_LEN);
}

/** What was not negotiated is not there. */
function optionsFit(ptr: usize): bool {
  const shifts = <u32>load<u16>(ptr, BlobOff.SND_WND_SHIFT);
  const ecn: u32 = BlobFlag.ECN_ECHO | BlobFlag.ECN_CWR | BlobFlag.ECN_REDUCED;
  if (!isSet(ptr, BlobFlag.ECN) && isSet(ptr, ecn)) return false;
  if (!isSet(ptr, BlobFlag.WINDOW_SCALE) && shifts != 0) return false;
  const tsBits = get(ptr, BlobOff.TS_RECENT) | get(ptr, BlobOff.TS_VAL);
  if (!isSet(ptr, BlobFlag.TIMESTAMPS)) {
    return tsBits == 0 && get(ptr, BlobOff.TS_RECENT_AGE_MS) == 0;
  }
  return get(ptr, BlobOff.TS_RECENT_AGE_MS) <= TS_AGE_MS_MAX;
}

function timingFits(ptr: usize): bool {
  const rtoUs = get(ptr, BlobOff.RTO_US);
  const cwnd = get(ptr, BlobOff.CWND);
  const reoMult = get(ptr, BlobOff.RACK_REO_MULT);
  return (
    get(ptr, BlobOff.SRTT_US) <= RTO_US_MAX &&
    get(ptr, BlobOff.RTTVAR_US) <= RTO_US_MAX &&
    RTO_US_MIN <= rtoUs &&
    rtoUs <= RTO_US_MAX &&
    1 <= cwnd &&
    cwnd <= WINDOW_MAX &&
    get(ptr, BlobOff.CONGESTION) <= CONGESTION_MAX &&
    get(ptr, BlobOff.CUBIC_W_MAX) <= WINDOW_MAX &&
    1 <= reoMult &&
    reoMult <= REO_MULT_MAX
  );
}

function addressesFit(ptr: usize): bool {
  const family = get(ptr, BlobOff.TUPLE);
  const at = ptr + BlobOff.TUPLE;
  if (load<u16>(at, 4) == 0 || load<u16>(at, 6) == 0) return false;
  if (family == 4) {
    if (!isZero(at + 12, 12) || !isZero(at + 28, 12)) return false;
  } else if (family != 6) return false;
  return (
    load<u8>(ptr, BlobOff.TTL) != 0 &&
    <u32>load<u8>(ptr, BlobOff.DSCP) <= DSCP_MAX &&
    <u32>load<u16>(ptr, BlobOff.PATH_MTU) >= PATH_MTU_MIN
  );
}

function mappingFits(ptr: usize): bool {
  const mapping = changetype<Mapping>(ptr);
  const has4 = (mapping.tunnels & 1) != 0;
  const has6 = (mapping.tunnels & 2) != 0;
  return (
    mapping.tunnels <= 3 &&
    (mapping.flow & 0xffff) != 0 &&
    mapping.flow >> 16 != 0 &&
    mapping.generation != 0 &&
    has4 == (mapping.tunnel4 != 0) &&
    has6 == ((mapping.tunnel60 | mapping.tunnel61) != 0)
  );
}
