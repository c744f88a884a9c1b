/**
 * What must hold whatever a program does: numbers of connections move only forward, frozen ones and bystanders do not
 * change, nothing is written beside a packet, what is sent is well formed and carries the bytes that were written, the
 * work of a packet is bounded, and in the end everything can be given back. A broken rule is a trap.
 */
import { rxPacketPtr } from "../batch";
import { EventType, Event, State } from "../report";
import { Err } from "../errors";
import * as abi from "../index";
import { BATCH_MAX, Descriptor, EVENT, PacketFlag, SLOT_HEADROOM } from "../layout";
import { nodesUsed, nodeSteps } from "../tcp/node";
import { Flag, TCB_SIZE, Tcb, tcbAt, tcbPeak } from "../tcp/tcb";
import { ipCheck, ipCheckedHeaderLen, ipTotalLen } from "../wire/ip";
import { seqGe, seqLe } from "../wire/seq";
import {
  TcpFlag,
  tcpCheck,
  tcpChecksumOk,
  tcpDestinationPort,
  tcpFlags,
  tcpSeq,
  tcpSourcePort,
} from "../wire/tcp";
import { QUOTE_MAX, isForged, quoteOf } from "./packet";
import {
  CLIENTS,
  CLIENT_PORT,
  CONNECTIONS_MAX,
  MTU,
  SERVICE_PORT,
  SLOT_BYTES,
  patternFits,
  viewNote,
} from "./world";

/** A block as it was before a step. */
@unmanaged
class Shadow {
  sum: u64;
  handle: u32;
  state: u32;
  flags: u32;
  sndUna: u32;
  rcvNxt: u32;
  rcvAdv: u32;
}
const SHADOW_SIZE: u32 = 32;
if (offsetof<Shadow>() != SHADOW_SIZE) ERROR("Shadow");
const SHADOWS: usize = memory.data(416, 8);
if ((CONNECTIONS_MAX + 1) * SHADOW_SIZE != 416) ERROR("SHADOWS");

/** Links of lists change with neighbours: hashNext, and the room for links (tcp/tcb.ts). */
const LINKS_OFF: u32 = 680;
const LINKS_LEN: u32 = 40;
const HASH_NEXT_OFF: u32 = 32;
/** Nodes looked at for one segment: some for each block of SACK, and for each node there is. */
const STEPS_MIN: u32 = 400;
const STEPS_PER_NODE: u32 = 40;
const CANARY: u64 = 0xa5a5a5a5a5a5a5a5;
/** Everybody may change. */
export const ANYBODY: u32 = 0xffffffff;

let nodesBefore: u32 = 0;
let digest: u32 = 0;

/** What comes out of a program, as one number: the same in every build and every runtime. */
export function digestNote(value: u32): void {
  digest = rotl<u32>(digest ^ value, 5) * 0x9e3779b1;
}

export function digestRead(): u32 {
  return digest;
}

function shadowAt(index: u32): Shadow {
  return changetype<Shadow>(SHADOWS + <usize>(index * SHADOW_SIZE));
}

/** Takes note of every connection, before a step. */
export function look(): void {
  for (let index: u32 = 1; index <= tcbPeak(); index++) {
    const tcb = changetype<Tcb>(tcbAt(index));
    const shadow = shadowAt(index);
    shadow.handle = tcb.handle;
    if (tcb.handle == 0) continue;
    shadow.sum = blockSum(tcbAt(index));
    shadow.state = <u32>tcb.state;
    shadow.flags = tcb.flags;
    shadow.sndUna = tcb.sndUna;
    shadow.rcvNxt = tcb.rcvNxt;
    shadow.rcvAdv = tcb.rcvAdv;
  }
  nodesBefore = nodesUsed();
  nodeSteps();
}

/** No list and no timer holds a block that is over: it may be another connection's at any moment. */
function judgeOver(tcb: Tcb): void {
  const isOver = tcb.handle == 0 || (tcb.flags & Flag.DETACHED) != 0;
  if (isOver) assert(tcb.wheelSlot == 0 && (tcb.flags & Flag.OUT_LISTED) == 0);
}

/** After a step that packets or the clock drove; only the block with this remote port may have changed. */
export function judge(port: u32): void {
  for (let index: u32 = 1; index <= tcbPeak(); index++) {
    const shadow = shadowAt(index);
    const tcb = changetype<Tcb>(tcbAt(index));
    judgeOver(tcb);
    if (tcb.handle == 0 || tcb.handle != shadow.handle) continue;
    const frozen = (shadow.flags & Flag.FROZEN) != 0;
    const bystander = port != ANYBODY && <u32>tcb.remotePort != port;
    if (frozen || bystander) assert(blockSum(tcbAt(index)) == shadow.sum);
    else progress(tcb, shadow);
  }
}

function progress(tcb: Tcb, shadow: Shadow): void {
  const state = <u32>tcb.state;
  if (state == State.CLOSED) return;
  assert(seqLe(tcb.sndUna, tcb.sndNxt));
  if (shadow.state == State.SYN_SENT || shadow.state == State.CLOSED) return;
  assert(seqGe(tcb.sndUna, shadow.sndUna));
  assert(seqGe(tcb.rcvNxt, shadow.rcvNxt));
  assert(seqGe(tcb.rcvAdv, shadow.rcvAdv));
}

