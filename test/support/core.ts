/**
 * The core for tests: both builds of assembly/testing.ts, a fresh instance for each test, views on its
 * memory. Results of u32 functions come back signed: `u32` mends that.
 */
import { readFileSync } from "node:fs";
import { instantiateSync } from "@assemblyscript/loader";

/** The little of WebAssembly's types that is used here: they come with the DOM's, which no host code sees. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => WasmModule;
  Global: new () => WasmGlobal;
};
type WasmModule = { readonly wasmModule: never };
type WasmGlobal = { readonly value: number | bigint };
type WasmMemory = { readonly buffer: ArrayBuffer; grow(pages: number): number };

export type BuildName = "debug" | "release";
export const BUILDS: readonly BuildName[] = ["debug", "release"];

type CoreFunction = (...args: number[]) => number;
type CoreFunction64 = (...args: (number | bigint)[]) => bigint;

export interface TestCore {
  readonly name: BuildName;
  /** Every exported function by name; an unknown name throws. */
  readonly f: Readonly<Record<string, CoreFunction>>;
  /** The same, for functions that take or return u64: bigint. */
  readonly f64: Readonly<Record<string, CoreFunction64>>;
  /** An exported constant, or an enum value as `constant("Err.FULL")`. */
  constant(name: string): number;
  /** Views that follow a growth of memory. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /**
   * Grows memory at its end and returns the address: room for a test's own data. After init, if the test
   * calls it: init lays its regions over what was taken before.
   */
  scratch(len: number): number;
  /** Copies bytes to an address; returns it. */
  write(ptr: number, data: Uint8Array): number;
  /** A copy of [ptr, ptr + len). */
  read(ptr: number, len: number): Uint8Array;
}

const modules = new Map<BuildName, WasmModule>();

function compiled(name: BuildName): WasmModule {
  const known = modules.get(name);
  if (known) return known;
  const path = new URL(`../../testing/${name}.wasm`, import.meta.url);
  const module = new WebAssembly.Module(readFileSync(path));
  modules.set(name, module);
  return module;
}

/** A new instance; its imports are the loader's own `abort`, which throws with text, file and line. */
export function openCore(name: BuildName = "release"): TestCore {
  const { instance } = instantiateSync(compiled(name), {});
  const exports = instance.exports as unknown as Record<string, unknown>;
  const memory = exports["memory"] as WasmMemory;
  const functions = new Proxy(exports, {
    get(target, key) {
      const found = target[String(key)];
      if (typeof found !== "function")
        throw new Error(`the core exports no function ${String(key)}`);
      return found;
    },
  });
  let bytes = new Uint8Array(memory.buffer);
  let view = new DataView(memory.buffer);
  const follow = () => {
    if (bytes.buffer === memory.buffer) return;
    bytes = new Uint8Array(memory.buffer);
    view = new DataView(memory.buffer);
  };
  return {
    name,
    f: functions as Record<string, CoreFunction>,
    f64: functions as Record<string, CoreFunction64>,
    constant(constantName) {
      const global = exports[constantName];
      if (!(global instanceof WebAssembly.Global)) {
        throw new Error(`the core exports no constant ${constantName}`);
      }
      return Number(global.value);
    },
    get bytes() {
      follow();
      return bytes;
    },
    get view() {
      follow();
      return view;
    },
    scratch(len) {
      return memory.grow(Math.ceil(len / 65536)) * 65536;
    },
    write(ptr, data) {
      follow();
      bytes.set(data, ptr);
      return ptr;
    },
    read(ptr, len) {
      follow();
      return bytes.slice(ptr, ptr + len);
    },
  };
}

export function u32(value: number): number {
  return value >>> 0;
}

interface Suite {
  (name: string, body: () => void | Promise<void>): void;
}

/** Registers a test for one build; its body gets an instance of its own. */
export type BuildTest = (title: string, body: (core: TestCore) => void | Promise<void>) => void;

/**
 * Runs `define` once for each build. Tests that it registers through its first argument get the build's
 * name in theirs and a fresh core:
 *
 *   onBothBuilds(wire, (test) => {
 *     test("refuses a data offset below 20", (core) => { ... });
 *   });
 */
export function onBothBuilds(
  suite: Suite,
  define: (test: BuildTest, name: BuildName) => void,
): void {
  for (const name of BUILDS) {
    define((title, body) => suite(`${title} (${name})`, () => body(openCore(name))), name);
  }
}
