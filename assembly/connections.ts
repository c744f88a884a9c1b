/**
 * The part of the ABI that is about connections of the own stack: argument checks, no logic.
 * docs/abi.md is made from what stands here. Handles are checked with every call.
 */
import { isTuple } from "./argument";
import { clockReady, clockTell, clockUs } from "./clock";
import { Err } from "./errors";
import { EVENT, INFO, SPAN, TUPLE } from "./layout";
import { infoWrite } from "./tcp/info";
import * as migrate from "./tcp/migrate";
import * as socket from "./tcp/socket";
import { Tcb, tcbByHandle, tcbCheck } from "./tcp/tcb";
import { tcpKnows } from "./tcp/tcp";
import { unreadBytes } from "./tcp/window";

/** Writes one Event to eventPtr and returns 1; 0 when there is none. Call until it returns 0. */
export function pollEvent(): i32 {
  if (!clockReady()) return Err.STATE;
  return socket.socketPollEvent(EVENT) ? 1 : 0;
}

/**
 * Active open with the tuple (local is this side; localPort 0 takes an ephemeral one and writes it back). Returns a
 * handle; CONNECTED or CLOSED follows. EXISTS, FULL, ARGUMENT for an address that no connection can have.
 */
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

/** 1 when the tuple is a connection of this stack, half-open ones and TIME-WAIT included; else 0. */
export function connectionKnown(): i32 {
  if (!clockReady()) return Err.STATE;
  return isTuple() ? <i32>tcpKnows(TUPLE) : Err.ARGUMENT;
}

/** Sets two opaque numbers that RELEASED and HANDBACK report: the flow that names this connection. */
export function connectionOwner(handle: u32, peer: u32, flow: u32): i32 {
  const ptr = tcbByHandle(handle);
  if (ptr == 0) return Err.HANDLE;
  const tcb = changetype<Tcb>(ptr);
  tcb.ownerPeer = peer;
  tcb.ownerFlow = flow;
  return Err.OK;
}

/**
 * Received bytes from `offset` unread ones on, as far as they lie together: span to spanPtr, its length returned, 0
 * at the end. Call again with offset + length for more. Valid until the next call that consumes or takes packets.
 */
export function readable(handle: u32, offset: u32): i32 {
  const ptr = tcbByHandle(handle);
  return ptr == 0 ? Err.HANDLE : socket.socketReadable(ptr, offset, SPAN);
}

/** All unread bytes. */
export function readableLength(handle: u32): i32 {
  const ptr = tcbByHandle(handle);
  return ptr == 0 ? Err.HANDLE : <i32>unreadBytes(ptr);
}

/** Bytes committed and not yet acknowledged by the peer. */
export function unacknowledgedLength(handle: u32): i32 {
  const ptr = tcbByHandle(handle);
  if (ptr == 0) return Err.HANDLE;
  const tcb = changetype<Tcb>(ptr);
  return max<i32>(0, <i32>(tcb.sndEnd - tcb.sndUna)); // an acknowledged FIN lies beyond SND.END
}

/** Removes `count` unread bytes from the front; may open the window. ARGUMENT when there are fewer. */
export function consume(handle: u32, count: u32, nowUs: f64): i32 {
  const ptr = tcbByHandle(handle);
  const err = tcbCheck(ptr);
  if (err < 0) return err;
  return clockTell(nowUs) ? socket.socketConsume(ptr, count, <u64>nowUs) : Err.ARGUMENT;
}

/**
 * Free send buffer to write to: span to spanPtr, its length returned; 0: full, WRITABLE follows. TCP_STATE after
 * shutdown, abort or the end.
 */
export function reserve(handle: u32): i32 {
  const ptr = tcbByHandle(handle);
  const err = tcbCheck(ptr);
  return err < 0 ? err : socket.socketReserve(ptr, SPAN, <u64>clockUs());
}

/**
 * Makes the first `count` bytes of the reserved span part of the stream. ARGUMENT for more than was reserved;
 * TCP_STATE.
 */
export function commit(handle: u32, count: u32, nowUs: f64): i32 {
  const ptr = tcbByHandle(handle);
  const err = tcbCheck(ptr);
  if (err < 0) return err;
  return clockTell(nowUs) ? socket.socketCommit(ptr, count) : Err.ARGUMENT;
}

/** FIN after what was committed. TCP_STATE when that was said before or the connection is over. */
export function shutdown(handle: u32, nowUs: f64): i32 {
  const ptr = tcbByHandle(handle);
  const err = tcbCheck(ptr);
  if (err < 0) return err;
  return clockTell(nowUs) ? socket.socketShutdown(ptr) : Err.ARGUMENT;
}

/** RST, and the connection is gone: no event but RELEASED follows. */
export function abort(handle: u32, nowUs: f64): i32 {
  const ptr = tcbByHandle(handle);
  const err = tcbCheck(ptr);
  if (err < 0) return err;
  if (!clockTell(nowUs)) return Err.ARGUMENT;
  socket.socketAbort(ptr, <u64>nowUs);
  return Err.OK;
}

/**
 * The application lets go: unread bytes mean RST (RFC 9293 3.6.1), else a FIN follows what was committed. No event
 * but RELEASED follows.
 */
export function release(handle: u32): i32 {
  const ptr = tcbByHandle(handle);
  const err = tcbCheck(ptr);
  if (err < 0) return err;
  socket.socketRelease(ptr, <u64>clockUs());
  return Err.OK;
}

/** One setting: Option. Times in microseconds, sizes in bytes. ARGUMENT for what it cannot be. */
export function setOption(handle: u32, option: u32, value: f64): i32 {
  const ptr = tcbByHandle(handle);
  const err = tcbCheck(ptr);
  return err < 0 ? err : socket.socketOption(ptr, option, value, <u64>clockUs());
}

/**
 * Migration: stops all output and every timer. TCP_STATE in a state that cannot move (handshake, over), FROZEN when
 * it is.
 */
export function freeze(handle: u32): i32 {
  const ptr = tcbByHandle(handle);
  return ptr == 0 ? Err.HANDLE : migrate.migrateFreeze(ptr);
}

/** A frozen connection runs on, its timers from now. TCP_STATE when it is not frozen. */
export function thaw(handle: u32, nowUs: f64): i32 {
  const ptr = tcbByHandle(handle);
  if (ptr == 0) return Err.HANDLE;
  return clockTell(nowUs) ? migrate.migrateThaw(ptr, <u64>nowUs) : Err.ARGUMENT;
}

/** Drops the connection and emits nothing. */
export function discard(handle: u32): i32 {
  const ptr = tcbByHandle(handle);
  if (ptr == 0) return Err.HANDLE;
  migrate.migrateDiscard(ptr);
  return Err.OK;
}
