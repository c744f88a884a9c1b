/**
 * Installs the runtimes that the core is tested in and that npm or Debian have: Deno and Bun to build/runtimes, with
 * the tools that judge the package; wabt, gcc and Chromium by apt-get where this process may. What cannot be had is said and skipped: the tests
 * name it again.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
const FOLDER = join(ROOT, "build", "runtimes");
/** The packages that hold the binaries: the ones that everybody names would fetch them by an install script. */
const PACKAGES = {
  x64: ["@deno/linux-x64-glibc@2.9.6", "@oven/bun-linux-x64-baseline@1.4.5"],
  arm64: ["@deno/linux-arm64-glibc@2.9.6", "@oven/bun-linux-aarch64@1.4.5"],
};
/** What judges the package; no dependencies of the project, for only these tests use them. */
const JUDGES = ["publint@0.3.25", "@arethetypeswrong/cli@0.18.5", "esbuild-wasm@0.28.2"];
const PROGRAMS = [
  ["wasm2c", "wabt"],
  ["gcc", "gcc"],
  ["make", "make"],
  ["awk", "mawk"],
  ["chromium", "chromium"],
];

fromNpm();
fromDebian();

function fromNpm() {
  const runtimes = (process.platform === "linux" ? PACKAGES[process.arch] : undefined) ?? [];
  if (runtimes.length === 0) say(`Deno and Bun: not for ${process.platform} ${process.arch}`);
  mkdirSync(FOLDER, { recursive: true });
  const flags = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  run(
    "npm",
    ["install", "--prefix", FOLDER, ...flags, ...runtimes, ...JUDGES],
    "Deno, Bun, publint, attw, esbuild",
  );
}

function fromDebian() {
  const missing = PROGRAMS.filter(([program]) => !has(program)).map(([, name]) => name);
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0 || !has("apt-get"))
    return say(`not installed: ${missing.join(" ")}`);
  run("apt-get", ["update", "-qq"], "the list of packages");
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  run(
    "apt-get",
    ["install", "-y", "-qq", "--no-install-recommends", ...missing],
    missing.join(" "),
    env,
  );
}

function has(program) {
  return spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;
}

function run(command, args, what, env = process.env) {
  say(`installing ${what}...`);
  const { status } = spawnSync(command, args, { stdio: ["ignore", "ignore", 2], env });
  if (status !== 0) say(`could not install ${what}`);
}

function say(text) {
  process.stderr.write(`${text}\n`);
}
