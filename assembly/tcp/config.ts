/**
 * What the host chose at start, as far as the stack needs it. Knows numbers; must not know their use.
 */
/** A buffer of one connection at most, and what it is unless the host says something (as Linux). */
export const BUFFER_MAX: u32 = 16777216;
const SND_BUFFER_DEFAULT: u32 = 4194304;
const RCV_BUFFER_DEFAULT: u32 = 6291456;

let linkMtu: u32 = 1500;
let sndBufMax: u32 = SND_BUFFER_DEFAULT;
let rcvBufMax: u32 = RCV_BUFFER_DEFAULT;
let halfOpenMax: u32 = 1024;

export function configSet(mtu: u32, sndMax: u32, rcvMax: u32, halfOpen: u32): void {
  linkMtu = mtu;
  sndBufMax = sndMax == 0 ? SND_BUFFER_DEFAULT : sndMax;
  rcvBufMax = rcvMax == 0 ? RCV_BUFFER_DEFAULT : rcvMax;
  halfOpenMax = halfOpen;
}

/** MTU of the link that segments leave by. */
export function configLinkMtu(): u32 {
  return linkMtu;
}

export function configSndBufMax(): u32 {
  return sndBufMax;
}

export function configRcvBufMax(): u32 {
  return rcvBufMax;
}

/** SYN-RECEIVED blocks before SYN cookies are used. */
export function configHalfOpenMax(): u32 {
  return halfOpenMax;
}
