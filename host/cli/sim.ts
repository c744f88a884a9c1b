/** `baton sim`: seeds through the simulator. Parses and dispatches; must not know what a run does. */
import type { Command } from "commander";
import { parseCount } from "../config/values.ts";
import { within } from "../config/schema.ts";

const SEED_MAX = 2 ** 32 - 1;

export function addSim(program: Command): void {
  program
    .command("sim")
    .summary("run a whole cluster in one process, on a simulated network")
    .description("checks the invariants over seeded faults; a seed replays exactly")
    .option("--seed <N>", "the first seed (default: 1)")
    .option("--seeds <COUNT>", "how many seeds (default: 1)")
    .option("--json", "one JSON line for each seed")
    .action(async (flags: { seed?: string; seeds?: string; json?: boolean }) => {
      const first = within("--seed", () => parseCount(flags.seed ?? "1", 0, SEED_MAX));
      const count = within("--seeds", () => parseCount(flags.seeds ?? "1", 1, SEED_MAX));
      const { simulate } = await import("../daemon/sim.ts");
      process.exitCode = simulate(first, count, flags.json === true) ? 0 : 1;
    });
}
