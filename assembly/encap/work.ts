/** What pass 1 of ingress.ts finds out about each packet of a batch, for the passes after it. */
import { BATCH_MAX } from "../layout";

export enum Kind {
  /** The verdict is final. */
  DONE = 0,
  /** TCP to a service address: `key` is its index. */
  SERVICE4 = 1,
  SERVICE6 = 2,
  /** TCP to this node's tunnel address from a peer: `key` is the peer. */
  TUNNEL = 3,
  /** An ICMP message. */
  ICMP = 4,
  /** Nothing is known yet. */
  OPEN = 5,
}

/** One for each packet of the batch. */
@unmanaged
export class Work {
  kind: u32;
  headerLen: u32;
  /** First slot to look at. */
  home: u32;
  key: u32;
}
export const WORK_SIZE: usize = 16;
if (offsetof<Work>() != WORK_SIZE) ERROR("Work layout changed");
const WORK: usize = memory.data(1024, 16);
if (WORK_SIZE * <usize>BATCH_MAX != 1024) ERROR("Work does not fit the batch");

export function workAt(index: u32): usize {
  return WORK + <usize>index * WORK_SIZE;
}
