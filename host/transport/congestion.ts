/**
 * How much may be in flight to a peer, and how fast it leaves. Knows bytes and times; must not know
 * messages. RFC 5681 with the reduction of RFC 9438 (to 0.7), pacing as in RFC 9002 section 7.7.
 */
import { CWND_BYTES_MIN, DATAGRAM_BYTES_MAX, FIRST_FLIGHT_BYTES } from "./limits.ts";

const REDUCTION = 0.7;
/** Sleeping for less than this many datagrams costs more than the smoothness is worth. */
const PACE_DATAGRAMS = 8;
/** A host's timers may come so late. Who was held back meanwhile has not lost that time. */
const TIMER_LATE_US = 2_000;

export class Congestion {
  cwnd = FIRST_FLIGHT_BYTES;
  ssthresh = Infinity;
  private readonly cwndMax: number;
  /** Losses of datagrams before this serial belong to the reduction already made. */
  private recoverySerial = 0;
  private tokens = FIRST_FLIGHT_BYTES;
  private refilledUs = 0;
  /** Pacing alone has held the sender back since the last refill. */
  private isHeld = false;

  constructor(cwndMax: number) {
    this.cwndMax = cwndMax;
  }

  /**
   * `limited`: the window is what holds the sender back; otherwise it proves nothing by growing. `flight`: the
   * most that was in flight in the last round trip. In slow start the window grows to twice of that also when
   * nothing is left to be sent (RFC 7661, 4.1): the end of a message fills its last flight as well as the others.
   */
  acked(bytes: number, limited: boolean, flight: number): void {
    const isProved = this.cwnd < this.ssthresh && this.cwnd < 2 * flight;
    if (!limited && !isProved) return;
    const growth = this.cwnd < this.ssthresh ? bytes : (DATAGRAM_BYTES_MAX * bytes) / this.cwnd;
    this.cwnd = Math.min(this.cwndMax, this.cwnd + growth);
  }

  /** A datagram was lost; `nextSerial` is the one to be sent next. Once for each flight. */
  lost(serial: number, nextSerial: number): void {
    if (serial < this.recoverySerial) return;
    this.recoverySerial = nextSerial;
    this.ssthresh = Math.max(CWND_BYTES_MIN, this.cwnd * REDUCTION);
    this.cwnd = this.ssthresh;
  }

  timedOut(nextSerial: number): void {
    this.recoverySerial = nextSerial;
    this.ssthresh = Math.max(CWND_BYTES_MIN, this.cwnd / 2);
    this.cwnd = CWND_BYTES_MIN;
  }

  /**
   * Whether another datagram may leave at this time as far as pacing goes.
   * @param rttUs the path's, without what busy ends added to it: a node that has just started takes long to
   * answer, and would be sent little because of that, for as long as the average remembers it
   */
  mayLeave(nowUs: number, rttUs: number | undefined): boolean {
    const elapsed = nowUs - this.refilledUs;
    if (elapsed > 0) {
      this.refilledUs = nowUs;
      const rate = rttUs === undefined ? FIRST_FLIGHT_BYTES : this.rate(rttUs);
      const depth = this.isHeld
        ? Math.max(FIRST_FLIGHT_BYTES, TIMER_LATE_US * rate)
        : FIRST_FLIGHT_BYTES;
      this.tokens = Math.min(depth, this.tokens + elapsed * rate);
    }
    this.isHeld = this.tokens <= 0;
    return !this.isHeld;
  }

  left(bytes: number): void {
    this.tokens -= bytes;
  }

  /** When pacing will let a few datagrams leave. */
  nextUs(rttUs: number | undefined): number {
    const wanted = PACE_DATAGRAMS * DATAGRAM_BYTES_MAX - this.tokens;
    return this.refilledUs + Math.max(1, Math.ceil(wanted / this.rate(rttUs ?? 1_000)));
  }

  /** Bytes in a microsecond. */
  private rate(rttUs: number): number {
    const gain = this.cwnd < this.ssthresh ? 2 : 1.25;
    return (gain * this.cwnd) / Math.max(rttUs, 50);
  }
}
