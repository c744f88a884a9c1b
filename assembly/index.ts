/**
 * The ABI: exported functions and argument checks, no logic. docs/architecture.md has the meaning of each.
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
  MapAction,
  Mode,
  PARAMETERS,
  ParameterOff,
  Parameters,
  RecordState,
  SLOT_PACKET_LARGE,
  SPAN,
  TUPLE,
  Tuple,
  layoutBegin,
  layoutEnd,
} from "./layout";
import { clockReady, clockStart, clockTell, clockUs, isTime } from "./clock";
import { COUNTERS } from "./counters";
import { PEERS_MAX, SERVICES_MAX } from "./limits";
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
import * as listeners from "./tcp/service";
import * as tcp from "./tcp/tcp";

export * from "./connections";
export {
  applicationPtr,
  blobMax,
  blobPtr,
  compile,
  infuse,
  mappingPtr,
  unbundle,
} from "./migration";
export { BLOB_VERSION, APPLICATION_LEN_MAX, MAPPING_SIZE, MappingOff } from "./blob/format";
export { Err } from "./errors";
export { Counter } from "./counters";
export { PEERS_MAX, SERVICES_MAX } from "./limits";
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

export function abiVersion(): u32 {
  return 1;
}

export function parametersPtr(): usize {
  return PARAMETERS;
}

export function tuplePtr(): usize {
  return TUPLE;
}

export function spanPtr(): usize {
  return SPAN;
}

export function eventPtr(): usize {
  return EVENT;
}

export function infoPtr(): usize {
  return INFO;
}

export function mapInfoPtr(): usize {
  return MAP_INFO;
}

export function countersPtr(): usize {
  return COUNTERS;
}

export function rxBatchPtr(): usize {
  return batch.rxBatch();
}

export function txBatchPtr(): usize {
  return batch.txBatch();
}

/** Reads Parameters, sizes every region, grows memory once. Err.MEMORY leaves the core as it was. */
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
  const grown = layoutEnd();
  if (grown < 0) return grown;
  hashInit(PARAMETERS + ParameterOff.HASH_SECRET);
  tcp.tcpInit(nowUs);
  batch.batchInit();
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
    tcp.tcpFits()
  );
}

// ---- tunnels, peers, services

export function tunnelSet(family: u32, addrPtr: usize): i32 {
  if (!clockReady()) return Err.STATE;
  if (!isFamily(family) || !isReadable(addrPtr)) return Err.ARGUMENT;
  return peers.tunnelSet(family, addrPtr);
}

export function peerSet(peer: u32, family: u32, addrPtr: usize): i32 {
  if (!clockReady()) return Err.STATE;
  if (!isPeer(peer) || !isFamily(family) || !isReadable(addrPtr)) return Err.ARGUMENT;
  return peers.peerSet(peer, family, addrPtr);
}

export function peerClear(peer: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return isPeer(peer) ? peers.peerClear(peer) : Err.ARGUMENT;
}

export function serviceAdd(family: u32, addrPtr: usize, port: u32, mss: u32, flags: u32): i32 {
  if (!clockReady()) return Err.STATE;
  if (!isFamily(family) || !isReadable(addrPtr)) return Err.ARGUMENT;
  if (port == 0 || port > 0xffff || mss > 0xffff) return Err.ARGUMENT;
  const service = services.serviceAdd(family, addrPtr, port, mss, flags);
  if (service >= 0 && (flags & services.ServiceFlag.LISTEN) != 0) {
    listeners.listenerOpen(<u32>service, family, addrPtr, port, mss);
  }
  return service;
}

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

// ---- mapping table, by the tuple at tuplePtr

export function mapSet(action: u32, peer: u32, flow: u32): i32 {
  if (!clockReady()) return Err.STATE;
  if (action < <u32>MapAction.FORWARD || action > <u32>MapAction.TOMB) return Err.ARGUMENT;
  if (!isTuple() || peer >= PEERS_MAX) return Err.ARGUMENT;
  if (action == MapAction.FORWARD && !(isPeer(peer) && isFlow(flow))) return Err.ARGUMENT;
  return mapping.mapSet(action, peer, flow, clockUs());
}

export function mapGet(): i32 {
  if (!clockReady()) return Err.STATE;
  return isTuple() ? mapping.mapGet(clockUs()) : Err.ARGUMENT;
}

export function mapDelete(): i32 {
  if (!clockReady()) return Err.STATE;
  return isTuple() ? mapping.mapDelete() : Err.ARGUMENT;
}

/** Copies the client's numbers of MapInfo into the entry: for a forwarder that has seen no packet yet. */
export function mapNote(): i32 {
  if (!clockReady()) return Err.STATE;
  return isTuple() ? mapping.mapNote() : Err.ARGUMENT;
}

