/**
 * The steps of a program that are calls of a host: reading, writing, closing, moving, tables, arguments that nobody
 * should give. Knows the ABI and the world; must not know packets.
 */
import { BLOB_FIXED_LEN, Mapping } from "../blob/format";
import { seal } from "../blob/compile";
import { Err } from "../errors";
import * as abi from "../index";
import { BATCH_MAX, MAP_INFO, SPAN } from "../layout";
import { Tcb, tcbByHandle } from "../tcp/tcb";
import { Usage, USAGE, usageTake } from "../usage";
import { byte, half, take, word } from "./input";
import { digestNote } from "./judge";
import { forge, isForged } from "./packet";
import {
  PEER_TUNNEL,
  SERVICE,
  SERVICE_PORT,
  address,
  family,
  flowOf,
  handleOf,
  nowUs,
  patternFill,
  patternFits,
  tupleOfClient,
} from "./world";

const SPANS_MAX: u32 = 2048;

/** Reads what is there, and compares it with what the client has sent. */
export function read(client: u32): void {
  const handle = handleOf(client);
  const length = abi.readableLength(handle);
  if (length <= 0) return;
  const start = changetype<Tcb>(tcbByHandle(handle)).rcvRead;
  let offset: u32 = 0;
  for (let count: u32 = 0; count < SPANS_MAX; count++) {
    const len = abi.readable(handle, offset);
    if (len <= 0) break;
    assert(isForged || patternFits(<usize>load<u32>(SPAN), len, start + offset));
    offset += <u32>len;
  }
  assert(offset == <u32>length);
  const part = byte();
  digestNote(abi.consume(handle, part == 0 ? length : (<u32>length * part) >> 8, nowUs));
}

/** Writes as many bytes as there is room for, or fewer. */
export function write(client: u32): void {
  const handle = handleOf(client);
  let left = byte() << 8;
  for (let count: u32 = 0; count < SPANS_MAX && left > 0; count++) {
    const room = abi.reserve(handle);
    if (room <= 0) return;
    const len = min<u32>(left, room);
    patternFill(<usize>load<u32>(SPAN), len, changetype<Tcb>(tcbByHandle(handle)).sndEnd);
    if (abi.commit(handle, len, nowUs) != Err.OK) return;
    left -= len;
  }
}

export function end(client: u32): void {
  const handle = handleOf(client);
  switch (byte() & 3) {
    case 0:
      digestNote(abi.shutdown(handle, nowUs));
      break;
    case 1:
      digestNote(abi.abort(handle, nowUs));
      break;
    case 2:
      digestNote(abi.release(handle));
      break;
    default:
      digestNote(abi.discard(handle));
  }
}

export function option(client: u32): void {
  const which = byte() % 12;
  digestNote(abi.setOption(handleOf(client), which, <f64>half() * <f64>half()));
}

export function open(client: u32): void {
  tupleOfClient(client);
  digestNote(abi.connect(nowUs));
}

/** Bits of the first byte of a move. */
enum Move {
  DISCARD = 1,
  CHANGE = 2,
  /** Sums stay as they were. */
  UNSEALED = 4,
  ANYWHERE = 32,
  TWICE = 64,
}

/** Compiles a client's connection, changes the blob perhaps, and infuses it here again. */
export function move(client: u32): void {
  const how = byte();
  const handle = handleOf(client);
  if (handle == 0) return;
  abi.freeze(handle);
  const mapping = changetype<Mapping>(abi.mappingPtr());
  memory.fill(abi.mappingPtr(), 0, abi.MAPPING_SIZE);
  mapping.flow = flowOf(client);
  mapping.generation = 1;
  mapping.forwarder = 1;
  mapping.applicationLen = byte();
  memory.fill(abi.applicationPtr(), 0x61, 256);
  const len = abi.compile(handle, nowUs);
  digestNote(len);
  assert(len != Err.BLOB_INVARIANT); // what runs can move
  if (len <= 0) return;
  assert(abi.unbundle(len) == Err.OK);
  if ((how & Move.DISCARD) != 0) abi.discard(handle);
  if ((how & Move.CHANGE) != 0) change(how, len);
  const infused = give(len, (how >> 3) & 3);
  if ((how & (Move.CHANGE | Move.DISCARD)) == 0)
    assert(infused == Err.BLOB_DUPLICATE || infused == Err.EXISTS);
  if ((how & Move.TWICE) != 0) give(len, (how >> 3) & 3);
}

