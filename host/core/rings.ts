/**
 * The rings of the xdp link as the core keeps them (assembly/ring): what a link of Linux needs to give them to a
 * kernel and to move packets. Knows the ABI; must not know Linux.
 */
import { BatonError } from "../errors.ts";
import type { CoreBatch } from "./batch.ts";
import { constant, enumValue, type AbiFunction, type CoreModule } from "./module.ts";

/** Offsets of a ring's words from where it is mapped. */
export interface RingWords {
  readonly producer: number;
  readonly consumer: number;
  readonly flags: number;
  readonly first: number;
}

export type Sent = "queued" | "by-kernel" | "full" | "malformed";

const FUNCTIONS = [
  "ringPtr",
  "ringEntries",
  "ringOpen",
  "ringPartial",
  "ringReceive",
  "ringTransmit",
  "ringFlush",
  "ringNeeds",
  "framesPtr",
  "framesFree",
  "hopOwn",
  "hopClear",
  "hopAdd",
  "hopUsed",
  "tuplePtr",
  "spanPtr",
] as const;
type Calls = Readonly<Record<(typeof FUNCTIONS)[number], AbiFunction>>;
const RINGS = ["RX", "TX", "FILL", "COMPLETION"] as const;

export class Rings {
  readonly memory: Uint8Array;
  readonly hopsMax: number;
  /** Bits of `needs`. */
  readonly needsTx: number;
  readonly needsFill: number;
  readonly #calls: Calls;
  readonly #rx: CoreBatch;
  readonly #full: number;
  readonly #address: number;
  readonly #mac: number;

  constructor(module: CoreModule, rx: CoreBatch) {
    const entries = FUNCTIONS.map((name) => {
      const found = module.functions[name];
      if (!found) throw new BatonError("ERR_BATON_CORE", `core.wasm: no function ${name}`);
      return [name, found] as const;
    });
    this.#calls = Object.fromEntries(entries) as Calls;
    this.#rx = rx;
    this.memory = new Uint8Array(module.memory.buffer);
    this.hopsMax = constant(module, "HOPS_MAX");
    this.needsTx = enumValue(module, "RingNeed", "TX");
    this.needsFill = enumValue(module, "RingNeed", "FILL");
    this.#full = enumValue(module, "Err", "FULL");
    this.#address = this.#calls.tuplePtr() >>> 0;
    this.#mac = this.#calls.spanPtr() >>> 0;
  }

  /** Indexes into `memory`, of each ring in the order of enum Ring, and of the first frame; 0: there are none. */
  get places(): { readonly rings: readonly number[]; readonly frames: number } {
    const rings = RINGS.map((_, ring) => this.#calls.ringPtr(ring) >>> 0);
    return { rings, frames: this.#calls.framesPtr() >>> 0 };
  }

  /** Entries of each ring: half of the frames. */
  get entries(): number {
    return this.#calls.ringEntries() >>> 0;
  }

  /** Frames that are neither lent nor on their way. */
  get free(): number {
    return this.#calls.framesFree() >>> 0;
  }

  /** @throws BatonError when a kernel's ring does not fit. */
  open(rings: readonly RingWords[]): void {
    for (const [ring, { producer, consumer, flags, first }] of rings.entries()) {
      if (this.#calls.ringOpen(ring, producer, consumer, flags, first) >= 0) continue;
      const got = `words at ${[producer, consumer, flags, first].join()}`;
      const message = `xdp: ring ${RINGS[ring]}: expected one that fits its pages, got ${got}`;
      throw new BatonError("ERR_BATON_KERNEL", message);
    }
  }

  /** Whether received TCP checksums may be unfinished. */
  setPartial(on: boolean): void {
    this.#calls.ringPartial(on ? 1 : 0);
  }

  receive(): number {
    return this.#calls.ringReceive();
  }

  /** Packet `index` of the core's rx or tx batch. */
  transmit(batch: object, index: number): Sent {
    const result = this.#calls.ringTransmit(batch === this.#rx ? 0 : 1, index);
    if (result > 0) return "queued";
    if (result === 0) return "by-kernel";
    return result === this.#full ? "full" : "malformed";
  }

  flush(): void {
    this.#calls.ringFlush();
  }

  /** `needsTx`, `needsFill`, or 0. */
  needs(): number {
    return this.#calls.ringNeeds();
  }

  setOwnMac(mac: Uint8Array): void {
    this.memory.set(mac, this.#mac);
    this.#calls.hopOwn(this.#mac);
  }

  /** Empties the list of next hops. */
  clearHops(): void {
    this.#calls.hopClear();
  }

  /** False: the list is full. */
  addHop(address: Uint8Array, length: number, mac: Uint8Array | undefined): boolean {
    this.memory.set(address, this.#address);
    if (mac) this.memory.set(mac, this.#mac);
    const family = address.length === 4 ? 4 : 6;
    return this.#calls.hopAdd(family, this.#address, length, mac ? this.#mac : 0) >= 0;
  }

  /** Whether packets asked for entry `index` since the last call. */
  wasUsed(index: number): boolean {
    return this.#calls.hopUsed(index) === 1;
  }
}
