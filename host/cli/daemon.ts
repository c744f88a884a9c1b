/** The commands that run a node until a signal: parse, check, dispatch. */
import type { Command } from "commander";
import { backendConfig, classifierConfig, forwarderConfig } from "../config/config.ts";
import type { BackendConfig, ClassifierConfig, ForwarderConfig } from "../config/config.ts";
import { BACKEND_FLAGS, CLASSIFIER_FLAGS, FORWARDER_FLAGS } from "../config/flags.ts";
import type { FlagInput, Schema } from "../config/schema.ts";
import { addFlags, flagInput } from "./flags.ts";
import { DAEMON_SIGNALS, stopSignal } from "./process.ts";

/** Runs until `stop` is aborted and has cleaned up when its promise settles. */
export type Daemon<C> = (config: C, stop: AbortSignal) => Promise<void>;

/** Imports the room that runs it: only when the command is really given, so that --help is quick. */
export type Load<C> = () => Promise<Daemon<C>>;

export function addForwarder(program: Command, load: Load<ForwarderConfig>): void {
  const summary = "receive a service's packets, accept, decide, hand over";
  addDaemon(program.command("forwarder").summary(summary), FORWARDER_FLAGS, forwarderConfig, load);
}

export function addClassifier(program: Command, load: Load<ClassifierConfig>): void {
  const summary = "read requests for a forwarder, on a node of its own";
  const command = program.command("classifier").summary(summary);
  addDaemon(command, CLASSIFIER_FLAGS, classifierConfig, load);
}

export function addBackend(program: Command, load: Load<BackendConfig>): void {
  const summary = "take connections over and splice them to a server";
  addDaemon(program.command("backend").summary(summary), BACKEND_FLAGS, backendConfig, load);
}

function addDaemon<C>(
  command: Command,
  schema: Schema,
  check: (input: FlagInput) => C,
  load: Load<C>,
): void {
  command.description(`${command.summary()}; runs until SIGINT or SIGTERM`);
  addFlags(command, schema);
  command.action(async () => {
    const config = check(flagInput(command, schema));
    const stop = stopSignal(DAEMON_SIGNALS);
    process.on("SIGHUP", () => undefined); // What comes before it runs needs no answer: it reads its keys then.
    const run = await load();
    await run(config, stop);
  });
}
