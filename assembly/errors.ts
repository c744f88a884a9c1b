/**
 * Every error the core returns, as one enum. Values are never reused or renumbered; the host reads
 * them from the module's exported globals and mirrors the names.
 */
export enum Err {
  OK = 0,
  /** init() was not called, or was called twice. */
  STATE = -1,
  /** An argument is out of its documented range. */
  ARGUMENT = -2,
  /** The handle names no live connection (wrong index or an older generation). */
  HANDLE = -3,
  /** A table, pool or buffer is full; the matching counter was raised. */
  FULL = -4,
  /** The key is already present. */
  EXISTS = -5,
  /** The key is not present. */
  NOT_FOUND = -6,
  /** The operation does not fit the connection's TCP state (RFC 9293 3.9.1 "connection ..." errors). */
  TCP_STATE = -7,
  /** The connection is frozen: it is being migrated. */
  FROZEN = -8,
  /** memory.grow was refused. */
  MEMORY = -9,
  /** A packet is shorter than its headers say. */
  TRUNCATED = -10,
  /** A header field has an impossible value. */
  MALFORMED = -11,
  /** A checksum does not match. */
  CHECKSUM = -12,
  /** The packet is an IP fragment. */
  FRAGMENT = -13,
  /** The IP protocol is not TCP (or ICMP where it is asked for). */
  PROTOCOL = -14,
  /** TTL or hop limit is used up. */
  TTL = -15,
  /** The peer reset the connection. */
  RESET = -20,
  /** Retransmission or user timeout (R2 of RFC 9293 3.8.3). */
  TIMEOUT = -21,
  /** Nobody answered a connection attempt. */
  REFUSED = -22,
  /** The connection was aborted locally. */
  ABORTED = -23,
  /** As TIMEOUT, after a router had said that the peer cannot be reached (a soft error until then). */
  UNREACHABLE = -24,
  /** A blob does not begin with the magic number, or its lengths do not add up. */
  BLOB_MALFORMED = -30,
  /** A blob's format version is not supported. */
  BLOB_VERSION = -31,
  /** A blob's header or body checksum does not match. */
  BLOB_CHECKSUM = -32,
  /** A blob's fields violate an invariant that export guarantees. */
  BLOB_INVARIANT = -33,
  /** The connection's 4-tuple is already present in this stack. */
  BLOB_DUPLICATE = -34,
}
