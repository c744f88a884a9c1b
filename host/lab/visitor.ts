/**
 * The demo's client as a process: kernel TCP, one connection for each visit. Reads VisitorOptions as one
 * JSON line from its standard input and prints one line for each visit.
 */
import { runAsScript, say } from "./script.ts";
import { makeVisit, type VisitorOptions } from "./visit.ts";

export type { Answer, Ask, Visit, VisitorOptions, VisitResult } from "./visit.ts";

runAsScript(import.meta.url, async (options: VisitorOptions) => {
  for (const visit of options.visits) say(await makeVisit(visit, options));
});
