/**
 * Entry of the build for fuzzing: plays a program of bytes against a core. The same module is played by libFuzzer
 * (as C, by wasm2c: test/fuzz/core.c) and by Node (test/fuzz/core.test.ts). Never shipped.
 *
 *   begin(scene)   once in an instance: starts the core and plays the scene's own program
 *   run(length)    once in an instance, after it: plays `length` bytes at inputPtr(); a broken rule is a trap
 *
 * A step is a byte: the operation in bits 0 to 4, the client in bits 5 and 6, in bit 7 that a packet waits for the next
 * one. What follows is read by the operation.
 */
import * as abi from "../index";
import { rxDescriptor } from "../batch";
import { Descriptor, MapAction, RecordState, SPAN } from "../layout";
import { State } from "../report";
import { Tcb, tcbAt, tcbCount, tcbPeak } from "../tcp/tcb";
import { Usage, USAGE, usageTake } from "../usage";
import * as calls from "./calls";
import { INPUT, INPUT_MAX, byte, half, inputBegin, inputLeft } from "./input";
import {
  ANYBODY,
  canaryFits,
  canarySet,
  digestNote,
  digestRead,
  drainEvents,
  drainSent,
  judge,
  judgeWork,
  look,
} from "./judge";
import { icmpBuild, isForged, isTunnelled, rawBuild, resetFlag, segmentBuild } from "./packet";
import { sceneLen, scenePtr, sceneSegmenting } from "./scenes";
import { CLIENTS, CLIENT_PORT, advance, blockOf, handleOf, nowUs, worldBegin } from "./world";

const WAITING_MAX: u32 = 8;
const STEPS_MAX: u32 = 256;

let waiting: u32 = 0;
let lastClient: u32 = 0;
/** A RST was given that some connection may believe, or an ICMP error that may end an active open (SHLD-26). */
let mayReset: bool = false;
/** A RST came by a tunnel: held, it is believed when its connection comes, whenever that is. */
let mayResetLater: bool = false;

/** Where a program goes, and how long it may be. */
export function inputPtr(): usize {
  return INPUT;
}

export function inputMax(): u32 {
  return INPUT_MAX;
}

/** Bit 0 of `scene`: IPv6; bits 1 to 3: which. */
export function begin(scene: u32): void {
  const which = (scene >> 1) & 7;
  const segmenting = sceneSegmenting(which) ? 1 : 0;
  worldBegin((scene & 1) != 0, which == 7 ? 0 : 8, segmenting);
  if (which == 5) abi.modeSet(2);
  const len = sceneLen(which);
  memory.copy(INPUT, scenePtr(which), len);
  play(len);
}

/** Plays a program, gives everything back, and returns a digest of all that came out. */
export function run(len: u32): u32 {
  play(len);
  finish();
  return digestRead();
}

function play(len: u32): void {
  inputBegin(len);
  for (let steps: u32 = 0; steps < STEPS_MAX && inputLeft() > 0; steps++) step();
  flush();
}

function step(): void {
  const op = byte();
  const client = (op >> 5) & 3;
  const kind = op & 31;
  const isPacket = kind < 10 || kind == 21 || kind == 22 || kind > 26;
  if (isPacket) {
    stage(kind, client);
    if (op < 128 || waiting == WAITING_MAX) flush();
    return;
  }
  flush();
  call(kind, client);
}

function call(kind: u32, client: u32): void {
  switch (kind) {
    case 10:
      return time();
    case 11:
      return poll();
    case 12:
      return calls.read(client);
    case 13:
      return calls.write(client);
    case 14:
      return calls.end(client);
    case 15:
      return digestNote(abi.freeze(handleOf(client)));
    case 16:
      return digestNote(abi.thaw(handleOf(client), nowUs));
    case 17:
      return calls.move(client);
    case 18:
      return calls.blob();
    case 19:
      return calls.mapping(client);
    case 20:
      return calls.record(client);
    case 23:
      return calls.option(client);
    case 24:
      return calls.open(client);
    case 25:
      return calls.node();
    default:
      return calls.arguments_(client);
  }
}

