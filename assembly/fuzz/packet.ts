/**
 * Packets made by a program: segments of a client with numbers near those of its connection, bytes as they come, ICMP
 * errors about what the core has sent. Checksums are right unless the program wants them wrong. Knows headers and the
 * world; must not know what the core makes of them.
 */
import { Descriptor, GsoType, PacketFlag } from "../layout";
import { Tcb } from "../tcp/tcb";
import { storeBe16, storeBe32 } from "../wire/bytes";
import { checksumOf, pseudoSum, sumBytes } from "../wire/checksum";
import { Protocol, ipChecksumWrite, ipHeaderLenOf, ipTotalLen, ipWrite } from "../wire/ip";
import {
  TCP_CHECKSUM_OFF,
  TCP_HEADER_LEN,
  TcpFlag,
  tcpChecksumWritePartial,
  tcpOptions,
  tcpSetUrgent,
  tcpWrite,
} from "../wire/tcp";
import { byte, distance, half, take, word } from "./input";
import {
  CLIENT,
  CLIENTS,
  CLIENT_PORT,
  OWN_TUNNEL,
  PEER_TUNNEL,
  ROUTER,
  SERVICE,
  SERVICE_PORT,
  SLOT_BYTES,
  address,
  blockOf,
  family,
  flowOf,
  nowUs,
  patternFill,
  tupleBetween,
  viewOf,
} from "./world";

/** Bits of the first byte of a segment. */
enum How {
  /** It comes through the tunnel of a peer, under the client's flow. */
  TUNNEL = 4,
  WIDE = 8,
  PATCHED = 16,
  /** The link has merged it from several. */
  MERGED = 32,
  /** To a port where nobody listens. */
  ELSEWHERE = 64,
  URGENT = 128,
}
/** The lowest two bits of it. */
enum Sum {
  GOOD = 0,
  VERIFIED = 1,
  PARTIAL = 2,
  WRONG = 3,
}
enum Has {
  TIMESTAMPS = 1,
  SACK = 2,
  MSS = 4,
  WINDOW_SCALE = 8,
  SACK_PERMITTED = 16,
  BYTES = 32,
  ODD_TIMESTAMPS = 64,
}
const OPTIONS_MAX: u32 = 40;
const PAYLOAD_MAX: u32 = 1900;
const QUOTE_LEN: u32 = 28;
/** From the core to a client to the service: as tcpWrite takes them, so turned round. */
const TURNED: usize = memory.data(40, 8);
const OPTIONS: usize = memory.data(48, 8);
/** The first bytes of the last packet to each client. */
export const QUOTE_MAX: u32 = 96;
const QUOTES: usize = memory.data(384, 8);
if (CLIENTS * QUOTE_MAX != 384) ERROR("QUOTES");

/** Bytes that no honest client sends went to the core: streams and resets can no longer be judged. */
export let isForged: bool = false;

/** The last segment built came through a tunnel: until its flow is known it may be held. */
export let isTunnelled: bool = false;

export function forge(): void {
  isForged = true;
}

export function quoteOf(client: u32): usize {
  return QUOTES + <usize>((client % CLIENTS) * QUOTE_MAX);
}

/** A segment of a client to `descriptorPtr`'s slot. */
export function segmentBuild(descriptorPtr: usize, client: u32): void {
  const how = byte();
  const flags = byte();
  const ptr = blockOf(client);
  const bases = byte();
  const wide = (how & How.WIDE) != 0;
  const seq = seqOf(bases & 7, client, ptr) + distance(wide);
  const ack = ackOf((bases >> 3) & 7, client, ptr) + distance(wide);
  const window = byte() * 257;
  const size = byte();
  const len = min<u32>(size < 128 ? size : (size - 120) << 4, PAYLOAD_MAX);
  const optionsLen = optionsFill(byte(), client, ptr);
  turn(how, client);
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const ip = <usize>descriptor.ptr;
  const transportLen = TCP_HEADER_LEN + optionsLen + len;
  const tcp = ip + ipWrite(ip, TURNED, transportLen, 64, (bases >> 6) & 3, nowWord());
  tcpWrite(tcp, TURNED, seq, ack, flags | tcpOptions(optionsLen), window);
  memory.copy(tcp + TCP_HEADER_LEN, OPTIONS, optionsLen);
  const payload = tcp + TCP_HEADER_LEN + optionsLen;
  patternFill(payload, len, seq + ((flags >> 1) & 1)); // a SYN comes before the first byte
  if ((how & How.URGENT) != 0) tcpSetUrgent(tcp, half());
  describe(descriptor, <u32>(payload - ip) + len, 0);
  if ((how & How.MERGED) != 0) merge(descriptor, <u32>(payload - ip));
  if ((how & How.PATCHED) != 0) patch(ip, descriptor.len);
  sign(descriptor, tcp, transportLen, how & 3);
  const view = viewOf(client);
  view.own = seq + len + ((flags >> 1) & 1) + (flags & 1);
}

function nowWord(): u32 {
  return (<u32>(<u64>nowUs)) & 0xffff;
}

