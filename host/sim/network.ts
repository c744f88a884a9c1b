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

/** Sees every packet once its fate is drawn: "" when nothing happens to it. */
export type Tracer = (
  from: string,
  to: string,
  bytes: Uint8Array,
  atUs: number,
  fate: string,
) => void;

export interface NetworkCounters {
  sent: number;
  delivered: number;
  lost: number;
  duplicated: number;
  corrupted: number;
  unroutable: number;
  tooBig: number;
}

/** A place, or a choice by what is in the packet. */
type Route = string | ((bytes: Uint8Array) => string);

type Receiver = (bytes: Uint8Array, from: string) => void;

/** One place that packets travel to. Receivers come and go. */
interface Place {
  readonly name: string;
  receiver: Receiver | undefined;
  /** Of the link there, whatever else is wrong with a way into it. */
  mtu: number | undefined;
  /** Ways into it, by where they begin. */
  readonly ways: Map<string, Way>;
}

interface Way {
  /** Of its own, so that what travels elsewhere changes nothing here. */
  readonly random: SeededRandom;
  faults: Faults;
  /** Of which state of the table of faults `faults` is. */
  version: number;
  /** When the last packet that kept its order arrives. */
  lastUs: number;
}

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
  readonly #places = new Map<string, Place>();
  readonly #routes = new Map<string, Route>();
  readonly #faults = new Map<string, Faults>();
  #version = 0;
  watch: Watcher | undefined;
  trace: Tracer | undefined;
  /** Sees a packet as a place is given it. */
  arrived: ((to: string, bytes: Uint8Array) => void) | undefined;
  /** Sees a packet that was damaged on its way, as it will arrive. */
  damaged: ((to: string, bytes: Uint8Array) => void) | undefined;
  /** A packet met a path with a smaller MTU; what this returns comes back from a router there. */
  tooBig: (bytes: Uint8Array, mtu: number) => { to: string; bytes: Uint8Array } | undefined = () =>
    undefined;

  /** Faults of a way for which nothing but "any to any" was set: the same ones whenever it is asked. */
  drawn: ((from: string, to: string) => Faults) | undefined;

  /** Such a packet is left as it is: two flipped bits can cancel in a checksum, and TCP's is end to end. */
  isDamaged: (to: string, bytes: Uint8Array) => boolean = () => false;

  constructor(scheduler: Scheduler, random: SeededRandom) {
    this.#scheduler = scheduler;
    this.#random = random;
  }

  /** A place that packets can reach. */
  attach(place: string, receiver: Receiver): void {
    this.#place(place).receiver = receiver;
  }

  /** What is sent to `place` from now on is lost: it crashed or is cut off. */
  detach(place: string): void {
    this.#place(place).receiver = undefined;
  }

  /** Longer packets than that do not come into this place (`tooBig`). */
  setMtu(place: string, mtu: number): void {
    this.#place(place).mtu = mtu;
  }

  /** Packets to this IP address (text form) go to that place. */
  route(address: string, route: Route): void {
    this.#routes.set(address, route);
  }

  /** Faults from one place to another; "*" stands for any. The most exact one counts. */
  setFaults(from: string, to: string, faults: Faults): void {
    this.#faults.set(`${from}>${to}`, faults);
    this.#version++;
  }

  /** Ends what `setFaults` of the very same path began. */
  clearFaults(from: string, to: string): void {
    this.#faults.delete(`${from}>${to}`);
    this.#version++;
  }

  /** Sends an IP packet towards its destination address. The network keeps the array. */
  sendTo(from: string, address: string, bytes: Uint8Array): void {
    const route = this.#routes.get(address);
    if (route === undefined) this.counters.unroutable++;
    else this.send(from, typeof route === "string" ? route : route(bytes), bytes);
  }

  send(from: string, to: string, bytes: Uint8Array): void {
    this.counters.sent++;
    const nowUs = this.#scheduler.nowUs();
    this.watch?.(from, to, bytes, nowUs);
    const place = this.#place(to);
    const way = this.#way(from, place);
    const { faults } = way;
    const mtu = faults.mtu ?? place.mtu;
    if (mtu !== undefined && bytes.length > mtu) {
      this.trace?.(from, to, bytes, nowUs, "too big");
      return this.#reject(bytes, mtu);
    }
    if (way.random.chance(faults.lossPercent)) {
      this.counters.lost++;
      this.trace?.(from, to, bytes, nowUs, "lost");
      return;
    }
    const fate = this.#deliver(from, place, bytes, way);
    let again = "";
    if (way.random.chance(faults.duplicatePercent)) {
      this.counters.duplicated++;
      again = `twice${this.#deliver(from, place, bytes.slice(), way)}`;
    }
    this.trace?.(from, to, bytes, nowUs, `${fate}${again}`);
  }

  #reject(bytes: Uint8Array, mtu: number): void {
    this.counters.tooBig++;
    const error = this.tooBig(bytes, mtu);
    if (error) this.sendTo("router", error.to, error.bytes);
  }

  /** Returns what happens to it besides a delay, for people. */
  #deliver(from: string, place: Place, bytes: Uint8Array, way: Way): string {
    let fate = "";
    if (bytes.length > 0 && way.random.chance(way.faults.corruptPercent)) {
      const at = way.random.below(bytes.length);
      const bit = 1 << way.random.below(8);
      if (!this.isDamaged(place.name, bytes)) {
        this.counters.corrupted++;
        bytes = bytes.slice();
        bytes[at] = (bytes[at] ?? 0) ^ bit;
        fate = `corrupted at ${at} `;
        this.damaged?.(place.name, bytes);
      }
    }
    this.#scheduler.at(this.#arrivalUs(way), () => {
      if (!place.receiver) {
        this.counters.lost++;
        return;
      }
      this.counters.delivered++;
      this.arrived?.(place.name, bytes);
      place.receiver(bytes, from);
    });
    return fate;
  }

  /** Order is kept on a path, jitter or not, except for the packets that are reordered on purpose. */
  #arrivalUs(way: Way): number {
    const { faults } = way;
    const now = this.#scheduler.nowUs();
    const jitter = faults.jitterUs > 0 ? way.random.below(faults.jitterUs) : 0;
    const plain = now + faults.delayUs + jitter;
    if (way.random.chance(faults.reorderPercent)) return plain + faults.reorderUs;
    way.lastUs = Math.max(plain, way.lastUs);
    return way.lastUs;
  }

  #place(name: string): Place {
    let place = this.#places.get(name);
    if (!place) {
      place = { name, receiver: undefined, mtu: undefined, ways: new Map() };
      this.#places.set(name, place);
    }
    return place;
  }

  #way(from: string, place: Place): Way {
    let way = place.ways.get(from);
    if (!way) {
      const random = this.#random.child(`${from}>${place.name}`);
      way = { random, faults: NO_FAULTS, version: -1, lastUs: 0 };
      place.ways.set(from, way);
    }
    if (way.version !== this.#version) {
      way.version = this.#version;
      way.faults = this.#faultsOf(from, place.name);
    }
    return way;
  }

  #faultsOf(from: string, to: string): Faults {
    return (
      this.#faults.get(`${from}>${to}`) ??
      this.#faults.get(`${from}>*`) ??
      this.#faults.get(`*>${to}`) ??
      this.drawn?.(from, to) ??
      this.#faults.get("*>*") ??
      NO_FAULTS
    );
  }
}
