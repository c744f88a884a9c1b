/**
 * How a command ends: one line on stderr and an exit status. Knows errors' codes; must not know commands.
 * 0 done; 1 failed; 2 usage; 77 a privilege or a kernel facility is missing.
 */
import { CommanderError } from "commander";
import { BatonError } from "../errors.ts";
import { isUnavailable } from "../linux/errno.ts";

export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
export const EXIT_UNAVAILABLE = 77;

const USAGE_CODES: ReadonlySet<string> = new Set([
  "ERR_BATON_USAGE",
  "ERR_BATON_CONFIG",
  "ERR_BATON_ROUTE",
]);

export interface Ending {
  readonly status: number;
  /** Without the "baton: " in front; empty: say nothing. */
  readonly line: string;
}

export function endingOf(error: unknown): Ending {
  if (error instanceof CommanderError) return usageEnding(error);
  const line = oneLine(error instanceof Error ? error.message : String(error));
  if (error instanceof BatonError) return { status: statusOf(error), line };
  // Errors of the system carry a code and a message that speaks for itself; the rest are our bugs.
  if (error instanceof Error && !("code" in error)) {
    return { status: EXIT_FAILED, line: `internal error: ${error.name}: ${line}` };
  }
  return { status: EXIT_FAILED, line };
}

/** Prints the line (the stack too where asked for) and sets the exit status. */
export function reportEnding(error: unknown, verbose: boolean): void {
  const { status, line } = endingOf(error);
  if (line !== "") process.stderr.write(`baton: ${line}\n`);
  const hasStack = error instanceof Error && !(error instanceof CommanderError) && error.stack;
  if (verbose && hasStack) process.stderr.write(`${error.stack}\n`);
  process.exitCode = status;
}

function statusOf(error: BatonError): number {
  if (USAGE_CODES.has(error.code)) return EXIT_USAGE;
  const isMissing = isUnavailable(error) || error.code.endsWith("_UNAVAILABLE");
  return isMissing ? EXIT_UNAVAILABLE : EXIT_FAILED;
}

/** commander has printed what --help and --version asked for. */
function usageEnding(error: CommanderError): Ending {
  if (error.exitCode === 0) return { status: 0, line: "" };
  if (error.code === "commander.help") {
    return { status: EXIT_USAGE, line: "expected a command, got none; see baton --help" };
  }
  return { status: EXIT_USAGE, line: oneLine(error.message.replace(/^error: /, "")) };
}

function oneLine(message: string): string {
  return message.replace(/\s*\n\s*/g, " ");
}
