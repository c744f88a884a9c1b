/**
 * The batch that is being filled with outgoing packets, and the ring of replies that belong to no connection
 * (RST, SYN cookies, ACKs of TIME-WAIT). Knows slots and how a packet is put together; must not know why it
 * is sent. RFC 9293 3.1 (MUST-2: checksum), virtio 1.2 5.1.6.2 (partial checksums, segmentation).
 */
import { Counter, count } from "../counters";
import { Descriptor, GsoType, PacketFlag, Verdict, reserve } from "../layout";
import { IP4_HEADER_LEN, IP6_HEADER_LEN, ipHeaderLenOf, ipWrite } from "../wire/ip";
import {
  TCP_CHECKSUM_OFF,
  TCP_HEADER_LEN,
  tcpChecksumWrite,
  tcpChecksumWritePartial,
  tcpOptions,
  tcpWrite,
} from "../wire/tcp";
import { DESCRIPTOR_SIZE, Tuple } from "../layout";

/** Replies that wait for pollTransmit. A power of two. */
const REPLIES_MAX: u32 = 1024;
/** Length u32, family u32, packet of at most 40 + 20 + 40 bytes. */
const REPLY_SIZE: u32 = 128;
const REPLY_PACKET_OFF: usize = 8;

let batchPtr: usize = 0;
let batchSize: u32 = 0;
let batchCount: u32 = 0;
let repliesPtr: usize = 0;
let replyHead: u32 = 0;
let replyTail: u32 = 0;
/** Largest IP packet that a slot takes. */
let slotBytes: u32 = 0;
/** Whether the link segments (and so also makes checksums). */
let segmenting: bool = false;

/** Between layoutBegin and layoutEnd. */
export function transmitReserve(slotBytesMax: u32, gso: bool): void {
  repliesPtr = reserve(REPLIES_MAX * REPLY_SIZE);
  replyHead = 0;
  replyTail = 0;
  slotBytes = slotBytesMax;
  segmenting = gso;
}

/** Largest IP packet to build: a super-segment's where the link segments. */
export function transmitBytesMax(): u32 {
  return min<u32>(slotBytes, 65535);
}

export function transmitSegments(): bool {
  return segmenting;
}

export function transmitBegin(ptr: usize, size: u32): void {
  batchPtr = ptr;
  batchSize = size;
  batchCount = 0;
}

export function transmitCount(): u32 {
  return batchCount;
}

/** The next descriptor of the batch, 0 when the batch is full. Taken by transmitTake. */
export function transmitNext(): usize {
  return batchCount < batchSize ? batchPtr + <usize>batchCount * DESCRIPTOR_SIZE : 0;
}

/**
 * Finishes a packet that was built at the next descriptor's ptr: checksum, offload fields, verdict.
 * @param ipLen      bytes of the IP header
 * @param tcpLen     bytes from the TCP header to the end
 * @param headerLen  bytes of the TCP header
 * @param pieceLen   payload of each segment to cut it into, 0: one segment
 */
export function transmitTake(
  family: u32,
  tcpLen: u32,
  headerLen: u32,
  pieceLen: u32,
  handle: u32,
): void {
  const descPtr = transmitNext();
  const desc = changetype<Descriptor>(descPtr);
  const ipPtr = <usize>desc.ptr;
  const ipLen = ipHeaderLenOf(family);
  desc.len = ipLen + tcpLen;
  desc.verdict = <u16>Verdict.TRANSMIT;
  desc.handle = handle;
  desc.peer = 0;
  desc.flow = 0;
  desc.record = 0;
  desc.gsoType = <u16>GsoType.NONE;
  desc.gsoSize = 0;
  desc.headerLen = 0;
  if (segmenting && headerLen < tcpLen) {
    tcpChecksumWritePartial(ipPtr, ipPtr + ipLen, tcpLen);
    desc.flags = <u16>PacketFlag.NEEDS_CSUM;
    desc.csumStart = <u16>ipLen;
    desc.csumOffset = <u16>TCP_CHECKSUM_OFF;
    desc.headerLen = <u16>(ipLen + headerLen);
    if (pieceLen != 0) {
      desc.gsoType = <u16>(family == 4 ? GsoType.TCPV4 : GsoType.TCPV6);
      desc.gsoSize = <u16>pieceLen;
    }
  } else {
    tcpChecksumWrite(ipPtr, ipPtr + ipLen, tcpLen);
    desc.flags = 0;
    desc.csumStart = 0;
    desc.csumOffset = 0;
  }
  batchCount++;
  count(Counter.TCP_SEGMENTS_OUT);
}

/**
 * Queues a segment without payload that belongs to no connection.
 * @param optionsPtr finished options, optionsLen bytes (a multiple of 4, at most 40)
 */
export function replySegment(
  tuplePtr: usize,
  segSeq: u32,
  segAck: u32,
  flags: u32,
  window: u32,
  optionsPtr: usize,
  optionsLen: u32,
): void {
  if (replyTail - replyHead == REPLIES_MAX) {
    count(Counter.TCP_REPLIES_DROPPED);
    return;
  }
  const entry = repliesPtr + <usize>(replyTail & (REPLIES_MAX - 1)) * REPLY_SIZE;
  const ipPtr = entry + REPLY_PACKET_OFF;
  const tcpLen = TCP_HEADER_LEN + optionsLen;
  const ipLen = ipWrite(ipPtr, tuplePtr, tcpLen, REPLY_TTL, 0, 0);
  const tcpPtr = ipPtr + ipLen;
  tcpWrite(tcpPtr, tuplePtr, segSeq, segAck, flags | tcpOptions(optionsLen), window);
  if (optionsLen != 0) memory.copy(tcpPtr + TCP_HEADER_LEN, optionsPtr, optionsLen);
  tcpChecksumWrite(ipPtr, tcpPtr, tcpLen);
  store<u32>(entry, ipLen + tcpLen);
  replyTail++;
}
const REPLY_TTL: u32 = 64;
if (REPLY_SIZE < <u32>REPLY_PACKET_OFF + IP6_HEADER_LEN + TCP_HEADER_LEN + 28) ERROR("REPLY_SIZE");
if (IP4_HEADER_LEN > IP6_HEADER_LEN) ERROR("IP headers");

/** Moves queued replies into the batch. */
export function replyFlush(): void {
  while (replyHead != replyTail) {
    const descPtr = transmitNext();
    if (descPtr == 0) return;
    const entry = repliesPtr + <usize>(replyHead & (REPLIES_MAX - 1)) * REPLY_SIZE;
    const len = load<u32>(entry);
    const desc = changetype<Descriptor>(descPtr);
    memory.copy(<usize>desc.ptr, entry + REPLY_PACKET_OFF, len);
    desc.len = len;
    desc.flags = 0;
    desc.csumStart = 0;
    desc.csumOffset = 0;
    desc.gsoType = 0;
    desc.gsoSize = 0;
    desc.headerLen = 0;
    desc.verdict = <u16>Verdict.TRANSMIT;
    desc.peer = 0;
    desc.flow = 0;
    desc.record = 0;
    desc.handle = 0;
    batchCount++;
    replyHead++;
    count(Counter.TCP_SEGMENTS_OUT);
  }
}

export function repliesWaiting(): bool {
  return replyHead != replyTail;
}
