/**
 * The runtimes that play the scenario, and how each is started. Knows programs and folders; must not know what a
 * scenario holds.
 */
import { execFile, spawnSync } from "node:child_process";
import { createServer } from "node:http";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { basename, extname, join } from "node:path";
import { promisify } from "node:util";
import { ROOT } from "../house/source.ts";

const run = promisify(execFile);

const EXAMPLES = join(ROOT, "examples", "runtimes");
const SCENARIOS = join(EXAMPLES, "scenario");
const INSTALLED = join(ROOT, "build", "runtimes", "node_modules");
const SIMD = join(ROOT, "build", "core.wasm");
const BASELINE = join(ROOT, "build", "core-baseline.wasm");

export interface Runtime {
  readonly name: string;
  /** What is missing here, undefined when it can run. */
  readonly missing: string | undefined;
  /**
   * Plays `scenario` ("forwarder4"); files are kept in and given from `folder`.
   * @returns what it printed; rejects when a step differs
   */
  play(scenario: string, folder: string): Promise<string>;
}

/** @param scratch a folder for what has to be built first */
export function runtimes(scratch: string): Runtime[] {
  const deno = installed("deno", ["@deno/linux-x64-glibc/deno", "@deno/linux-arm64-glibc/deno"]);
  const bun = installed("bun", [
    "@oven/bun-linux-x64-baseline/bin/bun",
    "@oven/bun-linux-aarch64/bin/bun",
  ]);
  const c = new CLibrary(scratch);
  return [
    javascript("Node", process.execPath, [], SIMD),
    javascript("Node, baseline build", process.execPath, [], BASELINE),
    javascript("Deno", deno, ["run", "--no-config", "--allow-read", "--allow-write"], SIMD),
    javascript("Bun", bun, [], SIMD),
    chromium(scratch),
    {
      name: "C through wasm2c",
      missing: c.missing,
      play: async (scenario, folder) =>
        output(await c.program("scenario"), [file(scenario), folder]),
    },
    {
      name: "Python through ctypes",
      missing: c.missing ?? lacking("python3"),
      play: async (scenario, folder) => {
        const script = join(EXAMPLES, "python", "run_ctypes.py");
        const library = await c.program("libbatoncore.so");
        return output("python3", ["-B", script, library, file(scenario), folder]);
      },
    },
    {
      name: "bare interpreter (wabt)",
      missing: lacking("wast2json", "spectest-interp"),
      play: interpret,
    },
  ];
}

/** A scenario's name, or the path of one. */
function file(scenario: string): string {
  return scenario.endsWith(".txt") ? scenario : join(SCENARIOS, `${scenario}.txt`);
}

async function output(command: string, args: readonly string[]): Promise<string> {
  return (await run(command, args, { maxBuffer: 1 << 26 })).stdout;
}

function javascript(
  name: string,
  command: string | undefined,
  flags: string[],
  core: string,
): Runtime {
  const script = join(EXAMPLES, "js", "run.mjs");
  return {
    name,
    missing:
      command === undefined ? `${name} is not installed (npm run test:runtimes does)` : undefined,
    play: (scenario, folder) =>
      output(command ?? name, [...flags, script, core, file(scenario), folder]),
  };
}

/** In the search path, or where tools/runtimes.mjs puts it. */
function installed(program: string, places: readonly string[]): string | undefined {
  if (lacking(program) === undefined) return program;
  return places.map((place) => join(INSTALLED, place)).find((place) => existsSync(place));
}

function lacking(...programs: string[]): string | undefined {
  const missing = programs.find(
    (program) => spawnSync("sh", ["-c", `command -v ${program}`]).status !== 0,
  );
  return missing && `${missing} is not installed`;
}

/** examples/runtimes/c, built once for all that use it. */
class CLibrary {
  readonly missing = lacking("wasm2c", "make", "awk", "cc");
  readonly #out: string;
  #built: Promise<string> | undefined;

  constructor(scratch: string) {
    this.#out = join(scratch, "c");
  }

  async program(name: string): Promise<string> {
    const folder = join(EXAMPLES, "c");
    this.#built ??= output("make", ["-C", folder, `CORE=${BASELINE}`, `OUT=${this.#out}`]);
    await this.#built;
    return join(this.#out, name);
  }
}

async function interpret(scenario: string, folder: string): Promise<string> {
  const script = join(EXAMPLES, "interpreter", "wast.mjs");
  const wast = join(folder, `${scenario}.wast`);
  const json = join(folder, `${scenario}.json`);
  writeFileSync(wast, await output(process.execPath, [script, BASELINE, file(scenario), folder]));
  await output("wast2json", [wast, "-o", json]);
  // It ends with status 0 also when an assertion failed.
  const printed = await output("spectest-interp", [json]);
  const [, passed, all] = /^(\d+)\/(\d+) tests passed\.$/m.exec(printed) ?? [];
  if (passed === undefined || passed !== all) throw new Error(`spectest-interp: ${printed}`);
  return `${passed} steps equal`;
}

const CHROMIUM_FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--virtual-time-budget=30000",
  "--dump-dom",
];

function chromium(scratch: string): Runtime {
  return {
    name: "Chromium",
    missing: lacking("chromium"),
    async play(scenario, folder) {
      const query = new URLSearchParams({ core: "/core.wasm", scenario: `/${scenario}.txt` });
      for (const name of ["blob4", "blob6"].filter((name) => existsSync(join(folder, name)))) {
        query.append("give", `${name}:${readFileSync(join(folder, name)).toString("hex")}`);
      }
      const profile = join(scratch, "chromium");
      mkdirSync(profile, { recursive: true });
      const page = await withServer((url) =>
        output("chromium", [
          ...CHROMIUM_FLAGS,
          `--user-data-dir=${profile}`,
          `${url}/browser.html?${query.toString()}`,
        ]),
      );
      const text = /<pre id="outcome">([^<]*)/.exec(page)?.[1] ?? page;
      if (!text.includes("steps equal")) throw new Error(`Chromium: ${text}`);
      for (const [, name = "", hex = ""] of text.matchAll(/^kept (\w+) ([0-9a-f]+)$/gm)) {
        writeFileSync(join(folder, name), Buffer.from(hex, "hex"));
      }
      return text;
    },
  };
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
  ".txt": "text/plain",
};

/** Serves the page, the core and the scenarios on the loopback address while `use` runs. */
async function withServer<T>(use: (url: string) => Promise<T>): Promise<T> {
  const server = createServer((request, response) => {
    const name = basename(new URL(request.url ?? "/", "http://localhost").pathname);
    const places = [join(EXAMPLES, "js", name), join(SCENARIOS, name), join(ROOT, "build", name)];
    const found = places.find((place) => existsSync(place));
    if (name === "" || !found) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "Content-Type": TYPES[extname(name)] ?? "application/octet-stream" });
    response.end(readFileSync(found));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    return await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}
