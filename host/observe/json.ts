/** One JSON object a line, for machines. Knows JSON; must not know what is told. */

/** Ends with a newline. Whole numbers that a double cannot hold, and all bigints above, come as text. */
export function jsonLine(fields: Readonly<Record<string, unknown>>): string {
  return JSON.stringify(fields, replaced) + "\n";
}

function replaced(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") {
    const isSafe = value <= Number.MAX_SAFE_INTEGER && value >= Number.MIN_SAFE_INTEGER;
    return isSafe ? Number(value) : String(value);
  }
  if (value instanceof Error) return value.message;
  return value;
}
