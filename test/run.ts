/**
 * Runs every test file in a process of its own and closes with `N passed, N failed`.
 *
 *   node build/test/run.js [--only PATTERN] [--skip PATTERN] [--list] [--folder DIR]
 *
 * A file fails when it has no test, forgets `.run()`, exits with an error, or outlives its time limit.
 * A line `SKIP reason` on a test's output counts as a named skip. Files under test/lab own the machine's
 * network namespaces and run one after the other; the rest run side by side.
 */
import { spawn } from "node:child_process";
import { readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = option("--folder") ?? dirname(fileURLToPath(import.meta.url));
/** Far more than any file takes: it only ends what hangs, also on a busy machine. */
const FILE_LIMIT_MS = 300_000;
/** With BATON_FULL=1 a file on the lab moves whole GiBs. */
const LAB_FILE_LIMIT_MS = process.env["BATON_FULL"] === "1" ? 900_000 : FILE_LIMIT_MS;

interface Outcome {
  file: string;
  passed: number;
  failed: number;
  skips: string[];
  ms: number;
  /** Why the file as a whole failed; empty when it did not. */
  complaint: string;
  output: string;
}

await main();

async function main(): Promise<void> {
  const only = option("--only");
  const skip = option("--skip");
  const files = testFiles(HERE)
    .map((path) => relative(HERE, path))
    .filter((file) => (only ? file.includes(only) : true) && !(skip && file.includes(skip)))
    .sort();
  if (process.argv.includes("--list")) {
    process.stdout.write(files.join("\n") + "\n");
    return;
  }
  sweep();
  const isLab = (file: string) => file.startsWith("lab/");
  const outcomes = await runAll(
    files.filter((file) => !isLab(file)),
    availableParallelism(),
  );
  outcomes.push(...(await runAll(files.filter(isLab), 1)));
  summarise(outcomes);
}

/** Removes folders of tests whose process was killed: they carry its number, and nobody has it any more. */
function sweep(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = Number(/^baton-(?:[a-z]+-)?(\d+)-\w{6}$/.exec(name)?.[1]);
    if (pid > 0 && !isAlive(pid)) rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH"; // EPERM: it is another user's.
  }
}

function option(name: string): string | undefined {
  const index = process.argv.indexOf(name);
  return index < 0 ? undefined : process.argv[index + 1];
}

function testFiles(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return testFiles(path);
    return name.endsWith(".test.js") ? [path] : [];
  });
}

async function runAll(files: string[], width: number): Promise<Outcome[]> {
  const queue = [...files];
  const outcomes: Outcome[] = [];
  const worker = async (): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const outcome = await runFile(file);
      report(outcome);
      outcomes.push(outcome);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  return outcomes;
}

function runFile(file: string): Promise<Outcome> {
  const started = Date.now();
  const limitMs = file.startsWith("lab/") ? LAB_FILE_LIMIT_MS : FILE_LIMIT_MS;
  const path = join(HERE, file);
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ["--enable-source-maps", path], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" },
    });
    let output = "";
    let timedOut = false;
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill("SIGKILL");
    }, limitMs);
    child.on("close", (status, signal) => {
      clearTimeout(timer);
      const total = count(output, "Total");
      const passed = count(output, "Passed");
      const skips = [...output.matchAll(/^.*\bSKIP (.+)$/gm)].map((match) => match[1] ?? "");
      let complaint = "";
      if (timedOut) complaint = `took longer than ${limitMs / 1000} s`;
      else if (!readFileSync(path, "utf8").includes(".run()")) complaint = "forgets to call .run()";
      else if (total === 0) complaint = "contains no test";
      else if (status !== 0 && total === passed) complaint = `ended with ${signal ?? status}`;
      const failed = total - passed + (complaint ? 1 : 0);
      resolve({ file, passed, failed, skips, ms: Date.now() - started, complaint, output });
    });
  });
}

/** Sums uvu's own closing lines, one block for each suite. */
function count(output: string, word: "Total" | "Passed"): number {
  const lines = output.matchAll(new RegExp(`^\\s+${word}:\\s+(\\d+)\\s*$`, "gm"));
  return [...lines].reduce((sum, match) => sum + Number(match[1]), 0);
}

function report(outcome: Outcome): void {
  const mark = outcome.failed === 0 ? "ok  " : "FAIL";
  const seconds = (outcome.ms / 1000).toFixed(1).padStart(6);
  process.stdout.write(`${mark} ${seconds} s  ${outcome.file}  (${outcome.passed})\n`);
  for (const skip of outcome.skips) process.stdout.write(`       skipped: ${skip}\n`);
  if (outcome.failed === 0) return;
  process.stdout.write(outcome.output.replace(/^/gm, "     | ") + "\n");
  if (outcome.complaint) process.stdout.write(`     | ${outcome.file} ${outcome.complaint}\n`);
}

function summarise(outcomes: Outcome[]): void {
  const sum = (pick: (outcome: Outcome) => number) => outcomes.reduce((n, o) => n + pick(o), 0);
  let failed = sum((outcome) => outcome.failed);
  const passed = sum((outcome) => outcome.passed);
  if (passed + failed === 0) {
    process.stdout.write("no test was found\n");
    failed = 1;
  }
  const skipped = sum((outcome) => outcome.skips.length);
  const tail = skipped > 0 ? `, ${skipped} skipped` : "";
  process.stdout.write(`\n${passed} passed, ${failed} failed${tail}\n`);
  process.exitCode = failed === 0 ? 0 : 1;
}
