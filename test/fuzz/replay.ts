/** `node build/test/fuzz/replay.js HEX...`: plays programs of the core's fuzzer again, and tells where one breaks a rule. */
import { play } from "./program.ts";

for (const hex of process.argv.slice(2)) {
  try {
    process.stdout.write(`${play("debug", hex).toString(16)}  ${hex}\n`);
  } catch (error) {
    process.stdout.write(`${hex}\n${(error as Error).stack ?? ""}\n`);
    process.exitCode = 1;
  }
}