/** Whose packet to whom: what the tunnel is for, comes from a peer under a flow. */
function turn(how: u32, client: u32): void {
  isTunnelled = (how & How.TUNNEL) != 0;
  if (isTunnelled) {
    const flow = flowOf(client);
    tupleBetween(TURNED, OWN_TUNNEL, flow & 0xffff, PEER_TUNNEL + 1, flow >> 16);
    return;
  }
  const port = SERVICE_PORT + ((how & How.ELSEWHERE) != 0 ? 1 : 0);
  tupleBetween(TURNED, SERVICE, port, CLIENT, CLIENT_PORT + (client % CLIENTS));
}

function seqOf(base: u32, client: u32, ptr: usize): u32 {
  const view = viewOf(client);
  if (base == 7) return word();
  if (base == 1) return view.own;
  if (ptr == 0 || base == 0) return view.expected;
  const tcb = changetype<Tcb>(ptr);
  if (base == 2) return tcb.rcvAdv;
  if (base == 3) return tcb.irs;
  if (base == 4) return tcb.rcvNxt + ((tcb.rcvAdv - tcb.rcvNxt) >> 1);
  return base == 5 ? tcb.rcvNxt + 1448 : tcb.rcvNxt;
}

function ackOf(base: u32, client: u32, ptr: usize): u32 {
  const view = viewOf(client);
  if (base == 7) return word();
  if (ptr == 0 || base == 0) return view.end;
  const tcb = changetype<Tcb>(ptr);
  if (base == 1) return tcb.sndUna;
  if (base == 2) return tcb.sndNxt;
  if (base == 3) return tcb.iss;
  if (base == 4) return tcb.sndUna + ((tcb.sndNxt - tcb.sndUna) >> 1);
  return base == 5 ? tcb.sndEnd : tcb.sndUna + <u32>tcb.sndMss;
}

/** Options to OPTIONS; returns their length, a multiple of 4. */
function optionsFill(has: u32, client: u32, ptr: usize): u32 {
  let at = OPTIONS;
  memory.fill(OPTIONS, 1, OPTIONS_MAX);
  if ((has & (Has.TIMESTAMPS | Has.ODD_TIMESTAMPS)) != 0) {
    const odd = (has & Has.ODD_TIMESTAMPS) != 0;
    storeBe32(at, 0x0101080a);
    storeBe32(at + 4, odd ? word() : <u32>(<u64>nowUs / 1000) + client);
    storeBe32(at + 8, odd ? word() : viewOf(client).tsVal);
    at += 12;
  }
  if ((has & Has.MSS) != 0) {
    storeBe32(at, 0x02040000 | half());
    at += 4;
  }
  if ((has & Has.WINDOW_SCALE) != 0) {
    storeBe32(at, 0x01030300 | byte());
    at += 4;
  }
  if ((has & Has.SACK_PERMITTED) != 0) {
    storeBe32(at, 0x01010402);
    at += 4;
  }
  if ((has & Has.SACK) != 0) at = sackFill(at, ptr);
  if ((has & Has.BYTES) != 0) {
    const room = OPTIONS_MAX - <u32>(at - OPTIONS);
    at += <usize>((take(at, min<u32>(byte(), room)) + 3) & ~3);
  }
  return <u32>(at - OPTIONS);
}

/** One to three blocks within what is in flight, as parts of 256 of it: about the right ones, about in order. */
function sackFill(to: usize, ptr: usize): usize {
  const room = OPTIONS_MAX - <u32>(to - OPTIONS);
  const count = min<u32>(1 + (byte() % 3), (room - 4) >> 3);
  const una = ptr == 0 ? 0 : changetype<Tcb>(ptr).sndUna;
  const flight = ptr == 0 ? 0 : changetype<Tcb>(ptr).sndNxt - una;
  storeBe32(to, 0x01010500 | (2 + (count << 3)));
  let at = to + 4;
  for (let index: u32 = 0; index < count; index++) {
    storeBe32(at, una + ((flight * byte()) >> 8));
    storeBe32(at + 4, una + ((flight * byte()) >> 8) + 1);
    at += 8;
  }
  return at;
}

function describe(descriptor: Descriptor, len: u32, flags: u32): void {
  descriptor.len = len;
  descriptor.flags = <u16>flags;
  descriptor.csumStart = 0;
  descriptor.csumOffset = 0;
  descriptor.gsoType = 0;
  descriptor.gsoSize = 0;
  descriptor.headerLen = 0;
  descriptor.link = 0;
  descriptor.timeUs = 0;
  descriptor.peer = 0;
  descriptor.flow = 0;
  descriptor.record = 0;
  descriptor.handle = 0;
}

function merge(descriptor: Descriptor, headerLen: u32): void {
  descriptor.gsoType = <u16>(family == 4 ? GsoType.TCPV4 : GsoType.TCPV6);
  descriptor.gsoSize = <u16>(byte() * 8);
  descriptor.headerLen = <u16>headerLen;
  descriptor.flags = <u16>PacketFlag.CSUM_VERIFIED;
}

