/**
 * Which chunks arrived and which must be sent again. Knows the flight, the round trip and the congestion
 * window; must not know queues or bytes. RFC 6298 (timeout), RFC 9002 section 6 (loss by overtaking).
 */
import { Congestion } from "./congestion.ts";
import type { TransportCounters } from "./counters.ts";
import { Departures, Flight } from "./flight.ts";
import { REORDER_MAX, type TransportLimits } from "./limits.ts";
import { ACKED, LOST, type OutgoingMessage } from "./message.ts";
import { RoundTrip } from "./rtt.ts";

/** Timeouts in a row that only ask: later ones take the whole flight for lost (RFC 9002, 7.6). */
const PROBES_MAX = 2;
/** Chunks that a timeout sends again to ask (RFC 9002, 6.2.4). */
const PROBE_CHUNKS = 2;

export class Recovery {
  readonly flight = new Flight();
  readonly congestion: Congestion;
  readonly rtt: RoundTrip;
  /** Set by the sender: congestion is what held it back since the last acknowledgement. */
  isLimited = false;
  private readonly departures = new Departures();
  private readonly counters: TransportCounters;
  private readonly onLost: (message: OutgoingMessage, index: number) => void;
  private nextSerial = 0;
  private ackedSerial = -1;
  /** The most that was in flight, with the datagram of `peakSerial`; it counts until that one's answer is here. */
  private peakBytes = 0;
  private peakSerial = 0;
  /** Chunks that a timeout still asks with. */
  private probes = 0;
  /** When the peer last said that it has seen something newer, or was last asked. */
  private sinceUs = 0;

  constructor(
    limits: TransportLimits,
    counters: TransportCounters,
    onLost: (message: OutgoingMessage, index: number) => void,
  ) {
    this.counters = counters;
    this.onLost = onLost;
    this.congestion = new Congestion(limits.cwndBytesMax);
    this.rtt = new RoundTrip(limits);
  }

  get bytesInFlight(): number {
    return this.flight.smallBytes + this.flight.bulkBytes;
  }

  /** A chunk goes into the datagram being written; returns its place in the flight. */
  chunkSent(message: OutgoingMessage, index: number, bytes: number, nowUs: number): number {
    return this.flight.add(message, index, this.nextSerial, nowUs, bytes);
  }

  /** The datagram that holds those chunks leaves. */
  datagramSent(counter: number, nowUs: number): void {
    const serial = this.nextSerial;
    this.departures.add(counter, serial, nowUs);
    this.nextSerial += 1;
    const { bytesInFlight } = this;
    if (bytesInFlight < this.peakBytes && this.ackedSerial < this.peakSerial) return;
    this.peakBytes = bytesInFlight;
    this.peakSerial = serial;
  }

  /** The peer has seen the datagram with this counter, and waited `delayUs` to say so. */
  acked(counter: number, delayUs: number, nowUs: number): void {
    if (!this.departures.has(counter)) return;
    const serial = this.departures.serial(counter);
    if (serial <= this.ackedSerial) return;
    this.ackedSerial = serial;
    this.sinceUs = nowUs;
    const elapsed = nowUs - this.departures.sentUs(counter);
    this.rtt.sample(delayUs < elapsed ? elapsed - delayUs : elapsed);
  }

  /** Chunk `index` of a message arrived; returns whether that is news. */
  chunkAcked(message: OutgoingMessage, index: number): boolean {
    const place = message.places[index]!;
    if (place === ACKED) return false;
    message.places[index] = ACKED;
    message.ackedCount += 1;
    this.rtt.progressed();
    if (place < 0) return true;
    this.congestion.acked(this.flight.resolve(place), this.isLimited, this.peakBytes);
    return true;
  }

  /** Takes what a message has in flight out of it. */
  forget(message: OutgoingMessage): void {
    for (const place of message.places) if (place >= 0) this.flight.resolve(place);
  }

  /** Declares lost what was overtaken; called after each batch of acknowledgements. */
  detectLosses(nowUs: number): void {
    const { flight } = this;
    while (!flight.isEmpty) {
      const serial = flight.serial(flight.oldest);
      const isOvertaken =
        serial <= this.ackedSerial - REORDER_MAX ||
        (serial < this.ackedSerial && flight.sentUs(flight.oldest) + this.rtt.reorderUs <= nowUs);
      if (!isOvertaken) return;
      this.congestion.lost(serial, this.nextSerial);
      this.loseOldest();
    }
  }

  /**
   * Silence is no loss: a peer or this process may have stood still for longer than the timeout. So the
   * oldest chunks go once more, and their acknowledgement tells what became of the others.
   */
  handleTimeout(nowUs: number): void {
    this.detectLosses(nowUs);
    const { flight, rtt } = this;
    if (flight.isEmpty || nowUs < this.timeoutUs()) return;
    this.counters.timeouts += 1;
    this.sinceUs = nowUs;
    const isProbe = rtt.backoffs < PROBES_MAX;
    rtt.timedOut();
    if (!isProbe) this.congestion.timedOut(this.nextSerial);
    this.probes = PROBE_CHUNKS;
    for (let left = isProbe ? PROBE_CHUNKS : Infinity; left > 0 && !flight.isEmpty; left -= 1) {
      this.loseOldest();
    }
  }

  /** Whether a chunk of a large message may leave to ask, whatever the window and pacing say. */
  takeProbe(): boolean {
    if (this.probes === 0) return false;
    this.probes -= 1;
    return true;
  }

  nextTimeoutUs(): number {
    const { flight, rtt } = this;
    if (flight.isEmpty) return Infinity;
    const waitsForOvertaking = flight.serial(flight.oldest) < this.ackedSerial;
    if (!waitsForOvertaking) return Math.ceil(this.timeoutUs());
    return Math.ceil(Math.min(flight.sentUs(flight.oldest) + rtt.reorderUs, this.timeoutUs()));
  }

  /** Counted from the last sign of life or question: RFC 6298 (5.3), (5.6). Only with a flight. */
  private timeoutUs(): number {
    const { flight, rtt } = this;
    return Math.max(flight.sentUs(flight.oldest), this.sinceUs) + rtt.rtoUs;
  }

  private loseOldest(): void {
    const { flight } = this;
    const message = flight.message(flight.oldest);
    const index = flight.index(flight.oldest);
    flight.dropOldest();
    message.places[Math.max(index, 0)] = LOST;
    this.onLost(message, index);
  }
}
