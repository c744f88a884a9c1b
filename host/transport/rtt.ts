/** Round-trip estimate and retransmission timeout of one peer. RFC 6298; RFC 9002 section 5. */
import type { TransportLimits } from "./limits.ts";

export class RoundTrip {
  /** Undefined before the first measurement. */
  srttUs: number | undefined;
  rttvarUs = 0;
  latestUs = 0;
  /** The shortest of all: what the path takes when neither end is busy (RFC 9002, 5.2). */
  minUs: number | undefined;
  private backoff = 0;
  private readonly limits: TransportLimits;

  constructor(limits: TransportLimits) {
    this.limits = limits;
  }

  sample(rttUs: number): void {
    const rtt = Math.max(1, rttUs);
    this.latestUs = rtt;
    this.minUs = Math.min(this.minUs ?? rtt, rtt);
    if (this.srttUs === undefined) {
      this.srttUs = rtt;
      this.rttvarUs = rtt / 2;
      return;
    }
    this.rttvarUs += (Math.abs(this.srttUs - rtt) - this.rttvarUs) / 4;
    this.srttUs += (rtt - this.srttUs) / 8;
  }

  /** Timeouts in a row without any progress. */
  get backoffs(): number {
    return this.backoff;
  }

  /** The timeout now in force: RFC 6298 (2.3), doubled for each time in a row, bounded. */
  get rtoUs(): number {
    const { rtoUsInitial, rtoUsMin, rtoUsMax, ackDelayUs } = this.limits;
    const base =
      this.srttUs === undefined
        ? rtoUsInitial
        : Math.max(rtoUsMin, this.srttUs + 4 * this.rttvarUs + ackDelayUs);
    return Math.min(rtoUsMax, base * 2 ** this.backoff);
  }

  /** How long a datagram may be overtaken before it counts as lost: RFC 9002, 6.1.2. */
  get reorderUs(): number {
    return Math.max(
      1_000,
      (9 / 8) * Math.max(this.srttUs ?? this.limits.rtoUsInitial, this.latestUs),
    );
  }

  timedOut(): void {
    this.backoff = Math.min(this.backoff + 1, 20);
  }

  progressed(): void {
    this.backoff = 0;
  }
}