/** One to four bytes of the packet become others, anywhere in its first 256. */
function patch(ip: usize, len: u32): void {
  const count = 1 + (byte() & 3);
  for (let left = count; left > 0; left--) {
    const at = byte() % min<u32>(len, 256);
    store<u8>(ip + at, <u8>byte());
  }
  forge();
}

/** Checksums, made over what stands there. */
function sign(descriptor: Descriptor, tcp: usize, transportLen: u32, sum: u32): void {
  const ip = <usize>descriptor.ptr;
  if (family == 4) headerSign(ip, descriptor.len);
  const version = (<u32>load<u8>(ip)) >> 4;
  if (version == 4 || version == 6) tcpSign(ip, tcp, transportLen);
  if (sum == Sum.WRONG) {
    // It is dropped, so that its bytes may be anything.
    store<u8>(tcp, load<u8>(tcp, TCP_CHECKSUM_OFF) ^ 0x10, TCP_CHECKSUM_OFF);
  } else if (sum == Sum.VERIFIED) {
    descriptor.flags = <u16>PacketFlag.CSUM_VERIFIED;
  } else if (sum == Sum.PARTIAL) {
    if (!isForged) tcpChecksumWritePartial(ip, tcp, transportLen);
    descriptor.flags = <u16>PacketFlag.NEEDS_CSUM;
    descriptor.csumStart = <u16>(tcp - ip);
    descriptor.csumOffset = <u16>TCP_CHECKSUM_OFF;
  }
}

function tcpSign(ip: usize, tcp: usize, transportLen: u32): void {
  store<u16>(tcp, 0, TCP_CHECKSUM_OFF);
  const sum = sumBytes(tcp, transportLen, pseudoSum(ip, Protocol.TCP, transportLen));
  store<u16>(tcp, checksumOf(sum), TCP_CHECKSUM_OFF);
}

function headerSign(ip: usize, len: u32): void {
  const headerLen = min<u32>(((<u32>load<u8>(ip)) & 15) << 2, len);
  store<u16>(ip, 0, 10);
  store<u16>(ip, checksumOf(sumBytes(ip, headerLen, 0)), 10);
}

/** Bytes as they come: with checksums made right where the first byte says so, and any descriptor. */
export function rawBuild(descriptorPtr: usize): void {
  const how = byte();
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const ip = <usize>descriptor.ptr;
  describe(descriptor, 0, how >> 4);
  if ((how & 2) != 0) {
    descriptor.csumStart = <u16>half();
    descriptor.csumOffset = <u16>half();
    descriptor.gsoType = <u16>byte();
    descriptor.gsoSize = <u16>half();
    descriptor.headerLen = <u16>half();
    descriptor.flow = word();
    descriptor.record = word();
  }
  const len = take(ip, half() % (SLOT_BYTES + 1));
  descriptor.len = len;
  forge();
  if ((how & 1) == 0 || len < 20) return;
  const headerLen = ipHeaderLenOf(family);
  if (family == 4) headerSign(ip, len);
  if (len >= headerLen + TCP_HEADER_LEN && ipTotalLen(ip) == len) {
    tcpSign(ip, ip + headerLen, len - headerLen);
  }
}

/** An ICMP error of any kind about the last packet to a client, from a router or through a peer. */
export function icmpBuild(descriptorPtr: usize, client: u32): void {
  const descriptor = changetype<Descriptor>(descriptorPtr);
  const ip = <usize>descriptor.ptr;
  const quoteLen = QUOTE_LEN + (byte() % (QUOTE_MAX - QUOTE_LEN + 1));
  tupleBetween(TURNED, SERVICE, 0, ROUTER, 0);
  const headerLen = ipWrite(ip, TURNED, 8 + quoteLen, 64, 0, 0);
  const icmp = ip + headerLen;
  storeBe32(icmp, (byte() << 24) | (byte() << 16));
  storeBe32(icmp + 4, half());
  memory.copy(icmp + 8, quoteOf(client), quoteLen);
  describe(descriptor, headerLen + 8 + quoteLen, 0);
  const seqPtr = icmp + 8 + <usize>headerLen + 4;
  const ptr = blockOf(client);
  const moved = distance(true);
  if (ptr != 0 && <u32>(seqPtr - icmp) + 4 <= 8 + quoteLen) {
    storeBe32(seqPtr, changetype<Tcb>(ptr).sndUna + moved);
  }
  if (family == 4) {
    store<u8>(ip, <u8>Protocol.ICMP, 9);
    ipChecksumWrite(ip);
    store<u16>(icmp, checksumOf(sumBytes(icmp, 8 + quoteLen, 0)), 2);
  } else {
    store<u8>(ip, <u8>Protocol.ICMP6, 6);
    const sum = pseudoSum(ip, Protocol.ICMP6, 8 + quoteLen);
    store<u16>(icmp, checksumOf(sumBytes(icmp, 8 + quoteLen, sum)), 2);
  }
}

/** The RST flag of a built segment. */
export function resetFlag(descriptorPtr: usize): u32 {
  const ip = <usize>changetype<Descriptor>(descriptorPtr).ptr;
  return (<u32>load<u8>(ip + ipHeaderLenOf(family), 13)) & TcpFlag.RST;
}
