/**
 * The internet checksum: sums, pseudo headers, incremental updates. RFC 1071, RFC 1624 (equation 3),
 * RFC 9293 3.1 and RFC 8200 8.1 (pseudo headers), virtio 1.2 5.1.6.2 (partial checksums).
 *
 * A "sum" here is a u64 of native-order (little-endian) words that were added without folding. Because
 * 2^16 = 1 modulo 0xffff, words of 16 and 32 bits may be mixed and folded at the end, and the folded
 * value is stored as it is: byte order cancels out (RFC 1071 section 2 B). A u64 holds 2^31 words.
 */
import { swap16 } from "./bytes";

/**
 * Folds a sum to 16 bits. 0 only if every word was 0; a correct checksummed range gives 0xffff. Adding the halves in
 * swapped places leaves their sum, its carry brought round, in the upper half.
 */
export function sumFold(sum: u64): u32 {
  const folded = <u32>((sum + rotl<u64>(sum, 32)) >> 32);
  return (folded + rotl<u32>(folded, 16)) >> 16;
}

/**
 * Adds the bytes of [ptr, ptr + len) to a sum. An odd last byte counts as if a zero followed, so only the
 * last range of a packet may be odd.
 */
export function sumBytes(ptr: usize, len: u32, sum: u64): u64 {
  let at = ptr;
  let left = len;
  let total = sum;
  if (ASC_FEATURE_SIMD) {
    while (left >= VECTOR_LEN_MIN) {
      const part = min<u32>(left & ~63, VECTOR_LEN_MAX);
      total += sumVectors(at, part);
      at += part;
      left -= part;
    }
  }
  let even = total;
  let odd: u64 = 0;
  while (left >= 32) {
    const a = load<u64>(at);
    const b = load<u64>(at, 8);
    const c = load<u64>(at, 16);
    const d = load<u64>(at, 24);
    even += (a & 0xffffffff) + (b & 0xffffffff) + (c & 0xffffffff) + (d & 0xffffffff);
    odd += (a >> 32) + (b >> 32) + (c >> 32) + (d >> 32);
    at += 32;
    left -= 32;
  }
  return sumTail(at, left, even + odd);
}

/** Below this the set-up of vectors costs more than they save. */
const VECTOR_LEN_MIN: u32 = 128;
/** 65,536 bytes: a lane then holds at most 1,024 times four words of 16 bits, less than 2^31 either way. */
const VECTOR_LEN_MAX: u32 = 65536;

/**
 * Sum of the 16-bit words of [ptr, ptr + len), len a multiple of 64 and at most VECTOR_LEN_MAX. Multiplying by one
 * and adding pairs is a single instruction for signed words only, so 0x8000 is taken from each before and given
 * back after.
 */
function sumVectors(ptr: usize, len: u32): u64 {
  const ones = i16x8.splat(1);
  const bias = i16x8.splat(-0x8000);
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  let c = i32x4.splat(0);
  let d = i32x4.splat(0);
  const end = ptr + <usize>len;
  for (let at = ptr; at < end; at += 64) {
    a = i32x4.add(a, i32x4.dot_i16x8_s(v128.xor(v128.load(at), bias), ones));
    b = i32x4.add(b, i32x4.dot_i16x8_s(v128.xor(v128.load(at, 16), bias), ones));
    c = i32x4.add(c, i32x4.dot_i16x8_s(v128.xor(v128.load(at, 32), bias), ones));
    d = i32x4.add(d, i32x4.dot_i16x8_s(v128.xor(v128.load(at, 48), bias), ones));
  }
  return lanes(a) + lanes(b) + lanes(c) + lanes(d) + ((<u64>(len >> 1)) << 15);
}

/** The four lanes as signed numbers. */
function lanes(vector: v128): u64 {
  const low = i64x2.extend_low_i32x4_s(vector);
  const sum = i64x2.add(low, i64x2.extend_high_i32x4_s(vector));
  return i64x2.extract_lane(sum, 0) + i64x2.extract_lane(sum, 1);
}

/** The last 0 to 31 bytes. */
function sumTail(ptr: usize, len: u32, sum: u64): u64 {
  let at = ptr;
  let total = sum;
  if (len & 16) {
    const a = load<u64>(at);
    const b = load<u64>(at, 8);
    total += (a & 0xffffffff) + (a >> 32) + (b & 0xffffffff) + (b >> 32);
    at += 16;
  }
  if (len & 8) {
    const a = load<u64>(at);
    total += (a & 0xffffffff) + (a >> 32);
    at += 8;
  }
  if (len & 4) {
    total += <u64>load<u32>(at);
    at += 4;
  }
  if (len & 2) {
    total += <u64>load<u16>(at);
    at += 2;
  }
  if (len & 1) total += <u64>load<u8>(at);
  return total;
}

