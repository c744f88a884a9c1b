/** The Log of environment.ts over a function that takes lines. Knows levels and forms; must not know streams. */
import type { Log, LogLevel } from "../node/environment.ts";
import { jsonLine } from "./json.ts";
import { printable } from "./text.ts";

export interface LogOptions {
  readonly json: boolean;
  /** The least important level that is written. */
  readonly level: LogLevel;
  /** Milliseconds since 1970. */
  readonly wallMs: () => number;
  /** Takes a line with its newline. */
  readonly write: (line: string) => void;
}

const LEVELS: readonly LogLevel[] = ["error", "warn", "info", "debug"];
const VALUE_MAX = 200;

export function createLog(options: LogOptions): Log {
  const { json, write } = options;
  const wanted = LEVELS.indexOf(options.level);
  return {
    write(level, message, fields = {}) {
      if (LEVELS.indexOf(level) > wanted) return;
      const time = new Date(options.wallMs()).toISOString();
      if (json) write(jsonLine({ ...fields, event: "log", time, level, message }));
      else write(`${time} ${level.padEnd(5)} ${printable(message, VALUE_MAX)}${textOf(fields)}\n`);
    },
  };
}

/** " name=value name="two words"". */
function textOf(fields: Readonly<Record<string, unknown>>): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}=${valueOf(value)}`)
    .join("");
}

function valueOf(value: unknown): string {
  const isObject = typeof value === "object" && value !== null && !(value instanceof Error);
  const text = isObject ? jsonLine({ value }).slice('{"value":'.length, -2) : String(value);
  const shown = printable(text, VALUE_MAX);
  return /^[^\s"=]+$/.test(shown) ? shown : `"${shown.replaceAll('"', '\\"')}"`;
}
