/** `baton down`: removes what outlives the daemons. Parses and dispatches; must not know how it is done. */
import type { Command } from "commander";

export function addDown(program: Command): void {
  program
    .command("down")
    .summary("remove the devices, routes and proxy entries that outlive the daemons")
    .description(
      "removes Baton's devices, routes and proxy entries from this network namespace and restores " +
        "the kernel's settings; a node that still runs loses its device",
    )
    .action(async () => {
      const { removeAll } = await import("../linux/setup.ts");
      const names = removeAll();
      process.stdout.write(`removed ${names.length === 0 ? "no device" : names.join(", ")}\n`);
    });
}
