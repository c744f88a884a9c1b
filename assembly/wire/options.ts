/**
 * TCP options: parsed into one static scratch structure, written in Linux's order and padding.
 * RFC 9293 3.2 (MUST-4 to 7, 64, 68), 7323 (window scale, timestamps), 2018 and 2883 (SACK).
 */
import { SACK_BLOCKS_MAX } from "../limits";
import { loadBe16, loadBe32, storeBe32 } from "./bytes";
import { TCP_HEADER_LEN } from "./tcp";

/** Bits of `present`. */
export enum OptionBit {
  MSS = 1,
  WINDOW_SCALE = 2,
  SACK_PERMITTED = 4,
  SACK = 8,
  TIMESTAMPS = 16,
}

/** RFC 7323 2.3: a larger shift is used as 14. */
export const WINDOW_SHIFT_MAX: u32 = 14;

/**
 * What the last optionsParse found. A field is valid only when its bit is set.
 *
 *    0 present      OptionBit bits
 *    4 mss          8 windowShift
 *   12 tsVal       16 tsEcr
 *   20 sackCount   24 blocks of {left u32, right u32}, in the order received
 */
@unmanaged
export class Options {
  present: u32;
  mss: u32;
  windowShift: u32;
  tsVal: u32;
  tsEcr: u32;
  sackCount: u32;
  left0: u32;
  right0: u32;
  left1: u32;
  right1: u32;
  left2: u32;
  right2: u32;
  left3: u32;
  right3: u32;
}
export const OPTIONS_SIZE: u32 = 56;
if (offsetof<Options>() != OPTIONS_SIZE) ERROR("Options layout changed");
const BLOCKS_OFF: usize = 24;
if (offsetof<Options>("left0") != BLOCKS_OFF) ERROR("Options layout changed");

/** The scratch structure; overwritten by every optionsParse. */
export const OPTIONS: usize = memory.data(56, 8);

/** TSval and TSecr of an option that did not stand where nearly all do. */
const TIMESTAMPS: usize = memory.data(8, 8);

const KIND_END: u32 = 0;
const KIND_NOP: u32 = 1;
const KIND_MSS: u32 = 2;
const KIND_WINDOW_SCALE: u32 = 3;
const KIND_SACK_PERMITTED: u32 = 4;
const KIND_SACK: u32 = 5;
const KIND_TIMESTAMPS: u32 = 8;

/** NOP NOP TIMESTAMPS 10 as it stands in memory: what nearly every data segment begins with. */
export const TIMESTAMPS_ALIGNED: u32 = 0x0a080101;

/**
 * Parses the options of a checked header into OPTIONS.
 * @param tcpPtr    first byte of the TCP header
 * @param headerLen what tcpCheck returned
 * @param syn       true for a SYN: MSS, window scale and SACK-permitted count only there (MUST-65)
 * @returns OptionBit bits found. Unknown kinds are skipped by length (MUST-6); a known kind with a wrong
 *   length is ignored; an illegal length (0, 1 or beyond the header) ends the walk (MUST-7, as Linux).
 */
export function optionsParse(tcpPtr: usize, headerLen: u32, syn: bool): u32 {
  const options = changetype<Options>(OPTIONS);
  options.present = 0;
  options.sackCount = 0;
  let at = tcpPtr + TCP_HEADER_LEN;
  const end = tcpPtr + headerLen;
  if (headerLen >= 32 && load<u32>(at) == TIMESTAMPS_ALIGNED) {
    options.tsVal = loadBe32(at + 4);
    options.tsEcr = loadBe32(at + 8);
    options.present = OptionBit.TIMESTAMPS;
    at += 12;
  }
  while (at < end) {
    const kind = <u32>load<u8>(at);
    if (kind == KIND_END) break;
    if (kind == KIND_NOP) {
      at += 1;
      continue;
    }
    if (at + 1 >= end) break;
    const optionLen = <u32>load<u8>(at, 1);
    if (optionLen < 2 || at + optionLen > end) break;
    parseOne(options, at, kind, optionLen, syn);
    at += optionLen;
  }
  return options.present;
}

/**
 * Where TSval and TSecr of a checked header stand, 8 bytes; 0: it has none. Of several the last counts, as with
 * `optionsParse`, whose scratch structure this may use.
 */
export function optionsTimestampsPtr(tcpPtr: usize, headerLen: u32): usize {
  const at = tcpPtr + TCP_HEADER_LEN;
  if (headerLen == 32 && load<u32>(at) == TIMESTAMPS_ALIGNED) return at + 4;
  if ((optionsParse(tcpPtr, headerLen, false) & OptionBit.TIMESTAMPS) == 0) return 0;
  const options = changetype<Options>(OPTIONS);
  storeBe32(TIMESTAMPS, options.tsVal);
  storeBe32(TIMESTAMPS + 4, options.tsEcr);
  return TIMESTAMPS;
}

