/**
 * The `baton` program without its commands, and how it runs. Knows commander's settings; must not know
 * any command.
 */
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { reportEnding } from "./exit.ts";
import { ignoreBrokenPipes } from "./process.ts";

/** Commands made by `program.command(...)` inherit these settings. */
export function newProgram(): Command {
  const program = new Command("baton");
  program
    .description("TCP load balancer that routes at layer 7 and hands the live connection over")
    .version(version(), "--version", "print the version")
    .helpOption("--help", "print help")
    .helpCommand(false)
    .allowExcessArguments(false)
    .option("--verbose", "print the stack of an error")
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ writeErr: () => {} }) // reportEnding says it, in one line
    .exitOverride();
  return program;
}

/** Parses and dispatches; the process ends by itself when nothing is left to do. */
export async function runProgram(program: Command, argv: readonly string[]): Promise<void> {
  ignoreBrokenPipes();
  const isVerbose = (): boolean => program.opts()["verbose"] === true;
  const onError = (error: unknown): void => {
    reportEnding(error, isVerbose());
    process.exit();
  };
  process.on("uncaughtException", onError);
  process.on("unhandledRejection", onError);
  try {
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    // A command that fails has cleaned up; what it left open must not keep the process.
    onError(error);
  }
}

/** Of the package this file belongs to, built or installed. */
function version(): string {
  const path = new URL("../../../package.json", import.meta.url);
  const content = JSON.parse(readFileSync(path, "utf8")) as { version: string };
  return content.version;
}
