/**
 * Flags as data: name, form, help and parser stand in one place, for the command line, `--help` and the
 * configuration file. Knows how texts become typed values; must not know which flags there are.
 */
import { readFileSync } from "node:fs";
import { BatonError } from "../errors.ts";
import { expected } from "./values.ts";

interface Described {
  /** For --help: one sentence, no full stop. */
  readonly help: string;
}

/** At most one value. */
export interface OneFlag<T> extends Described {
  readonly kind: "one";
  /** Its form in --help: "ADDRESS:PORT". */
  readonly form: string;
  readonly parse: (text: string) => T;
}

/** May be repeated. */
export interface ManyFlag<T> extends Described {
  readonly kind: "many";
  readonly form: string;
  readonly parse: (text: string) => T;
}

export interface Switch extends Described {
  readonly kind: "switch";
}

/** By name, without the dashes in front. */
export type Schema = Readonly<Record<string, OneFlag<unknown> | ManyFlag<unknown> | Switch>>;

export type Parsed<S extends Schema> = {
  readonly [K in keyof S]: S[K] extends ManyFlag<infer T>
    ? readonly T[]
    : S[K] extends OneFlag<infer T>
      ? T | undefined
      : boolean;
};

/** What stands on the command line, by flag name: a text, several, or true. */
export type FlagInput = Readonly<Record<string, string | readonly string[] | boolean | undefined>>;

export const CONFIG_FLAG = "config";

export function one<T>(form: string, help: string, parse: (text: string) => T): OneFlag<T> {
  return { kind: "one", form, help, parse };
}

export function many<T>(form: string, help: string, parse: (text: string) => T): ManyFlag<T> {
  return { kind: "many", form, help, parse };
}

export function onOff(help: string): Switch {
  return { kind: "switch", help };
}

/** Typed values of a schema's flags; every error names its flag. */
export function parseFlags<S extends Schema>(schema: S, input: FlagInput): Parsed<S> {
  const values: Record<string, unknown> = {};
  for (const [name, flag] of Object.entries(schema)) {
    values[name] = within(`--${name}`, () => parseFlag(flag, input[name]));
  }
  return values as Parsed<S>;
}

/**
 * Adds what the file of `--config` says: a JSON object whose keys are flags' names and whose values are
 * texts, numbers, booleans, or lists of them. A flag on the command line replaces the file's value.
 */
export function withFile(schema: Schema, input: FlagInput): FlagInput {
  const path = input[CONFIG_FLAG];
  if (typeof path !== "string") return input;
  const file = within(`--${CONFIG_FLAG} ${path}`, () => readFile(path));
  const merged: Record<string, FlagInput[string]> = {};
  for (const [name, value] of Object.entries(file)) {
    within(`--${CONFIG_FLAG} ${path}`, () => {
      const flag = name === CONFIG_FLAG ? undefined : schema[name];
      if (!flag || !Object.hasOwn(schema, name)) throw expected("names of flags", name);
      merged[name] = fileValue(flag.kind, name, value);
    });
  }
  for (const [name, value] of Object.entries(input)) {
    if (value !== undefined) merged[name] = value;
  }
  return merged;
}

/** Runs `action`; an error of configuration gets `where` in front. */
export function within<T>(where: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof BatonError)) throw error;
    throw new BatonError("ERR_BATON_CONFIG", `${where}: ${error.message}`, { cause: error });
  }
}

function parseFlag(flag: Schema[string], value: FlagInput[string]): unknown {
  switch (flag.kind) {
    case "switch":
      return value === true;
    case "one":
      if (value === undefined) return undefined;
      if (typeof value !== "string") throw expected(`one ${flag.form}`, String(value));
      return flag.parse(value);
    case "many": {
      const texts = typeof value === "string" ? [value] : Array.isArray(value) ? value : [];
      return texts.map((text: string) => flag.parse(text));
    }
  }
}

function readFile(path: string): Record<string, unknown> {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    const got = cause instanceof Error ? cause.message.replaceAll("\n", " ") : String(cause);
    throw new BatonError("ERR_BATON_CONFIG", `expected a JSON file, got ${got}`, { cause });
  }
  if (typeof content === "object" && content !== null && !Array.isArray(content)) {
    return content as Record<string, unknown>;
  }
  throw new BatonError("ERR_BATON_CONFIG", "expected a JSON object, got something else");
}

function fileValue(
  kind: Schema[string]["kind"],
  name: string,
  value: unknown,
): string | readonly string[] | boolean {
  if (kind === "switch") {
    if (typeof value === "boolean") return value;
    throw expected(`${name}: true or false`, JSON.stringify(value));
  }
  const texts = (Array.isArray(value) ? value : [value]).map((item: unknown) => {
    if (typeof item === "string" || typeof item === "number") return String(item);
    throw expected(`${name}: text or a number`, JSON.stringify(item));
  });
  const [first] = texts;
  if (kind === "many") return texts;
  if (texts.length === 1 && first !== undefined && !Array.isArray(value)) return first;
  throw expected(`${name}: one value`, JSON.stringify(value));
}