/** One to eight bytes of the blob become others. */
function change(how: u32, len: u32): void {
  const count = 1 + (byte() & 7);
  for (let left = count; left > 0; left--) {
    const reach = (how & Move.ANYWHERE) != 0 ? len : BLOB_FIXED_LEN;
    store<u8>(abi.blobPtr() + <usize>(half() % reach), <u8>byte());
  }
  if ((how & Move.UNSEALED) == 0) seal(abi.blobPtr(), len);
  forge();
}

/** Infuses: everything, or nothing. */
function give(len: u32, peer: u32): i32 {
  usageTake();
  const chunks = load<u32>(USAGE, Usage.CHUNKS << 2);
  const nodes = load<u32>(USAGE, Usage.NODES << 2);
  const connections = load<u32>(USAGE, Usage.CONNECTIONS << 2);
  const result = abi.infuse(len, peer, nowUs);
  digestNote(result);
  if (result > 0) return result;
  usageTake();
  assert(chunks == load<u32>(USAGE, Usage.CHUNKS << 2));
  assert(nodes == load<u32>(USAGE, Usage.NODES << 2));
  assert(connections == load<u32>(USAGE, Usage.CONNECTIONS << 2));
  return result;
}

/** A blob of bytes as they come. */
export function blob(): void {
  const how = byte();
  const claimed = half();
  const len = how < 128 ? claimed & ~7 : claimed;
  memory.fill(abi.blobPtr(), 0, <usize>len);
  take(abi.blobPtr(), min<u32>(len, half()));
  if ((how & 1) != 0 && len >= BLOB_FIXED_LEN) seal(abi.blobPtr(), len);
  forge();
  digestNote(abi.unbundle(len));
  give(len, (how >> 1) & 3);
}

export function mapping(client: u32): void {
  const what = byte();
  const peer = (what >> 4) & 3;
  tupleOfClient(client);
  switch (what & 15) {
    case 0:
      digestNote(abi.mapDelete());
      break;
    case 1:
    case 2:
    case 3:
      digestNote(abi.mapSet(what & 15, peer, flowOf(client)));
      break;
    case 4:
      digestNote(abi.mapSet(byte() & 3, peer, word()));
      break;
    case 5:
      digestNote(abi.mapGet());
      break;
    case 6:
      take(MAP_INFO, abi.MAP_INFO_SIZE);
      digestNote(abi.mapNote());
      break;
    case 7:
      digestNote(abi.mapBury(peer));
      break;
    case 8:
      digestNote(abi.mapReset(nowUs, byte() & 1));
      break;
    case 9:
      digestNote(abi.mapScan(half(), half()));
      break;
    default:
      digestNote(abi.mapSet(2, 0, 0));
  }
}

export function record(client: u32): void {
  const what = byte();
  const peer = 1 + ((what >> 4) & 1);
  const flow = flowOf(client);
  tupleOfClient(client);
  switch (what & 15) {
    case 6:
      digestNote(abi.recordGet(peer, flow));
      break;
    case 7:
      digestNote(abi.recordTuple(peer, flow));
      break;
    case 8:
      digestNote(abi.recordPass(peer, flow));
      break;
    case 9:
      digestNote(abi.recordScan(half(), half()));
      break;
    case 10:
      digestNote(abi.recordSet(byte() & 3, word(), byte() % 7, nowUs));
      break;
    case 11:
      digestNote(abi.recordHandle(peer, flow));
      break;
    case 12:
      digestNote(abi.rxUnwrap(byte() % BATCH_MAX));
      break;
    default:
      digestNote(abi.recordSet(peer, flow, what % 6, nowUs));
  }
}

