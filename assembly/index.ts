/**
 * The ABI: exported functions and argument checks, no logic. docs/abi.md is made from what stands here.
 *
 *   init once:   parameters -> init(nowUs) -> tunnelSet, peerSet, serviceAdd
 *   each turn:   fill rx batch -> handlePackets(count, nowUs) -> write the TRANSMIT ones,
 *                act on HANDBACK, UNMAPPED, ICMP
 *                pollEvent until 0
 *                handleTimeout(nowUs) if nextTimeoutUs() <= nowUs
 *                pollTransmit(nowUs) -> write -> until 0;  pollHandback(nowUs) -> send -> until 0
 *                sleep until nextTimeoutUs()
 */
import { Err } from "./errors";
import {
  BATCH_MAX,
  Descriptor,
  EVENT,
  INFO,
  MAP_INFO,
  Mode,
  PARAMETERS,
  ParameterOff,
  Parameters,
  SLOT_PACKET_LARGE,
  SPAN,
  TUPLE,
  layoutBegin,
  layoutEnd,
} from "./layout";
import { isFamily, isPeer, isReadable } from "./argument";
import { clockReady, clockStart, clockTell, isTime } from "./clock";
import { COUNTERS } from "./counters";
import { SERVICES_MAX } from "./limits";
import * as batch from "./batch";
import * as flows from "./encap/flows";
import * as hold from "./encap/hold";
import * as ingress from "./encap/ingress";
import * as mapping from "./encap/mapping";
import * as peers from "./encap/peers";
import * as records from "./encap/records";
import * as resets from "./encap/reset";
import * as services from "./encap/services";
import { hashInit } from "./flow/hash";
import { blobReserve } from "./migration";
import * as rings from "./ring/rings";
import * as listeners from "./tcp/service";
import * as tcp from "./tcp/tcp";
import { USAGE, usageSpan, usageTake } from "./usage";

export * from "./connections";
export * from "./tables";
export * from "./xdp";
export {
  applicationPtr,
  blobMax,
  blobPtr,
  compile,
  infuse,
  mappingPtr,
  unbundle,
} from "./migration";
export {
  BLOB_VERSION,
  BLOB_VERSION_MIN,
  APPLICATION_LEN_MAX,
  MAPPING_SIZE,
  MappingOff,
} from "./blob/format";
export { Err } from "./errors";
export { Counter } from "./counters";
export { Usage } from "./usage";
export { HOPS_MAX, PEERS_MAX, SERVICES_MAX } from "./limits";
export { Ring, RingNeed } from "./ring/rings";
export { ServiceFlag } from "./encap/services";
export {
  Verdict,
  PacketFlag,
  GsoType,
  DescriptorOff,
  DESCRIPTOR_SIZE,
  BATCH_MAX,
  SLOT_HEADROOM,
  SLOT_PACKET_LARGE,
  ParameterOff,
  PARAMETERS_SIZE,
  MapAction,
  MapInfoOff,
  MAP_INFO_SIZE,
  Mode,
  RecordState,
} from "./layout";
export {
  State,
  EventType,
  SoftError,
  EventOff,
  EVENT_SIZE,
  InfoOff,
  INFO_SIZE,
  Option,
} from "./report";
export { Flag } from "./tcp/tcb";

/** Smallest slot: room for the smallest packet that every IPv6 link carries. */
const SLOT_BYTES_MIN: u32 = 1280;
/** Bounds of parameters, so that no region alone exceeds what an address can name. */
const MAPPINGS_MAX: u32 = 1 << 24;
const RECORDS_MAX: u32 = 1 << 24;
const HOLD_BYTES_MAX: u32 = 1 << 30;
const HOLD_FLOWS_MAX: u32 = 1 << 20;
const BLOB_BYTES_MAX: u32 = 1 << 26;

/**
 * Version of this ABI. A change that an older host would misread raises it; new exports, enum members and
 * counters at the end of their list do not.
 */
export function abiVersion(): u32 {
  return 1;
}

/** Parameters (PARAMETERS_SIZE bytes), which init reads: fill it before. */
export function parametersPtr(): usize {
  return PARAMETERS;
}

/** A Tuple: what functions that name a connection by its addresses read and write. */
export function tuplePtr(): usize {
  return TUPLE;
}

/** A span: `ptr u32, len u32`, as readable and reserve leave it; recordScan leaves `peer u32, flow u32`. */
export function spanPtr(): usize {
  return SPAN;
}

