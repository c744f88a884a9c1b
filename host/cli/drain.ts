/** `baton drain`, `baton undrain`. Parses and dispatches; must not know how connections move. */
import type { Command } from "commander";
import { parseDuration, parseName, parsePath } from "../config/values.ts";
import { within } from "../config/schema.ts";

const TIMEOUT_MS_MAX = 86_400_000;

interface Flags {
  readonly control?: string;
  readonly wait?: boolean;
  readonly timeout?: number;
  readonly json?: boolean;
}

export function addDrain(program: Command): void {
  const command = program.command("drain").summary("move a backend's connections to the others");
  command
    .description(
      "tells a backend to take nothing more and to move everything to others of its pool",
    )
    .option("--wait", "also for connections that cannot move, until they end")
    .option(
      "--timeout <TIME>",
      "give up waiting after this (default: 30s, with --wait never)",
      (text) => within("--timeout", () => parseDuration(text, 1, TIMEOUT_MS_MAX)),
    );
  addCommon(command, false);
}

export function addUndrain(program: Command): void {
  const command = program.command("undrain").summary("let a backend take connections again");
  addCommon(command.description("ends a drain; what has moved stays where it is"), true);
}

function addCommon(command: Command, undo: boolean): void {
  command
    .argument("<BACKEND>", "its name")
    .option("--control <PATH>", "the forwarder's socket", (text) =>
      within("--control", () => parsePath(text)),
    )
    .option("--json", "print JSON lines")
    .action(async (name: string, { control, wait, timeout, json }: Flags) => {
      const backend = within("BACKEND", () => parseName(name));
      const { drain } = await import("../daemon/drain.ts");
      const options = { backend, undo, control, wait: wait === true, json: json === true };
      process.exitCode = await drain({ ...options, timeoutMs: timeout }, (text) =>
        process.stdout.write(text),
      );
    });
}