/** What an operator changes: mode, services, peers, tunnels. */
export function node(): void {
  const what = byte();
  const choice = (what >> 4) & 3;
  switch (what & 7) {
    case 0:
      digestNote(abi.modeSet(choice));
      break;
    case 1:
      digestNote(abi.serviceMss(choice, half()));
      break;
    case 2:
      digestNote(abi.serviceRemove(choice));
      break;
    case 3:
      digestNote(abi.serviceAdd(family, address(SERVICE), SERVICE_PORT + choice, half(), choice));
      break;
    case 4:
      digestNote(abi.peerClear(choice));
      break;
    case 5:
      digestNote(abi.peerSet(choice, family, address(PEER_TUNNEL + (byte() & 3))));
      break;
    case 6:
      digestNote(abi.tunnelSet(family, address(byte())));
      break;
    default:
      digestNote(abi.peerSet(choice, byte(), <usize>word()));
  }
}

/** No time at all. */
function noTime(): f64 {
  switch (byte() & 3) {
    case 0:
      return NaN;
    case 1:
      return 0;
    case 2:
      return -1;
    default:
      return Infinity;
  }
}

/** Calls with handles, counts and times as they come: a code, never a trap. */
export function arguments_(client: u32): void {
  const what = byte();
  const handle = (what & 0x80) != 0 ? word() : handleOf(client);
  switch (what & 31) {
    case 0:
      digestNote(abi.connectionInfo(handle));
      break;
    case 1:
      digestNote(abi.readable(handle, word()));
      break;
    case 2:
      digestNote(abi.consume(handle, word(), nowUs));
      break;
    case 3:
      digestNote(abi.commit(handle, word() | 0x80000000, nowUs));
      break;
    case 4:
      digestNote(
        abi.setOption(handle, byte(), reinterpret<f64>((<u64>word()) | ((<u64>word()) << 32))),
      );
      break;
    case 5:
      digestNote(abi.connectionState(handle));
      break;
    case 6:
      digestNote(abi.unacknowledgedLength(handle));
      break;
    case 7:
      digestNote(abi.consume(handle, 0, noTime()));
      break;
    case 8:
      digestNote(abi.handlePackets(byte(), noTime()));
      break;
    case 9:
      digestNote(abi.handleTimeout(noTime()));
      break;
    case 10:
      digestNote(abi.thaw(handle, noTime()));
      break;
    case 11:
      digestNote(abi.compile(handle, nowUs));
      break;
    case 12:
      digestNote(abi.infuse(word(), word(), nowUs));
      break;
    case 13:
      digestNote(abi.unbundle(half()));
      break;
    case 14:
      digestNote(abi.rxUnwrap(word()));
      break;
    case 15:
      digestNote(abi.mapScan(word(), word()));
      break;
    case 16:
      digestNote(abi.recordScan(word(), word()));
      break;
    case 17:
      digestNote(abi.mapSet(byte(), word(), word()));
      break;
    case 18:
      digestNote(abi.recordSet(word(), word(), byte(), nowUs));
      break;
    case 19:
      digestNote(abi.serviceAdd(byte(), <usize>word(), word(), word(), word()));
      break;
    case 20:
      digestNote(abi.init(nowUs));
      break;
    case 21:
      take(abi.tuplePtr(), 40);
      digestNote(abi.mapSet(1, 1, 0x10001));
      break;
    case 22:
      take(abi.tuplePtr(), 40);
      digestNote(abi.connect(nowUs));
      break;
    case 23:
      take(abi.mappingPtr(), abi.MAPPING_SIZE);
      digestNote(abi.compile(handle, nowUs));
      break;
    default:
      digestNote(abi.serviceRemove(word()));
  }
}