/**
 * Copies [from, from + len) to [to, to + len), which must not overlap, and returns `sum` plus its words:
 * one pass over memory instead of two.
 */
export function sumCopy(to: usize, from: usize, len: u32, sum: u64): u64 {
  let target = to;
  let at = from;
  let left = len;
  let even = sum;
  let odd: u64 = 0;
  while (left >= 32) {
    const a = load<u64>(at);
    const b = load<u64>(at, 8);
    const c = load<u64>(at, 16);
    const d = load<u64>(at, 24);
    store<u64>(target, a);
    store<u64>(target, b, 8);
    store<u64>(target, c, 16);
    store<u64>(target, d, 24);
    even += (a & 0xffffffff) + (b & 0xffffffff) + (c & 0xffffffff) + (d & 0xffffffff);
    odd += (a >> 32) + (b >> 32) + (c >> 32) + (d >> 32);
    at += 32;
    target += 32;
    left -= 32;
  }
  if (left > 0) memory.copy(target, at, left);
  return sumTail(at, left, even + odd);
}

/**
 * Appends a range that begins at an odd offset of the packet to a sum: its bytes sit in the other half
 * of each word, which swapping the folded sum undoes (RFC 1071 section 2 B).
 */
export function sumAppend(sum: u64, rangeSum: u64, offset: u32): u64 {
  return sum + ((offset & 1) != 0 ? <u64>swap16(sumFold(rangeSum)) : rangeSum);
}

/** Sum of the pseudo header of a packet: addresses, protocol and transport length. IPv4. */
export function pseudoSumV4(ipPtr: usize, protocol: u32, transportLen: u32): u64 {
  return (
    <u64>load<u32>(ipPtr, 12) + <u64>load<u32>(ipPtr, 16) + lengthWords(protocol, transportLen)
  );
}

/** The same for IPv6. The destination is that of the header: no routing header passes ipCheck. */
export function pseudoSumV6(ipPtr: usize, protocol: u32, transportLen: u32): u64 {
  return sumBytes(ipPtr + 8, 32, lengthWords(protocol, transportLen));
}

/** The same for either family, by the version field. */
export function pseudoSum(ipPtr: usize, protocol: u32, transportLen: u32): u64 {
  return load<u8>(ipPtr) >> 4 == 4
    ? pseudoSumV4(ipPtr, protocol, transportLen)
    : pseudoSumV6(ipPtr, protocol, transportLen);
}

function lengthWords(protocol: u32, transportLen: u32): u64 {
  return <u64>swap16(transportLen) + <u64>(protocol << 8);
}

/** True when the transport checksum (TCP, ICMPv6) of a checked packet is right. */
export function transportChecksumOk(ipPtr: usize, ptr: usize, len: u32, protocol: u32): bool {
  return sumFold(sumBytes(ptr, len, pseudoSum(ipPtr, protocol, len))) == 0xffff;
}

/** The value to store in a checksum field whose packet, field as zero, has this sum. */
export function checksumOf(sum: u64): u32 {
  return ~sumFold(sum) & 0xffff;
}

/**
 * RFC 1624 equation 3, HC' = ~(~HC + ~m + m'), in place: replaces words in a full checksum.
 * @param fieldPtr  address of the checksum field
 * @param removed   sum of `~word` over the old words: see `sumNot32`
 * @param added     sum of the new words
 * A field of 0xffff, which no conforming sender emits, is treated as its equal 0x0000.
 */
export function checksumUpdate(fieldPtr: usize, removed: u64, added: u64): void {
  const sum = <u64>(~(<u32>load<u16>(fieldPtr)) & 0xffff) + removed + added;
  store<u16>(fieldPtr, ~sumFold(sum));
}

/**
 * The same for a partial checksum (NEEDS_CSUM): the field holds the folded pseudo-header sum itself, not
 * its complement, so words of the pseudo header are replaced in the sum and ports must not touch it.
 */
export function partialUpdate(fieldPtr: usize, removed: u64, added: u64): void {
  store<u16>(fieldPtr, sumFold(<u64>load<u16>(fieldPtr) + removed + added));
}

/** What to pass as `removed` for a 32-bit word: its complement. */
export function sumNot32(word: u32): u64 {
  return <u64>~word;
}

/** What to pass as `removed` for a 64-bit word: the complements of its halves. */
export function sumNot64(word: u64): u64 {
  return <u64>~(<u32>word) + <u64>~(<u32>(word >> 32));
}

/** The sum of a 64-bit word. */
export function sum64(word: u64): u64 {
  return (word & 0xffffffff) + (word >> 32);
}
