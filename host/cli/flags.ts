/** Flags of a schema as commander's options, and back. Knows commander; must not know single flags. */
import { InvalidArgumentError, Option } from "commander";
import type { Command } from "commander";
import type { FlagInput, Schema } from "../config/schema.ts";

export function addFlags(command: Command, schema: Schema): Command {
  for (const [name, flag] of Object.entries(schema)) command.addOption(optionOf(name, flag));
  return command;
}

/** What was given on the command line, by flag name. */
export function flagInput(command: Command, schema: Schema): FlagInput {
  const values: Record<string, unknown> = command.opts();
  const entries = Object.entries(schema).map(([name, flag]) => {
    return [name, values[optionOf(name, flag).attributeName()]];
  });
  return Object.fromEntries(entries) as FlagInput;
}

function optionOf(name: string, flag: Schema[string]): Option {
  if (flag.kind === "switch") return new Option(`--${name}`, flag.help);
  const isMany = flag.kind === "many";
  const help = isMany ? `${flag.help} (repeatable)` : flag.help;
  const collect = (text: string, before: string[] | undefined): string[] => [
    ...(before ?? []),
    text,
  ];
  const once = (text: string, before: string | undefined): string => {
    if (before !== undefined) throw new InvalidArgumentError("It stands twice.");
    return text;
  };
  const option = new Option(`--${name} <${flag.form}>`, help);
  return isMany ? option.argParser(collect) : option.argParser(once);
}
