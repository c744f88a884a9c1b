/**
 * The shape of linear memory and of every structure that crosses the ABI. Knows sizes and offsets;
 * must not know what any room does with them. The host reads these constants from exported globals.
 *
 *   0 .. 64 KiB       unused: address 0 means null
 *   64 KiB ..         static data (parameters, scratch structures, constant tables)
 *   __heap_base ..    regions, reserved one after the other by `reserve()` during init(), nothing later
 */
import { Err } from "./errors";

/**
 * A packet as it crosses the ABI. All fields little-endian; `ptr` is an absolute address.
 *
 *    0 ptr         u32  first byte of the IP header
 *    4 len         u32  bytes from ptr
 *    8 flags       u16  PacketFlag
 *   10 csumStart   u16  from ptr; with NEEDS_CSUM: where summing starts (virtio_net csum_start)
 *   12 csumOffset  u16  from csumStart: where the sum is stored
 *   14 gsoType     u16  GsoType: virtio_net_hdr.gso_type
 *   16 gsoSize     u16  payload bytes of each segment, 0 when gsoType is NONE
 *   18 headerLen   u16  bytes of headers that each segment repeats
 *   20 link        u16  which link it came from or goes to
 *   22 verdict     u16  Verdict: set by handlePackets, pollTransmit, pollHandback
 *   24 timeUs      f64  when it was received (0: use the batch's time)
 *   32 peer        u32  with HANDBACK and ICMP verdicts: peer index of the forwarder or owner
 *   36 flow        u32  the flow identifier concerned, 0 when none
 *   40 record      u32  with HANDBACK: RecordState of the flow
 *   44 handle      u32  the connection concerned, 0 when none
 */
@unmanaged
export class Descriptor {
  ptr: u32;
  len: u32;
  flags: u16;
  csumStart: u16;
  csumOffset: u16;
  gsoType: u16;
  gsoSize: u16;
  headerLen: u16;
  link: u16;
  verdict: u16;
  timeUs: f64;
  peer: u32;
  flow: u32;
  record: u32;
  handle: u32;
}
export const DESCRIPTOR_SIZE: u32 = 48;
if (offsetof<Descriptor>() != DESCRIPTOR_SIZE) ERROR("Descriptor layout changed");

/** Offsets of Descriptor, for the host. */
export enum DescriptorOff {
  PTR = 0,
  LEN = 4,
  FLAGS = 8,
  CSUM_START = 10,
  CSUM_OFFSET = 12,
  GSO_TYPE = 14,
  GSO_SIZE = 16,
  HEADER_LEN = 18,
  LINK = 20,
  VERDICT = 22,
  TIME_US = 24,
  PEER = 32,
  FLOW = 36,
  RECORD = 40,
  HANDLE = 44,
}
if (offsetof<Descriptor>("verdict") != DescriptorOff.VERDICT) ERROR("DescriptorOff is wrong");
if (offsetof<Descriptor>("handle") != DescriptorOff.HANDLE) ERROR("DescriptorOff is wrong");

export enum PacketFlag {
  NONE = 0,
  /** The transport checksum field holds the pseudo-header sum only (VIRTIO_NET_HDR_F_NEEDS_CSUM). */
  NEEDS_CSUM = 1,
  /** The link has verified the checksum (VIRTIO_NET_HDR_F_DATA_VALID). */
  CSUM_VERIFIED = 2,
  /** A SYN given back from TIME-WAIT: `flow` holds the old SND.NXT, `record` the old last TSval. */
  SYN_HINT = 4,
}

/** Values of virtio_net_hdr.gso_type. */
export enum GsoType {
  NONE = 0,
  TCPV4 = 1,
  TCPV6 = 4,
  ECN = 0x80,
}

/** What became of a packet given to handlePackets, or what to do with one that was polled. */
export enum Verdict {
  /** Dropped and counted; its slot is free. */
  DROPPED = 0,
  /** Taken by the stack or copied into a hold buffer; its slot is free. */
  CONSUMED = 1,
  /** Rewritten in place or newly built: write it to the link. */
  TRANSMIT = 2,
  /** Give it back to forwarder `peer` in a HANDBACK message, with `flow` and `record`. */
  HANDBACK = 3,
  /** For a service address, and neither mapped nor known to the stack, or mapped to `peer` without a flow. */
  UNMAPPED = 4,
  /** An ICMP error about flow `flow`, which peer `peer` owns: send it on. */
  ICMP = 5,
}

