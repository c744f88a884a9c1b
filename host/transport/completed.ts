/**
 * Which of a peer's messages are finished: everything below a watermark that the peer raises, and a
 * bitmap above it. Bounded whatever happens, and exact: a finished message is never taken again.
 */
import { MESSAGE_SPAN } from "./limits.ts";

export class Completed {
  /** Every message below is finished at its sender. */
  low = 0;
  private readonly words = new Int32Array(MESSAGE_SPAN / 32);

  /** Whether the message lies in the span that the bitmap covers. */
  covers(id: number): boolean {
    return id >= this.low && id < this.low + MESSAGE_SPAN;
  }

  /** `id` is covered, or below. */
  has(id: number): boolean {
    if (id < this.low) return true;
    if (id >= this.low + MESSAGE_SPAN) return false;
    return (this.words[(id % MESSAGE_SPAN) >> 5]! & (1 << (id & 31))) !== 0;
  }

  /** `id` is covered. */
  add(id: number): void {
    const word = (id % MESSAGE_SPAN) >> 5;
    this.words[word]! |= 1 << (id & 31);
  }

  /** Never goes back: a datagram that was overtaken says less than is known. */
  raise(low: number): boolean {
    if (low <= this.low) return false;
    if (low - this.low >= MESSAGE_SPAN) this.words.fill(0);
    else for (let id = this.low; id < low; id += 1) this.remove(id);
    this.low = low;
    return true;
  }

  private remove(id: number): void {
    const word = (id % MESSAGE_SPAN) >> 5;
    this.words[word]! &= ~(1 << (id & 31));
  }
}