function parseOne(options: Options, at: usize, kind: u32, optionLen: u32, syn: bool): void {
  switch (kind) {
    case KIND_MSS:
      if (!syn || optionLen != 4) return;
      options.mss = loadBe16(at + 2);
      options.present |= OptionBit.MSS;
      return;
    case KIND_WINDOW_SCALE:
      if (!syn || optionLen != 3) return;
      options.windowShift = min<u32>(<u32>load<u8>(at, 2), WINDOW_SHIFT_MAX);
      options.present |= OptionBit.WINDOW_SCALE;
      return;
    case KIND_SACK_PERMITTED:
      if (!syn || optionLen != 2) return;
      options.present |= OptionBit.SACK_PERMITTED;
      return;
    case KIND_TIMESTAMPS:
      if (optionLen != 10) return;
      options.tsVal = loadBe32(at + 2);
      options.tsEcr = loadBe32(at + 6);
      options.present |= OptionBit.TIMESTAMPS;
      return;
    case KIND_SACK:
      if (!syn) parseSack(options, at, optionLen);
      return;
  }
}

function parseSack(options: Options, at: usize, optionLen: u32): void {
  const count = (optionLen - 2) >> 3;
  if (count == 0 || count > SACK_BLOCKS_MAX || (count << 3) + 2 != optionLen) return;
  options.sackCount = count;
  options.present |= OptionBit.SACK;
  for (let index: u32 = 0; index < count; index++) {
    const block = OPTIONS + BLOCKS_OFF + ((<usize>index) << 3);
    store<u32>(block, loadBe32(at + 2 + (index << 3)));
    store<u32>(block, loadBe32(at + 6 + (index << 3)), 4);
  }
}

/** Left edge of SACK block `index` < sackCount, of the last optionsParse. */
export function optionsSackLeft(index: u32): u32 {
  return load<u32>(OPTIONS + BLOCKS_OFF + ((<usize>index) << 3));
}

/** Right edge, one beyond the last byte. */
export function optionsSackRight(index: u32): u32 {
  return load<u32>(OPTIONS + BLOCKS_OFF + ((<usize>index) << 3), 4);
}

/**
 * Writes the options of a SYN or SYN-ACK as Linux orders them (net/ipv4/tcp_output.c,
 * tcp_options_write): MSS; SACK-permitted in place of the padding before timestamps; window scale.
 * @param present which of MSS, WINDOW_SCALE, SACK_PERMITTED, TIMESTAMPS to write
 * @returns bytes written, a multiple of 4, at most 20
 */
export function optionsWriteSyn(
  ptr: usize,
  present: u32,
  mss: u32,
  windowShift: u32,
  tsVal: u32,
  tsEcr: u32,
): u32 {
  let at = ptr;
  const sackPermitted = (present & OptionBit.SACK_PERMITTED) != 0;
  if ((present & OptionBit.MSS) != 0) {
    storeBe32(at, 0x02040000 | mss);
    at += 4;
  }
  if ((present & OptionBit.TIMESTAMPS) != 0) {
    storeBe32(at, sackPermitted ? 0x0402080a : 0x0101080a);
    storeBe32(at + 4, tsVal);
    storeBe32(at + 8, tsEcr);
    at += 12;
  } else if (sackPermitted) {
    storeBe32(at, 0x01010402);
    at += 4;
  }
  if ((present & OptionBit.WINDOW_SCALE) != 0) {
    storeBe32(at, 0x01030300 | windowShift);
    at += 4;
  }
  return <u32>(at - ptr);
}

/**
 * Writes the options of any other segment: timestamps, then SACK blocks, each padded in front.
 * @param present   TIMESTAMPS to write them
 * @param blocksPtr sackCount pairs {left u32, right u32} in host order, the most recent first
 * @param sackCount 0 for none; at most 4, and 3 beside timestamps
 * @returns bytes written, a multiple of 4, at most 40
 */
export function optionsWrite(
  ptr: usize,
  present: u32,
  tsVal: u32,
  tsEcr: u32,
  blocksPtr: usize,
  sackCount: u32,
): u32 {
  let at = ptr;
  if ((present & OptionBit.TIMESTAMPS) != 0) {
    storeBe32(at, 0x0101080a);
    storeBe32(at + 4, tsVal);
    storeBe32(at + 8, tsEcr);
    at += 12;
  }
  if (sackCount > 0) {
    storeBe32(at, 0x01010500 | (2 + (sackCount << 3)));
    at += 4;
    for (let index: u32 = 0; index < sackCount; index++) {
      const block = blocksPtr + ((<usize>index) << 3);
      storeBe32(at, load<u32>(block));
      storeBe32(at + 4, load<u32>(block, 4));
      at += 8;
    }
  }
  return <u32>(at - ptr);
}
