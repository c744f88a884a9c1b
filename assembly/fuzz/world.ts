/**
 * The world around the core that is fuzzed: its clock, its addresses, four clients and what each knows of its
 * connection. Sets the core up; must not know what a program does with it.
 */
import { ServiceFlag } from "../encap/services";
import * as abi from "../index";
import { PARAMETERS, Parameters, TUPLE, Tuple } from "../layout";
import { Tcb, tcbAt, tcbPeak } from "../tcp/tcb";
import { ipHeaderLenOf, ipTotalLen } from "../wire/ip";
import { TcpFlag, tcpAck, tcpFlags, tcpHeaderLen, tcpSegLen, tcpSeq } from "../wire/tcp";
import { optionsTimestampsPtr } from "../wire/options";
import { loadBe32 } from "../wire/bytes";

export const CLIENTS: u32 = 4;
export const CLIENT_PORT: u32 = 40_000;
export const SERVICE_PORT: u32 = 80;
export const CONNECTIONS_MAX: u32 = 12;
export const SLOT_BYTES: u32 = 2048;
export const BLOB_BYTES: u32 = 131_072;
export const MTU: u32 = 1500;
/** Last bytes of the addresses: 10.0.0.N, fd00::N. */
export const OWN_TUNNEL: u32 = 10;
export const PEER_TUNNEL: u32 = 20;
export const SERVICE: u32 = 100;
export const CLIENT: u32 = 200;
export const ROUTER: u32 = 254;

export let nowUs: f64 = 1_000_000;
export let family: u32 = 4;

/** What a client knows: from what the core has sent to it. */
@unmanaged
export class View {
  /** What the core expects of it: the last SEG.ACK. */
  expected: u32;
  /** Behind the last byte that it was sent. */
  end: u32;
  /** Behind the last byte that it has sent itself. */
  own: u32;
  tsVal: u32;
}
const VIEW_SIZE: u32 = 16;
if (offsetof<View>() != VIEW_SIZE) ERROR("View");
const VIEWS: usize = memory.data(64, 8);
const SCRATCH: usize = memory.data(16, 8);

export function viewOf(client: u32): View {
  return changetype<View>(VIEWS + <usize>((client % CLIENTS) * VIEW_SIZE));
}

export function advance(us: f64): void {
  nowUs += us;
}

/** Where a program begins: the core started, with addresses, services and peers. */
export function worldBegin(isV6: bool, halfOpenMax: u32, segmenting: u32): void {
  family = isV6 ? 6 : 4;
  const p = changetype<Parameters>(PARAMETERS);
  p.wallMs = 1_767_225_600_000;
  p.hashSecret0 = 0x1111_2222_3333_4444;
  p.isnSecret0 = 0x5555_6666_7777_8888;
  p.connectionsMax = CONNECTIONS_MAX;
  p.timeWaitMax = 4;
  p.halfOpenMax = halfOpenMax;
  p.mappings4Max = 16;
  p.mappings6Max = 16;
  p.recordsMax = 8;
  p.earlyBytesMax = 8_192;
  p.earlyFlowsMax = 4;
  p.bufferBytes = 262_144;
  p.slotBytes = SLOT_BYTES;
  p.blobBytes = BLOB_BYTES;
  p.mtu = MTU;
  p.segmenting = segmenting;
  must(abi.init(nowUs));
  must(abi.tunnelSet(family, address(OWN_TUNNEL)));
  for (let peer: u32 = 1; peer < 4; peer++) {
    must(abi.peerSet(peer, family, address(PEER_TUNNEL + peer)));
  }
  const flags: u32 = ServiceFlag.LISTEN | ServiceFlag.ECN;
  must(abi.serviceAdd(family, address(SERVICE), SERVICE_PORT, 0, flags));
  must(abi.serviceAdd(family, address(SERVICE), SERVICE_PORT + 1, 0, 0));
}

export function must(result: i32): i32 {
  assert(result >= 0);
  return result;
}

/** An address of the world's family as 16 bytes, valid until the next one. */
export function address(last: u32): usize {
  memory.fill(SCRATCH, 0, 16);
  if (family == 4) store<u32>(SCRATCH, 10 | (last << 24));
  else {
    store<u8>(SCRATCH, 0xfd);
    store<u8>(SCRATCH, <u8>last, 15);
  }
  return SCRATCH;
}

/** The connection of a client as the service sees it. */
export function tupleFill(tuplePtr: usize, client: u32): void {
  tupleBetween(tuplePtr, CLIENT, CLIENT_PORT + (client % CLIENTS), SERVICE, SERVICE_PORT);
}

export function tupleOfClient(client: u32): void {
  tupleFill(TUPLE, client);
}

/** Fills a Tuple: `remote` and `local` are last bytes of addresses. */
export function tupleBetween(
  tuplePtr: usize,
  remote: u32,
  remotePort: u32,
  local: u32,
  localPort: u32,
): void {
  const tuple = changetype<Tuple>(tuplePtr);
  tuple.family = family;
  tuple.remotePort = <u16>remotePort;
  tuple.localPort = <u16>localPort;
  memory.copy(tuplePtr + 8, address(remote), 16);
  memory.copy(tuplePtr + 24, address(local), 16);
}

/** The block of a client's connection, whatever its state; 0 when there is none. */
export function blockOf(client: u32): usize {
  const port = CLIENT_PORT + (client % CLIENTS);
  for (let index: u32 = 1; index <= tcbPeak(); index++) {
    const tcb = changetype<Tcb>(tcbAt(index));
    if (tcb.handle != 0 && <u32>tcb.remotePort == port) return tcbAt(index);
  }
  return 0;
}

/** Its handle; 0 when there is none. */
export function handleOf(client: u32): u32 {
  const ptr = blockOf(client);
  return ptr == 0 ? 0 : changetype<Tcb>(ptr).handle;
}

/** The flow that names a client's connection. */
export function flowOf(client: u32): u32 {
  return (client % CLIENTS) * 0x10001 + 0x00070009;
}

/** The byte of either stream that stands at a sequence number: both sides send it, both check it. */
export function pattern(seq: u32): u32 {
  return (seq ^ (seq >> 7) ^ (seq >> 15)) & 0xff;
}

export function patternFill(ptr: usize, len: u32, seq: u32): void {
  for (let at: u32 = 0; at < len; at++) store<u8>(ptr + at, <u8>pattern(seq + at));
}

export function patternFits(ptr: usize, len: u32, seq: u32): bool {
  for (let at: u32 = 0; at < len; at++) {
    if (<u32>load<u8>(ptr + at) != pattern(seq + at)) return false;
  }
  return true;
}

/** A client takes note of a packet that the core sent to it. */
export function viewNote(client: u32, ip: usize): void {
  const view = viewOf(client);
  const tcp = ip + ipHeaderLenOf(family);
  const flags = tcpFlags(tcp);
  const headerLen = tcpHeaderLen(tcp);
  const payload = ipTotalLen(ip) - ipHeaderLenOf(family) - headerLen;
  view.end = tcpSeq(tcp) + tcpSegLen(flags, payload);
  if ((flags & TcpFlag.ACK) != 0) view.expected = tcpAck(tcp);
  const timestamps = optionsTimestampsPtr(tcp, headerLen);
  if (timestamps != 0) view.tsVal = loadBe32(timestamps + 2);
}
