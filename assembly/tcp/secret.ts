/**
 * What must be unpredictable outside and agree inside: initial sequence numbers (RFC 6528), timestamp
 * offsets (RFC 7323 7.1), SYN cookies' keys, all by SipHash over the cluster's secret and wall time, so that every
 * node and every restart gives the same answer for a 4-tuple. Knows keys and clocks; must not know connections.
 */
let secret0: u64 = 0;
let secret1: u64 = 0;
/** Wall clock minus monotonic clock, microseconds. */
let wallOffsetUs: i64 = 0;

/** Purposes: the same secret never answers two questions. */
const PURPOSE_ISN: u64 = 0x4953_4e00;
const PURPOSE_TIMESTAMP: u64 = 0x5453_0000;
const PURPOSE_COOKIE: u64 = 0x434f_4f4b;

/**
 * @param clusterPtr 16 bytes that all nodes share
 * @param wallMs     milliseconds since 1970 at `nowUs`
 */
export function secretInit(clusterPtr: usize, wallMs: f64, nowUs: f64): void {
  secret0 = load<u64>(clusterPtr);
  secret1 = load<u64>(clusterPtr, 8);
  wallOffsetUs = <i64>(wallMs * 1000.0) - <i64>nowUs;
}

/**
 * ISN = M + F(4-tuple, secret), M ticking every 64 nanoseconds of wall time as in Linux. The 4 microseconds of RFC
 * 6528 stay ahead of a connection's own numbers only up to 250 kB/s: a client that resets a faster one and opens it
 * again at once would take its late segments for new data.
 */
export function isnOf(tuplePtr: usize, now: u64): u32 {
  const clock = <u32>(((now + wallOffsetUs) * 125) >> 3);
  return clock + <u32>sipTuple(secret0, secret1, tuplePtr, PURPOSE_ISN);
}

/** What to add to monotonic milliseconds to get the TSval clock of a 4-tuple. */
export function timestampOffsetOf(tuplePtr: usize): u32 {
  const hashed = <u32>sipTuple(secret0, secret1, tuplePtr, PURPOSE_TIMESTAMP);
  return hashed + <u32>(wallOffsetUs / 1000);
}

/** 24 bits of a SYN cookie for a 4-tuple, the client's ISN, a period of time and an MSS index. */
export function cookieHash(tuplePtr: usize, irs: u32, period: u32, mssIndex: u32): u32 {
  const extra = ((<u64>irs) << 32) ^ ((<u64>period) << 8) ^ (<u64>mssIndex);
  return (<u32>sipTuple(secret0 ^ PURPOSE_COOKIE, secret1, tuplePtr, extra)) & 0xffffff;
}

/** Wall time in periods of 64 s. */
export function cookiePeriod(now: u64): u32 {
  return <u32>(<u64>(now + wallOffsetUs) / 64_000_000);
}

/**
 * SipHash-2-4 of the 40 bytes of a Tuple and one more word. Its state lies in locals, for which there are
 * registers, so a round is written out twice: a SYN asks for two of these hashes.
 */
function sipTuple(k0: u64, k1: u64, tuplePtr: usize, extra: u64): u64 {
  let v0 = k0 ^ 0x736f6d6570736575;
  let v1 = k1 ^ 0x646f72616e646f6d;
  let v2 = k0 ^ 0x6c7967656e657261;
  let v3 = k1 ^ 0x7465646279746573;
  for (let off: usize = 0; off <= 48; off += 8) {
    const word = off < 40 ? load<u64>(tuplePtr + off) : off == 40 ? extra : (<u64>48) << 56;
    v3 ^= word;
    for (let round = 0; round < 2; round++) {
      v0 += v1;
      v2 += v3;
      v1 = rotl<u64>(v1, 13) ^ v0;
      v3 = rotl<u64>(v3, 16) ^ v2;
      v0 = rotl<u64>(v0, 32) + v3;
      v2 += v1;
      v3 = rotl<u64>(v3, 21) ^ v0;
      v1 = rotl<u64>(v1, 17) ^ v2;
      v2 = rotl<u64>(v2, 32);
    }
    v0 ^= word;
  }
  v2 ^= 0xff;
  for (let round = 0; round < 4; round++) {
    v0 += v1;
    v2 += v3;
    v1 = rotl<u64>(v1, 13) ^ v0;
    v3 = rotl<u64>(v3, 16) ^ v2;
    v0 = rotl<u64>(v0, 32) + v3;
    v2 += v1;
    v3 = rotl<u64>(v3, 21) ^ v0;
    v1 = rotl<u64>(v1, 17) ^ v2;
    v2 = rotl<u64>(v2, 32);
  }
  return v0 ^ v1 ^ v2 ^ v3;
}
