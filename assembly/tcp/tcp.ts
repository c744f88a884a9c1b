/**
 * The room tcp/: connection blocks, segments, buffers, timers, TIME-WAIT, listeners. This file is what the rooms
 * above call. The room must not know tunnels, flow identifiers (two opaque numbers in the block) or blobs.
 *
 * Order of calls: tcpReserve between layoutBegin and layoutEnd, tcpInit after it; then tcpInput for packets,
 * tcpTimeout when tcpNextTimeout has come, tcpTransmit to fill a batch, and the socket calls at any time.
 */
import { PARAMETERS, ParameterOff, Parameters, Verdict } from "../layout";
import { segmentArrives } from "./arrive";
import { CHUNK_SHIFT, chunkReserve } from "./chunk";
import { BUFFER_MAX, configSet } from "./config";
import { connectionReset } from "./connection";
import { demuxFind, demuxReserve } from "./demux";
import { expireNextUs, expireRun } from "./expire";
import { listReset } from "./list";
import { nodeReserve } from "./node";
import { outputPoll } from "./output";
import { rangeReset } from "./reassembly";
import { refuse, refuseAlways, refuseReset } from "./refuse";
import { secretInit } from "./secret";
import { segmentRead } from "./segment";
import { serviceReserve } from "./service";
import { shareReset } from "./share";
import { CONNECTIONS_MAX, tcbReserve } from "./tcb";
import { timeWaitFind, timeWaitReserve } from "./timewait";
import { transmitBegin, transmitCount, transmitReserve } from "./transmit";
import { wheelReserve } from "./wheel";

/** Nodes: two for each chunk of data, and enough for connections that send a few bytes each. */
const NODES_PER_CHUNK: u32 = 2;
const NODES_MIN: u32 = 4096;
const TIME_WAIT_MAX: u32 = 1 << 21;
const BUFFER_BYTES_MAX: u32 = 0xc0000000;
/** The smallest MTU of RFC 791 that any host must take in one piece. */
const MTU_MIN: u32 = 576;

/** Reserves the stack's memory, between layoutBegin and layoutEnd. Parameters are checked (tcpFits). */
export function tcpReserve(nowUs: f64): void {
  const p = changetype<Parameters>(PARAMETERS);
  const chunks = p.bufferBytes >> CHUNK_SHIFT;
  tcbReserve(p.connectionsMax);
  demuxReserve(p.connectionsMax);
  chunkReserve(chunks);
  shareReset();
  rangeReset();
  nodeReserve(chunks * NODES_PER_CHUNK + NODES_MIN);
  timeWaitReserve(p.timeWaitMax);
  serviceReserve();
  transmitReserve(p.slotBytes, p.segmenting != 0);
  wheelReserve(<u64>nowUs);
  listReset();
  connectionReset();
  refuseReset();
}

/** After layoutEnd: secrets and settings. */
export function tcpInit(nowUs: f64): void {
  const p = changetype<Parameters>(PARAMETERS);
  secretInit(PARAMETERS + ParameterOff.ISN_SECRET, p.wallMs, nowUs);
  configSet(p.mtu, p.sndBufferMax, p.rcvBufferMax, p.halfOpenMax);
}

/** Whether the stack can work with these Parameters. */
export function tcpFits(): bool {
  const p = changetype<Parameters>(PARAMETERS);
  return (
    p.connectionsMax <= CONNECTIONS_MAX &&
    p.timeWaitMax != 0 &&
    p.timeWaitMax <= TIME_WAIT_MAX &&
    p.mtu >= MTU_MIN &&
    p.mtu <= p.slotBytes &&
    p.sndBufferMax <= BUFFER_MAX &&
    p.rcvBufferMax <= BUFFER_MAX &&
    p.bufferBytes <= BUFFER_BYTES_MAX
  );
}

/**
 * A packet to a service address, which ipCheck and tcpCheck accepted.
 * @param ipLen bytes before the TCP header
 * @returns CONSUMED, DROPPED, HANDBACK (a SYN for a connection in TIME-WAIT whose flow has an owner; a
 *   RELEASED event follows, peer and flow of the descriptor name it), or UNMAPPED when this stack knows nothing of it
 */
export function tcpInput(descPtr: usize, ipLen: u32, nowUs: f64): i32 {
  if (segmentRead(descPtr, ipLen) < 0) return Verdict.DROPPED;
  return segmentArrives(descPtr, <u64>nowUs);
}

/** Answers a packet of no connection with a RST (RFC 9293 3.10.7.1). `known`: it had one, and none is withheld. */
export function tcpRefuse(descPtr: usize, ipLen: u32, known: bool, nowUs: f64): void {
  if (segmentRead(descPtr, ipLen) < 0) return;
  if (known) refuseAlways();
  else refuse(<u64>nowUs);
}

/** True when the 4-tuple is a connection of this stack, TIME-WAIT included. */
export function tcpKnows(tuplePtr: usize): bool {
  return demuxFind(tuplePtr) != 0 || timeWaitFind(tuplePtr) != 0;
}

/** Fills `size` descriptors at batchPtr, whose ptr fields name free slots. Returns how many. */
export function tcpTransmit(batchPtr: usize, size: u32, nowUs: f64): u32 {
  transmitBegin(batchPtr, size);
  outputPoll(<u64>nowUs);
  return transmitCount();
}

/** Microseconds at which tcpTimeout is due; Infinity when nothing waits. */
export function tcpNextTimeout(): f64 {
  const next = expireNextUs();
  return next == u64.MAX_VALUE ? Infinity : <f64>next;
}

export function tcpTimeout(nowUs: f64): void {
  expireRun(<u64>nowUs);
}
