/**
 * Where programs begin: short programs themselves, so that one of some bytes meets connections with data in every
 * queue. Knows the language of index.ts, nothing of what it does.
 */

/** SYN of client 0 with MSS 1460, window scale 7, SACK and timestamps; then the ACK. */
// prettier-ignore
const OPENED: usize = memory.data<u8>([
  0, 0, 2, 7, 0x00, 0x10, 0x20, 0xff, 0, 0, 255, 0, 29, 0xb4, 0x05, 7, 11,
  0, 0, 16, 0, 0, 0, 255, 0, 1, 11,
]);
const OPENED_LEN: u32 = 27;

/** Without options; data both ways, the client's FIN. */
// prettier-ignore
const ENDED: usize = memory.data<u8>([
  0, 0, 2, 7, 0xf0, 0xff, 0xff, 0xff, 0, 0, 20, 0, 0, 11,
  0, 0, 16, 0, 0, 0, 20, 0, 0, 11,
  0, 0, 24, 0, 0, 0, 20, 90, 0, 13, 20, 11,
  0, 0, 17, 1, 0, 0, 20, 0, 0, 11,
]);
const ENDED_LEN: u32 = 46;

/** As OPENED; data that nobody has read, a hole, data in flight and data that waits; a second client beside it. */
// prettier-ignore
const BUSY: usize = memory.data<u8>([
  0, 0, 2, 7, 0x00, 0x10, 0x20, 0xff, 0, 0, 255, 0, 29, 0xb4, 0x05, 7, 11,
  0, 0, 16, 0, 0, 0, 255, 0, 1, 11,
  0x20, 0, 2, 7, 0x00, 0x10, 0x20, 0x30, 0, 0, 255, 0, 29, 0xb4, 0x05, 7, 11,
  0x20, 0, 16, 0, 0, 0, 255, 0, 1, 11,
  0, 0, 24, 0, 0, 0, 60, 200, 1, 11,
  0, 0, 24, 5, 0, 0, 60, 200, 1, 11,
  13, 120, 11, 10, 7, 100, 0, 11,
]);
const BUSY_LEN: u32 = 82;

/** As BUSY, then moved under peer 1 and the client's flow: packets come by the tunnel. */
// prettier-ignore
const MOVED: usize = memory.data<u8>([
  0, 0, 2, 7, 0x00, 0x10, 0x20, 0xff, 0, 0, 255, 0, 29, 0xb4, 0x05, 7, 11,
  0, 0, 16, 0, 0, 0, 255, 0, 1, 11,
  0, 0, 24, 0, 0, 0, 60, 200, 1, 11,
  0, 0, 24, 5, 0, 0, 60, 200, 1, 11,
  13, 60, 11, 17, 9, 3, 11,
]);
const MOVED_LEN: u32 = 54;

/** A forwarder: client 0 elsewhere, client 1 here under a flow, client 2 buried; early packets of client 3. */
// prettier-ignore
const FORWARDING: usize = memory.data<u8>([
  19, 0x11, 0x20 | 19, 0x12, 0x40 | 19, 0x13, 0x20 | 20, 1,
  0x60, 4, 24, 7, 1, 2, 3, 4, 0, 0, 255, 100, 1,
  0, 0, 24, 7, 1, 2, 3, 4, 0, 0, 255, 100, 1, 11,
]);
const FORWARDING_LEN: u32 = 35;

/** An active open of client 0's connection: the SYN has been sent. */
// prettier-ignore
const OPENING: usize = memory.data<u8>([24, 11]);
const OPENING_LEN: u32 = 2;

export function scenePtr(which: u32): usize {
  switch (which) {
    case 1:
      return OPENED;
    case 2:
      return BUSY;
    case 3:
      return ENDED;
    case 4:
      return MOVED;
    case 5:
      return FORWARDING;
    default:
      return which == 6 ? OPENING : OPENED;
  }
}

/** 0: nothing is there. 7: as 1 by a cookie, on a link that cuts and signs. */
export function sceneLen(which: u32): u32 {
  switch (which) {
    case 0:
      return 0;
    case 2:
      return BUSY_LEN;
    case 3:
      return ENDED_LEN;
    case 4:
      return MOVED_LEN;
    case 5:
      return FORWARDING_LEN;
    default:
      return which == 6 ? OPENING_LEN : OPENED_LEN;
  }
}

export function sceneSegmenting(which: u32): bool {
  return which == 7;
}
