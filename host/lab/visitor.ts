/**
 * The demo's client as a process: kernel TCP, one connection for each visit. Reads VisitorOptions as one
 * JSON line from its standard input and prints one line for each visit.
 */
import { createInterface } from "node:readline";
import { makeVisit, type VisitorOptions } from "./visit.ts";

export type { Answer, Ask, Visit, VisitorOptions, VisitResult } from "./visit.ts";

const lines = createInterface({ input: process.stdin });
lines.once("line", (line) => {
  void run(JSON.parse(line) as VisitorOptions).then(() => process.exit(0));
});

async function run(options: VisitorOptions): Promise<void> {
  for (const visit of options.visits) {
    const result = await makeVisit(visit, options);
    process.stdout.write(JSON.stringify(result) + "\n");
  }
}
