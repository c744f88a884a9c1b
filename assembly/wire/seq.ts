/**
 * Sequence arithmetic modulo 2^32, the only place where sequence numbers are compared.
 * RFC 9293 3.4 (MUST-1: unsigned, all comparisons modulo 2^32). Two numbers exactly 2^31 apart compare
 * as "less" in both directions; no window (at most 2^30, RFC 7323 2.3) reaches that far.
 */

export function seqLt(a: u32, b: u32): bool {
  return <i32>(a - b) < 0;
}

export function seqLe(a: u32, b: u32): bool {
  return !seqLt(b, a);
}

export function seqGt(a: u32, b: u32): bool {
  return seqLt(b, a);
}

export function seqGe(a: u32, b: u32): bool {
  return !seqLt(a, b);
}

/** start <= seq < start + len, exact for every len: an empty range contains nothing. */
export function seqIn(seq: u32, start: u32, len: u32): bool {
  return seq - start < len;
}

/** a < seq <= b where a <= b: the form of "SND.UNA < SEG.ACK =< SND.NXT". */
export function seqInAfter(seq: u32, a: u32, b: u32): bool {
  return seq - a - 1 < b - a;
}

/** a <= seq <= b where a <= b. */
export function seqBetween(seq: u32, a: u32, b: u32): bool {
  return seq - a <= b - a;
}

export function seqMax(a: u32, b: u32): u32 {
  return seqLt(a, b) ? b : a;
}

export function seqMin(a: u32, b: u32): u32 {
  return seqLt(a, b) ? a : b;
}

/** Signed distance from b to a. */
export function seqDiff(a: u32, b: u32): i32 {
  return <i32>(a - b);
}
