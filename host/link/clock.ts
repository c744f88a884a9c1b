/** Real time for the rooms that have none of their own. Knows Node's clocks only. */
import type { Clock } from "../node/environment.ts";

/**
 * Both clocks stand still until `refresh`, which the owner of the loop calls once at the start of each
 * turn: all that happens in one turn happens at one time.
 */
export class SystemClock implements Clock {
  #nowUs = 1;
  #wallMs = 0;

  constructor() {
    this.refresh();
  }

  refresh(): void {
    // CLOCK_MONOTONIC: the same in every thread, which performance.now() is not.
    const [seconds, nanoseconds] = process.hrtime();
    this.#nowUs = Math.max(1, seconds * 1e6 + Math.floor(nanoseconds / 1000));
    this.#wallMs = Date.now();
  }

  nowUs(): number {
    return this.#nowUs;
  }

  wallMs(): number {
    return this.#wallMs;
  }
}