/** Packets of one batch, in either direction. */
export const BATCH_MAX: u32 = 64;
/** Bytes before the packet in each slot: room for link headers and for virtio_net_hdr. */
export const SLOT_HEADROOM: u32 = 64;
/** Largest packet of a link with segmentation offload: 64 KiB of IP. */
export const SLOT_PACKET_LARGE: u32 = 65536;

/**
 * A connection's addresses, from the view of the service.
 *
 *    0 family      u32      4 or 6
 *    4 remotePort  u16      host byte order; the client
 *    6 localPort   u16      host byte order; the service
 *    8 remote      16 bytes network byte order; IPv4 in the first four, the rest zero
 *   24 local       16 bytes likewise
 */
@unmanaged
export class Tuple {
  family: u32;
  remotePort: u16;
  localPort: u16;
  remote0: u64;
  remote1: u64;
  local0: u64;
  local1: u64;
}
export const TUPLE_SIZE: u32 = 40;
if (offsetof<Tuple>() != TUPLE_SIZE) ERROR("Tuple layout changed");

/**
 * What the host chooses before init(). Rooms append their own fields at the end, before `reserved`.
 *
 *    0 wallMs         f64   milliseconds since 1970 at init's nowUs
 *    8 hashSecret     16 B  random for this instance: keys of the tables
 *   24 isnSecret      16 B  derived from the cluster key: ISN, timestamp offsets, SYN cookies
 *   40 connectionsMax u32   connections of the own stack
 *   44 timeWaitMax    u32   TIME-WAIT records
 *   48 halfOpenMax    u32   connections in SYN-RECEIVED before cookies are sent
 *   52 mappings4Max   u32   entries of the IPv4 mapping table
 *   56 mappings6Max   u32   entries of the IPv6 mapping table
 *   60 recordsMax     u32   flow records, ended ones included
 *   64 earlyBytesMax  u32   bytes for early packets and held segments
 *   68 earlyFlowsMax  u32   flows that have such packets
 *   72 bufferBytes    u32   bytes that all send and receive buffers share
 *   76 slotBytes      u32   largest packet of a slot: 2,048 or SLOT_PACKET_LARGE
 *   80 blobBytes      u32   largest blob
 *   84 mtu            u32   largest packet that may be sent without GSO
 *   88 segmenting     u32   1: the link cuts super-segments and makes checksums
 *   92 sndBufferMax   u32   send buffer of one connection at most; 0: a default
 *   96 rcvBufferMax   u32   receive buffer of one connection at most; 0: a default
 *  100 ringFrames     u32   frames of the xdp link, a power of two; 0: no rings
 *  104 ringFrameBytes u32   2,048 or 4,096, when there are any
 */
@unmanaged
export class Parameters {
  wallMs: f64;
  hashSecret0: u64;
  hashSecret1: u64;
  isnSecret0: u64;
  isnSecret1: u64;
  connectionsMax: u32;
  timeWaitMax: u32;
  halfOpenMax: u32;
  mappings4Max: u32;
  mappings6Max: u32;
  recordsMax: u32;
  earlyBytesMax: u32;
  earlyFlowsMax: u32;
  bufferBytes: u32;
  slotBytes: u32;
  blobBytes: u32;
  mtu: u32;
  segmenting: u32;
  sndBufferMax: u32;
  rcvBufferMax: u32;
  ringFrames: u32;
  ringFrameBytes: u32;
  reserved0: u32;
  reserved2: u64;
  reserved3: u64;
}
export const PARAMETERS_SIZE: u32 = 128;
if (offsetof<Parameters>() != PARAMETERS_SIZE) ERROR("Parameters layout changed");

/** Offsets of Parameters, for the host. */
export enum ParameterOff {
  WALL_MS = 0,
  HASH_SECRET = 8,
  ISN_SECRET = 24,
  CONNECTIONS_MAX = 40,
  TIME_WAIT_MAX = 44,
  HALF_OPEN_MAX = 48,
  MAPPINGS4_MAX = 52,
  MAPPINGS6_MAX = 56,
  RECORDS_MAX = 60,
  EARLY_BYTES_MAX = 64,
  EARLY_FLOWS_MAX = 68,
  BUFFER_BYTES = 72,
  SLOT_BYTES = 76,
  BLOB_BYTES = 80,
  MTU = 84,
  SEGMENTING = 88,
  SND_BUFFER_MAX = 92,
  RCV_BUFFER_MAX = 96,
  RING_FRAMES = 100,
  RING_FRAME_BYTES = 104,
}
if (offsetof<Parameters>("mtu") != ParameterOff.MTU) ERROR("ParameterOff is wrong");
if (offsetof<Parameters>("rcvBufferMax") != ParameterOff.RCV_BUFFER_MAX) ERROR("ParameterOff");
if (offsetof<Parameters>("ringFrames") != ParameterOff.RING_FRAMES) ERROR("ParameterOff");

