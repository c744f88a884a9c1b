/**
 * Counters of one instance: u64 each, at a fixed address, never reset. Knows names and how to add; every
 * packet that is dropped or refused raises exactly one of them. The host reads them all at once.
 */

/** Position of each counter. Append only: a number keeps its meaning. */
export enum Counter {
  /** Segments that the own stack took in, and that it emitted. */
  TCP_SEGMENTS_IN = 0,
  TCP_SEGMENTS_OUT = 1,
  TCP_BYTES_IN = 2,
  TCP_BYTES_OUT = 3,
  /** Connections accepted, opened from here, reset (either side), ended in order, timed out. */
  TCP_ACCEPTED = 4,
  TCP_CONNECTED = 5,
  TCP_RESET = 6,
  TCP_CLOSED = 7,
  TCP_TIMED_OUT = 8,
  /** Bytes sent again; retransmission timeouts; fast recoveries; tail loss probes; undone reductions. */
  TCP_RETRANSMITTED_BYTES = 9,
  TCP_TIMEOUTS = 10,
  TCP_RECOVERIES = 11,
  TCP_TAIL_PROBES = 12,
  TCP_UNDONE = 13,
  /** Segments outside the window, failed PAWS, with an unacceptable ACK. */
  TCP_OUT_OF_WINDOW = 14,
  TCP_PAWS = 15,
  TCP_BAD_ACK = 16,
  /** Challenge ACKs sent, and withheld by their limit (RFC 5961). */
  TCP_CHALLENGES = 17,
  TCP_CHALLENGES_WITHHELD = 18,
  /** SYN cookies sent, accepted, refused. */
  TCP_COOKIES_SENT = 19,
  TCP_COOKIES_ACCEPTED = 20,
  TCP_COOKIES_REFUSED = 21,
  /** SYNs dropped: no block, no reply space, half-open limit without cookies. */
  TCP_SYN_DROPPED = 22,
  /** RSTs emitted for unknown connections; replies dropped because their queue was full. */
  TCP_REFUSED = 23,
  TCP_REPLIES_DROPPED = 24,
  /** TIME-WAIT records recycled before their time; RELEASED events lost with them. */
  TCP_TIME_WAIT_RECYCLED = 25,
  TCP_RELEASED_LOST = 26,
  /** Received bytes not stored: chunk pool or node pool empty, too many ranges out of order. */
  TCP_POOL_DROPPED = 27,
  /** Out-of-order bytes given up under pressure (RFC 2018 section 8). */
  TCP_PRUNED = 28,
  /** Checksums of segments for the own stack that did not match; malformed ones. */
  TCP_CHECKSUM = 29,
  TCP_MALFORMED = 30,
  /** Segments and ICMP errors that arrived for a frozen connection. */
  TCP_FROZEN_DROPPED = 31,
  /** ICMP errors believed, and refused by the sequence check (RFC 5927). */
  TCP_ICMP_TAKEN = 32,
  TCP_ICMP_REFUSED = 33,
  /** Congestion marks received on data (RFC 3168 CE); reductions because the peer echoed one. */
  TCP_ECN_MARKED = 34,
  TCP_ECN_REDUCED = 35,
  /** Soft errors: ICMP errors that were believed, and R1; the connections went on. */
  TCP_TROUBLES = 36,
  /** Paths taken for black holes: large segments vanished, smaller ones are sent. */
  TCP_BLACK_HOLES = 37,
  /** RSTs for unknown connections that the limit of a second withheld. */
  TCP_REFUSALS_WITHHELD = 38,

  /** Packets given to handlePackets, and their bytes. */
  PACKETS_IN = 64,
  BYTES_IN = 65,
  /** Dropped: impossible version or lengths, source route, too many extension headers. */
  IP_MALFORMED = 66,
  IP_FRAGMENT = 67,
  IP_CHECKSUM = 68,
  /** Dropped: a source that no host can have (multicast, broadcast, loopback, unspecified, a service). */
  IP_MARTIAN = 69,
  /** Dropped: neither TCP nor ICMP; neither to a service nor to a tunnel address. */
  IP_PROTOCOL = 70,
  IP_NOT_OURS = 71,
  /** Dropped: TCP header cut off or with an impossible data offset; offload fields that contradict it. */
  SEGMENT_MALFORMED = 72,
  OFFLOAD_MALFORMED = 73,
  /** Encapsulated and to be transmitted, and their bytes; dropped for TTL; for a peer without address. */
  ENCAPSULATED = 74,
  ENCAPSULATED_BYTES = 75,
  ENCAPSULATE_TTL = 76,
  ENCAPSULATE_NO_PEER = 77,
  /** De-encapsulated for the own stack. */
  DECAPSULATED = 78,
  /** Dropped: to a tunnel address, from nobody we know; with a zero half in the flow identifier. */
  TUNNEL_STRANGER = 79,
  TUNNEL_FLOW_ZERO = 80,
  /** Early packets: held, replayed to the stack, handed back, refused by a limit. */
  EARLY_HELD = 81,
  EARLY_REPLAYED = 82,
  EARLY_EXPIRED = 83,
  EARLY_REFUSED = 84,
  /** Segments of frozen flows: held, replayed, refused by a limit. */
  FROZEN_HELD = 85,
  FROZEN_REPLAYED = 86,
  FROZEN_REFUSED = 87,
  /** Packets handed back to a forwarder, by verdict or by pollHandback. */
  HANDED_BACK = 88,
  /** Held packets that were thrown away with their record. */
  HELD_DISCARDED = 89,
  /** Packets of connections that nobody here knows: refused, dropped while recovering, to the host. */
  UNKNOWN_REFUSED = 90,
  UNKNOWN_RECOVERING = 91,
  UNKNOWN_HOST = 92,
  /** On a tombstone: SYN and RST dropped (R16), others refused. */
  TOMB_SYN = 93,
  TOMB_RST = 94,
  TOMB_REFUSED = 95,
  /** ICMP errors: given to the owner's host, to the own stack; no error or about nobody; malformed. */
  ICMP_FORWARDED = 96,
  ICMP_LOCAL = 97,
  ICMP_IGNORED = 98,
  ICMP_MALFORMED = 99,
  /** New entries refused by a table's limit. */
  MAPPINGS_FULL = 100,
  RECORDS_FULL = 101,
  /** Records of ended flows forgotten after T_RECORD, and before it because their ring was full. */
  RECORDS_EXPIRED = 102,
  RECORDS_EVICTED = 103,
  /** Resets of R20: RSTs and probes emitted, refused because their queue was full. */
  RESETS_SENT = 104,
  PROBES_SENT = 105,
  RESETS_FULL = 106,
  /** Packets of a flow that is not ACTIVE here, and whose TCP checksum is wrong. */
  TUNNEL_CHECKSUM = 107,
  /** Frames of the xdp link whose ring entry or header is none; packets with an unfinished checksum. */
  RING_MALFORMED = 108,
  RING_PARTIAL = 109,
}
/** Room for every room's counters. */
export const COUNTERS_MAX: u32 = 256;

export const COUNTERS: usize = memory.data(2048, 8);

export function count(counter: u32): void {
  const ptr = COUNTERS + ((<usize>counter) << 3);
  store<u64>(ptr, load<u64>(ptr) + 1);
}

export function countMany(counter: u32, amount: u64): void {
  const ptr = COUNTERS + ((<usize>counter) << 3);
  store<u64>(ptr, load<u64>(ptr) + amount);
}
