/**
 * What the transport counts. Every datagram handed in is counted in exactly one of the first group
 * beside `datagramsIn`, so they add up.
 */
export interface TransportCounters {
  datagramsIn: number;
  /** Opened, fresh, well formed. */
  opened: number;
  /** Authentic hellos for this node. */
  hellos: number;
  /** Not a datagram of this protocol, or frames that no sender writes. */
  malformed: number;
  /** Sealed for another session than a current one: an ended epoch, another key, or a guess. */
  unknownSession: number;
  /** Seen before, or too old to tell. */
  replayed: number;
  /** The tag of a datagram or the code of a hello does not fit. */
  forged: number;
  /** Hello of a node that is not a peer, or for another one, or another worker. */
  helloStray: number;
  /** Hello of an epoch that is known to be over. */
  helloOlder: number;

  datagramsOut: number;
  bytesIn: number;
  bytesOut: number;
  hellosOut: number;
  /** Hellos whose echo answers no challenge of this node. */
  helloStale: number;
  /** Hellos left unanswered to keep the rate. */
  helloLimited: number;
  /** Epochs of peers proved. */
  epochs: number;

  messagesOut: number;
  messagesDelivered: number;
  /** Outcomes "unknown": the epoch ended, the limit passed, or the queue was full. */
  messagesUnknown: number;
  /** Of those, the ones that found the queue full. */
  messagesRefused: number;
  messagesIn: number;
  /** Messages that left for another peer while they came. */
  messagesPassed: number;
  /** Messages whose sender gave them up before they were whole. */
  messagesDropped: number;
  chunksOut: number;
  chunksRepeated: number;
  chunksIn: number;
  chunksDuplicate: number;
  /** Chunks without a place: reassembly memory is used up. Their sender waits and sends them again. */
  reassemblyRefused: number;
  /** Reassembly memory now in use, of all peers: a level, not a count. */
  reassemblyBytes: number;
  /** Chunks of a message too far ahead; no correct sender sends one. */
  spanRefused: number;
  timeouts: number;
  windowProbes: number;

  unreliableOut: number;
  unreliableIn: number;
  /** Longer than the parts allow. */
  unreliableTooLong: number;
  /** Found their queue full. */
  unreliableRefused: number;
  /** Lost a part and were forgotten. */
  unreliableExpired: number;
}

export function createCounters(): TransportCounters {
  return {
    datagramsIn: 0,
    opened: 0,
    hellos: 0,
    malformed: 0,
    unknownSession: 0,
    replayed: 0,
    forged: 0,
    helloStray: 0,
    helloOlder: 0,
    datagramsOut: 0,
    bytesIn: 0,
    bytesOut: 0,
    hellosOut: 0,
    helloStale: 0,
    helloLimited: 0,
    epochs: 0,
    messagesOut: 0,
    messagesDelivered: 0,
    messagesUnknown: 0,
    messagesRefused: 0,
    messagesIn: 0,
    messagesPassed: 0,
    messagesDropped: 0,
    chunksOut: 0,
    chunksRepeated: 0,
    chunksIn: 0,
    chunksDuplicate: 0,
    reassemblyRefused: 0,
    reassemblyBytes: 0,
    spanRefused: 0,
    timeouts: 0,
    windowProbes: 0,
    unreliableOut: 0,
    unreliableIn: 0,
    unreliableTooLong: 0,
    unreliableRefused: 0,
    unreliableExpired: 0,
  };
}
