/**
 * The keyed hash of the tables that strangers' packets index. The room flow/ knows keys, slots and
 * expiry; must not know TCP states or what an address means.
 *
 * Construction: Multilinear-HM (Lemire and Kaser, "Strongly universal string hashing is fast", 2014) over
 * the key's 32-bit words, h = k0 + sum (k[2i+1] + x[2i]) * (k[2i+2] + x[2i+1]) mod 2^64, then a fixed
 * bijection. Why flooding does not work: for any two different keys of equal length, whatever somebody
 * chooses, the chance over the secret that h collides is at most 2^-32, so keys chosen without knowing the
 * secret collide no more often than random ones. The bijection (xor-shift, multiply) hides the linear
 * structure that h alone has along runs of keys (consecutive ports), which linear probing would otherwise
 * turn into long clusters. No function of the hash leaves the core: the order of a table cannot be seen,
 * and one probe more or less is a few nanoseconds beneath a network's jitter. The secret is drawn for each
 * instance, so nothing learned from one process helps against another.
 */
import { Tuple } from "../layout";

const KEY_COUNT: u32 = 11;
const KEYS: usize = memory.data(88, 8);

/** Expands the 16-byte secret of Parameters to the multipliers. */
export function hashInit(secretPtr: usize): void {
  const low = load<u64>(secretPtr);
  const high = load<u64>(secretPtr, 8);
  for (let index: u32 = 0; index < KEY_COUNT; index++) {
    const step = <u64>(index + 1) * 0x9e3779b97f4a7c15;
    const key = mix(mix(low + step) ^ rotl<u64>(high, <u64>index * 5)) + high;
    store<u64>(KEYS + ((<usize>index) << 3), mix(key));
  }
}

/** A bijection of 64 bits in which every input bit reaches every output bit (murmur3's finaliser). */
function mix(value: u64): u64 {
  let x = value;
  x = (x ^ (x >> 33)) * 0xff51afd7ed558ccd;
  x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53;
  return x ^ (x >> 33);
}

/** One round of the same: enough after the multilinear part, whose high bits are already universal. */
function finish(value: u64): u32 {
  const x = (value ^ (value >> 32)) * 0xff51afd7ed558ccd;
  return <u32>(x >> 32);
}

/** An IPv4 connection: both addresses as they stand in memory, ports in any fixed order. */
export function hash4(remote: u32, local: u32, ports: u32): u32 {
  const first = (load<u64>(KEYS, 8) + <u64>remote) * (load<u64>(KEYS, 16) + <u64>ports);
  const second = (load<u64>(KEYS, 24) + <u64>local) * load<u64>(KEYS, 32);
  return finish(load<u64>(KEYS) + first + second);
}

/** An IPv6 connection likewise. */
export function hash6(remote0: u64, remote1: u64, local0: u64, local1: u64, ports: u32): u32 {
  let sum = load<u64>(KEYS);
  sum += (load<u64>(KEYS, 8) + (remote0 & 0xffffffff)) * (load<u64>(KEYS, 16) + (remote0 >> 32));
  sum += (load<u64>(KEYS, 24) + (remote1 & 0xffffffff)) * (load<u64>(KEYS, 32) + (remote1 >> 32));
  sum += (load<u64>(KEYS, 40) + (local0 & 0xffffffff)) * (load<u64>(KEYS, 48) + (local0 >> 32));
  sum += (load<u64>(KEYS, 56) + (local1 & 0xffffffff)) * (load<u64>(KEYS, 64) + (local1 >> 32));
  sum += (load<u64>(KEYS, 72) + <u64>ports) * load<u64>(KEYS, 80);
  return finish(sum);
}

/** A Tuple of either family. */
export function hashTuple(tuplePtr: usize): u32 {
  const tuple = changetype<Tuple>(tuplePtr);
  const ports = ((<u32>tuple.remotePort) << 16) | (<u32>tuple.localPort);
  if (tuple.family == 4) return hash4(<u32>tuple.remote0, <u32>tuple.local0, ports);
  return hash6(tuple.remote0, tuple.remote1, tuple.local0, tuple.local1, ports);
}

/** Two 32-bit words: a peer and a flow identifier, an address. */
export function hashPair(a: u32, b: u32): u32 {
  return finish(load<u64>(KEYS) + (load<u64>(KEYS, 8) + <u64>a) * (load<u64>(KEYS, 16) + <u64>b));
}

/** Two 64-bit words and one of 32: an IPv6 address and a port. */
export function hashAddress(word0: u64, word1: u64, port: u32): u32 {
  return hash6(word0, word1, 0, 0, port);
}
