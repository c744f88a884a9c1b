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
    this.departures.add(counter, this.nextSerial, nowUs);
    this.nextSerial += 1;
  }

  /** The peer has seen the datagram with this counter, and waited `delayUs` to say so. */
  acked(counter: number, delayUs: number, nowUs: number): void {
    if (!this.departures.has(counter)) return;
    const serial = this.departures.serial(counter);
    if (serial <= this.ackedSerial) return;
    this.ackedSerial = serial;
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
    if (place >= 0) this.congestion.acked(this.flight.resolve(place), this.isLimited);
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

  handleTimeout(nowUs: number): void {
    this.detectLosses(nowUs);
    const { flight } = this;
    if (flight.isEmpty || nowUs < flight.sentUs(flight.oldest) + this.rtt.rtoUs) return;
    this.counters.timeouts += 1;
    const { rtoUs } = this.rtt;
    this.rtt.timedOut();
    this.congestion.timedOut(this.nextSerial);
    while (!flight.isEmpty && flight.sentUs(flight.oldest) + rtoUs <= nowUs) this.loseOldest();
  }

  nextTimeoutUs(): number {
    const { flight, rtt } = this;
    if (flight.isEmpty) return Infinity;
    const waitsForOvertaking = flight.serial(flight.oldest) < this.ackedSerial;
    const wait = waitsForOvertaking ? Math.min(rtt.reorderUs, rtt.rtoUs) : rtt.rtoUs;
    return Math.ceil(flight.sentUs(flight.oldest) + wait);
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
