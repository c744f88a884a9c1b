/**
 * The clock of one simulated machine, which runs a little faster or slower than virtual time. Knows the rate;
 * must not know what is timed by it.
 */
import type { Clock } from "../node/environment.ts";
import type { Scheduler } from "./scheduler.ts";

export class HostClock implements Clock {
  readonly #scheduler: Scheduler;
  readonly #rate: number;

  /** @param ppm  millionths by which it is ahead */
  constructor(scheduler: Scheduler, ppm: number) {
    this.#scheduler = scheduler;
    this.#rate = 1 + ppm / 1_000_000;
  }

  nowUs(): number {
    return this.#shows(this.#scheduler.nowUs());
  }

  wallMs(): number {
    const { wallStartMs } = this.#scheduler;
    return wallStartMs + Math.floor(this.nowUs() / 1000);
  }

  /** The virtual time, not before now, at which this clock shows `hostUs`; Infinity stays. */
  realUs(hostUs: number): number {
    const now = this.#scheduler.nowUs();
    if (hostUs === Infinity) return Infinity;
    if (hostUs <= this.#shows(now)) return now;
    let atUs = Math.max(now, Math.ceil(1 + (hostUs - 1) / this.#rate));
    while (this.#shows(atUs) < hostUs) atUs++; // Rounded twice: it may be one short.
    return atUs;
  }

  #shows(realUs: number): number {
    return Math.floor(1 + (realUs - 1) * this.#rate);
  }
}
