/**
 * Keeps the core's list of next hops as the kernel's routes and neighbours are, and the neighbours in use confirmed.
 * Knows when to look and whom to ask; must not know frames.
 */
import type { Rings } from "../core/rings.ts";
import { askNeighbour, ChangeWatch, readNeighbours, readRoutes } from "../linux/netlink.ts";
import { nextHops, type NextHop } from "../linux/nexthop.ts";

const LOOK_MS = 100;
/** After a packet went by the kernel: its neighbour's answer may be there. */
const SOON_MS = 5;
/** Between two questions after neighbours in use: the kernel's own delay before it probes. */
const CONFIRM_LOOKS = 50;

export class HopKeeper {
  /** The list had no room: everything goes by the kernel. */
  overflows = 0;
  /** How often the list was made. */
  made = 0;
  readonly #rings: Rings;
  readonly #device: number;
  readonly #watch = new ChangeWatch();
  readonly #timer: NodeJS.Timeout;
  readonly #onLook: (changed: boolean) => void;
  #soon: NodeJS.Timeout | undefined;
  #hops: readonly NextHop[] = [];
  #looks = 0;

  /** `look` is called about every 100 ms, with whether something changed. */
  constructor(rings: Rings, device: number, look: (changed: boolean) => void) {
    this.#rings = rings;
    this.#device = device;
    this.#onLook = look;
    this.#make();
    this.#timer = setInterval(() => {
      this.#look();
      this.#looks += 1;
      if (this.#looks % CONFIRM_LOOKS === 0) this.#confirm();
    }, LOOK_MS).unref();
  }

  /** A packet found no next hop. */
  missed(): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.#look();
    }, SOON_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    this.#watch.close();
  }

  #look(): void {
    const changed = this.#watch.changed();
    this.#onLook(changed);
    if (changed) this.#make();
  }

  #make(): void {
    const rings = this.#rings;
    const hops = nextHops(this.#device, readRoutes(), readNeighbours());
    this.made += 1;
    rings.clearHops();
    this.#hops = hops.length > rings.hopsMax ? [] : hops;
    if (hops.length > rings.hopsMax) this.overflows += 1;
    for (const { address, length, mac } of this.#hops) rings.addHop(address, length, mac);
    for (const { mac, ask } of this.#hops) {
      if (mac === undefined && ask) askNeighbour(this.#device, ask);
    }
  }

  /** A list that was made anew has forgotten what was used: then packets of the next seconds tell. */
  #confirm(): void {
    this.#hops.forEach(({ mac, ask }, index) => {
      const used = this.#rings.wasUsed(index);
      if (ask && (used || mac === undefined)) askNeighbour(this.#device, ask);
    });
  }
}
