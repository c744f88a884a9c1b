/**
 * Breaks the product on purpose and shows that the simulator objects: `npm run sim:mutants`. Each mutant is the built
 * product with one source file changed and compiled again, in a folder of its own.
 *
 *   node build/test/sim/mutants.js [--only PATTERN] [--seed N] [--seeds COUNT]
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import ts from "typescript";
import { MUTATIONS, type Mutation } from "./mutations.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const SEEDS = 60;
const LIMIT_MS = 600_000;

interface Outcome {
  readonly isCaught: boolean;
  readonly text: string;
}

/** The source with the break in it. @throws Error when the table no longer fits the source */
export function mutate(mutation: Mutation): string {
  let source = readFileSync(join(ROOT, mutation.file), "utf8");
  for (const [from, to] of mutation.replace) {
    const parts = source.split(from);
    if (parts.length !== 2) {
      const times = `${parts.length - 1} times: ${JSON.stringify(from)}`;
      throw new Error(`${mutation.file}: expected once, found ${times}`);
    }
    source = parts.join(to);
  }
  return source;
}

/** A copy of the built product in `home`, with the break in it. */
function build(mutation: Mutation, home: string): void {
  const source = mutate(mutation);
  cpSync(join(ROOT, "package.json"), join(home, "package.json"));
  symlinkSync(join(ROOT, "node_modules"), join(home, "node_modules"));
  cpSync(join(ROOT, "build", "host"), join(home, "build", "host"), { recursive: true });
  if (mutation.file.startsWith("host/")) {
    cpSync(join(ROOT, "build", "core.wasm"), join(home, "build", "core.wasm"));
    const text = ts.readConfigFile(join(ROOT, "tsconfig.json"), (path) =>
      readFileSync(path, "utf8"),
    );
    const parsed = ts.parseJsonConfigFileContent(text.config, ts.sys, ROOT);
    const plain = { sourceMap: false, declaration: false, module: ts.ModuleKind.ESNext };
    const compilerOptions = { ...parsed.options, ...plain };
    const { outputText } = ts.transpileModule(source, { compilerOptions, fileName: mutation.file });
    writeFileSync(join(home, "build", mutation.file.replace(/\.ts$/, ".js")), outputText);
    return;
  }
  cpSync(join(ROOT, "assembly"), join(home, "assembly"), { recursive: true });
  writeFileSync(join(home, mutation.file), source);
  const asc = join(ROOT, "node_modules", "assemblyscript", "bin", "asc.js");
  const { options } = JSON.parse(readFileSync(join(ROOT, "asconfig.json"), "utf8")) as {
    options: { memoryBase: number; initialMemory: number; maximumMemory: number };
  };
  const memory = Object.entries(options).flatMap(([name, value]) =>
    typeof value === "number" ? [`--${name}`, String(value)] : [],
  );
  // -O1 takes a quarter of the time of a release; what it computes is the same.
  const flags = ["--runtime", "stub", "--enable", "simd", "--use", "abort=", "-O1", ...memory];
  const args = [asc, "assembly/index.ts", "--config", "none", ...flags];
  run(process.execPath, [...args, "--outFile", "build/core.wasm"], home);
}

function run(command: string, args: readonly string[], home: string): string {
  const result = spawnSync(command, args, { cwd: home, encoding: "utf8", timeout: LIMIT_MS });
  if (result.error) throw result.error;
  if (result.status !== 0) throw new Error(`${args.join(" ")}:\n${result.stdout}${result.stderr}`);
  return result.stdout;
}

export function judge(mutation: Mutation, first: number, seeds: number): Outcome {
  const home = mkdtempSync(join(tmpdir(), `baton-mutant-${process.pid}-`));
  try {
    build(mutation, home);
    const main = join(home, "build", "host", "cli", "main.js");
    let unsound = "";
    for (let from = first; from < first + seeds;) {
      const failure = firstFailure(main, mutation, from, first + seeds - from);
      if (typeof failure === "string") return { isCaught: false, text: `${failure}${unsound}` };
      const { seed, problem } = failure;
      const text = `seed ${seed}: ${problem}`;
      // A seed that the product fails as well says nothing: the next ones may.
      if (isSound(mutation, seed)) return { isCaught: mutation.expect.test(problem), text };
      unsound += `; the product fails ${seed}, too`;
      from = seed + 1;
    }
    return { isCaught: false, text: `${seeds} seeds${unsound}` };
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

/** The first seed that fails, or why there is none. */
function firstFailure(
  main: string,
  mutation: Mutation,
  first: number,
  seeds: number,
): { seed: number; problem: string } | string {
  const range = ["--seed", String(first), "--seeds", String(seeds), "--stop", "--json"];
  const args = [main, "sim", ...range, ...mutation.flags.split(" ")];
  const { stdout, stderr, error } = spawnSync(process.execPath, args, {
    encoding: "utf8",
    timeout: LIMIT_MS,
    maxBuffer: 1 << 28,
  });
  if (error) return error.message;
  const last = JSON.parse(stdout.trim().split("\n").at(-1) || "{}") as Partial<LastLine>;
  const problem = last.problems?.[0];
  if (problem === undefined || last.seed === undefined) return stderr || `${seeds} seeds passed`;
  return { seed: last.seed, problem };
}

interface LastLine {
  readonly seed: number;
  readonly problems: readonly string[];
}

/** The product itself passes the seed that the mutant fails. */
function isSound(mutation: Mutation, seed: number): boolean {
  const main = join(ROOT, "build", "host", "cli", "main.js");
  const args = [main, "sim", "--seed", String(seed), ...mutation.flags.split(" ")];
  return spawnSync(process.execPath, args, { timeout: LIMIT_MS }).status === 0;
}

function main(): void {
  const { values } = parseArgs({
    options: { only: { type: "string" }, seed: { type: "string" }, seeds: { type: "string" } },
  });
  const first = Number(values.seed ?? 1);
  const seeds = Number(values.seeds ?? SEEDS);
  let [caught, survived] = [0, 0];
  for (const mutation of MUTATIONS) {
    if (values.only !== undefined && !new RegExp(values.only).test(mutation.name)) continue;
    const { isCaught, text } = judge(mutation, first, seeds);
    if (isCaught) caught++;
    else survived++;
    process.stdout.write(
      `${isCaught ? "caught  " : "SURVIVED"}  ${mutation.name}\n          ${text}\n`,
    );
  }
  process.stdout.write(`${caught} caught, ${survived} survived\n`);
  process.exitCode = survived === 0 && caught > 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
