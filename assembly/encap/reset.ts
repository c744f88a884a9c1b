/**
 * Resets of clients whose owner is gone (PROTOCOL.md R20): a RST from the service address with the last
 * SEG.ACK seen, and a probe that makes a silent client answer. Probe and RST are the forwarder's, not a
 * stack's. Knows what to send; must not know when a client must be reset, nor how often.
 *
 *   request, 64 bytes:  0 Tuple   40 segAck   44 segSeq   48 tsVal   52 tsEcr   56 timestamps   60 probe
 */
import { Err } from "../errors";
import { BATCH_MAX, Descriptor, MAP_INFO, MapInfo, TUPLE, TUPLE_SIZE, Tuple } from "../layout";
import { Verdict, reserve } from "../layout";
import { Counter, count } from "../counters";
import { RESETS_MAX } from "../limits";
import { txDescriptor, txReset } from "../batch";
import { ipHeaderLenOf, ipWrite } from "../wire/ip";
import { OptionBit, optionsWrite } from "../wire/options";
import { TCP_HEADER_LEN, TcpFlag, tcpChecksumWrite, tcpOptions, tcpWrite } from "../wire/tcp";
import { mapGet } from "./mapping";

@unmanaged
class Request {
  segAck: u32;
  segSeq: u32;
  tsVal: u32;
  tsEcr: u32;
  timestamps: u32;
  probe: u32;
}
const REQUEST_SIZE: u32 = TUPLE_SIZE + 24;
if (offsetof<Request>() != 24) ERROR("Request layout changed");

const TTL: u32 = 64;

let ringPtr: usize = 0;
let head: u32 = 0;
let waiting: u32 = 0;

/** Between layoutBegin and layoutEnd. */
export function resetReserve(): void {
  ringPtr = reserve(<usize>(RESETS_MAX * REQUEST_SIZE));
}

/**
 * Queues a RST, and with `probe` a probe after it, for the connection at TUPLE, by what its mapping knows of
 * the client's last segment. Err.NOT_FOUND without a mapping, Err.FULL: poll and ask again.
 */
export function mapReset(nowUs: f64, probe: bool): i32 {
  const found = mapGet(nowUs);
  if (found < 0) return found;
  if (waiting == RESETS_MAX) {
    count(Counter.RESETS_FULL);
    return Err.FULL;
  }
  const info = changetype<MapInfo>(MAP_INFO);
  const ptr = requestPtr(head + waiting);
  memory.copy(ptr, TUPLE, TUPLE_SIZE);
  const request = changetype<Request>(ptr + TUPLE_SIZE);
  request.segAck = info.segAck;
  request.segSeq = info.segSeq;
  request.tsVal = info.tsVal;
  request.tsEcr = info.tsEcr;
  request.timestamps = info.timestamps;
  request.probe = probe ? 1 : 0;
  waiting += 1;
  return Err.OK;
}

/** Builds waiting packets in the tx batch from its first slot on; returns how many. */
export function resetTransmit(): u32 {
  let filled: u32 = 0;
  while (waiting > 0 && filled + 2 <= BATCH_MAX) {
    const ptr = requestPtr(head);
    buildReset(filled, ptr);
    filled += 1;
    if (changetype<Request>(ptr + TUPLE_SIZE).probe != 0) {
      buildProbe(filled, ptr);
      filled += 1;
    }
    head = head + 1 == RESETS_MAX ? 0 : head + 1;
    waiting -= 1;
  }
  return filled;
}

function requestPtr(index: u32): usize {
  const wrapped = index >= RESETS_MAX ? index - RESETS_MAX : index;
  return ringPtr + <usize>(wrapped * REQUEST_SIZE);
}

/** <SEQ=SEG.ACK><CTL=RST>: what RFC 9293 3.10.7.1 answers a segment with the ACK flag. */
function buildReset(index: u32, requestAt: usize): void {
  const request = changetype<Request>(requestAt + TUPLE_SIZE);
  const ptr = txReset(index);
  const ipLen = ipHeaderLenOf(changetype<Tuple>(requestAt).family);
  tcpWrite(ptr + ipLen, requestAt, request.segAck, 0, TcpFlag.RST, 0);
  finish(index, requestAt, 0);
  count(Counter.RESETS_SENT);
}

/** An ACK just before the window: whoever still has the connection answers it (RFC 9293 3.10.7.4). */
function buildProbe(index: u32, requestAt: usize): void {
  const request = changetype<Request>(requestAt + TUPLE_SIZE);
  const ptr = txReset(index);
  const tcp = ptr + ipHeaderLenOf(changetype<Tuple>(requestAt).family);
  const present: u32 = request.timestamps != 0 ? OptionBit.TIMESTAMPS : 0;
  // TSval: the last of ours that the client echoed; TSecr: its own last one.
  const len = optionsWrite(tcp + TCP_HEADER_LEN, present, request.tsEcr, request.tsVal, 0, 0);
  const control = (<u32>TcpFlag.ACK) | tcpOptions(len);
  tcpWrite(tcp, requestAt, request.segAck - 1, request.segSeq, control, 0);
  finish(index, requestAt, len);
  count(Counter.PROBES_SENT);
}

function finish(index: u32, tuplePtr: usize, optionsLen: u32): void {
  const descriptor = changetype<Descriptor>(txDescriptor(index));
  const ptr = <usize>descriptor.ptr;
  const tcpLen = TCP_HEADER_LEN + optionsLen;
  const ipLen = ipWrite(ptr, tuplePtr, tcpLen, TTL, 0, 0);
  tcpChecksumWrite(ptr, ptr + ipLen, tcpLen);
  descriptor.len = ipLen + tcpLen;
  descriptor.verdict = <u16>Verdict.TRANSMIT;
}
