/**
 * The package as its users get it: packed, unpacked into a project of its own, type-checked, bundled for a browser
 * and run. Tools that are not here are named skips (npm run test:runtimes installs them).
 */
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ROOT } from "../house/source.ts";

const published = suite("published package");

const TOOLS = join(ROOT, "build", "runtimes", "node_modules");
const scratch = mkdtempSync(join(tmpdir(), "baton-package-"));
const project = join(scratch, "project");
const packed = pack();
const unpacked = join(project, "node_modules", "batonlb");

/** Packs, and unpacks where a project would have it. */
function pack(): string {
  const modules = join(project, "node_modules");
  mkdirSync(join(modules, "@assemblyscript"), { recursive: true });
  const args = ["pack", "--ignore-scripts", "--json", "--pack-destination", scratch];
  const [{ filename }] = JSON.parse(
    execFileSync("npm", args, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
  ) as [{ filename: string }];
  execFileSync("tar", ["-xzf", join(scratch, filename), "-C", modules]);
  renameSync(join(modules, "package"), join(modules, "batonlb"));
  const loader = join("@assemblyscript", "loader");
  symlinkSync(join(ROOT, "node_modules", loader), join(modules, loader));
  return join(scratch, filename);
}

/** A tool of tools/runtimes.mjs; prints a named skip where it is missing. */
function tool(name: string, path: string): string | undefined {
  const found = join(TOOLS, path);
  if (existsSync(found)) return found;
  process.stdout.write(`SKIP ${name} is not installed (npm run test:runtimes does)\n`);
  return undefined;
}

function node(...args: string[]): string {
  return execFileSync(process.execPath, args, { cwd: project, encoding: "utf8" });
}

function files(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });
}

published("holds every file that its exports name", () => {
  const manifest = JSON.parse(readFileSync(join(unpacked, "package.json"), "utf8")) as {
    exports: Record<string, string | Record<string, string>>;
    bin: Record<string, string>;
  };
  const named = Object.values(manifest.exports).flatMap((value) =>
    typeof value === "string" ? [value] : Object.values(value),
  );
  for (const path of [...named, ...Object.values(manifest.bin)]) {
    assert.ok(existsSync(join(unpacked, path)), path);
  }
});

published("names no path of the machine that built it", () => {
  const secrets = [ROOT, tmpdir() + "/", homedir() + "/"];
  const found = files(unpacked).filter((path) => {
    const content = readFileSync(path, "latin1");
    return secrets.some((secret) => secret.length > 2 && content.includes(secret));
  });
  assert.equal(found, []);
});

const SOURCE = `
import { Core, coreBuild, parseAddress, SMALL_PARAMETERS, type CoreEvent } from "batonlb/core";

/** Answers how many connections a new core accepts on one SYN: none yet. */
export function events(wasm: Uint8Array): CoreEvent[] {
  const secret = new Uint8Array(16);
  const secrets = { hashSecret: secret, isnSecret: secret, wallMs: 0 };
  const core = new Core(wasm, { ...SMALL_PARAMETERS, ...secrets }, 1);
  const address = parseAddress("192.0.2.80");
  if (address) core.addService(address, 80, 0, true);
  const found: CoreEvent[] = [];
  for (let event = core.pollEvent(); event; event = core.pollEvent()) found.push(event);
  return found;
}

export const build: "core.wasm" | "core-baseline.wasm" = coreBuild();
`;

published("type-checks in a project for browsers, its declarations too", () => {
  const options = {
    target: "ES2022",
    lib: ["ES2022", "DOM"],
    types: [],
    module: "ESNext",
    moduleResolution: "Bundler",
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    noEmit: true,
  };
  writeFileSync(join(project, "main.ts"), SOURCE);
  writeFileSync(
    join(project, "tsconfig.json"),
    JSON.stringify({ compilerOptions: options, files: ["main.ts"] }),
  );
  try {
    node(join(ROOT, "node_modules", "typescript", "bin", "tsc"), "-p", ".");
  } catch (error) {
    assert.unreachable(String((error as { stdout?: string }).stdout));
  }
});

published("is bundled for a browser without a polyfill, and runs", async () => {
  const esbuild = tool("esbuild", "esbuild-wasm/bin/esbuild");
  if (esbuild === undefined) return;
  writeFileSync(join(project, "main.ts"), SOURCE);
  node(
    esbuild,
    "main.ts",
    "--bundle",
    "--platform=browser",
    "--format=esm",
    "--outfile=bundle.mjs",
    "--log-level=error",
  );
  const bundle = readFileSync(join(project, "bundle.mjs"), "utf8");
  assert.not.match(bundle, /\b(?:from|require\()\s*["']node:|\bprocess\.|\bBuffer\b/);
  const { events, build } = (await import(pathToFileURL(join(project, "bundle.mjs")).href)) as {
    events: (wasm: Uint8Array) => unknown[];
    build: string;
  };
  assert.is(build, "core.wasm");
  assert.equal(events(readFileSync(join(unpacked, "build", build))), []);
});

published("is found well-formed by publint", () => {
  const publint = tool("publint", "publint/src/cli.js");
  if (publint === undefined) return;
  node(publint, "run", unpacked, "--strict");
});

published("has types that every resolution for ES modules finds (attw)", () => {
  const attw = tool("attw", "@arethetypeswrong/cli/dist/index.js");
  if (attw === undefined) return;
  try {
    // The WebAssembly files are bytes to fetch or to read, not modules to import.
    const bytes = ["--exclude-entrypoints", "core.wasm", "core-baseline.wasm"];
    node(attw, packed, "--profile", "esm-only", "--no-emoji", "--no-color", ...bytes);
  } catch (error) {
    assert.unreachable(String((error as { stdout?: string }).stdout));
  }
});

published.after(() => rmSync(scratch, { recursive: true, force: true }));

published.run();
