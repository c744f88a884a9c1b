/**
 * A clock that a test turns. While it is held, the timers that `setTimeout` sets run only when `pass` lets their time
 * go by, so that no pause of the machine can bring one about. Immediates, sockets and Node's own timers go on.
 */

interface HeldTimer {
  dueMs: number;
  readonly delayMs: number;
  readonly run: () => void;
}

export class HeldClock {
  #nowMs = 0;
  readonly #timers = new Map<unknown, HeldTimer>();
  readonly #before = { set: globalThis.setTimeout, clear: globalThis.clearTimeout };

  /** Holds the clock until `release`. */
  constructor() {
    globalThis.setTimeout = ((run: (...args: unknown[]) => void, delayMs = 0, ...args: unknown[]) =>
      this.#set(() => run(...args), Number(delayMs))) as unknown as typeof setTimeout;
    globalThis.clearTimeout = ((handle: unknown) => {
      if (!this.#timers.delete(handle)) this.#before.clear(handle as NodeJS.Timeout);
    }) as typeof clearTimeout;
  }

  /** The real time again; timers that are still set never run. */
  release(): void {
    globalThis.setTimeout = this.#before.set;
    globalThis.clearTimeout = this.#before.clear;
    this.#timers.clear();
  }

  /** Lets `ms` milliseconds go by: what is due runs, in order. */
  pass(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, { dueMs }]) => dueMs <= untilMs);
      const [next] = due.sort(([, a], [, b]) => a.dueMs - b.dueMs);
      if (next === undefined) break;
      const [handle, timer] = next;
      this.#timers.delete(handle);
      this.#nowMs = Math.max(this.#nowMs, timer.dueMs);
      timer.run();
    }
    this.#nowMs = untilMs;
  }

  #set(run: () => void, delayMs: number): unknown {
    const arm = (): void => {
      this.#timers.set(handle, { dueMs: this.#nowMs + delayMs, delayMs, run });
    };
    const handle = {
      ref: () => handle,
      unref: () => handle,
      hasRef: () => false,
      refresh: () => (arm(), handle),
    };
    arm();
    return handle;
  }
}