/** The Event that pollEvent wrote. */
export function eventPtr(): usize {
  return EVENT;
}

/** The Info that connectionInfo wrote. */
export function infoPtr(): usize {
  return INFO;
}

/** The MapInfo that mapGet and mapScan wrote, and whose numbers of the client mapNote reads. */
export function mapInfoPtr(): usize {
  return MAP_INFO;
}

/** The counters: u64 each, at 8 * Counter. They are never reset. */
export function countersPtr(): usize {
  return COUNTERS;
}

/** How many places of each table and pool are in use now: u32 each, at 4 * Usage, taken by this call. */
export function usagePtr(): usize {
  if (clockReady()) usageTake();
  return USAGE;
}

/**
 * Where a table lies that packets are looked up in, by its position in Usage (MAPPINGS4, MAPPINGS6, RECORDS): address
 * and bytes go to spanPtr. A host may tell its system how such memory is read. ARGUMENT when it is none of them.
 */
export function tableSpan(what: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return usageSpan(what) ? Err.OK : Err.ARGUMENT;
}

/** BATCH_MAX Descriptors of received packets; each `ptr` names its slot. 0 before init. */
export function rxBatchPtr(): usize {
  return batch.rxBatch();
}

/** BATCH_MAX Descriptors of packets to send, filled by pollTransmit and pollHandback. 0 before init. */
export function txBatchPtr(): usize {
  return batch.txBatch();
}

/**
 * Reads Parameters, sizes every region and grows memory, once: memory.buffer is another one afterwards and never
 * again. ARGUMENT for parameters out of their range, MEMORY when the growth is refused: both leave the core as it
 * was, and init may be tried again. STATE when it was done already.
 */
export function init(nowUs: f64): i32 {
  if (clockReady()) return Err.STATE;
  const p = changetype<Parameters>(PARAMETERS);
  if (!isTime(nowUs) || !parametersFit(p)) return Err.ARGUMENT;
  layoutBegin();
  batch.batchReserve(p.slotBytes);
  peers.peersReserve();
  services.servicesReserve();
  mapping.mappingReserve(p.mappings4Max, p.mappings6Max);
  records.recordsReserve(p.recordsMax, p.earlyFlowsMax);
  // Early and frozen flows take their queues from one pool.
  hold.holdReserve(p.earlyBytesMax, p.earlyFlowsMax);
  flows.flowsReserve(p.slotBytes);
  resets.resetReserve();
  tcp.tcpReserve(nowUs);
  blobReserve(p.blobBytes);
  rings.ringsReserve(p.ringFrames, p.ringFrameBytes, p.mtu);
  const grown = layoutEnd();
  if (grown < 0) return grown;
  hashInit(PARAMETERS + ParameterOff.HASH_SECRET);
  tcp.tcpInit(nowUs);
  batch.batchInit();
  rings.ringsInit();
  clockStart(nowUs);
  return Err.OK;
}

function parametersFit(p: Parameters): bool {
  return (
    SLOT_BYTES_MIN <= p.slotBytes &&
    p.slotBytes <= SLOT_PACKET_LARGE &&
    p.mappings4Max <= MAPPINGS_MAX &&
    p.mappings6Max <= MAPPINGS_MAX &&
    p.recordsMax <= RECORDS_MAX &&
    p.earlyBytesMax <= HOLD_BYTES_MAX &&
    p.earlyFlowsMax <= HOLD_FLOWS_MAX &&
    p.blobBytes <= BLOB_BYTES_MAX &&
    rings.ringsFit(p.ringFrames, p.ringFrameBytes, p.mtu) &&
    tcp.tcpFits()
  );
}

// ---- tunnels, peers, services

/**
 * The node's own tunnel address of a family (4 or 6); 16 bytes at addrPtr, IPv4 in the first four. Packets to it are
 * de-encapsulated, packets for peers leave from it.
 */
export function tunnelSet(family: u32, addrPtr: usize): i32 {
  if (!clockReady()) return Err.STATE;
  if (!isFamily(family) || !isReadable(addrPtr)) return Err.ARGUMENT;
  return peers.tunnelSet(family, addrPtr);
}

/**
 * The tunnel address of peer 1 .. PEERS_MAX - 1, one for each family; peer 0 is this node. EXISTS when another
 * peer has the address, ARGUMENT for an address of zeros.
 */
export function peerSet(peer: u32, family: u32, addrPtr: usize): i32 {
  if (!clockReady()) return Err.STATE;
  if (!isPeer(peer) || !isFamily(family) || !isReadable(addrPtr)) return Err.ARGUMENT;
  return peers.peerSet(peer, family, addrPtr);
}