/** What a mapping says about the packets of its connection. */
export enum MapAction {
  /** No entry. */
  NONE = 0,
  /** Encapsulate to `peer` under `flow`. */
  FORWARD = 1,
  /**
   * The own stack has it: without a peer, or under a peer and flow that name this very node. With a peer and
   * no flow that peer's stack has it: verdict UNMAPPED.
   */
  LOCAL = 2,
  /** Tombstone: PROTOCOL.md section 6. */
  TOMB = 3,
}

/** State of a flow at a node: PROTOCOL.md section 4. */
export enum RecordState {
  NONE = 0,
  ACTIVE = 1,
  FROZEN = 2,
  MOVED = 3,
  CLOSED = 4,
  POISONED = 5,
}

/** What to do with packets of connections that nobody here knows. */
export enum Mode {
  /** Answer with RST (RFC 9293 3.10.7.1). */
  RST_UNKNOWN = 0,
  /** The mapping is not complete yet: drop, never RST, never accept (R17). */
  RECOVERING = 1,
  /** Verdict UNMAPPED: the host asks another node. */
  HOST_UNKNOWN = 2,
}

/**
 * An entry of the mapping table, as mapGet and mapScan report it and mapNote reads it.
 *
 *    0 action     u32  MapAction
 *    4 peer       u32
 *    8 flow       u32
 *   12 timestamps u32  1 when the client's last segment carried the option
 *   16 segAck     u32  of the client's last segment that had the ACK flag
 *   20 segSeq     u32  of the client's last segment
 *   24 tsVal      u32
 *   28 tsEcr      u32
 *   32 seenUs     f64  when it came, to the second
 */
@unmanaged
export class MapInfo {
  action: u32;
  peer: u32;
  flow: u32;
  timestamps: u32;
  segAck: u32;
  segSeq: u32;
  tsVal: u32;
  tsEcr: u32;
  seenUs: f64;
}
export const MAP_INFO_SIZE: u32 = 40;
if (offsetof<MapInfo>() != MAP_INFO_SIZE) ERROR("MapInfo layout changed");

/** Offsets of MapInfo, for the host. */
export enum MapInfoOff {
  ACTION = 0,
  PEER = 4,
  FLOW = 8,
  TIMESTAMPS = 12,
  SEG_ACK = 16,
  SEG_SEQ = 20,
  TS_VAL = 24,
  TS_ECR = 28,
  SEEN_US = 32,
}

/** The scratch structures of the ABI: one of each, at fixed addresses. */
export const PARAMETERS: usize = memory.data(128, 8);
export const TUPLE: usize = memory.data(40, 8);
export const SPAN: usize = memory.data(8, 8);
export const EVENT: usize = memory.data(72, 8);
export const INFO: usize = memory.data(256, 8);
export const MAP_INFO: usize = memory.data(40, 8);

/** u64, because parameters may ask for more than an address can name: layoutEnd refuses that. */
let top: u64 = 0;

/** Where the next region starts, after rounding up; 0 before `layoutBegin`. */
export function layoutTop(): usize {
  return <usize>top;
}

export function layoutBegin(): void {
  top = (<u64>__heap_base + 63) & ~63;
}

/** Reserves `size` bytes, aligned to a cache line. Call between layoutBegin and layoutEnd only. */
export function reserve(size: usize): usize {
  const ptr = top;
  top = (top + <u64>size + 63) & ~63;
  return <usize>ptr;
}

/** Grows memory once so that every reserved region exists, zero-filled. Err.MEMORY when refused. */
export function layoutEnd(): i32 {
  const have = (<u64>memory.size()) << 16;
  if (top <= have) return Err.OK;
  if (top > 0xffff0000) return Err.MEMORY;
  const pages = <i32>((top - have + 0xffff) >> 16);
  return memory.grow(pages) < 0 ? Err.MEMORY : Err.OK;
}
