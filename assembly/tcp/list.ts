/**
 * The two lists of connections that the host drains: those that may have something to send, in round-robin
 * order, and those with events. Knows links; must not know why a block is on a list.
 */
import { Flag, Tcb, tcbAt, tcbIndex } from "./tcb";

let outHead: u32 = 0;
let outTail: u32 = 0;
let eventHead: u32 = 0;
let eventTail: u32 = 0;

export function listReset(): void {
  outHead = 0;
  outTail = 0;
  eventHead = 0;
  eventTail = 0;
}

/** Puts the connection at the end of the output list, once; a frozen or detached one emits nothing. */
export function outAdd(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & (Flag.OUT_LISTED | Flag.FROZEN | Flag.DETACHED)) != 0) return;
  tcb.flags |= Flag.OUT_LISTED;
  const index = tcbIndex(ptr);
  tcb.outNext = 0;
  tcb.outPrev = outTail;
  if (outTail != 0) changetype<Tcb>(tcbAt(outTail)).outNext = index;
  else outHead = index;
  outTail = index;
}

export function outRemove(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.OUT_LISTED) == 0) return;
  tcb.flags &= ~(<u32>Flag.OUT_LISTED);
  if (tcb.outPrev != 0) changetype<Tcb>(tcbAt(tcb.outPrev)).outNext = tcb.outNext;
  else outHead = tcb.outNext;
  if (tcb.outNext != 0) changetype<Tcb>(tcbAt(tcb.outNext)).outPrev = tcb.outPrev;
  else outTail = tcb.outPrev;
}

/** First connection of the output list, 0: empty. It stays on the list. */
export function outFirst(): usize {
  return outHead == 0 ? 0 : tcbAt(outHead);
}

/** Notes an event (1 << EventType) until it is polled; several of a kind become one. */
export function eventAdd(ptr: usize, bits: u32): void {
  const tcb = changetype<Tcb>(ptr);
  tcb.events |= bits;
  if ((tcb.flags & Flag.EVENT_LISTED) != 0) return;
  tcb.flags |= Flag.EVENT_LISTED;
  const index = tcbIndex(ptr);
  tcb.eventNext = 0;
  tcb.eventPrev = eventTail;
  if (eventTail != 0) changetype<Tcb>(tcbAt(eventTail)).eventNext = index;
  else eventHead = index;
  eventTail = index;
}

export function eventRemove(ptr: usize): void {
  const tcb = changetype<Tcb>(ptr);
  if ((tcb.flags & Flag.EVENT_LISTED) == 0) return;
  tcb.flags &= ~(<u32>Flag.EVENT_LISTED);
  if (tcb.eventPrev != 0) changetype<Tcb>(tcbAt(tcb.eventPrev)).eventNext = tcb.eventNext;
  else eventHead = tcb.eventNext;
  if (tcb.eventNext != 0) changetype<Tcb>(tcbAt(tcb.eventNext)).eventPrev = tcb.eventPrev;
  else eventTail = tcb.eventPrev;
}

/** First connection with events, 0: none. */
export function eventFirst(): usize {
  return eventHead == 0 ? 0 : tcbAt(eventHead);
}
