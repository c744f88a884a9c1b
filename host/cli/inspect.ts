/** `baton inspect`: a blob as text or JSON. Parses and dispatches; must not know the format. */
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { BatonError } from "../errors.ts";

export function addInspect(program: Command): void {
  program
    .command("inspect")
    .summary("print a blob")
    .description("prints a compiled connection for a person, or as JSON")
    .argument("<FILE>", "a blob")
    .option("--json", "one JSON object")
    .action(async (file: string, flags: { json?: boolean }) => {
      const { blobJson, formatBlob, readBlob } = await import("../observe/blob.ts");
      const report = readBlob(readFileSync(file));
      if ("fault" in report) throw new BatonError("ERR_BATON_BLOB", `${file}: ${report.fault}`);
      // Shown all the same, but nothing would take such a blob.
      if (report.sums !== "ok") {
        process.stderr.write(`baton: ${file}: the ${report.sums} checksum does not match\n`);
        process.exitCode = 1;
      }
      process.stdout.write(flags.json === true ? blobJson(report) : formatBlob(report));
    });
}