/** Walks the table: `steps` slots at most, an entry found goes to tuplePtr and mapInfoPtr. 0 at the end. */
export function mapScan(cursor: u32, steps: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return <i32>mapping.mapScan(cursor, steps, clockUs());
}

/** Queues the RST (and a probe) of PROTOCOL R20. */
export function mapReset(nowUs: f64, probe: u32): i32 {
  if (!clockReady()) return Err.STATE;
  if (!isTuple() || !clockTell(nowUs)) return Err.ARGUMENT;
  return resets.mapReset(nowUs, probe != 0);
}

// ---- flow records

export function recordSet(peer: u32, flow: u32, state: u32, nowUs: f64): i32 {
  if (!clockReady()) return Err.STATE;
  if (!isPeer(peer) || !isFlow(flow) || state > <u32>RecordState.POISONED) return Err.ARGUMENT;
  if (!clockTell(nowUs)) return Err.ARGUMENT;
  const needsTuple = state == RecordState.ACTIVE && flows.recordGet(peer, flow) == 0;
  if (needsTuple && !isTuple()) return Err.ARGUMENT;
  return flows.recordSet(peer, flow, state, nowUs);
}

/** RecordState of a flow. */
export function recordGet(peer: u32, flow: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return isPeer(peer) ? <i32>flows.recordGet(peer, flow) : Err.ARGUMENT;
}

/** Handle of the connection that a flow names, 0 when there is none. */
export function recordHandle(peer: u32, flow: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return isPeer(peer) ? <i32>flows.recordHandle(peer, flow) : Err.ARGUMENT;
}

/** Writes the 4-tuple of a flow to tuplePtr; 0 when the record does not know it. */
export function recordTuple(peer: u32, flow: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return isPeer(peer) ? <i32>flows.recordTuple(peer, flow) : Err.ARGUMENT;
}

/** Walks the records: the one found goes to spanPtr (peer, flow) and tuplePtr; peer 0: none. 0 at the end. */
export function recordScan(cursor: u32, steps: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return <i32>records.recordScan(cursor, steps, SPAN);
}

export function recordPass(peer: u32, flow: u32): i32 {
  if (!clockReady()) return Err.STATE;
  return isPeer(peer) ? flows.recordPass(peer, flow) : Err.ARGUMENT;
}

// ---- packets and time

export function handlePackets(count: u32, nowUs: f64): i32 {
  if (!clockReady()) return Err.STATE;
  if (count > BATCH_MAX || !clockTell(nowUs)) return Err.ARGUMENT;
  return ingress.ingress(0, count, nowUs);
}

/**
 * De-encapsulates rx packet `index` by the tuple at tuplePtr: for a forwarder whose own encapsulated packet
 * comes back from a node that never knew its flow. Then give it to handlePackets like any other.
 */
export function rxUnwrap(index: u32): i32 {
  if (!clockReady()) return Err.STATE;
  if (index >= BATCH_MAX || !isTuple()) return Err.ARGUMENT;
  return flows.unwrapReturned(batch.rxDescriptor(index));
}

export function pollTransmit(nowUs: f64): i32 {
  if (!clockReady()) return Err.STATE;
  if (!clockTell(nowUs)) return Err.ARGUMENT;
  const filled = resets.resetTransmit();
  if (filled != 0) return <i32>filled;
  for (let index: u32 = 0; index < BATCH_MAX; index++) batch.txReset(index);
  return <i32>tcp.tcpTransmit(batch.txBatch(), BATCH_MAX, nowUs);
}

export function pollHandback(nowUs: f64): i32 {
  if (!clockReady()) return Err.STATE;
  if (!clockTell(nowUs)) return Err.ARGUMENT;
  return <i32>flows.flowsHandback();
}

export function nextTimeoutUs(): f64 {
  return clockReady() ? min<f64>(flows.flowsNextUs(), tcp.tcpNextTimeout()) : Infinity;
}

export function handleTimeout(nowUs: f64): i32 {
  if (!clockReady()) return Err.STATE;
  if (!clockTell(nowUs)) return Err.ARGUMENT;
  flows.flowsTimeout(nowUs);
  tcp.tcpTimeout(nowUs);
  return Err.OK;
}

// ---- argument checks

function isFamily(family: u32): bool {
  return family == 4 || family == 6;
}

function isPeer(peer: u32): bool {
  return peer != 0 && peer < PEERS_MAX;
}

/** Neither half of a flow identifier may be zero: port 0 does not survive real networks. */
function isFlow(flow: u32): bool {
  return (flow & 0xffff) != 0 && flow >> 16 != 0;
}

function isTuple(): bool {
  const tuple = changetype<Tuple>(TUPLE);
  return isFamily(tuple.family) && tuple.remotePort != 0 && tuple.localPort != 0;
}

/** Room for an address of 16 bytes behind a pointer of the host. */
function isReadable(ptr: usize): bool {
  return ptr != 0 && <u64>ptr + 16 <= (<u64>memory.size()) << 16;
}