/** Builds a packet in the next rx slot. */
function stage(kind: u32, client: u32): void {
  const descriptorPtr = rxDescriptor(waiting);
  if (kind == 21) rawBuild(descriptorPtr);
  else if (kind == 22) {
    icmpBuild(descriptorPtr, client);
    if (isOpening(client)) mayReset = true;
  } else {
    segmentBuild(descriptorPtr, client);
    if (resetFlag(descriptorPtr) != 0) {
      mayReset = true;
      if (isTunnelled) mayResetLater = true;
    }
  }
  if (isForged) mayReset = true;
  canarySet(waiting, changetype<Descriptor>(descriptorPtr).len);
  // ICMP is about the last packet of its client; a forged one may be about anybody.
  if (waiting == 0) lastClient = client;
  else if (lastClient != client) lastClient = CLIENTS;
  if (isForged) lastClient = CLIENTS;
  waiting++;
}

/** The client's connection is one that this end opens: only there a hard ICMP error is believed. */
function isOpening(client: u32): bool {
  const ptr = blockOf(client);
  return ptr != 0 && <u32>changetype<Tcb>(ptr).state == State.SYN_SENT;
}

/** Hands the waiting packets over. */
function flush(): void {
  const count = waiting;
  if (count == 0) return;
  waiting = 0;
  for (let index: u32 = 0; index < count; index++) {
    const descriptor = changetype<Descriptor>(rxDescriptor(index));
    store<u32>(LENGTHS + ((<usize>index) << 2), descriptor.len);
  }
  look();
  digestNote(abi.handlePackets(count, nowUs));
  judgeWork(count);
  judge(lastClient == CLIENTS ? ANYBODY : CLIENT_PORT + lastClient);
  for (let index: u32 = 0; index < count; index++) {
    assert(canaryFits(index, load<u32>(LENGTHS + ((<usize>index) << 2))));
    const descriptor = changetype<Descriptor>(rxDescriptor(index));
    assert(descriptor.len <= load<u32>(LENGTHS + ((<usize>index) << 2)));
    digestNote(descriptor.verdict | (descriptor.len << 8));
  }
}
const LENGTHS: usize = memory.data(32, 4);

function poll(): void {
  look();
  drainSent(nowUs);
  judge(ANYBODY);
  drainEvents(mayReset);
  mayReset = isForged || mayResetLater;
}

/** The clock goes on by up to about 18 hours. */
function time(): void {
  const unit = byte();
  const count = half();
  advance(<f64>(count + 1) * <f64>(1 << (unit % 21)));
  look();
  abi.handleTimeout(nowUs);
  judge(ANYBODY);
}

/** Everything can be given back, whatever has happened. */
function finish(): void {
  poll();
  for (let index: u32 = 1; index <= tcbPeak(); index++) {
    const handle = changetype<Tcb>(tcbAt(index)).handle;
    if (handle != 0) abi.discard(handle);
  }
  let cursor: u32 = 0;
  do {
    cursor = <u32>abi.recordScan(cursor, 64);
    const peer = load<u32>(SPAN);
    if (peer != 0) abi.recordSet(peer, load<u32>(SPAN, 4), RecordState.CLOSED, nowUs);
  } while (cursor != 0);
  while (forgetMappings() > 0);
  for (let turn: u32 = 0; turn < 40; turn++) {
    advance(20_000_000);
    abi.handleTimeout(nowUs);
    drainSent(nowUs);
    drainEvents(true);
  }
  assert(tcbCount() == 0);
  usageTake();
  for (let what: u32 = Usage.CONNECTIONS; what <= <u32>Usage.HELD_FLOWS; what++) {
    assert(load<u32>(USAGE + ((<usize>what) << 2)) == 0);
  }
}

/** One walk: entries move to the places of deleted ones, so that it may miss some. Returns how many are gone. */
function forgetMappings(): u32 {
  let count: u32 = 0;
  let cursor: u32 = 0;
  do {
    cursor = <u32>abi.mapScan(cursor, 1024);
    if (load<u32>(abi.mapInfoPtr()) != MapAction.NONE && abi.mapDelete() == 0) count++;
  } while (cursor != 0);
  return count;
}

/** Where the numbers of Usage stand. */
export function usage(): usize {
  usageTake();
  return USAGE;
}

/** Its existence makes tcp/node.ts count its look-ups: what the work of a packet is measured by. */
@global
class COUNT_NODE_STEPS {}
export { blobPtr as blobAt } from "../index";
