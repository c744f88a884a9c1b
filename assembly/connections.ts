/**
 * The part of the ABI that is about connections of the own stack: argument checks, no logic.
 * docs/architecture.md has the meaning of each. Handles are checked with every call.
 */
import { clockReady, clockTell, clockUs } from "./clock";
import { Err } from "./errors";
import { EVENT, INFO, SPAN, TUPLE } from "./layout";
import { infoWrite } from "./tcp/info";
import * as migrate from "./tcp/migrate";
import * as socket from "./tcp/socket";
import { Tcb, tcbByHandle, tcbCheck } from "./tcp/tcb";
import { unreadBytes } from "./tcp/window";

/** Writes one event to eventPtr; 0 when there is none. */
export function pollEvent(): i32 {
  if (!clockReady()) return Err.STATE;
  return socket.socketPollEvent(EVENT) ? 1 : 0;
}

/** Active open with the tuple at tuplePtr; localPort 0 takes an ephemeral one and writes it back. */
export function connect(nowUs: f64): i32 {
  if (!clockReady()) return Err.STATE;
  if (!clockTell(nowUs)) return Err.ARGUMENT;
  return socket.socketConnect(TUPLE, <u64>nowUs);
}

/** State of a connection. */
export function connectionState(handle: u32): i32 {
  const ptr = tcbByHandle(handle);
  return ptr == 0 ? Err.HANDLE : <i32>changetype<Tcb>(ptr).state;
}

/** Writes Info to infoPtr. */
export function connectionInfo(handle: u32): i32 {
  const ptr = tcbByHandle(handle);
  if (ptr == 0) return Err.HANDLE;
  infoWrite(ptr, INFO);
  return Err.OK;
}

/** Two opaque numbers that RELEASED and HANDBACK report: the flow that names this connection. */
export function connectionOwner(handle: u32, peer: u32, flow: u32): i32 {
  const ptr = tcbByHandle(handle);
  if (ptr == 0) return Err.HANDLE;
  const tcb = changetype<Tcb>(ptr);
  tcb.ownerPeer = peer;
  tcb.ownerFlow = flow;
  return Err.OK;
}

/** Span of received bytes `offset` beyond the first unread one: the contiguous part. */
export function readable(handle: u32, offset: u32): i32 {
  const ptr = tcbByHandle(handle);
  return ptr == 0 ? Err.HANDLE : socket.socketReadable(ptr, offset, SPAN);
}

/** All unread bytes. */
export function readableLength(handle: u32): i32 {
  const ptr = tcbByHandle(handle);
  return ptr == 0 ? Err.HANDLE : <i32>unreadBytes(ptr);
}

/** Bytes written and not yet acknowledged by the peer. */
export function unacknowledgedLength(handle: u32): i32 {
  const ptr = tcbByHandle(handle);
  if (ptr == 0) return Err.HANDLE;
  const tcb = changetype<Tcb>(ptr);
  return max<i32>(0, <i32>(tcb.sndEnd - tcb.sndUna)); // an acknowledged FIN lies beyond SND.END
}

export function consume(handle: u32, count: u32, nowUs: f64): i32 {
  const ptr = tcbByHandle(handle);
  const err = tcbCheck(ptr);
  if (err < 0) return err;
  return clockTell(nowUs) ? socket.socketConsume(ptr, count, <u64>nowUs) : Err.ARGUMENT;
}

/** Span of free send buffer; 0: full. */
export function reserve(handle: u32): i32 {
  const ptr = tcbByHandle(handle);
  const err = tcbCheck(ptr);
  return err < 0 ? err : socket.socketReserve(ptr, SPAN);
}

export function commit(handle: u32, count: u32, nowUs: f64): i32 {
  const ptr = tcbByHandle(handle);
  const err = tcbCheck(ptr);
  if (err < 0) return err;
  return clockTell(nowUs) ? socket.socketCommit(ptr, count) : Err.ARGUMENT;
}

export function shutdown(handle: u32, nowUs: f64): i32 {
  const ptr = tcbByHandle(handle);
  const err = tcbCheck(ptr);
  if (err < 0) return err;
  return clockTell(nowUs) ? socket.socketShutdown(ptr) : Err.ARGUMENT;
}

/** RST; the handle is gone. */
export function abort(handle: u32, nowUs: f64): i32 {
  const ptr = tcbByHandle(handle);
  const err = tcbCheck(ptr);
  if (err < 0) return err;
  if (!clockTell(nowUs)) return Err.ARGUMENT;
  socket.socketAbort(ptr);
  return Err.OK;
}

/** The application lets go: unread bytes mean RST, else a FIN follows what was written. */
export function release(handle: u32): i32 {
  const ptr = tcbByHandle(handle);
  const err = tcbCheck(ptr);
  if (err < 0) return err;
  socket.socketRelease(ptr, <u64>clockUs());
  return Err.OK;
}

/** One setting: enum Option. */
export function setOption(handle: u32, option: u32, value: f64): i32 {
  const ptr = tcbByHandle(handle);
  const err = tcbCheck(ptr);
  return err < 0 ? err : socket.socketOption(ptr, option, value, <u64>clockUs());
}

export function freeze(handle: u32): i32 {
  const ptr = tcbByHandle(handle);
  return ptr == 0 ? Err.HANDLE : migrate.migrateFreeze(ptr);
}

export function thaw(handle: u32, nowUs: f64): i32 {
  const ptr = tcbByHandle(handle);
  if (ptr == 0) return Err.HANDLE;
  return clockTell(nowUs) ? migrate.migrateThaw(ptr, <u64>nowUs) : Err.ARGUMENT;
}

/** Drops the connection silently. */
export function discard(handle: u32): i32 {
  const ptr = tcbByHandle(handle);
  if (ptr == 0) return Err.HANDLE;
  migrate.migrateDiscard(ptr);
  return Err.OK;
}
