/**
 * The segment that is being processed: taken apart once into a static structure, in host byte order. Knows
 * headers; must not know connections. RFC 9293 3.1 and 3.4 (SEG.* variables), MUST-3 (checksum).
 */
import { Counter, count } from "../counters";
import { Err } from "../errors";
import { Descriptor, PacketFlag } from "../layout";
import { ipTotalLen, ipTrafficClass } from "../wire/ip";
import { Options, OPTIONS, OptionBit, optionsParse } from "../wire/options";
import {
  TcpFlag,
  tcpAck,
  tcpCheck,
  tcpChecksumOk,
  tcpFlags,
  tcpSeq,
  tcpUrgent,
  tcpWindow,
  tupleRead,
} from "../wire/tcp";

@unmanaged
export class Segment {
  /** SEG.SEQ, SEG.ACK */
  seq: u32;
  ack: u32;
  /** SEG.WND as it stands in the header. */
  wnd: u32;
  /** SEG.UP: offset from SEG.SEQ. */
  up: u32;
  /** TcpFlag bits. */
  flags: u32;
  dataPtr: usize;
  /** Payload bytes; SYN and FIN are not counted. */
  dataLen: u32;
  /** Payload bytes of each of the segments that the link merged; dataLen when there is one. */
  pieceLen: u32;
  /** OptionBit bits; the values lie in OPTIONS. */
  present: u32;
  /** Ecn: the two low bits of the IP header's traffic class. */
  ecn: u32;
  tsVal: u32;
  tsEcr: u32;
  /** PacketFlag.SYN_HINT: the old SND.NXT and the old last TSval; valid with hinted != 0. */
  hinted: u32;
  hintSndNxt: u32;
  hintTsval: u32;
  /** 1: it came with a SYN, so that its window is not scaled (RFC 7323 2.2); stays when the SYN is trimmed. */
  opening: u32;
}

/** The segment at hand; overwritten by every segmentRead. */
export const SEGMENT: usize = memory.data(72, 8);
if (offsetof<Segment>() > 72) ERROR("SEGMENT is too small");
/** Its 4-tuple, as a Tuple. */
export const TUPLE: usize = memory.data(40, 8);

/** The structure, for `const seg = segment()`. */
export function segment(): Segment {
  return changetype<Segment>(SEGMENT);
}

/**
 * Takes a packet apart.
 * @param ipLen bytes before the TCP header, as ipCheck has found them: nobody has written to the IP header since, or
 *   only addresses and what sums them
 * @returns Err.OK, or why it is dropped (counted here)
 */
export function segmentRead(descPtr: usize, ipLen: u32): i32 {
  const desc = changetype<Descriptor>(descPtr);
  const ipPtr = <usize>desc.ptr;
  const tcpPtr = ipPtr + ipLen;
  const tcpLen = ipTotalLen(ipPtr) - ipLen;
  const headerLen = tcpCheck(tcpPtr, tcpLen);
  if (headerLen < 0) {
    count(Counter.TCP_MALFORMED);
    return headerLen;
  }
  const flags = <u32>desc.flags;
  if ((flags & (PacketFlag.NEEDS_CSUM | PacketFlag.CSUM_VERIFIED)) == 0) {
    if (!tcpChecksumOk(ipPtr, tcpPtr, tcpLen)) {
      count(Counter.TCP_CHECKSUM);
      return Err.CHECKSUM;
    }
  }
  const seg = segment();
  seg.seq = tcpSeq(tcpPtr);
  seg.ack = tcpAck(tcpPtr);
  seg.wnd = tcpWindow(tcpPtr);
  seg.up = tcpUrgent(tcpPtr);
  seg.flags = tcpFlags(tcpPtr);
  seg.dataPtr = tcpPtr + headerLen;
  seg.dataLen = tcpLen - <u32>headerLen;
  const gsoSize = <u32>desc.gsoSize;
  seg.pieceLen = gsoSize != 0 && gsoSize < seg.dataLen ? gsoSize : seg.dataLen;
  const options = changetype<Options>(OPTIONS);
  seg.present = optionsParse(tcpPtr, <u32>headerLen, (seg.flags & TcpFlag.SYN) != 0);
  seg.ecn = ipTrafficClass(ipPtr) & 3;
  seg.tsVal = options.tsVal;
  seg.tsEcr = options.tsEcr;
  seg.opening = (seg.flags >> 1) & 1;
  seg.hinted = flags & PacketFlag.SYN_HINT;
  seg.hintSndNxt = desc.flow;
  seg.hintTsval = desc.record;
  tupleRead(ipPtr, tcpPtr, TUPLE);
  return Err.OK;
}

/** SEG.LEN: payload, SYN and FIN. */
export function segmentLen(): u32 {
  const seg = segment();
  return seg.dataLen + ((seg.flags >> 1) & 1) + (seg.flags & 1);
}

/** Bytes that the peer takes, as the segment at hand says. */
export function segmentWindow(shift: u32): u32 {
  const seg = segment();
  return seg.opening != 0 ? seg.wnd : seg.wnd << shift;
}

export function segmentHas(flag: u32): bool {
  return (segment().flags & flag) != 0;
}

export function segmentHasTimestamps(): bool {
  return (segment().present & OptionBit.TIMESTAMPS) != 0;
}
