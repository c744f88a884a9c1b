/**
 * The bytes of a program that the fuzzer plays, read from front to back. Knows bytes; must not know what they mean.
 * Behind the end there are zeros, so that every input is a program.
 */

export const INPUT_MAX: u32 = 4096;
export const INPUT: usize = memory.data(4096, 8);

let at: u32 = 0;
let end: u32 = 0;

export function inputBegin(len: u32): void {
  at = 0;
  end = min<u32>(len, INPUT_MAX);
}

export function inputLeft(): u32 {
  return end - at;
}

export function byte(): u32 {
  if (at == end) return 0;
  const value = <u32>load<u8>(INPUT + at);
  at++;
  return value;
}

/** Little-endian, like the other numbers of more bytes. */
export function half(): u32 {
  const low = byte();
  return low | (byte() << 8);
}

export function word(): u32 {
  const low = half();
  return low | (half() << 16);
}

/** A distance of -128 to 127, or with `wide` of -32,768 to 32,767. */
export function distance(wide: bool): u32 {
  if (!wide) return <u32>((<i32>(byte() << 24)) >> 24);
  return <u32>((<i32>(half() << 16)) >> 16);
}

/** Copies at most `len` bytes of what is left; returns how many. */
export function take(to: usize, len: u32): u32 {
  const count = min<u32>(len, end - at);
  memory.copy(to, INPUT + at, count);
  at += count;
  return count;
}
