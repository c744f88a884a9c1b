/**
 * The inner end of a process that peers.ts or a test runs on a node of the lab: one JSON line comes in, JSON
 * lines go out. Knows standard input and output; must not know what the script does.
 */
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/**
 * Where `url` is the program that was started: `run` gets what the line says, and the process ends with it, with
 * status 1 and the error on standard error when it fails. Imported by others the same file does nothing.
 */
export function runAsScript<Input>(url: string, run: (input: Input) => Promise<void> | void): void {
  if (process.argv[1] !== fileURLToPath(url)) return;
  const lines = createInterface({ input: process.stdin });
  lines.once("line", (line) => {
    lines.close();
    endWith((async () => run(JSON.parse(line) as Input))());
  });
}

/** The process ends with its work, with status 1 and the error on standard error when that fails. */
export function endWith(work: Promise<void>): void {
  void work.then(
    () => process.exit(0),
    (error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exit(1);
    },
  );
}

/** One line of output. */
export function say(line: unknown): void {
  process.stdout.write(JSON.stringify(line) + "\n");
}
