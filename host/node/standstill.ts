/**
 * Whether this node stood still for so long that what it is given now waited for it. Knows when it sent heartbeats;
 * must not know what waited.
 */
import { SUSPECT_HEARTBEATS } from "./timers.ts";

export class Standstill {
  /** When the last heartbeat was sent; Infinity: none yet. */
  #beatUs = Infinity;
  #behindUntilUs = 0;

  constructor(private readonly heartbeatUs: number) {}

  beat(nowUs: number): void {
    this.#beatUs = nowUs;
  }

  isBehind(nowUs: number): boolean {
    if (nowUs - this.#beatUs >= SUSPECT_HEARTBEATS * this.heartbeatUs) {
      this.#behindUntilUs = nowUs + this.heartbeatUs;
    }
    return nowUs < this.#behindUntilUs;
  }
}
