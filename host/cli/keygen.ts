/** `baton keygen`: a fresh cluster key. Parses and dispatches; must not know what a key looks like. */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { Command } from "commander";
import { DEFAULT_KEY_FILE } from "../config/flags.ts";

const STDOUT = "-";
const OWNER_ONLY = 0o700;

export function addKeygen(program: Command): void {
  program
    .command("keygen")
    .summary("write a fresh cluster key")
    .description("writes a fresh cluster key to a new file that only its owner can read")
    .argument("[FILE]", `a file that does not exist yet, - for standard output`, DEFAULT_KEY_FILE)
    .action(async (file: string) => {
      const { generateKey, writeKeyFile } = await import("../config/key.ts");
      if (file === STDOUT) {
        process.stdout.write(generateKey());
        return;
      }
      if (file === DEFAULT_KEY_FILE) makeFolder(dirname(file));
      writeKeyFile(file);
      process.stdout.write(`wrote ${file}\n`);
    });
}

/** What stands in the way shows when the file is written. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: OWNER_ONLY });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EEXIST" && code !== "EACCES" && code !== "EROFS") throw error;
  }
}