/** Forgets both addresses of a peer. NOT_FOUND when it has none. */
export function peerClear(peer: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return isPeer(peer) ? peers.peerClear(peer) : Err.ARGUMENT;
}

/**
 * A service address (family, 16 bytes at addrPtr, port) that clients connect to; `mss` bounds the announced MSS
 * (0: by the MTU), `flags` are ServiceFlag. Returns its index. EXISTS, FULL (SERVICES_MAX), ARGUMENT.
 */
export function serviceAdd(family: u32, addrPtr: usize, port: u32, mss: u32, flags: u32): i32 {
  if (!clockReady()) return Err.STATE;
  if (!isFamily(family) || !isReadable(addrPtr)) return Err.ARGUMENT;
  if (port == 0 || port > 0xffff || mss > 0xffff) return Err.ARGUMENT;
  const service = services.serviceAdd(family, addrPtr, port, mss, flags);
  if (service >= 0 && (flags & services.ServiceFlag.LISTEN) != 0) {
    const ecn = (flags & services.ServiceFlag.ECN) != 0;
    listeners.listenerOpen(<u32>service, family, addrPtr, port, mss, ecn);
  }
  return service;
}

/**
 * What `mss` of serviceAdd says, for handshakes from now on: the path to a node behind the service has become
 * narrower or wider. NOT_FOUND when it is not open.
 */
export function serviceMss(service: u32, mss: u32): i32 {
  if (!clockReady()) return Err.STATE;
  if (service >= SERVICES_MAX || mss > 0xffff) return Err.ARGUMENT;
  const result = services.serviceMss(service, mss);
  if (result == Err.OK) listeners.listenerMss(service, mss);
  return result;
}

/** No new connection is accepted there; existing ones stay. NOT_FOUND when it is not open. */
export function serviceRemove(service: u32): i32 {
  if (!clockReady()) return Err.STATE;
  if (service >= SERVICES_MAX) return Err.ARGUMENT;
  listeners.listenerClose(service);
  return services.serviceRemove(service);
}

/** Mode: what to do with packets of connections that nobody here knows. */
export function modeSet(mode: u32): i32 {
  if (mode > <u32>Mode.HOST_UNKNOWN) return Err.ARGUMENT;
  ingress.modeSet(mode);
  return Err.OK;
}

// ---- packets and time

/**
 * Decides about the first `count` packets of the rx batch (at most BATCH_MAX) and sets each Verdict; returns how
 * many are neither DROPPED nor CONSUMED. A packet is rewritten in its slot.
 */
export function handlePackets(count: u32, nowUs: f64): i32 {
  if (!clockReady()) return Err.STATE;
  if (count > BATCH_MAX || !clockTell(nowUs)) return Err.ARGUMENT;
  return ingress.ingress(0, count, nowUs, true);
}

/** Fills the tx batch with packets to write (Verdict TRANSMIT); returns how many. Call until it returns 0. */
export function pollTransmit(nowUs: f64): i32 {
  if (!clockReady()) return Err.STATE;
  if (!clockTell(nowUs)) return Err.ARGUMENT;
  const filled = resets.resetTransmit();
  if (filled != 0) return <i32>filled;
  for (let index: u32 = 0; index < BATCH_MAX; index++) batch.txReset(index);
  return <i32>tcp.tcpTransmit(batch.txBatch(), BATCH_MAX, nowUs);
}

/**
 * Fills the tx batch with packets to give back to forwarders (Verdict HANDBACK): early ones that expired or were
 * refused, held segments. Returns how many. Call until it returns 0.
 */
export function pollHandback(nowUs: f64): i32 {
  if (!clockReady()) return Err.STATE;
  if (!clockTell(nowUs)) return Err.ARGUMENT;
  return <i32>flows.flowsHandback();
}

/** When handleTimeout is due, in microseconds; Infinity when nothing waits. */
export function nextTimeoutUs(): f64 {
  return clockReady() ? min<f64>(flows.flowsNextUs(), tcp.tcpNextTimeout()) : Infinity;
}

/** Runs what is due. To call it early or late is no error. */
export function handleTimeout(nowUs: f64): i32 {
  if (!clockReady()) return Err.STATE;
  if (!clockTell(nowUs)) return Err.ARGUMENT;
  flows.flowsTimeout(nowUs);
  tcp.tcpTimeout(nowUs);
  return Err.OK;
}
