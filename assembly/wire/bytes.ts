/**
 * Big-endian loads and stores. The room wire/ knows the bytes of IP, TCP and ICMP headers: pointers in,
 * values in host byte order out. It must not know any state, and network byte order never leaves it;
 * addresses stay bytes.
 */

export function swap16(value: u32): u32 {
  return ((value & 0xff) << 8) | ((value >> 8) & 0xff);
}

export function swap32(value: u32): u32 {
  return (rotl<u32>(value, 8) & 0x00ff00ff) | (rotr<u32>(value, 8) & 0xff00ff00);
}

export function loadBe16(ptr: usize): u32 {
  return swap16(<u32>load<u16>(ptr));
}

export function loadBe32(ptr: usize): u32 {
  return swap32(load<u32>(ptr));
}

export function storeBe16(ptr: usize, value: u32): void {
  store<u16>(ptr, swap16(value));
}

export function storeBe32(ptr: usize, value: u32): void {
  store<u32>(ptr, swap32(value));
}

/** Zeroes `len` bytes, a multiple of 8: for small structures, where a call of memory.fill costs more. */
export function zeroWords(ptr: usize, len: u32): void {
  const end = ptr + <usize>len;
  for (let at = ptr; at < end; at += 8) store<u64>(at, 0);
}
