/**
 * One scenario, many runtimes: every one gives the same bytes, and a blob that one compiled goes on living in
 * another. `UPDATE_SCENARIO=1` writes the scenario files; a runtime that is not here is a named skip.
 */
import { mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ROOT } from "../house/source.ts";
import { runtimes, type Runtime } from "./runtimes.ts";
import { play } from "./scene.ts";

const scenario = suite("scenario");

const SCENARIOS = join(ROOT, "examples", "runtimes", "scenario");
const FAMILIES = [4, 6] as const;
const scratch = mkdtempSync(join(tmpdir(), "baton-runtimes-"));
const all = runtimes(scratch);
const here = all.filter(({ missing }) => missing === undefined);
const blobs = new Map(FAMILIES.map((family) => [family, played("core.wasm", family).blob]));

for (const { name, missing } of all) {
  if (missing !== undefined) process.stdout.write(`SKIP ${name}: ${missing}\n`);
}
for (const name of ["Go (wazero)", "Rust (wasmtime)", "Python (wasmtime)"]) {
  process.stdout.write(`SKIP ${name}: its modules are not in the registries that this run uses\n`);
}

function played(build: string, family: 4 | 6): ReturnType<typeof play> {
  return play(readFileSync(join(ROOT, "build", build)), family);
}

function folder(name: string): string {
  const path = join(scratch, name);
  mkdirSync(path, { recursive: true });
  return path;
}

for (const build of ["core.wasm", "core-baseline.wasm"]) {
  scenario(`is what ${build} does today`, () => {
    for (const family of FAMILIES) {
      const scene = played(build, family);
      for (const part of ["forwarder", "backend"] as const) {
        const path = join(SCENARIOS, `${part}${family}.txt`);
        if (process.env["UPDATE_SCENARIO"] === "1") writeFileSync(path, scene[part]);
        const isSame = readFileSync(path, "utf8") === scene[part];
        assert.ok(isSame, `${path} is out of date: UPDATE_SCENARIO=1 writes it`);
      }
    }
  });
}

scenario("is noticed when one digit of it differs", async () => {
  const [node] = here;
  const text = readFileSync(join(SCENARIOS, "forwarder4.txt"), "utf8");
  const changed = text.replace(/^(read tx0 \w*)(\w)$/m, (_, head: string, last: string) => {
    return `${head}${last === "0" ? "1" : "0"}`;
  });
  assert.is.not(changed, text);
  const path = join(folder("changed"), "changed.txt");
  writeFileSync(path, changed);
  const error = await node?.play(path, folder("changed")).then(
    () => undefined,
    (reason: Error) => reason,
  );
  assert.match(error?.message ?? "it was played to its end", /line \d+: read tx0/);
});

for (const [index, runtime] of here.entries()) {
  const next = here[(index + 1) % here.length] ?? runtime;
  scenario(
    `gives the same bytes in ${runtime.name}; its blobs live on in ${next.name}`,
    async () => {
      const own = folder(runtime.name);
      for (const family of FAMILIES) {
        await mustPlay(runtime, `forwarder${family}`, own);
        const kept = readFileSync(join(own, `blob${family}`));
        assert.ok(
          kept.equals(blobs.get(family) ?? new Uint8Array()),
          `blob${family} of ${runtime.name}`,
        );
        await mustPlay(next, `backend${family}`, own);
      }
    },
  );
}

async function mustPlay(runtime: Runtime, name: string, path: string): Promise<void> {
  assert.match(await runtime.play(name, path), /[1-9]\d* steps equal/, `${runtime.name}: ${name}`);
}

scenario.after(() => rmSync(scratch, { recursive: true, force: true }));

scenario.run();
