/**
 * Coverage-guided fuzzing of the core: assembly/fuzz without SIMD, as C by wasm2c, under libFuzzer. Needs clang with its
 * libFuzzer, wabt and setarch; a named skip where one is missing. Programs stand in test/fixtures/fuzz-core.txt, in hex.
 *
 *   node tools/fuzzcore.mjs [--seconds 60 | --programs COUNT] [--update] [--seed N]
 *
 * Exit status 1 when a program breaks a rule: it is printed, and node build/test/fuzz/replay.js HEX plays it again.
 * --update writes the programs that reach anything new back, as few and as short as libFuzzer makes them.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
const HOME = join(ROOT, "build", "fuzz");
const FIXTURE = join(ROOT, "test", "fixtures", "fuzz-core.txt");
const RUNTIME = "/usr/share/wabt/wasm2c";
/** Longest program that is tried: some dozen steps. */
const PROGRAM_BYTES_MAX = 1200;
/** No program takes a thousandth of it, also where others have the processor: a hang. */
const PROGRAM_SECONDS_MAX = 60;

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    /** So many instead, kept ones included: the same ones again under the same seed. */
    programs: { type: "string" },
    seed: { type: "string", default: "0" },
    update: { type: "boolean", default: false },
  },
});

const reason = missing();
if (reason === undefined) main();
else process.stdout.write(`SKIP fuzz:core: ${reason}\n`);

function missing() {
  for (const program of ["clang", "wasm2c", "setarch"]) {
    if (spawnSync(program, ["--version"]).error) return `${program} is not there`;
  }
  if (!existsSync(join(RUNTIME, "wasm-rt-impl.c"))) return `${RUNTIME} is not there`;
  mkdirSync(HOME, { recursive: true });
  const probe = join(HOME, "probe.c");
  writeFileSync(probe, "int LLVMFuzzerTestOneInput(const char *d, long n) { return 0; }\n");
  const args = ["-w", "-fsanitize=fuzzer", probe, "-o", join(HOME, "probe")];
  return spawnSync("clang", args).status === 0 ? undefined : "clang has no libFuzzer";
}

function main() {
  build();
  // Programs that earlier runs found would make another run of one that is to be the same again.
  const corpus = join(HOME, values.programs === undefined ? "corpus" : "corpus.again");
  if (values.programs !== undefined) rmSync(corpus, { recursive: true, force: true });
  fill(corpus);
  const started = readdirSync(corpus).length;
  const bound =
    values.programs === undefined
      ? `-max_total_time=${Number(values.seconds)}`
      : `-runs=${Number(values.programs)}`;
  const flags = [
    bound,
    `-seed=${Number(values.seed)}`,
    `-max_len=${PROGRAM_BYTES_MAX}`,
    `-timeout=${PROGRAM_SECONDS_MAX}`,
    `-artifact_prefix=${HOME}/`,
    "-len_control=40",
    "-print_final_stats=1",
  ];
  clear(/^(crash|timeout|oom|slow-unit)-/);
  // Coverage tables go by addresses: another place in memory would make another search of the same seed.
  const still = ["--addr-no-randomize", join(HOME, "core"), corpus, ...flags];
  const { status, stderr } = spawnSync("setarch", still, { encoding: "utf8", maxBuffer: 1 << 28 });
  const edges = /.*\bcov: (\d+)/s.exec(stderr)?.[1] ?? "?";
  const count = /number_of_executed_units: (\d+)/.exec(stderr)?.[1] ?? "?";
  const found = readdirSync(corpus).length - started;
  process.stdout.write(`${count} programs, ${edges} edges, ${found} new of ${started}\n`);
  if (status !== 0) report(stderr);
  else if (values.update) update(corpus);
}

/** asc, wasm2c, clang: some ten seconds. */
function build() {
  const asc = join(ROOT, "node_modules", "assemblyscript", "bin", "asc.js");
  const out = (name) => join(HOME, name);
  run(process.execPath, [
    asc,
    "assembly/fuzz/index.ts",
    "--target",
    "baseline",
    "--outFile",
    out("core.wasm"),
  ]);
  run("wasm2c", [out("core.wasm"), "-o", out("core.c")]);
  const own = join(ROOT, "test", "fuzz");
  const trap = ["-DWASM_RT_TRAP_HANDLER=baton_trap", "-include", join(own, "trap.h")];
  const flags = ["-O1", "-g1", "-w", `-I${RUNTIME}`, `-I${HOME}`];
  run("clang", [...flags, "-fsanitize=fuzzer-no-link", "-c", out("core.c"), "-o", out("core.o")]);
  const sources = [join(RUNTIME, "wasm-rt-impl.c"), join(own, "core.c")];
  run("clang", [
    ...flags,
    ...trap,
    "-fsanitize=fuzzer",
    ...sources,
    out("core.o"),
    "-lm",
    "-o",
    out("core"),
  ]);
}

function run(command, args) {
  const { status, error, stderr } = spawnSync(command, args, { cwd: ROOT, encoding: "utf8" });
  if (status === 0) return;
  process.stderr.write(`${command} ${args.join(" ")}: ${error?.message ?? stderr}\n`);
  process.exit(1);
}

/** One file for each program of the fixture, beside those that an earlier run found. */
function fill(corpus) {
  mkdirSync(corpus, { recursive: true });
  programs().forEach((hex, at) =>
    writeFileSync(join(corpus, `fixture-${at}`), Buffer.from(hex, "hex")),
  );
}

function programs() {
  return lines().filter((line) => line !== "" && !line.startsWith("#"));
}

function lines() {
  return existsSync(FIXTURE) ? readFileSync(FIXTURE, "utf8").split("\n") : [];
}

function clear(pattern) {
  for (const name of readdirSync(HOME)) if (pattern.test(name)) rmSync(join(HOME, name));
}

function report(stderr) {
  process.stdout.write(`${stderr.split("\n").slice(-40).join("\n")}\n`);
  for (const name of readdirSync(HOME)) {
    if (!/^(crash|timeout|oom)-/.test(name)) continue;
    const hex = readFileSync(join(HOME, name)).toString("hex");
    process.stdout.write(`${name}: again with node build/test/fuzz/replay.js ${hex}\n`);
  }
  process.exitCode = 1;
}

/** What stands above the first program stays: comments, and programs with a name. */
function update(corpus) {
  const merged = join(HOME, "merged");
  rmSync(merged, { recursive: true, force: true });
  mkdirSync(merged);
  // One program for each edge, whatever else it is the first to do: the file stays small.
  const flags = ["-merge=1", "-use_counters=0", `-max_len=${PROGRAM_BYTES_MAX}`];
  run(join(HOME, "core"), [...flags, merged, corpus]);
  const kept = readdirSync(merged).map((name) => readFileSync(join(merged, name)).toString("hex"));
  kept.sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
  const text = lines();
  const end = text.indexOf("# found by coverage");
  const head = end < 0 ? [] : text.slice(0, end);
  writeFileSync(FIXTURE, [...head, "# found by coverage", ...kept, ""].join("\n"));
  rmSync(corpus, { recursive: true, force: true });
  process.stdout.write(`${kept.length} programs written\n`);
}
