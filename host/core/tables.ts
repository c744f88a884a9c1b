/**
 * How full the core's tables and pools are, and where the tables lie that packets are looked up in. Knows the ABI;
 * must not know what anybody does about it.
 */
import { BatonError } from "../errors.ts";
import type { AbiFunction, CoreModule } from "./module.ts";

/** A table that is read at random places: one entry, one page. */
export interface Table {
  readonly name: (typeof TABLES)[number];
  /** Entries that it holds now. */
  readonly entries: number;
  /** All of it, empty slots included. */
  readonly memory: Uint8Array;
}

const TABLES = ["mappings4", "mappings6", "records"] as const;
const FUNCTIONS = ["usagePtr", "tableSpan", "spanPtr"] as const;
type Calls = Readonly<Record<(typeof FUNCTIONS)[number], AbiFunction>>;

export class Tables {
  readonly #module: CoreModule;
  readonly #calls: Calls;
  readonly #places: readonly (readonly [name: string, place: number])[];

  /** @throws BatonError ERR_BATON_CORE when the core has not all of it */
  constructor(module: CoreModule) {
    this.#module = module;
    const calls = FUNCTIONS.map((name) => {
      const found = module.functions[name];
      if (!found) throw new BatonError("ERR_BATON_CORE", `core.wasm: no function ${name}`);
      return [name, found] as const;
    });
    this.#calls = Object.fromEntries(calls) as Calls;
    this.#places = Object.entries(module.enums["Usage"] ?? {}).map(
      ([name, place]) => [name.toLowerCase(), place] as const,
    );
  }

  /** How many places of each table and pool are in use now, by name. */
  usage(): Record<string, number> {
    const at = this.#calls.usagePtr() >>> 0;
    const view = new DataView(this.#module.memory.buffer);
    return Object.fromEntries(
      this.#places.map(([name, place]) => [name, view.getUint32(at + 4 * place, true)]),
    );
  }

  /** The tables that packets are looked up in. */
  list(): readonly Table[] {
    const usage = this.usage();
    const places = new Map(this.#places);
    return TABLES.map((name) => {
      this.#calls.tableSpan(places.get(name) ?? -1);
      return { name, entries: usage[name] ?? 0, memory: this.#span() };
    });
  }

  #span(): Uint8Array {
    const { buffer } = this.#module.memory;
    const [ptr = 0, len = 0] = new Uint32Array(buffer, this.#calls.spanPtr() >>> 0, 2);
    return new Uint8Array(buffer, ptr, len);
  }
}
