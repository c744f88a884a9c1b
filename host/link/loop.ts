/**
 * Drives something that works in turns from Node's event loop: wakes it when asked, when its next timer
 * is due, and again at once while it says that there is more. Knows the event loop; must not know what
 * a turn does.
 */

export interface Turning {
  /** Does what can be done now. True: there is more, come back at once. */
  turn(): boolean;
  /** Monotonic microseconds of the next timer, Infinity when none. */
  nextTimeoutUs(): number;
  /** When something that is sent at a rate may go on; Infinity when nothing is held back by that alone. */
  pacedUntilUs?(): number;
}

export interface TurnClock {
  nowUs(): number;
  /** Lets time move on; between two calls it stands still. */
  refresh(): void;
}

/** Node's timers have a resolution of a millisecond; a longer sleep than this is cut in two. */
const SLEEP_MS_MAX = 60_000;
/**
 * Shorter waits of what is paced are spent in turns, which let sockets have theirs: a timer would make a
 * millisecond or two of each, and there are dozens in a row. No other wait is: with thousands of connections
 * some timer is always near.
 */
const SPIN_US = 250;

export class Loop {
  readonly #target: Turning;
  readonly #clock: TurnClock;
  readonly #onFailure: (error: unknown) => void;
  #immediate: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;
  #timerUs = Infinity;
  #turning = false;
  #closed = false;

  /** `onFailure` gets what a turn throws; the loop has stopped by then. */
  constructor(target: Turning, clock: TurnClock, onFailure: (error: unknown) => void) {
    this.#target = target;
    this.#clock = clock;
    this.#onFailure = onFailure;
  }

  /** Asks for a turn soon; any number of calls until then cost one turn. */
  wake(): void {
    if (this.#closed || this.#immediate) return;
    this.#immediate = setImmediate(this.#run);
  }

  /** A turn now, on the caller's stack: for callbacks of the link. */
  runNow(): void {
    if (this.#turning) this.wake();
    else this.#run();
  }

  close(): void {
    this.#closed = true;
    clearImmediate(this.#immediate);
    clearTimeout(this.#timer);
  }

  readonly #run = (): void => {
    if (this.#closed) return;
    clearImmediate(this.#immediate);
    this.#immediate = undefined;
    this.#turning = true;
    try {
      this.#clock.refresh();
      if (this.#target.turn()) this.wake();
      this.#arm();
    } catch (error) {
      this.close();
      this.#onFailure(error);
    } finally {
      this.#turning = false;
    }
  };

  /** Keeps a timer that is early enough: an early wake-up is one cheap turn, re-arming each time is not. */
  #arm(): void {
    const next = this.#target.nextTimeoutUs();
    const now = this.#clock.nowUs();
    const paced = this.#target.pacedUntilUs?.() ?? Infinity;
    if (paced - now < SPIN_US) return this.wake();
    if (this.#timer && this.#timerUs <= next && this.#timerUs > now) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (next === Infinity) return;
    this.#timerUs = next;
    const delayMs = Math.min(SLEEP_MS_MAX, Math.max(0, Math.ceil((next - now) / 1000)));
    this.#timer = setTimeout(this.#onTimer, delayMs);
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined;
    this.#run();
  };
}
