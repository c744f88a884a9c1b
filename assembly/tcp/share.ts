/**
 * Who may take a chunk when not all can. Knows how many the pool has and how many queues hold none; must
 * not know what they hold.
 *
 * A connection has two queues, and each is owed its first chunk, so that one more segment always gets
 * through: up to half of the pool is kept for queues that hold nothing (an idle connection asks for nothing,
 * so the other half is never kept from those that do). Of what is left a queue gets half of what is free
 * (the dynamic threshold of Choudhury and Hahne, 1998): one connection alone may fill a third of the pool,
 * many that read slowly leave something to each other, and none needs to know of the others.
 */
import { chunksFree, chunksLimit } from "./chunk";
import { tcbCount } from "./tcb";

const QUEUES_PER_CONNECTION: u32 = 2;
/** Half of the pool at most is kept for queues without a chunk. */
const OWED_SHIFT: u32 = 1;
/** Of the free chunks beyond those one queue may have half. */
const SHARE_SHIFT: u32 = 1;
/** Below a sixteenth of the pool no connection is begun: those that exist need it. */
const ADMIT_SHIFT: u32 = 4;

/** Queues that hold a chunk. */
let holders: u32 = 0;

export function shareReset(): void {
  holders = 0;
}

/** A queue took its first chunk. */
export function shareJoin(): void {
  holders++;
}

/** A queue gave its last chunk back. */
export function shareLeave(): void {
  assert(holders != 0);
  holders--;
}

/** Chunks that a queue with `held` of them may hold now; at least as many as it has. */
export function shareMost(held: u32): u32 {
  const share = spare() >> SHARE_SHIFT;
  return max<u32>(max<u32>(held, share), chunksFree() != 0 ? 1 : 0);
}

/** True when nothing is left but what is kept for queues without a chunk. */
export function shareTight(): bool {
  return spare() == 0;
}

/** True when a new connection would take from those that exist. */
export function shareExhausted(): bool {
  return chunksFree() < chunksLimit() >> ADMIT_SHIFT;
}

/** Free chunks that nobody is owed. */
function spare(): u32 {
  const queues = tcbCount() * QUEUES_PER_CONNECTION;
  const empty = holders < queues ? queues - holders : 0;
  const owed = min<u32>(empty, chunksLimit() >> OWED_SHIFT);
  const free = chunksFree();
  return owed < free ? free - owed : 0;
}
