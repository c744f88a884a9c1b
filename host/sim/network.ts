/**
 * The simulated network: packets and datagrams travel between named places over paths with seeded
 * faults. Knows addresses and bytes; must not know TCP or Baton's protocol.
 */
import type { SeededRandom } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";

/** What can go wrong on the way into one place. All percentages are of single packets. */
export interface Faults {
  readonly delayUs: number;
  readonly jitterUs: number;
  readonly lossPercent: number;
  readonly duplicatePercent: number;
  /** Packets that take `reorderUs` more, so that later ones overtake them. */
  readonly reorderPercent: number;
  readonly reorderUs: number;
  /** Packets in which one bit flips. */
  readonly corruptPercent: number;
  /** Longer packets are dropped, and their sender is told (`Network.tooBig`). */
  readonly mtu?: number;
}

export const NO_FAULTS: Faults = {
  delayUs: 100,
  jitterUs: 0,
  lossPercent: 0,
  duplicatePercent: 0,
  reorderPercent: 0,
  reorderUs: 2000,
  corruptPercent: 0,
};

/** Sees every packet as it is sent, before any fault; throws to end the run. */
export type Watcher = (from: string, to: string, bytes: Uint8Array, atUs: number) => void;

export interface NetworkCounters {
  sent: number;
  delivered: number;
  lost: number;
  duplicated: number;
  corrupted: number;
  unroutable: number;
  tooBig: number;
}

type Receiver = (bytes: Uint8Array, from: string) => void;

export class Network {
  readonly counters: NetworkCounters = {
    sent: 0,
    delivered: 0,
    lost: 0,
    duplicated: 0,
    corrupted: 0,
    unroutable: 0,
    tooBig: 0,
  };
  readonly #scheduler: Scheduler;
  readonly #random: SeededRandom;
  readonly #receivers = new Map<string, Receiver>();
  readonly #routes = new Map<string, string>();
  readonly #faults = new Map<string, Faults>();
  readonly #last = new Map<string, number>();
  watch: Watcher | undefined;
  /** A packet met a path with a smaller MTU; what this returns comes back from a router there. */
  tooBig: (bytes: Uint8Array, mtu: number) => { to: string; bytes: Uint8Array } | undefined = () =>
    undefined;

  constructor(scheduler: Scheduler, random: SeededRandom) {
    this.#scheduler = scheduler;
    this.#random = random;
  }

  /** A place that packets can reach. */
  attach(place: string, receiver: Receiver): void {
    this.#receivers.set(place, receiver);
  }

  /** What is sent to `place` from now on is lost: it crashed or is cut off. */
  detach(place: string): void {
    this.#receivers.delete(place);
  }

  /** Packets to this IP address (text form) go to that place. */
  route(address: string, place: string): void {
    this.#routes.set(address, place);
  }

  /** Faults from one place to another; "*" stands for any. The most exact one counts. */
  setFaults(from: string, to: string, faults: Faults): void {
    this.#faults.set(`${from}>${to}`, faults);
  }

  /** Ends what `setFaults` of the very same path began. */
  clearFaults(from: string, to: string): void {
    this.#faults.delete(`${from}>${to}`);
  }

  /** Sends an IP packet towards its destination address. The network keeps the array. */
  sendTo(from: string, address: string, bytes: Uint8Array): void {
    const to = this.#routes.get(address);
    if (to === undefined) this.counters.unroutable++;
    else this.send(from, to, bytes);
  }

  send(from: string, to: string, bytes: Uint8Array): void {
    this.counters.sent++;
    this.watch?.(from, to, bytes, this.#scheduler.nowUs());
    const faults = this.#faultsOf(from, to);
    if (faults.mtu !== undefined && bytes.length > faults.mtu)
      return this.#reject(bytes, faults.mtu);
    if (this.#random.chance(faults.lossPercent)) {
      this.counters.lost++;
      return;
    }
    this.#deliver(from, to, bytes, faults);
    if (this.#random.chance(faults.duplicatePercent)) {
      this.counters.duplicated++;
      this.#deliver(from, to, bytes.slice(), faults);
    }
  }

  #reject(bytes: Uint8Array, mtu: number): void {
    this.counters.tooBig++;
    const error = this.tooBig(bytes, mtu);
    if (error) this.sendTo("router", error.to, error.bytes);
  }

  #deliver(from: string, to: string, bytes: Uint8Array, faults: Faults): void {
    if (bytes.length > 0 && this.#random.chance(faults.corruptPercent)) {
      this.counters.corrupted++;
      const at = this.#random.below(bytes.length);
      bytes = bytes.slice();
      bytes[at] = (bytes[at] ?? 0) ^ (1 << this.#random.below(8));
    }
    this.#scheduler.at(this.#arrivalUs(`${from}>${to}`, faults), () => {
      const receiver = this.#receivers.get(to);
      if (!receiver) {
        this.counters.lost++;
        return;
      }
      this.counters.delivered++;
      receiver(bytes, from);
    });
  }

  /** Order is kept on a path, jitter or not, except for the packets that are reordered on purpose. */
  #arrivalUs(path: string, faults: Faults): number {
    const now = this.#scheduler.nowUs();
    const jitter = faults.jitterUs > 0 ? this.#random.below(faults.jitterUs) : 0;
    const plain = now + faults.delayUs + jitter;
    if (this.#random.chance(faults.reorderPercent)) return plain + faults.reorderUs;
    const arrival = Math.max(plain, this.#last.get(path) ?? 0);
    this.#last.set(path, arrival);
    return arrival;
  }

  #faultsOf(from: string, to: string): Faults {
    return (
      this.#faults.get(`${from}>${to}`) ??
      this.#faults.get(`${from}>*`) ??
      this.#faults.get(`*>${to}`) ??
      this.#faults.get("*>*") ??
      NO_FAULTS
    );
  }
}
