/** `baton doctor`: what works on this machine. Parses and dispatches; must not know what is looked at. */
import type { Command } from "commander";
import { EXIT_UNAVAILABLE } from "./exit.ts";

export function addDoctor(program: Command): void {
  program
    .command("doctor")
    .summary("say which links and features work here, and why others do not")
    .description(
      "tries on this machine what a node needs, and leaves nothing behind; exit status 77 when no " +
        "node can run here",
    )
    .option("--json", "one JSON object")
    .action(async (flags: { json?: boolean }) => {
      const { examine, isFit } = await import("../doctor/examine.ts");
      const { findingsJson, formatFindings } = await import("../doctor/show.ts");
      const { thisMachine } = await import("../doctor/system.ts");
      const findings = examine(thisMachine());
      process.stdout.write(flags.json === true ? findingsJson(findings) : formatFindings(findings));
      if (!isFit(findings)) process.exitCode = EXIT_UNAVAILABLE;
    });
}
