/**
 * Segments that arrive in TIME-WAIT. Knows its records; must not know blocks. RFC 9293 3.10.7.4 (a FIN again
 * is acknowledged again), RFC 6191 and RFC 1122 4.2.2.13 (an acceptable SYN opens anew), RFC 1337 (a RST is
 * ignored).
 */
import { Counter, count } from "../counters";
import { Descriptor, Verdict } from "../layout";
import { OptionBit, optionsWrite } from "../wire/options";
import { seqGt, seqLt } from "../wire/seq";
import { TcpFlag } from "../wire/tcp";
import { listening, offsetNotBelow, reincarnationIss, synAccept } from "./listen";
import { timestampOffsetOf } from "./secret";
import { TUPLE, segment, segmentLen } from "./segment";
import { Flag } from "./tcb";
import { TimeWait, timeWaitAt, timeWaitEnd, timeWaitRestart } from "./timewait";
import { replySegment } from "./transmit";

const OPTION_BYTES: usize = memory.data(12, 4);

/** @returns a Verdict: HANDBACK for the SYN of a connection whose flow someone else gave us */
export function timeWaitArrives(descPtr: usize, index: u32, now: u64): i32 {
  const record = timeWaitAt(index);
  const seg = segment();
  count(Counter.TCP_SEGMENTS_IN);
  if ((seg.flags & TcpFlag.RST) != 0) return Verdict.CONSUMED; // RFC 1337
  if ((seg.flags & (TcpFlag.SYN | TcpFlag.ACK)) == TcpFlag.SYN) {
    if (synReopens(record)) return reopen(descPtr, index, now);
    timeWaitAck(index, now);
    return Verdict.CONSUMED;
  }
  const len = segmentLen();
  // Only the peer's FIN itself starts the time anew: not one that anybody could send.
  const again = (seg.flags & TcpFlag.FIN) != 0 && seg.seq + len == record.rcvNxt;
  if (again) timeWaitRestart(index, now);
  // An ACK without anything is not answered; a strange one now and then only, or two such ends would talk for ever.
  if (len != 0 || (seg.seq != record.rcvNxt && mayAnswer(record, now))) timeWaitAck(index, now);
  return Verdict.CONSUMED;
}

/** A strange ACK is answered once a second (RFC 5961 7). */
function mayAnswer(record: TimeWait, now: u64): bool {
  const second = ((<u32>(now / 1_000_000)) & 0x7fff) + 1;
  if (<u32>record.answered == second) return false;
  record.answered = <u16>second;
  return true;
}

/** Queues the ACK of a record: where both directions ended. */
export function timeWaitAck(index: u32, now: u64): void {
  const record = timeWaitAt(index);
  let optionsLen: u32 = 0;
  if ((record.flags & Flag.TIMESTAMPS) != 0) {
    const tsVal = <u32>(now / 1000) + record.tsOffset;
    record.tsLastSent = tsVal;
    optionsLen = optionsWrite(OPTION_BYTES, OptionBit.TIMESTAMPS, tsVal, record.tsRecent, 0, 0);
  }
  replySegment(
    changetype<usize>(record),
    record.sndNxt,
    record.rcvNxt,
    TcpFlag.ACK,
    record.window,
    OPTION_BYTES,
    optionsLen,
  );
}

/** RFC 6191 section 2: newer by timestamp where both sides have them, else by sequence number. */
function synReopens(record: TimeWait): bool {
  const seg = segment();
  const stamped = (record.flags & Flag.TIMESTAMPS) != 0;
  // The old connection had none: with PAWS no segment of it can harm the new one.
  if (!stamped && (seg.present & OptionBit.TIMESTAMPS) != 0) return true;
  if (stamped && (seg.present & OptionBit.TIMESTAMPS) != 0) {
    if (seqGt(seg.tsVal, record.tsRecent)) return true;
    if (seqLt(seg.tsVal, record.tsRecent)) return false;
  }
  return seqGt(seg.seq, record.rcvNxt);
}

/** The old connection ends; the SYN opens a new one here, or where the flow came from. */
function reopen(descPtr: usize, index: u32, now: u64): i32 {
  const record = timeWaitAt(index);
  if (record.ownerFlow != 0 || !listening(TUPLE)) {
    const descriptor = changetype<Descriptor>(descPtr);
    descriptor.peer = record.ownerPeer;
    descriptor.flow = record.ownerFlow;
    timeWaitEnd(index);
    return descriptor.flow != 0 ? Verdict.HANDBACK : Verdict.UNMAPPED;
  }
  const iss = reincarnationIss(TUPLE, record.sndNxt, now);
  const offset = offsetNotBelow(timestampOffsetOf(TUPLE), record.tsLastSent, now);
  timeWaitEnd(index); // RELEASED: who has an entry for the old connection has to remove it
  return synAccept(iss, offset, now);
}
