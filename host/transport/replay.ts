/** Which counters were seen, as a sliding bitmap (RFC 6479). Knows counters; must not know datagrams. */
import { REPLAY_WINDOW } from "./limits.ts";

const WORD_BITS = 32;
/** One word more than the window, so that a whole window is known while a word is being reused. */
const WORDS = REPLAY_WINDOW / WORD_BITS + 1;

export class ReplayWindow {
  private readonly words = new Int32Array(WORDS);
  private top = -1;

  /** Highest counter accepted, -1 before the first. */
  get highest(): number {
    return this.top;
  }

  /** Whether this counter is new and not too old to tell. */
  isFresh(counter: number): boolean {
    if (counter > this.top) return true;
    if (counter <= this.top - REPLAY_WINDOW) return false;
    return (this.words[wordOf(counter)]! & (1 << (counter % WORD_BITS))) === 0;
  }

  /** Records a fresh counter; only once its datagram has proved authentic. */
  accept(counter: number): void {
    if (counter > this.top) {
      const from = Math.floor(this.top / WORD_BITS);
      const steps = Math.min(Math.floor(counter / WORD_BITS) - from, WORDS);
      for (let i = 1; i <= steps; i += 1) this.words[(from + i) % WORDS] = 0;
      this.top = counter;
    }
    const word = wordOf(counter);
    this.words[word]! |= 1 << (counter % WORD_BITS);
  }
}

function wordOf(counter: number): number {
  return Math.floor(counter / WORD_BITS) % WORDS;
}
