/**
 * Huge pages for the core's tables, when they have become worth it: a node with few connections keeps the few small
 * pages that those touch, one with very many has most of them resident anyway. Knows how full a table is and how to
 * ask the kernel; must not know what the table is for.
 */
import type { HugePages } from "../config/config.ts";
import type { Core } from "../core/core.ts";
import { BatonError } from "../errors.ts";
import {
  HUGE_PAGE,
  SMALL_PAGE,
  adviseHugePages,
  coveredByHugePages,
  gatherHugePages,
  hugePagesOf,
  refuseHugePages,
} from "../linux/huge.ts";
import type { Log } from "../node/environment.ts";

/** Twice as many entries as pages, at random places, touch 86 % of them. */
const ENTRIES_PER_PAGE = 2;
const LOOK_MS = 1_000;
/** Gathering stops the node for most of a millisecond: seldom enough that nobody sees more than one in a round trip. */
const STEP_MS = 20;
const MIB = 2 ** 20;

export class TablePages {
  /** MiB of memory that may be in huge pages; those gathered at once; 1 where the kernel has none to give. */
  readonly counters = { askedMib: 0, gatheredMib: 0, refused: 0 };
  readonly #core: Core;
  readonly #wish: HugePages;
  readonly #log: Log;
  readonly #asked = new Set<string>();
  /** What is to be gathered yet, one huge page each. */
  readonly #waiting: Uint8Array[] = [];
  #timer: NodeJS.Timeout | undefined;

  /**
   * Does at once what is not to wait: before a link maps anything into the core's memory. What the kernel refuses
   * makes a node slower, not wrong.
   */
  constructor(core: Core, wish: HugePages, log: Log) {
    this.#core = core;
    this.#wish = wish;
    this.#log = log;
    if (wish === "always") this.#ask(core.memory);
    else if (wish === "never") refuseHugePages(core.memory);
  }

  /** Looks once a second from now on. */
  start(): void {
    if (this.#wish === "auto") this.#wait();
  }

  /** Asks for tables that have grown so far. */
  look(): void {
    if (this.#wish !== "auto") return;
    for (const { name, entries, memory } of this.#core.tables.list()) {
      if (this.#asked.has(name) || !isWorthIt(entries, memory.length)) continue;
      this.#asked.add(name);
      if (this.counters.refused !== 0) continue;
      const covered = coveredByHugePages(this.#core.memory, memory);
      if (this.#ask(covered)) this.#waiting.push(...hugePagesOf(covered));
    }
  }

  /** Gathers one huge page; false when there is nothing to do. */
  step(): boolean {
    const page = this.#waiting.shift();
    if (page === undefined) return false;
    if (gatherHugePages(page)) this.counters.gatheredMib += page.length / MIB;
    else this.#waiting.length = 0; // An old kernel, or no room: its own thread will do what it can.
    return true;
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #wait(): void {
    this.#timer = setTimeout(
      () => {
        if (!this.step()) this.look();
        this.#wait();
      },
      this.#waiting.length > 0 ? STEP_MS : LOOK_MS,
    );
    this.#timer.unref();
  }

  #ask(memory: Uint8Array): boolean {
    try {
      adviseHugePages(memory);
      this.counters.askedMib += Math.round(memory.length / MIB);
      return true;
    } catch (error) {
      if (!(error instanceof BatonError)) throw error;
      this.counters.refused = 1;
      this.#log.write(this.#wish === "always" ? "warn" : "info", error.message);
      return false;
    }
  }
}

/** Whether a table with so many entries has most of its small pages resident. */
export function isWorthIt(entries: number, bytes: number): boolean {
  return bytes >= HUGE_PAGE && entries >= (bytes / SMALL_PAGE) * ENTRIES_PER_PAGE;
}
