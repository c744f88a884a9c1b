/**
 * Instantiates the core and reads its constants. Knows WebAssembly and the loader; with batch.ts and
 * core.ts the only code that does. The loader wraps every export in a slow closure, so calls go to the
 * raw exports of the instance.
 */
import { instantiateSync } from "@assemblyscript/loader";
import { BatonError } from "../errors.ts";

export const ABI_VERSION = 1;

/** A function of the ABI; u32 results arrive signed. */
export type AbiFunction = (...args: number[]) => number;

/** `Constants.Err.OK`, `Constants.DescriptorOff.PTR`, ... as exported by assembly/. */
export type Constants = Readonly<Record<string, Readonly<Record<string, number>>>>;

export interface CoreModule {
  readonly memory: WebAssembly.Memory;
  /** Every exported function by name. */
  readonly functions: Readonly<Record<string, AbiFunction>>;
  readonly enums: Constants;
  /** Exported numbers that belong to no enum: BATCH_MAX, ... */
  readonly numbers: Readonly<Record<string, number>>;
}

type RawExports = Record<string, unknown>;
type Module = ReturnType<typeof instantiateSync>["module"];

/** What all instances of the same bytes share. */
interface Compiled {
  readonly module: Module;
  readonly enums: Constants;
  readonly numbers: Readonly<Record<string, number>>;
}

/** By the array that the bytes were given in: a process that has many cores reads and compiles them once. */
const compiled = new WeakMap<Uint8Array, Compiled>();

/**
 * @param wasm  stays as it is for as long as it is used
 * @throws BatonError ERR_BATON_CORE when the bytes are no core of this ABI version.
 */
export function instantiateCore(wasm: Uint8Array): CoreModule {
  const known = compiled.get(wasm);
  const { module, exports } = instantiate(known?.module ?? (wasm as Uint8Array<ArrayBuffer>));
  const functions = functionsOf(exports);
  const version = functions["abiVersion"]?.();
  if (version !== ABI_VERSION) {
    throw new BatonError(
      "ERR_BATON_CORE",
      `core.wasm: expected ABI version ${ABI_VERSION}, got ${version ?? "none"}`,
    );
  }
  const { enums, numbers } = known ?? constantsOf(exports);
  if (!known) compiled.set(wasm, { module, enums, numbers });
  return { memory: exports["memory"] as WebAssembly.Memory, functions, enums, numbers };
}

function instantiate(source: Uint8Array<ArrayBuffer> | Module): {
  module: Module;
  exports: RawExports;
} {
  try {
    const { module, instance } = instantiateSync<RawExports>(source, { env: { abort } });
    return { module, exports: instance.exports as RawExports };
  } catch (cause) {
    throw new BatonError("ERR_BATON_CORE", `core.wasm: cannot be instantiated: ${String(cause)}`, {
      cause,
    });
  }
}

function functionsOf(exports: RawExports): Record<string, AbiFunction> {
  const functions: Record<string, AbiFunction> = {};
  for (const [name, value] of Object.entries(exports)) {
    if (typeof value === "function") functions[name] = value as AbiFunction;
  }
  return functions;
}

function constantsOf(exports: RawExports): Pick<Compiled, "enums" | "numbers"> {
  const enums: Record<string, Record<string, number>> = {};
  const numbers: Record<string, number> = {};
  for (const [name, value] of Object.entries(exports)) {
    if (value instanceof WebAssembly.Global) record(enums, numbers, name, Number(value.value));
  }
  return { enums, numbers };
}

/** Only debug builds import this: an assertion of ours failed. */
function abort(message: number, file: number, line: number, column: number): never {
  throw new Error(`core assertion failed (message ${message}, file ${file}, ${line}:${column})`);
}

function record(
  enums: Record<string, Record<string, number>>,
  numbers: Record<string, number>,
  name: string,
  value: number,
): void {
  const dot = name.indexOf(".");
  if (dot < 0) {
    numbers[name] = value >>> 0;
    return;
  }
  const group = (enums[name.slice(0, dot)] ??= {});
  group[name.slice(dot + 1)] = value;
}

/** An exported number. @throws BatonError when the module has none of that name. */
export function constant(module: CoreModule, name: string): number {
  const value = module.numbers[name];
  if (value === undefined) throw new BatonError("ERR_BATON_CORE", `core.wasm: no constant ${name}`);
  return value;
}

/** A member of an exported enum. @throws BatonError when there is none. */
export function enumValue(module: CoreModule, group: string, name: string): number {
  const value = module.enums[group]?.[name];
  if (value === undefined) {
    throw new BatonError("ERR_BATON_CORE", `core.wasm: no constant ${group}.${name}`);
  }
  return value;
}
