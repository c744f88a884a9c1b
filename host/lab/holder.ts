/**
 * The background process of `baton lab up`: holds the lab until SIGTERM. Usage: holder JSON. Must not
 * know who asks.
 */
import { writeSync } from "node:fs";
import { BatonError } from "../errors.ts";
import type { HolderReply, LabUpOptions } from "./command.ts";
import { LabUnavailable, openLab, type OwnLab } from "./lab.ts";
import { removeState, writeState } from "./state.ts";

const STDOUT = 1;
process.chdir("/"); // The lab outlives its caller: it must not keep a folder busy.
const options = JSON.parse(process.argv[2] ?? "{}") as LabUpOptions;
const stopped = new Promise<string>((resolve) => {
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, resolve);
});
process.exitCode = await run();

async function run(): Promise<number> {
  let lab: OwnLab | undefined;
  try {
    lab = await openLab(options);
    for (const { path, ...impairment } of options.impair ?? []) {
      await lab.middlebox(path, impairment);
    }
    writeState(options.name, lab.address);
    say({ holding: true });
  } catch (error) {
    await lab?.close();
    const code = error instanceof BatonError ? error.code : "ERR_BATON_LAB";
    const message = error instanceof Error ? error.message : String(error);
    say({ error: { code, message, isUnavailable: error instanceof LabUnavailable } });
    return 1;
  }
  await Promise.race([stopped, lab.ended]);
  await lab.close();
  removeState(options.name);
  return 0;
}

/** Once: whoever started us reads one line and goes. */
function say(reply: HolderReply): void {
  writeSync(STDOUT, JSON.stringify(reply) + "\n");
}
