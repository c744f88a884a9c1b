/**
 * Makes a checkout runnable: installs the locked packages, compiles the core and the host, but only
 * what is missing or stale. Plain JavaScript, because it runs before anything is built.
 *
 *   node tools/prepare.mjs [--force]
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
const STAMPS = join(ROOT, "build", ".stamps.json");
const NODE_MAJOR_MIN = 20;
/** Folders that tsc compiles, each to the folder of its name in build/. */
const COMPILED = ["host", "test", "bench", "examples"];
const force = process.argv.includes("--force");

/** Output file of asc, its entry, its target. */
const WASM = [
  ["build/core.wasm", "assembly/index.ts", "release"],
  ["build/core-baseline.wasm", "assembly/index.ts", "baseline"],
  ["build/testing/debug.wasm", "assembly/testing.ts", "debug"],
  ["build/testing/release.wasm", "assembly/testing.ts", "release"],
  ["build/testing/fuzz-debug.wasm", "assembly/fuzz/index.ts", "debug"],
  ["build/testing/fuzz-release.wasm", "assembly/fuzz/index.ts", "release"],
];

main();

function main() {
  if (Number(process.versions.node.split(".")[0]) < NODE_MAJOR_MIN) {
    fail(`Node ${NODE_MAJOR_MIN} or later is needed, this is ${process.version}`);
  }
  const stamps = readStamps();
  const next = {};
  const step = (name, inputs, outputs, action) => {
    next[name] = digest(inputs);
    const fresh =
      stamps[name] === next[name] && outputs.every((path) => existsSync(join(ROOT, path)));
    if (fresh && !force) return;
    action();
    writeStamps({ ...stamps, ...next });
  };
  step(
    "packages",
    ["package-lock.json"],
    ["node_modules/typescript", "node_modules/assemblyscript"],
    () =>
      run("installing packages", npm(), [
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
      ]),
  );
  step(
    "core",
    ["assembly", "asconfig.json", "package-lock.json"],
    WASM.map(([path]) => path),
    () => {
      for (const [path, entry, target] of WASM) {
        const args = [
          "node_modules/assemblyscript/bin/asc.js",
          entry,
          "--target",
          target,
          "--outFile",
          path,
        ];
        run(`compiling ${path}`, process.execPath, args);
      }
    },
  );
  step(
    "host",
    [...COMPILED, "tsconfig.json", "package-lock.json"],
    ["build/host/cli/main.js"],
    () => {
      for (const room of COMPILED) sweep(room);
      run("compiling the host", process.execPath, ["node_modules/typescript/bin/tsc", "-p", "."]);
    },
  );
}

function run(what, command, args) {
  process.stderr.write(`${what}...\n`);
  const result = spawnSync(command, args, { cwd: ROOT, stdio: ["ignore", 2, 2] });
  if (result.error) fail(`${what}: ${result.error.message}`);
  if (result.status !== 0) fail(`${what}: exit status ${result.status ?? result.signal}`);
}

/** Removes what was compiled from sources that are gone: a deleted test would still run. */
function sweep(folder) {
  const built = join(ROOT, "build", folder);
  if (!existsSync(built)) return;
  for (const entry of readdirSync(built, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) sweep(path);
    else if (!existsSync(join(ROOT, path.replace(/(\.d\.ts|\.js|\.js\.map)$/, ".ts")))) {
      rmSync(join(ROOT, "build", path));
    }
  }
}

function npm() {
  return process.platform === "win32" ? "npm.cmd" : "npm";
}

/** SHA-256 over the names and contents of every file below `paths`. */
function digest(paths) {
  const hash = createHash("sha256");
  const visit = (path) => {
    const absolute = join(ROOT, path);
    if (!existsSync(absolute)) return;
    if (statSync(absolute).isDirectory()) {
      for (const name of readdirSync(absolute).sort()) visit(join(path, name));
    } else {
      hash.update(path).update("\0").update(readFileSync(absolute)).update("\0");
    }
  };
  for (const path of paths) visit(path);
  return hash.digest("hex");
}

function readStamps() {
  if (!existsSync(STAMPS)) return {};
  try {
    return JSON.parse(readFileSync(STAMPS, "utf8"));
  } catch {
    return {}; // A torn file means "stale": everything is built again.
  }
}

function writeStamps(stamps) {
  mkdirSync(dirname(STAMPS), { recursive: true });
  writeFileSync(STAMPS, JSON.stringify(stamps, null, 2) + "\n");
}

function fail(message) {
  process.stderr.write(`baton: ${message}\n`);
  process.exit(1);
}