/** The work that `count` packets made. */
export function judgeWork(count: u32): void {
  const nodes = max<u32>(nodesBefore, nodesUsed());
  assert(nodeSteps() <= (STEPS_MIN + STEPS_PER_NODE * nodes) * count);
}

function blockSum(ptr: usize): u64 {
  let sum: u64 = 0xcbf29ce484222325;
  for (let off: u32 = 0; off < TCB_SIZE; off += 8) {
    if (off - LINKS_OFF < LINKS_LEN) continue;
    let word = load<u64>(ptr + off);
    if (off == HASH_NEXT_OFF) word &= 0xffffffff;
    sum = (sum ^ word) * 0x100000001b3;
  }
  return sum;
}

/** Fills what is free of rx slot `index`, in front of the packet and behind it. */
export function canarySet(index: u32, len: u32): void {
  const ptr = rxPacketPtr(index);
  memory.fill(ptr - SLOT_HEADROOM, 0xa5, SLOT_HEADROOM);
  memory.fill(ptr + len, 0xa5, SLOT_BYTES - len);
}

export function canaryFits(index: u32, len: u32): bool {
  const ptr = rxPacketPtr(index);
  for (let at = ptr - SLOT_HEADROOM; at < ptr; at += 8) {
    if (load<u64>(at) != CANARY) return false;
  }
  const end = ptr + SLOT_BYTES;
  let at = ptr + len;
  for (; at < end && (at & 7) != 0; at++) if (load<u8>(at) != 0xa5) return false;
  for (; at < end; at += 8) if (load<u64>(at) != CANARY) return false;
  return true;
}

/** A packet that the core made for a client: well formed, signed, and with the bytes of the stream. */
export function judgeSent(descriptor: Descriptor): void {
  const ip = <usize>descriptor.ptr;
  const len = descriptor.len;
  assert(len <= SLOT_BYTES);
  const checked = ipCheck(ip, len);
  assert(checked > 0 && ipTotalLen(ip) == len);
  const headerLen = ipCheckedHeaderLen(checked);
  const tcp = ip + headerLen;
  const tcpLen = len - headerLen;
  const tcpHeaderLen = tcpCheck(tcp, tcpLen);
  assert(tcpHeaderLen > 0);
  const partial = ((<u32>descriptor.flags) & PacketFlag.NEEDS_CSUM) != 0;
  assert(partial || tcpChecksumOk(ip, tcp, tcpLen));
  if (descriptor.gsoType == 0) assert(len <= MTU);
  digestNote(tcpSeq(tcp) ^ (len << 16) ^ tcpFlags(tcp));
  if (tcpSourcePort(tcp) != SERVICE_PORT) return;
  const client = tcpDestinationPort(tcp) - CLIENT_PORT;
  if (client >= CLIENTS) return;
  memory.copy(quoteOf(client), ip, min<u32>(len, QUOTE_MAX));
  viewNote(client, ip);
  const isSyn = (tcpFlags(tcp) & TcpFlag.SYN) != 0;
  const isReset = (tcpFlags(tcp) & TcpFlag.RST) != 0;
  if (isForged || isSyn || isReset) return;
  const payload = tcp + <usize>tcpHeaderLen;
  assert(patternFits(payload, tcpLen - <u32>tcpHeaderLen, tcpSeq(tcp)));
}

/** Takes every event that waits. `mayReset`: a RST has come that a connection may have believed. */
export function drainEvents(mayReset: bool): void {
  const event = changetype<Event>(EVENT);
  let count: u32 = 0;
  while (abi.pollEvent() == 1) {
    assert(++count < 1000);
    digestNote((event.type << 8) ^ (<u32>event.code));
    if (event.type != EventType.CLOSED) continue;
    if (event.code == Err.RESET || event.code == Err.REFUSED) assert(mayReset);
  }
}

/** Everything that the core wants to send, judged. */
export function drainSent(nowUs: f64): void {
  let rounds: u32 = 0;
  for (let count = abi.pollTransmit(nowUs); count > 0; count = abi.pollTransmit(nowUs)) {
    assert(++rounds < 64 && <u32>count <= BATCH_MAX);
    for (let index = 0; index < count; index++) judgeSent(sentAt(index));
  }
  rounds = 0;
  for (let count = abi.pollHandback(nowUs); count > 0; count = abi.pollHandback(nowUs)) {
    assert(++rounds < 64 && <u32>count <= BATCH_MAX);
    for (let index = 0; index < count; index++) {
      const descriptor = sentAt(index);
      assert(descriptor.len <= SLOT_BYTES);
      digestNote(descriptor.len ^ (descriptor.flow << 8) ^ descriptor.record);
    }
  }
}

function sentAt(index: u32): Descriptor {
  return changetype<Descriptor>(abi.txBatchPtr() + <usize>(index * abi.DESCRIPTOR_SIZE));
}
