/**
 * The numbers that bound the transport. Those of the wire are constants of both ends; the others are
 * this node's own and can be set (`TransportLimits`).
 */

/** Largest UDP payload: fits 1,500-byte links below IPv6 and one more header of an overlay. */
export const DATAGRAM_BYTES_MAX = 1_400;
/** Header of a sealed datagram, also its additional authenticated data. */
export const HEADER_BYTES = 24;
/** Tag of AES-GCM. */
export const TAG_BYTES = 16;
/** Bytes of a message in every chunk but its last one. */
export const CHUNK_BYTES = 1_336;
/** A message identifier is less than the lowest unfinished one plus this. */
export const MESSAGE_SPAN = 65_536;
/** A chunk is less than the first one missing plus this. */
export const CHUNK_SPAN = 1_024;
/** Most parts of an unreliable message. */
export const UNRELIABLE_PARTS_MAX = 8;
/** Bytes of an unreliable message in every part but its last one. */
export const PART_BYTES = 1_344;
/** What may leave before the first acknowledgement, and the deepest burst ever after. */
export const FIRST_FLIGHT_BYTES = 65_536;
/** Least congestion window: the initial window of RFC 6928. */
export const CWND_BYTES_MIN = 10 * DATAGRAM_BYTES_MAX;
/** Counters a receiver can tell apart from replays. */
export const REPLAY_WINDOW = 4_096;
/** A datagram this much older than an acknowledged one is lost (RFC 9002, 6.1.1). */
export const REORDER_MAX = 3;
/** Past boot epochs of a peer that are remembered as over. */
export const OLDER_EPOCHS_MAX = 64;

export interface TransportLimits {
  /** Longest message, either way. */
  readonly messageBytesMax: number;
  /** Reassembly memory for one peer: the window that it is told. */
  readonly windowBytes: number;
  /** Reassembly memory for all peers. */
  readonly reassemblyBytesMax: number;
  /** Bytes of unfinished outgoing messages of one peer; what exceeds it ends "unknown". */
  readonly queueBytesMax: number;
  /** Unfinished outgoing messages of one peer. */
  readonly queueMessagesMax: number;
  /** Unreliable bytes that wait for the next poll, or for the hello. */
  readonly unreliableBytesMax: number;
  /** Unreliable messages of one peer that lack a part. */
  readonly unreliablePartialMax: number;
  /** How long they may. */
  readonly unreliablePartialUs: number;
  readonly rtoUsInitial: number;
  readonly rtoUsMin: number;
  /** Bound of the backed-off timeout. */
  readonly rtoUsMax: number;
  /** Longest time an acknowledgement waits for company. */
  readonly ackDelayUs: number;
  /** Datagrams that are acknowledged at once even without delay running out. */
  readonly ackEvery: number;
  readonly cwndBytesMax: number;
  /** Datagrams under one key. Both ends must agree. */
  readonly rekeyAfter: number;
  /** Least time between hellos to one peer that it did not ask for. */
  readonly helloGapUs: number;
  /** First interval of an unanswered hello; doubles up to `helloUsMax`. */
  readonly helloUs: number;
  readonly helloUsMax: number;
  /** Hellos of one peer that are answered in a second. */
  readonly helloAnswersMax: number;
}

const MIB = 1_048_576;

export const DEFAULT_LIMITS: TransportLimits = {
  messageBytesMax: 16 * MIB,
  windowBytes: 32 * MIB,
  reassemblyBytesMax: 128 * MIB,
  queueBytesMax: 64 * MIB,
  queueMessagesMax: 32_768,
  unreliableBytesMax: 1 * MIB,
  unreliablePartialMax: 64,
  unreliablePartialUs: 1_000_000,
  rtoUsInitial: 100_000,
  rtoUsMin: 20_000,
  rtoUsMax: 1_000_000,
  ackDelayUs: 1_000,
  ackEvery: 8,
  cwndBytesMax: 1 * MIB,
  rekeyAfter: 2 ** 28,
  helloGapUs: 20_000,
  helloUs: 100_000,
  helloUsMax: 1_000_000,
  helloAnswersMax: 100,
};
